"""The stage programs, started as a user starts them and, for the many ways to be wrong, called in process.

A start takes seconds, nearly all of them to import scikit-learn and pandas, so each program is started for
real for what it does when all is well and once for a refusal, and called through its `main` for the rest.
"""

import runpy
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

STAGES = Path(__file__).parents[2] / "stages"
PROGRAMS = {
    "pre_process": STAGES / "preprocess" / "pre_process.py",
    "train": STAGES / "train" / "train.py",
    "infer": STAGES / "infer" / "infer.py",
}


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


@cache
def entry_point(program: str) -> Callable[[], int]:
    # Unlike an import, this leaves no __pycache__ in what is a stage's context.
    main: Callable[[], int] = runpy.run_path(str(PROGRAMS[program]), run_name=program)["main"]
    return main


def start_program(program: str, *arguments: Path | str) -> Outcome:
    argv = [sys.executable, "-W", "error", str(PROGRAMS[program]), *map(str, arguments)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=900, check=False)
    return Outcome(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="session")
def start() -> Callable[..., Outcome]:
    """`start(program, *arguments)` in a process of its own."""
    return start_program


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """`call(program, *arguments)` in this process."""

    def call_main(program: str, *arguments: Path | str) -> Outcome:
        monkeypatch.setattr(sys, "argv", [program, *map(str, arguments)])
        code = entry_point(program)()
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return call_main


@pytest.fixture
def refusal(call: Callable[..., Outcome]) -> Callable[..., str]:
    """`refusal(program, *arguments)` is the line of stderr, after the program name, of a failed call."""

    def refuse(program: str, *arguments: Path | str) -> str:
        outcome = call(program, *arguments)
        assert (outcome.code, outcome.out) == (2, "")
        assert outcome.err.endswith("\n") and len(outcome.err.splitlines()) == 1
        assert outcome.err.startswith(f"{program}: ")
        return outcome.err.removeprefix(f"{program}: ").rstrip("\n")

    return refuse


@pytest.fixture(scope="session")
def iris() -> Path:
    return STAGES / "data" / "iris.csv"


@pytest.fixture(scope="session")
def unseen() -> Path:
    return STAGES / "data" / "unseen.csv"


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory, iris: Path) -> Path:
    """What pre_process.py makes of the iris data. Tests read it and leave it as it is."""
    outdir = tmp_path_factory.mktemp("preprocess")
    assert start_program("pre_process", iris, outdir).code == 0
    return outdir


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, prepared: Path) -> Path:
    """What train.py makes of that. Tests read it and leave it as it is."""
    outdir = tmp_path_factory.mktemp("train")
    assert start_program("train", prepared / "x_train.csv", prepared / "y_train.csv", outdir).code == 0
    return outdir
