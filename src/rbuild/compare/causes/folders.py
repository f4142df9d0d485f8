"""The folder that a build was made in."""

from __future__ import annotations

import re

from rbuild.compare.causes.setting import Setting
from rbuild.compare.causes.tokens import Spot, Token

_BUILT_IN = re.compile(
    rb"/(?:home/|root/|builds?/|buildroot/|workspaces?/|__w/|github/workspace/|usr/src/)[^/]"
)

_PATH = re.compile(rb"(?:/[\w.+~-]{1,255}){2,40}")


def build_path(a: Token, b: Token, spot: Spot, setting: Setting) -> bool:
    """Two paths of one file in folders that people build in."""
    one, other = absolute(a), absolute(b)
    built = _BUILT_IN.match(one) is not None and _BUILT_IN.match(other) is not None
    return built and one.rpartition(b"/")[2] == other.rpartition(b"/")[2]


def path_in_program(a: Token, b: Token) -> bool:
    """Two absolute paths, where all paths are of the build: in a program's sections, in bytecode."""
    return all(_PATH.fullmatch(absolute(token)) for token in (a, b))


def absolute(token: Token) -> bytes:
    """The absolute path that a token is a part of; empty if there is none."""
    wide = token.widened(b"/").text
    return wide[wide.find(b"/") :] if b"/" in wide[:-1] else b""
