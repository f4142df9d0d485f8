"""The `podman` command: what rbuild asks of it, and nothing else.

Building goes through the command, since podman-py's `images.build` drops options that it does not know.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from rbuild.errors import RbuildError, Where
from rbuild.files import says_no_space
from rbuild.process import Process, failure, run

if TYPE_CHECKING:
    from rbuild.trustfiles import Handed

_BROKEN = re.compile(r'locating item named "manifest" for image with ID "([0-9a-f]{64})"')
_NOTHING = 4 << 20  # bytes: what is left when no block is
_MOST_BROKEN = 8  # images of one storage
_VOLUMES_ARE_WRITABLE = (5, 2, 0)  # its Buildah is 1.37, "make traditional volume handling not the default"
_REMOVE = """\
folder=$2 awk 'index($5, ENVIRON["folder"]) == 1 { print $5 }' /proc/self/mountinfo | sort -r |
while read -r place; do umount -l "$(printf %b "$place")"; done
find "$1" -mindepth 2 -maxdepth 2 -print0 2>/dev/null | xargs -0 -r -n 1 -P "$(nproc)" rm -rf --
rm -rf -- "$1"
"""


@dataclass(frozen=True, slots=True)
class Podman:
    """Podman with one storage: the user's own, or one that podman_storage.py has made."""

    env: Mapping[str, str]
    command: tuple[str, ...] = ("podman",)
    root: str = ""  # where its images are, if that was asked
    place: str = ""  # how skopeo calls a storage that is not the user's own
    through: tuple[str, ...] = ()  # words before a sealed build's command, within Podman's user namespace
    handed: Handed | None = None  # the policy that it judges by, where that is not the user's own

    def argv(self, *arguments: str) -> list[str]:
        return [*self.command, *arguments]

    def judging(self, command: str, *arguments: str) -> list[str]:
        """argv of a command that may meet an image of strangers, under the project's policy."""
        return self.argv(command, *(self.handed.podman() if self.handed else ()), *arguments)

    def working_in(self, folder: Path) -> Podman:
        """The same, with its temporary files, which may be large, in `folder`."""
        folder.mkdir(exist_ok=True)
        return replace(self, env={**self.env, "TMPDIR": str(folder)})

    def version(self) -> tuple[int, int, int]:
        """Podman's version; (4, 3, 1) on Debian 12."""
        said = run(self.argv("--version"), env=self.env).stdout
        found = re.search(r"(\d+)\.(\d+)\.(\d+)", said)
        if not found:
            raise RbuildError(f"podman does not tell its version: {said[:200]!r}")
        major, minor, patch = (int(part) for part in found.groups())
        return major, minor, patch

    def graph(self) -> tuple[str, str, str]:
        """The storage driver, the program that mounts for it ("" for the kernel), and where images are."""
        program = '{{index .Store.GraphOptions "overlay.mount_program"}}'
        form = "\n".join(("{{.Store.GraphDriverName}}", program, "{{.Store.GraphRoot}}"))
        driver, program, root = run(self.argv("info", "--format", form), env=self.env).stdout.split("\n")[:3]
        found = re.search(r"Executable:(\S+)", program)
        return driver, found.group(1) if found else "", root

    def is_full(self) -> bool:
        """Whether the file system of its images has no space, or no room for more files; False if unknown."""
        try:
            left = os.statvfs(self.root)
        except OSError:
            return False
        return left.f_bavail * left.f_frsize < _NOTHING or (left.f_files > 0 and left.f_favail == 0)

    def image_exists(self, name: str) -> bool:
        return run(self.argv("image", "exists", name), env=self.env, check=False).returncode == 0

    def digests(self) -> dict[str, set[str]]:
        """The images with a name, each with the digests of the manifests that it is known by.

        A copy into the storage that was killed leaves an image without its manifest, at which Podman ends
        every list. As it advises, such an image is removed.
        """
        argv = self.argv("images", "--format", "{{.Repository}}:{{.Tag}} {{.Digest}}")
        done = run(argv, env=self.env, check=False)
        for _ in range(_MOST_BROKEN):
            broken = _BROKEN.search(done.stderr)
            if done.returncode == 0 or broken is None:
                break
            run(self.argv("rmi", "--force", broken[1]), env=self.env, check=False)
            done = run(argv, env=self.env, check=False)
        if done.returncode != 0:
            raise failure(done)
        named: dict[str, set[str]] = {}
        for line in done.stdout.splitlines():
            name, _, digest = line.partition(" ")
            named.setdefault(name, set()).add(digest)
        return named

    @contextlib.contextmanager
    def saved(self, image: str) -> Iterator[BinaryIO]:
        """An image as a stream, layers uncompressed, in Docker's form, which is the one that loses nothing.

        An OCI configuration as Podman writes it has no HEALTHCHECK, ONBUILD and SHELL. Raises RbuildError
        at the end of the block if Podman failed.
        """
        argv = self.judging("save", "--quiet", "--format", "docker-archive", image)
        process = Process(argv, env=self.env)
        try:
            yield process.stdout
            process.finish()
        except Exception:
            if not process.stdout.read(1):  # it broke off, and Podman says why
                process.finish()
            raise
        finally:
            process.end()

    def remove_tree(self, folder: Path) -> None:
        """Remove a folder whose files belong to the user's subordinate ids, and what is mounted in it."""
        # A mount of Podman's lives on with its pause process. The kernel's list has a space as \040.
        listed = f"{folder.resolve()}/".replace(" ", "\\040")
        argv = self.argv("unshare", "sh", "-c", _REMOVE, "sh", str(folder), listed)
        run(argv, env=self.env, check=False, left_alone=True)

    def clear(self, scratch: Path) -> None:
        """Remove the scratch folder of a build that was killed, and what else that build left."""
        for folder in (scratch, *scratch.glob("*/store/tmp/build-*")):  # a draft's builds are in its store
            with contextlib.suppress(RbuildError):
                self.remove_working_containers(folder)
        self.remove_tree(scratch)

    def remove_working_containers(self, scratch: Path) -> None:
        """Remove what Buildah and the OCI runtime keep of a build in `scratch` that was not let finish.

        The build's own containers are those made since it began, whose history has the token of its base.
        """
        if runtime := self.env.get("XDG_RUNTIME_DIR"):
            for bundle in scratch.glob("tmp/buildah*"):
                for notes in Path(runtime).glob(f"*/buildah-{bundle.name}"):
                    shutil.rmtree(notes, ignore_errors=True)
        try:
            rendered = scratch / "Containerfile"
            found = re.search(r"localhost/rbuild/base:([0-9a-f]+)-", rendered.read_text())
            began = int(rendered.stat().st_mtime)
        except FileNotFoundError:
            return  # it did not come to that
        if found is None:
            return
        listed = self.argv("ps", "--all", "--external", "--format", "json")
        for container in json.loads(run(listed, env=self.env, left_alone=True).stdout or "[]"):
            if container["State"] != "storage" or container["Created"] < began:
                continue
            history = self.argv("image", "inspect", "--format", "{{json .History}}", container["ImageID"])
            said = run(history, env=self.env, check=False, left_alone=True).stdout
            if f"rbuild cache {found[1]}" in said:
                removal = self.argv("rm", "--force", container["Id"])
                run(removal, env=self.env, check=False, left_alone=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """One `podman build`."""

    containerfile: Path
    context: Path
    authority: Path  # the folder that is mounted for the length of the build
    mount: str  # where
    target: str | None
    args: Mapping[str, str]
    platform: str
    cached: bool
    image_id: Path  # the file that gets the image's ID
    version: tuple[int, int, int]  # Podman's
    secrets: Sequence[str] = ()  # where to find each, never its value

    def argv(self, podman: Podman) -> list[str]:
        argv = podman.judging("build", "--file", str(self.containerfile), "--iidfile", str(self.image_id))
        # All images are there already, under names that no registry has.
        argv += ["--pull=never"]
        argv += ["--format", "docker"]
        # The network namespace is made around Podman; within it, the "host" is that namespace.
        argv += ["--network", "host", "--uts", "host"]
        argv += ["--volume", f"{self.authority}:{self.mount}:ro"]
        if self.platform != native_platform():
            argv += ["--platform", self.platform]
        if self.version >= _VOLUMES_ARE_WRITABLE:
            # What a RUN writes into a VOLUME is lost, as it was before.
            argv += ["--compat-volumes"]
        if not self.cached:
            argv += ["--no-cache"]
        if self.target:
            argv += ["--target", self.target]
        for name, value in sorted(self.args.items()):
            argv += ["--build-arg", f"{name}={value}"]
        for secret in self.secrets:
            argv += ["--secret", secret]
        return [*argv, str(self.context)]


@contextlib.contextmanager
def podman_space(podman: Podman) -> Iterator[None]:
    """Turn Podman's "no space left" into an error that names Podman's storage."""
    try:
        yield
    except RbuildError as error:
        if not says_no_space(str(error)):
            raise
        raise no_space(podman) from error


def no_space(podman: Podman) -> RbuildError:
    """The error for a full disk under Podman's images."""
    root = podman.root
    with contextlib.suppress(RbuildError):
        root = root or podman.graph()[2]
    return RbuildError(
        "no space left in Podman's storage",
        where=Where(file=root or "Podman's storage"),
        hint="podman system df shows what fills it; podman image prune frees the layer caches of old builds",
    )


def native_platform() -> str:
    """What this host's own programs run on, in Go's words."""
    machine = os.uname().machine
    return f"linux/{_ARCHITECTURES.get(machine, machine)}"


def run_failure(lines: Sequence[str]) -> int | None:
    """The exit code of the RUN that failed a build, if its last lines tell it."""
    for line in reversed(lines[-5:]):
        if found := re.search(r"exit status (\d+)", line):
            return int(found[1])
    return None


_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "i686": "386", "armv7l": "arm/v7"}
