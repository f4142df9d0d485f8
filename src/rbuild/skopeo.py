"""The `skopeo` command, which copies images byte for byte."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from rbuild.digest import Digest
from rbuild.errors import RbuildError, Where
from rbuild.podman import Podman, podman_space
from rbuild.process import run
from rbuild.reference import Reference
from rbuild.store import Store

_LOOPBACK = re.compile(r"(localhost|127\.[0-9.]+|\[::1\])(:[0-9]+)?\Z")
_MANIFEST_LIMIT = 4 << 20


def fetch_image(
    reference: Reference, platform: str, store: Store, scratch: Path, env: Mapping[str, str]
) -> Digest:
    """Copy an image of `platform` from its registry into the store; gives the digest of its manifest.

    Of a list of images the one for the platform is taken. Every blob is checked against its digest.
    Raises RbuildError when the registry does not answer, or has no such image.
    """
    # A registry on loopback speaks plain HTTP; all others have to show a certificate.
    tls = ["--src-tls-verify=false"] if _LOOPBACK.match(reference.registry) else []
    name = str(reference.at(reference.digest) if reference.digest else reference)
    if reference.digest and reference.tag:
        name = f"{reference.name}@{reference.digest}"
    return _copy_in(f"docker://{name}", platform, store, scratch, env, tls, where=Where(url=str(reference)))


def fetch_layout(
    layout: Path, tag: str | None, platform: str, store: Store, scratch: Path, env: Mapping[str, str]
) -> Digest:
    """Copy an image from an OCI layout on disk into the store; gives the digest of its manifest."""
    source = f"oci:{layout}:{tag}" if tag else f"oci:{layout}"
    return _copy_in(source, platform, store, scratch, env, [], where=Where(file=str(layout)))


def _copy_in(
    source: str,
    platform: str,
    store: Store,
    scratch: Path,
    env: Mapping[str, str],
    options: Sequence[str],
    *,
    where: Where,
) -> Digest:
    system, architecture, *variant = platform.split("/")
    argv = ["skopeo", "--tmpdir", str(scratch), "--override-os", system, "--override-arch", architecture]
    if variant:
        argv += ["--override-variant", variant[0]]
    # `dir:` keeps a manifest of any kind as it is; `oci:` would write Docker's anew, under another digest.
    target = scratch / "image"
    argv += ["copy", "--quiet", "--retry-times", "3", *options, source, f"dir:{target}"]
    done = run(argv, env=env, check=False)
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()[-1:] or ["no reason given"]
        with store.space():
            raise RbuildError(
                f"cannot fetch the image: {_reason(last[0])}",
                where=where,
                hint="check its name under `bases` in rbuild.yaml, and that its registry can be reached; "
                "`podman login` where it asks for a password",
            )
    manifest = (target / "manifest.json").read_bytes()
    for blob in target.iterdir():
        if re.fullmatch(r"[0-9a-f]{64}", blob.name):
            store.adopt(blob, Digest(blob.name))
    shutil.rmtree(target)
    return store.put(manifest).digest


def _reason(line: str) -> str:
    found = re.search(r'level=(?:fatal|error) msg="(.*)"\s*$', line)
    return found[1].replace('\\"', '"') if found else line


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
        argv = ["skopeo", "--tmpdir", str(scratch), "copy", "--quiet", "--preserve-digests", f"oci:{layout}"]
        with podman_space(podman), store.space():
            run([*argv, f"containers-storage:{podman.place}{name}"], env=podman.env)
    finally:
        shutil.rmtree(layout)
