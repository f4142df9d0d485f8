"""The `rbuild` command."""

from __future__ import annotations

from typing import NoReturn

# Each module registers its commands; `--help` lists them in this order.
from rbuild.commands import building, checking, images, policies, registries, rules, system
from rbuild.commands.app import app
from rbuild.exiting import run_to_exit

__all__ = ["app", "building", "checking", "images", "main", "policies", "registries", "rules", "system"]


def main() -> NoReturn:
    """Run the command line, and exit."""
    run_to_exit(app)
