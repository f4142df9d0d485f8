"""A store on top of another one."""

from __future__ import annotations

from pathlib import Path

import pytest

from rbuild.digest import Digest
from rbuild.draft import Draft
from rbuild.errors import RbuildError
from rbuild.store import MissingBlob, Store


@pytest.fixture
def below(tmp_path: Path) -> Store:
    return Store(tmp_path / "below")


@pytest.fixture
def draft(tmp_path: Path, below: Store) -> Draft:
    return Draft(tmp_path / "draft", below)


def files(store: Store) -> set[str]:
    return {str(path) for path in store.root.rglob("*") if path.is_file()}


def test_it_has_what_is_below(below: Store, draft: Draft) -> None:
    blob = below.put(b"below")
    below.cache("kind", "key", b"computed")
    assert draft.read(blob.digest) == b"below"
    assert draft.has(blob.digest, blob.size)
    assert draft.cached("kind", "key") == b"computed"
    with draft.open(blob.digest) as file:
        assert file.read() == b"below"


def test_nothing_is_written_below(below: Store, draft: Draft) -> None:
    known = below.put(b"known")
    before = files(below)
    new = draft.put(b"new")
    draft.put(b"known")
    with draft.writer() as writer:  # what streams in is written before its digest is known
        writer.write(b"known")
        writer.commit()
    draft.cache("kind", "key", b"computed")
    with draft.scratch("build-") as scratch:
        (scratch / "file").write_text("")
        assert files(below) == before
    draft.discard(new.digest)
    draft.discard(known.digest)
    assert files(below) == before
    assert below.cached("kind", "key") is None
    assert below.read(known.digest) == b"known"
    with pytest.raises(MissingBlob):
        draft.read(new.digest)


def test_its_own_comes_first(below: Store, draft: Draft) -> None:
    below.cache("kind", "key", b"old")
    draft.cache("kind", "key", b"new")
    assert draft.cached("kind", "key") == b"new"
    with pytest.raises(MissingBlob):
        draft.read(Digest.of(b"nowhere"))


def test_canonical_layers_are_made_anew(below: Store, draft: Draft) -> None:
    below.cache("layers", "key", b"made before")
    assert draft.cached("layers", "key") is None
    draft.cache("layers", "key", b"made now")
    assert draft.cached("layers", "key") == b"made now"


def test_logs_outlive_it(below: Store, draft: Draft) -> None:
    assert draft.log_path("project", "stage") == below.log_path("project", "stage")


def test_it_is_closed_with_the_one_below(below: Store, draft: Draft) -> None:
    with draft.writer() as writer:
        writer.write(b"before")
        below.close()
        with pytest.raises(RbuildError, match="interrupted"):
            writer.write(b"after")


def test_a_full_disk_is_the_fault_of_the_store_below(below: Store, draft: Draft) -> None:
    said = f"write {draft.root}/tmp/blob-x: no space left on device"
    assert Draft(below.root / "inside", below).is_full(said.replace(str(draft.root), f"{below.root}/inside"))
    assert draft.full().problems[0].where == below.full().problems[0].where
