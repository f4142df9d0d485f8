"""Pages of a package index: what is read of them, what is kept, and what is written."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbuild.digest import Digest
from rbuild.recording import IndexFile, Response, SimpleIndex
from rbuild.simpleindex import (
    HTML_TYPE,
    JSON_TYPE,
    Page,
    file_key,
    is_simple_page,
    lock_page,
    negotiate,
    parse_page,
    render,
)

URL = "https://index.example/simple/my-project/"
A, B = "a" * 64, "b" * 64

HTML = f"""<!DOCTYPE html><html><head><title>Links</title></head><body>
<a href="../../files/my_project-1.0.tar.gz#sha256={A}" data-requires-python="&gt;=3.8,&lt;4">my_project</a>
<A HREF='https://other.example/my_project-1.1%2Bcpu-py3-none-any.whl#sha256={B}'
   data-yanked="broken &amp; gone" data-core-metadata="sha256={A}">my_project-1.1+cpu-py3-none-any.whl</A>
<a href="/files/my_project-1.2.zip" data-yanked>no hash</a>
<a href="javascript:alert(1)">evil</a> <a href="http://[bad/x.whl">bad</a> <a name="anchor">none</a>
</body></html>"""

JSON = {
    "meta": {"api-version": "1.1"},
    "name": "my-project",
    "versions": ["1.0", "1.1"],
    "files": [
        {
            "filename": "my_project-1.0.tar.gz",
            "url": "../../files/my_project-1.0.tar.gz",
            "hashes": {"sha256": A, "md5": "x"},
            "requires-python": ">=3.8,<4",
            "size": 12,
            "yanked": False,
        },
        {
            "filename": "my_project-1.1+cpu-py3-none-any.whl",
            "url": "https://other.example/my_project-1.1%2Bcpu-py3-none-any.whl",
            "hashes": {"sha256": B},
            "requires-python": None,
            "core-metadata": {"sha256": A},
            "yanked": "broken & gone",
        },
        {"filename": "my_project-1.2.zip", "url": "/files/my_project-1.2.zip", "hashes": {}, "yanked": True},
        {"filename": "../../etc/passwd", "url": "/files/x.zip", "hashes": {}},
        {"filename": "y.zip", "url": "file:///etc/passwd", "hashes": {}},
    ],
}

SDIST = "https://index.example/files/my_project-1.0.tar.gz"
WHEEL = "https://other.example/my_project-1.1%2Bcpu-py3-none-any.whl"


def page(kind: str) -> Page:
    data, content_type = (
        (msgspec.json.encode(JSON), JSON_TYPE)
        if kind == "json"
        else (HTML.encode(), "text/html; charset=UTF-8")
    )
    found = parse_page(URL, content_type, data)
    assert found is not None
    return found


def read(*urls: str, size: int = 5) -> dict[str, Response]:
    return {file_key(url): Response(url=url, sha256=Digest.of(url.encode()), size=size) for url in urls}


@pytest.mark.parametrize("kind", ["html", "json"])
def test_both_forms_of_a_page_say_the_same(kind: str) -> None:
    found = page(kind)
    assert found.project == "my-project"
    assert [(file.name, file.url, file.sha256 and file.sha256.hex) for file in found.files] == [
        ("my_project-1.0.tar.gz", SDIST, A),
        ("my_project-1.1+cpu-py3-none-any.whl", WHEEL, B),
        ("my_project-1.2.zip", "https://index.example/files/my_project-1.2.zip", None),
    ]
    assert [file.requires_python for file in found.files] == [">=3.8,<4", None, None]
    assert [file.yanked for file in found.files] == [False, "broken & gone", True]


@pytest.mark.parametrize("kind", ["html", "json"])
def test_a_page_is_reduced_to_what_was_read(kind: str) -> None:
    assert lock_page(page(kind), {}).files == ()
    asked_as = WHEEL.replace("%2B", "+")
    index = lock_page(page(kind), read(asked_as, asked_as + ".metadata", "https://other.example/z.whl"))
    (file,) = index.files
    assert file.url == WHEEL and file.size == 5 and file.yanked == "broken & gone"
    assert file.sha256 == Digest.of(asked_as.encode()), (
        "the digest of what was read, not of what was promised"
    )
    assert file.metadata == Digest.of(f"{asked_as}.metadata".encode())


def test_a_file_of_which_only_the_metadata_was_read_keeps_the_digest_of_its_page() -> None:
    (file,) = lock_page(page("json"), read(SDIST + ".metadata")).files
    assert (file.sha256.hex, file.size) == (A, 12)
    unhashed = "https://index.example/files/my_project-1.2.zip"
    assert lock_page(page("json"), read(unhashed + ".metadata")).files == ()
    assert len(lock_page(page("json"), read(unhashed)).files) == 1


INDEX = SimpleIndex(
    url=URL,
    project="my-project",
    files=(
        IndexFile(name="b-1.tar.gz", url="https://f.example/b-1.tar.gz", sha256=Digest(B), size=3),
        IndexFile(
            name="a-1.whl",
            url='https://f.example/a-1.whl?x="&y=<',
            sha256=Digest(A),
            requires_python=">=3.8,<4",
            metadata=Digest(B),
            yanked='said "no" & <meant> it',
        ),
        IndexFile(name="c-1.zip", url="https://f.example/c-1.zip", sha256=Digest(A), yanked=True),
    ),
)


@pytest.mark.parametrize("accept", [JSON_TYPE, HTML_TYPE, "text/html"])
def test_what_is_written_reads_back(accept: str) -> None:
    content_type, data = render(INDEX, accept)
    assert content_type.startswith(accept)
    assert render(INDEX, accept) == (content_type, data)
    back = parse_page(URL, content_type, data)
    assert back is not None
    expected = Page.of(INDEX)
    assert [(file.name, file.url, file.sha256, file.requires_python, file.yanked) for file in back.files] == [
        (file.name, file.url, file.sha256, file.requires_python, file.yanked) for file in expected.files
    ]
    assert f"{'core-metadata'}" in data.decode()
    if accept == JSON_TYPE:
        assert [file.size for file in back.files] == [None, 3, None]
        assert msgspec.json.decode(data)["files"][0]["core-metadata"] == {"sha256": B}


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        ("", "text/html"),
        ("*/*", "text/html"),
        ("application/json", "text/html"),
        (f"{JSON_TYPE}, {HTML_TYPE}; q=0.1, text/html; q=0.01", JSON_TYPE),
        (f"text/html;q=0.5, {HTML_TYPE};q=0.9", HTML_TYPE),
        (f"{JSON_TYPE};q=0.2, */*", "text/html"),
        (f"{JSON_TYPE};q=0, text/*;q=0.1", "text/html"),
        ("application/vnd.pypi.simple.latest+json", JSON_TYPE),
        (f"{JSON_TYPE};q=nonsense", "text/html"),
    ],
)
def test_the_client_chooses_the_form(accept: str, chosen: str) -> None:
    assert negotiate(accept) == chosen


@pytest.mark.parametrize(
    ("url", "content_type", "data", "is_page"),
    [
        ("https://x/whl/cpu/torch/", "text/html", f'<a href="t-1-py3.whl#sha256={A}">t</a>', True),
        ("https://x/simple/nothing/", "text/html", "<html>", True),
        ("https://x/simple/nothing", HTML_TYPE, "", True),
        ("https://x/whl/cpu/torch/", "text/html", '<a href="t-1-py3.whl">t</a>', False),
        (
            "https://x/docs/torch/",
            "text/html",
            f'<a href="a.whl#sha256={A}">t</a><a href="/about">us</a>',
            False,
        ),
        ("https://x/", "text/html", "<html>", False),
        ("https://x/simple/a.tar.gz", "text/html", "<html>", False),
        ("https://x/simple/a/", "text/plain", "", False),
        ("https://x/simple/a/", JSON_TYPE, "{", False),
        ("https://x/simple/a/", JSON_TYPE, '{"name": "a", "files": 3}', False),
        ("https://x/simple/a/", JSON_TYPE, "[" * 100_000, False),
    ],
)
def test_what_counts_as_a_page(url: str, content_type: str, data: str, is_page: bool) -> None:
    parsed = parse_page(url, content_type, data.encode())
    assert (parsed is not None) == is_page
    if is_page:
        assert is_simple_page(url, content_type)


@given(st.text(), st.sampled_from([JSON_TYPE, HTML_TYPE, "text/html"]))
def test_no_page_is_too_broken_to_be_read(text: str, content_type: str) -> None:
    parse_page(URL, content_type, text.encode(errors="replace"))
    parse_page(URL, content_type, f'<a href="{text}">{text}</a>'.encode(errors="replace"))


@given(st.text())
def test_no_accept_header_is_too_odd(accept: str) -> None:
    assert negotiate(accept) in (JSON_TYPE, HTML_TYPE, "text/html")
