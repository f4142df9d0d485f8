"""Bases that strangers made: each lie is an error that names blob and entry, in little time and memory."""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import zstandard
from strangers import INDEX, LAYER, MANIFEST, Answer, Stranger, digest, serving
from worlds import RBUILD, World, make_world, project_file, remove_world

_SECONDS = 40  # far more than any takes, also on a host that has other things to do
_MEMORY = 200 << 20
_MEMORY_OF_A_MILLION = 700 << 20
# Prints the peak memory of a command in KiB; a command that this process starts itself would inherit its peak.
_MEASURE = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[2:]).returncode
open(sys.argv[1], "w").write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
raise SystemExit(code)
"""


def tar(*members: tuple[str, bytes], kind: bytes = tarfile.REGTYPE, link: str = "", **pax: str) -> bytes:
    """An archive; every member is of that kind."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.pax_headers, info.size = kind, link, pax, len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


GOOD = tar(("bin/tool", b"#!/bin/sh\n"))


def claims(size: int, data: bytes = b"") -> bytes:
    """An archive whose one file, `huge`, says that it has so many bytes."""
    info = tarfile.TarInfo("huge")
    info.size = size
    return info.tobuf(tarfile.GNU_FORMAT) + data


def sparse() -> bytes:
    info = tarfile.TarInfo("sparse")
    info.type, info.size = tarfile.GNUTYPE_SPARSE, 0
    return info.tobuf(tarfile.GNU_FORMAT) + bytes(1024)


def of_a_bomb(compression: str) -> Stranger:
    """A file of zeros that is as long as 3 GiB, in three megabytes, or fewer."""
    head, zeros = claims(100 << 30), bytes(64 << 20)
    if compression == "gzip":
        blob = gzip.compress(head) + gzip.compress(zeros) * 48
    else:
        packer = zstandard.ZstdCompressor()
        blob = packer.compress(head) + packer.compress(zeros) * 48
    return Stranger(GOOD, blob, f"{LAYER}+{compression}")


def of_a_million_entries() -> Stranger:
    packer = zstandard.ZstdCompressor(level=1).compressobj()
    # The two numbers add up to nines, so that all headers have one checksum.
    info = tarfile.TarInfo("00000009999999")
    tail = info.tobuf(tarfile.USTAR_FORMAT)[14:]
    parts = []
    for start in range(0, 1_000_001, 10_000):
        some = range(start, min(start + 10_000, 1_000_001))
        parts.append(packer.compress(b"".join(b"%07d%07d" % (n, 9_999_999 - n) + tail for n in some)))
    return Stranger(GOOD, b"".join([*parts, packer.compress(bytes(1024)), packer.flush()]), f"{LAYER}+zstd")


def of_layer(data: bytes) -> Callable[[], Stranger]:
    return lambda: Stranger(data)


def edited(**edits: Any) -> Callable[[], Stranger]:
    return lambda: Stranger(GOOD, **edits)


def _set(*path: Any, to: Any) -> Callable[[dict[str, Any]], None]:
    def edit(value: Any) -> None:
        for key in path[:-1]:
            value = value[key]
        value[path[-1]] = to

    return edit


def _deep() -> bytes:
    return b'{"a":' * 10_000 + b"1" + b"}" * 10_000


def _twice(data: bytes) -> bytes:
    return data.replace(b'{"', b'{"schemaVersion": 1, "', 1)


def _list_of(*platforms: str) -> bytes:
    value = {
        "schemaVersion": 2,
        "mediaType": INDEX,
        "manifests": [
            {
                "mediaType": MANIFEST,
                "digest": digest(b"nothing"),
                "size": 7,
                "platform": {"os": "linux", "architecture": one},
            }
            for one in platforms
        ],
    }
    return json.dumps(value).encode()


# What the stranger makes, which blob (a part of the image, or a digest) the message names, and what it says.
CASES: dict[str, tuple[Callable[[], Stranger], str, str]] = {
    "dots": (of_layer(tar(("a/../../out", b"x"))), "layer", r"layer entry /a/\.\./\.\./out: .*\.\."),
    "link": (
        of_layer(tar(("in", b""), kind=tarfile.LNKTYPE, link="../../out")),
        "layer",
        r"layer entry /in: .*\.\.",
    ),
    "through a link": (
        of_layer(tar(("d", b""), kind=tarfile.SYMTYPE, link="/tmp")[:512] + tar(("d/out", b"x"))),
        "layer",
        "layer entry /d/out: it lies below an entry .* symlink",
    ),
    "whiteout": (of_layer(tar((".wh...", b""))), "layer", r"layer entry /\.wh\.\.\.: .* names nothing"),
    "no file": (
        of_layer(tar(("a", b""), kind=tarfile.LNKTYPE, link="a")),
        "layer",
        "layer entry /a: .* hard link to itself",
    ),
    "a million": (of_a_million_entries, "blob", r"layer entry /1000000\d+: .* more entries"),
    "sparse": (of_layer(sparse()), "layer", "layer entry /sparse: it is a GNU sparse file"),
    "sparse pax": (
        of_layer(tar(("sparse", b""), **{"GNU.sparse.realsize": str(100 << 30)})),
        "layer",
        "layer entry /sparse: it is a GNU sparse file",
    ),
    "claim": (of_layer(claims(100 << 30, bytes(4096))), "layer", "layer entry /huge: .* past the end"),
    "truncated": (of_layer(tar(("a", b"x" * 2000))[:1024]), "layer", "layer entry /a: .* past the end"),
    "trailing": (of_layer(GOOD + b"more" * 128), "layer", "layer entry /bin/tool: .* data after its end"),
    "gzip bomb": (lambda: of_a_bomb("gzip"), "blob", "refused as a bomb"),
    "zstd bomb": (lambda: of_a_bomb("zstd"), "blob", "refused as a bomb"),
    "cut gzip": (lambda: Stranger(GOOD, gzip.compress(GOOD)[:-9], f"{LAYER}+gzip"), "blob", "not valid gzip"),
    "after gzip": (
        lambda: Stranger(GOOD, gzip.compress(GOOD) + b"more", f"{LAYER}+gzip"),
        "blob",
        "not valid gzip",
    ),
    "window": (
        lambda: Stranger(GOOD, b"\x28\xb5\x2f\xfd\x00\xf8" + bytes(16), f"{LAYER}+zstd"),
        "blob",
        "not valid zstd",
    ),
    "other tar": (lambda: Stranger(GOOD, tar(("other", b""))), "blob", "configuration says"),
    "size": (
        edited(edit_manifest=_set("layers", 0, "size", to=len(GOOD) + 1)),
        "layer",
        f"{len(GOOD)} bytes, and the manifest says {len(GOOD) + 1}",
    ),
    "digest": (
        lambda: Stranger(GOOD + b"\0" * 512, blobs={digest(GOOD + b"\0" * 512): b"x" * 10_752}),
        "layer",
        "its bytes have the digest sha256:",
    ),
    "manifest's digest": (
        lambda: _with_other_manifest(Stranger(GOOD)),
        "manifest",
        "the manifest has the digest",
    ),
    "two sizes": (
        edited(
            edit_manifest=lambda value: value["layers"].append(value["layers"][0] | {"size": 1}),
        ),
        "manifest",
        "two sizes",
    ),
    "huge size": (
        edited(edit_manifest=_set("layers", 0, "size", to=1 << 62)),
        "manifest",
        r"layers\[0\].size",
    ),
    "no blob": (
        edited(edit_manifest=_set("layers", 0, "digest", to=digest(b"gone"))),
        digest(b"gone"),
        "No such file",
    ),
    "layers": (edited(edit_config=_set("rootfs", "diff_ids", to=[])), "config", "has 0 layers"),
    "media type": (
        edited(media_type="application/x-rar"),
        "manifest",
        "has a layer that rbuild cannot read: 'application/x-rar'",
    ),
    "artifact": (
        edited(edit_manifest=_set("config", "mediaType", to="application/x-chart")),
        "manifest",
        "not a container image",
    ),
    "deep manifest": (edited(manifest_bytes=_deep()), "manifest", "nested too deeply"),
    "deep config": (edited(config_bytes=_deep()), "config", "nested too deeply"),
    "deep index": (edited(index_bytes=_deep()), "", r"index\.json.*nested too deeply"),
    "key twice": (
        lambda: _with_manifest(Stranger(GOOD), _twice),
        "manifest",
        "the key 'schemaVersion' comes twice",
    ),
    "key twice in the config": (
        edited(config_bytes=b'{"os": "linux", "os": "linux"}'),
        "config",
        "the key 'os' comes twice",
    ),
    "digits": (edited(manifest_bytes=b'{"schemaVersion": ' + b"2" * 10_000 + b"}"), "manifest", "not valid"),
    "list": (edited(manifest_bytes=_list_of("arm64", "s390x")), "manifest", "no image for linux/amd64"),
    "list of a list": (
        lambda: _with_lists(Stranger(GOOD)),
        "",
        "lists another list|the manifest has the digest",
    ),
    "no manifests": (edited(edit_index=_set("manifests", to=[])), "", r"index\.json.*no images"),
    "a million manifests": (
        edited(edit_index=lambda value: value.update(manifests=value["manifests"] * 20_000)),
        "",
        r"index\.json.*(more than|length)",
    ),
}


def _with_manifest(stranger: Stranger, change: Callable[[bytes], bytes]) -> Stranger:
    return replace(stranger, manifest_bytes=change(stranger.parts()[0]))


def _with_other_manifest(stranger: Stranger) -> Stranger:
    name = digest(stranger.parts()[0])
    return replace(stranger, blobs={name: stranger.parts()[0] + b" "})


def _with_lists(stranger: Stranger) -> Stranger:
    """A list whose only image is a list, and so on."""
    data, blobs = _list_of("amd64"), {}
    for _ in range(4):
        blobs[digest(data)] = data
        value = json.loads(_list_of("amd64"))
        value["manifests"][0] |= {"digest": digest(data), "size": len(data)}
        data = json.dumps(value).encode()
    return replace(stranger, manifest_bytes=data, blobs=blobs)


@pytest.fixture(scope="module")
def victim() -> Iterator[World]:
    """One world for all: none of the strangers may leave anything in it."""
    folder = Path(tempfile.mkdtemp(prefix="rb-"))
    made = make_world(folder)
    yield made
    remove_world(made)
    shutil.rmtree(folder)


def _write_project(world: World, base: str, bases: dict[str, Any]) -> None:
    (world.project / "rbuild.lock").unlink(missing_ok=True)
    stages = {"one": {"containerfile": "Containerfile", "context": "context"}}
    world.write(
        {
            "rbuild.yaml": project_file(bases, stages),
            "Containerfile": f"FROM {base}\nLABEL a=b\n",
            "context/.keep": "",
        }
    )


def _refused(world: World, memory: int = _MEMORY) -> str:
    """What `rbuild all` says, which has to fail as it should, and to leave nothing behind."""
    peak = world.data / "peak"
    peak.unlink(missing_ok=True)
    before = _tree(world)
    done = subprocess.run(
        [sys.executable, "-c", _MEASURE, str(peak), *RBUILD, "all"],
        cwd=world.project,
        env=world.env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
    )
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    used = int(peak.read_text()) << 10
    assert used < memory, f"{used >> 20} MiB"
    peak.unlink()
    assert _tree(world) == before
    assert [path.name for path in (world.store / "tmp").iterdir()] == []
    return re.sub(r"\s+", " ", done.stderr)


def _tree(world: World) -> set[tuple[str, int]]:
    """Everything around but for the store and what is asked of Podman."""
    found = set()
    for folder, folders, files in os.walk(world.data.parent):
        folders[:] = [name for name in folders if name not in ("rbuild", "containers", ".rbuild")]
        found |= {(f"{folder}/{name}", (Path(folder) / name).lstat().st_size) for name in [*folders, *files]}
    return found


@pytest.mark.parametrize("case", CASES)
def test_a_layout_of_a_stranger(victim: World, case: str) -> None:
    make, blob, message = CASES[case]
    stranger = make()
    folder = victim.project / "base"
    shutil.rmtree(folder, ignore_errors=True)
    stranger.lay_out(folder)
    _write_project(victim, "localhost/base:1", {"localhost/base:1": {"oci": "base"}})
    said = _refused(victim, _MEMORY_OF_A_MILLION if case == "a million" else _MEMORY)
    assert re.search(message, said), said
    assert _name_of(blob, stranger) in said


def _name_of(blob: str, stranger: Stranger) -> str:
    manifest, _ = stranger.parts()
    value = json.loads(manifest) if len(manifest) < 8192 else {}
    match blob:
        case "layer" | "blob":
            return str(value["layers"][0]["digest"])
        case "config":
            return str(value["config"]["digest"])
        case "manifest":
            return digest(manifest)
    return blob


@pytest.mark.parametrize("kind", ["link", "folder", "fifo", "device", "folder that is a link"])
def test_a_layout_whose_blobs_are_no_files(victim: World, kind: str, tmp_path: Path) -> None:
    folder = victim.project / "base"
    shutil.rmtree(folder, ignore_errors=True)
    stranger = Stranger(tar(("never", b"taken")))
    stranger.lay_out(folder)
    path = folder / "blobs" / "sha256" / digest(stranger.layer).removeprefix("sha256:")
    outside = tmp_path / "outside"
    outside.mkdir()
    if kind == "folder that is a link":
        shutil.move(folder / "blobs", outside / "blobs")
        (folder / "blobs").symlink_to(outside / "blobs")
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
    _write_project(victim, "localhost/base:1", {"localhost/base:1": {"oci": "base"}})
    said = _refused(victim)
    assert re.search("leads out of the folder|is not a regular file", said), said
    assert path.name in said or kind == "folder that is a link"
    shutil.rmtree(folder)


def _redirect(to: str) -> Answer:
    return lambda handler: handler.give(b"", "text/plain", 307, Location=to)


def _say(data: bytes, kind: str = MANIFEST) -> Answer:
    return lambda handler: handler.give(data, kind)


HONEST = tar(("bin/tool", b"from a registry"))
_BLOB = digest(HONEST)
# What the registry says in place of the truth, by the blob or "manifests", and the message.
LIES: dict[str, tuple[dict[str, Answer], str]] = {
    "no end": ({_BLOB: lambda handler: handler.give_without_end()}, "more comes than the"),
    "too short": ({_BLOB: _say(HONEST[:-512])}, "cannot fetch|bytes"),
    "too long": ({_BLOB: _say(HONEST + b"more")}, "cannot fetch|bytes"),
    "other bytes": ({_BLOB: _say(b"x" * len(HONEST))}, "(?i)digest"),
    "no blob": ({_BLOB: lambda handler: handler.give(b"{}", "application/json", 404)}, "cannot fetch"),
    "elsewhere": ({_BLOB: _redirect("http://127.0.0.1:1/blob")}, "cannot fetch"),
    "to a file": ({_BLOB: _redirect("file:///etc/passwd")}, "cannot fetch"),
    "deep": ({"manifests": _say(_deep())}, "nested too deeply|cannot read"),
    "twice": ({"manifests": _say(_twice(Stranger(HONEST).parts()[0]))}, "comes twice|cannot read"),
    "list": ({"manifests": _say(_list_of("arm64"), INDEX)}, "no image for linux/amd64"),
    "list of a liar": ({"manifests": _say(_list_of("amd64"), INDEX)}, "digest|cannot read"),
    "endless manifest": ({"manifests": lambda handler: handler.give_without_end()}, "cannot read"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_registry_of_a_stranger(victim: World, lie: str) -> None:
    lies, message = LIES[lie]
    with serving(Stranger(HONEST), lies) as registry:
        _write_project(victim, registry.base, {})
        said = _refused(victim)
        assert registry.sent < 4 << 30
    assert re.search(message, said), said
    assert "library/base:1" in said


def test_a_stranger_who_tells_the_truth(victim: World) -> None:
    """The table means something: the same image without a lie is built upon."""
    with serving(Stranger(HONEST)) as registry:
        _write_project(victim, registry.base, {})
        victim.ok("all")
    folder = victim.project / "base"
    shutil.rmtree(folder, ignore_errors=True)
    Stranger(HONEST).lay_out(folder)
    _write_project(victim, "localhost/base:1", {"localhost/base:1": {"oci": "base"}})
    victim.ok("all")
