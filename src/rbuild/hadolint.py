"""hadolint, the linter of Containerfiles: what it says of some, and of nothing else around it.

It gets files of its own in an empty folder, a configuration of ours and no environment, so that neither a
`.hadolint.yaml` nor a variable changes a verdict; comments that tell it to ignore a rule have no effect.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import msgspec

from rbuild.errors import RbuildError
from rbuild.policy.foreign import LEVELS, Remark
from rbuild.policy.model import Level
from rbuild.process import run
from rbuild.store import Store

# Rules that hadolint itself leaves out unless they are given a level; which one is the policies' business.
_CONFIG = "override: {info: [DL1001, DL3057]}\n"
_MOST_BYTES = 4 << 20  # that one call gets
_MEMORY = "-M768m"  # of the Haskell runtime


class _Said(msgspec.Struct):
    code: str
    file: str
    level: str
    line: int
    message: str


@dataclass(frozen=True, slots=True)
class Hadolint:
    """The program. `identity` changes when it does."""

    program: Path
    identity: str
    seconds: float = 15.0  # for one file; half a second more for each other one

    def judge(self, texts: Sequence[bytes], store: Store) -> list[tuple[Remark, ...] | None]:
        """What it says of each text; None where it came to no end in time, or to a bad one."""
        found: list[tuple[Remark, ...] | None] = [None] * len(texts)
        jobs = max(1, min(len(texts), os.cpu_count() or 1))

        def some(numbers: list[int]) -> None:
            said = self._call([texts[number] for number in numbers], store)
            if said is not None:
                for number, remarks in zip(numbers, said, strict=True):
                    found[number] = remarks
            elif len(numbers) > 1:  # one of them is to blame
                half = len(numbers) // 2
                some(numbers[:half])
                some(numbers[half:])

        with ThreadPoolExecutor(jobs) as pool:
            list(pool.map(some, _shares(texts, jobs)))
        return found

    def _call(self, texts: Sequence[bytes], store: Store) -> list[tuple[Remark, ...]] | None:
        with store.scratch("hadolint") as folder:
            names = [f"{number}" for number in range(len(texts))]
            for name, text in zip(names, texts, strict=True):
                (folder / name).write_bytes(text)
            (folder / "config.yaml").write_text(_CONFIG)
            argv = [str(self.program), "--config", "config.yaml", "--format", "json", "--no-fail"]
            argv += ["--disable-ignore-pragma", "--", *names]
            env = {"HOME": str(folder), "XDG_CONFIG_HOME": str(folder), "LANG": "C.UTF-8", "GHCRTS": _MEMORY}
            limit = self.seconds + 0.5 * (len(texts) - 1)
            try:
                done = run(argv, env=env, cwd=folder, timeout=limit, check=False)
            except RbuildError:
                return None
        if done.returncode != 0:
            return None
        try:
            said = msgspec.json.decode(done.stdout, type=list[_Said])
        except (msgspec.DecodeError, ValueError):
            return None
        found: dict[str, list[Remark]] = {name: [] for name in names}
        for one in said:
            if one.file in found:
                level = LEVELS.get(one.level, Level.WARNING)
                found[one.file].append(
                    Remark(code=one.code, level=level, line=one.line, message=_line(one.message))
                )
        return [tuple(found[name]) for name in names]


def find(env: Mapping[str, str]) -> Hadolint | None:
    """hadolint as `RBUILD_HADOLINT` names it, else beside rbuild or on the path; None if it is not there."""
    chosen = env.get("RBUILD_HADOLINT")
    beside = Path(sys.executable).with_name("hadolint")
    known = shutil.which(chosen or str(beside)) or (
        None if chosen else shutil.which("hadolint", path=env.get("PATH", ""))
    )
    if known is None:
        return None
    program = Path(known).absolute()
    status = program.stat()
    return Hadolint(program, f"{program} {status.st_size} {status.st_mtime_ns}")


def _shares(texts: Sequence[bytes], jobs: int) -> list[list[int]]:
    """The numbers of the texts, as evenly as may be among so many calls, or more for large ones."""
    shares: list[list[int]] = []
    for first in range(jobs):
        share: list[int] = []
        size = 0
        for number in range(first, len(texts), jobs):
            if share and size + len(texts[number]) > _MOST_BYTES:
                shares.append(share)
                share, size = [], 0
            share.append(number)
            size += len(texts[number])
        shares.append(share)
    return shares


def _line(message: str) -> str:
    return " ".join(message.split())[:500]
