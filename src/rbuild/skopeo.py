"""The `skopeo` command, which copies images byte for byte."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rbuild.digest import Digest
from rbuild.errors import Exit, RbuildError, Where
from rbuild.podman import Podman, podman_space
from rbuild.process import Completed, Process, failure, run
from rbuild.reference import Reference
from rbuild.store import Store

if TYPE_CHECKING:
    from rbuild.trustfiles import Handed

_LOOPBACK = re.compile(r"(localhost|127\.[0-9.]+|\[::1\])(:[0-9]+)?\Z")
_INSPECT_SECONDS = 120.0
_SILENT = 300.0  # seconds in which something has to come
_MORE = 8 << 20  # bytes beside the blobs: the manifest, signatures
_REJECTED = "Source image rejected"
_SWITCHED_OFF = "sigstore disabled"  # Debian 12's own words
_LONGEST_REASON = 500  # characters of what may be a stranger's words


def registry_source(reference: Reference) -> str:
    """How skopeo calls an image in a registry; it takes no tag beside a digest."""
    return f"docker://{reference.name}@{reference.digest}" if reference.digest else f"docker://{reference}"


def on_loopback(reference: Reference) -> bool:
    """Whether the registry is on this host: it speaks plain HTTP; all others have to show a certificate."""
    return _LOOPBACK.match(reference.registry) is not None


def _reason(line: str) -> str:
    found = re.search(r'level=(?:fatal|error) msg="(.*)"\s*$', line)
    return (found[1].replace('\\"', '"') if found else line)[:_LONGEST_REASON]


def inspect(source: str, *options: str, env: Mapping[str, str], hint: str) -> bytes:
    """What `skopeo inspect --raw` prints, byte for byte: a manifest, with `--config` a configuration.

    Raises RbuildError, with that hint, when there is none.
    """
    process = Process(["skopeo", "inspect", "--raw", *options, source], env=env)
    try:
        out, err = process.communicate(None, _INSPECT_SECONDS)
        code = process.wait()
    except BaseException:
        process.end()
        raise
    if code != 0:
        said = err.decode(errors="replace").strip().splitlines()[-1:] or ["no reason given"]
        raise RbuildError(f"cannot read {source}: {_reason(said[0])}", hint=hint)
    return out


def copy_to_folder(
    source: str,
    *options: str,
    target: Path,
    scratch: Path,
    env: Mapping[str, str],
    hint: str,
    most: int | None = None,
    handed: Handed | None = None,
) -> None:
    """Copy an image as it is into the new folder `target`: manifest.json, blobs by the hex of their digest.

    skopeo judges by the policy that is handed to it, else by the user's own. Raises RbuildError, with that
    hint, when it cannot be had, and when nothing comes for five minutes, or more than `most` bytes of blobs.
    """
    # `dir:` keeps a manifest of any kind as it is; `oci:` would write Docker's anew, under another digest.
    policy = handed.skopeo() if handed else []
    argv = ["skopeo", *policy, "--tmpdir", str(scratch), "copy", "--quiet", "--retry-times", "3", *options]
    growth = _Growth(target, most)
    done = run([*argv, source, f"dir:{target}"], env=env, check=False, watch=growth.look)
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()[-1:] or ["no reason given"]
        raise _refusal(done, source, handed) or RbuildError(
            f"cannot fetch {source}: {_reason(said[0])}", hint=hint
        )


def _refusal(done: Completed, source: str, handed: Handed | None) -> RbuildError | None:
    """The error for an image that skopeo's policy does not take; None: something else was wrong."""
    said = _reason((done.stderr.strip().splitlines() or [""])[-1])
    if _REJECTED not in done.stderr and _SWITCHED_OFF not in done.stderr:
        return None
    where = Where(file=str(handed.policy) if handed else "policy.json", url=source)
    if _SWITCHED_OFF in done.stderr:
        return RbuildError(
            f"this host's skopeo does not verify signatures of sigstore, and the policy asks for one: {said}",
            where=where,
            hint="Debian 12 builds skopeo and Podman without them; those of Debian 13 verify. "
            "Or take the image from a layout in the project (oci: under bases)",
        )
    hint = "the policy has to allow the image"
    if not source.startswith("docker:"):
        transport = source.partition(":")[0]
        hint = (
            f"what rbuild has checked goes to Podman by a layout: let the policy have "
            f'"{transport}": {{"": [{{"type": "insecureAcceptAnything"}}]}} under transports'
        )
    return RbuildError(f"the policy refuses {source}: {said}", where=where, hint=hint, exit_code=Exit.FINDING)


class _Growth:
    """Looks at a folder while it fills: nobody may send without an end, or keep it waiting for ever."""

    def __init__(self, folder: Path, most: int | None) -> None:
        self._folder = folder
        self._most = most
        self._size = 0
        self._grew = time.monotonic()

    def look(self) -> None:
        """Raises RbuildError for a folder that is too large, or does not grow any more."""
        size = 0
        with contextlib.suppress(FileNotFoundError):  # not there yet, or just renamed
            for path in self._folder.iterdir():
                with contextlib.suppress(FileNotFoundError):
                    size += path.stat().st_size
        now = time.monotonic()
        if size != self._size:
            self._size, self._grew = size, now
        if self._most is not None and size > self._most + _MORE:
            raise RbuildError(
                f"more comes than the {self._most} bytes of blobs that the manifest names",
                hint="the registry is broken or hostile: take the image from another one",
            )
        if now - self._grew > _SILENT:
            raise RbuildError(f"nothing has come for {_SILENT:g} s", hint="try it again later")


def load_image(
    manifest: bytes, parts: Sequence[Digest], name: str, *, store: Store, scratch: Path, podman: Podman
) -> None:
    """Put an image into Podman's storage under `name`, with the very digest of `manifest`.

    `parts` are its configuration and layers, which are in the store. Raises CorruptBlob for one that is not
    what it was, MissingBlob.
    """
    for part in set(parts):
        store.open(part).close()
    layout = scratch / "layout"
    blobs = layout / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    try:
        digest = Digest.of(manifest)
        for part in set(parts):
            os.link(store.path(part), blobs / part.hex)
        (blobs / digest.hex).write_bytes(manifest)
        (layout / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
        descriptor = {
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": str(digest),
            "size": len(manifest),
        }
        (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [descriptor]}))
        policy = podman.handed.skopeo() if podman.handed else []
        argv = ["skopeo", *policy, "--tmpdir", str(scratch)]
        argv += ["copy", "--quiet", "--preserve-digests", f"oci:{layout}"]
        argv += [f"containers-storage:{podman.place}{name}"]
        with podman_space(podman), store.space():
            done = run(argv, env=podman.env, check=False)
            if done.returncode != 0:
                raise _refusal(done, f"oci:{layout}", podman.handed) or failure(done)
    finally:
        shutil.rmtree(layout)
