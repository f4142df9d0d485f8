"""`make matrix`: the same projects under many conditions; the first digest that differs is a failure.

    run.py [--quick] [--podman P]… [--driver D]… [--isolation I]… [--scenario S]… [--no-iris]
           [--row CONDITIONS]… [--keep-going] [--resume] [--table FILE] [--cache FOLDER] [--roots FOLDER]

Started by root, for the mount namespaces in which other users and other versions of Podman are (places.py,
enter); everything that is built is built by ordinary users. Every combination of Podman, storage driver and
isolation that this host can run is a row, or several; the other conditions vary along (axes.py).

Exit codes: 0, all digests are those that are locked; 1, one differs; 2, something else went wrong.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fixtures
import table
from axes import DRIVERS, ISOLATIONS, PODMANS, Engine, Row, engines, plan
from differences import came_out_as, keep
from fixtures import Blobs, Project
from outcome import Outcome, read_journal, write_journal
from places import CHECKOUT, USERS, Place, prepare
from probe import Versions, refusal, versions

_MOST_SECONDS = 3600  # for one row
_REFUSED = "a here-document, which Podman"  # what rbuild says where a Podman lacks the syntax


def arguments() -> argparse.Namespace:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rbuild-matrix"
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--quick", action="store_true", help="the native overlay driver and the OCI runtime only"
    )
    parser.add_argument("--podman", action="append", choices=PODMANS)
    parser.add_argument("--driver", action="append", choices=DRIVERS)
    parser.add_argument("--isolation", action="append", choices=ISOLATIONS)
    parser.add_argument("--scenario", action="append", help="instead of all of them")
    parser.add_argument(
        "--iris", action=argparse.BooleanOptionalAction, default=True, help="the three stages"
    )
    parser.add_argument(
        "--row", action="append", type=Row.parse, help="AXIS=VALUE,…: this row instead of the plan"
    )
    parser.add_argument("--keep-going", action="store_true", help="do not end with the first row that fails")
    parser.add_argument(
        "--resume",
        action="store_true",
        help="leave out the rows that went well under this code, and what is recorded by it already",
    )
    parser.add_argument("--table", type=Path, help="write the table, in Markdown, to this file as well")
    parser.add_argument("--cache", type=Path, default=cache, help="%(default)s")
    parser.add_argument("--roots", type=Path, help="root file systems by suite; CACHE/roots")
    return parser.parse_args()


def main() -> int:
    chosen = arguments()
    if os.geteuid() != 0:
        print(
            "the matrix needs root, for namespaces with other users in them: sudo make matrix",
            file=sys.stderr,
        )
        return 2
    cache: Path = chosen.cache.absolute()
    cache.mkdir(parents=True, exist_ok=True)
    rows = chosen.row or []
    wanted = {row["podman"] for row in rows} or set(chosen.podman or PODMANS)
    say(f"preparing {', '.join(sorted({'host', *wanted}))} in {cache}")
    places = {
        name: prepare(name, cache, (chosen.roots or cache / "roots").absolute())
        for name in PODMANS
        if name in {"host", *wanted}
    }
    for place in places.values():
        fixtures.snapshot(place)
    known = {name: versions(place, cache) for name, place in places.items()}
    projects = record(places, known, cache, chosen)
    if not rows:
        drivers = chosen.driver or (("overlay",) if chosen.quick else DRIVERS)
        isolations = chosen.isolation or (("runc",) if chosen.quick else ISOLATIONS)
        rows, left_out = possible(
            engines(tuple(n for n in PODMANS if n in wanted), drivers, isolations), places, cache
        )
    else:
        left_out = []
    done = run_all(rows, places, known, projects, cache, chosen)
    text = table.markdown(done, left_out, known, projects)
    print(text)
    if chosen.table:
        chosen.table.write_text(text)
    if any(one.differing for one in done):
        return 1
    return 2 if any(one.failures for one in done) else 0


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def record(
    places: dict[str, Place], known: dict[str, Versions], cache: Path, chosen: argparse.Namespace
) -> list[Project]:
    """Lay out and record the projects: the scenarios by the Podman that they need, and the pipeline."""
    resume: bool = chosen.resume
    listed = fixtures.scenarios(places["host"], cache)
    env = {name: value for name, value in listed["environment"].items() if name != "SOURCE_DATE_EPOCH"}
    names = chosen.scenario if chosen.scenario is not None else list(listed["scenarios"])
    needs: dict[tuple[int, ...], list[str]] = {}
    for name in filter(None, names):
        needs.setdefault(tuple(listed["scenarios"][name]["podman"]), []).append(name)
    if needs:
        fixtures.share_base(places["host"], (one for one in places.values() if one.name != "host"), cache)
    projects = []
    for podman, some in sorted(needs.items()):
        able = [place for name, place in places.items() if known[name].podman >= podman]
        if not able:
            say(f"left out, since no Podman here can build them: {', '.join(some)}")
            continue
        name = "scenarios" if podman <= known["host"].podman else f"scenarios-podman-{podman[0]}"
        say(f"recording {len(some)} scenarios as {name} with Podman {known[able[0].name]['podman']}")
        projects.append(fixtures.record(able[0], cache, name, some, podman=podman, env=env, resume=resume))
    if chosen.iris:
        say("recording the pipeline iris")
        projects.append(
            fixtures.record(places["host"], cache, "iris", (), podman=(0,), env={}, resume=resume)
        )
    return projects


def possible(
    wanted: Sequence[Engine], places: dict[str, Place], cache: Path
) -> tuple[list[Row], list[tuple[Engine, str]]]:
    """The plan over the engines that this host can run, and the others with the reason."""
    reasons = {one: refusal(one, places[one.podman], cache) for one in wanted}
    left_out = [(one, reason) for one, reason in reasons.items() if reason]
    for one, reason in left_out:
        say(f"left out: Podman {one.podman}, {one.driver}, {one.isolation}: {reason}")
    return plan(one for one, reason in reasons.items() if not reason), left_out


def run_all(
    rows: Sequence[Row],
    places: dict[str, Place],
    known: dict[str, Versions],
    projects: Sequence[Project],
    cache: Path,
    chosen: argparse.Namespace,
) -> list[Outcome]:
    blobs = Blobs(cache, projects)
    journal = cache / "journal" / f"{fingerprint(places, projects)}.jsonl"
    earlier = read_journal(journal) if chosen.resume else {}
    done: list[Outcome] = []
    for number, row in enumerate(rows, 1):
        say(f"row {number} of {len(rows)}: {row}")
        told = earlier.get(str(row))
        outcome = told or run_row(row, places, known, projects, blobs, cache)
        done.append(outcome)
        bad = outcome.differing or outcome.failures
        say(f"  {outcome.builds} builds, {outcome.cached} steps from the cache, {outcome.seconds:.0f} s")
        if not bad:
            if told is None:
                write_journal(journal, outcome)
            continue
        for one in outcome.differing:
            say(f"  DIFFERENT: {one}")
        for one in outcome.failures:
            say(f"  FAILED: {one}")
        say(f"  to repeat it: {shlex.join(repetition(outcome, chosen))}")
        if not chosen.keep_going:
            break
    return done


def repetition(outcome: Outcome, chosen: argparse.Namespace) -> list[str]:
    """The command that builds what went wrong, and nothing else, under the same conditions."""
    wrong = [*outcome.differing, *outcome.failures]
    argv = [sys.executable, sys.argv[0], "--cache", str(chosen.cache), "--row", str(outcome.row)]
    if chosen.roots:
        argv += ["--roots", str(chosen.roots)]
    found = [re.match(r"scenarios[^/]*/([a-z-]+)", one) for one in wrong]
    for name in sorted({one[1] for one in found if one}):
        argv += ["--scenario", name]
    return argv if any(one.startswith("iris/") for one in wrong) else [*argv, "--no-iris"]


def run_row(
    row: Row,
    places: dict[str, Place],
    known: dict[str, Versions],
    projects: Sequence[Project],
    blobs: Blobs,
    cache: Path,
) -> Outcome:
    user = USERS[row["user"]]
    homes = cache / "row"
    shutil.rmtree(homes, ignore_errors=True)
    home = homes / user.name
    store = home / ".local" / "share" / "rbuild"
    store.mkdir(parents=True)
    blobs.store(row["user"], store)
    for name in ("cache", "logs", "tmp"):
        (store / name).mkdir()
    for folder in (home, *(path for path in home.rglob("*") if path.is_dir())):
        os.chown(folder, user.uid, user.uid)
    (homes / "bundles").mkdir()
    for project in projects:
        os.link(project.bundle, homes / "bundles" / project.name)
    specification = {
        "row": dict(row.values),
        "projects": [{"name": project.name, "env": dict(project.env)} for project in projects],
    }
    command = [fixtures.PYTHON, "/mnt/tests/matrix/row.py", json.dumps(specification)]
    outcome = Outcome(row)
    started = time.monotonic()
    try:
        done = places[row["podman"]].run(user, homes, command, timeout=_MOST_SECONDS)
    except subprocess.TimeoutExpired:
        outcome.failures.append(f"it took more than {_MOST_SECONDS // 60} minutes")
        return outcome
    finally:
        outcome.seconds = time.monotonic() - started
    if done.returncode != 0:
        outcome.failures.append(f"{done.stdout}{done.stderr}"[-4000:])
        return outcome
    runs = json.loads(done.stdout.strip().rpartition("\n")[2])
    for project in projects:
        able = known[row["podman"]].podman >= project.podman
        for again, run in enumerate(runs[project.name]):
            judge(outcome, project, run, able=able, warm=again > 0)
    if outcome.differing:
        for line in keep(row, projects, runs, store, places["host"], cache):
            say(f"  {line}")
    if not outcome.failures:
        shutil.rmtree(homes, ignore_errors=True)
    return outcome


def judge(outcome: Outcome, project: Project, run: dict[str, Any], *, able: bool, warm: bool) -> None:
    """Hold what one run of rbuild gave against the lock; a run after another one has to use its layers."""
    outcome.cached += run["cached"]
    if warm and not run["cached"]:
        outcome.failures.append(f"{project.name}: built again, it took no step from Podman's cache")
    if not run["stages"]:
        outcome.failures.append(f"{project.name}: {run['said'][-3000:]}")
    for stage in run["stages"]:
        name = f"{project.name}/{stage['stage']}"
        said = json.dumps(stage["error"])
        if not able:
            if _REFUSED in said:
                outcome.refused += 1
            else:
                outcome.failures.append(f"{name}: no clear error: {said[-3000:]}")
            continue
        outcome.builds += 1
        if stage["outcome"] == "built" and stage["digest"] == project.stages[stage["stage"]]:
            continue
        if came_out_as(said):
            outcome.differing.append(name)
        else:
            outcome.failures.append(f"{name}: {stage['outcome']}: {said[-3000:]}")


def fingerprint(places: dict[str, Place], projects: Sequence[Project]) -> str:
    """What a row's outcome holds for: rbuild's code, the matrix's, and what is built."""
    total = hashlib.sha256()
    mnt = places["host"].kept / "mnt"
    for path in sorted([*mnt.glob("src/**/*.py"), *mnt.glob("tests/matrix/*")]):
        if path.is_file():
            total.update(f"{path}\0".encode() + path.read_bytes())
    for project in projects:
        total.update(json.dumps(dict(project.stages), sort_keys=True).encode())
    return total.hexdigest()[:16]


if __name__ == "__main__":
    sys.path.insert(0, str(CHECKOUT / "tests" / "matrix"))
    sys.exit(main())
