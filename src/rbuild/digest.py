"""A sha256 digest as a value, checked when it is made."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from rbuild.errors import RbuildError

_HEX = re.compile(r"[0-9a-f]{64}\Z")


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """A digest as the OCI image specification writes it: `sha256:` and 64 lower-case hex digits.

    Only sha256 is known: it is what registries use, and what the lock holds.
    """

    hex: str

    def __post_init__(self) -> None:
        if not _HEX.match(self.hex):
            raise RbuildError(f"not a sha256 digest: {self.hex[:80]!r}")

    @classmethod
    def parse(cls, text: str) -> Digest:
        """Read `sha256:<64 hex>`; raises RbuildError for anything else."""
        algorithm, _, hex_digits = text.partition(":")
        if algorithm != "sha256":
            raise RbuildError(f"not a sha256 digest: {text[:80]!r}")
        return cls(hex_digits)

    @classmethod
    def of(cls, data: bytes) -> Digest:
        """The digest of `data`."""
        return cls(hashlib.sha256(data).hexdigest())

    @property
    def short(self) -> str:
        """The first 12 digits, for people."""
        return self.hex[:12]

    def __str__(self) -> str:
        return f"sha256:{self.hex}"
