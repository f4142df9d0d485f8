"""What set-up says to an ordinary user when something is missing."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from rbuild.process import Completed, run

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    return shutil.copytree(SCRIPTS, tmp_path / "scripts")


def packages(scripts: Path, listed: str) -> Completed:
    (scripts / "packages.txt").write_text(listed)
    return run([str(scripts / "packages")], check=False)


def test_nothing_is_missing_where_the_tests_run() -> None:
    completed = run([str(SCRIPTS / "packages")])

    assert (completed.stdout, completed.stderr) == ("", "")


def test_what_is_missing_is_named_with_the_line_that_installs_it(scripts: Path) -> None:
    completed = packages(scripts, "# why\nbash bash\nno-such-a no-such-command\nno-such-b no-such-command\n")

    assert completed.returncode == 2
    assert completed.stderr.splitlines() == [
        "not installed: no-such-a no-such-b",
        "hint: sudo apt-get update && sudo apt-get install --yes --no-install-recommends no-such-a no-such-b",
    ]


def test_a_command_from_elsewhere_stands_for_its_package(scripts: Path) -> None:
    completed = packages(scripts, "no-such-package bash\nno-such-part -\n")

    assert (completed.returncode, completed.stderr) == (0, "")
