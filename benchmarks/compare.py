"""Two images held against each other, against decompressing and hashing what they hold.

    python benchmarks/compare.py

One layer of 400 MB with 12,000 entries, of which 10 files differ; the peer decompresses both blobs and hashes
what comes out. Rounds of both alternate in one run, so that a busy machine slows both. Wanted: a median ratio
of at most 2. Then two images of 600 MB whose layers are equal, in which no layer may be opened; wanted: under
a second.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import BinaryIO

import zstandard

from rbuild.compare.images import Image, compare
from rbuild.compare.model import Verdict
from rbuild.digest import Digest
from rbuild.image.canonicaljson import canonical_json
from rbuild.image.codec import DEFAULT

MEGABYTES = 400
ENTRIES = 12_000
DIFFERING = 10
EPOCH = 1_700_000_000
_CHUNK = 1 << 20


def make_blob(target: Path, *, changed: bool) -> Digest:
    """A compressed layer of half text and half incompressible files; its diff id."""
    random = Random(1)
    words = [random.randbytes(random.randrange(2, 9)).hex().encode() for _ in range(4000)]
    size = (MEGABYTES << 20) // ENTRIES
    every = ENTRIES // DIFFERING
    hashed = hashlib.sha256()
    with target.open("wb") as sink:
        writer = DEFAULT.writer(sink, workers=2)

        class Tee:
            def write(self, data: bytes) -> int:
                hashed.update(data)
                return writer.write(data)

        with tarfile.open(fileobj=Tee(), mode="w|", format=tarfile.PAX_FORMAT) as tar:
            for number in range(ENTRIES):
                data = bytearray(
                    b" ".join(random.choices(words, k=size // 10))[:size]
                    if number % 2
                    else random.randbytes(size)
                )
                if changed and number % every == every // 2:
                    data[len(data) // 2] ^= 1
                info = tarfile.TarInfo(f"opt/{number // 100}/file{number}")
                info.size, info.mtime, info.mode = len(data), EPOCH, 0o644
                tar.addfile(info, io.BytesIO(data))
        writer.finish()
    return Digest(hashed.hexdigest())


def image(name: str, blobs: list[tuple[Path, Digest]]) -> Image:
    """An image of such layers."""
    config = canonical_json(
        {
            "architecture": "amd64",
            "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": [str(diff_id) for _, diff_id in blobs]},
        }
    )
    manifest = canonical_json(
        {
            "schemaVersion": 2,
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": str(Digest.of(config)),
                "size": len(config),
            },
            "layers": [
                {"mediaType": DEFAULT.media_type, "digest": str(diff_id), "size": path.stat().st_size}
                for path, diff_id in blobs
            ],
            "annotations": {"org.opencontainers.image.title": name},
        }
    )

    def open_layer(number: int) -> BinaryIO:
        return blobs[number - 1][0].open("rb")

    return Image(name=name, manifest=manifest, config=config, open_layer=open_layer)


def ours(a: Path, diff_a: Digest, b: Path, diff_b: Digest) -> dict[str, float]:
    """One comparison, in this process: seconds, differences and the process's peak memory."""
    start = time.perf_counter()
    comparison = compare(image("a", [(a, diff_a)]), image("b", [(b, diff_b)]))
    seconds = time.perf_counter() - start
    (layer,) = [each for each in comparison.differences if each.name == "layer 1"]
    status = Path("/proc/self/status").read_text()
    peak = next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM"))
    return {"seconds": seconds, "found": len(layer.children), "peak": peak}


def plain(blobs: list[Path]) -> float:
    """Read, decompress and hash the blobs, one after the other."""
    start = time.perf_counter()
    for path in blobs:
        hashed = hashlib.sha256()
        with path.open("rb") as file, zstandard.ZstdDecompressor().stream_reader(file) as stream:
            while chunk := stream.read(_CHUNK):
                hashed.update(chunk)
    return time.perf_counter() - start


def equal(blob: tuple[Path, Digest]) -> float:
    """Two images of the same layers, and other annotations: seconds, with layers that cannot be opened."""

    def refuse(number: int) -> BinaryIO:
        sys.exit(f"layer {number} was opened, although its diff ids are equal")

    a, b = (replace(image(name, [blob] * 2), open_layer=refuse) for name in "ab")
    start = time.perf_counter()
    comparison = compare(a, b)
    if comparison.verdict is not Verdict.SAME_CONTENT:
        sys.exit(f"the verdict is {comparison.verdict}")
    return time.perf_counter() - start


def main() -> None:
    """Make the layers, run both, print the medians."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--one", nargs=4, metavar=("BLOB", "DIFF_ID", "BLOB", "DIFF_ID"), help=argparse.SUPPRESS
    )
    args = parser.parse_args()
    if args.one:
        a, diff_a, b, diff_b = args.one
        print(json.dumps(ours(Path(a), Digest(diff_a), Path(b), Digest(diff_b))))
        return
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR", "/var/tmp")) as folder:
        a, b = Path(folder, "a"), Path(folder, "b")
        diff_a, diff_b = make_blob(a, changed=False), make_blob(b, changed=True)
        print(f"layer: {MEGABYTES} MB, {ENTRIES} entries, {a.stat().st_size / 1e6:.0f} MB compressed")
        compared, hashed, peaks = [], [], []
        for _ in range(args.rounds):
            hashed.append(plain([a, b]))
            # A process of its own for each round, so that the peak is that of one comparison.
            command = [sys.executable, __file__, "--one", str(a), diff_a.hex, str(b), diff_b.hex]
            result = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
            if result["found"] != DIFFERING:
                sys.exit(f"found {result['found']} differences, not {DIFFERING}")
            compared.append(result["seconds"])
            peaks.append(result["peak"])
        ratio = statistics.median(one / two for one, two in zip(compared, hashed, strict=True))
        same = equal((a, diff_a))
        print(f"decompress and hash both: {statistics.median(hashed):.2f} s")
        print(
            f"compare:                  {statistics.median(compared):.2f} s; peak memory {max(peaks):.0f} MB"
        )
        print(f"ratio {ratio:.2f} (wanted: at most 2)")
        print(f"equal layers: {same * 1000:.1f} ms (wanted: under 1 s)")
        if ratio > 2 or same > 1:
            sys.exit(1)


if __name__ == "__main__":
    main()
