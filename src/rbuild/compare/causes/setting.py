"""What is known of the place of two differing tokens, beside their own bytes."""

from __future__ import annotations

from dataclasses import dataclass

from rbuild.compare.causes.tokens import Token

_NAME = 80  # bytes before a value that may name it


@dataclass(frozen=True, slots=True)
class Setting:
    """The file's path, the key of a value in a document, the names of hosts that may have built."""

    path: bytes = b""
    key: bytes = b""
    hosts: frozenset[str] = frozenset()

    def name_of(self, token: Token) -> bytes:
        """What names a value, in lower case: the line before it, else the key, else the file's name."""
        text = token.before[-_NAME:]
        if not text.strip(b" \t\"'"):
            text = (self.key or self.path.rpartition(b"/")[2])[-_NAME:] + b"="
        return text.lower()
