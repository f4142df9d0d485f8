"""The two sides of a benchmark: rbuild on a project, and plain Podman on the same Containerfiles and bases.

Each has a folder of its own, which XDG_DATA_HOME points to: the user's own store and images stay untouched.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rbuild.image.manifest import read_manifest
from rbuild.lock import Lock, read_lock
from rbuild.podman import Podman
from rbuild.skopeo import load_image
from rbuild.store import Store

CHECKOUT = Path(__file__).resolve().parent.parent
_RBUILD = (sys.executable, "-m", "rbuild")
_AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")
# A cache that would save a build from nothing some of its work. What is left tells of the bases alone.
_SHORTCUTS = ("contexts", "layers", "reads", "tokens")


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A folder for both sides, gone at the end with all of Podman's storage that is in it."""
    folder = Path(tempfile.mkdtemp(prefix="rb-bench-", dir=os.environ.get("TMPDIR", "/var/tmp")))
    try:
        yield folder
    finally:
        remove(folder, {**os.environ, "XDG_DATA_HOME": str(folder)})


def remove(folder: Path, env: Mapping[str, str]) -> None:
    """Remove a folder that has Podman's storage in it."""
    # Files in there belong to subordinate ids, which only `podman unshare` can remove; folders on which
    # Podman has mounted something are busy there, and are empty then.
    argv = ["podman", "unshare", "rm", "-rf", str(folder)]
    subprocess.run(argv, env=env, check=False, stderr=subprocess.DEVNULL)
    shutil.rmtree(folder, ignore_errors=True)


class Side:
    """A folder with Podman storage, and commands that run against it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.data.mkdir(parents=True)
        self.data.chmod(0o700)
        # What would make two users' runs differ.
        settings = ("RBUILD_", "BUILDAH_", "PIP_", "SOURCE_DATE")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(settings)}
        temporary = folder / "tmp"  # Podman's: /var/tmp may be swept by others
        temporary.mkdir()
        self.env = {**kept, "XDG_DATA_HOME": str(self.data), "TMPDIR": str(temporary), "NO_COLOR": "1"}

    def output(self, *argv: str) -> str:
        """What a command prints; one that fails ends the benchmark."""
        done = subprocess.run(argv, env=self.env, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"{' '.join(argv)}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}")
        return done.stdout

    def lines(self, argv: Sequence[str]) -> list[tuple[float, str]]:
        """The lines that a command prints, each with the seconds since its start."""
        start = time.perf_counter()
        said = []
        with subprocess.Popen(
            argv,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                said.append((time.perf_counter() - start, line.rstrip()))
        if process.returncode != 0:
            sys.exit("\n".join([" ".join(argv), *(line for _, line in said[-40:])]))
        return said

    def forget_storage(self) -> None:
        """Remove all of Podman's images and layers."""
        remove(self.data / "containers", self.env)


class Ours(Side):
    """rbuild on a copy of this project."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.project = folder / "project"
        self.project.mkdir()
        for name in ("Containerfiles", "policies", "stages"):
            shutil.copytree(CHECKOUT / name, self.project / name)
        for name in ("rbuild.yaml", "rbuild.lock"):
            if (CHECKOUT / name).exists():
                shutil.copy(CHECKOUT / name, self.project)

    @property
    def store(self) -> Store:
        return Store(self.data / "rbuild")

    @property
    def lock(self) -> Lock:
        return read_lock((self.project / "rbuild.lock").read_bytes())

    def rbuild(self, *arguments: str) -> str:
        return self.output(*_RBUILD, "--project", str(self.project), *arguments)

    def all(self, outcome: str) -> float:
        """The seconds of `rbuild all`, which has to end in `outcome` for every stage."""
        start = time.perf_counter()
        said = self.rbuild("all").splitlines()
        seconds = time.perf_counter() - start
        if not said or not all(re.search(rf"  {outcome}  +sha256:", line) for line in said):
            sys.exit(f"rbuild all: wanted all stages {outcome!r}, and it said\n" + "\n".join(said))
        return seconds

    def start_from_nothing(self) -> None:
        """Leave recordings, packages and bases in the store, and nothing that a build made."""
        lock, store = self.lock, self.store
        kept = {base.digest for base in lock.bases.values()}
        for digest in list(kept):
            manifest = read_manifest(store.read(digest))
            kept |= {manifest.config.digest, *(layer.digest for layer in manifest.layers)}
        for stage in lock.stages.values():
            made = {stage.image.manifest, stage.image.config, *(one.blob for one in stage.image.layers)}
            for digest in made - kept:
                store.discard(digest)
        for kind in _SHORTCUTS:
            shutil.rmtree(store.root / "cache" / kind, ignore_errors=True)
        self.forget_storage()


@dataclass(frozen=True)
class Built:
    """What the peer's builds took, in seconds, and the IDs of their images."""

    seconds: float
    downloads: float  # of these pip's, from each `Downloading` line to the next line
    copies: float  # of these the steps that are a `COPY --from`
    images: tuple[str, ...]


class Plain(Side):
    """Podman alone: the same Containerfiles, contexts and bases, and the host's network."""

    def __init__(self, folder: Path, ours: Ours) -> None:
        super().__init__(folder)
        self._project = ours.project
        self.saved = folder / "saved"
        self.saved.mkdir()
        self.stages = {}
        for stage in ours.lock.stages:
            plan = json.loads(ours.rbuild("plan", stage, "--json"))
            self.stages[stage] = (plan["containerfile"], plan["context"])
        self._load_bases(ours)

    def _load_bases(self, ours: Ours) -> None:
        """Have rbuild's bases under the names that the Containerfiles say.

        A network that terminates TLS has an authority that only the host knows; pip in a plain build is told.
        """
        store, podman = ours.store, Podman(env=self.env)
        context = self.folder / "authorities"
        context.mkdir()
        shutil.copy(_AUTHORITIES, context / "host.crt")
        for name, base in ours.lock.bases.items():
            data = store.read(base.digest)
            manifest = read_manifest(data)
            parts = [manifest.config.digest, *(layer.digest for layer in manifest.layers)]
            with store.scratch("bench-") as scratch:
                load_image(data, parts, name, store=store, scratch=scratch, podman=podman)
            text = f"FROM {name}\nCOPY host.crt /etc/ssl/host.crt\nENV PIP_CERT=/etc/ssl/host.crt\n"
            (self.folder / "Containerfile").write_text(text)
            argv = ["podman", "build", "--file", str(self.folder / "Containerfile"), "--tag", name]
            self.output(*argv, str(context))

    def build(self, *, cached: bool) -> Built:
        """Build all stages, one after the other."""
        start = time.perf_counter()
        downloads = copies = 0.0
        images = []
        for stage, (containerfile, context) in self.stages.items():
            argv = ["podman", "build", "--network", "host", "--tag", f"localhost/plain/{stage}"]
            argv += [] if cached else ["--no-cache"]
            argv += ["--file", str(self._project / containerfile), str(self._project / context)]
            said = self.lines(argv)
            images.append(said[-1][1])
            for (before, line), (after, _) in itertools.pairwise(said):
                if line.lstrip().startswith("Downloading "):
                    downloads += after - before
                if re.search(r"STEP .*: COPY --from=", line):
                    copies += after - before
        return Built(time.perf_counter() - start, downloads, copies, tuple(images))

    def save(self) -> float:
        """The seconds of `podman save` of each stage's image, in the form that is Podman's default."""
        start = time.perf_counter()
        for stage in self.stages:
            self.output(
                "podman", "save", "--output", str(self.saved / f"{stage}.tar"), f"localhost/plain/{stage}"
            )
        return time.perf_counter() - start

    def forget_builds(self) -> None:
        """Remove what was built and saved; the bases stay."""
        for path in self.saved.iterdir():
            path.unlink()
        self.output("podman", "rmi", "--force", *(f"localhost/plain/{stage}" for stage in self.stages))
        self.output("podman", "image", "prune", "--force")
