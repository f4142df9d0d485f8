"""What a project's files say of a stage now: its Containerfile, its context, its bases."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from rbuild.containerfile.expand import ImageUse, args_used, checksums, image_uses, needed_targets
from rbuild.containerfile.model import Containerfile
from rbuild.containerfile.mounts import Mount, mounts
from rbuild.containerfile.parse import parse
from rbuild.context import Context, ignore_rules, scan
from rbuild.digest import Digest
from rbuild.errors import Problem, RbuildError, Where
from rbuild.image.codec import codec_text
from rbuild.image.form import NORMALISERS, Algorithm
from rbuild.plan import Inputs
from rbuild.project import PROJECT_FILE, Stage, locate
from rbuild.reference import Reference
from rbuild.suggest import did_you_mean
from rbuild.verbs.workspace import PRIVATE, Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A stage as its files are now. `uses` maps every reference to an image to the key of its base."""

    stage: Stage
    digest: Digest  # of the Containerfile
    containerfile: Containerfile
    uses: Mapping[ImageUse, str]
    context: Context
    normalisers: tuple[str, ...]
    compression: Algorithm
    checksums: Mapping[str, Digest]  # of the content of URLs, as `ADD --checksum` has them

    @property
    def bases(self) -> tuple[str, ...]:
        """The keys of the bases, each once."""
        return tuple(sorted(set(self.uses.values())))

    def inputs(
        self, platform: str, bases: Mapping[str, Digest], *, epoch: int, form: int, codec: str = ""
    ) -> Inputs:
        """What the image is a function of, given the digests of its bases, and what a lock keeps."""
        return Inputs(
            containerfile=self.digest,
            context=self.context.digest,
            target=self.stage.target,
            args=self.stage.args,
            platform=platform,
            bases={key: bases[key] for key in self.bases},
            epoch=epoch,
            normalisers=self.normalisers,
            checksums=self.checksums,
            codec=codec_text(self.compression, codec),
            form=form,
        )


def read_sources(workspace: Workspace, stages: Iterable[str]) -> dict[str, Source]:
    """Read what several stages are made of. Raises RbuildError with the problems of all of them."""
    sources: dict[str, Source] = {}
    problems: list[Problem] = []
    for name in stages:
        try:
            sources[name] = _read(workspace, workspace.project.stages[name])
        except RbuildError as error:
            problems.extend(error.problems)
    if problems:
        raise RbuildError(dict.fromkeys(problems))
    return sources


def read_containerfile(workspace: Workspace, stage: Stage) -> tuple[Digest, Containerfile]:
    """A stage's Containerfile, and the digest of its bytes. Raises RbuildError for mistakes of form."""
    try:
        text = (workspace.root / stage.containerfile).read_bytes()
    except OSError as error:
        raise RbuildError(
            f"cannot be read: {error.strerror}", where=Where(file=str(stage.containerfile))
        ) from error
    return Digest.of(text), parse(text, str(stage.containerfile))


def _read(workspace: Workspace, stage: Stage) -> Source:
    path = workspace.root / stage.containerfile
    digest, containerfile = read_containerfile(workspace, stage)
    problems = [*_unknown_args(workspace, stage, containerfile), *_unknown_normalisers(workspace, stage)]
    uses: dict[ImageUse, str] = {}
    found = image_uses(
        containerfile, build_args=stage.args, platform=workspace.project.platform, target=stage.target
    )
    for use in found:
        try:
            uses[use] = str(_known(workspace, Reference.parse(use.image)))
        except RbuildError as error:
            where = Where(file=str(stage.containerfile), line=use.line)
            problems += [Problem(what=one.what, where=where, hint=one.hint) for one in error.problems]
    checked: Mapping[str, Digest] = {}
    try:
        needed = needed_targets(
            containerfile, stage.target, build_args=stage.args, platform=workspace.project.platform
        )
        problems += _secrets_that_do_not_fit(workspace, stage, mounts(containerfile, needed))
        checked = checksums(
            containerfile, build_args=stage.args, platform=workspace.project.platform, target=stage.target
        )
    except RbuildError as error:
        problems.extend(error.problems)
    root = workspace.root / stage.context
    # What rbuild itself writes into the project would change the inputs of every build by the last one; a
    # secret is no input.
    excluded = [workspace.lock_path, workspace.root / PRIVATE]
    for other in workspace.project.stages.values():
        excluded += [workspace.root / output for output in other.run.outputs.values()]
        excluded += [workspace.root / secret.file for secret in other.secrets.values() if secret.file]
    try:
        context = scan(root, ignore_rules(root, path), name=str(stage.context), excluded=excluded)
    except RbuildError as error:
        problems.extend(error.problems)
    if problems:
        raise RbuildError(problems)
    return Source(
        stage=stage,
        digest=digest,
        containerfile=containerfile,
        uses=uses,
        context=context,
        checksums=checked,
        normalisers=tuple(name for name in NORMALISERS if stage.normalisers.get(name, True)),
        compression=workspace.project.compression,
    )


def _known(workspace: Workspace, reference: Reference) -> Reference:
    """The reference; raises RbuildError for one that no registry can have, and that `bases` does not list."""
    bases = workspace.project.bases
    if reference.registry == "localhost" and reference not in bases:
        near = did_you_mean(str(reference), map(str, bases))
        raise RbuildError(
            f"{reference} is in no registry, and `bases` in {PROJECT_FILE} does not list it",
            hint=near or f"add it to `bases` in {PROJECT_FILE}, and say what it is: image, oci or debian",
        )
    return reference


def _in_project_file(workspace: Workspace, *path: str) -> Where:
    """Where a key of rbuild.yaml is."""
    return locate((workspace.root / PROJECT_FILE).read_bytes(), *path)


def _unknown_args(workspace: Workspace, stage: Stage, containerfile: Containerfile) -> Iterable[Problem]:
    declared = args_used(containerfile)
    for name in stage.args:
        if name not in declared:
            yield Problem(
                what=f"{stage.containerfile} declares no ARG {name}",
                where=_in_project_file(workspace, "stages", stage.name, "args", name),
                hint=did_you_mean(name, declared) or f"add `ARG {name}` to it, or remove the key",
            )


def _secrets_that_do_not_fit(workspace: Workspace, stage: Stage, used: Iterable[Mount]) -> Iterable[Problem]:
    asked = [mount for mount in used if mount.kind == "secret"]
    names = {mount.name for mount in asked}
    if any("$" in name for name in names):
        return  # any secret may be meant
    for name in stage.secrets:
        if name not in names:
            yield Problem(
                what=f"no RUN of {stage.containerfile} has --mount=type=secret,id={name}",
                where=_in_project_file(workspace, "stages", stage.name, "secrets", name),
                hint=did_you_mean(name, names)
                or "add it to the RUN that reads the secret, or remove the key",
            )
    for mount in asked:
        if mount.is_required and mount.name not in stage.secrets:
            yield Problem(
                what=f"the secret {mount.name!r} is required, and {PROJECT_FILE} does not say where",
                where=Where(file=str(stage.containerfile), line=mount.line),
                hint=f"add it to stages.{stage.name}.secrets: {mount.name}: {{env: NAME}}, or {{file: PATH}}",
            )


def _unknown_normalisers(workspace: Workspace, stage: Stage) -> Iterable[Problem]:
    for name in stage.normalisers:
        if name not in NORMALISERS:
            yield Problem(
                what=f"there is no normaliser {name!r}",
                where=_in_project_file(workspace, "stages", stage.name, "normalisers", name),
                hint=did_you_mean(name, NORMALISERS) or f"there are {', '.join(NORMALISERS)}",
            )
