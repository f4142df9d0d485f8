"""The conditions under which the same project is built: what varies, and the rows of the matrix."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from covering import cover

# Of these three every combination is built.
PODMANS = ("host", "trixie", "sid")
DRIVERS = ("overlay", "fuse-overlayfs", "vfs")
ISOLATIONS = ("runc", "crun", "chroot")  # the first two are what Podman calls "oci"

# These vary along, every two values of any two axes in some row together.
FREE: Mapping[str, Sequence[str]] = {
    "umask": ("022", "002", "077"),
    "user": ("one", "another"),
    "path": ("short", "long"),
    "locale": ("C.UTF-8/UTC", "tr_TR.UTF-8/Pacific/Kiritimati"),
    "cpus": ("all", "1"),
    "jobs": ("4", "1"),
    "files": ("as checked out", "another order and times"),
    "checkout": ("clone", "worktree"),
    "cache": ("empty", "warm"),
    "epoch": ("unset", "set"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """One combination of those that are all built."""

    podman: str
    driver: str
    isolation: str


@dataclass(frozen=True, slots=True)
class Row:
    """One set of conditions: a value for each axis, as `AXIS=VALUE,…` in a command line."""

    values: tuple[tuple[str, str], ...]

    def __getitem__(self, axis: str) -> str:
        return dict(self.values)[axis]

    def __str__(self) -> str:
        return ",".join(f"{axis}={value}" for axis, value in self.values)

    @property
    def engine(self) -> Engine:
        return Engine(podman=self["podman"], driver=self["driver"], isolation=self["isolation"])

    @classmethod
    def of(cls, values: Mapping[str, str]) -> Row:
        return cls(tuple((axis, values[axis]) for axis in AXES))

    @classmethod
    def parse(cls, text: str) -> Row:
        """Read what `str` of a row gives; an axis that is not named has its first value.

        Raises ValueError for an axis or a value that there is not.
        """
        values = {axis: choices[0] for axis, choices in AXES.items()}
        for part in filter(None, text.split(",")):
            axis, _, value = part.partition("=")
            if value not in AXES.get(axis, ()):
                raise ValueError(f"{part!r}: there are {AXES.get(axis) or tuple(AXES)}")
            values[axis] = value
        return cls.of(values)


AXES: Mapping[str, Sequence[str]] = {
    "podman": PODMANS,
    "driver": DRIVERS,
    "isolation": ISOLATIONS,
    **FREE,
}


def engines(podmans: Sequence[str], drivers: Sequence[str], isolations: Sequence[str]) -> list[Engine]:
    """Every combination; the first third of them has every pair, so that what a run finds, it finds early."""
    found = []
    for turn in range(len(podmans)):
        for (i, isolation), (d, driver) in product(enumerate(isolations), enumerate(drivers)):
            podman = podmans[(i + d + turn) % len(podmans)]
            found.append(Engine(podman=podman, driver=driver, isolation=isolation))
    return found


def plan(possible: Iterable[Engine]) -> list[Row]:
    """The rows: each possible engine at least once, and every pair with and among the free axes."""
    given = [{"podman": one.podman, "driver": one.driver, "isolation": one.isolation} for one in possible]
    return [Row.of(values) for values in cover(given, FREE)]
