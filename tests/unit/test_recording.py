import itertools

import msgspec
import pytest

from rbuild.digest import Digest
from rbuild.errors import RbuildError
from rbuild.plain import plain
from rbuild.recording import IndexFile, Recording, Response, SimpleIndex
from rbuild.sealed.reads import recording_of

EMPTY = Digest.of(b"")
OTHER = Digest.of(b"other")


def response(url: str = "https://example.org/a", **fields: object) -> Response:
    return Response(**{"url": url, "sha256": EMPTY, "size": 0} | fields)  # type: ignore[arg-type]


def wheel(name: str, sha256: Digest = EMPTY) -> IndexFile:
    return IndexFile(name=name, url=f"https://files.example.org/{name}", sha256=sha256)


def index(*files: IndexFile, project: str = "numpy") -> SimpleIndex:
    return SimpleIndex(url=f"https://pypi.org/simple/{project}/", project=project, files=files)


def test_the_order_of_arrival_does_not_matter() -> None:
    responses = [
        response("https://b.org"),
        response("https://a.org"),
        response("https://a.org", method="POST", body=OTHER),
        response("https://a.org", accept="text/html"),
    ]
    recordings = {Recording(responses=order).digest() for order in itertools.permutations(responses)}
    assert len(recordings) == 1
    one = Recording(responses=tuple(responses), indexes=(index(wheel("b"), wheel("a")), index(project="a")))
    assert [found.url for found in one.responses] == ["https://a.org"] * 3 + ["https://b.org"]
    assert [page.project for page in one.indexes] == ["a", "numpy"]
    assert [file.name for file in one.indexes[1].files] == ["a", "b"]


def test_the_digest_is_of_json_with_sorted_keys_and_without_defaults() -> None:
    recording = Recording(responses=(response(headers={"etag": "x", "content-type": "y"}),))
    text = (
        '{"responses":[{"headers":{"content-type":"y","etag":"x"},'
        f'"sha256":"{EMPTY}","size":0,"url":"https://example.org/a"}}]}}'
    )
    assert recording.digest() == Digest.of(text.encode())
    assert Recording().digest() == Digest.of(b"{}")


@pytest.mark.parametrize(
    "fields",
    [
        {"url": "https://example.org/b"},
        {"sha256": OTHER},
        {"size": 1},
        {"status": 404},
        {"method": "HEAD"},
        {"body": OTHER},
        {"accept": "*/*"},
        {"headers": {"a": "b"}},
    ],
)
def test_every_field_counts_in_the_digest(fields: dict[str, object]) -> None:
    plain_one, changed = Recording(responses=(response(),)), Recording(responses=(response(**fields),))
    assert plain_one.digest() != changed.digest()


def test_merged_takes_the_newer_answer_and_keeps_the_rest() -> None:
    older = Recording(
        responses=(response("https://a.org"), response("https://b.org")),
        indexes=(index(wheel("a"), wheel("b")), index(project="pip")),
    )
    newer = Recording(
        responses=(response("https://b.org", sha256=OTHER), response("https://c.org")),
        indexes=(index(wheel("b", OTHER), wheel("c")),),
    )
    assert recording_of([older, newer]) == Recording(
        responses=(
            response("https://a.org"),
            response("https://b.org", sha256=OTHER),
            response("https://c.org"),
        ),
        indexes=(index(wheel("a"), wheel("b", OTHER), wheel("c")), index(project="pip")),
    )
    assert recording_of([older, Recording()]) == older == recording_of([Recording(), older])


def test_two_answers_to_one_request_are_refused() -> None:
    with pytest.raises(RbuildError, match=r"more than one response to https://example\.org/a GET"):
        Recording(responses=(response(), response(sha256=OTHER)))
    with pytest.raises(RbuildError, match=r"more than one index page https://pypi\.org/simple/numpy/"):
        Recording(indexes=(index(), index(wheel("a"))))
    with pytest.raises(RbuildError, match="more than one file of the index"):
        index(wheel("a"), wheel("a", OTHER))


def test_values_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        response().size = 1  # type: ignore[misc]


def test_plain_leaves_defaults_out_and_writes_digests_as_text() -> None:
    assert plain(index(msgspec.structs.replace(wheel("a"), yanked="broken", metadata=OTHER))) == {
        "url": "https://pypi.org/simple/numpy/",
        "project": "numpy",
        "files": [
            {
                "name": "a",
                "url": "https://files.example.org/a",
                "sha256": str(EMPTY),
                "metadata": str(OTHER),
                "yanked": "broken",
            }
        ],
    }
