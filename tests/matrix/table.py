"""The outcome of the matrix as Markdown, for docs/."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence

from axes import FREE, Engine
from fixtures import Project
from outcome import Outcome
from probe import Versions

_PROGRAMS = ("podman", "buildah", "runc", "crun", "fuse-overlayfs", "skopeo", "python", "zstd", "git")
_SHORT = {
    "as checked out": "as they are",
    "another order and times": "others",
    "C.UTF-8/UTC": "C.UTF-8, UTC",
    "tr_TR.UTF-8/Pacific/Kiritimati": "tr_TR, UTC+14",
}


def markdown(
    outcomes: Sequence[Outcome],
    left_out: Sequence[tuple[Engine, str]],
    known: Mapping[str, Versions],
    projects: Sequence[Project],
) -> str:
    """Everything that was built, where, under which conditions, and what differed."""
    builds = sum(one.builds for one in outcomes)
    differing = sum(len(one.differing) for one in outcomes)
    refused = sum(one.refused for one in outcomes)
    failed = sum(len(one.failures) for one in outcomes)
    seconds = sum(one.seconds for one in outcomes)
    stages = [f"{project.name}/{stage}" for project in projects for stage in project.stages]
    engines = {one.row.engine for one in outcomes}
    parts = [
        f"**{builds} builds of {len(stages)} stages; {differing} digests differ from the lock"
        f"{f'; {failed} failures' if failed else ''}.**",
        _wrapped(
            f"{len(outcomes)} rows over {len(engines)} combinations of Podman, storage driver and isolation, "
            f"every one that the host can run; {seconds / 60:.0f} minutes on {os.cpu_count()} CPUs, "
            f"Linux {os.uname().release.partition('-')[0]}. The full product with all other conditions would "
            f"be {len(engines) * _product():,} rows; instead, these vary along so that every two values of "
            "any two columns occur together in some row (a pairwise covering array). What only three "
            "conditions together would change can slip through. `warm` rows build the scenarios twice, the "
            "second time from Podman's layer cache."
        ),
        _table(
            ["", *(_system(name) for name in known)],
            [[program, *(one[program] or "–" for one in known.values())] for program in _PROGRAMS],
        ),
        _table(
            ["Podman", "driver", "isolation", *FREE, "builds", "cached steps", "differ"],
            [
                [
                    known[one.row["podman"]]["podman"],
                    one.row["driver"],
                    _isolation(one.row["isolation"]),
                    *(_SHORT.get(one.row[axis], one.row[axis]) for axis in FREE),
                    str(one.builds),
                    str(one.cached),
                    _result(one),
                ]
                for one in outcomes
            ],
        ),
        _wrapped("The stages: " + ", ".join(stages) + "."),
    ]
    if refused:
        newer = [
            f"`{stage}`" for project in projects for stage in project.stages if project.podman > (4, 3, 1)
        ]
        parts.append(
            _wrapped(
                f"{refused} times a Podman before {_needed(projects)} was given {', '.join(newer)}, whose "
                "syntax it does not know: refused with the line and what to do, every time."
            )
        )
    if left_out:
        parts.append("Left out, since the host cannot run them:")
        parts.append(
            "\n".join(
                f"- {known[one.podman]['podman']}, {one.driver}, {_isolation(one.isolation)}: {reason}"
                for one, reason in left_out
            )
        )
    return "\n\n".join(parts) + "\n"


def _product() -> int:
    total = 1
    for values in FREE.values():
        total *= len(values)
    return total


def _needed(projects: Iterable[Project]) -> str:
    return ".".join(map(str, max(project.podman for project in projects)))


def _system(name: str) -> str:
    return "this host" if name == "host" else f"Debian {name}"


def _isolation(name: str) -> str:
    return name if name == "chroot" else f"oci ({name})"


def _result(outcome: Outcome) -> str:
    if outcome.failures:
        return "failed"
    return ", ".join(dict.fromkeys(outcome.differing)) or "0"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _wrapped(text: str, width: int = 110) -> str:
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) >= width:
            lines.append("")
        lines[-1] += f" {word}" if lines[-1] else word
    return "\n".join(lines)
