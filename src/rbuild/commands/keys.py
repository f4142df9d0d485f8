"""Private keys on the command line: which file, and who knows the password."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from rbuild.errors import RbuildError

if TYPE_CHECKING:
    from rbuild.signing.key import SigningKey


def opened_key(path: Path | None) -> SigningKey | None:
    """The key in a file, if there is to be one."""
    if path is None:
        return None
    from rbuild.verbs.keygen import open_key

    return open_key(path, key_password)


def key_password(*, new: bool = False) -> bytes:
    """The password of a private key: COSIGN_PASSWORD, which may be empty, else what the user types."""
    given = os.environ.get("COSIGN_PASSWORD")
    if given is not None:
        return os.fsencode(given)
    if not sys.stdin.isatty():
        raise RbuildError(
            "the private key has a password, and there is no terminal to ask for it",
            hint="set COSIGN_PASSWORD",
        )
    prompt = "Password of the private key"
    typed: str = typer.prompt(prompt, hide_input=True, confirmation_prompt=new, err=True)
    return typed.encode()
