"""What rules that watch an image's files have in common: places, counts, an end to long lists."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Annotated

from msgspec import Meta

from rbuild.containerfile.chain import Chain, image_chain
from rbuild.containerfile.model import Instruction
from rbuild.errors import Where
from rbuild.image.tar import Kind, shown
from rbuild.policy.facts import FileEntry, FileFacts, ImageFacts, LayerFacts
from rbuild.policy.model import Violation
from rbuild.policy.rule import Settings

MAX_SAID = 50  # findings of one rule in one image; the rest is counted
GONE = "; a later layer deletes it, and whoever has the image still has it"


class PathSettings(Settings, frozen=True, kw_only=True):
    """Of a rule about files."""

    ignore: Annotated[
        tuple[str, ...],
        Meta(description="Files that are fine: paths and patterns (/usr/bin/ping, /opt/x/*)."),
    ] = ()


class Sight:
    """A watcher of what the build itself added; `found` is what `violations` gives."""

    # What it need not be asked about: see `watched`.
    reads = False
    own_only = True
    odd_only = False

    def __init__(self, facts: ImageFacts, settings: PathSettings) -> None:
        self.facts = facts
        self.settings = settings
        self.found: list[Violation] = []
        self.more = 0

    def wants(self, entry: FileEntry) -> int:
        return 0

    def see(self, entry: FileEntry, content: bytes) -> None:
        raise NotImplementedError

    def violations(self) -> Iterable[Violation]:
        yield from self.found
        if self.more:
            yield Violation(
                message=f"and {self.more} more of the kind", where=of_the_file(self.found[-1].where)
            )

    def say(self, entry: FileEntry, message: str) -> None:
        """A finding about an entry; `message` goes on after its path."""
        path = said_path(entry.path)
        self.say_of(entry, f"{path} {message}", path, place(self.facts, entry.layer, entry.instruction))

    def say_of(self, entry: FileEntry, message: str, text: str, where: Where) -> None:
        """A finding that comes from an entry, and is about something else."""
        if ignored(entry.path, self.settings):
            return
        if len(self.found) >= MAX_SAID:
            self.more += 1
        else:
            self.found.append(Violation(message=message, where=where, text=text))

    @property
    def from_line(self) -> Where:
        """Where the image's base is named."""
        return base_line(self.facts.lock.files)


def said_path(path: str) -> str:
    """An entry's path, for people."""
    return shown(path.encode("utf-8", "surrogateescape"))


def ignored(path: str, settings: PathSettings) -> bool:
    """Whether the settings say that a path is fine."""
    return any(fnmatchcase(f"/{path}", pattern) for pattern in settings.ignore)


def place(facts: ImageFacts, layer: int, instruction: Instruction | None) -> Where:
    """Where a layer was made: the line of the Containerfile; what else is known where that is not."""
    if instruction is not None:
        return Where(file=facts.lock.files.containerfile.name, line=instruction.line)
    return Where(digest=str(facts.layers[layer - 1].diff_id))


def own_layers(facts: ImageFacts) -> Iterator[LayerFacts]:
    """The layers that the build made."""
    return (layer for layer in facts.layers if layer.own)


def chain(files: FileFacts) -> tuple[Instruction, ...]:
    """The instructions that made the image itself, from the base on."""
    return _chain(files).instructions


def base_line(files: FileFacts) -> Where:
    """The FROM that brings the image's base in."""
    base = _chain(files).base
    return files.at(base.line if base else None)


def _chain(files: FileFacts) -> Chain:
    known = files.memo.get("chain")
    if not isinstance(known, Chain):
        project, stage = files.project, files.stage
        known = files.memo["chain"] = image_chain(
            files.containerfile, build_args=stage.args, platform=project.platform, target=stage.target
        )
    return known


def of_the_file(where: Where | None) -> Where | None:
    """The place of what stands for several findings: no waiver of one line is about it."""
    return Where(file=where.file) if where else None


def last(files: FileFacts, keyword: str) -> Where:
    """The last instruction of that keyword in the image's own chain; the FROM, where there is none."""
    for instruction in reversed(chain(files)):
        if instruction.keyword == keyword:
            return files.at(instruction.line)
    return files.at(files.containerfile.targets[files.targets[-1]].line if files.targets else None)


@dataclass(slots=True)
class Heap:
    """Files that are said together: those below one folder, of one layer."""

    first: FileEntry
    count: int = 0
    size: int = 0

    def add(self, entry: FileEntry) -> None:
        self.count += 1
        self.size += entry.size if entry.kind is Kind.FILE else 0


def megabytes(size: int) -> str:
    """A size for people."""
    return f"{size / 1e6:.1f} MB" if size >= 100_000 else f"{max(size, 1) / 1e3:.1f} kB"
