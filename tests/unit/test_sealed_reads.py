"""The recording of a build is a function of what its steps read, each by itself."""

from __future__ import annotations

from itertools import permutations

import msgspec

from rbuild.digest import Digest
from rbuild.recording import Recording, Response
from rbuild.sealed.reads import listed_responses, recording_of, step_reads
from rbuild.simpleindex import FILE_HEADERS, Page, PageFile

PAGE_URL = "https://i.example/simple/x/"
A, B = "https://f.example/x-1-py3-none-any.whl", "https://f.example/x-2-py3-none-any.whl"
PAGE = Page(
    PAGE_URL,
    "x",
    tuple(PageFile(name=url.rsplit("/", 1)[1], url=url, sha256=Digest.of(url.encode())) for url in (A, B)),
)


def got(url: str, **more: object) -> Response:
    more = {"headers": FILE_HEADERS, "size": 7} | more
    return Response(url=url, sha256=Digest.of(url.encode()), **more)  # type: ignore[arg-type]


def test_a_file_is_listed_with_its_page_and_nowhere_else() -> None:
    other = got("https://f.example/other")
    reads = step_reads([got(A), other], [PAGE])
    assert reads.responses == (other,)
    (index,) = reads.indexes
    assert [(file.url, file.size, file.metadata) for file in index.files] == [(A, 7, None)]


def test_a_file_without_its_page_is_a_response() -> None:
    assert step_reads([got(A)], []).responses == (got(A),)
    together = recording_of([step_reads([got(A)], []), step_reads([got(A)], [PAGE])])
    assert together == recording_of([step_reads([got(A)], [PAGE])])


def test_what_was_read_with_other_headers_stays_a_response_too() -> None:
    dated = got(A, headers={"last-modified": "x"})
    reads = step_reads([dated], [PAGE])
    assert reads.responses == (dated,) and len(reads.indexes[0].files) == 1


def test_steps_add_up_in_any_order() -> None:
    steps = [
        step_reads([got(A)], [PAGE]),
        step_reads([got(A + ".metadata"), got(B + ".metadata")], [PAGE]),
        step_reads([got(B), got("https://f.example/other")], [PAGE]),
        step_reads([], [PAGE]),
    ]
    (recording,) = {msgspec.json.encode(recording_of(order), enc_hook=str) for order in permutations(steps)}
    together = recording_of(steps)
    assert msgspec.json.encode(together, enc_hook=str) == recording
    assert [(file.url, file.size) for file in together.indexes[0].files] == [(A, 7), (B, 7)]
    assert all(file.metadata for file in together.indexes[0].files)
    assert recording_of([together]) == together and recording_of([]) == Recording()


def test_a_replayed_page_gives_the_same_recording() -> None:
    recorded = step_reads([got(A), got(A + ".metadata"), got(B + ".metadata")], [PAGE])
    (index,) = recorded.indexes
    known = {response.url: response for response in listed_responses(index)}
    replayed = [msgspec.structs.replace(known[url], size=7) for url in (A, A + ".metadata", B + ".metadata")]
    assert step_reads(replayed, [Page.of(index)]) == recorded


def leads(url: str, location: str) -> Response:
    return got(url, status=302, size=0, headers={"location": location})


def test_a_file_behind_redirects_is_listed() -> None:
    """pip is shown the file, and is led to its bytes as it was when they were recorded."""
    end = got("https://cdn.example/a%2Bb/x-1-py3-none-any.whl")
    recorded = [leads(A, "/moved/x"), leads("https://f.example/moved/x", end.url.replace("%2B", "+")), end]
    reads = step_reads(recorded, [PAGE])
    (index,) = reads.indexes
    assert [(file.url, file.sha256) for file in index.files] == [(A, end.sha256)]
    assert reads.responses == tuple(sorted(recorded, key=lambda one: one.key))
    assert step_reads(recorded, [Page.of(index)]) == reads
    metadata = got("https://cdn.example/metadata")
    (index,) = step_reads([leads(A + ".metadata", metadata.url), metadata], [PAGE]).indexes
    assert [file.metadata for file in index.files] == [metadata.sha256]


def test_redirects_without_an_end_lead_nowhere() -> None:
    for locations in ([A], [B, A], ["https://f.example/gone"], ["http://[bad/"], ["mailto:x"]):
        urls = [A, *(one for one in locations[:-1])]
        recorded = [leads(url, location) for url, location in zip(urls, locations, strict=True)]
        assert step_reads(recorded, [PAGE]).indexes[0].files == ()


def refused(url: str, **more: object) -> Response:
    return got(url, status=401, size=0, headers={"www-authenticate": "Basic"}, **more)


def test_a_login_that_was_asked_for_does_not_hide_the_answer() -> None:
    page = got(PAGE_URL)
    alone = refused("https://f.example/other")
    for order in permutations(
        [refused(A), got(A), refused(PAGE_URL), alone, refused(B, accept="text/html"), got(B)]
    ):
        reads = step_reads(order, [PAGE])
        assert reads.responses == (alone,)
        assert len(reads.indexes[0].files) == 2
    steps = [step_reads([page], []), step_reads([refused(PAGE_URL)], [])]
    assert [recording_of(order).responses for order in permutations(steps)] == [(page,)] * 2
    assert step_reads([refused(A), refused(A)], []).responses == (refused(A),)
