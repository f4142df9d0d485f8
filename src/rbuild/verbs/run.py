"""`rbuild run` and `rbuild shell`: locked images in rootless containers that may do little."""

from __future__ import annotations

import contextlib
import glob
import os
import re
import secrets
import shutil
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from rbuild.digest import Digest
from rbuild.errors import Exit, Problem, RbuildError, Where
from rbuild.events import Emit, Note, Output, StageDone, StageStarted
from rbuild.lock import Lock, StageLock
from rbuild.process import Process, replace, run
from rbuild.project import PROJECT_FILE, Stage
from rbuild.relativepath import RelativePath
from rbuild.verbs.assessment import assess, in_store
from rbuild.verbs.gating import open_gate
from rbuild.verbs.loading import load_locked
from rbuild.verbs.source import read_sources
from rbuild.verbs.workspace import LOCK_FILE, Workspace, read_lock

_LAST_LINES = 12
_BEFORE = ".before"
_ASIDE = re.compile(r"\.[0-9a-f]{8}(\.before)?")  # what _aside and _put_in_place add to a folder's name


@dataclass(frozen=True, slots=True, kw_only=True)
class StageRun:
    """A stage that ran: the image it ran in, and where its outputs are now."""

    stage: str
    image: Digest
    outputs: tuple[str, ...]
    seconds: float


def run_stages(
    workspace: Workspace, stages: Collection[str], emit: Emit, *, now: datetime | None = None
) -> tuple[StageRun, ...]:
    """Run stages in the order of their needs, each in a container of its locked image.

    A stage whose files changed since still runs in the locked image, with a warning. An image that was
    fetched must be one that the trust policy takes. Raises RbuildError for the first that fails: its exit
    code, its last lines, its log. Its outputs are then as they were before. Nothing runs if the project's
    policies, by the time `now` (UTC), refuse one of the stages.
    """
    lock = read_lock(workspace)
    wanted = set(stages)
    order = [name for name in workspace.project.graph().order if name in wanted]
    locked = _locked(lock, order)
    _warn_of_changes(workspace, lock, order, emit)
    _hold_to_policies(workspace, lock, locked, now, emit)
    _check_origins(workspace, [locked[name] for name in order])
    _clear_remains(workspace, order)
    _check_inputs(workspace, order)
    return tuple(_run_stage(workspace, name, locked[name], emit) for name in order)


def shell(workspace: Workspace, stage: str, command: Sequence[str], *, terminal: bool) -> None:
    """Become a container of a stage's locked image, with a shell or `command` in it. Does not return."""
    locked = _locked(read_lock(workspace), [stage])[stage]
    _check_origins(workspace, [locked])
    argv = [*_container(workspace, f"rbuild-shell-{os.getpid()}"), "--interactive"]
    if terminal:
        argv += ["--tty"]
    entry, *arguments = command or ("/bin/sh",)
    argv += ["--entrypoint", entry, _image(workspace, stage, locked), *arguments]
    replace(argv, env=workspace.env)


def _locked(lock: Lock | None, names: Collection[str]) -> dict[str, StageLock]:
    locked = {name: lock.stages[name] for name in names if lock and name in lock.stages}
    if missing := [name for name in names if name not in locked]:
        stages = f"stage {missing[0]} was" if len(missing) == 1 else f"stages {', '.join(missing)} were"
        raise RbuildError(
            f"{stages} never built", where=Where(file=LOCK_FILE), hint=f"rbuild build {' '.join(missing)}"
        )
    return locked


def _check_origins(workspace: Workspace, locked: Sequence[StageLock]) -> None:
    """Hold images that were fetched against the trust policy, unless it has taken them already."""
    from rbuild.verbs.admission import Admission

    admission = Admission(workspace)
    try:
        for one in locked:
            admission.admit_fetched(one.image.manifest)
    finally:
        admission.close()


def _warn_of_changes(workspace: Workspace, lock: Lock | None, order: Sequence[str], emit: Emit) -> None:
    """Say which stages do not run as their files are now, but as they were locked."""
    try:
        changed = [name for name, one in assess(workspace, lock, order).items() if one.changes]
    except RbuildError as error:  # what is being edited need not make sense
        emit(Note(text=f"this runs what is locked; it cannot be rebuilt: {error}", level="warning"))
        return
    for name in changed:
        text = (
            f"changed since it was locked, this runs the locked image; rbuild build {name} builds the new one"
        )
        emit(Note(stage=name, text=text, level="warning"))


def _hold_to_policies(
    workspace: Workspace, lock: Lock | None, locked: Mapping[str, StageLock], now: datetime | None, emit: Emit
) -> None:
    """Raises RbuildError with all that policies have against running these images."""
    gate = open_gate(workspace, now, emit)
    if gate is None or lock is None:
        return
    problems: list[Problem] = []
    codes = [Exit.OK]
    for name, source in read_sources(workspace, locked).items():
        try:
            gate.locked(source, lock, locked[name])
        except RbuildError as error:
            problems += error.problems
            codes.append(error.exit_code)
    if problems:
        raise RbuildError(problems, exit_code=max(codes))


def _image(workspace: Workspace, name: str, locked: StageLock) -> str:
    """The reference of a locked image in Podman's storage, where it is put if it is not there."""
    image = locked.image
    reference = f"{workspace.image_name(name).rpartition(':')[0]}@{image.manifest}"
    if workspace.podman.image_exists(reference):
        return reference
    if not in_store(workspace, image):
        raise RbuildError(
            f"the image of stage {name} is neither in Podman's storage nor in the store",
            where=Where(digest=str(image.manifest)),
            hint=f"rbuild build {name}",
        )
    load_locked(workspace, name, image)
    return reference


def _container(workspace: Workspace, name: str) -> list[str]:
    """`podman run` of a container that reads its image and its inputs, and writes its outputs."""
    argv = workspace.podman.judging("run", "--rm", "--name", name, "--pull", "never")
    argv += ["--read-only", "--tmpfs", "/tmp:rw,mode=1777"]
    argv += ["--network", "none"]
    argv += ["--cap-drop", "all", "--security-opt", "no-new-privileges"]
    # The caller's own user, so that outputs belong to the caller.
    argv += ["--userns", "keep-id", "--user", f"{os.getuid()}:{os.getgid()}"]
    return argv


def _bind(source: Path, destination: str, *options: str) -> str:
    """A bind mount as Podman reads it: a record of CSV, so that a path may hold any character."""
    fields = ("type=bind", f"source={source}", f"destination={destination}", *options)
    return ",".join('"{}"'.format(field.replace('"', '""')) for field in fields)


def _inside(workspace: Workspace, stage: str, key: str, path: RelativePath) -> Path:
    """Where an input is. An earlier stage may have put a symbolic link there that leads anywhere."""
    place = workspace.root / path
    where = Where(file=PROJECT_FILE, key=f"stages.{stage}.run.inputs.{key}")
    try:
        real = place.resolve(strict=True)
    except (OSError, RuntimeError) as error:
        maker = _maker(workspace, place)
        hint = f"stage {maker} ran, and did not make it" if maker else None
        raise RbuildError(f"the input {path} does not exist", where=where, hint=hint) from error
    if not real.is_relative_to(workspace.root.resolve()):
        raise RbuildError(f"a symbolic link leads the input {path} out of the project", where=where)
    return real


def _check_inputs(workspace: Workspace, order: Sequence[str]) -> None:
    """Every input that no stage of this run makes has to be there before anything runs."""
    problems = []
    made: list[Path] = []
    for name in order:
        stage = workspace.project.stages[name]
        for key, path in stage.run.inputs.items():
            place = workspace.root / path
            if not place.exists() and not any(place.is_relative_to(output) for output in made):
                maker = _maker(workspace, place)
                problems.append(
                    Problem(
                        what=f"the input {path} does not exist",
                        where=Where(file=PROJECT_FILE, key=f"stages.{name}.run.inputs.{key}"),
                        hint=f"rbuild run {maker} {name}" if maker else "put it there, or correct the path",
                    )
                )
        made += [workspace.root / output for output in stage.run.outputs.values()]
    if problems:
        raise RbuildError(problems)


def _maker(workspace: Workspace, place: Path) -> str | None:
    for name, stage in workspace.project.stages.items():
        if any(place.is_relative_to(workspace.root / output) for output in stage.run.outputs.values()):
            return name
    return None


def _run_stage(workspace: Workspace, name: str, locked: StageLock, emit: Emit) -> StageRun:
    stage = workspace.project.stages[name]
    started = time.monotonic()
    emit(StageStarted(stage=name, why=f"image {locked.image.manifest}"))
    image = _image(workspace, name, locked)
    container = f"rbuild-{workspace.project.name}-{name}-{secrets.token_hex(4)}"
    log = workspace.store.log_path(workspace.project.name, f"{name}.run")
    with contextlib.ExitStack() as stack:
        aside = {
            key: stack.enter_context(_aside(workspace.root / path)) for key, path in stage.run.outputs.items()
        }
        argv = [*_container(workspace, container), "--label", _label(workspace)]
        for key, path in stage.run.inputs.items():
            source = _inside(workspace, name, key, path)
            argv += ["--mount", _bind(source, stage.run.input_path(key), "ro=true")]
        for key, folder in aside.items():
            argv += ["--mount", _bind(folder, stage.run.output_path(key))]
        _execute(workspace, stage, [*argv, image, *stage.run.argv()], container, log, emit)
        for key, path in stage.run.outputs.items():
            _put_in_place(aside[key], workspace.root / path)
    seconds = time.monotonic() - started
    emit(StageDone(stage=name, outcome="ran", digest=str(locked.image.manifest), seconds=seconds))
    return StageRun(
        stage=name,
        image=locked.image.manifest,
        outputs=tuple(str(path) for path in stage.run.outputs.values()),
        seconds=seconds,
    )


def _execute(
    workspace: Workspace, stage: Stage, argv: Sequence[str], container: str, log: Path, emit: Emit
) -> None:
    last: list[str] = []
    process = Process(argv, env=workspace.env, merge_stderr=True)
    try:
        with log.open("w", errors="replace") as file:

            def line(text: str) -> None:
                file.write(text + "\n")
                last[:] = [*last[-_LAST_LINES:], text]
                emit(Output(stage=stage.name, text=text))

            process.lines(line)
            code = process.wait()
    except BaseException:
        # Podman would only pass the signal on, which many programs do not hear as process 1.
        _remove_container(workspace, container)
        process.end()
        _remove_container(workspace, container)
        raise
    if code != 0:
        emit(StageDone(stage=stage.name, outcome=f"failed with exit code {code}", ok=False))
        said = "".join(f"\n  {text}" for text in last[-_LAST_LINES:])
        raise RbuildError(
            f"stage {stage.name} failed with exit code {code}{said}\n  the whole output: {log}",
            where=Where(file=PROJECT_FILE, key=f"stages.{stage.name}.run"),
            hint=f"rbuild shell {stage.name} opens a shell in its image",
        )


def _remove_container(workspace: Workspace, container: str) -> None:
    argv = workspace.podman.argv("rm", "--force", "--time", "0", "--ignore", container)
    run(argv, env=workspace.env, check=False, left_alone=True)


def _clear_remains(workspace: Workspace, order: Sequence[str]) -> None:
    """Remove what a killed run of this project left; nobody else is at work in it now."""
    argv = workspace.podman.argv("ps", "--all", "--quiet", "--filter", f"label={_label(workspace)}")
    for container in run(argv, env=workspace.env).stdout.split():
        _remove_container(workspace, container)
    for name in order:
        for path in workspace.project.stages[name].run.outputs.values():
            target = workspace.root / path
            for left in sorted(target.parent.glob(f".{glob.escape(target.name)}.*")):
                if _ASIDE.fullmatch(left.name.removeprefix(f".{target.name}")):
                    if left.suffix == _BEFORE and not target.exists():
                        left.rename(target)  # it was killed between the two renames
                    else:
                        shutil.rmtree(left, ignore_errors=True)


def _label(workspace: Workspace) -> str:
    # Podman reads filters as CSV, so a label holds no path as it is.
    return f"rbuild.project={Digest.of(os.fsencode(workspace.root)).hex}"


@contextlib.contextmanager
def _aside(target: Path) -> Iterator[Path]:
    """A folder beside `target` for what a stage writes; whatever is still in it at the end goes."""
    folder = target.parent / f".{target.name}.{secrets.token_hex(4)}"
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise RbuildError(
            f"cannot make a folder for the outputs: {error.strerror}", where=Where(file=str(folder))
        ) from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _put_in_place(folder: Path, target: Path) -> None:
    """Let a finished folder take the place of the one before."""
    before = folder.with_name(folder.name + _BEFORE)
    with contextlib.suppress(FileNotFoundError):
        target.rename(before)
    folder.rename(target)
    shutil.rmtree(before, ignore_errors=True)
