"""What a program finds that rbuild starts."""

from __future__ import annotations

import os

from rbuild.process import run


def test_a_program_does_not_get_the_users_umask() -> None:
    before = os.umask(0o077)
    try:
        assert run(["sh", "-c", "umask"]).stdout == "0022\n"
    finally:
        os.umask(before)
