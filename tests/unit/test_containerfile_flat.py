"""The plain form of a Containerfile, which no other parser can misread."""

from __future__ import annotations

import re

from containerfilecorpus import corpus

from rbuild.containerfile.flat import flattened
from rbuild.containerfile.model import Containerfile, Instruction
from rbuild.containerfile.parse import parse
from rbuild.errors import RbuildError

ODD = """\
# escape=`
ARG A=1
FROM a AS b
# hadolint ignore=DL3002
user root
RUN foo `
  # hadolint shell=powershell
  $x
CMD ["a" ,"b"] and more
RUN <<-EOF
\tcd /x
\t# hadolint ignore=DL3003
\tEOF
COPY <<'E F' a /b/
FROM c
E F
RUN cat <<-EOF >/x
\tfoo
\tEOF
ONBUILD RUN x `
 y
ENV a b`\u00a0
"""


def test_what_it_looks_like() -> None:
    flat = flattened(parse(ODD.encode(), "f"))
    rows = list(zip(flat.lines, flat.text.decode().splitlines(), strict=True))
    assert rows == [
        (1, "# escape=`"),
        (2, "ARG A=1"),
        (3, "FROM a AS b"),
        (4, "# hadolint ignore=DL3000"),
        (5, "USER root"),
        (6, "RUN foo   $x"),
        (9, 'CMD ["a", "b"]'),
        (10, "RUN <<RBUILD_END"),
        (10, "cd /x"),
        (10, "# hadolint ignore=DL3003"),
        (10, "RBUILD_END"),
        (10, ""),
        (14, "COPY here-document a /b/"),
        (17, "RUN cat </dev/null >/x"),
        (20, "ONBUILD RUN x  y"),
        (22, "ENV a b?"),
    ]


def test_an_instruction_may_be_left_out() -> None:
    flat = flattened(parse(b"FROM a\nRUN b\nUSER c\n", "f"), without=(2,))
    assert flat.text == b"FROM a\nUSER c\n"
    assert flat.lines == (1, 3)
    assert [flat.line(number) for number in (0, 1, 2, 3)] == [1, 1, 3, 3]


def test_it_says_what_the_file_says() -> None:
    compared = 0
    for text in corpus(2000, heredocs=False):
        try:
            file = parse(text, "f")
        except RbuildError:
            continue
        flat = flattened(file)
        again = parse(flat.text, "f")
        assert _said(again) == _said(file), text
        assert [one.line for one in _every(file)] == [flat.line(one.line) for one in _every(again)]
        assert all(one.line == one.end_line for one in _every(again))
        compared += 1
    assert compared > 1000


def _every(file: Containerfile) -> list[Instruction]:
    found = list(file.global_args)
    for target in file.targets:
        found += [target.origin, *target.instructions]
    return found


def _said(file: Containerfile) -> list[tuple[object, ...]]:
    found = []
    for one in _every(file):
        inner = one.trigger or one
        # Escapes at the very end of an instruction are written as a question mark.
        arguments = " ".join(re.split(r"[\t\v\f\r ]+", inner.arguments)).rstrip(f"{file.escape} ?")
        said = inner.exec_form or arguments.replace("\0", "\ufffd")
        if inner.keyword == "WORKDIR" and len(arguments) <= 4:  # hadolint falls over one letter
            said = arguments.strip("'\"/.")
        found.append((one.keyword, inner.keyword, inner.flags, said))
    return found
