"""What rbuild costs beside plain Podman, measured side by side on this project; writes RESULTS.md.

    make bench
    .venv/bin/python benchmarks/run.py [--only NAME…] [--rounds N]

Rounds of both sides alternate in one run, and every other round starts with the other side, so that a busy
machine slows both. Takes about 40 minutes, and 10 GB below $TMPDIR (or /var/tmp). Exits 1 if a bound is
missed.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import re
import signal
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from sides import CHECKOUT, Ours, Plain, scratch

from rbuild import __version__

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "RESULTS.md"
WARM_IMPORTS = 5
NAMES = (
    "nothing",
    "scratch",
    "verify",
    "imports",
    "canonical",
    "compare",
    "policies",
    "recorder",
    "push",
)
HEADER = """\
# Measured

Written by `make bench` (`.venv/bin/python benchmarks/run.py`); with `--only NAME…` some sections are measured
anew. Both sides run in one go on the same inputs and take turns; figures are medians."""


@dataclass(frozen=True)
class Row:
    """A line of the table. The ratio is that of the medians, where there are two sides."""

    what: str
    ours: str
    peer: str
    figure: float  # what the bound is held against
    bound: float
    least: bool = False  # whether the bound is the least that will do, or the most
    unit: str = ""  # of the figure; none: it is a ratio

    @property
    def met(self) -> bool:
        return self.figure >= self.bound if self.least else self.figure <= self.bound

    def __str__(self) -> str:
        ratio = "" if self.unit else f"{self.figure:.2f}"
        bound = f"{'≥' if self.least else '≤'} {self.bound:g}{self.unit}"
        cells = (self.what, self.ours, self.peer, ratio, bound, "yes" if self.met else "**no**")
        return f"| {' | '.join(cells)} |"


@dataclass(frozen=True)
class Measured:
    """Lines of the table, and what there is to say about them."""

    rows: Sequence[Row]
    notes: Sequence[str]


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def median(seconds: Sequence[float]) -> str:
    return f"{statistics.median(seconds):.2f} s"


def listed(seconds: Sequence[float]) -> str:
    return ", ".join(f"{one:.2f}" for one in seconds)


def compared(what: str, ours: Sequence[float], peer: Sequence[float], bound: float) -> Row:
    ratio = statistics.median(ours) / statistics.median(peer)
    return Row(what, median(ours), median(peer), ratio, bound)


def alternate(rounds: int, name: str, ours: Callable[[], str], peer: Callable[[], str]) -> None:
    """Let both sides have their turns; each says what it measured."""
    for number in range(rounds):
        for which, turn in [("rbuild", ours), ("peer", peer)][:: -1 if number % 2 else 1]:
            os.sync()  # what the other side wrote is not for this one to wait for
            say(f"{name}: round {number + 1} of {rounds}: {which}: {turn()}")


class Benchmarks:
    """The measurements, and the two sides that the first three need, made when one asks for them."""

    def __init__(self, folder: Path, rounds: int | None) -> None:
        self._folder = folder
        self._rounds = rounds

    @cached_property
    def ours(self) -> Ours:
        say("setting up: rbuild all, which fills the store")
        ours = Ours(self._folder / "ours")
        ours.rbuild("all")
        return ours

    @cached_property
    def plain(self) -> Plain:
        ours = self.ours
        say("setting up: the same bases in Podman")
        return Plain(self._folder / "plain", ours)

    def nothing(self) -> Measured:
        """(1) `rbuild all` with nothing to do against cached builds."""
        name = "nothing to do"
        plain, rounds = self.plain, self._rounds or 5
        say(f"{name}: filling Podman's layer cache")
        images = plain.build(cached=True).images
        self.ours.all("up to date")
        ours: list[float] = []
        peer: list[float] = []
        copies: list[float] = []

        def our_turn() -> str:
            ours.append(self.ours.all("up to date"))
            return listed(ours[-1:])

        def their_turn() -> str:
            built = plain.build(cached=True)
            if built.images != images:
                sys.exit("a cached build came out as another image: it was not cached")
            peer.append(built.seconds)
            copies.append(built.copies)
            return f"{listed(peer[-1:])} (COPY --from {listed(copies[-1:])})"

        alternate(rounds, name, our_turn, their_turn)
        plain.forget_builds()
        rest = [total - copying for total, copying in zip(peer, copies, strict=True)]
        notes = [
            f"(1) seconds, rbuild: {listed(ours)}; Podman: {listed(peer)}. All steps of the peer are cached: "
            "each build gave the same image ID as before. To know that a `COPY --from` is cached, Podman "
            f"reads and hashes what it would copy: {listed(copies)}; without that the ratio would be "
            f"{statistics.median(ours) / statistics.median(rest):.2f}."
        ]
        what = "(1) `rbuild all`, nothing to do; three cached `podman build`s"
        return Measured([compared(what, ours, peer, 0.5)], notes)

    def scratch(self) -> Measured:
        """(2) `rbuild all` from nothing, store filled, against uncached builds and `podman save`."""
        name = "from nothing"
        plain, rounds = self.plain, self._rounds or 3
        locked = (self.ours.project / "rbuild.lock").read_bytes()
        ours: list[float] = []
        builds: list[float] = []
        downloads: list[float] = []
        saves: list[float] = []

        def our_turn() -> str:
            self.ours.start_from_nothing()
            ours.append(self.ours.all("built"))
            if (self.ours.project / "rbuild.lock").read_bytes() != locked:
                sys.exit("a build from nothing changed the lock")
            return listed(ours[-1:])

        def their_turn() -> str:
            built = plain.build(cached=False)
            builds.append(built.seconds)
            downloads.append(built.downloads)
            saves.append(plain.save())
            plain.forget_builds()
            return f"build {builds[-1]:.2f} (downloads {downloads[-1]:.2f}), save {saves[-1]:.2f}"

        alternate(rounds, name, our_turn, their_turn)
        peer = [build + save for build, save in zip(builds, saves, strict=True)]
        local = [total - downloading for total, downloading in zip(peer, downloads, strict=True)]
        notes = [
            f"(2) seconds, rbuild: {listed(ours)}; Podman's builds: {listed(builds)}, its saves: "
            f"{listed(saves)}. Of the builds, pip's downloads from PyPI took {listed(downloads)} (from each "
            "`Downloading` line to the next line); without them the ratio would be "
            f"{statistics.median(ours) / statistics.median(local):.2f}. pip's cache is off on both sides. "
            f"rbuild builds {len(os.sched_getaffinity(0))} stages at the same time, and ends with each image "
            "as zstd layers in an OCI layout and in Podman's storage; the peer with uncompressed archives, "
            "which is what `podman save` writes by default."
        ]
        what = "(2) `rbuild all` from nothing, store filled; three `podman build --no-cache` + `podman save`"
        return Measured([compared(what, ours, peer, 1.0)], notes)

    def imports(self) -> Measured:
        """(3) Imports in the stage image against the same image with bytecode compiled in place."""
        name, side, rounds = "imports", self.ours, self._rounds or 5
        image, compiled = "localhost/iris/train", "localhost/bench/compiled"
        say(f"{name}: compiling bytecode in place")
        containerfile = self._folder / "compiled"
        containerfile.write_text(
            f"FROM {image}\nUSER 0:0\n"
            "RUN python3 -m compileall -q -f --invalidation-mode timestamp /usr/lib/python3* /opt/venv/lib\n"
            "USER 10001:10001\n"
        )
        argv = ("podman", "build", "--network", "host", "--tag", compiled, "--file", str(containerfile))
        side.output(*argv, str(self._folder))
        cold: dict[str, list[float]] = {image: [], compiled: []}
        warm: dict[str, list[float]] = {image: [], compiled: []}
        stale: dict[str, str] = {}

        def turn(which: str) -> Callable[[], str]:
            def measure() -> str:
                form = "{{json .GraphDriver.Data}}"
                data = side.output("podman", "image", "inspect", "--format", form, which)
                folders = [one for value in json.loads(data).values() for one in value.split(":")]
                side.output("podman", "unshare", sys.executable, str(HERE / "evict.py"), *folders)
                argv = ["podman", "run", "--rm", "--network", "none", "--read-only"]
                argv += ["--entrypoint", "python3", which]
                program = (HERE / "imports.py").read_text()
                said = json.loads(side.output(*argv, "-c", program, str(1 + WARM_IMPORTS)))
                cold[which].append(said["seconds"][0])
                warm[which].append(statistics.median(said["seconds"][1:]))
                stale[which] = f"{said['stale']} of {said['modules']}"
                return f"cold {cold[which][-1]:.2f}, warm {warm[which][-1]:.2f}, stale {stale[which]}"

            return measure

        alternate(rounds, name, turn(image), turn(compiled))
        side.output("podman", "rmi", "--force", compiled)
        notes = [
            f"(3) seconds in the container, cold: {listed(cold[image])} and {listed(cold[compiled])}; "
            f"warm (each the median of {WARM_IMPORTS}): {listed(warm[image])} and "
            f"{listed(warm[compiled])}. Before a cold import the image's files are dropped from the page "
            f"cache. Stale bytecode among the imported modules: {stale[image]} in the stage image, "
            f"{stale[compiled]} in its peer."
        ]
        what = "(3) `import sklearn.ensemble, pandas` in the stage image; bytecode compiled in place"
        rows = [
            compared(f"{what}; cold", cold[image], cold[compiled], 1.1),
            compared(f"{what}; warm", warm[image], warm[compiled], 1.1),
        ]
        return Measured(rows, notes)

    def canonical(self) -> Measured:
        """(4) The canonical form of a 400 MB layer; benchmarks/canonical.py."""
        said = child("canonical.py", *(["--rounds", str(self._rounds)] if self._rounds else []))
        peer, ours, ratio, memory = (
            float(found(pattern, said))
            for pattern in (
                r"sha256sum: +([\d.]+) s",
                r"canonical form: +([\d.]+) s",
                r"ratio ([\d.]+)",
                r"peak memory ([\d.]+) MB",
            )
        )
        what = "(4) canonical form of a 400 MB layer"
        rows = [
            Row(f"{what}; `zstd -3` + `sha256sum`", f"{ours:.2f} s", f"{peer:.2f} s", ratio, 1.5),
            Row(f"{what}; peak memory", f"{memory:.0f} MB", "", memory, 200, unit=" MB"),
        ]
        return Measured(rows, [f"(4) {said.splitlines()[0]}. The ratio is the median of the rounds' ratios."])

    def recorder(self) -> Measured:
        """The recorder's memory and speed; benchmarks/recorder.py."""
        said = child("recorder.py")
        table = {
            cells[0]: [float(cell) for cell in cells[1:]]
            for line in said.splitlines()
            if (cells := [cell.strip() for cell in line.strip("| ").split("|")]) and ":" in cells[0]
        }
        rows = [
            Row(f"recorder, {what}; peak memory", f"{peak:.0f} MB", "", peak, 150, unit=" MB")
            for what, (_, _, peak) in table.items()
        ]
        for what, (_, of_core, _) in table.items():
            if what.startswith("replay: one"):
                text = f"recorder, {what}; on one core"
                rows.append(Row(text, f"{of_core:.0f} MB/s", "", of_core, 150, least=True, unit=" MB/s"))
        return Measured(rows, ["The recorder, through TLS to curl:", "", *said.splitlines()])

    def verify(self) -> Measured:
        """`rbuild verify` against plain uncached builds; benchmarks/verify.py."""
        import verify  # which takes Row and the like from here

        row, note = verify.measure(self.ours, self.plain, self._rounds or 3)
        return Measured([row], [f"`rbuild verify`: {note}"])

    def policies(self) -> Measured:
        """`rbuild check` of a large image and of many stages; benchmarks/policies.py."""
        said = child("policies.py", *(["--rounds", str(self._rounds)] if self._rounds else []))
        peer, ours, ratio, memory, stages = (
            float(found(pattern, said))
            for pattern in (
                r"read once: +([\d.]+) s",
                r"all rules: +([\d.]+) s",
                r"ratio ([\d.]+)",
                r"peak memory ([\d.]+) MB",
                r"200 stages: +([\d.]+) s",
            )
        )
        what = "`rbuild check` of a 600 MB image, all rules"
        rows = [
            Row(f"{what}; decompressing and hashing it", f"{ours:.2f} s", f"{peer:.2f} s", ratio, 1.5),
            Row(f"{what}; peak memory", f"{memory:.0f} MB", "", memory, 200, unit=" MB"),
            Row(
                "`rbuild check` of 200 stages, rules about text and lock",
                f"{stages:.2f} s",
                "",
                stages,
                1.5,
                unit=" s",
            ),
        ]
        return Measured(rows, [f"`rbuild check`: {said.splitlines()[0]}; whole commands."])

    def compare(self) -> Measured:
        """`rbuild diff`'s comparison; benchmarks/compare.py."""
        said = child("compare.py", *(["--rounds", str(self._rounds)] if self._rounds else []))
        peer, ours, ratio, same = (
            float(found(pattern, said))
            for pattern in (
                r"decompress and hash both: +([\d.]+) s",
                r"compare: +([\d.]+) s",
                r"ratio ([\d.]+)",
                r"equal layers: ([\d.]+) ms",
            )
        )
        what = "comparing two images whose 400 MB layers differ in 10 files; decompressing and hashing both"
        rows = [
            Row(what, f"{ours:.2f} s", f"{peer:.2f} s", ratio, 2.0),
            Row(
                "comparing two images of equal layers",
                f"{same / 1000:.3f} s",
                "",
                same / 1000,
                1.0,
                unit=" s",
            ),
        ]
        return Measured(
            rows, [f"Comparing: {said.splitlines()[0]}. The ratio is the median of the rounds' ratios."]
        )

    def push(self) -> Measured:
        """`rbuild push` against `skopeo copy`; benchmarks/push.py."""
        import push

        rows, note = push.measure(self._rounds or 5, push.MEGABYTES)
        return Measured(rows, [f"Pushing: {note}"])


def child(script: str, *arguments: str) -> str:
    """What another benchmark prints; it exits 1 for a bound that is missed, which the table will say."""
    say(f"{script}: running")
    argv = [sys.executable, str(HERE / script), *arguments]
    done = subprocess.run(argv, stdout=subprocess.PIPE, text=True)
    if done.returncode not in (0, 1) or not done.stdout:
        sys.exit(f"{script} failed")
    say(done.stdout.rstrip())
    return done.stdout


def found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    if match is None:
        sys.exit(f"no {pattern!r} in\n{text}")
    return match[1]


def first_line(*argv: str, env: Mapping[str, str] | None = None) -> str:
    return subprocess.run(argv, env=env, capture_output=True, text=True, check=True).stdout.splitlines()[0]


def host(folder: Path) -> list[str]:
    """What the figures depend on. `folder` is where Podman may make its storage."""
    cpu = found(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    form = "{{.Store.GraphDriverName}}, {{.Host.OCIRuntime.Name}}"
    env = {**os.environ, "XDG_DATA_HOME": str(folder)}
    driver = first_line("podman", "info", "--format", form, env=env)
    describe = ("git", "-C", str(CHECKOUT), "describe", "--always", "--dirty", "--abbrev=12")
    commit = f", commit {first_line(*describe)}" if (CHECKOUT / ".git").exists() else ""
    return [
        f"- Host: {len(os.sched_getaffinity(0))} cores ({cpu.strip()}), {memory:.0f} GB, "
        f"Linux {platform.release()}",
        f"- {first_line('podman', '--version')} ({driver}), {first_line('skopeo', '--version')}, "
        f"{first_line('zstd', '--version').strip('* ')}, Python {platform.python_version()}",
        f"- rbuild {__version__}{commit}",
    ]


def section(name: str, measured: Measured, about: Sequence[str]) -> str:
    """What there is to say of one measurement, in Markdown."""
    head = "| what; against | ours | peer | ratio | bound | met |\n|---|---|---|---|---|---|"
    rows = "\n".join(map(str, measured.rows))
    return "\n\n".join([f"## {name}", "\n".join(about), f"{head}\n{rows}", "\n".join(measured.notes)])


def written(before: str, sections: Mapping[str, str]) -> str:
    """The page, with these sections in place of those that it had."""
    kept = {found.split()[1]: found.strip() for found in re.split(r"^(?=## )", before, flags=re.M)[1:]}
    kept |= sections
    return "\n\n".join([HEADER, *(kept[name] for name in NAMES if name in kept)]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--only", nargs="+", choices=NAMES, help="some measurements; RESULTS.md keeps the others"
    )
    parser.add_argument("--rounds", type=int, help="instead of each measurement's own number")
    args = parser.parse_args()
    if os.geteuid() == 0:
        sys.exit("run it as an ordinary user, or as root through `make bench`, which takes care of that")
    # Whoever stops it leaves nothing behind: the folder of both sides is removed on the way out.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(f"stopped by {signal.Signals(number).name}"))
    met = True
    with scratch() as folder:
        tools = host(folder)
        benchmarks = Benchmarks(folder, args.rounds)
        for name in args.only or NAMES:
            began, load = datetime.datetime.now(datetime.UTC), os.getloadavg()[0]
            measured: Measured = getattr(benchmarks, name)()
            when = f"- {began:%Y-%m-%d %H:%M} UTC; load average of the minute before it: {load:.1f}"
            text = section(name, measured, [*tools, when])
            before = RESULTS.read_text() if RESULTS.exists() else ""
            RESULTS.write_text(written(before, {name: text}))  # whoever stops it keeps what is there
            print(text, end="\n\n", flush=True)
            met = met and all(row.met for row in measured.rows)
    sys.exit(0 if met else 1)


if __name__ == "__main__":
    main()
