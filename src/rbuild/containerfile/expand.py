"""What a Containerfile refers to, once its variables are expanded: images, other targets, URLs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Literal

from rbuild.containerfile.model import BuildTarget, Containerfile, Instruction, Span
from rbuild.containerfile.scope import (
    PLATFORM_ARGS,
    PROXY_ARGS,
    Scope,
    Values,
    arg_names,
    platform_args,
)
from rbuild.containerfile.variables import expand
from rbuild.containerfile.words import BLANKS, quote_flag
from rbuild.digest import Digest
from rbuild.errors import Problem, RbuildError, Where

DEFAULT_PLATFORM = "linux/amd64"
SCRATCH = "scratch"

Kind = Literal["FROM", "COPY --from", "RUN --mount"]

_INDEX = re.compile(r"[+-]?[0-9]{1,9}\Z")
_STRING = re.compile(r'"(?P<word>(?:[^"\\]|\\.)*)"')  # of JSON
_WORD = re.compile(r"(?P<word>[^\t\v\f\r ]+)")


@dataclass(frozen=True, slots=True)
class Site:
    """Where a name stands in the file: `before` + name + `after` replaces the characters of `spans`."""

    spans: tuple[Span, ...]
    before: str = ""
    after: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageUse:
    """A reference to an image outside the file.

    `text` is as written, `image` with variables expanded. `line` is the line on which the name stands,
    `target` the index of the build target that uses it, `platform` the expanded `--platform` of a FROM.
    """

    kind: Kind
    text: str
    image: str
    line: int
    target: int
    platform: str | None
    site: Site = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetUse:
    """A reference by the target `target` to the earlier one with this `index`."""

    kind: Kind
    text: str
    target: int
    index: int
    site: Site = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """What a wanted target needs: the indexes of targets (itself included, ascending), and what these use.

    `scratch` are the targets among them that are FROM scratch; that is no image.
    """

    wanted: int
    needed: tuple[int, ...]
    images: tuple[ImageUse, ...]
    targets: tuple[TargetUse, ...]
    scratch: tuple[ImageUse, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A source of a COPY or ADD that does not come from an image or another target, as expanded."""

    keyword: str
    path: str  # relative to the context (it may be a glob), or a URL
    line: int


def find_target(containerfile: Containerfile, target: str | None) -> BuildTarget:
    """The target with this name (upper and lower case are the same) or number; the last one for None.

    Raises RbuildError if there is none.
    """
    if target is None:
        return containerfile.targets[-1]
    names = {item.name.casefold(): item for item in containerfile.targets if item.name is not None}
    found = names.get(target.casefold())
    if found is None and target.isascii() and target.isdigit() and len(target) < 10:
        found = next((item for item in containerfile.targets if item.index == int(target)), None)
    if found is None:
        close = get_close_matches(target.casefold(), names, n=1)
        listed = ", ".join(item.reference for item in containerfile.targets[:20])
        raise RbuildError(
            f"there is no build target {target[:80]!r}",
            where=Where(file=containerfile.name),
            hint=f"did you mean {names[close[0]].name}?" if close else f"the targets are {listed}",
        )
    return found


def resolve(
    containerfile: Containerfile,
    *,
    build_args: Mapping[str, str],
    platform: str = DEFAULT_PLATFORM,
    target: str | None = None,
) -> Resolution:
    """What `target` needs, from this file and from outside.

    Raises RbuildError with all that is wrong in the targets that are needed: a variable that cannot be
    expanded, a name that expands to nothing, the number of a target that does not come earlier.
    """
    wanted = find_target(containerfile, target)
    names = {item.name.casefold(): item.index for item in containerfile.targets if item.name is not None}
    variables = _Variables(containerfile, build_args, platform)
    needed = {wanted.index}
    images: list[ImageUse] = []
    scratch: list[ImageUse] = []
    targets: list[TargetUse] = []
    problems: list[Problem] = []
    for index in range(wanted.index, -1, -1):  # a target can only use earlier ones
        if index not in needed:
            continue
        current = containerfile.targets[index]
        for use in _references(current, variables, problems):
            earlier = _earlier_target(use, containerfile, names, problems)
            if earlier is not None:
                needed.add(earlier)
                targets.append(
                    TargetUse(kind=use.kind, text=use.text, target=index, index=earlier, site=use.site)
                )
            elif use.image != SCRATCH:
                images.append(use)
            elif use.kind == "FROM":
                scratch.append(use)
    if problems:
        raise RbuildError(sorted(problems, key=lambda item: (item.where and item.where.line) or 0))
    return Resolution(
        wanted=wanted.index,
        needed=tuple(sorted(needed)),
        images=tuple(sorted(images, key=lambda use: use.site.spans[0].line)),
        targets=tuple(targets),
        scratch=tuple(scratch),
    )


def image_uses(
    containerfile: Containerfile,
    *,
    build_args: Mapping[str, str],
    platform: str = DEFAULT_PLATFORM,
    target: str | None = None,
) -> tuple[ImageUse, ...]:
    """Every reference to an image outside the file by the targets that `target` needs, in order of lines.

    `scratch` and earlier targets are no image uses. Raises as `resolve`.
    """
    return resolve(containerfile, build_args=build_args, platform=platform, target=target).images


def scratch_uses(
    containerfile: Containerfile,
    *,
    build_args: Mapping[str, str],
    platform: str = DEFAULT_PLATFORM,
    target: str | None = None,
) -> tuple[ImageUse, ...]:
    """Every `FROM scratch` among the targets that `target` needs. Raises as `resolve`."""
    return resolve(containerfile, build_args=build_args, platform=platform, target=target).scratch


def needed_targets(
    containerfile: Containerfile,
    target: str | None = None,
    *,
    build_args: Mapping[str, str] | None = None,
    platform: str = DEFAULT_PLATFORM,
) -> tuple[int, ...]:
    """The indexes of the targets that `target` (the last one for None) needs, its own included, ascending."""
    return resolve(containerfile, build_args=build_args or {}, platform=platform, target=target).needed


def args_used(containerfile: Containerfile) -> frozenset[str]:
    """The names of the build args that make a difference: those that an ARG declares, and the predefined."""
    declared = {
        name
        for instruction in _all_instructions(containerfile)
        if instruction.keyword == "ARG"
        for name in arg_names(instruction, containerfile.escape)
    }
    return frozenset(declared) | PLATFORM_ARGS | PROXY_ARGS


def sources(
    containerfile: Containerfile,
    *,
    build_args: Mapping[str, str],
    platform: str = DEFAULT_PLATFORM,
    target: str | None = None,
) -> tuple[Source, ...]:
    """What the needed targets COPY and ADD from the context, here-documents left out, and ADD from URLs."""
    resolution = resolve(containerfile, build_args=build_args, platform=platform, target=target)
    variables = _Variables(containerfile, build_args, platform)
    return tuple(
        source
        for instruction, scope in _with_scopes(containerfile, resolution, variables)
        for source in _sources_of(instruction, scope, containerfile.name)
    )


def remote_adds(
    containerfile: Containerfile,
    *,
    build_args: Mapping[str, str],
    platform: str = DEFAULT_PLATFORM,
    target: str | None = None,
) -> tuple[Source, ...]:
    """Every `ADD https://…` of the needed targets: what Podman itself fetches, outside of any RUN."""
    everything = sources(containerfile, build_args=build_args, platform=platform, target=target)
    return tuple(source for source in everything if is_url(source.path))


def remote_words(
    containerfile: Containerfile,
    *,
    build_args: Mapping[str, str],
    platform: str = DEFAULT_PLATFORM,
    target: str | None = None,
) -> tuple[Span, ...]:
    """Where in the file each http(s) URL begins that the needed targets ADD: empty spans.

    Of what an ONBUILD adds, the variables are those where it stands, not where it is triggered.
    """
    resolution = resolve(containerfile, build_args=build_args, platform=platform, target=target)
    variables = _Variables(containerfile, build_args, platform)
    found: list[Span] = []
    for whole, scope in _with_scopes(containerfile, resolution, variables):
        instruction = whole.trigger or whole
        if instruction.keyword != "ADD":
            continue
        where = Where(file=containerfile.name, line=instruction.line)
        words = instruction.exec_form or BLANKS.split(instruction.arguments)
        pattern = _STRING if instruction.exec_form else _WORD
        for word, place in zip(words[:-1], pattern.finditer(instruction.arguments), strict=False):
            if expand(word, scope.variable, where=where).startswith(("http://", "https://")):
                start = instruction.arguments_start + place.start("word")
                (first,) = instruction.spans(start, start + 1)
                found.append(Span(first.line, first.start, first.start))
    return tuple(found)


def checksums(
    containerfile: Containerfile,
    *,
    build_args: Mapping[str, str],
    platform: str = DEFAULT_PLATFORM,
    target: str | None = None,
) -> Mapping[str, Digest]:
    """What `ADD --checksum` of the needed targets says of the content of URLs.

    Raises RbuildError for a checksum that is no sha256, or that does not go with exactly one http(s) URL.
    """
    resolution = resolve(containerfile, build_args=build_args, platform=platform, target=target)
    variables = _Variables(containerfile, build_args, platform)
    found: dict[str, Digest] = {}
    problems: list[Problem] = []
    for instruction, scope in _with_scopes(containerfile, resolution, variables):
        flag = next((flag for flag in instruction.flags if flag.name == "checksum"), None)
        if instruction.keyword != "ADD" or flag is None:
            continue
        where = Where(file=containerfile.name, line=instruction.line)
        try:
            urls = [source.path for source in _sources_of(instruction, scope, containerfile.name)]
            if len(urls) != 1 or not urls[0].startswith(("http://", "https://")):
                hint = "give every URL an ADD of its own; what is in the context has its sum in the lock"
                raise RbuildError("ADD --checksum goes with one http or https URL", where=where, hint=hint)
            found[urls[0]] = _checksum(expand(flag.value or "", scope.variable, where=where), where)
        except RbuildError as error:
            problems.extend(error.problems)
    if problems:
        raise RbuildError(problems)
    return found


def _checksum(text: str, where: Where) -> Digest:
    try:
        return Digest.parse(text)
    except RbuildError as error:
        raise RbuildError(
            f"ADD --checksum={text[:80]}: not a sha256", where=where, hint="--checksum=sha256:HEX"
        ) from error


def _with_scopes(
    containerfile: Containerfile, resolution: Resolution, variables: _Variables
) -> Iterator[tuple[Instruction, Scope]]:
    """Every instruction of the needed targets, with the variables that it sees."""
    parents = {use.target: use.index for use in resolution.targets if use.kind == "FROM"}
    environments: dict[int, Values] = {}
    for index in resolution.needed:
        scope = variables.of_target(environments[parents[index]] if index in parents else {})
        for instruction in containerfile.targets[index].instructions:
            scope.read(instruction)
            yield instruction, scope
        environments[index] = scope.env


def scopes(
    containerfile: Containerfile,
    *,
    build_args: Mapping[str, str],
    platform: str = DEFAULT_PLATFORM,
    target: str | None = None,
) -> Iterator[tuple[Instruction, Scope]]:
    """Every instruction of the needed targets, each with the variables that it sees.

    The scope of a target grows with its instructions: take what is needed of it before the next one.
    """
    resolution = resolve(containerfile, build_args=build_args, platform=platform, target=target)
    return _with_scopes(containerfile, resolution, _Variables(containerfile, build_args, platform))


def is_url(path: str) -> bool:
    """Whether an ADD of `path` reaches for the network."""
    return path.startswith(("http://", "https://", "git://", "git@"))


class _Variables:
    """Makes the scopes of one file, for given build args and platform."""

    def __init__(self, containerfile: Containerfile, build_args: Mapping[str, str], platform: str) -> None:
        self.file = containerfile.name
        self._escape = containerfile.escape
        self._build_args = build_args
        self._predefined = platform_args(platform)
        self.heading = Scope(self.file, self._escape, build_args, self._predefined)
        for instruction in containerfile.global_args:
            self.heading.read(instruction)

    def of_target(self, env: Values) -> Scope:
        return Scope(
            self.file,
            self._escape,
            self._build_args,
            self._predefined,
            global_args=self.heading.args,
            env=env,
        )


def _all_instructions(containerfile: Containerfile) -> Iterator[Instruction]:
    yield from containerfile.global_args
    for target in containerfile.targets:
        for instruction in target.instructions:
            yield instruction.trigger or instruction


def _base_spans(target: BuildTarget) -> tuple[Span, ...]:
    start = target.origin.arguments_start
    return target.origin.spans(start, start + len(target.base))


def _references(target: BuildTarget, variables: _Variables, problems: list[Problem]) -> Iterator[ImageUse]:
    """Every reference of a target, to images and to other targets alike; mistakes go to `problems`."""
    heading = variables.heading.arg_or_predefined
    where = Where(file=variables.file, line=target.line)
    site = Site(_base_spans(target))
    try:
        platform = expand(target.platform, heading, where=where) if target.platform else None
        yield _use("FROM", target.base, expand(target.base, heading, where=where), target, site, platform)
    except RbuildError as error:
        problems.extend(error.problems)
    scope = variables.of_target({})
    for instruction in target.instructions:
        scope.read(instruction)
        where = Where(file=variables.file, line=instruction.line)
        for kind, text, site in _from_flags(instruction):
            try:
                yield _use(kind, text, expand(text, scope.arg, where=where), target, site)
            except RbuildError as error:
                problems.extend(error.problems)


def _from_flags(instruction: Instruction) -> Iterator[tuple[Kind, str, Site]]:
    for flag in instruction.flags:
        spans = instruction.spans(flag.start, flag.end)
        if instruction.keyword == "COPY" and flag.name == "from":
            yield "COPY --from", flag.value or "", Site(spans, "--from=")
        elif instruction.keyword == "RUN" and flag.name == "mount":
            before, text, after = _mount_from(flag.value or "")
            if text is not None:
                yield "RUN --mount", text, Site(spans, f"--mount={quote_flag(before)}", quote_flag(after))


def _use(
    kind: Kind, text: str, image: str, target: BuildTarget, site: Site, platform: str | None = None
) -> ImageUse:
    return ImageUse(
        kind=kind,
        text=text,
        image=image,
        line=site.spans[0].line,
        target=target.index,
        platform=platform,
        site=site,
    )


def _mount_from(value: str) -> tuple[str, str | None, str]:
    """A `--mount` value around the value of its `from=`, which is None if it has none."""
    fields = value.split(",")
    for number, part in enumerate(fields):
        if part.startswith("from="):
            before = "".join(f"{item}," for item in fields[:number])
            after = "".join(f",{item}" for item in fields[number + 1 :])
            return f"{before}from=", part.removeprefix("from="), after
    return "", None, ""


def _earlier_target(
    use: ImageUse, containerfile: Containerfile, names: Mapping[str, int], problems: list[Problem]
) -> int | None:
    """The index of the target that a reference means; None if it means an image."""
    where = Where(file=containerfile.name, line=use.line)
    if not use.image:
        problems.append(
            Problem(
                what=f"{use.kind} {use.text}: the name is empty once its variables are expanded",
                where=where,
                hint="give the build arg a value, or declare it with a default: ARG NAME=value",
            )
        )
    if _INDEX.match(use.image):
        index = int(use.image)
        earlier = 0 <= index < use.target
        # FROM knows a target by its number only if it has no name; the others know every target by it.
        if use.kind == "FROM":
            return index if earlier and containerfile.targets[index].name is None else None
        if not earlier:
            problems.append(
                Problem(
                    what=f"{use.kind}={use.text}: no earlier build target has the number {index}",
                    where=where,
                    hint="the first FROM has the number 0; better, name the target with AS",
                )
            )
        return index if earlier else None
    index_by_name = names.get(use.image.casefold())
    return index_by_name if index_by_name is not None and index_by_name < use.target else None


def _sources_of(instruction: Instruction, scope: Scope, file: str) -> Iterator[Source]:
    if instruction.keyword not in ("COPY", "ADD") or any(flag.name == "from" for flag in instruction.flags):
        return
    where = Where(file=file, line=instruction.line)
    for word in (instruction.exec_form or BLANKS.split(instruction.arguments))[:-1]:
        if not (instruction.heredocs and word.startswith("<<")):
            path = expand(word, scope.variable, where=where)
            yield Source(keyword=instruction.keyword, path=path, line=instruction.line)
