"""A base as it is handed to a builder: its own layers, with the build's variables in its configuration."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from rbuild.image.canonicaljson import canonical_json
from rbuild.image.config import Config, Execution, base_history


def derived_config(base: Config, variables: Mapping[str, str], labels: Mapping[str, str]) -> bytes:
    """The configuration of `base` with variables and labels added, as JSON.

    Its history has an entry for each layer, since Podman refuses or forgets one that does not fit.
    """
    before = base.config or Execution()
    env = dict(each.partition("=")[::2] for each in before.env or [])
    env |= variables
    execution = msgspec.structs.replace(
        before,
        env=[f"{name}={value}" for name, value in env.items()],
        labels={**(before.labels or {}), **labels},
    )
    return canonical_json(
        msgspec.to_builtins(msgspec.structs.replace(base, config=execution, history=base_history(base)))
    )
