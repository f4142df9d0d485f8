"""The application with all its commands."""

from __future__ import annotations

# Each module registers its commands; `--help` lists them in this order.
from rbuild.commands import building, checking, images, policies, registries, rules, system
from rbuild.commands.app import app

__all__ = ["app", "building", "checking", "images", "policies", "registries", "rules", "system"]
