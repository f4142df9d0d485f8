"""A test suite as JUnit XML.

JUnit XML has no standard. What is written here is valid under the schemas of Ant (windyroad's JUnit.xsd) and
of Jenkins' xUnit plugin (junit-10.xsd), which between them hold what other readers take.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from xml.etree import ElementTree

from rbuild.errors import Problem

# XML 1.0, production 2: Char. Nothing else may stand in a document, not even as a reference.
_NO_XML = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def clean(text: str) -> str:
    """Text that an XML document may hold. What it may not becomes the replacement character."""
    return _NO_XML.sub("\ufffd", text)


def problem_lines(problems: Iterable[Problem]) -> list[str]:
    """Problems with their places and hints, a line each."""
    return [line for problem in problems for line in str(problem).splitlines()]


class Suite:
    """Test cases, to which outcomes are added; then a document."""

    def __init__(self) -> None:
        self._root = ElementTree.Element("testsuites")
        self._suite = ElementTree.SubElement(self._root, "testsuite")
        ElementTree.SubElement(self._suite, "properties")

    def case(self, classname: str, name: str, seconds: float | None = None) -> ElementTree.Element:
        """A new case; as long as nothing is added, it has passed."""
        attributes = {"classname": clean(classname), "name": clean(name), "time": f"{seconds or 0:.3f}"}
        return ElementTree.SubElement(self._suite, "testcase", attributes)

    def add(self, case: ElementTree.Element, outcome: str, kind: str, lines: Sequence[str]) -> None:
        """Give a case an outcome: error, failure, or skipped, which has a message alone."""
        message = clean(lines[0]) if lines else kind
        if outcome == "skipped":
            ElementTree.SubElement(case, outcome, {"message": message})
            return
        element = ElementTree.SubElement(case, outcome, {"type": kind, "message": message})
        element.text = clean("\n".join(lines))

    def document(self, name: str, *, package: str, host: str, when: datetime, seconds: float) -> str:
        """The document. `when` is the time of the end, with its zone."""
        counts = {
            outcome: sum(1 for _ in self._suite.iter(outcome))
            for outcome in ("testcase", "failure", "error", "skipped")
        }
        self._suite.attrib |= {
            "name": name,
            "package": package,
            "id": "0",
            "hostname": clean(host) or "localhost",
            "timestamp": when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S"),
            "time": f"{seconds:.3f}",
            "tests": str(counts["testcase"]),
            "failures": str(counts["failure"]),
            "errors": str(counts["error"]),
            "skipped": str(counts["skipped"]),
        }
        ElementTree.SubElement(self._suite, "system-out")
        ElementTree.SubElement(self._suite, "system-err")
        ElementTree.indent(self._root)
        written = ElementTree.tostring(self._root, encoding="unicode")
        return f'<?xml version="1.0" encoding="UTF-8"?>\n{written}\n'
