"""The scenarios that have to give one digest on every Podman, storage driver, isolation, user and machine.

    project = lay_out(folder, tiny_layout, url=url)     # with `pages.served()` behind the URL
    rbuild all                                          # in that folder, with `ENVIRONMENT`

Each folder here is a stage: a Containerfile and its context. What git cannot hold (archives, names that are
no UTF-8, large files, …) is added by `generated.py`, the same bytes everywhere. README.md says which feature
is in which scenario. Nothing is needed but Python 3.11, PyYAML and zstandard.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import generated
import yaml

BASE = "localhost/base/tiny"
ENVIRONMENT: Mapping[str, str] = MappingProxyType(
    {
        "RBUILD_ALLOW_LOOPBACK": "1",  # for ADD of a URL
        "SCENARIO_TOKEN": "a-secret-from-the-environment",
        "SOURCE_DATE_EPOCH": "1700000000",
    }
)
SECRET_FILE = "a-secret-from-a-file\n"

_HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One stage. `options` are further keys of it in rbuild.yaml.

    `podman` is the first version that can build it. A scenario that is not `small` takes many seconds; one
    `upon_scratch` depends on nothing but its files.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    podman: tuple[int, int, int] = (4, 3, 0)
    small: bool = True
    upon_scratch: bool = False
    reads_url: bool = False  # gets the address of the server as the build argument SITE


def _all() -> Mapping[str, Scenario]:
    scenarios = (
        Scenario(name="address", upon_scratch=True, reads_url=True),
        Scenario(name="archives", upon_scratch=True),
        Scenario(name="changed-modes"),
        Scenario(name="checksum", upon_scratch=True, reads_url=True),
        Scenario(name="crlf"),
        Scenario(name="deletions"),
        Scenario(name="escape"),
        Scenario(name="heredocs", podman=(5, 0, 0), options={"args": {"WHO": "me"}}),
        Scenario(name="ignored", upon_scratch=True),
        Scenario(name="large", small=False),
        Scenario(name="links"),
        Scenario(name="modes", upon_scratch=True),
        Scenario(
            name="mounts",
            options={
                "secrets": {
                    "token": {"file": "secrets/token"},
                    "variable": {"env": "SCENARIO_TOKEN"},
                }
            },
        ),
        Scenario(name="names", upon_scratch=True),
        Scenario(name="nothing"),
        Scenario(name="onbuild", options={"args": {"WHO": "me"}}, reads_url=True),
        Scenario(name="shells"),
        Scenario(name="sizes"),
        Scenario(name="special"),
        Scenario(name="syntax"),
        Scenario(name="targets", options={"target": "wanted", "args": {"WORD": "given: a=b c"}}),
        Scenario(name="users"),
        Scenario(name="volumes"),
    )
    return MappingProxyType({scenario.name: scenario for scenario in scenarios})


SCENARIOS: Mapping[str, Scenario] = _all()


def lay_out(project: Path, tiny_layout: Path, names: Collection[str] | None = None, *, url: str) -> None:
    """Write an rbuild project with these scenarios (the small ones for None) as its stages into `project`.

    `project` is an empty folder, or none yet. `tiny_layout` is an OCI layout with a Debian root that has
    busybox: what `FROM localhost/base/tiny` means. At `url`, which has no slash at its end, `pages.PAGES` are
    served.
    """
    wanted = names if names is not None else [each.name for each in SCENARIOS.values() if each.small]
    project.mkdir(parents=True, exist_ok=True)
    shutil.copytree(tiny_layout, project / "bases" / "tiny", copy_function=_link_or_copy)
    stages: dict[str, Any] = {}
    for name in sorted(wanted):
        scenario = SCENARIOS[name]
        shutil.copytree(_HERE / name, project / name, symlinks=True, ignore=shutil.ignore_patterns(".git*"))
        context = project / name / "context"
        context.mkdir(exist_ok=True)
        generated.fill(name, context)
        generated.complete(project / name / "Containerfile")
        stage = {"containerfile": f"{name}/Containerfile", "context": f"{name}/context", **scenario.options}
        if scenario.reads_url:
            stage["args"] = {**stage.get("args", {}), "SITE": url}
        stages[name] = stage
    (project / "secrets").mkdir()
    (project / "secrets" / "token").write_text(SECRET_FILE)
    text = {"project": "matrix", "bases": {BASE: {"oci": "bases/tiny"}}, "stages": stages}
    (project / "rbuild.yaml").write_text(yaml.safe_dump(text, sort_keys=False))


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy(source, target)
