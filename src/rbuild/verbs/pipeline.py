"""Several stages on their way from files to images, at the same time, and the lock that grows with them."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, TypeVar
from urllib.request import getproxies_environment

import msgspec

from rbuild.compare.model import Verdict
from rbuild.digest import Digest
from rbuild.errors import Exit, RbuildError, Where
from rbuild.events import Emit, Note, StageDone, StageStarted
from rbuild.image.codec import Codec, codec_text
from rbuild.image.form import NEWEST
from rbuild.lock import BaseLock, ImageLock, Lock, StageLock
from rbuild.origins import forget_origin
from rbuild.podman import Podman
from rbuild.podman_storage import builder
from rbuild.process import end_all
from rbuild.recording import Recording
from rbuild.reference import Reference
from rbuild.sealed.environment import Clock
from rbuild.sealed.namespace import stop_all
from rbuild.sealed.session import Session
from rbuild.sealed.upstream import Upstream, fetch
from rbuild.store import CorruptBlob, MissingBlob, Store
from rbuild.verbs.assessment import Assessment
from rbuild.verbs.bases import Bases
from rbuild.verbs.build import Goal, Options, StageResult
from rbuild.verbs.buildsecrets import check_secrets, read_secrets
from rbuild.verbs.canonicalise import ReadyBase
from rbuild.verbs.layercache import LayerCache
from rbuild.verbs.loading import load_locked, name_locked
from rbuild.verbs.stagebuild import Job, Network, build_stage
from rbuild.verbs.substitute import HURRIED, Substitutes
from rbuild.verbs.verify import compare
from rbuild.verbs.workspace import LOCK_FILE, Workspace, fits, write_lock

ALLOW_LOOPBACK = "RBUILD_ALLOW_LOOPBACK"  # set to 1, a build may ask servers on this host's loopback

_MOST_CORRUPT = 100  # blobs of one stage
_MOST_ADDRESSES = 5  # that an error names

if TYPE_CHECKING:
    from rbuild.verbs.gate import Gate

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Site:
    """Where stages are built: Podman's storage, the store that the images go to, the layers that may be met.

    `clock` is what a RUN goes by, if not by the host's.
    """

    podman: Podman
    store: Store
    layers: LayerCache
    clock: Clock | None = None
    handing_in: threading.Lock = field(default_factory=threading.Lock, init=False)


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """The image of a stage that was built from nothing, or why there is none; `seconds` is what it took."""

    image: ImageLock | RbuildError
    seconds: float


class Pipeline:
    """One command's builds. The lock is written after every stage that changed it.

    `gate` holds stages to the project's policies: one that it refuses fails, and the others go on.
    """

    def __init__(
        self, workspace: Workspace, lock: Lock, options: Options, emit: Emit, *, gate: Gate | None = None
    ) -> None:
        self._workspace = workspace
        self._gate = gate
        self._lock = lock
        self._options = options
        self._emit = emit
        self._changing = threading.Lock()  # the lock's value, and its file
        self._pinning = threading.Lock()  # one base at a time is resolved or built
        self._discarded: set[Digest] = set()  # blobs of the store that were found to be corrupt
        self._settling = threading.Lock()  # where stages are built
        self._pinned: dict[str, BaseLock] = {}
        self._interrupted = False
        upstream = Upstream(getproxies_environment(), local=workspace.env.get(ALLOW_LOOPBACK) == "1")
        self._session = Session(workspace.store, upstream, note=self._warn)
        self._network = Network(
            session=self._session,
            record=not (options.offline or options.locked),
            fetch=not options.offline,
        )
        self._own_site: Site | None = None
        self._substitutes = Substitutes(
            workspace, options.substitutes, insecure=options.insecure, limits=HURRIED, emit=emit
        )
        self._bases = Bases(
            workspace,
            emit=emit,
            fetch=partial(fetch, store=workspace.store, upstream=upstream),
            offline=options.offline,
            epoch=options.epoch,
        )

    def run(self, assessed: Mapping[str, Assessment], states: Mapping[str, str]) -> tuple[StageResult, ...]:
        """Do what each stage's state says. Ctrl-C ends every build before it is passed on."""
        check_secrets(self._workspace, [name for name, state in states.items() if state == "build"])
        work = {name: partial(self._stage, one, states[name]) for name, one in assessed.items()}
        results = tuple(self._together(work).values())
        if not self._options.locked:
            self._update(prune=True)
        return results

    def rebuild(self, assessed: Mapping[str, Assessment], site: Site) -> dict[str, Rebuilt]:
        """Build locked stages from nothing on `site`; the lock, the store and the user's images stay."""
        check_secrets(self._workspace, assessed)
        work = {name: partial(self._rebuilt, one, site) for name, one in assessed.items()}
        return self._together(work)

    def _together(self, work: Mapping[str, Callable[[], T]]) -> dict[str, T]:
        """Do several things at the same time, as many as there are jobs."""
        pool = ThreadPoolExecutor(self._options.jobs, thread_name_prefix="stage")
        futures = {name: pool.submit(one) for name, one in work.items()}
        try:
            return {name: future.result() for name, future in futures.items()}
        except BaseException:
            self._interrupted = True
            running = [future for future in futures.values() if not future.cancel()]
            self._workspace.store.close()
            self._substitutes.close()
            self._bases.close()
            self._session.close()  # or a recorder waits for what its build does not want any more
            stop_all()
            while wait(running, 0.1).not_done:
                end_all()
            raise
        finally:
            pool.shutdown()
            self._substitutes.close()
            self._bases.close()
            self._session.close()

    @property
    def _site(self) -> Site:
        """Where `run` builds; found out when the first stage needs it."""
        workspace = self._workspace
        with self._settling:
            if self._own_site is None:
                podman = builder(workspace.podman, workspace.store.root)
                layers = LayerCache(workspace.store, workspace.project.name)
                self._own_site = Site(podman, workspace.store, layers)
            return self._own_site

    def _done(self, event: StageDone) -> None:
        if not self._interrupted:
            self._emit(event)

    def _warn(self, text: str) -> None:
        self._emit(Note(text=text, level="warning"))

    def _rebuilt(self, assessed: Assessment, site: Site) -> Rebuilt:
        name = assessed.source.stage.name
        started = time.monotonic()
        self._emit(StageStarted(stage=name, why="rebuilding from nothing"))
        try:
            built = self._build(assessed, site, assessed.locked, cached=False, to_compare=True)
            image: ImageLock | RbuildError = built.image
        except RbuildError as error:
            image = error
        seconds = time.monotonic() - started
        self._done(
            StageDone(
                stage=name,
                outcome="rebuilt" if isinstance(image, ImageLock) else "failed",
                ok=isinstance(image, ImageLock),
                digest=str(image.manifest) if isinstance(image, ImageLock) else None,
                seconds=seconds,
            )
        )
        return Rebuilt(image, seconds)

    def _stage(self, assessed: Assessment, state: str) -> StageResult:
        name = assessed.source.stage.name
        started = time.monotonic()
        try:
            result = self._mended(assessed, state)
        except RbuildError as error:
            result = StageResult(stage=name, outcome="failed", changes=assessed.changes, error=error)
        if state != "up to date":
            self._done(
                StageDone(
                    stage=name,
                    outcome=result.outcome + (f" from {result.registry}" if result.registry else ""),
                    ok=result.error is None,
                    digest=str(result.digest) if result.digest else None,
                    seconds=time.monotonic() - started,
                )
            )
        return result

    def _mended(self, assessed: Assessment, state: str) -> StageResult:
        """Bring a stage up to date; what is found to be corrupt is thrown away, and made or fetched anew."""
        fits = state != "build"  # then what is locked can be fetched
        for _ in range(_MOST_CORRUPT):
            try:
                return self._bring_up_to_date(assessed, state)
            except CorruptBlob as error:
                with self._pinning:  # or another stage might have it fetched again already
                    if self._workspace.store.discard_corrupt(error.digest):
                        self._discarded.add(error.digest)
                        self._warn(f"{error.problems[0].where}: {error.problems[0].what}; making it anew")
                state = "fetch" if fits and self._options.substitutes else "build"
            except MissingBlob as error:
                if error.digest not in self._discarded:  # by another stage, just now
                    raise
                state = "fetch" if fits and self._options.substitutes else "build"
        return self._bring_up_to_date(assessed, state)

    def _bring_up_to_date(self, assessed: Assessment, state: str) -> StageResult:
        name, locked = assessed.source.stage.name, assessed.locked
        registry = None
        if state == "fetch":
            assert locked is not None
            registry = self._fetched(name, locked)
            state = "fetch" if registry else "build"
        if state == "build":
            upgrade = name in self._options.upgrade
            why = "; ".join(str(change) for change in assessed.changes)
            why = why or ("its recording is made anew" if upgrade else "its image is not in the store")
            self._emit(StageStarted(stage=name, why=why))
            known = None if upgrade else locked
            if known:
                self._tell_of_another_codec(assessed, known)
            if self._gate and locked and not assessed.changes and not upgrade:
                self._gate.replayed(assessed.source, self._lock, locked)
            elif self._gate:
                self._gate.files(assessed.source)
            built = self._build(assessed, self._site, known, cached=not upgrade)
            if locked and built.input == locked.input and built.image != locked.image:
                raise _not_reproducible(name, locked, built)
            if self._options.locked and built != locked:
                raise _not_as_locked(name, locked, built)
            if self._gate:
                self._gate.built(
                    assessed.source,
                    self._with(name, built),
                    built,
                    previous=locked if locked and locked.image != built.image else None,
                    store=self._workspace.store,
                )
            forget_origin(self._workspace.store, built.image.manifest)
            self._update(stage=name, built=built)
            locked = built
        elif self._gate and locked and state != "up to date":
            self._gate.locked(assessed.source, self._lock, locked)
        assert locked is not None
        if state != "up to date" and self._options.goal is not Goal.LOCK:
            if self._options.goal is Goal.PODMAN:
                load_locked(self._workspace, name, locked.image)
            name_locked(self._workspace, name, locked.image)
        outcome = {"build": "built", "fetch": "fetched", "load": "loaded"}.get(state, state)
        return StageResult(
            stage=name,
            outcome=outcome,
            digest=locked.image.manifest,
            registry=registry,
            changes=assessed.changes,
        )

    def _fetched(self, name: str, locked: StageLock) -> str | None:
        """Fetch a stage's image; gives the registry that had it, None where it has to be built."""
        self._emit(StageStarted(stage=name, why=f"its image is not in the store; asking {self._substitutes}"))
        found = self._substitutes.search(name, locked.image)
        for problem in found.problems:
            self._emit(Note(stage=name, text=str(problem), level="warning"))
        return found.fetched.registry if found.fetched else None

    def _tell_of_another_codec(self, assessed: Assessment, locked: StageLock) -> None:
        source = assessed.source
        kept = codec_text(source.compression, locked.codec)
        if Codec.is_ours(kept):
            return
        then = "what changed is locked with that" if assessed.changes else "its digest may come out otherwise"
        self._emit(Note(stage=source.stage.name, text=f"{Codec.beside_ours(kept)}: {then}", level="warning"))

    def _build(
        self,
        assessed: Assessment,
        site: Site,
        locked: StageLock | None,
        *,
        cached: bool,
        to_compare: bool = False,
    ) -> StageLock:
        workspace, source = self._workspace, assessed.source
        bases = {key: self._base(key, to_compare=to_compare) for key in source.bases}
        inputs = source.inputs(
            workspace.project.platform,
            {key: base.digest for key, base in bases.items()},
            epoch=locked.epoch if locked else self._options.epoch,
            form=locked.form if locked else NEWEST,
            codec=locked.codec if locked else "",
        )
        built = build_stage(
            Job(
                workspace=dataclasses.replace(workspace, store=site.store),
                source=source,
                bases=bases,
                inputs=inputs,
                locked=locked.recording if locked else Recording(),
                network=self._network,
                layers=site.layers,
                podman=site.podman,
                handing_in=site.handing_in,
                clock=site.clock,
                cached=cached,
                frozen=self._options.locked,
                secrets=read_secrets(workspace, source.stage),
                log=workspace.store.log_path(workspace.project.name, source.stage.name),
                emit=self._emit,
            )
        )
        if locked and built.input == locked.input:
            return built
        # What is locked anew names the library that compressed it.
        own = dataclasses.replace(inputs, codec=str(Codec.parse(inputs.codec)))
        return msgspec.structs.replace(built, codec=own.codec, input=own.digest(built.recording))

    def _base(self, key: str, *, to_compare: bool) -> ReadyBase:
        with self._pinning:
            if key not in self._pinned:
                known = self._lock.bases.get(key)
                definition = self._workspace.project.base(Reference.parse(key))
                if known is None or not fits(definition, known) or self._is_upgraded(key):
                    known = self._bases.lock(key)
                self._pinned[key] = self._bases.repacked(key, known)
            return self._bases.ready(key, self._pinned[key], packed_otherwise=to_compare)

    def _is_upgraded(self, key: str) -> bool:
        """A base is pinned anew if every stage that starts from it is recorded anew."""
        users = {name for name, stage in self._lock.stages.items() if key in stage.bases}
        return bool(self._options.upgrade) and users <= self._options.upgrade

    def _with(self, stage: str, built: StageLock) -> Lock:
        """The lock with a stage as it was built, and its bases."""
        return msgspec.structs.replace(
            self._lock,
            bases=self._lock.bases | {key: self._pinned[key] for key in built.bases},
            stages={**self._lock.stages, stage: built},
        )

    def _update(
        self, *, stage: str | None = None, built: StageLock | None = None, prune: bool = False
    ) -> None:
        """Take a stage into the lock, or drop what the project no longer has; write it if it changed."""
        with self._changing:
            lock = self._with(stage, built) if stage and built else self._lock
            stages, bases = lock.stages, lock.bases
            if prune:
                stages = {name: one for name, one in stages.items() if name in self._workspace.project.stages}
                bases = _used(bases, stages.values())
            lock = msgspec.structs.replace(
                self._lock,
                project=self._workspace.project.name,
                platform=self._workspace.project.platform,
                bases=bases,
                stages=stages,
            )
            if lock != self._lock:
                write_lock(self._workspace, lock)
                self._lock = lock
                if stage:
                    self._emit(Note(text=f"{LOCK_FILE}: stage {stage} locked"))


def _used(bases: Mapping[str, BaseLock], stages: Iterable[StageLock]) -> dict[str, BaseLock]:
    keys = {key for stage in stages for key in stage.bases}
    return {key: base for key, base in bases.items() if key in keys}


def _not_reproducible(name: str, locked: StageLock, built: StageLock) -> RbuildError:
    where = Where(file=LOCK_FILE, key=f"stages.{name}.image.manifest", digest=str(locked.image.manifest))
    if compare(locked.image, built.image) is Verdict.SAME_CONTENT:
        library = Codec.parse(locked.codec).library
        return RbuildError(
            f"stage {name} came out as {built.image.manifest}: the content is what is locked, and its layers "
            f"are compressed otherwise (locked with {locked.codec}, built with {library})",
            where=where,
            hint="install the rbuild that wrote the lock, or fetch the image where it was pushed: "
            f"rbuild pull {name}; rbuild lock --upgrade {name} accepts a new image",
            exit_code=Exit.FINDING,
        )
    return RbuildError(
        f"stage {name} came out as {built.image.manifest}, though nothing that goes into it changed",
        where=where,
        hint=f"rbuild verify {name} shows what differs; rbuild lock --upgrade {name} accepts a new image",
        exit_code=Exit.FINDING,
    )


def _not_as_locked(name: str, locked: StageLock | None, built: StageLock) -> RbuildError:
    """Why what was built under --locked does not count: the lock would have to change for it."""
    before, now = (set(one.recording.urls) if one else set() for one in (locked, built))
    differs = [f"it did not read {url}" for url in sorted(before - now)]
    differs += [f"it read {url}" for url in sorted(now - before)]
    if more := differs[_MOST_ADDRESSES:]:
        differs[_MOST_ADDRESSES:] = [f"and so with {len(more)} more addresses"]
    if locked is None or built.image != locked.image:
        differs.append(f"its image is {built.image.manifest}")
    return RbuildError(
        f"stage {name} was not built as it is locked: {'; '.join(differs) or 'its inputs differ'}",
        where=Where(file=LOCK_FILE, key=f"stages.{name}"),
        hint=f"rbuild build {name}, without --locked, brings the lock up to date; "
        f"rbuild verify {name} says whether the locked image can be built",
        exit_code=Exit.FINDING,
    )
