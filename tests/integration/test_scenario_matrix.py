"""The scenarios of the matrix on this host's Podman: recorded, replayed offline from nothing, verified.

That a digest stays the same says nothing of whether it is the right one. So each image is also held against
what plain `podman build` makes of the same Containerfile, path by path, and where a scenario is about
something special, that is looked for.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import generated
import pages
import pytest
import yaml
from trees import Node, Tree, archived_config, archived_layers, flattened, stored_layers
from worlds import Layouts, World, make_world, remove_world

from rbuild.image.form import NEWEST
from scenarios import ENVIRONMENT, SCENARIOS, Scenario, lay_out

MATRIX = Path(__file__).parents[1] / "scenarios" / "matrix"
PODMAN = tuple(map(int, re.findall(r"\d+", subprocess.check_output(["podman", "--version"], text=True))[:3]))
SMALL = [name for name, each in SCENARIOS.items() if each.small and each.podman <= PODMAN]
MOUNTED = {"dev", "proc", "sys", "run", "etc/hosts", "etc/hostname", "etc/resolv.conf"}
MOUNTED |= {"run/.containerenv", "run/secrets"}
INHERITED = {"made": "once"}  # the labels of the base
CAPABILITY = bytes.fromhex("0100000200040000" + "00" * 12)


@dataclass
class Results:
    """One project with all scenarios, what three commands made of it, and what plain Podman makes of it."""

    world: World
    url: str
    recorded: dict[str, Any] = field(default_factory=dict)
    replayed: dict[str, Any] = field(default_factory=dict)
    verified: dict[str, Any] = field(default_factory=dict)
    said: dict[str, str] = field(default_factory=dict)
    locks: list[dict[str, Any]] = field(default_factory=list)
    base: Tree = field(default_factory=dict)
    trees: dict[str, Tree] = field(default_factory=dict)

    def ask(self, *arguments: str) -> dict[str, Any]:
        done = self.world.rbuild(*arguments, "--json", timeout=1200)
        self.said[" ".join(arguments)] = done.stderr[-20_000:]
        return {one["stage"]: one for one in json.loads(done.stdout)} if done.stdout else {}

    def tree(self, name: str) -> Tree:
        """What the locked image of a scenario holds."""
        if name not in self.trees:
            locked = self.locks[0]["stages"][name]["image"]["layers"]
            skipped = is_on_base(name)
            pairs = [(layer["diff_id"], layer["blob"]) for layer in locked]
            layers = stored_layers(self.world.store, pairs[skipped:])
            self.trees[name] = flattened(layers, self.base if skipped else None)
        return self.trees[name]

    def text(self, name: str, path: str) -> str:
        """A file of the locked image, as a container sees it."""
        return self.world.podman(
            *("run", "--rm", "--network", "none", "--user", "0", "--entrypoint", "cat"),
            *(f"localhost/matrix/{name}", f"/{path}"),
        )

    def config(self, name: str) -> dict[str, Any]:
        digest = self.locks[0]["stages"][name]["image"]["config"].removeprefix("sha256:")
        loaded: dict[str, Any] = json.loads((self.world.store / "blobs" / "sha256" / digest).read_bytes())
        return loaded


@pytest.fixture(scope="module")
def results(layouts: Layouts) -> Iterator[Results]:
    folder = Path(tempfile.mkdtemp(prefix="rb-"))
    world = make_world(folder)
    world.env.update(ENVIRONMENT)
    with pages.served() as url:
        found = Results(world, url)
        lay_out(world.project, layouts["tiny"], SMALL, url=url)
        found.recorded = found.ask("all")
        assert (world.project / "rbuild.lock").exists(), found.said["all"]
        found.locks.append(world.lock)
        world.forget_images()
        for stage in world.lock["stages"].values():
            own = stage["image"]["layers"][1 if stage.get("bases") else 0 :]
            for part in (stage["image"]["manifest"], stage["image"]["config"], *(one["blob"] for one in own)):
                (world.store / "blobs" / "sha256" / part.removeprefix("sha256:")).unlink(missing_ok=True)
        shutil.rmtree(world.store / "cache")
        found.replayed = found.ask("all", "--offline")
        found.locks.append(world.lock)
        found.verified = found.ask("verify")
        base = world.lock["stages"]["nothing"]["image"]["layers"][0]
        found.base = flattened(stored_layers(world.store, [(base["diff_id"], base["blob"])]))
        yield found
    remove_world(world)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize("name", SMALL)
def test_record_replay_verify(results: Results, name: str) -> None:
    assert results.recorded[name]["outcome"] == "built", results.said["all"]
    assert results.locks[0]["stages"][name] == results.locks[1]["stages"][name]
    assert results.replayed[name]["outcome"] == "built"
    assert results.replayed[name]["digest"] == results.recorded[name]["digest"]
    assert results.verified[name]["verdict"] == "identical", results.said["verify"]


# Against plain Podman


@pytest.fixture(scope="module")
def base_in_podman(results: Results) -> None:
    layout = results.world.project / "bases" / "tiny"
    subprocess.run(
        ["skopeo", "copy", "--quiet", f"oci:{layout}", "containers-storage:localhost/base/tiny:latest"],
        env=results.world.env,
        check=True,
    )


@pytest.mark.usefixtures("base_in_podman")
@pytest.mark.parametrize("name", SMALL)
def test_the_image_holds_what_podman_put_there(results: Results, name: str, tmp_path: Path) -> None:
    plain, config = plain_build(results, SCENARIOS[name], tmp_path)
    ours = results.tree(name)
    theirs = {path: node for path, node in plain.items() if not is_mount_point(path, node, results.base)}
    assert ours.keys() - theirs.keys() == set()
    assert theirs.keys() - ours.keys() == set()
    different = {path for path, node in ours.items() if node.bare() != theirs[path].bare()}
    assert {path: (ours[path], theirs[path]) for path in different} == {}
    expected = execution(config)
    if not is_on_base(name):
        expected["Env"].pop("PATH")  # Podman gives one to whatever is FROM an image without
    assert execution(results.config(name)) == expected


def execution(config: dict[str, Any]) -> dict[str, Any]:
    """How a container of an image is run; what is empty, and the builder's own label, left out."""
    found = {key: value for key, value in config["config"].items() if value and key in EXECUTION}
    labels = {name: text for name, text in found.pop("Labels", {}).items() if name != "io.buildah.version"}
    environment = dict(each.split("=", 1) for each in found.pop("Env", []))
    return {"WorkingDir": "/", **found, "Labels": labels, "Env": environment}


EXECUTION = {
    *("Cmd", "Entrypoint", "Env", "ExposedPorts", "Healthcheck", "Labels", "OnBuild", "Shell", "StopSignal"),
    *("User", "Volumes", "WorkingDir"),
}


def plain_build(results: Results, scenario: Scenario, folder: Path) -> tuple[Tree, dict[str, Any]]:
    """What `podman build` makes of a scenario without rbuild: the tree, the configuration."""
    project = results.world.project
    containerfile = project / scenario.name / "Containerfile"
    if PODMAN < (5, 0, 0):
        # This Podman knows no checksums, and no target by a variable or in other letters.
        text = re.sub(r"--checksum=\S+", "", containerfile.read_text(errors="surrogateescape"))
        text = text.replace("FROM ${STAGE} AS", "FROM plain-made AS").replace("=Continued", "=continued")
        containerfile = folder / "Containerfile"
        containerfile.write_text(text, errors="surrogateescape", newline="")
    (folder / "tmp").mkdir()  # caches of RUN --mount are kept there
    argv = ["podman", "build", "--quiet", "--no-cache", "--format", "docker", "--network", "host"]
    argv += ["--file", str(containerfile), "--tag", "plain"]
    if PODMAN >= (5, 2, 0):
        argv += ["--compat-volumes"]
    # Without a proxy, the server has to be called by its address.
    args = {
        **scenario.options.get("args", {}),
        **({"SITE": local(results.url)} if scenario.reads_url else {}),
    }
    for name, value in args.items():
        argv += ["--build-arg", f"{name}={value}"]
    for name, secret in scenario.options.get("secrets", {}).items():
        argv += [
            "--secret",
            f"id={name}," + (f"env={secret['env']}" if "env" in secret else f"src={secret['file']}"),
        ]
    if "target" in scenario.options:
        argv += ["--target", scenario.options["target"]]
    argv.append(str(project / scenario.name / "context"))
    env = {**results.world.env, "TMPDIR": str(folder / "tmp")}
    done = subprocess.run(argv, cwd=project, env=env, capture_output=True, text=True, umask=0o022)
    assert done.returncode == 0, done.stderr
    archive = folder / "plain.tar"
    results.world.podman("save", "--quiet", "--format", "docker-archive", "--output", str(archive), "plain")
    skipped = is_on_base(scenario.name)
    tree = flattened(archived_layers(archive, skipped=skipped), results.base if skipped else None)
    config = archived_config(archive)
    archive.unlink()
    return tree, config


def is_on_base(name: str) -> bool:
    """Whether the image has the base's layer; that of one scenario comes from scratch in the end."""
    return not SCENARIOS[name].upon_scratch and name != "targets"


def local(url: str) -> str:
    return url.replace("127.2", "127.0.0.2")


def is_mount_point(path: str, node: Node, base: Tree) -> bool:
    """What the builder mounts into a RUN leaves an empty file or folder, where the base has none."""
    return path in MOUNTED and path not in base and not node.size


# What each scenario is about


def test_targets(results: Results) -> None:
    tree = results.tree("targets")
    assert set(tree) == {
        *("bin", "bin/tool", "by-number.txt", "from-context", "from-context/given.txt", "from-image"),
        *("from-image/debian_version", "out", "out/sub", "out/sub/link", "out/tool", "out/word"),
        *("owned", "owned/word"),
    }
    assert (tree["owned/word"].uid, tree["owned/word"].gid) == (1000, 65534)
    assert (tree["bin/tool"].mode, tree["out/tool"].mode, tree["out/word"].mode) == (0o755, 0o644, 0o600)
    assert tree["from-context/given.txt"].mode == 0o440
    assert tree["out/word"].size == len("given: a=b c\ncontinued\n")
    assert (tree["out/sub/link"].kind, tree["out/sub/link"].link) == ("symlink", "word")


def test_archives(results: Results) -> None:
    tree = results.tree("archives")
    plain = {path.removeprefix("plain/"): node for path, node in tree.items() if path.startswith("plain/")}
    assert {"folder/file.txt", "program", "dotted/implied/file", "link"} <= plain.keys()
    assert (plain["folder"].mode, plain["folder"].uid, plain["folder/file.txt"].mode) == (0o750, 10, 0o640)
    for folder in ("gzip", "both"):
        below = {
            path.removeprefix(f"{folder}/"): node
            for path, node in tree.items()
            if path.startswith(f"{folder}/")
        }
        assert {path: node.bare() for path, node in below.items()} == {
            path: node.bare() for path, node in plain.items()
        }
    assert (tree["owned"].uid, tree["owned"].gid) == (12, 34)
    assert tree["kept/plain.tar"].size == len(generated.plain_tar())


def test_addresses(results: Results) -> None:
    tree = results.tree("address")
    for path in ("named.txt", "folder/text.txt", "redirected"):
        assert tree[path].size == len(generated.PAGE_TEXT)
    assert (tree["folder/text.txt"].mode, tree["folder/text.txt"].uid) == (0o640, 1000)
    assert tree["folder/data.tar"].size == len(pages.PAGES["/data.tar"])
    checked = results.tree("checksum")
    assert (checked["text.txt"].mode, checked["redirected.txt"].mode) == (0o600, 0o400)
    history = [one["created_by"] for one in results.config("checksum")["history"]]
    assert "--checksum=sha256:" in history[2] and "--checksum=${SUM}" in history[3]


def test_links(results: Results) -> None:
    tree = results.tree("links")
    first = tree["links/one"]
    names = {path for path, node in tree.items() if node is first}
    assert names == {"links/one", "links/sub/two", "links/another/deep/three"}
    assert tree["links/again"].sha256 == tree["links/one"].sha256
    assert "made/first" not in tree
    assert tree["made/a/b/one"].sha256 != tree["made/z/one"].sha256
    links = {
        path: node.link for path, node in tree.items() if path.startswith("made/") and node.kind == "symlink"
    }
    assert links == {
        "made/a/absolute": "/made/z",
        "made/a/relative": "../z/one",
        "made/also-dangling": "nowhere",
        "made/dangling": "nowhere",
        "made/dangling-absolute": "/nowhere/at/all",
        "made/self": "self",
    }
    assert tree["made/z/through-a-link.txt"].kind == "file"
    assert tree["links/outside"].link == "/nowhere"
    assert tree["copied/to-target"].link == "target"


def test_deletions(results: Results) -> None:
    tree = results.tree("deletions")
    own = {path for path in tree if path.split("/")[0] not in {base.split("/")[0] for base in results.base}}
    assert own == {
        *("emptied", "emptied/new", "kept", "kept/linked", "kept/one", "opaque", "opaque/new", "opaque/same"),
        *("was-file", "was-file/is", "was-file/is/folder", "was-file/is/folder/file", "was-folder"),
        *("was-folder-too", "was-link", "was-link/file"),
    }
    kinds = {path: tree[path].kind for path in ("was-file", "was-folder", "was-folder-too", "was-link")}
    assert kinds == {
        "was-file": "directory",
        "was-folder": "file",
        "was-folder-too": "symlink",
        "was-link": "directory",
    }


def test_modes(results: Results) -> None:
    tree = results.tree("modes")
    modes = {path: node.mode for path, node in tree.items() if not path.startswith("owned")}
    assert modes == {
        "sticky": 0o1777,
        "group": 0o2775,
        "setuid": 0o4755,
        "setgid": 0o2755,
        "all": 0o7777,
        "none": 0,
        "owner": 0o644,
        "octal": 0o644,
        "capable": 0o755,
        "noted": 0o644,
        "noted-folder": 0o755,
        "bin": 0o755,
        "bin/program": 0o755,
        "bin/setuid": 0o4755,
        "bin/setgid": 0o2711,
    }
    assert (tree["owner"].uid, tree["owner"].gid, tree["bin/setgid"].gid) == (65535, 65535, 65535)
    assert dict(tree["capable"].xattrs) == {"security.capability": CAPABILITY}
    assert dict(tree["noted"].xattrs) == {"user.bytes": b"\xff\x01=\n", "user.note": b"of an archive"}
    assert dict(tree["noted-folder"].xattrs) == {"user.note": "schön".encode()}


def test_modes_that_change(results: Results) -> None:
    tree = results.tree("changed-modes")
    assert {path: node.mode for path, node in tree.items() if path.startswith("m/")} == {
        "m/sticky": 0o1777,
        "m/group": 0o2700,
        "m/setuid": 0o755,
        "m/owned": 0o600,
        "m/capable": 0,
    }
    assert (tree["m/owned"].uid, dict(tree["m/owned"].xattrs)) == (1000, {"user.more": b"x"})
    assert dict(tree["m/group"].xattrs) == {"user.note": b"from a RUN"}
    assert dict(tree["m/capable"].xattrs) == {"security.capability": CAPABILITY}


def test_names(results: Results) -> None:
    tree = results.tree("names")
    for folder in ("added", "copied"):
        found = {path for path, node in tree.items() if path.startswith(f"{folder}/") and node.kind == "file"}
        assert {os.fsencode(path.removeprefix(f"{folder}/")) for path in found} == set(generated.NAMES)


def test_sizes(results: Results) -> None:
    tree = results.tree("sizes")
    sizes = {path: node.size for path, node in tree.items() if path.startswith(("made/", "copied/"))}
    assert (sizes["copied/sparse"], sizes["copied/zero"], sizes["copied/one"], sizes["made/nothing"]) == (
        4 << 20,
        0,
        0,
        0,
    )
    assert (sizes["made/hole"], sizes["made/end"]) == (5242881, 1 << 20)
    assert {"copied/empty/nested", "made/empty/er"} <= tree.keys()


def test_special_files(results: Results) -> None:
    tree = results.tree("special")
    kinds = {path: node.kind for path, node in tree.items() if path.startswith(("added/", "made/", "kept/"))}
    assert kinds == {
        "added/before": "file",
        "added/fifo": "file",
        "added/folder": "directory",
        "added/folder/fifo": "fifo",
        "added/folder/after": "file",
        "kept/special.tar": "file",
        "made/fifo": "fifo",
        "made/also": "fifo",
    }
    assert (tree["made/also"].mode, tree["made/also"].uid, tree["made/also"].gid) == (0o640, 1, 2)
    assert tree["made/also"].inode == tree["made/fifo"].inode


def test_what_is_ignored(results: Results) -> None:
    tree = results.tree("ignored")
    assert {path for path, node in tree.items() if node.kind == "file"} == {
        *("all/.hidden", "all/docs/README.md", "all/docs/a.txt", "all/docs/api/deep/README.md"),
        *("all/logs/two.txt", "all/src/cache/x", "all/src/lib/keep.o", "all/src/lib/lib.c", "all/src/main.c"),
        *("docs/README.md", "docs/a.txt", "docs/api/deep/README.md"),
    }


def test_syntax(results: Results) -> None:
    config = results.config("syntax")["config"]
    environment = dict(each.split("=", 1) for each in config["Env"])
    assert environment["WHERE"] == "/home/none/there"
    assert environment["ESCAPED"] == environment["QUOTED"] == "$HOME"
    assert environment["UNSET"] == "defaultset"
    assert environment["OLD"] == "the whole /home/none/there   rest"
    assert environment["PATH"].startswith("/opt/bin:/usr/local/sbin")
    assert config["Labels"] == {
        **INHERITED,
        "org.example.one": "first second",
        "org.example.two": "two words",
        "org.example.three": "three=3",
        "org.example.version": "1.2",
    }
    assert config["WorkingDir"] == "/made/on/the/way/relative/1.2"
    assert (config["User"], config["StopSignal"]) == ("root", "SIGUSR1")
    assert config["ExposedPorts"].keys() == {"80/tcp", "5353/udp"}
    assert config["Healthcheck"]["Retries"] == 4
    assert results.text("syntax", "made/on/the/way/relative/1.2/said").startswith(
        "/home/none/there|$HOME|$HOME|"
    )


def test_other_escape_and_line_ends(results: Results) -> None:
    assert results.text("escape", "escaped").endswith("\nback\\slash\n")
    environment = results.config("crlf")["config"]["Env"]
    assert "ENDING=crlf" in environment
    assert results.text("crlf", "two") == "two\n"
    assert results.tree("crlf")["dos.txt"].size == 12


def test_configuration(results: Results) -> None:
    shells, onbuild = results.config("shells")["config"], results.config("onbuild")
    assert (shells["Shell"], shells["StopSignal"]) == (["/bin/sh", "-c"], "9")
    assert shells["Healthcheck"] == {"Interval": 90_000_000_000, "Test": ["CMD", "busybox", "true"]}
    assert results.text("shells", "inherited") == "/bin/bash is bash\n"
    left = ["RUN echo grandchild > /grandchild", 'COPY ["a b", "/c"]', "ADD http://127.0.0.2/added /d"]
    assert onbuild["config"]["OnBuild"] == left
    assert onbuild["config"]["Labels"] == {**INHERITED, "triggered": "yes"}
    history = [one["created_by"] for one in onbuild["history"]][-20:]
    assert history[8:15] == [
        "RUN echo parent > /parent",
        "ONBUILD ARG WHO=nobody",
        "ONBUILD ENV WHO=$WHO",
        "ONBUILD COPY --chown=1:2 trigger.txt /triggered/",
        'ONBUILD RUN echo "$WHO" > /triggered/who',
        "ONBUILD ARG SITE",
        "ONBUILD ADD $SITE/text.txt /triggered/",
    ]
    assert results.tree("onbuild")["triggered/text.txt"].size == len(pages.PAGES["/text.txt"])
    assert results.tree("onbuild")["triggered/trigger.txt"].uid == 1


def test_volumes(results: Results) -> None:
    config, tree = results.config("volumes")["config"], results.tree("volumes")
    assert config["Volumes"].keys() == {"/data", "/also", "/json", "/other"}
    assert {"data/copied.txt", "other/copied.txt"} <= tree.keys()
    assert (tree["data/old"].uid, tree["data"].mode) == (33, 0o750)


def test_users(results: Results) -> None:
    tree = results.tree("users")
    owners = {path: (tree[f"home/app/{path}"].uid, tree[f"home/app/{path}"].gid) for path in USERS}
    assert owners == USERS
    assert (tree["tmp/id"].uid, tree["tmp/id"].gid) == (65535, 65535)
    assert results.config("users")["config"]["User"] == "app:users"


USERS = {
    "owned.txt": (1234, 500),
    "by-user.txt": (1234, 4321),
    "by-group.txt": (0, 500),
    "still-root.txt": (0, 0),
    "home": (1234, 500),
}


def test_a_stage_without_a_layer_of_its_own(results: Results) -> None:
    locked = results.locks[0]["stages"]["nothing"]["image"]
    assert len(locked["layers"]) == 1
    history = results.config("nothing")["history"]
    assert len([one for one in history if not one.get("empty_layer")]) == 1


def test_mounts(results: Results) -> None:
    assert results.text("mounts", "bound").startswith("one\nfrom a target\n")
    assert results.text("mounts", "first") == "1\n"
    assert results.text("mounts", "second") == "first\n1\n"
    tree = results.tree("mounts")
    for mounted in ("input", "tool", "other", "all", "scratch", "cache"):
        assert not [path for path in tree if path.startswith(f"{mounted}/")], mounted


@pytest.mark.skipif(PODMAN >= (5, 0, 0), reason="this Podman knows here-documents")
def test_a_podman_without_heredocs_says_so(world: World, layouts: Layouts) -> None:
    lay_out(world.project, layouts["tiny"], ["heredocs"], url="http://127.0.0.1:1")
    done = world.rbuild("all")
    assert done.returncode == 2
    assert "heredocs/Containerfile:4" in done.stderr
    assert "hint: use Podman 5 or newer" in done.stderr


# Digests that depend on nothing but the repository


@pytest.mark.parametrize("name", [name for name, each in SCENARIOS.items() if each.upon_scratch])
def test_golden_digests(results: Results, name: str) -> None:
    golden = yaml.safe_load((MATRIX / "golden.yaml").read_text())
    assert NEWEST in golden, (
        f"version {NEWEST} of the canonical form has no golden digests: add those of this run to golden.yaml"
    )
    assert results.recorded[name]["digest"] == golden[NEWEST][name], (
        f"{name}: the canonical form changed. Locks of the older form must still verify: raise NEWEST in "
        "rbuild.image.form, keep the older rules for older locks, and add the new digests to golden.yaml. If "
        "the scenario itself was changed, take its new digest"
    )
