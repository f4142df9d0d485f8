"""`rbuild push`: the very bytes that the lock names, from the store into registries.

Blobs go first, then manifests by digest, what is published beside the images, tags last: so a tag never
stands for an image that is not all there. Then each manifest is read back by its tags, and compared with the
lock.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from rbuild.destination import Destination
from rbuild.errors import Exit, Problem, RbuildError, Where
from rbuild.events import Emit
from rbuild.project import PROJECT_FILE
from rbuild.projectfile import Attach
from rbuild.reference import Reference
from rbuild.registry.client import Registry
from rbuild.registry.patience import Limits
from rbuild.sources import Kept, kept_by
from rbuild.verbs.errand import Delivery, Errand, Shipment
from rbuild.verbs.gating import open_gate
from rbuild.verbs.parcels import Parcel, pack
from rbuild.verbs.workspace import Workspace

if TYPE_CHECKING:  # what only a push that signs needs
    from rbuild.signing.key import SigningKey

_LIMITS = Limits()


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is asked of a push: where to (none: the project's registry), which tags (None: the project's).

    `force` moves tags that are not listed as moving; `insecure` names registries that need no TLS. `now`
    (UTC) is the time by which waivers end; without it, no policy is asked. `attach` is what is published
    beside the images (None: what the project says); with `sign_key`, the images and what is said of them are
    signed. `sources` is how much is published to rebuild from (None: what the project says).
    """

    to: tuple[str, ...] = ()
    tags: tuple[str, ...] | None = None
    force: bool = False
    insecure: tuple[str, ...] = ()
    sources: Kept | None = None
    limits: Limits = _LIMITS
    now: datetime | None = None
    attach: tuple[Attach, ...] | None = None
    sign_key: SigningKey | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Push:
    """What became of a push: by registry, and the stages that policies refused, with the reason."""

    deliveries: tuple[Delivery, ...]
    refused: Mapping[str, RbuildError]


def push(workspace: Workspace, stages: Collection[str], request: Request, emit: Emit) -> Push:
    """Push the images of `stages`. Raises RbuildError for what is refused before anything is sent.

    A stage that policies refuse stays here, and the others go.
    """
    hosts = destinations(workspace, request.to)
    for insecure in request.insecure:
        _check_insecure(insecure, hosts)
    open_to_all = {insecure.partition("/")[0] for insecure in request.insecure}
    # A wrong name fails before the store is read.
    names = {
        host: {stage: [one.repository(workspace.project.name, stage) for one in ways] for stage in stages}
        for host, ways in hosts.items()
    }
    packed = pack(workspace, tuple(stages), request.tags, request.attach)
    parcels, stopped = _held(workspace, packed, names, request, emit)
    kept = request.sources if request.sources is not None else kept_by(workspace.project)
    with workspace.store.scratch("push-") as scratch:
        if kept is not Kept.NONE:
            from rbuild.verbs.sources import with_sources

            parcels = with_sources(workspace, parcels, kept, scratch)
        deliveries = _delivered(workspace, parcels, names, open_to_all, request, emit)
    return Push(deliveries=deliveries, refused=stopped)


def _delivered(
    workspace: Workspace,
    parcels: Sequence[Parcel],
    names: Mapping[str, Mapping[str, Sequence[Reference]]],
    open_to_all: Collection[str],
    request: Request,
    emit: Emit,
) -> tuple[Delivery, ...]:
    errands = []
    for host, repositories in names.items():
        registry = Registry(host, insecure=host in open_to_all, env=workspace.env, limits=request.limits)
        images = [Shipment(parcel, where) for parcel in parcels for where in repositories[parcel.stage]]
        errands.append(
            Errand(workspace, registry, images, force=request.force, key=request.sign_key, emit=emit)
        )
    refused: list[Problem] = []
    ready: list[Errand] = []
    done: dict[str, Delivery] = {}
    try:
        for errand in errands:
            try:
                refused += errand.look()
                ready.append(errand)
            except RbuildError as error:
                done[errand.host] = Delivery(registry=errand.host, images=(), error=error)
        if refused:
            raise RbuildError(refused, exit_code=Exit.FINDING)
        for errand in ready:
            done[errand.host] = errand.run()
    finally:
        for errand in errands:
            errand.close()
    return tuple(done[errand.host] for errand in errands)


def _held(
    workspace: Workspace,
    parcels: Sequence[Parcel],
    names: Mapping[str, Mapping[str, Sequence[Reference]]],
    request: Request,
    emit: Emit,
) -> tuple[Sequence[Parcel], Mapping[str, RbuildError]]:
    """The images that policies let go, and why they keep the others."""
    if (gate := open_gate(workspace, request.now, emit)) is None:
        return parcels, {}
    from rbuild.verbs.gate import Destined

    refused: dict[str, RbuildError] = {}
    signed = request.sign_key is not None
    for parcel in parcels:
        places = [place for repositories in names.values() for place in repositories[parcel.stage]]
        destined = [
            Destined(repository=place, tags=parcel.tags, moving=parcel.moving, signed=signed)
            for place in places
        ]
        try:
            gate.pushed(parcel.source, parcel.lock, parcel.locked, destined)
        except RbuildError as error:
            refused[parcel.stage] = error
    return [parcel for parcel in parcels if parcel.stage not in refused], refused


def destinations(workspace: Workspace, to: Sequence[str]) -> Mapping[str, list[Destination]]:
    """Where images go, by registry: to what is named, else to the project's registry.

    Raises RbuildError for a name that is none, and where nobody says where to.
    """
    texts = to or ((workspace.project.registry,) if workspace.project.registry else ())
    if not texts:
        raise RbuildError(
            "nobody says where to",
            where=Where(file=PROJECT_FILE),
            hint="rbuild push --to REGISTRY/PATH, or registry: in the project's file",
        )
    found: dict[str, list[Destination]] = {}
    for text in texts:
        one = Destination.parse(text)
        ways = found.setdefault(one.registry, [])
        if one not in ways:
            ways.append(one)
    return found


def _check_insecure(text: str, hosts: Mapping[str, object]) -> None:
    host = text.partition("/")[0]
    if host not in hosts:
        raise RbuildError(
            f"--insecure {text[:200]}: nothing is pushed there", hint=f"it can be {' or '.join(hosts)}"
        )
