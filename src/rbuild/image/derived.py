"""A base as it is handed to a builder: its own layers, with the build's variables in its configuration."""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from rbuild.image.canonicaljson import canonical_json
from rbuild.image.config import Config, Execution, HistoryEntry, base_history


def derived_history(base: Config, token: str) -> list[HistoryEntry]:
    """The history of a derived base: an entry for each layer, and one that holds the token.

    Podman refuses or forgets a history that does not fit the layers. Its layer cache compares layers and
    history, never configurations: layers that were built under another token are not found. Every entry has
    a time, since Buildah would make one up for the image that it derives, and then find the two different.
    """
    entries = [*base_history(base), HistoryEntry(created_by=f"rbuild cache {token}", empty_layer=True)]
    return [
        entry if entry.created else msgspec.structs.replace(entry, created="1970-01-01T00:00:00Z")
        for entry in entries
    ]


def derived_config(base: Config, variables: Mapping[str, str], token: str, *, gateway: str) -> bytes:
    """The configuration of `base` with variables added, and a history that keys the layer cache, as JSON.

    Before every URL that a trigger ADDs comes `gateway`, as in a rendered Containerfile.
    """
    before = base.config or Execution()
    env = dict(each.partition("=")[::2] for each in before.env or [])
    env |= variables
    execution = msgspec.structs.replace(
        before,
        env=[f"{name}={value}" for name, value in env.items()],
        on_build=[_led(trigger, gateway) for trigger in before.on_build or ()] or None,
    )
    derived = msgspec.structs.replace(base, config=execution, history=derived_history(base, token))
    return canonical_json(msgspec.to_builtins(derived))


def without_gateway(committed: Config, gateway: str) -> Config:
    """The configuration of what was built, whose own triggers ADD what its Containerfile says."""
    execution = committed.config
    if execution is None or not execution.on_build:
        return committed
    triggers = [one.replace(gateway, "") if _ADD.match(one) else one for one in execution.on_build]
    return msgspec.structs.replace(committed, config=msgspec.structs.replace(execution, on_build=triggers))


def _led(trigger: str, gateway: str) -> str:
    return _URL.sub(gateway, trigger) if _ADD.match(trigger) else trigger


_ADD = re.compile(r"\s*ADD\s", re.IGNORECASE)
_URL = re.compile(r"(?<=[\s\"])(?=https?://)")
