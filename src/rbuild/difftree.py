"""A comparison of two images as a tree for a terminal, or for a file of text."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from rich.text import Text

from rbuild.compare.model import (
    Blame,
    Cause,
    Change,
    Comparison,
    Detail,
    Difference,
    Field,
    LayerPair,
    Row,
    Verdict,
)
from rbuild.visible import visible

_MOST_CHILDREN = 20  # of one node, where not all are asked for
_MOST_LINES = 12  # of one detail
_LONGEST = 400  # characters of a value or a line
_LONGEST_BLAME = 100
_NARROWEST = 40  # columns that words are put into, however deep in the tree
_CHANGES = {Change.ADDED: "green", Change.REMOVED: "red", Change.CHANGED: "yellow"}
_VERDICTS = {Verdict.IDENTICAL: "bold green", Verdict.SAME_CONTENT: "bold yellow"}
_INDENT = "  "


def drawn(comparison: Comparison, *, width: int, full: bool) -> Iterator[Text]:
    """Lines: the verdict, the layers in short, a tree for each part that differs, and the causes with hints.

    Sentences are broken at `width` columns; paths and what files hold stand on a line each, however long.
    Unless `full`, what has many children or lines shows the first, and how many more there are.
    """
    yield Text(comparison.verdict.value, _VERDICTS.get(comparison.verdict, "bold red"))
    for letter, side in (("A", comparison.a), ("B", comparison.b)):
        yield Text(f"{_INDENT}{letter}  {side.digest}  {_line(side.name)}")
    if comparison.verdict is not Verdict.IDENTICAL:
        yield _layers(comparison.layers)
    drawing = _Drawing(width, full=full)
    for difference in comparison.differences:
        yield Text()
        yield from drawing.tree(difference)
    causes = Counter(leaf.cause for leaf in comparison.leaves() if leaf.cause)
    for cause, count in causes.most_common():
        yield Text()
        yield from _cause(cause, count, width)


def _layers(layers: Sequence[LayerPair]) -> Text:
    shared = [pair for pair in layers if pair.shared]
    said = f"{len(shared)} of {len(layers)} layers {'is' if len(shared) == 1 else 'are'} shared"
    size = sum(pair.size_a or 0 for pair in shared)
    amount = f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.1f} kB"
    return Text(f"{_INDENT}{said}" + (f" ({amount})" if shared else ""))


class _Drawing:
    def __init__(self, width: int, *, full: bool) -> None:
        self._width = width
        self._full = full

    def tree(
        self, node: Difference, *, first: str = "", rest: str = "", above: Blame | None = None
    ) -> Iterator[Text]:
        """A node and what lies within it: `first` stands before its first line, `rest` before the others.

        Its blame is said only where it is not that of the node above.
        """
        children = node.children if self._full else node.children[:_MOST_CHILDREN]
        more = []
        if folded := len(node.children) - len(children):
            more.append(f"… and {folded} more; --full shows all")
        if node.omitted:
            more.append(f"… and {node.omitted} more, which were left out")
        yield Text.assemble((first, "dim"), _head(node, above))
        trunk = "│ " if children or more else "  "
        for line in self._about(node, self._width - len(rest) - len(trunk)):
            yield Text.assemble((f"{rest}{trunk}", "dim"), line)
        last = len(children) + len(more) - 1
        for number, child in enumerate(children):
            fork, on = ("└── ", "    ") if number == last else ("├── ", "│   ")
            yield from self.tree(child, first=f"{rest}{fork}", rest=f"{rest}{on}", above=node.blame or above)
        for number, said in enumerate(more, len(children)):
            yield Text(f"{rest}{'└── ' if number == last else '├── '}{said}", "dim")

    def _about(self, node: Difference, width: int) -> Iterator[Text]:
        for field in node.fields:
            yield from _field(field, width)
        if node.detail:
            yield from self._detail(node.detail)
        if node.cause:
            why = f": {_line(node.why)}" if node.why else ""
            label = "" if node.cause.title.startswith("cause") else "cause "  # and "cause unknown"
            yield from _wrapped(label, "magenta", f"{node.cause.title}{why}", width)
        elif node.why:
            yield from _wrapped("", "", _line(node.why), width)
        if node.note:
            yield from _wrapped("note ", "yellow", _line(node.note), width)

    def _detail(self, detail: Detail) -> Iterator[Text]:
        lines = list(_rows(detail))
        shown = lines if self._full else lines[:_MOST_LINES]
        yield from shown
        if folded := len(lines) - len(shown):
            yield Text(f"… {folded} more lines; --full shows them", "dim")
        if detail.omitted:
            yield Text("… and there is more that differs", "dim")


def _head(node: Difference, above: Blame | None) -> Text:
    head = Text.assemble((_line(node.name), "bold"), "  ", (node.change.value, _CHANGES[node.change]))
    if node.blame and node.blame != above:
        head.append(f"  {blamed(node.blame)}", "cyan")
    return head


def blamed(blame: Blame) -> str:
    """The instruction with its place, on one line: `Containerfile:7 RUN make`."""
    place = f"{blame.file}:{blame.line} " if blame.file and blame.line else ""
    return _line(place + " ".join(blame.text.split()), _LONGEST_BLAME)


def _field(field: Field, width: int) -> Iterator[Text]:
    """A property: both values on one line where they have room, else one below the other."""
    name, a, b = (_line(text) if text is not None else None for text in (field.name, field.a, field.b))
    if len(f"{name} {a} → {b}") <= width:
        sides = [("absent", "dim") if each is None else each for each in (a, b)]
        yield Text.assemble((f"{name} ", "dim"), sides[0], " → ", sides[1])
        return
    yield Text(f"{name}", "dim")
    for mark, side, style in (("-", a, "red"), ("+", b, "green")):
        if side is not None:
            yield Text(f"{_INDENT}{mark} {side}", style)


def _rows(detail: Detail) -> Iterator[Text]:
    """Rows one below the other, as `diff -u` has them: what A has of a run of differing ones, then B."""
    held: list[Row] = []
    for row in detail.rows:
        if row.differs:
            held.append(row)
        if not row.differs or detail.form == "hex":  # 16 bytes stand right above their counterparts
            yield from _sides(held)
            held.clear()
        if not row.differs:
            yield _numbered(row.at_a, " ", row.a or "", "dim")
    yield from _sides(held)


def _sides(rows: Sequence[Row]) -> Iterator[Text]:
    for row in rows:
        if row.a is not None:
            yield _numbered(row.at_a, "-", row.a, "red")
    for row in rows:
        if row.b is not None:
            yield _numbered(row.at_b, "+", row.b, "green")


def _numbered(at: str, mark: str, text: str, style: str) -> Text:
    return Text.assemble((f"{at:>5} ", "dim"), (f"{mark} {_line(text)}", style))


def _cause(cause: Cause, count: int, width: int) -> Iterator[Text]:
    times = "difference" if count == 1 else "differences"
    yield Text.assemble((cause.title, "bold magenta"), f" ({cause.id}, {count} {times})")
    for label, style, said in (("", "", cause.explanation), ("hint: ", "cyan", cause.hint)):
        for line in _wrapped(label, style, said, width - len(_INDENT)):
            yield Text.assemble(_INDENT, line)


def _wrapped(label: str, style: str, said: str, width: int) -> Iterable[Text]:
    """A sentence after its label, in as many lines as it takes."""
    text = f"{label}{said}"
    lines = textwrap.wrap(
        text, max(width, _NARROWEST), break_long_words=False, break_on_hyphens=False, drop_whitespace=True
    )
    found = [Text(line) for line in lines]
    if found and label:
        found[0].stylize(style, 0, len(label))
    return found


def _line(text: str, longest: int = _LONGEST) -> str:
    """A stranger's text on one line, with what does not print as its escape, and not without end."""
    return visible(text[: longest + 1].replace("\t", "    "), longest)
