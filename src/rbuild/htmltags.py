"""The start tags of a stranger's HTML page, in time that is in proportion to its size.

Python's html.parser looks to the end of the page for what a broken tag lacks, again at each: 20,000 times
`<a ` cost it half a minute. Source: WHATWG HTML, section 13.2.5, as far as tags and attributes go.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

_MAX_VALUE = 4_096  # characters of an attribute; int() refuses more digits than 4,300
# No part of these patterns can be read in two ways, or gives back what it took.
_TAG = re.compile(r"<([a-zA-Z][^\s/>]*+)")
_ATTRIBUTE = re.compile(
    r"""[\s/]*+([^\s/>=][^\s/>=]*+)(?:\s*+=\s*+("[^"]*+"|'[^']*+'|[^\s>"'][^\s>]*+|))?+"""
)
_END = re.compile(r"[\s/]*+>")
_RAW = {name: re.compile(rf"</{name}(?=[\s/>])", re.IGNORECASE) for name in ("script", "style", "title")}


def tags(text: str) -> Iterator[tuple[str, dict[str, str | None]]]:
    """Every start tag, as its name and attributes, both in lower case; of two attributes the first counts.

    None is the value of an attribute without one. A tag that does not end ends the page.
    """
    at = 0
    while (at := text.find("<", at)) >= 0:
        if text.startswith("<!--", at):
            end = text.find("-->", at + 2)
            if end < 0:
                return
            at = end + 3
            continue
        start = _TAG.match(text, at)
        if start is None:
            at += 1
            continue
        name = start[1].lower()
        attributes: dict[str, str | None] = {}
        at = start.end()
        while not (end_of_tag := _END.match(text, at)):
            attribute = _ATTRIBUTE.match(text, at)
            if attribute is None:
                return
            attributes.setdefault(attribute[1].lower(), _value(attribute[2]))
            at = attribute.end()
        at = end_of_tag.end()
        yield name, attributes
        if name in _RAW:
            closing = _RAW[name].search(text, at)
            if closing is None:
                return
            at = closing.end()


def _value(written: str | None) -> str | None:
    if written is None:
        return None
    if written[:1] in ('"', "'"):
        written = written[1:-1]
    return html.unescape(written[:_MAX_VALUE])
