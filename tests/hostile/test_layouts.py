"""Layouts of strangers, straight into a store; integration tests take some of them through the front door."""

import os
import re
import shutil
import time
from pathlib import Path

import pytest
from strangers import CASES, GOOD, Stranger, digest, tar

from rbuild.digest import Digest
from rbuild.errors import RbuildError
from rbuild.image.config import read_config
from rbuild.image.manifest import read_manifest
from rbuild.intake import take_layout
from rbuild.store import Store
from rbuild.verbs.canonicalise import index_of

_LARGE = {"a million", "gzip bomb", "zstd bomb"}  # through the front door, where memory is measured


def take(layout: Path, store: Store) -> Digest:
    """What is done with the layout of a base before anything is built upon it."""
    manifest = take_layout(layout, None, "linux/amd64", store)
    read = read_manifest(store.read(manifest))
    diff_ids = read_config(store.read(read.config.digest)).diff_ids
    for layer, diff_id in zip(read.layers, diff_ids, strict=True):
        index_of(store, layer, diff_id)
    return manifest


@pytest.mark.parametrize("case", sorted(CASES.keys() - _LARGE))
def test_each_lie_is_an_error_that_names_blob_and_entry(case: str, tmp_path: Path) -> None:
    make, blob, message = CASES[case]
    stranger = make()
    stranger.lay_out(tmp_path / "layout")
    store = Store(tmp_path / "store")
    began = time.process_time()
    with pytest.raises(RbuildError) as caught:
        take(tmp_path / "layout", store)
    assert time.process_time() - began < 2
    said = str(caught.value)
    assert re.search(message, said), said
    assert stranger.name_of(blob) in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["layout", "store"]
    assert list(store.tmp.iterdir()) == []
    for path in store.blobs.iterdir():
        assert digest(path.read_bytes()) == f"sha256:{path.name}"


def test_the_truth_is_taken(tmp_path: Path) -> None:
    stranger = Stranger(GOOD)
    stranger.lay_out(tmp_path / "layout")
    manifest, blobs = stranger.parts()
    store = Store(tmp_path / "store")
    assert str(take(tmp_path / "layout", store)) == digest(manifest)
    assert {f"sha256:{path.name}" for path in store.blobs.iterdir()} == set(blobs)


def test_a_known_diff_id_does_not_vouch_for_another_blob(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    Stranger(GOOD).lay_out(tmp_path / "layout")
    take(tmp_path / "layout", store)
    Stranger(GOOD, tar(("other", b""))).lay_out(tmp_path / "forged")
    with pytest.raises(RbuildError, match="configuration says"):
        take(tmp_path / "forged", store)


@pytest.mark.parametrize("kind", ["link", "folder", "fifo", "device", "folders that are links"])
def test_blobs_that_are_no_files_of_the_layout(kind: str, tmp_path: Path) -> None:
    layout, outside = tmp_path / "layout", tmp_path / "outside"
    Stranger(GOOD).lay_out(layout)
    path = layout / "blobs" / "sha256" / digest(GOOD).removeprefix("sha256:")
    outside.mkdir()
    if kind == "folders that are links":
        shutil.move(layout / "blobs", outside / "blobs")
        (layout / "blobs").symlink_to(outside / "blobs")
    else:
        path.rename(outside / path.name)
        match kind:
            case "link":
                path.symlink_to(outside / path.name)
            case "folder":
                path.mkdir()
            case "fifo":
                os.mkfifo(path)
            case "device":
                path.symlink_to("/dev/zero")
    with pytest.raises(RbuildError, match=r"leads out of the folder|is not a regular file"):
        take(layout, Store(tmp_path / "store"))
