"""What the types of `rbuild.yaml` cannot say: that its parts fit each other, and the files that they name."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator
from itertools import islice, takewhile
from typing import Final

from rbuild.destination import Destination, check_template, placeholders
from rbuild.errors import RbuildError
from rbuild.graph import StageGraph, find_cycle
from rbuild.projectfile import (
    PLACEHOLDER,
    Base,
    Exists,
    Kind,
    ProjectFile,
    Run,
    StageFile,
    default_containerfile,
)
from rbuild.reference import Reference
from rbuild.relativepath import RelativePath
from rbuild.suggest import did_you_mean
from rbuild.yamlfile import Document, Node, Scalar

_MAX_STAGES: Final = 1000
_POLICY_FILE: Final = "policy.json"  # of a trust policy
_PLATFORM = re.compile(r"linux/(?P<architecture>[a-z0-9]+)(?:/v[0-9])?\Z")
_ARCHITECTURES: Final = ("amd64", "arm64", "386", "arm", "ppc64le", "riscv64", "s390x")


def check(file: ProjectFile, document: Document, exists: Exists) -> None:
    """Note in `document` everything in `file` that does not fit."""
    if file.registry is not None:
        _check_registry(file.registry, document, "registry")
    for at, registry in enumerate(file.substitutes):
        _check_registry(registry, document, "substitutes", at)
    _check_templates(file, document)
    if file.trust is not None and _check_exists(file.trust, "directory", ("trust",), document, exists):
        _check_exists(
            RelativePath.parse(f"{file.trust}/{_POLICY_FILE}"), "file", ("trust",), document, exists
        )
    _check_platform(file.platform, document)
    _check_bases(file.bases, document, exists)
    stages = document.keys("stages")
    if document.node("stages") and not stages:
        document.problem("has no stage", "stages", hint="name at least one")
    if len(stages) > _MAX_STAGES:
        document.problem(f"has more than {_MAX_STAGES} stages", "stages")
        return
    for name, stage in file.stages.items():
        _check_sources(name, stage, document, exists)
        _check_secrets(name, stage, document)
        _check_command(name, stage.run, document)
    graph = _check_needs(file, document)
    _Files(file, document, graph, exists).check()


def _check_registry(registry: str, document: Document, *path: str | int) -> None:
    try:
        Destination.parse(registry)
    except RbuildError as error:
        document.problem(f"is {error.problems[0].what}", *path, hint=error.problems[0].hint)


def _check_templates(file: ProjectFile, document: Document) -> None:
    for key, templates in (("tags", file.push.tags), ("moving_tags", file.push.moving_tags)):
        for at, template in enumerate(templates):
            try:
                check_template(template)
            except RbuildError as error:
                document.problem(error.problems[0].what, "push", key, at, hint=error.problems[0].hint)
            if "version" in placeholders(template) and file.version is None:
                document.problem(
                    "{version} needs the project's version",
                    "push",
                    key,
                    at,
                    hint="add version: to the project",
                )


def _check_platform(platform: str, document: Document) -> None:
    match = _PLATFORM.match(platform)
    if not match or match["architecture"] not in _ARCHITECTURES:
        known = [f"linux/{architecture}" for architecture in _ARCHITECTURES]
        hint = did_you_mean(platform, known) or f"known platforms: {', '.join(known)}"
        document.problem(f"is not a platform: {platform[:80]!r}", "platform", hint=hint)


def _check_bases(bases: dict[str, Base], document: Document, exists: Exists) -> None:
    seen: dict[Reference, str] = {}
    for key, base in bases.items():
        path = ("bases", key)
        try:
            reference = Reference.parse(key)
        except RbuildError as error:
            document.problem(f"is {error.problems[0].what}", *path, hint=error.problems[0].hint)
        else:
            first = seen.setdefault(reference, key)
            if first != key:
                document.problem(f"means the same image as {first!r}", *path, hint="remove one of them")
        said = [kind for kind in ("image", "oci", "debian") if not _is_empty(document.node(*path, kind))]
        if not said:
            document.problem("does not say what it is", *path, hint="give it one of image, oci and debian")
        elif len(said) > 1:
            document.problem(f"is more than one thing: {' and '.join(said)}", *path, hint="keep one")
        if base.tag is not None and base.oci is None:
            document.problem("goes only with oci", *path, "tag", hint="a tag of an image is part of its name")
        if base.oci is not None and _check_exists(base.oci, "directory", (*path, "oci"), document, exists):
            _check_layout(base.oci, (*path, "oci"), document, exists)


def _is_empty(node: Node | None) -> bool:
    return node is None or (isinstance(node, Scalar) and node.is_null)


def _check_layout(folder: RelativePath, path: tuple[str, ...], document: Document, exists: Exists) -> None:
    if exists(f"{folder}/oci-layout") != "file":
        hint = f"`skopeo copy docker://IMAGE oci:{folder}` makes one"
        document.problem(
            f"is not an OCI image layout: {str(folder)!r} has no file oci-layout", *path, hint=hint
        )


def _check_sources(name: str, stage: StageFile, document: Document, exists: Exists) -> None:
    path = ("stages", name)
    if stage.containerfile or document.node(*path, "containerfile") is None:
        containerfile = stage.containerfile or default_containerfile(name)
        _check_exists(containerfile, "file", (*path, "containerfile"), document, exists)
    _check_exists(stage.context, "directory", (*path, "context"), document, exists)


def _check_exists(
    at: RelativePath, wanted: Kind, path: tuple[str, ...], document: Document, exists: Exists
) -> bool:
    found = exists(str(at))
    if found == wanted:
        return True
    if found is None:
        document.problem(f"there is no {wanted} {str(at)!r}", *path, hint="create it, or correct the path")
    elif found == "outside":
        document.problem(f"a symbolic link leads {str(at)!r} out of the project", *path)
    else:
        document.problem(f"{str(at)!r} is a {found}; a {wanted} is expected", *path)
    return False


def _check_secrets(name: str, stage: StageFile, document: Document) -> None:
    for secret in stage.secrets:
        path = ("stages", name, "secrets", secret)
        said = [kind for kind in ("env", "file") if not _is_empty(document.node(*path, kind))]
        if not said:
            document.problem("does not say where its value is", *path, hint="give it one of env and file")
        elif len(said) > 1:
            document.problem(f"is in more than one place: {' and '.join(said)}", *path, hint="keep one")


def _check_command(name: str, run: Run, document: Document) -> None:
    known = [f"inputs.{key}" for key in document.keys("stages", name, "run", "inputs")]
    known += [f"outputs.{key}" for key in document.keys("stages", name, "run", "outputs")]
    for at, item in enumerate(run.command):
        for match in PLACEHOLDER.finditer(item):
            placeholder = match[0][1:-1]
            if placeholder not in known:
                near = did_you_mean(placeholder, known)
                declared = (
                    f"declared: {', '.join(known[:20])}" if known else "declare it under inputs or outputs"
                )
                document.problem(
                    f"{match[0][:80]} is neither an input nor an output of the stage",
                    *("stages", name, "run", "command", at),
                    hint=near or declared,
                )


def _check_needs(file: ProjectFile, document: Document) -> StageGraph:
    """Note what is wrong with the needs; what comes back has only those that are right."""
    stages = document.keys("stages")
    needs: dict[str, list[str]] = {name: [] for name in stages}
    for name, stage in file.stages.items():
        for at, need in enumerate(stage.needs):
            path = ("stages", name, "needs", at)
            if need not in stages:
                hint = did_you_mean(need, stages) or f"the stages are: {', '.join(stages[:20])}"
                document.problem(f"there is no stage {need[:80]!r}", *path, hint=hint)
            elif need in needs[name]:
                document.problem(f"{need!r} is there twice", *path, hint="remove one of them")
            else:
                needs[name].append(need)
    while cycle := find_cycle(needs):
        start = min(range(len(cycle) - 1), key=lambda at: stages.index(cycle[at]))
        cycle = (*cycle[start:-1], *cycle[: start + 1])
        document.problem(
            f"the stages need each other: {' → '.join(cycle)}",
            *("stages", cycle[0], "needs", file.stages[cycle[0]].needs.index(cycle[1])),
            hint="remove one of these needs",
        )
        for member in cycle:
            needs[member] = []
    return StageGraph(needs)


class _Files:
    """The inputs and outputs of all stages, and how they meet."""

    def __init__(self, file: ProjectFile, document: Document, graph: StageGraph, exists: Exists) -> None:
        self._file = file
        self._document = document
        self._graph = graph
        self._exists = exists
        # By parts, so that what lies below a folder comes right after it.
        self._outputs = sorted(
            (path.parts, at, stage, name, path)
            for at, (stage, written) in enumerate(file.stages.items())
            for name, path in written.run.outputs.items()
        )
        self._writers = {parts: stage for parts, _, stage, _, _ in reversed(self._outputs)}
        self._writers_below: dict[tuple[str, ...], tuple[str, ...]] = {}

    def check(self) -> None:
        self._check_outputs()
        self._check_nesting()
        for stage, written in self._file.stages.items():
            for name, path in written.run.inputs.items():
                self._check_input(stage, name, path)
            for key, source in (
                ("containerfile", written.containerfile or default_containerfile(stage)),
                ("context", written.context),
            ):
                for writer, output in self._holders(source):
                    self._document.problem(
                        f"lies in {str(output)!r}, which is an output of stage {writer!r}",
                        *("stages", stage, key),
                        hint="give outputs a folder of their own, such as out/",
                    )

    def _check_outputs(self) -> None:
        for _, _, stage, name, path in self._outputs:
            place = ("stages", stage, "run", "outputs", name)
            if path.text == ".":
                self._document.problem("is the whole project", *place, hint="name a folder in it")
            elif (found := self._exists(str(path))) in ("file", "outside"):
                what = "is a file" if found == "file" else "leads out of the project by a symbolic link"
                self._document.problem(f"{str(path)!r} {what}; a folder is expected", *place)

    def _check_nesting(self) -> None:
        around: list[tuple[str, RelativePath]] = []
        for _, _, stage, name, path in self._outputs:
            while around and not around[-1][1].holds(path):
                around.pop()
            if around and path.text != ".":
                owner, outer = around[-1]
                self._document.problem(
                    f"{str(path)!r} lies in {str(outer)!r}, which is an output of stage {owner!r}"
                    if path != outer
                    else f"{str(path)!r} is an output of stage {owner!r} too",
                    *("stages", stage, "run", "outputs", name),
                    hint="give each output a folder of its own",
                )
            if path.text != ".":
                around.append((stage, path))

    def _check_input(self, stage: str, name: str, path: RelativePath) -> None:
        place = ("stages", stage, "run", "inputs", name)
        if path.text == ".":
            self._document.problem("is the whole project", *place, hint="name a file or folder in it")
            return
        if self._exists(str(path)) == "outside":
            self._document.problem(f"a symbolic link leads {str(path)!r} out of the project", *place)
        allowed = self._graph.all_needs(stage)
        for writer in dict.fromkeys([*(writer for writer, _ in self._holders(path)), *self._below(path)]):
            if writer == stage:
                self._document.problem(f"{str(path)!r} is what the stage itself writes", *place)
            elif writer not in allowed:
                self._document.problem(
                    f"{str(path)!r} is made by stage {writer!r}, which {stage!r} does not need",
                    *place,
                    hint=f"add {writer} to stages.{stage}.needs",
                )

    def _holders(self, path: RelativePath) -> Iterator[tuple[str, RelativePath]]:
        """The outputs that hold `path`, with the stages that write them; the whole project is none."""
        for end in range(1, len(path.parts) + 1):
            parts = path.parts[:end]
            if parts in self._writers:
                yield self._writers[parts], RelativePath("/".join(parts))

    def _below(self, path: RelativePath) -> tuple[str, ...]:
        """The stages that write something below `path`."""
        if path.parts not in self._writers_below:
            start = bisect_left(self._outputs, path.parts, key=lambda output: output[0])
            found = takewhile(lambda output: path.holds(output[4]), islice(self._outputs, start, None))
            self._writers_below[path.parts] = tuple(dict.fromkeys(output[2] for output in found))
        return self._writers_below[path.parts]
