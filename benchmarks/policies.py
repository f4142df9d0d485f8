"""What `rbuild check` costs: a large image through all rules, and a project of 200 stages.

    .venv/bin/python benchmarks/policies.py [--rounds N]

The image has 600 MB in 25,000 files: a base, packages as pip leaves them, a program's own text. The peer
decompresses its layers and hashes what comes out, in Python as well. Rounds of both alternate in one run.
Wanted: a median ratio of at most 1.5, and under 200 MB of memory; 200 stages in under 1.5 s. rbuild is the
whole command, with what it found last time forgotten. Exits 1 if a bound is missed.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import shutil
import statistics
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from rbuild.digest import Digest
from rbuild.image.codec import DEFAULT, decompressed
from rbuild.image.config import Config, Execution, HistoryEntry, RootFs
from rbuild.image.form import NEWEST
from rbuild.image.manifest import OCI_CONFIG, Descriptor, canonical_manifest
from rbuild.lock import BaseLock, ImageLock, LayerLock, Lock, StageLock
from rbuild.recording import Recording, Response
from rbuild.store import Store
from rbuild.verbs.source import read_sources
from rbuild.verbs.workspace import open_workspace, write_lock

MEGABYTES, FILES = 600, 25_000
EPOCH = 1_700_000_000
STAGES = 200
BASE = "docker.io/library/python:3.11-slim"
TEXTS = (".py", ".txt", ".json", ".pyi")
LABELS = ("title", "description", "licenses")
CONTAINERFILE = """\
# Trains a model; number {number}.
FROM {base} AS build
WORKDIR /build
COPY requirements.txt .
RUN python3 -m venv --without-pip /opt/venv \\
 && python3 -m pip --python /opt/venv/bin/python3 install --no-cache-dir --requirement requirements.txt \\
 && find /opt/venv -name '*.pyc' -newer /build/requirements.txt | head -{number} > /build/list

FROM {base}
COPY --from=build /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin STAGE_NUMBER={number}
LABEL org.opencontainers.image.title="stage-{number}" \\
      org.opencontainers.image.description="One of many" \\
      org.opencontainers.image.licenses="Apache-2.0"
WORKDIR /app
COPY main.py .
RUN set -eu; \\
    for name in a b c; do \\
      mkdir -p "/app/$name"; chown 10001:10001 "/app/$name"; \\
    done
USER 10001:10001
ENTRYPOINT ["python3", "/app/main.py"]
"""


@dataclass(frozen=True)
class Cost:
    """Of one process: seconds, and its most memory in MB."""

    seconds: float
    peak: float
    said: str


def cost(argv: list[str | Path], folder: Path, env: dict[str, str]) -> Cost:
    """Run a command and wait for it; it may exit with 0 alone."""
    start = time.perf_counter()
    process = subprocess.Popen(argv, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert process.stdout is not None
    said = process.stdout.read().decode()
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"{argv} failed:\n{said}")
    return Cost(seconds, used.ru_maxrss / 1024, said)


# The image


def sources() -> Iterator[tuple[Path, bytes]]:
    """Files of installed packages, over and over, each time a little different."""
    packages = Path(sysconfig.get_path("purelib"))
    files = sorted(path for path in packages.rglob("*") if path.is_file() and path.stat().st_size < 32 << 20)
    for copy in range(100):
        for path in files:
            data = bytearray(path.read_bytes())
            if copy:
                data[copy::97] = bytes((byte + copy) % 256 for byte in data[copy::97])
            yield Path(str(copy)) / path.relative_to(packages), bytes(data)


class Layers:
    """The layers of the image as tars on their way into a store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.locks: list[LayerLock] = []
        self.size = self.files = 0

    def add(self, members: Iterator[tuple[str, bytes]], megabytes: int, files: int) -> None:
        """A layer of so many files, or of so many megabytes if that is reached first."""
        with tempfile.TemporaryFile() as plain:
            with tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as tar:
                size, count, folders = 0, 0, set[str]()
                for name, data in members:
                    for folder in reversed(Path(name).parents[:-1]):
                        if str(folder) not in folders:
                            folders.add(str(folder))
                            tar.addfile(_info(str(folder), tarfile.DIRTYPE, 0o755))
                    info = _info(name, tarfile.REGTYPE, 0o644)
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
                    size += len(data)
                    count += 1
                    if count == files or size >= megabytes << 20:
                        break
            self.size, self.files = self.size + size, self.files + count
            plain.seek(0)
            with self._store.writer() as writer:
                compressor = DEFAULT.writer(writer, workers=2)
                while chunk := plain.read(1 << 20):
                    compressor.write(chunk)
                blob = compressor.finish()
                writer.commit(blob.digest)
            plain.seek(0)
            diff_id = hashlib.file_digest(plain, "sha256").hexdigest()  # type: ignore[arg-type]
            self.locks.append(LayerLock(diff_id=Digest(diff_id), blob=blob.digest, size=blob.size))


def _info(name: str, kind: bytes, mode: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.mtime = kind, mode, EPOCH
    return info


def make_image(store: Store) -> tuple[ImageLock, Layers]:
    """An image of a base, of a layer of packages, and of one of a program's own text."""
    layers = Layers(store)
    stream = sources()
    base = ((f"usr/lib/python3/dist-packages/{path}", data) for path, data in stream)
    layers.add(base, MEGABYTES // 5, FILES // 5)
    packages = ((f"opt/venv/lib/python3.11/site-packages/{path}", data) for path, data in stream)
    layers.add(packages, MEGABYTES * 7 // 10, FILES * 7 // 10)
    texts = (
        (f"app/{path}", data) for path, data in stream if path.suffix in (".py", ".txt", ".json", ".pyi")
    )
    layers.add(texts, MEGABYTES // 10 + 20, FILES - layers.files)
    names = ("made by the base", "COPY --from=build /opt/venv /opt/venv", "COPY main.py .")
    config = Config(
        os="linux",
        architecture="amd64",
        config=Execution(
            user="10001:10001",
            labels={f"org.opencontainers.image.{name}": "x" for name in LABELS},
        ),
        rootfs=RootFs(diff_ids=[str(lock.diff_id) for lock in layers.locks]),
        history=[HistoryEntry(created_by=name) for name in names],
    )
    written = store.put(msgspec.json.encode(config))
    descriptor = Descriptor(media_type=OCI_CONFIG, digest=written.digest, size=written.size)
    blobs = [
        Descriptor(media_type=DEFAULT.media_type, digest=lock.blob, size=lock.size) for lock in layers.locks
    ]
    manifest = store.put(canonical_manifest(descriptor, blobs, {}))
    image = ImageLock(manifest=manifest.digest, config=written.digest, layers=tuple(layers.locks))
    return image, layers


# Projects


def make_project(folder: Path, env: dict[str, str], stages: int, image: ImageLock | None) -> None:
    """A project that is locked; with `image` for all of its stages, if there is one."""
    folder.mkdir()
    written = ["project: bench", "stages:"]
    for number in range(stages):
        (folder / f"s{number}").mkdir()
        text = CONTAINERFILE.format(number=number, base=BASE)
        if image:
            text = text[: text.index("RUN set")] + text[text.index("USER") :]
        (folder / f"s{number}" / "Containerfile").write_text(text)
        (folder / f"s{number}" / ".containerignore").write_text("out\n")
        (folder / f"s{number}" / "main.py").write_text(f"print({number})\n")
        (folder / f"s{number}" / "requirements.txt").write_text(
            f"numpy==2.0.0 --hash=sha256:{Digest.of(b'numpy').hex}\n"
        )
        written += [f"  s{number}:", f"    containerfile: s{number}/Containerfile", f"    context: s{number}"]
    (folder / "rbuild.yaml").write_text("\n".join([*written, ""]))
    workspace = open_workspace(folder, env)
    nothing = Digest.of(b"")
    empty = ImageLock(manifest=nothing, config=nothing, layers=())
    base = BaseLock(digest=Digest.of(b"base"), image=BASE)
    locked = {}
    for name, source in read_sources(workspace, workspace.project.stages).items():
        inputs = source.inputs("linux/amd64", {BASE: base.digest}, epoch=EPOCH, form=NEWEST)
        recording = Recording(
            responses=tuple(
                Response(
                    url=f"https://files.pythonhosted.org/packages/{name}/{at}/x-1.{at}-py3-none-any.whl",
                    sha256=Digest.of(f"{name}{at}".encode()),
                    size=1000 + at,
                )
                for at in range(20)
            )
        )
        locked[name] = StageLock(
            input=inputs.digest(recording),
            form=NEWEST,
            codec=str(DEFAULT),
            epoch=EPOCH,
            normalisers=source.normalisers,
            bases=source.bases,
            context=source.context.digest,
            containerfile=source.digest,
            recording=recording,
            image=image or empty,
        )
    write_lock(
        workspace,
        Lock(version=1, project="bench", platform="linux/amd64", bases={BASE: base}, stages=locked),
    )


def read_once(store: Path, blobs: list[str]) -> None:
    """The peer: decompress each blob, and hash what comes out."""
    for blob in blobs:
        with (store / "blobs" / "sha256" / blob).open("rb") as file:
            source = decompressed(file, DEFAULT.media_type)
            digest = hashlib.sha256()
            while chunk := source.read(1 << 20):
                digest.update(chunk)


def main() -> None:
    """Make the image and the projects, run both sides, print the medians."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peer", nargs="+", metavar="STORE BLOB", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.peer:
        read_once(Path(args.peer[0]), args.peer[1:])
        return
    rbuild = Path(sys.executable).with_name("rbuild")
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR", "/var/tmp")) as name:
        folder = Path(name)
        env = {**os.environ, "RBUILD_STORE": str(folder / "store")}
        image, layers = make_image(Store(folder / "store"))
        make_project(folder / "one", env, 1, image)
        make_project(folder / "many", env, STAGES, None)
        print(f"image: {layers.size / 1e6:.0f} MB, {layers.files} files; {args.rounds} rounds")
        blobs = [lock.blob.hex for lock in image.layers]
        ours: list[Cost] = []
        peer: list[Cost] = []
        many: list[Cost] = []
        cost([rbuild, "check", "--quiet"], folder / "many", env)  # the lock is parsed once
        for number in range(args.rounds):
            turns = [
                lambda: ours.append(cost([rbuild, "check", "--quiet"], folder / "one", env)),
                lambda: peer.append(
                    cost([sys.executable, __file__, "--peer", folder / "store", *blobs], folder, env)
                ),
            ]
            shutil.rmtree(folder / "store" / "cache" / "checks", ignore_errors=True)
            for turn in turns[:: -1 if number % 2 else 1]:
                turn()
            many.append(cost([rbuild, "check", "--quiet"], folder / "many", env))
        ratio = statistics.median(a.seconds / b.seconds for a, b in zip(ours, peer, strict=True))
        peak = max(one.peak for one in ours)
        seconds = statistics.median(one.seconds for one in many)
        print(f"read once:           {statistics.median(one.seconds for one in peer):.2f} s")
        print(f"all rules:           {statistics.median(one.seconds for one in ours):.2f} s")
        print(f"ratio {ratio:.2f} (wanted: at most 1.5); peak memory {peak:.0f} MB (wanted: under 200)")
        print(f"{STAGES} stages:          {seconds:.2f} s (wanted: under 1.5)")
        print(ours[-1].said[-2000:], file=sys.stderr)
        print(many[-1].said[-500:], file=sys.stderr)
        if ratio > 1.5 or peak > 200 or seconds > 1.5:
            sys.exit(1)


if __name__ == "__main__":
    main()
