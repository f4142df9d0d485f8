"""What `rbuild verify` costs beside plain uncached builds of the same stages.

    .venv/bin/python benchmarks/verify.py [--rounds N]

The store is filled, and Podman has the bases under the names that the Containerfiles say; the peer's pip asks
PyPI, whose share of the time is told. Sides take turns in one run, and every other round starts with the
other side. Exits 1 if the bound is missed.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import sys
import time

from run import Row, alternate, compared, listed, say
from sides import Ours, Plain, scratch

BOUND = 1.15


def verified(ours: Ours) -> float:
    """The seconds of `rbuild verify`, which has to find every stage identical."""
    start = time.perf_counter()
    said = ours.rbuild("verify", "--offline").splitlines()
    seconds = time.perf_counter() - start
    if not said or not all(re.search(r"  identical  sha256:", line) for line in said):
        sys.exit("rbuild verify: wanted all stages identical, and it said\n" + "\n".join(said))
    return seconds


def measure(side: Ours, plain: Plain, rounds: int) -> tuple[Row, str]:
    """The line of the table, and what there is to say about it. The store of `side` is filled."""
    ours: list[float] = []
    peer: list[float] = []
    downloads: list[float] = []

    def our_turn() -> str:
        ours.append(verified(side))
        return listed(ours[-1:])

    def their_turn() -> str:
        built = plain.build(cached=False)
        peer.append(built.seconds)
        downloads.append(built.downloads)
        plain.forget_builds()
        return f"{listed(peer[-1:])} (downloads {listed(downloads[-1:])})"

    alternate(rounds, "verify", our_turn, their_turn)
    local = [total - downloading for total, downloading in zip(peer, downloads, strict=True)]
    ratio = statistics.median(ours) / statistics.median(local)
    note = (
        f"seconds, rbuild: {listed(ours)}; Podman: {listed(peer)}, of which pip's downloads "
        f"{listed(downloads)}; without them the ratio would be {ratio:.2f}. rbuild builds "
        f"{len(os.sched_getaffinity(0)) + 1} stages at the same time, into storage that starts empty."
    )
    what = "`rbuild verify`, store filled; three `podman build --no-cache`"
    return compared(what, ours, peer, BOUND), note


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    if os.geteuid() == 0:
        sys.exit("run it as an ordinary user")
    with scratch() as folder:
        say("setting up: rbuild all, which fills the store")
        side = Ours(folder / "ours")
        side.rbuild("all")
        say("setting up: the same bases in Podman")
        row, note = measure(side, Plain(folder / "plain", side), args.rounds)
    print("| what; against | ours | peer | ratio | bound | met |")
    print("|---|---|---|---|---|---|")
    print(row)
    print(f"\n{note}")
    sys.exit(0 if row.met else 1)


if __name__ == "__main__":
    main()
