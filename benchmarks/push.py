"""What `rbuild push` costs beside `skopeo copy` of the same images, one after the other.

    .venv/bin/python benchmarks/push.py [--rounds N] [--megabytes N]

Three stages share a base and a dependency layer. Each side and round has a new docker-registry of its own, on
loopback: first all images go there, then again with nothing changed, and then once more as if the registry
were 20 ms of round trip away (benchmarks/distance.py). Sides take turns in one run, and every other round
starts with the other side. Exits 1 if a bound is missed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from distance import away
from run import Row, alternate, compared, listed, say
from sides import Side, remove, scratch

FIRST, SECOND = 0.7, 1.0
MEGABYTES = 80
ROUND_TRIP = 0.02  # seconds, to a registry in another town
RBUILD = str(Path(sys.executable).with_name("rbuild"))  # as people call it
ALONE = ("--attach", "none", "--sources", "none")  # as skopeo copies: the images, and nothing beside them
STAGES = ("prepare", "train", "infer")


class Pushing(Side):
    """A project of three stages, built, locked and in the store."""

    def __init__(self, folder: Path, megabytes: int) -> None:
        super().__init__(folder)
        self.project = folder / "project"
        (self.project / "base").mkdir(parents=True)
        for name in ("system", "dependencies"):
            (self.project / "base" / name).write_bytes(os.urandom(megabytes * 1_000_000))
        text = "FROM scratch\nCOPY system /\nCOPY dependencies /\n"
        (self.project / "Containerfile").write_text(text)
        base = {"base": {"containerfile": "Containerfile", "context": "base"}}
        self._write({"project": "base", "stages": base})
        self.rbuild("all")
        store = self.data / "rbuild"
        self.output("skopeo", "copy", "--quiet", f"oci:{store}:base/base", f"oci:{self.project}/layout:1")
        shutil.rmtree(self.project / "base")
        for name in STAGES:
            (self.project / name).mkdir()
            (self.project / name / f"{name}.bin").write_bytes(os.urandom(1_000_000))
            text = f"FROM localhost/base:1\nCOPY {name}.bin /\n"
            (self.project / f"{name}.Containerfile").write_text(text)
        stages = {name: {"containerfile": f"{name}.Containerfile", "context": name} for name in STAGES}
        self._write({"project": "bench", "bases": {"localhost/base:1": {"oci": "layout"}}, "stages": stages})
        self.rbuild("all")

    def _write(self, project: Mapping[str, object]) -> None:
        (self.project / "rbuild.yaml").write_text(json.dumps(project))

    def rbuild(self, *arguments: str) -> str:
        return self.output(RBUILD, "--project", str(self.project), *arguments)

    def push(self, host: str, *options: str) -> tuple[float, int]:
        """The seconds of `rbuild push`, and the bytes of blobs that it sent, beside the images as well."""
        start = time.perf_counter()
        said = self.rbuild("push", "--to", host, "--tag", "latest", "--json", *options)
        seconds = time.perf_counter() - start
        images = json.loads(said)[0]["images"]
        beside = [one["bytes_sent"] for image in images for one in image["attached"]]
        return seconds, sum(image["bytes_sent"] for image in images) + sum(beside)

    def copy(self, host: str) -> float:
        """The seconds of three `skopeo copy`."""
        start = time.perf_counter()
        for stage in STAGES:
            argv = ["skopeo", "copy", "--quiet", "--preserve-digests", "--dest-tls-verify=false"]
            source = f"oci:{self.data / 'rbuild'}:bench/{stage}"
            self.output(*argv, source, f"docker://{host}/bench/{stage}:latest")
        return time.perf_counter() - start


@contextlib.contextmanager
def registry(folder: Path) -> Iterator[str]:
    """A docker-registry that is empty; gives host and port."""
    own = Path(tempfile.mkdtemp(dir=folder))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = {
        "version": 0.1,
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(own / "storage")}},
        "http": {"addr": f"127.0.0.1:{port}"},
    }
    (own / "config.yml").write_text(json.dumps(config))
    argv = ["docker-registry", "serve", str(own / "config.yml")]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            for _ in range(200):
                with contextlib.suppress(OSError):
                    socket.create_connection(("127.0.0.1", port), timeout=1).close()
                    break
                time.sleep(0.05)
            yield f"localhost:{port}"
        finally:
            process.terminate()
    remove(own, os.environ)


@contextlib.contextmanager
def from_far(host: str) -> Iterator[str]:
    """The registry at `host`, a round trip away."""
    with away(int(host.rpartition(":")[2]), ROUND_TRIP / 2) as port:
        yield f"localhost:{port}"


def measure(rounds: int, megabytes: int) -> tuple[list[Row], str]:
    """The lines of the table, and what there is to say about them."""
    first: dict[str, list[float]] = {"alone": [], "whole": [], "peer": []}
    second: dict[str, list[float]] = {"alone": [], "whole": [], "peer": []}
    far: dict[str, list[float]] = {"alone": [], "whole": [], "peer": []}
    sent: dict[str, list[int]] = {"alone": [], "whole": []}
    with scratch() as folder:
        say("setting up: three stages that share their layers")
        side = Pushing(folder / "side", megabytes)

        def our_turn() -> str:
            for which, options in (("alone", ALONE), ("whole", ())):
                with registry(folder) as host:
                    seconds, size = side.push(host, *options)
                    first[which].append(seconds)
                    sent[which].append(size)
                    seconds, again = side.push(host, *options)
                    second[which].append(seconds)
                    with from_far(host) as there:
                        seconds, third = side.push(there, *options)
                    far[which].append(seconds)
                if again or third:
                    sys.exit(f"a push of what is there sent {again} and {third} bytes of blobs")
            return last("alone")

        def their_turn() -> str:
            with registry(folder) as host:
                first["peer"].append(side.copy(host))
                second["peer"].append(side.copy(host))
                with from_far(host) as there:
                    far["peer"].append(side.copy(there))
            return last("peer")

        def last(which: str) -> str:
            return ", ".join(f"{one[which][-1]:.2f}" for one in (first, second, far))

        alternate(rounds, "push", our_turn, their_turn)
    shared = f"three stages that share two layers of {megabytes} MB"
    distance = f"{ROUND_TRIP * 1000:.0f} ms from the registry"
    rows = [
        compared(f"first `rbuild push`, {shared}; three `skopeo copy`", first["alone"], first["peer"], FIRST),
        compared(
            f"second `rbuild push`, nothing changed, {distance}; three `skopeo copy`",
            far["alone"],
            far["peer"],
            SECOND,
        ),
        compared(
            "the same, registry on loopback; three `skopeo copy`", second["alone"], second["peer"], SECOND
        ),
    ]
    beside = ", ".join(
        f"{statistics.median(one['whole']) / statistics.median(one['peer']):.2f}"
        for one in (first, far, second)
    )
    note = (
        f"seconds, first push: {listed(first['alone'])} and {listed(first['peer'])}; second, {distance}: "
        f"{listed(far['alone'])} and {listed(far['peer'])}; second, on loopback: {listed(second['alone'])} "
        f"and {listed(second['peer'])}. rbuild sent {statistics.median(sent['alone']) / 1e6:.1f} MB first, "
        "and 0 bytes of blobs second. On loopback, a push of nothing is the start of Python and its imports; "
        "a registry that is a network away is asked by several connections at once. Both sides keep digests, "
        f"and push the images alone (`rbuild push {' '.join(ALONE)}`). With the sources, the provenance and "
        "the bills of materials that rbuild sends by default, and skopeo does not have, rbuild sent "
        f"{statistics.median(sent['whole']) / 1e6:.1f} MB and the three ratios are {beside}: "
        f"{listed(first['whole'])}; {listed(far['whole'])}; {listed(second['whole'])} s."
    )
    return rows, note


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--megabytes", type=int, default=MEGABYTES)
    args = parser.parse_args()
    if os.geteuid() == 0:
        sys.exit("run it as an ordinary user")
    rows, note = measure(args.rounds, args.megabytes)
    print("| what; against | ours | peer | ratio | bound | met |")
    print("|---|---|---|---|---|---|")
    for row in rows:
        print(row)
    print(f"\n{note}")
    sys.exit(0 if all(row.met for row in rows) else 1)


if __name__ == "__main__":
    main()
