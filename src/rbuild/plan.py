"""What goes into a stage's image, and the one digest over it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from rbuild.digest import Digest
from rbuild.lock import Lock, StageLock
from rbuild.recording import Recording


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """All that an image is a function of, but for the recording. `bases` maps a base's key to its digest."""

    containerfile: Digest
    context: Digest
    target: str | None
    args: Mapping[str, str]
    platform: str
    bases: Mapping[str, Digest]
    epoch: int
    normalisers: tuple[str, ...]
    codec: str
    form: int  # the version of the canonical form
    checksums: Mapping[str, Digest] = field(default_factory=dict)  # by URL; the Containerfile says them

    def digest(self, recording: Recording) -> Digest:
        """The input digest: a sha256 over everything, as JSON with sorted keys."""
        return Digest.of(
            msgspec.json.encode(
                {
                    **self._outside(),
                    "containerfile": str(self.containerfile),
                    "context": str(self.context),
                    "recording": str(recording.digest()),
                },
                order="sorted",
            )
        )

    def cache_key(self, project: str) -> str:
        """A name for what Podman's own layer cache does not look at: all but Containerfile and context.

        And the checksums in the Containerfile, which Podman does not get to see.
        """
        checksums = {url: str(digest) for url, digest in self.checksums.items()}
        outside = {**self._outside(), "project": project, "checksums": checksums}
        return Digest.of(msgspec.json.encode(outside, order="sorted")).hex

    def _outside(self) -> dict[str, object]:
        return {
            "args": dict(self.args),
            "bases": {key: str(digest) for key, digest in self.bases.items()},
            "codec": self.codec,
            "epoch": self.epoch,
            "form": self.form,
            "normalisers": list(self.normalisers),
            "platform": self.platform,
            "target": self.target,
        }


@dataclass(frozen=True, slots=True)
class Change:
    """One reason why a stage is not up to date: a part of its inputs, and what became of it."""

    part: str  # containerfile, context, base, arg, target, normalisers, codec, recording, image
    detail: str

    def __str__(self) -> str:
        return f"{self.part}: {self.detail}"


def changes(inputs: Inputs, locked: StageLock | None, lock: Lock | None) -> tuple[Change, ...]:
    """What differs between the inputs as they are and as they were locked; nothing: up to date."""
    if locked is None or lock is None:
        return (Change("stage", "not in the lock yet"),)
    found: list[Change] = []
    if inputs.containerfile != locked.containerfile:
        found.append(Change("containerfile", "changed"))
    if inputs.context != locked.context:
        found.append(Change("context", "changed"))
    found += _changed("arg", inputs.args, locked.args)
    known = {key: str(lock.bases[key].digest) for key in locked.bases if key in lock.bases}
    found += _changed("base", {key: str(digest) for key, digest in inputs.bases.items()}, known)
    if inputs.target != locked.target:
        found.append(Change("target", f"{locked.target or 'the last'} → {inputs.target or 'the last'}"))
    if inputs.platform != lock.platform:
        found.append(Change("platform", f"{lock.platform} → {inputs.platform}"))
    if inputs.normalisers != locked.normalisers:
        switched = sorted(set(inputs.normalisers) ^ set(locked.normalisers))
        found.append(Change("normalisers", f"switched: {', '.join(switched)}"))
    if inputs.codec != locked.codec:
        found.append(Change("codec", f"{locked.codec} → {inputs.codec}"))
    if not found and inputs.digest(locked.recording) != locked.input:
        found.append(Change("lock", "its input digest is not that of what it lists"))
    return tuple(found)


def _changed(part: str, now: Mapping[str, str], locked: Mapping[str, str]) -> list[Change]:
    found = [Change(part, f"{name} is new") for name in sorted(now.keys() - locked.keys())]
    found += [Change(part, f"{name} is gone") for name in sorted(locked.keys() - now.keys())]
    both = sorted(now.keys() & locked.keys())
    return found + [
        Change(part, f"{name}: {locked[name]} → {now[name]}") for name in both if now[name] != locked[name]
    ]
