"""Building one stage: Podman in its sealed namespace, the recorder beside it, then the canonical image."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rbuild.archive import unpack
from rbuild.containerfile.chain import Chain, image_chain, variables_set
from rbuild.containerfile.expand import ImageUse, needed_targets, scratch_uses
from rbuild.containerfile.mounts import shares_a_cache
from rbuild.containerfile.parse import parse
from rbuild.containerfile.render import render, uses_heredocs
from rbuild.containerfile.steps import step_lines
from rbuild.context import copy_to
from rbuild.digest import Digest
from rbuild.errors import Exit, Problem, RbuildError, Where
from rbuild.events import Emit, Note
from rbuild.files import says_no_space
from rbuild.image.config import Config, Platform, RootFs
from rbuild.image.derived import derived_config, without_gateway
from rbuild.image.manifest import OCI_CONFIG, Descriptor, canonical_manifest
from rbuild.lock import ImageLock, StageLock
from rbuild.plan import Inputs
from rbuild.podman import Build, Podman, no_space, run_failure
from rbuild.process import pasteable
from rbuild.recording import Recording
from rbuild.sealed import environment
from rbuild.sealed.authority import Authority
from rbuild.sealed.exchange import Exchange, Failure, Kind
from rbuild.sealed.namespace import PROXY, sealed
from rbuild.sealed.namespace import environment as sealed_environment
from rbuild.sealed.reads import StepReads, recording_of
from rbuild.sealed.recorder import Recorder
from rbuild.sealed.session import Session
from rbuild.skopeo import load_image
from rbuild.verbs.buildsecrets import Secrets
from rbuild.verbs.canonicalise import ReadyBase, canonicalise
from rbuild.verbs.following import Expected, Follower
from rbuild.verbs.layercache import LayerCache, Token
from rbuild.verbs.source import Source
from rbuild.verbs.workspace import Workspace

_GATEWAY = f"{PROXY}/"
_HEREDOC_PODMAN = (5, 0, 0)
_INDEX_HINT = "the lock pins what a package index offers; if a requirement changed: rbuild lock --upgrade {}"
# What Podman gives an image that is FROM another one which has no PATH.
_PODMAN_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """What a build may ask for beyond what is locked."""

    session: Session
    record: bool  # responses that are not locked
    fetch: bool  # locked responses that are not in the store


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One stage to be built, and where."""

    workspace: Workspace
    source: Source
    bases: Mapping[str, ReadyBase]
    inputs: Inputs
    locked: Recording
    network: Network
    layers: LayerCache
    podman: Podman
    handing_in: threading.Lock  # held by who puts a base into Podman's storage
    cached: bool  # whether Podman's layer cache may be used
    frozen: bool  # whether nothing counts that does not read what is locked
    secrets: Secrets
    clock: environment.Clock | None = None  # what a RUN goes by, if not by the host's
    log: Path
    emit: Emit

    @property
    def name(self) -> str:
        return self.source.stage.name


def build_stage(job: Job) -> StageLock:
    """Build a stage's image into the store, and give what the lock should say of it.

    Raises RbuildError: for a RUN that fails, with its line, exit code and last output; for an address that
    is not locked where nothing may be recorded; for a full disk.
    """
    _check_heredocs(job)
    if shares_a_cache(job.source.containerfile, _needed(job)):
        # A RUN whose layer is cached leaves nothing in its cache for those that are not.
        job = replace(job, cached=False)
    with (
        job.layers.token(job.inputs, job.name, job.locked, fresh=not job.cached) as token,
        job.workspace.store.scratch("build-") as scratch,
    ):
        job = replace(job, podman=job.podman.working_in(scratch / "tmp"))
        names = _hand_in_all(job, token.name, scratch)
        try:
            built = _run_podman(job, names, scratch)
        except BaseException:
            job.podman.remove_working_containers(scratch)
            raise
        recording = _recording(job, token, built)
        image = _export(job, built.image_id, scratch) if recording is not None else None
    if recording is None or image is None:
        job.emit(Note(stage=job.name, text="what a cached layer has read is not known; building without any"))
        return build_stage(replace(job, cached=False))
    job.workspace.store.cache("contexts", job.inputs.context.hex, b"".join(job.source.context.lines()))
    return StageLock(
        input=job.inputs.digest(recording),
        form=job.inputs.form,
        codec=job.inputs.codec,
        epoch=job.inputs.epoch,
        normalisers=job.inputs.normalisers,
        args=dict(job.inputs.args),
        target=job.inputs.target,
        bases=job.source.bases,
        context=job.inputs.context,
        containerfile=job.inputs.containerfile,
        recording=recording,
        image=image,
    )


def _check_heredocs(job: Job) -> None:
    line = uses_heredocs(job.source.containerfile)
    if line is None:
        return
    version = job.podman.version()
    if version < _HEREDOC_PODMAN:
        raise RbuildError(
            f"a here-document, which Podman {'.'.join(map(str, version))} does not know",
            where=Where(file=job.source.containerfile.name, line=line),
            hint="use Podman 5 or newer, or put the text into a file and COPY it",
        )


def _needed(job: Job) -> tuple[int, ...]:
    stage = job.source.stage
    return needed_targets(
        job.source.containerfile, stage.target, build_args=stage.args, platform=job.inputs.platform
    )


# The bases, as Podman gets them


def _hand_in_all(job: Job, token: str, scratch: Path) -> dict[ImageUse, str]:
    """Put what the stage starts from into Podman's storage; gives what to call each of them."""
    bases = {
        key: _hand_in(
            job,
            f"localhost/rbuild/base:{token[:16]}-{base.digest.hex[:16]}",
            base.config,
            base.manifest.layers,
            token,
            scratch,
        )
        for key, base in job.bases.items()
    }
    names = {use: bases[key] for use, key in job.source.uses.items()}
    stage = job.source.stage
    empty = scratch_uses(
        job.source.containerfile, build_args=stage.args, platform=job.inputs.platform, target=stage.target
    )
    if empty:
        names |= dict.fromkeys(empty, _hand_in_scratch(job, token, scratch))
    return names


def _hand_in_scratch(job: Job, token: str, scratch: Path) -> str:
    """An image without layers, so that a RUN upon FROM scratch has the build's variables as well.

    Podman 4.3 reuses no layer that has none below it, nor what follows it: such builds have no layer cache.
    """
    platform = Platform.parse(job.inputs.platform)
    config = Config(
        os=platform.os,
        architecture=platform.architecture,
        variant=platform.variant or "",
        rootfs=RootFs(diff_ids=[]),
    )
    return _hand_in(job, f"localhost/rbuild/scratch:{token[:16]}", config, (), token, scratch)


def _hand_in(
    job: Job, name: str, base: Config, layers: Sequence[Descriptor], token: str, scratch: Path
) -> str:
    """Put a base into Podman's storage with the build's variables in its configuration; gives its name."""
    # Stages that begin together start from the same layers, and Podman's storage unpacks none that it has.
    with job.handing_in:
        if not job.podman.image_exists(name):
            _load(job, name, base, layers, token, scratch)
    return name


def _load(job: Job, name: str, base: Config, layers: Sequence[Descriptor], token: str, scratch: Path) -> None:
    config = derived_config(base, environment.variables(job.inputs.epoch, job.clock), token, gateway=_GATEWAY)
    store = job.workspace.store
    blob = store.put(config)
    descriptor = Descriptor(media_type=OCI_CONFIG, digest=blob.digest, size=blob.size)
    load_image(
        canonical_manifest(descriptor, layers, {}),
        [blob.digest, *(layer.digest for layer in layers)],
        name,
        store=store,
        scratch=scratch,
        podman=job.podman,
    )
    store.discard(blob.digest)


# Running Podman


@dataclass(frozen=True, slots=True)
class _Built:
    """What a build of Podman's left: an image, and by the number of each step its layers and what it read.

    Where it is doubtful, a step may have another one's.
    """

    image_id: str
    layers: Mapping[int, Mapping[str, bool]]
    reads: Mapping[int, StepReads]
    is_doubtful: bool


def _recording(job: Job, token: Token, built: _Built) -> Recording | None:
    """What all steps read: those that ran now, and those whose layers were cached, when they ran.

    None if nobody knows what a cached layer read: the store was emptied since, or a RUN printed what Podman
    prints. Layers of which it is not sure what they read are not met again.
    """
    steps: list[Recording] = [reads for _, reads in sorted(built.reads.items())]
    if not job.cached:
        return recording_of(steps)  # no layer is from the cache, and none will be met again
    layers = [(step, *layer) for step, found in built.layers.items() for layer in found.items()]
    cached = [job.layers.reads_of(token, layer) for _, layer, is_cached in layers if is_cached]
    known = [reads for reads in cached if reads is not None]
    if built.is_doubtful or len(known) < len(cached):
        job.layers.forget(job.inputs, token)
        return None if cached else recording_of(steps)
    for step, layer, is_cached in layers:
        if not is_cached:
            job.layers.keep_reads(token, layer, built.reads.get(step, StepReads()))
    recording = recording_of([*steps, *known])
    if job.frozen and recording != job.locked:
        job.layers.forget(job.inputs, token)
    else:
        job.layers.keep(job.inputs, job.name, token, recording)
    return recording


def _run_podman(job: Job, names: Mapping[ImageUse, str], scratch: Path) -> _Built:
    stage = job.source.stage
    rendered = render(
        job.source.containerfile,
        names,
        target=stage.target,
        build_args=stage.args,
        platform=job.inputs.platform,
        gateway=_GATEWAY,
    )
    (scratch / "Containerfile").write_bytes(rendered)
    copy_to(job.source.context, scratch / "context", epoch=job.inputs.epoch)
    authority = Authority()
    environment.write_mount(
        scratch / "mount",
        authority.certificate_pem,
        replays=bool(job.locked.responses),
        clock=job.clock,
    )
    secrets, variables = job.secrets.hand_over(scratch / "secrets")
    build = Build(
        containerfile=scratch / "Containerfile",
        context=scratch / "context",
        authority=scratch / "mount",
        mount=environment.MOUNT,
        target=stage.target,
        args=stage.args,
        platform=job.inputs.platform,
        cached=job.cached,
        image_id=scratch / "image-id",
        version=job.podman.version(),
        secrets=secrets,
    )
    argv = build.argv(job.podman)
    env = sealed_environment(job.podman.env, scratch / "mount" / "ca.pem") | variables
    with job.log.open("w", errors="replace") as log:

        def write(text: str) -> None:
            with job.workspace.store.space():
                log.write(text + "\n")
                log.flush()

        write(f"$ {pasteable(argv)}")
        given = parse(rendered, str(stage.containerfile))
        follower = Follower(
            Expected(
                written=step_lines(job.source.containerfile, stage.target),
                given=step_lines(given, stage.target),
                needed=_needed(job),
            ),
            stage=stage.name,
            file=str(stage.containerfile),
            emit=job.emit,
            log=write,
            hide=job.secrets.hide,
            is_full=job.podman.is_full,
        )

        def refused(reason: str) -> None:
            follower.line(f"rbuild: {reason}")

        exchange = Exchange(
            job.network.session,
            locked=job.locked,
            allow_new=job.network.record,
            allow_fetch=job.network.fetch,
            on_refusal=refused,
            expected=job.source.checksums,
            step=lambda: follower.number,
        )
        through = job.podman.through
        with sealed(job.podman.command, argv, env=env, through=through) as command:
            with Recorder(command.listener, authority, exchange):
                code = command.run(follower.line)
            exchange.settle()
    if code != 0 or any(one.kind.is_fatal for one in exchange.failures):
        raise _failure(job, follower, exchange, code)
    _check_reads(job, exchange.observed().values())
    _warn_of_gaps(job, follower, exchange)
    image_id = build.image_id.read_text().strip().removeprefix("sha256:")
    return _Built(image_id, follower.layers, exchange.observed(), follower.is_doubtful)


def _warn_of_gaps(job: Job, follower: Follower, exchange: Exchange) -> None:
    """Say which requests of a build that went well nevertheless make it fail when it is replayed."""
    for gap in exchange.gaps():
        text = (
            f"{_at(follower.where(gap.step), gap.url)}: {gap.method}: {gap.why}; no such answer is recorded, "
            "so `rbuild verify` and --offline will fail here\n"
            f"hint: leave the request out, or rbuild lock --upgrade {job.name} when it is answered"
        )
        job.emit(Note(stage=job.name, text=job.secrets.hide(text), level="warning"))


def _check_reads(job: Job, steps: Iterable[StepReads]) -> None:
    """The lock and the cache name every address; none may give a secret away."""
    for reads in steps:
        if (secret := job.secrets.shown_in(reads.to_bytes())) is not None:
            raise RbuildError(
                f"stage {job.name}: an address that the build read has the secret {secret!r} in it, "
                "and the lock would show it",
                where=Where(file=str(job.source.stage.containerfile)),
                hint="send it in a header: Authorization, or what the server takes",
            )


def _failure(job: Job, follower: Follower, exchange: Exchange, code: int) -> RbuildError:
    """Why a build failed; the last line names stage, line and URL where an address was the reason."""
    problems: list[Problem] = []
    if code != 0:
        instruction = follower.instruction
        what = f"`{instruction.original.splitlines()[0][:200]}`" if instruction else "podman build"
        said = "".join(f"\n  {line}" for line in follower.last)
        exit_code = run_failure(follower.last) or code
        problems.append(
            Problem(
                what=f"stage {job.name}: {what} failed with exit code {exit_code}{said}\n"
                f"  the whole output: {job.log}",
                where=follower.where(follower.number),
                hint=_INDEX_HINT.format(job.name) if job.locked.indexes and not exchange.failures else None,
            )
        )
        problems += _full_disk(job, follower)
    # What is not locked comes last: it is why a build under --offline or --locked fails.
    failures = sorted(exchange.failures, key=lambda failure: failure.kind is Kind.NOT_LOCKED)
    problems += [_refused(job, failure, follower.where(failure.step)) for failure in failures]
    problems = [_hidden(job, one) for one in problems]
    unlocked = any(failure.kind is Kind.NOT_LOCKED for failure in failures)
    return RbuildError(problems, exit_code=Exit.FINDING if unlocked else Exit.CANNOT_TELL)


def _full_disk(job: Job, follower: Follower) -> Sequence[Problem]:
    """That the store or Podman's storage is full, if the step says so and it is.

    A RUN may have filled a file system of its own. What Podman itself says, in its last line, is of its
    storage or of the store.
    """
    if job.workspace.store.is_full("\n".join(follower.last)):
        return job.workspace.store.full().problems
    own = follower.last[-1] if follower.last and follower.last[-1].startswith("Error: ") else ""
    if follower.found_full or says_no_space(own):
        return no_space(job.podman).problems
    return ()


def _hidden(job: Job, problem: Problem) -> Problem:
    hide, where = job.secrets.hide, problem.where
    if where and where.url:
        where = replace(where, url=hide(where.url))
    hint = hide(problem.hint) if problem.hint else None
    return Problem(what=hide(problem.what), where=where, hint=hint)


def _refused(job: Job, failure: Failure, step: Where) -> Problem:
    where = _at(step, failure.url, failure.digest)
    hint = failure.hint
    if failure.kind is Kind.NOT_LOCKED:
        # The last line of all, which by itself says what is missing where.
        hint = f"where there is a network, rbuild lock {job.name} records it for stage {job.name}: {where}"
    elif failure.kind is Kind.UNAVAILABLE:
        hint = f"rbuild lock --upgrade {job.name} records stage {job.name} anew"
    return Problem(what=f"stage {job.name}: {failure.reason}", where=where, hint=hint)


def _at(step: Where, url: str, digest: Digest | None = None) -> Where:
    return Where(file=step.file, line=step.line, url=url, digest=str(digest) if digest else None)


# The canonical image


def _export(job: Job, image_id: str, scratch: Path) -> ImageLock:
    chain = image_chain(
        job.source.containerfile,
        build_args=job.source.stage.args,
        platform=job.inputs.platform,
        target=job.source.stage.target,
    )
    base = job.bases[job.source.uses[chain.base]] if chain.base else None
    layers = scratch / "layers"
    layers.mkdir()
    with job.workspace.store.space(), job.podman.saved(image_id) as stream:
        raw = unpack(stream, layers, known=base.config.diff_ids if base else ())
    raw = replace(raw, config=without_gateway(raw.config, _GATEWAY))
    return canonicalise(
        raw,
        base=base,
        instructions=chain.instructions,
        inputs=job.inputs,
        injected=_injected(job, chain),
        store=job.workspace.store,
    )


def _injected(job: Job, chain: Chain) -> dict[str, str]:
    """The variables that are in the image only because this build put them there."""
    own = variables_set(chain.instructions, job.source.containerfile.escape)
    injected = dict(environment.variables(job.inputs.epoch, job.clock))
    if chain.base is None:
        injected["PATH"] = _PODMAN_PATH
    return {name: value for name, value in injected.items() if name not in own}
