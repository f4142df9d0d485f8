"""Every cause of the catalogue, provoked by a scenario of tests/causes, and found by `rbuild diff`.

A scenario is a folder with a Containerfile, whose context is tests/causes. Scenarios of one base are built
one after the other as one image, since a build costs more than a step; each step is a layer of its own, and
its layer tells the scenario. All are built twice by Podman alone, which prevents nothing, under other
conditions: processors, kernel, time zone, umask, and whatever differs between two builds anyway. What lies in
`a` and `b` of a scenario's folder is there in one of the builds only.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple

import pytest
from worlds import Layouts, World, make_world, remove_world

from rbuild.compare.causes import CATALOGUE
from rbuild.containerfile.chain import image_chain
from rbuild.containerfile.parse import parse

SCENARIOS = Path(__file__).parents[1] / "causes"


class Expected(NamedTuple):
    """What a scenario shows: a cause, how the path of an entry (or of a key of the configuration) begins, and
    the line of the Containerfile that made it."""

    cause: str
    path: str
    line: int


class Condition(NamedTuple):
    """Under which one of the two builds runs: what it is started with, its arguments, the mode of a file."""

    around: tuple[str, ...]
    arguments: Mapping[str, str]
    mode: int


PROVOKED = {
    "image-times": Expected("image-times", "/srv/image-times/state", 3),
    "derived-hash": Expected("derived-hash", "history[", 4),
    "build-argument": Expected("build-argument", "history[", 4),
    "other-containerfile": Expected("other-containerfile", "history[", 3),
    "user-or-umask": Expected("user-or-umask", "/srv/user-or-umask/settings.conf", 3),
    "bytecode": Expected("bytecode", "/srv/bytecode/__pycache__/app.cpython-311.pyc", 3),
    "gzip-header": Expected("gzip-header", "/srv/gzip-header/numbers.gz", 4),
    "archive-member-times": Expected("archive-member-times", "/srv/archive-member-times/data.tar", 4),
    "archive-member-times-zip": Expected(
        "archive-member-times", "/srv/archive-member-times-zip/numbers.zip", 4
    ),
    "unsorted-listing": Expected("unsorted-listing", "/srv/unsorted-listing/all.tar", 3),
    "build-path": Expected("build-path", "/usr/local/bin/answer", 4),
    "database-pages": Expected("database-pages", "/srv/database-pages/words.db", 4),
    "git-metadata": Expected("git-metadata", "/srv/git-metadata/.git/index", 3),
    "package-leftovers": Expected("package-leftovers", "/var/log/dpkg.log", 4),
    "machine-id": Expected("machine-id", "/etc/machine-id", 3),
    "ssh-host-keys": Expected("ssh-host-keys", "/etc/ssh/ssh_host_rsa_key", 3),
    "generated-key": Expected("generated-key", "/etc/ssl/private/snakeoil.key", 3),
    "password-salt": Expected("password-salt", "/etc/shadow", 3),
    "unlocked-network": Expected("unlocked-network", "/srv/unlocked-network/status", 4),
    "locale": Expected("locale", "/srv/locale/released", 4),
    "hash-order": Expected("hash-order", "/srv/hash-order/names", 3),
    "hash-order-lines": Expected("hash-order", "/srv/hash-order-lines/names", 3),
    "uuid": Expected("uuid", "/srv/uuid/app.conf", 3),
    "random-name": Expected("random-name", "/srv/random-name/tmp.", 3),
    "random-name-in-file": Expected("random-name", "/srv/random-name-in-file/app.pc", 3),
    "build-date": Expected("build-date", "/srv/build-date/info", 3),
    "build-date-in-json": Expected("build-date", "/srv/build-date-in-json/build.json", 4),
    "build-date-in-program": Expected("build-date", "/usr/local/bin/when", 4),
    "elapsed-time": Expected("elapsed-time", "/srv/elapsed-time/report", 4),
    "kernel-or-cpu": Expected("kernel-or-cpu", "/srv/kernel-or-cpu/system", 3),
    "cpu-count": Expected("cpu-count", "/srv/cpu-count/make.conf", 3),
    "hostname": Expected("hostname", "/etc/mailname", 3),
    "unknown": Expected("unknown", "/srv/unknown/seed", 3),
    "trap-version": Expected("unknown", "/srv/trap-version/pins.txt", 3),
    "trap-number": Expected("unknown", "/srv/trap-number/limits.conf", 3),
    "trap-sorted-list": Expected("unknown", "/srv/trap-sorted-list/names", 3),
    "trap-content-id": Expected("unknown", "/srv/trap-content-id/assets", 3),
    "trap-dated-rows": Expected("unknown", "/srv/trap-dated-rows/measured.csv", 3),
    "trap-server": Expected("unknown", "/srv/trap-server/app.conf", 3),
}
# Builders note ids, arguments and times of each step there.
OF_THE_CONFIGURATION = {"derived-hash", "build-argument", "other-containerfile", "image-times"}
CLEAN = sorted(path.name for path in SCENARIOS.glob("clean-*"))
# Hints name what to write: a part of each that a person would look for.
HINTS = {
    "image-times": "--timestamp 0",
    "derived-hash": "rbuild diff A B --full",
    "build-argument": "args:",
    "other-containerfile": "git diff A B -- Containerfile",
    "user-or-umask": "--chmod=644",
    "bytecode": "--invalidation-mode checked-hash",
    "gzip-header": "gzip -n",
    "archive-member-times": "--mtime=@$SOURCE_DATE_EPOCH",
    "unsorted-listing": "tar --sort=name",
    "build-path": "-ffile-prefix-map",
    "database-pages": ".dump",
    "git-metadata": ".containerignore",
    "package-leftovers": "package-logs",
    "machine-id": "/etc/machine-id",
    "ssh-host-keys": "ssh-keygen -A",
    "generated-key": "openssl genpkey",
    "password-salt": "passwd -l",
    "unlocked-network": "rbuild lock",
    "locale": "LC_ALL=C.UTF-8",
    "hash-order": "PYTHONHASHSEED=0",
    "uuid": "uuid5",
    "random-name": "mktemp",
    "build-date": "date -u -d @$SOURCE_DATE_EPOCH",
    "elapsed-time": "--quiet",
    "kernel-or-cpu": "-march=x86-64-v2",
    "cpu-count": "make -j4",
    "hostname": "/etc/mailname",
    "unknown": "rbuild verify --vary",
}
CPUS = sorted(os.sched_getaffinity(0))
CONDITIONS = {
    "a": Condition(
        ("taskset", "--cpu-list", f"{CPUS[0]},{CPUS[-1]}"), {"ZONE": "UTC0", "EDITION": "small"}, 0o664
    ),
    "b": Condition(
        ("taskset", "--cpu-list", f"{CPUS[0]}", "setarch", "--uname-2.6"),
        {"ZONE": "CET-1", "EDITION": "large"},
        0o644,
    ),
}


class Leaf(NamedTuple):
    """A difference without parts: the entry that it is in or at, if any, and the difference itself."""

    entry: str | None
    difference: Mapping[str, Any]

    @property
    def cause(self) -> str:
        found: str = self.difference["cause"]["id"]
        return found

    @property
    def place(self) -> str:
        """The entry's path, or the key's."""
        return self.entry or str(self.difference["name"])

    @property
    def made_by(self) -> str:
        blame = self.difference["blame"]
        return " ".join(blame["text"].split()) if blame else ""


@dataclass(frozen=True)
class Scenario:
    """A folder of tests/causes."""

    name: str

    @property
    def lines(self) -> list[str]:
        return (SCENARIOS / self.name / "Containerfile").read_text().splitlines()

    @property
    def base(self) -> str:
        return self.lines[1].removeprefix("FROM ")

    @property
    def group(self) -> tuple[str, bool]:
        """Those that are built as one image: of one base, with the clock or without."""
        return self.base, self.name == "image-times"

    @property
    def has_arguments(self) -> bool:
        """Whether it has an ARG, which the history shows in every later step."""
        return any(line.startswith("ARG") for line in self.lines)

    @property
    def steps(self) -> list[str]:
        """The instructions after FROM."""
        numbers = [number for number, line in enumerate(self.lines, 1) if line[:1].isupper()]
        return [self.instruction(number) for number in numbers[1:]]

    def instruction(self, number: int) -> str:
        """The instruction that begins in a line, continued lines joined."""
        said = []
        for line in self.lines[number - 1 :]:
            said.append(line.removesuffix("\\"))
            if not line.endswith("\\"):
                break
        return " ".join(" ".join(said).split())


def made_by(instruction: str, history: str) -> bool:
    """Whether an image's history speaks of an instruction: without its flags, a copied file as its hash."""
    word, _, rest = instruction.partition(" ")
    if word == "RUN":
        return history.endswith(" ".join(part for part in rest.split() if not part.startswith("--mount=")))
    return f"{word} " in history and history.endswith(rest.split()[-1])


def walked(differences: list[Any], entry: str | None = None) -> Iterator[Leaf]:
    for one in differences:
        here = one["name"] if one["part"] == "entry" else entry
        if one["children"]:
            yield from walked(one["children"], here)
        else:
            yield Leaf(here, one)


class Answers(BaseHTTPRequestHandler):
    """A status that is another one each time."""

    given = 0

    def do_GET(self) -> None:
        Answers.given += 1
        body = b"answer number %d\n" % Answers.given
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    listening = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    Thread(target=listening.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{listening.server_port}"
    listening.shutdown()
    listening.server_close()


@pytest.fixture(scope="module")
def leaves(layouts: Layouts, server: str) -> Iterator[list[Leaf]]:
    folder = Path(tempfile.mkdtemp(prefix="rb-"))
    world = make_world(folder)
    for name in ("tiny", "python"):
        image = world.podman("pull", "--quiet", f"oci:{layouts[name]}:base").strip()
        world.podman("tag", image, f"localhost/{name}:1")
    groups = sorted({Scenario(path.name).group for path in SCENARIOS.iterdir()})
    repository(folder / "origin")
    for side in CONDITIONS:
        stage(folder / side, side, folder / "origin")
        for number, group in enumerate(groups):
            build(world, folder / side, side, group, f"localhost/{side}:{number}", server)
        time.sleep(1.1)  # clocks that count seconds go on
    found: list[Leaf] = []
    for number in range(len(groups)):
        names = [f"containers-storage:localhost/{side}:{number}" for side in CONDITIONS]
        done = world.rbuild("diff", *names, "--json")
        assert done.returncode == 1, done.stderr
        found += walked(json.loads(done.stdout)["comparison"]["differences"])
    yield found
    remove_world(world)
    shutil.rmtree(folder, ignore_errors=True)


def repository(folder: Path) -> None:
    """A git repository with one commit, the same each time."""
    folder.mkdir()
    (folder / "hello").write_text("hello\n")
    for arguments in (["init"], ["add", "hello"], ["commit", "--message", "hello"]):
        git(folder, *arguments)


def git(folder: Path, *arguments: str) -> None:
    fixed = {"GIT_AUTHOR_DATE": "2026-01-01T00:00:00Z", "GIT_COMMITTER_DATE": "2026-01-01T00:00:00Z"}
    subprocess.run(
        ["git", "-c", "user.name=Nobody", "-c", "user.email=nobody@example.org", *arguments],
        cwd=folder,
        env={**os.environ, **fixed},
        capture_output=True,
        check=True,
    )


def stage(context: Path, side: str, origin: Path) -> None:
    """The context of one build: what lies in a scenario's `a` or `b` is put in its place."""
    shutil.copytree(SCENARIOS, context)
    for scenario in context.iterdir():
        if (scenario / side).is_dir():
            shutil.copytree(scenario / side, scenario, dirs_exist_ok=True)
        for one in CONDITIONS:
            shutil.rmtree(scenario / one, ignore_errors=True)
    (context / "user-or-umask" / "settings.conf").chmod(CONDITIONS[side].mode)
    git(context, "clone", "--quiet", str(origin), str(context / "git-metadata" / "checkout"))


def build(world: World, context: Path, side: str, group: tuple[str, bool], image: str, server: str) -> None:
    base, clock = group
    scenarios = [Scenario(path.name) for path in SCENARIOS.iterdir()]
    steps = [f"FROM {base}"]
    for scenario in sorted(scenarios, key=lambda one: (one.has_arguments, one.name)):
        if scenario.group == group:
            steps += (context / scenario.name / "Containerfile").read_text().splitlines()[2:]
    (context / "Containerfile").write_text("\n".join(steps) + "\n")
    condition = CONDITIONS[side]
    arguments = {"SERVER": server, **condition.arguments}
    options = ["--no-cache", "--network=none", f"--tag={image}"]
    options += [f"--build-arg={name}={value}" for name, value in arguments.items()]
    if not clock:
        options += ["--timestamp=0"]
    done = subprocess.run(
        [*condition.around, "podman", "build", *options, str(context)],
        env=world.env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


@pytest.mark.parametrize("name", PROVOKED)
def test_provoked(leaves: list[Leaf], name: str) -> None:
    expected = PROVOKED[name]
    instruction = Scenario(name).instruction(expected.line)
    own = [leaf for leaf in leaves if made_by(instruction, leaf.made_by)]
    found = [leaf for leaf in own if leaf.place.startswith(expected.path)]
    assert expected.cause in {leaf.cause for leaf in found}, own
    for leaf in found:
        assert leaf.cause in {expected.cause, *OF_THE_CONFIGURATION}
        assert leaf.difference["why"]
    for leaf in found:
        if leaf.cause == expected.cause:
            assert HINTS[expected.cause] in leaf.difference["cause"]["hint"]
    # Nothing else in the layer has another cause.
    assert {leaf.cause for leaf in own if leaf.entry} <= {expected.cause}


@pytest.mark.parametrize("name", PROVOKED)
def test_the_line_is_that_of_the_containerfile(name: str) -> None:
    """An image's history has no lines: rbuild has them from the Containerfile, by the order of its steps."""
    scenario = Scenario(name)
    path = SCENARIOS / name / "Containerfile"
    chain = image_chain(
        parse(path.read_bytes(), str(path)), build_args={}, platform="linux/amd64", target=None
    )
    steps = {one.line: " ".join(one.original.split()) for one in chain.instructions}
    assert steps[PROVOKED[name].line] == scenario.instruction(PROVOKED[name].line)
    assert list(steps.values()) == scenario.steps


@pytest.mark.parametrize("name", CLEAN)
def test_clean(leaves: list[Leaf], name: str) -> None:
    steps = Scenario(name).steps
    assert steps
    assert not [leaf for leaf in leaves if leaf.entry and any(made_by(one, leaf.made_by) for one in steps)]


def test_every_difference_belongs_to_a_scenario(leaves: list[Leaf]) -> None:
    steps = [step for name in PROVOKED for step in Scenario(name).steps]
    entries = [leaf for leaf in leaves if leaf.entry]
    assert entries
    assert not [leaf for leaf in entries if not any(made_by(step, leaf.made_by) for step in steps)]
    assert {leaf.cause for leaf in leaves if not leaf.entry} == OF_THE_CONFIGURATION


def test_the_catalogue_is_covered() -> None:
    assert {expected.cause for expected in PROVOKED.values()} == {cause.id for cause in CATALOGUE}
    assert HINTS.keys() == {cause.id for cause in CATALOGUE}
    assert {path.name for path in SCENARIOS.iterdir()} == {*PROVOKED, *CLEAN}
    assert len(CLEAN) >= 10
