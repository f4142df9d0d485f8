"""What the store keeps of verifications and of where images came from."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from rbuild.digest import Digest
from rbuild.draft import Draft
from rbuild.errors import RbuildError
from rbuild.origins import Origin, forget_origin, note_origin, origin_of
from rbuild.store import Store
from rbuild.verifications import VerificationNote, note_verification, verifications

IMAGE, INPUT, OTHER = Digest.of(b"image"), Digest.of(b"input"), Digest.of(b"other")
NOTE = VerificationNote(
    project="demo",
    stage="one",
    input=str(INPUT),
    image=str(IMAGE),
    built=str(IMAGE),
    result="identical",
    time="2026-07-01T10:00:00Z",
    rbuild="0.1.0",
    podman="4.3.1",
)


def test_the_newest_verification_of_a_lock_counts(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert verifications(store, IMAGE) == ()
    later = msgspec.structs.replace(NOTE, time="2026-07-02T10:00:00Z", result="different", built=str(OTHER))
    for note in (NOTE, later):
        note_verification(store, note)
    assert verifications(store, IMAGE) == (later,)
    # The same image by another lock: a rule about the present lock must not take it for its own.
    elsewhere = msgspec.structs.replace(NOTE, input=str(OTHER), time="2026-07-03T10:00:00Z")
    note_verification(store, elsewhere)
    assert verifications(store, IMAGE) == (elsewhere, later)
    assert verifications(store, IMAGE, INPUT) == (later,)
    assert verifications(store, OTHER) == ()
    assert later.when.hour == 10


def test_what_cannot_be_read_is_no_verification(tmp_path: Path) -> None:
    store = Store(tmp_path)
    note_verification(store, NOTE)
    (path,) = (tmp_path / "verifications").iterdir()
    whole = path.read_bytes()
    for data in (
        b"",
        b"{}",
        whole[:40],
        whole.replace(b"2026-07", b"July"),
        whole.replace(b"sha256", b"md5"),
    ):
        path.write_bytes(data)
        assert verifications(store, IMAGE) == ()
    # Nor is one under the name of another image.
    path.write_bytes(whole)
    path.rename(path.with_name(f"{OTHER.hex}-{INPUT.hex}.json"))
    assert verifications(store, OTHER) == ()


def test_where_an_image_came_from(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    assert origin_of(store, IMAGE) is None
    note_origin(store, IMAGE, Origin(repository="quay.io/a/b", policy="sha256:1"))
    found = origin_of(Draft(tmp_path / "draft", store), IMAGE)  # a draft sees it as well
    assert found is not None and str(found.reference(IMAGE)) == f"quay.io/a/b@{IMAGE}"
    (tmp_path / "store/origins" / IMAGE.hex).write_text("{")
    with pytest.raises(RbuildError, match="cannot be read"):  # it could be a stranger's
        origin_of(store, IMAGE)
    forget_origin(store, IMAGE)
    assert origin_of(store, IMAGE) is None
