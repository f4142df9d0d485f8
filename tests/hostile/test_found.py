"""What fuzzing found, each once more: readers that broke down, or never came to an end."""

import io
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from tarballs import member, tarball

from rbuild import skopeo
from rbuild.archive import unpack
from rbuild.digest import Digest
from rbuild.errors import Problem, RbuildError, Where, at
from rbuild.htmltags import tags
from rbuild.image.tar import TarReader
from rbuild.process import run
from rbuild.sealed.upstream import Incoming, Patience
from rbuild.simpleindex import HTML_TYPE, JSON_TYPE, parse_page
from rbuild.skopeo import copy_to_folder

PAGE = "https://index.example/simple/a/"


def test_a_pax_record_without_a_space_is_not_the_first_one_again() -> None:
    archive = bytearray(tarball([member("a", b"", pax={"comment": "x" * 30})]))
    archive[512:1024] = b"12 path=abc\n" + b"nospace\n".ljust(500, b"y")
    archive[124:136] = b"%011o\0" % 20
    archive[148:156] = b" " * 8
    archive[148:156] = b"%06o\0 " % sum(archive[:512])
    with pytest.raises(RbuildError, match="its pax header is malformed"):
        list(TarReader(io.BytesIO(bytes(archive))))


def test_a_page_of_an_index_that_is_not_utf8_is_no_page() -> None:
    assert parse_page(PAGE, JSON_TYPE, b'{"name": "a", "files": [{"filename": "\xff", "url": "x"}]}') is None


@pytest.mark.parametrize(
    "unit",
    ["<a ", "<a", "<!--", "<a x='", '<a x="', "</", "<script>", "<!", "<?", "<a href=x", "&", "<a/", "<\n"],
)
def test_broken_pages_take_time_in_proportion_to_their_size(unit: str) -> None:
    began = time.process_time()
    parse_page(PAGE, HTML_TYPE, unit.encode() * 100_000)
    parse_page(PAGE, HTML_TYPE, b"<a " + unit.encode() * 100_000)
    assert time.process_time() - began < 5


def test_a_page_with_more_files_than_any_project_is_no_page() -> None:
    assert parse_page(PAGE, HTML_TYPE, b"<a href=x>" * 200_001) is None
    files = b",".join([b'{"filename":"a","url":"b"}'] * 200_001)
    assert parse_page(PAGE, JSON_TYPE, b'{"name":"a","files":[' + files + b"]}") is None


def test_a_reference_to_a_character_of_5000_digits() -> None:
    assert parse_page(PAGE, HTML_TYPE, b"<a href='&#" + b"9" * 5_000 + b";'>") is not None


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("<a href=x>", [("a", {"href": "x"})]),
        ("<A HREF = 'x' b>", [("a", {"href": "x", "b": None})]),
        ('<a href="x&amp;y"/><br/>', [("a", {"href": "x&y"}), ("br", {})]),
        ("<a a=1 a=2>", [("a", {"a": "1"})]),
        ("<a href=>", [("a", {"href": ""})]),
        ("<!-- <a href=x> --><b>", [("b", {})]),
        ("<script>if (a <b) { '<a href=x>' }</script><b>", [("script", {}), ("b", {})]),
        ("<title><a href=x></title>", [("title", {})]),
        ("a < b <a\nhref\n=\n'x'\n>", [("a", {"href": "x"})]),
        ("<a href='x'", []),
        ("<a href='x", []),
        ("<!-- <a href=x>", []),
    ],
)
def test_tags(text: str, found: list[tuple[str, Mapping[str, str | None]]]) -> None:
    assert list(tags(text)) == found


def test_a_length_of_5000_digits_is_none() -> None:
    class Answer:
        status = 200
        headers = {"Content-Length": "9" * 5_000}  # noqa: RUF012

    assert Incoming("http://h/", Answer(), lambda: None, Patience()).size is None  # type: ignore[arg-type]


def test_an_image_that_podman_leaves_a_layer_out_of(tmp_path: Path) -> None:
    config = (
        b'{"os":"linux","architecture":"amd64","rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}'
        % Digest.of(b"x").hex.encode()
    )
    archive = tarball([member("c", config), member("manifest.json", b'[{"Config":"c"}]')])
    with pytest.raises(RbuildError, match=f"{Digest.of(b'x')}: podman save left a layer out"):
        unpack(io.BytesIO(archive), tmp_path, known=())
    assert unpack(io.BytesIO(archive), tmp_path, known=[Digest.of(b"x")]).layers == {}


def test_many_small_documents_of_an_archive_are_not_all_kept(tmp_path: Path) -> None:
    archive = tarball([member(str(number), bytes(8 << 20)) for number in range(5)])
    with pytest.raises(RbuildError, match="layer entry /3: podman save gave a document"):
        unpack(io.BytesIO(archive), tmp_path, known=())


def test_an_error_gets_the_rest_of_its_place() -> None:
    with pytest.raises(RbuildError) as caught, at(Where(digest="sha256:aa", file="f")), at(Where(file="g")):
        raise RbuildError([Problem(what="x"), Problem(what="y", where=Where(digest="sha256:bb"))])
    assert str(caught.value) == "g sha256:aa: x\ng sha256:bb: y"


def test_a_watched_command_ends_when_the_watch_says_so() -> None:
    looks = 0

    def look() -> None:
        nonlocal looks
        looks += 1
        if looks == 2:
            raise RbuildError("enough")

    began = time.monotonic()
    with pytest.raises(RbuildError, match="enough"):
        run(["sleep", "600"], watch=look)
    assert time.monotonic() - began < 300
    assert run(["sh", "-c", "sleep 1; echo done"], watch=lambda: None).stdout == "done\n"


def test_a_copy_that_is_too_large_or_stands_still_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = tmp_path / "bin" / "skopeo"
    fake.parent.mkdir()
    fake.write_text('#!/bin/sh\nmkdir "$FOLDER"; head -c 30000000 /dev/zero >"$FOLDER/blob"; exec sleep 60\n')
    fake.chmod(0o755)
    target = tmp_path / "target"

    def copy(most: int | None) -> None:
        environ = {"PATH": f"{fake.parent}:/usr/bin:/bin", "FOLDER": str(target)}
        copy_to_folder("docker://x", target=target, scratch=tmp_path, env=environ, hint="h", most=most)

    with pytest.raises(RbuildError, match="more comes than the 1000 bytes"):
        copy(1000)
    target.rename(tmp_path / "before")
    monkeypatch.setattr(skopeo, "_SILENT", 0.5)
    with pytest.raises(RbuildError, match=r"nothing has come for 0\.5 s"):
        copy(None)
