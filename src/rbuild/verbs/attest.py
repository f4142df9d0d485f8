"""`rbuild verify --attest`: what was verified, said beside the image in its registries."""

from __future__ import annotations

import io
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from rbuild.compare.model import Verdict
from rbuild.digest import Digest
from rbuild.errors import RbuildError, Where
from rbuild.image.artifact import Part, artifact
from rbuild.image.manifest import Descriptor
from rbuild.reference import Reference
from rbuild.registry.client import Registry
from rbuild.registry.cosigned import put_signed
from rbuild.registry.referrers import attach
from rbuild.registry.repository import Repository
from rbuild.signing.cosign import attestation, attestation_tag
from rbuild.signing.key import SigningKey
from rbuild.statement import (
    PREDICATE_ANNOTATION,
    STATEMENT_MEDIA_TYPE,
    VERIFICATION_SUMMARY,
    verification_summary,
)
from rbuild.verbs.push import destinations
from rbuild.verbs.verify import Attested, Verification
from rbuild.verbs.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class Attesting:
    """Where verifications are published (none: the project's registry), and with which key, if any.

    `accepted` are the verdicts that count as passed.
    """

    to: tuple[str, ...] = ()
    insecure: Collection[str] = ()
    key: SigningKey | None = field(default=None, repr=False)
    accepted: frozenset[Verdict] = frozenset({Verdict.IDENTICAL})


def check(workspace: Workspace, wanted: Attesting) -> None:
    """Raise RbuildError, before all the work, where nobody says where to, or a name is wrong."""
    destinations(workspace, wanted.to)


def attest(
    workspace: Workspace, found: Sequence[Verification], wanted: Attesting
) -> tuple[Verification, ...]:
    """Publish what was found, where something was; gives it with where it is now, or why it is not."""
    hosts = destinations(workspace, wanted.to)
    open_to_all = {text.partition("/")[0] for text in wanted.insecure}
    registries = {host: Registry(host, insecure=host in open_to_all, env=workspace.env) for host in hosts}
    try:
        said = []
        for one in found:
            places = [
                each.repository(workspace.project.name, one.stage) for ways in hosts.values() for each in ways
            ]
            attested = [
                _attested(one, workspace, place, registries[place.registry], wanted)
                for place in places
                if one.kept is not None
            ]
            said.append(replace(one, attested=tuple(attested)))
        return tuple(said)
    finally:
        for registry in registries.values():
            registry.close()


def _attested(
    one: Verification, workspace: Workspace, place: Reference, registry: Registry, wanted: Attesting
) -> Attested:
    assert one.kept is not None and one.locked is not None
    repository = registry.repository(place.repository)
    try:
        image = repository.manifest(str(one.locked))
        if image is None:
            raise RbuildError(
                f"does not have the image of stage {one.stage}, of which something is to be said",
                where=Where(url=place.name, digest=str(one.locked)),
                hint=f"rbuild push {one.stage} first",
            )
        statement = verification_summary(
            f"{workspace.project.name}/{one.stage}",
            one.locked,
            resource=f"docker://{place.at(one.locked)}",
            input_digest=Digest.parse(one.kept.input),
            passed=one.verdict in wanted.accepted,
            time=one.kept.time,
            rbuild=one.kept.rbuild,
            podman=one.kept.podman,
        )
        if wanted.key is not None:
            _sign(repository, wanted.key, one.locked, statement)
        else:
            subject = Descriptor(media_type=image.media_type, digest=image.digest, size=len(image.data))
            _attach(repository, subject, statement)
    except RbuildError as error:
        return Attested(reference=place.at(one.locked), signed=wanted.key is not None, error=error)
    return Attested(reference=place.at(one.locked), signed=wanted.key is not None)


def _sign(repository: Repository, key: SigningKey, image: Digest, statement: bytes) -> None:
    put_signed(
        repository,
        attestation_tag(image),
        lambda there: attestation(key, image, statement, VERIFICATION_SUMMARY, existing=there),
    )


def _attach(repository: Repository, subject: Descriptor, statement: bytes) -> None:
    part = Part.of(STATEMENT_MEDIA_TYPE, statement)
    made = artifact(subject, STATEMENT_MEDIA_TYPE, [part], {PREDICATE_ANNOTATION: VERIFICATION_SUMMARY})
    for blob in made.blobs:
        assert blob.data is not None
        if not repository.has_blob(blob.digest):
            repository.push_blob(blob.digest, blob.size, partial(io.BytesIO, blob.data), lambda _: None)
    attach(repository, subject.digest, [made], missing=[made])
