from pathlib import Path

import pytest

from rbuild.errors import RbuildError
from rbuild.relativepath import RelativePath


@pytest.mark.parametrize(
    ("written", "text"),
    [("a", "a"), ("./a//b/", "a/b"), (".", "."), ("./", "."), ("a b/ü", "a b/ü"), (".../..a", ".../..a")],
)
def test_reads_the_shortest_form(written: str, text: str) -> None:
    assert str(RelativePath.parse(written)) == text


@pytest.mark.parametrize("written", ["", "/", "/etc", "..", "a/../b", "a/..", "a\0b", "a\nb", "a/" * 3000])
def test_refuses_what_leaves_and_what_no_file_is_called(written: str) -> None:
    with pytest.raises(RbuildError, match="not a path"):
        RelativePath.parse(written)


def test_is_checked_when_made() -> None:
    with pytest.raises(RbuildError, match="shortest"):
        RelativePath("a//b")


def test_holds_itself_and_what_lies_below() -> None:
    out = RelativePath("out/a")
    assert out.holds(out)
    assert out.holds(RelativePath("out/a/b"))
    assert not out.holds(RelativePath("out/ab"))
    assert not out.holds(RelativePath("out"))
    assert RelativePath(".").holds(out)


def test_joins_to_a_folder_of_the_host() -> None:
    assert Path("/project") / RelativePath("a/b") == Path("/project/a/b")
    assert RelativePath("a/b").name == "b"
    assert RelativePath(".").name == ""
