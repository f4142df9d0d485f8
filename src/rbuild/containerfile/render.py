"""The Containerfile that Podman gets: names of images replaced, every line where the user has it."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping

from rbuild.containerfile.expand import (
    DEFAULT_PLATFORM,
    SCRATCH,
    ImageUse,
    Site,
    TargetUse,
    remote_words,
    resolve,
)
from rbuild.containerfile.model import BuildTarget, Containerfile, Instruction, Span

# Words of a RUN's --mount that Buildah 1.28 has a problem with, and what says the same.
_MOUNT_WORDS = (
    (re.compile(r"\bsharing=(locked)\b"), "shared"),
    (re.compile(r"(?:,|--mount=)[\"']?(required)(?![\w=-])"), "required=true"),
)
# Nothing in it that the builder would expand, unquote or split.
_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]*\Z")


def render(
    containerfile: Containerfile,
    replacements: Mapping[ImageUse, str],
    *,
    target: str | None = None,
    build_args: Mapping[str, str] | None = None,
    platform: str = DEFAULT_PLATFORM,
    gateway: str = "",
) -> bytes:
    """The file with every image use in `replacements` replaced by its value, line numbers unchanged.

    Targets that `target` does not need become an empty `FROM scratch` with their instructions commented out:
    Podman neither pulls for them nor builds them, and numbers like `COPY --from=0` stay right. A reference to
    a target through a variable, or in other upper and lower case, is written out, because Buildah 1.28 only
    builds targets that it finds by their plain name. `ADD --checksum`, which Podman 4 does not know, goes:
    see `checksums`. A cache that is shared is not locked, since no other build has the same one: the lock of
    Buildah 1.28 is a file in it. A bare `required` of a secret, at which that panics, gets its value. Before
    every URL of an ADD comes `gateway`, since Buildah 1.38 and 1.39 ask no proxy
    (https://github.com/containers/buildah/issues/5869). Every other byte stays as it is.

    `build_args` and `platform` must be those that the image uses were found with. Raises as `resolve`.
    """
    resolution = resolve(containerfile, build_args=build_args or {}, platform=platform, target=target)
    editor = _Editor(containerfile.lines)
    for use in (*resolution.images, *resolution.scratch):
        if use in replacements:
            editor.replace(use.site, replacements[use])
    for reference in resolution.targets:
        used = containerfile.targets[reference.index]
        if not _is_plain(reference, used):
            editor.replace(reference.site, used.reference)
    for span in remote_words(containerfile, build_args=build_args or {}, platform=platform, target=target):
        editor.insert(span, gateway)
    for index in resolution.needed:
        for instruction in containerfile.targets[index].instructions:
            if instruction.keyword == "ADD":
                _drop_checksum(instruction, editor)
            elif instruction.keyword == "RUN":
                _reword_mounts(instruction, editor)
    for unneeded in containerfile.targets:
        if unneeded.index not in resolution.needed:
            _blank(unneeded, editor)
    return editor.text().encode("utf-8", "surrogateescape")


def uses_heredocs(containerfile: Containerfile) -> int | None:
    """The line of the first instruction with a here-document, which Podman before 5 does not know."""
    for target in containerfile.targets:
        for instruction in target.instructions:
            if instruction.heredocs:
                return instruction.line
    return None


def _is_plain(reference: TargetUse, used: BuildTarget) -> bool:
    return reference.text == used.reference or (reference.kind == "COPY --from" and reference.text.isdigit())


def _blank(target: BuildTarget, editor: _Editor) -> None:
    start = target.origin.arguments_start
    editor.replace(Site(target.origin.spans(start, start + len(target.base))), SCRATCH)
    for instruction in target.instructions:
        for line in range(instruction.line, instruction.end_line + 1):
            editor.insert(Span(line, 0, 0), "#")


def _drop_checksum(instruction: Instruction, editor: _Editor) -> None:
    for flag in instruction.flags:
        if flag.name == "checksum":
            for span in instruction.spans(flag.start, flag.end):
                editor.insert(span, "")


def _reword_mounts(instruction: Instruction, editor: _Editor) -> None:
    for flag in instruction.flags:
        if flag.name != "mount":
            continue
        text = instruction.original[flag.start : flag.end]
        for word, otherwise in _MOUNT_WORDS:
            if found := word.search(text):
                start = flag.start + found.start(1)
                *earlier, last = instruction.spans(start, start + len(found[1]))
                for span in earlier:
                    editor.insert(span, "")
                editor.insert(last, otherwise)


class _Editor:
    """Replaces parts of lines; a line never gains or loses its end."""

    def __init__(self, lines: tuple[str, ...]) -> None:
        self._lines = lines
        self._edits: defaultdict[int, list[tuple[Span, str]]] = defaultdict(list)

    def replace(self, site: Site, name: str) -> None:
        if not _PLAIN_NAME.match(name):
            raise ValueError(f"not the name of an image: {name!r}")
        *earlier, last = site.spans
        for span in earlier:
            self.insert(span, "")
        # In the last of the spans, since a line left empty would swallow the instruction after it.
        self.insert(last, f"{site.before}{name}{site.after}")

    def insert(self, span: Span, text: str) -> None:
        self._edits[span.line].append((span, text))

    def text(self) -> str:
        lines = list(self._lines)
        for number, edits in self._edits.items():
            line = lines[number - 1]
            for span, text in sorted(edits, key=lambda edit: edit[0].start, reverse=True):
                line = line[: span.start] + text + line[span.end :]
            lines[number - 1] = line
        return "".join(lines)
