"""The canonical form of a 400 MB layer against `zstd -3` plus `sha256sum` of the same tar.

    python benchmarks/canonical.py

Rounds of both alternate in one run, so that a busy machine slows both. Wanted: a median ratio of at most 1.5,
and under 200 MB of memory.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import time
from pathlib import Path

from rbuild.image.codec import DEFAULT
from rbuild.image.form import NEWEST
from rbuild.image.index import Tree
from rbuild.image.layer import canonical_layer
from rbuild.image.normalise import normalisers

MEGABYTES = 400
EPOCH = 1_700_000_000


def make_layer(target: Path) -> tuple[int, int]:
    """A layer as `pip install` of large packages leaves it; its bytes and number of entries."""
    packages = Path(sysconfig.get_path("purelib"))
    files = sorted(path for path in packages.rglob("*") if path.is_file() and path.stat().st_size < 64 << 20)
    left = MEGABYTES << 20
    count = 0
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as tar:
        for copy in range(20):
            folders: set[Path] = set()
            root = Path(f"opt/{copy}/site-packages")
            for path in files:
                if left <= 0:
                    return target.stat().st_size, count
                name = root / path.relative_to(packages)
                for folder in reversed(name.parents):
                    if folder not in folders and folder.name:
                        folders.add(folder)
                        tar.addfile(_info(tarfile.TarInfo(str(folder)), tarfile.DIRTYPE, 0o755))
                        count += 1
                # Each copy is another one to the compressor: one byte in 97 is changed.
                data = bytearray(path.read_bytes())
                if copy:
                    data[copy::97] = bytes((byte + copy) % 256 for byte in data[copy::97])
                info = _info(tarfile.TarInfo(str(name)), tarfile.REGTYPE, 0o644)
                info.mtime = int(path.stat().st_mtime)
                info.size = len(data)
                with tempfile.SpooledTemporaryFile(max_size=16 << 20) as content:
                    content.write(data)
                    content.seek(0)
                    tar.addfile(info, content)
                left -= len(data)
                count += 1
    return target.stat().st_size, count


def _info(info: tarfile.TarInfo, kind: bytes, mode: int) -> tarfile.TarInfo:
    info.type = kind
    info.mode = mode
    return info


def canonical(source: Path, target: Path, workers: int) -> dict[str, float]:
    """One canonical form, in this process: seconds, bytes of the blob, and the process's peak memory."""
    start = time.perf_counter()
    with source.open("rb") as tar, target.open("wb") as sink:
        writer = DEFAULT.writer(sink, workers=workers)
        layer = canonical_layer(
            tar, Tree(), epoch=EPOCH, normalisers=tuple(normalisers(NEWEST).values()), sink=writer
        )
        blob = writer.finish()
    seconds = time.perf_counter() - start
    assert layer is not None
    status = Path("/proc/self/status").read_text()
    peak = next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM"))
    return {"seconds": seconds, "bytes": blob.size, "peak": peak}


def plain(source: Path, target: Path) -> tuple[float, int]:
    """`zstd -3` and `sha256sum` of the same tar, one after the other."""
    start = time.perf_counter()
    subprocess.run(["zstd", "-3", "-q", "-f", str(source), "-o", str(target)], check=True)
    subprocess.run(["sha256sum", str(source)], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start, target.stat().st_size


def main() -> None:
    """Make the layer, run both, print the medians."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--one", nargs=2, metavar=("SOURCE", "TARGET"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(canonical(Path(args.one[0]), Path(args.one[1]), args.workers)))
        return
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR", "/var/tmp")) as folder:
        source, target = Path(folder, "layer.tar"), Path(folder, "blob")
        size, entries = make_layer(source)
        print(f"layer: {size / 1e6:.0f} MB, {entries} entries; {args.workers} workers, {args.rounds} rounds")
        ours, theirs, peaks = [], [], []
        for _ in range(args.rounds):
            seconds, plain_size = plain(source, target)
            theirs.append(seconds)
            # A process of its own for each round, so that the peak is that of one layer.
            command = [sys.executable, __file__, "--workers", str(args.workers), "--one", source, target]
            done = subprocess.run(command, check=True, capture_output=True)
            result = json.loads(done.stdout)
            ours.append(result["seconds"])
            peaks.append(result["peak"])
        ratio = statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
        print(f"zstd -3 + sha256sum: {statistics.median(theirs):.2f} s, {plain_size / 1e6:.1f} MB")
        print(f"canonical form:      {statistics.median(ours):.2f} s, {result['bytes'] / 1e6:.1f} MB")
        print(f"ratio {ratio:.2f} (wanted: at most 1.5); peak memory {max(peaks):.0f} MB (wanted: under 200)")
        if ratio > 1.5 or max(peaks) > 200:
            sys.exit(1)


if __name__ == "__main__":
    main()
