"""Layouts and archives as strangers write them: what is read, and what is refused by name."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from rbuild.digest import Digest
from rbuild.errors import RbuildError
from rbuild.imagefiles import Folder, open_archive
from rbuild.imagelayouts import StoredImage, read_docker, read_layout

LAYER = b"layer" * 1000
CONFIG = json.dumps(
    {
        "os": "linux",
        "architecture": "amd64",
        "rootfs": {"type": "layers", "diff_ids": [str(Digest.of(LAYER))]},
    }
).encode()
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"


def blob(data: bytes) -> str:
    return f"blobs/sha256/{hashlib.sha256(data).hexdigest()}"


def described(data: bytes, media_type: str) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": str(Digest.of(data)), "size": len(data)}


def manifest(layers: int = 1) -> bytes:
    layer = described(LAYER, "application/vnd.oci.image.layer.v1.tar")
    return json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": described(CONFIG, "application/vnd.oci.image.config.v1+json"),
            "layers": [layer] * layers,
        }
    ).encode()


def layout(image: bytes | None = None, **annotations: str) -> dict[str, bytes]:
    """The files of a layout with one image."""
    data = manifest() if image is None else image
    entry = {**described(data, MANIFEST_TYPE), "annotations": annotations}
    index = json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode()
    return {"index.json": index, blob(data): data, blob(CONFIG): CONFIG, blob(LAYER): LAYER}


def docker() -> dict[str, bytes]:
    """The files of an archive of Docker's with one image."""
    named = [{"Config": "config.json", "RepoTags": ["a:1"], "Layers": ["x/layer.tar"]}]
    return {"manifest.json": json.dumps(named).encode(), "config.json": CONFIG, "x/layer.tar": LAYER}


def write_folder(path: Path, files: Mapping[str, bytes]) -> Path:
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


def tarred(
    files: Mapping[str, bytes] | list[tuple[str, bytes]], links: Mapping[str, str] | None = None
) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in files.items() if isinstance(files, Mapping) else files:
            header = tarfile.TarInfo(name)
            header.size = len(data)
            archive.addfile(header, io.BytesIO(data))
        for name, target in (links or {}).items():
            header = tarfile.TarInfo(name)
            header.type, header.linkname = tarfile.SYMTYPE, target
            archive.addfile(header)
    return buffer.getvalue()


def read(path: Path, tag: str | None = None, digest: Digest | None = None) -> StoredImage:
    return read_layout(Folder(path), tag=tag, digest=digest, platform="linux/amd64")


def first_layer(image: StoredImage) -> bytes:
    with image.open_layer(1) as file:
        return file.read()


def problem(call: Callable[[], object]) -> str:
    with pytest.raises(RbuildError) as raised:
        call()
    return str(raised.value)


def test_a_layout(tmp_path: Path) -> None:
    write_folder(tmp_path, layout(**{"org.opencontainers.image.ref.name": "v1"}))
    for image in (read(tmp_path), read(tmp_path, "v1"), read(tmp_path, digest=Digest.of(manifest()))):
        assert (image.manifest, image.config, first_layer(image)) == (manifest(), CONFIG, LAYER)
    assert "there is no image with the tag 'v2'\nhint: it has v1" in problem(lambda: read(tmp_path, "v2"))
    gone = Digest("0" * 64)
    assert f"{gone.hex}: cannot be read: No such file" in problem(lambda: read(tmp_path, digest=gone))


@pytest.mark.parametrize("packed", [bytes, gzip.compress])
def test_an_archive_is_read_where_it_lies(tmp_path: Path, packed: Callable[[bytes], bytes]) -> None:
    path, scratch = tmp_path / "image.tar", tmp_path / "scratch"
    (tmp_path / "elsewhere").mkdir()
    path.symlink_to(tmp_path / "elsewhere" / "other.tar")
    path.write_bytes(packed(tarred(layout())))
    scratch.mkdir()
    with open_archive(path, scratch) as files:
        image = read_layout(files, tag=None, digest=None, platform="linux/amd64")
        assert (image.manifest, image.config) == (manifest(), CONFIG)
        with image.open_layer(1) as one, image.open_layer(1) as other:
            assert (one.read(5), other.read(), one.read()) == (LAYER[:5], LAYER, LAYER[5:])
    assert len(list(scratch.iterdir())) == (packed is gzip.compress)


def test_an_archive_of_dockers(tmp_path: Path) -> None:
    path = tmp_path / "image.tar"
    files = docker()
    files["y.tar"] = files.pop("x/layer.tar")
    path.write_bytes(tarred(files, {"x/layer.tar": "../y.tar"}))
    with open_archive(path, tmp_path) as archive:
        for tag in (None, "a:1"):
            image = read_docker(archive, tag=tag)
            assert (image.config, first_layer(image)) == (CONFIG, LAYER)
            assert json.loads(image.manifest)["layers"][0]["digest"] == str(Digest.of(LAYER))
        assert "it holds 0 images of the name 'b:1'" in problem(lambda: read_docker(archive, tag="b:1"))


def changed(files: dict[str, bytes], name: str, data: bytes | None) -> dict[str, bytes]:
    kept = {each: held for each, held in files.items() if each != name}
    return kept if data is None else {**kept, name: data}


@pytest.mark.parametrize(
    ("files", "what"),
    [
        (changed(layout(), blob(CONFIG), CONFIG + b" "), "does not hold the bytes of its digest"),
        (changed(layout(), blob(manifest()), b"{}"), "does not hold the bytes of its digest"),
        (changed(layout(), blob(CONFIG), None), "cannot be read: No such file"),
        (changed(layout(), "index.json", b"[" * 100_000), "index.json|nested too deeply"),
        (changed(layout(), "index.json", b'{"a":1,"a":2}'), "the key 'a' comes twice"),
        (changed(layout(), "index.json", b"{}"), "missing required field `schemaVersion`"),
        (changed(layout(), "index.json", b'{"schemaVersion":2,"manifests":[]}'), "it holds 0 images"),
        (changed(layout(), "index.json", b'{"manifests":[1]}'), "Expected `object`, got `int`"),
        (changed(layout(), "index.json", b'{"schemaVersion":2,"manifests":[{}]}'), "required field `digest`"),
        (
            changed(
                layout(), "index.json", b'{"schemaVersion":2,"manifests":[{"digest":"sha256:../x","size":1}]}'
            ),
            "not a sha256 digest",
        ),
        (changed(layout(), "index.json", b" " * (9 << 20)), "has more than 4194304 bytes"),
        (layout(manifest(layers=2)), "has 1 layers, and the manifest 2"),
    ],
)
def test_a_layout_that_is_broken(tmp_path: Path, files: dict[str, bytes], what: str) -> None:
    write_folder(tmp_path, files)
    assert any(each in problem(lambda: read(tmp_path)) for each in what.split("|"))


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (LAYER[1:], "has 4999 bytes, and the manifest says 5000"),
        (b"x" + LAYER[1:], "the bytes of its digest"),
    ],
)
def test_a_layer_is_checked_when_it_is_opened(tmp_path: Path, data: bytes, what: str) -> None:
    image = read(write_folder(tmp_path, changed(layout(), blob(LAYER), data)))
    assert blob(LAYER) in problem(lambda: image.open_layer(1))
    assert what in problem(lambda: image.open_layer(1))


def test_a_fifo_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "index.json")
    assert "is not a regular file" in problem(lambda: read(tmp_path))


def test_a_list_of_images_names_the_platforms_own(tmp_path: Path) -> None:
    listed = [
        {**described(f"{number}".encode(), MANIFEST_TYPE), "platform": {"os": "linux", "architecture": name}}
        for number, name in enumerate(("arm64", "amd64"))
    ]
    index = json.dumps({"schemaVersion": 2, "manifests": listed}).encode()
    said = problem(lambda: read(write_folder(tmp_path, layout(index))))
    assert "is a list of images, one for each platform: linux/amd64, linux/arm64" in said
    assert said.endswith(f"hint: the one for linux/amd64 is oci:{tmp_path}@{Digest.of(b'1')}")


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "holds no 'index.json'"),
        (b"not a tar at all" * 64, "is no tar that rbuild can read"),
        (tarred(layout())[:7000], "is no tar that rbuild can read"),
        (gzip.compress(tarred(layout()))[:-40], "not valid gzip"),
        (tarred({"../index.json": b"{}"}), "`..`"),
        (tarred([("index.json", b"{}")] * 2), "holds 'index.json' twice"),
        (tarred({f"f{number}": b"" for number in range(10_001)}), "holds more than 10000 files"),
        (tarred({}, {"index.json": "/etc/passwd"}), "holds no 'index.json'"),
    ],
)
def test_an_archive_that_is_broken(tmp_path: Path, data: bytes, what: str) -> None:
    path = tmp_path / "image.tar"
    path.write_bytes(data)

    def attempt() -> None:
        with open_archive(path, tmp_path) as files:
            read_layout(files, tag=None, digest=None, platform="linux/amd64")

    assert what in problem(attempt)


@pytest.mark.parametrize(
    ("name", "data", "what"),
    [
        ("manifest.json", b"{}", "it holds 0 images"),
        ("manifest.json", b'[{"Config":"../config.json","Layers":[]}]', "holds no '../config.json'"),
        ("manifest.json", b'[{"Config":"config.json","Layers":[]}]', "it names 0 layers"),
        ("manifest.json", b'[{"Config":"config.json","Layers":["gone"]}]', "holds no 'gone'"),
        ("config.json", b"[]", "is not a JSON object"),
    ],
)
def test_an_archive_of_dockers_that_is_broken(tmp_path: Path, name: str, data: bytes, what: str) -> None:
    path = tmp_path / "image.tar"
    path.write_bytes(tarred(changed(docker(), name, data)))
    with open_archive(path, tmp_path) as files:
        assert what in problem(lambda: read_docker(files, tag=None))
