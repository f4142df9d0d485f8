"""This repository's own pipeline on a host that has nothing yet: built, run, verified and checked, once."""

from __future__ import annotations

import json
import re
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import zstandard
from worlds import World, make_world, remove_world, temporary

ROOT = Path(__file__).parents[2]
PARTS = ("rbuild.yaml", "rbuild.lock", "Containerfiles", "stages", "policies")
PROGRAMS = {"preprocess": "pre_process.py", "train": "train.py", "infer": "infer.py"}
SPECIES = {"Iris-setosa", "Iris-versicolor", "Iris-virginica"}
COMPILER = re.compile(r"(.+-)?(gcc|g\+\+|cc|c\+\+|c\d\d|cpp|clang(\+\+)?|tcc|as|ld|make|rustc)(-[\d.]+)?")
PIP = re.compile(r"pip(3(\.\d+)?)?|pip-.*|ensurepip|python-wheels")
# What the pipeline does not hold to, and would have to under other settings.
STRICT = """\
name: strict
description: What nobody here asks for.
rules:
  RB109: {level: warning, settings: {pins: exact}}
  RB117: warning
  RB302: {level: warning, settings: {allowed: [mirror.example.org]}}
  RB303: {level: warning, settings: {allowed: [mirror.example.org]}}
  RB306: {level: warning, settings: {forbidden: ["pypi:numpy *"]}}
  RB307: {level: warning, settings: {forbidden: ["deb:libstdc++6 *"]}}
  RB311: {level: warning, settings: {deny: ["BSD*"]}}
  RB312: {level: warning, settings: {megabytes: 10}}
  RB313: {level: warning, settings: {megabytes: 10}}
  RB314: {level: warning, settings: {layers: 1}}
  RB316: {level: warning, settings: {labels: [org.example.team]}}
"""


@dataclass(frozen=True)
class Iris:
    """What came of a copy of the project, by command."""

    world: World
    built: Any
    verified: Any
    checked: Any  # against the project's policies
    everything: Any  # against every rule there is
    strictly: Any  # against the policy above, a year later

    def blob(self, digest: str) -> Path:
        return self.world.store / "blobs" / "sha256" / digest.removeprefix("sha256:")

    def config(self, stage: str) -> dict[str, Any]:
        """What the image of a stage says of how it runs."""
        image = self.world.lock["stages"][stage]["image"]
        found: dict[str, Any] = json.loads(self.blob(image["config"]).read_bytes())["config"]
        return found


@pytest.fixture(scope="module")
def iris() -> Iterator[Iris]:
    with temporary() as folder:
        world = make_world(folder)
        try:
            for part in PARTS:
                copy_part(ROOT / part, world.project / part)
            built = world.json("all")
            world.ok("run")
            with without_images(world):
                verified = world.json("verify", "--offline")
            checked = world.json("check")
            for policy in (world.project / "policies").glob("*.yaml"):
                policy.unlink()
            everything = world.json("check")
            world.write({"policies/strict.yaml": STRICT})
            strictly = world.json("check", "--effective-time", "2099-01-01")
            yield Iris(world, built, verified, checked, everything, strictly)
        finally:
            remove_world(world)


def copy_part(source: Path, target: Path) -> None:
    """As a clone has it: bytecode that Python left beside a program is no part of the project."""
    if source.is_dir():
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(source, target, copy_function=shutil.copy, ignore=ignored)
    else:
        shutil.copy(source, target)


@contextmanager
def without_images(world: World) -> Iterator[None]:
    """Nothing of what was built is there meanwhile: images, layer caches, the base that they share."""
    world.forget_images()
    shutil.rmtree(world.store / "cache")
    blobs, aside = world.store / "blobs" / "sha256", world.data / "aside"
    aside.mkdir()
    for stage in world.lock["stages"].values():
        image = stage["image"]
        for part in (image["manifest"], image["config"], *(layer["blob"] for layer in image["layers"])):
            name = part.removeprefix("sha256:")
            if (blobs / name).exists():
                (blobs / name).rename(aside / name)
    yield
    for path in aside.iterdir():
        path.rename(blobs / path.name)


def paths(layers: list[Path]) -> set[PurePosixPath]:
    """What the layers have, hidden by later ones or not."""
    found = set()
    for layer in layers:
        with (
            layer.open("rb") as packed,
            zstandard.ZstdDecompressor().stream_reader(packed, read_across_frames=True) as plain,
            tarfile.open(fileobj=plain, mode="r|") as tar,
        ):
            found.update(PurePosixPath("/", entry.name) for entry in tar)
    return found


def test_a_fresh_host_builds_what_is_locked(iris: Iris) -> None:
    committed = (ROOT / "rbuild.lock").read_bytes()
    assert (iris.world.project / "rbuild.lock").read_bytes() == committed
    assert {one["stage"]: one["outcome"] for one in iris.built} == dict.fromkeys(PROGRAMS, "built")
    assert {one["stage"]: one["digest"] for one in iris.built} == iris.world.digests()


def test_raw_measurements_become_predictions(iris: Iris) -> None:
    out = iris.world.project / "out"
    unseen = (ROOT / "stages/data/unseen.csv").read_text().splitlines()
    named = (out / "infer/unseen.csv").read_text().splitlines()
    assert len(named) == len(unseen) > 0
    assert set(named) == SPECIES
    metrics = json.loads((out / "train/metrics.json").read_bytes())
    raw = (ROOT / "stages/data/iris.csv").read_text().splitlines()
    assert metrics["rows"] == len(raw)
    assert 0.9 <= metrics["held_out"]["accuracy"] <= 1
    assert 0.9 <= metrics["cross_validation"]["mean"] <= 1


def test_offline_and_from_nothing_it_is_identical(iris: Iris) -> None:
    assert {one["stage"]: one["verdict"] for one in iris.verified} == dict.fromkeys(PROGRAMS, "identical")
    assert {one["stage"]: one["built"] for one in iris.verified} == iris.world.digests()


def test_its_own_policies_find_nothing(iris: Iris) -> None:
    assert iris.checked["policies"] == [
        f"policies/{name}.yaml" for name in ("reproducible", "rootless", "supply-chain")
    ]
    assert iris.checked["stages"] == list(PROGRAMS)
    assert iris.checked["findings"] == iris.checked["unchecked"] == []


def test_every_rule_that_there_is_finds_nothing(iris: Iris) -> None:
    """Images that were verified among them, and what hadolint says."""
    assert iris.everything["policies"] == []
    assert iris.everything["rules"] > iris.checked["rules"]
    assert iris.everything["findings"] == iris.everything["unchecked"] == []


def test_rules_that_are_silent_on_it_are_not_silent_under_other_settings(iris: Iris) -> None:
    named = set(re.findall(r"RB\d+", STRICT))
    found = {(one["stage"], one["rule"]) for one in iris.strictly["findings"]}
    assert found == {(stage, rule) for stage in PROGRAMS for rule in named}


@pytest.mark.parametrize("stage", PROGRAMS)
def test_an_image_has_what_it_needs_and_no_more(iris: Iris, stage: str) -> None:
    config = iris.config(stage)
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", config["User"])
    image = iris.world.lock["stages"][stage]["image"]
    found = paths([iris.blob(layer["blob"]) for layer in image["layers"]])
    assert PurePosixPath("/app", PROGRAMS[stage]) in found
    assert PurePosixPath("/usr/bin/python3") in found
    assert PurePosixPath("/opt/venv/lib/python3.11/site-packages/sklearn/__init__.py") in found
    programs = {path.name for path in found if path.parent.name in ("bin", "sbin", "libexec")}
    assert {name for name in programs if COMPILER.fullmatch(name)} == set()
    assert {path for path in found if PIP.fullmatch(path.name) or ".cache" in path.parts} == set()
