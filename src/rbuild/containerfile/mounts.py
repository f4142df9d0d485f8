"""What `RUN --mount` brings into a step, as written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from rbuild.containerfile.model import Containerfile, Instruction


@dataclass(frozen=True, slots=True)
class Mount:
    """One `--mount` of a RUN. A bare word among the `options` has no value; variables are as written."""

    kind: str  # bind, cache, secret, ssh or tmpfs
    options: Mapping[str, str]
    line: int

    @property
    def target(self) -> str:
        """Where it is mounted; empty where only the kind's default says so."""
        names = ("target", "dst", "destination")
        return next((self.options[name] for name in names if name in self.options), "")

    @property
    def name(self) -> str:
        """What the builder knows a cache or a secret by: its id or, without one, what the target says."""
        if self.kind == "secret":
            return self.options.get("id") or self.target.rpartition("/")[2]
        return self.options.get("id") or self.target

    @property
    def is_required(self) -> bool:
        """Whether the step must fail without the secret."""
        return self.options.get("required", "false").lower() in ("", "1", "true")


def mounts(containerfile: Containerfile, needed: Iterable[int]) -> tuple[Mount, ...]:
    """The mounts of every RUN of the targets with these indexes, in the order of the file."""
    return tuple(
        mount
        for index in sorted(needed)
        for instruction in containerfile.targets[index].instructions
        for mount in of_instruction(instruction.trigger or instruction)
    )


def shares_a_cache(containerfile: Containerfile, needed: Iterable[int]) -> bool:
    """Whether a RUN may find in a cache what another one left there; a name with a variable may be any."""
    found: set[str] = set()
    for index in needed:
        for instruction in containerfile.targets[index].instructions:
            names = {
                mount.name
                for mount in of_instruction(instruction.trigger or instruction)
                if mount.kind == "cache"
            }
            if found and names and (names & found or any("$" in name for name in names | found)):
                return True
            found |= names
    return False


def of_instruction(instruction: Instruction) -> Iterable[Mount]:
    """The mounts of one RUN; nothing for any other instruction."""
    if instruction.keyword != "RUN":
        return
    for flag in instruction.flags:
        if flag.name == "mount":
            options = dict(part.partition("=")[::2] for part in (flag.value or "").split(","))
            yield Mount(options.get("type", "bind"), options, instruction.line)
