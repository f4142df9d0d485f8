"""The versions of the canonical form.

A stage keeps the version that it was locked under, as it keeps its epoch, until `rbuild lock --upgrade`. What
a newer rbuild writes otherwise does not make an older lock wrong.

1. As docs/how-it-works.md has it, but for what came later.
2. Bytecode that checks its source's hash checks its mtime instead, and imports faster for it.
"""

from typing import Literal

NEWEST = 2

Algorithm = Literal["zstd", "gzip"]
"""How the layers that rbuild writes can be compressed."""

NORMALISERS = (
    "bytecode",
    "build-paths",
    "package-logs",
    "package-backups",
    "account-backups",
    "ldconfig-cache",
    "apt-cache",
    "apt-lists",
    "shadow-day",
    "machine-id",
    "pip-cache",
    "uv-cache",
    "npm-cache",
)
"""The names of all normalisers, in the order in which they are asked; image/normalise has what they do."""
