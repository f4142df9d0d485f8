"""What differs from one user's host to another's, and must not reach an image: a list to try one by one."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from rbuild.errors import RbuildError
from rbuild.podman import native_platform
from rbuild.podman_storage import storage_in
from rbuild.sealed.environment import Clock
from rbuild.verbs.checkout import checkout
from rbuild.verbs.rebuild import Setting
from rbuild.verbs.source import Source

MOMENT = "moment"
"""The condition under which nothing but the time is another: what differs under it differs every time."""

_DAY = 86_400
_AHEAD = 400 * _DAY  # another day, month and year, whatever day it is
_HOST = "another-host"
_LONG = "a-project-folder-whose-path-has-quite-another-length"
_ELSEWHERE = {
    "TZ": "Asia/Kathmandu",
    "LANG": "tr_TR.UTF-8",
    "LC_ALL": "tr_TR.UTF-8",
    "SOURCE_DATE_EPOCH": "1",
}
_FAKETIME = ("lib/*/faketime", "lib64/faketime", "lib/faketime")
# Process 1 of the new UTS namespace sets the name, and becomes what is to run in it.
_RENAME = "import os, socket, sys; socket.sethostname(sys.argv[1]); os.execvp(sys.argv[2], sys.argv[2:])"


class NotVaried(Exception):
    """This host, or this project, has no second value of a condition. Says why."""


@dataclass(frozen=True, slots=True)
class Varied:
    """A setting in which one condition is another, and what it is now, for people."""

    setting: Setting
    what: str


@dataclass(frozen=True, slots=True)
class Condition:
    """`vary` takes the setting of the reference, the stages' files, and a new folder's path for its own use.

    For as long as its context lasts, a rebuild with what it gives is made under the condition. Raises
    NotVaried.
    """

    name: str
    vary: Callable[[Setting, Mapping[str, Source], Path], AbstractContextManager[Varied]]


@contextmanager
def _moment(setting: Setting, _sources: Mapping[str, Source], _folder: Path) -> Iterator[Varied]:
    yield Varied(setting, "later")


@contextmanager
def _clock(setting: Setting, _sources: Mapping[str, Source], _folder: Path) -> Iterator[Varied]:
    places = (found for place in _FAKETIME for found in Path("/usr").glob(f"{place}/libfaketime.so.1"))
    library = next(places, None)
    if library is None:
        raise NotVaried(
            "needs libfaketime (apt-get install libfaketime); the builds were made at other moments"
        )
    if setting.workspace.project.platform != native_platform():
        raise NotVaried(f"libfaketime of this host is for {native_platform()}")
    what = f"{_AHEAD // _DAY} days ahead, by LD_PRELOAD and FAKETIME, for what loads shared libraries"
    yield Varied(replace(setting, clock=Clock(library=library, ahead=_AHEAD)), what)


@contextmanager
def _hostname(setting: Setting, _sources: Mapping[str, Source], _folder: Path) -> Iterator[Varied]:
    through = ("unshare", "--uts", "--", sys.executable, "-IS", "-c", _RENAME, _HOST)
    podman = replace(setting.workspace.podman, through=through)
    varied = replace(setting, workspace=replace(setting.workspace, podman=podman))
    yield Varied(varied, f"{_HOST}, not {platform.node()}")


@contextmanager
def _cpus(setting: Setting, _sources: Mapping[str, Source], _folder: Path) -> Iterator[Varied]:
    usual = os.sched_getaffinity(0)
    if len(usual) == 1:
        raise NotVaried("this host has one CPU only")
    # Of this thread; what it starts inherits it.
    os.sched_setaffinity(0, {min(usual)})
    try:
        yield Varied(setting, f"1, not {len(usual)}")
    finally:
        os.sched_setaffinity(0, usual)


@contextmanager
def _umask(setting: Setting, sources: Mapping[str, Source], folder: Path) -> Iterator[Varied]:
    usual = os.umask(0o077)
    other = 0o002 if usual == 0o077 else 0o077
    os.umask(other)
    try:
        copy = checkout(setting.workspace, sources.values(), folder)
        what = f"{other:03o}, not {usual:03o}, when checked out as well"
        yield Varied(replace(setting, workspace=copy), what)
    finally:
        os.umask(usual)


@contextmanager
def _path(setting: Setting, sources: Mapping[str, Source], folder: Path) -> Iterator[Varied]:
    workspace = setting.workspace
    long = _LONG if len(str(folder / _LONG)) != len(str(workspace.root)) else f"{_LONG}-yet"
    copy = checkout(workspace, sources.values(), folder / long)
    what = f"of {len(str(copy.root))} characters, not {len(str(workspace.root))}"
    yield Varied(replace(setting, workspace=copy), what)


@contextmanager
def _order(setting: Setting, sources: Mapping[str, Source], folder: Path) -> Iterator[Varied]:
    copy = checkout(setting.workspace, sources.values(), folder, backwards=True, mtime=time.time() - _AHEAD)
    yield Varied(replace(setting, workspace=copy), "files made in reverse order, with other times")


@contextmanager
def _jobs(setting: Setting, sources: Mapping[str, Source], _folder: Path) -> Iterator[Varied]:
    if len(sources) == 1:
        raise NotVaried("one stage alone has nothing beside it")
    other = 1 if setting.jobs > 1 else len(sources)
    yield Varied(replace(setting, jobs=other), f"{other}, not {setting.jobs}")


@contextmanager
def _environment(setting: Setting, _sources: Mapping[str, Source], _folder: Path) -> Iterator[Varied]:
    varied = _with_variables(setting, _ELSEWHERE)
    yield Varied(varied, " ".join(f"{name}={value}" for name, value in _ELSEWHERE.items()))


@contextmanager
def _driver(setting: Setting, _sources: Mapping[str, Source], folder: Path) -> Iterator[Varied]:
    podman = setting.workspace.podman
    usual, _, _ = podman.graph()
    other = "overlay" if usual == "vfs" else "vfs"
    folder.mkdir()
    try:
        with storage_in(folder, podman, driver=other) as tried:
            tried.graph()
    except RbuildError as error:
        said = str(error).splitlines()[-1].strip()
        raise NotVaried(f"{other} does not work here, and {usual} is what is in use: {said}") from error
    yield Varied(replace(setting, driver=other), f"{other}, not {usual}")


@contextmanager
def _isolation(setting: Setting, _sources: Mapping[str, Source], _folder: Path) -> Iterator[Varied]:
    usual = setting.workspace.env.get("BUILDAH_ISOLATION") or "oci"
    if usual == "chroot":
        raise NotVaried("BUILDAH_ISOLATION says chroot, which is for hosts that have nothing else")
    yield Varied(_with_variables(setting, {"BUILDAH_ISOLATION": "chroot"}), f"chroot, not {usual}")


def _with_variables(setting: Setting, variables: Mapping[str, str]) -> Setting:
    workspace = setting.workspace
    podman = replace(workspace.podman, env={**workspace.podman.env, **variables})
    varied = replace(workspace, env={**workspace.env, **variables}, podman=podman)
    return replace(setting, workspace=varied)


CONDITIONS: Sequence[Condition] = (
    Condition(MOMENT, _moment),
    Condition("clock", _clock),
    Condition("hostname", _hostname),
    Condition("cpus", _cpus),
    Condition("umask", _umask),
    Condition("path", _path),
    Condition("order", _order),
    Condition("jobs", _jobs),
    Condition("environment", _environment),
    Condition("driver", _driver),
    Condition("isolation", _isolation),
)
NEVER_VARIED = ("user", "kernel", "CPU model", "Podman's version")
