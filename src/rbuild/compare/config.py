"""Configurations and manifests held against each other, key by key."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rbuild.compare.budget import MAX_CHILDREN
from rbuild.compare.excerpt import first_difference
from rbuild.compare.keypaths import Key, TooDeep, differing
from rbuild.compare.model import Blame, Change, Difference, Part
from rbuild.compare.opened.documents import key_leaf
from rbuild.compare.place import Place
from rbuild.errors import RbuildError
from rbuild.image.canonicaljson import read_json

_MAX_BYTES = 8 << 20
_INSTRUCTIONS = {
    "Env": "ENV",
    "Labels": "LABEL",
    "Cmd": "CMD",
    "Entrypoint": "ENTRYPOINT",
    "User": "USER",
    "WorkingDir": "WORKDIR",
    "ExposedPorts": "EXPOSE",
    "Volumes": "VOLUME",
    "StopSignal": "STOPSIGNAL",
    "Healthcheck": "HEALTHCHECK",
    "Shell": "SHELL",
    "OnBuild": "ONBUILD",
}
_NAMED = ("Env", "Labels", "ExposedPorts", "Volumes")  # objects, whose instructions name the key below


@dataclass(frozen=True, slots=True)
class Text:
    """A document of an image as stored; `name` is for errors."""

    name: str
    data: bytes

    def read(self) -> dict[str, Any]:
        """As JSON; raises RbuildError for what could be read in two ways."""
        return read_json(self.data, self.name, _MAX_BYTES)


def compare_configs(a: Text, b: Text, place: Place, instructions: Sequence[Blame]) -> Difference | None:
    """The keys of two configurations that differ; `instructions` are those that the keys are blamed on.

    Variables are keys of their own. The layers' diff ids are left to the layers; None where only they differ.
    """
    value_a, value_b = (_by_variable(_without(text.read(), "rootfs", "diff_ids")) for text in (a, b))

    def blame(path: Sequence[Key]) -> Blame | None:
        return _instruction(path, instructions, (value_b, value_a))

    diff_ids = [text.read().get("rootfs", {}).get("diff_ids") for text in (a, b)]
    return _compared(
        "configuration",
        Part.CONFIG,
        a,
        b,
        value_a,
        value_b,
        place,
        blame,
        explained=diff_ids[0] != diff_ids[1],
    )


def compare_manifests(
    a: Text, b: Text, place: Place, layers: Sequence[tuple[int, int]], *, explained: bool
) -> Difference | None:
    """What two manifests say differently beside the configuration and the layers that differ themselves.

    `layers` are the indices of layers with equal diff ids: of these the media type and the blob are
    compared. `explained`: the configurations or the layers differ, so that the manifests must.
    """
    value_a, value_b = a.read(), b.read()
    blobs_a, blobs_b = value_a["layers"], value_b["layers"]
    # Layers go by B's numbers, as in the picture of the layers.
    value_a = _without(value_a, "config", "digest", "size") | {"layers": {j: blobs_a[i] for i, j in layers}}
    value_b = _without(value_b, "config", "digest", "size") | {"layers": {j: blobs_b[j] for _, j in layers}}
    return _compared(
        "manifest", Part.MANIFEST, a, b, value_a, value_b, place, lambda _: None, explained=explained
    )


def _compared(
    name: str,
    part: Part,
    a: Text,
    b: Text,
    value_a: dict[str, Any],
    value_b: dict[str, Any],
    place: Place,
    blame: Callable[[Sequence[Key]], Blame | None],
    *,
    explained: bool,
) -> Difference | None:
    try:
        found = list(differing(value_a, value_b))
    except (TooDeep, RecursionError):
        raise RbuildError(f"{b.name}, or {a.name}, is nested too deeply") from None
    if not found:
        if explained or first_difference(a.data, b.data) is None:
            return None
        note = "all values are equal, and they are written differently"
        return place.text(name, a.data, b.data, part=part, format="config", note=note)
    children = [
        key_leaf(replace(place, blame=blame(one.path)), "config", one, part) for one in found[:MAX_CHILDREN]
    ]
    return Difference(
        part=part,
        name=name,
        change=Change.CHANGED,
        children=tuple(children),
        omitted=len(found) - len(children),
    )


def _without(value: dict[str, Any], key: str, *names: str) -> dict[str, Any]:
    """The document without some keys of one of its objects."""
    part = value.get(key)
    if not isinstance(part, Mapping):
        return value
    return value | {key: {name: each for name, each in part.items() if name not in names}}


def _by_variable(value: dict[str, Any]) -> dict[str, Any]:
    """The document with its variables as an object; what may hold keys is there, even if it holds none."""
    config = value.get("config") or {}
    if not isinstance(config, dict):
        return value
    config = config | {name: config.get(name) or {} for name in _NAMED}
    env = config["Env"]
    if isinstance(env, list) and all(isinstance(each, str) for each in env):
        config["Env"] = {name: text for name, _, text in (each.partition("=") for each in env)}
    return value | {"config": config}


def _instruction(
    path: Sequence[Key], instructions: Sequence[Blame], documents: Sequence[dict[str, Any]]
) -> Blame | None:
    """The last instruction that may have made a key of the configuration, or the line of history itself."""
    if len(path) > 1 and path[0] == "history" and isinstance(path[1], int):
        return _history(path[1], documents)
    if len(path) < 2 or path[0] != "config" or path[1] not in _INSTRUCTIONS:
        return None
    pattern = re.compile(rf"(?:\A|[\s)]){_INSTRUCTIONS[str(path[1])]}\s", re.IGNORECASE)
    name = str(path[2]).partition("/")[0] if len(path) > 2 and path[1] in _NAMED else ""
    for each in reversed(instructions):
        if pattern.search(each.text) and name in each.text:
            return each
    return None


def _history(number: int, documents: Sequence[dict[str, Any]]) -> Blame | None:
    for document in documents:
        history = document.get("history")
        entry = history[number] if isinstance(history, list) and number < len(history) else None
        if isinstance(entry, dict) and isinstance(entry.get("created_by"), str):
            return Blame(text=entry["created_by"])
    return None
