"""`rbuild diff --deep`: pairs of files that differ, handed to diffoscope where it is installed.

https://diffoscope.org
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from rbuild.errors import RbuildError
from rbuild.events import Emit, Note
from rbuild.image.tar import shown
from rbuild.process import run

_HINT = "apt install diffoscope-minimal, or pip install diffoscope"
_MOST_PAIRS = 50
_SECONDS = 60.0  # for a pair
_ALL_SECONDS = 600.0
_MAX_TEXT = 1 << 18  # characters for a pair
_ODD = re.compile(r"[^A-Za-z0-9._+-]")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeepFinding:
    """What diffoscope said of one pair, or why it said nothing."""

    path: str
    text: str = ""
    problem: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeepFindings:
    """What diffoscope said. `problem` and `hint`: why it was not asked; `omitted` counts pairs left out."""

    findings: tuple[DeepFinding, ...] = ()
    omitted: int = 0
    problem: str | None = None
    hint: str | None = None


class Diffoscope:
    """Takes the contents of files that differ as `compare` finds them; `findings` is what came of it."""

    def __init__(self, scratch: Path, env: Mapping[str, str], emit: Emit) -> None:
        self._scratch = scratch
        # What it unpacks goes the way of the scratch folder.
        self._env = {**env, "TMPDIR": str(scratch)}
        self._program = shutil.which("diffoscope", path=env.get("PATH"))
        self._emit = emit
        self._findings: list[DeepFinding] = []
        self._omitted = 0
        self._ends = time.monotonic() + _ALL_SECONDS

    @property
    def installed(self) -> bool:
        return self._program is not None

    def __call__(self, path: bytes, a: BinaryIO, b: BinaryIO) -> None:
        """Ask about one pair. What goes wrong is in its finding."""
        if len(self._findings) == _MOST_PAIRS or time.monotonic() > self._ends:
            self._omitted += 1
            return
        self._emit(Note(text=f"diffoscope {shown(path)}"))
        # It tells formats by names as well.
        name = _ODD.sub("_", path.rpartition(b"/")[2].decode(errors="replace"))[-100:].lstrip(".-") or "file"
        sides = [self._written(side, name, file) for side, file in (("a", a), ("b", b))]
        self._findings.append(self._asked(shown(path), sides))

    def findings(self) -> DeepFindings:
        """All that was found by now."""
        if not self.installed:
            return DeepFindings(problem="diffoscope is not installed", hint=_HINT)
        return DeepFindings(findings=tuple(self._findings), omitted=self._omitted)

    def _written(self, side: str, name: str, file: BinaryIO) -> Path:
        folder = self._scratch / side
        folder.mkdir(exist_ok=True)
        with (folder / name).open("wb") as target:
            shutil.copyfileobj(file, target, 1 << 20)
        return folder / name

    def _asked(self, path: str, sides: list[Path]) -> DeepFinding:
        assert self._program is not None
        argv = [self._program, "--text", "-", "--max-text-report-size", str(_MAX_TEXT), *map(str, sides)]
        try:
            done = run(argv, env=self._env, timeout=_SECONDS, check=False)
        except RbuildError as error:
            return DeepFinding(path=path, problem=error.problems[0].what)
        finally:
            for side in sides:
                side.unlink()
        text = done.stdout.replace(f"{self._scratch}/", "")
        if done.returncode not in (0, 1):  # 1: they differ
            said = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
            return DeepFinding(path=path, text=text[:_MAX_TEXT], problem=said[0][:500])
        return DeepFinding(path=path, text=text[:_MAX_TEXT])
