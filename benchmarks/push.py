"""What `rbuild push` costs beside `skopeo copy` of the same images, one after the other.

    .venv/bin/python benchmarks/push.py [--rounds N] [--megabytes N]

Three stages share a base and a dependency layer. Each side and round has a new docker-registry of its own, on
loopback: first all images go there, and then again with nothing changed. Sides take turns in one run, and
every other round starts with the other side. Exits 1 if a bound is missed.
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

from run import Row, alternate, compared, listed, say
from sides import Side, remove, scratch

FIRST, SECOND = 0.7, 1.0
MEGABYTES = 80
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


def measure(rounds: int, megabytes: int) -> tuple[list[Row], str]:
    """The lines of the table, and what there is to say about them."""
    first: dict[str, list[float]] = {"alone": [], "whole": [], "peer": []}
    second: dict[str, list[float]] = {"alone": [], "whole": [], "peer": []}
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
                if again:
                    sys.exit(f"a second push sent {again} bytes of blobs")
            return f"first {listed(first['alone'][-1:])}, second {listed(second['alone'][-1:])}"

        def their_turn() -> str:
            with registry(folder) as host:
                first["peer"].append(side.copy(host))
                second["peer"].append(side.copy(host))
            return f"first {listed(first['peer'][-1:])}, second {listed(second['peer'][-1:])}"

        alternate(rounds, "push", our_turn, their_turn)
    shared = f"three stages that share two layers of {megabytes} MB"
    extra = "with what goes beside the images"
    rows = [
        compared(f"first `rbuild push`, {shared}; three `skopeo copy`", first["alone"], first["peer"], FIRST),
        compared(f"the same, {extra}; three `skopeo copy`", first["whole"], first["peer"], FIRST),
        compared(
            "second `rbuild push`, nothing changed; three `skopeo copy`",
            second["alone"],
            second["peer"],
            SECOND,
        ),
        compared(f"the same, {extra}; three `skopeo copy`", second["whole"], second["peer"], SECOND),
    ]
    note = (
        f"seconds, first push: {listed(first['alone'])} (with what goes beside: {listed(first['whole'])}) "
        f"and {listed(first['peer'])}; second: {listed(second['alone'])} ({listed(second['whole'])}) and "
        f"{listed(second['peer'])}. rbuild sent {statistics.median(sent['alone']) / 1e6:.1f} MB "
        f"({statistics.median(sent['whole']) / 1e6:.1f}) first, and 0 bytes of blobs second. Both sides keep "
        "digests. Beside the images, by default, are sources, provenance and a bill of materials, which "
        f"skopeo does not send; `rbuild push {' '.join(ALONE)}` is what is like for like."
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
