"""A path inside the project as a value, checked when it is made."""

from __future__ import annotations

from dataclasses import dataclass

from rbuild.errors import RbuildError

_LONGEST = 4096  # PATH_MAX of Linux


@dataclass(frozen=True, slots=True, order=True)
class RelativePath:
    """A path relative to the project's folder: never absolute, without `..`, in its shortest form.

    That its text stays inside says nothing about symbolic links on the way; who opens it looks at these.
    `.` is the project's folder itself.
    """

    text: str

    def __post_init__(self) -> None:
        if self.text != _shortest(self.text):
            raise RbuildError(f"not the shortest form of a path: {self.text[:200]!r}")

    @classmethod
    def parse(cls, text: str) -> RelativePath:
        """Read a path as a person writes it: `./a//b/` is `a/b`. Raises RbuildError for one that leaves."""
        return cls(_shortest(text))

    @property
    def parts(self) -> tuple[str, ...]:
        """The names on the way; none for `.`."""
        return () if self.text == "." else tuple(self.text.split("/"))

    @property
    def name(self) -> str:
        """The last of the parts; empty for `.`."""
        return self.parts[-1] if self.parts else ""

    def holds(self, other: RelativePath) -> bool:
        """Whether `other` is this path or lies below it."""
        return other.parts[: len(self.parts)] == self.parts

    def __str__(self) -> str:
        return self.text

    def __fspath__(self) -> str:
        return self.text


def _shortest(text: str) -> str:
    shown = repr(text[:200])
    hint = "write it relative to the folder that rbuild.yaml is in"
    if text.startswith("/"):
        raise RbuildError(f"not a path inside the project: {shown} is absolute", hint=hint)
    parts = [part for part in text.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise RbuildError(f"not a path inside the project: {shown} has a '..'", hint=hint)
    if not text or len(text.encode(errors="replace")) > _LONGEST or not text.isprintable():
        raise RbuildError(f"not a path: {shown}", hint=hint)
    return "/".join(parts) or "."
