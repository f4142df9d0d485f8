"""Images out of a registry in memory: what is asked, what is believed, what comes into the store."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import pytest
from fakeregistry import FakeRegistry
from httpfaults import IMPATIENT, Fault, resets, says, serving, stalls

from rbuild.destination import Destination
from rbuild.digest import Digest
from rbuild.errors import RbuildError
from rbuild.events import Event, Progress
from rbuild.image.manifest import OCI_CONFIG, OCI_INDEX, Descriptor, canonical_manifest
from rbuild.lock import ImageLock, LayerLock
from rbuild.podman import Podman
from rbuild.project import load_project
from rbuild.store import Store
from rbuild.verbs.substitute import Substitutes, damaged
from rbuild.verbs.workspace import Workspace

LAYER = "application/vnd.oci.image.layer.v1.tar+zstd"
DOCKER = "application/vnd.docker.distribution.manifest.v2+json"
PROJECT = b"project: demo\nstages: {one: {containerfile: c}, two: {containerfile: c}}\n"


@dataclass(frozen=True)
class Made:
    """An image: as the lock has it, and the bytes of its parts."""

    lock: ImageLock
    manifest: bytes
    blobs: dict[str, bytes]

    def put(self, server: FakeRegistry, repository: str) -> None:
        server.manifests[repository, str(self.lock.manifest)] = self.manifest
        server.blobs |= {(repository, digest): data for digest, data in self.blobs.items()}


def made(*layers: bytes) -> Made:
    config = json.dumps({"layers": len(layers)}).encode()
    named = [Descriptor(media_type=LAYER, digest=Digest.of(data), size=len(data)) for data in layers]
    first = Descriptor(media_type=OCI_CONFIG, digest=Digest.of(config), size=len(config))
    manifest = canonical_manifest(first, named, {})
    return Made(
        ImageLock(
            manifest=Digest.of(manifest),
            config=first.digest,
            layers=tuple(LayerLock(diff_id=one.digest, blob=one.digest, size=one.size) for one in named),
        ),
        manifest,
        {str(Digest.of(data)): data for data in (config, *layers)},
    )


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(
        root=tmp_path,
        project=load_project(PROJECT, exists=lambda path: "file" if path == "c" else "directory"),
        store=Store(tmp_path / "store"),
        podman=Podman(env={}),
        env={},
    )


def substitutes(workspace: Workspace, *texts: str, events: list[Event] | None = None) -> Substitutes:
    places = [Destination.parse(text) for text in texts]
    told = [] if events is None else events
    return Substitutes(workspace, places, insecure=(), limits=IMPATIENT, emit=told.append)


SHARED, TOP = os.urandom(2 << 20), os.urandom(1 << 10)


def test_only_what_the_store_lacks_is_fetched(workspace: Workspace) -> None:
    one, two = made(SHARED, TOP), made(SHARED)
    events: list[Event] = []
    with serving(FakeRegistry()) as server:
        one.put(server, "team/demo/one")
        two.put(server, "team/demo/two")
        asked = substitutes(workspace, f"{server.host}/team", events=events)
        found = asked.search("one", one.lock)
        assert found.problems == ()
        assert found.fetched is not None
        assert (found.fetched.registry, found.fetched.blobs) == (f"{server.host}/team", 4)
        assert found.fetched.size == len(one.manifest) + sum(map(len, one.blobs.values()))
        again = asked.search("two", two.lock).fetched
        assert again is not None
        assert again.blobs == 2  # its manifest and its configuration
        assert server.count("GET", str(Digest.of(SHARED))) == 1
    for image in (one, two):
        for data in (image.manifest, *image.blobs.values()):
            assert workspace.store.read(Digest.of(data)) == data
    progress = [event for event in events if isinstance(event, Progress)]
    assert progress[-1].done == progress[-1].total
    assert len(progress) <= 200


def test_a_broken_line_is_got_over(workspace: Workspace) -> None:
    image = made(TOP)
    with serving(
        FakeRegistry(Fault("GET", "/blobs/", resets()), Fault("GET", "/manifests/", says(503)))
    ) as server:
        image.put(server, "demo/one")
        assert substitutes(workspace, server.host).search("one", image.lock).fetched is not None


def test_other_bytes_than_those_that_are_locked(workspace: Workspace) -> None:
    image, other = made(SHARED, TOP), made(TOP)
    with (
        serving(FakeRegistry()) as forged,
        serving(FakeRegistry()) as swapped,
        serving(FakeRegistry()) as honest,
    ):
        for server in (forged, swapped, honest):
            image.put(server, "demo/one")
        forged.blobs["demo/one", str(Digest.of(TOP))] = bytes(len(TOP))
        swapped.manifests["demo/one", str(image.lock.manifest)] = other.manifest
        places = (forged.host, swapped.host, honest.host)
        found = substitutes(workspace, *places).search("one", image.lock)
        assert found.fetched is not None
        assert found.fetched.registry == honest.host
        first, second = map(str, found.problems)
        assert first.startswith(f"{forged.host}/demo/one {Digest.of(TOP)}: ")
        assert "other bytes" in first
        assert second.startswith(f"{swapped.host}/demo/one: ")
        assert f"it is {other.lock.manifest}" in second


def test_nothing_is_named_before_all_of_it_is_there(workspace: Workspace) -> None:
    image = made(SHARED, TOP)
    with serving(FakeRegistry()) as server:
        image.put(server, "demo/one")
        del server.blobs["demo/one", str(Digest.of(TOP))]
        found = substitutes(workspace, server.host).search("one", image.lock)
        assert found.fetched is None
        assert "HTTP 404" in str(found.problems[0])
    assert not workspace.store.has(image.lock.manifest)
    assert [path for path in workspace.store.tmp.iterdir() if path.name.startswith("blob-")] == []


def test_a_registry_that_keeps_silent_is_asked_for_one_image_only(workspace: Workspace) -> None:
    image = made(TOP)
    with serving(FakeRegistry(Fault("GET", "/manifests/", stalls(), times=100))) as server:
        image.put(server, "demo/one")
        asked = substitutes(workspace, server.host)
        first = asked.search("one", image.lock)
        calls = server.count("GET", "/manifests/")
        assert (first.fetched, calls) == (None, IMPATIENT.tries)
        assert asked.search("two", image.lock).problems == first.problems
        assert server.count("GET", "/manifests/") == calls


def test_an_image_that_is_not_there_does_not_make_a_registry_silent(workspace: Workspace) -> None:
    image = made(TOP)
    with serving(FakeRegistry()) as server:
        image.put(server, "demo/two")
        asked = substitutes(workspace, server.host)
        (problem,) = asked.search("one", image.lock).problems
        assert problem.what == "does not have the image of stage one"
        assert asked.search("two", image.lock).fetched is not None


@pytest.mark.parametrize(
    ("manifest", "expected"),
    [
        (made(TOP).manifest.replace(b"vnd.oci.image.manifest.v1+json", DOCKER[12:].encode()), "is Docker's"),
        (json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}).encode(), "image index"),
        (made(SHARED).manifest, "are not those of its manifest"),
        (b"{", "manifest"),
    ],
    ids=["docker", "index", "others", "torn"],
)
def test_a_lock_that_names_what_rbuild_does_not_make(
    workspace: Workspace, manifest: bytes, expected: str
) -> None:
    locked = msgspec.structs.replace(made(TOP).lock, manifest=Digest.of(manifest))
    with serving(FakeRegistry()) as server:
        replace(made(TOP), lock=locked, manifest=manifest).put(server, "demo/one")
        found = substitutes(workspace, server.host).search("one", locked)
        assert found.fetched is None
        assert expected in str(found.problems[0])
        assert "rbuild.lock stages.one.image" in str(found.problems[0])
        assert server.count("GET", "/blobs/") == 0


def test_a_store_that_is_closed_takes_nothing_more(workspace: Workspace) -> None:
    image = made(TOP)
    with serving(FakeRegistry()) as server:
        image.put(server, "demo/one")
        workspace.store.close()
        with pytest.raises(RbuildError, match="interrupted"):
            substitutes(workspace, server.host).search("one", image.lock)


def test_what_is_damaged_in_the_store_is_thrown_away(workspace: Workspace) -> None:
    image = made(SHARED, TOP)
    store = workspace.store
    for data in (image.manifest, *image.blobs.values()):
        store.put(data)
    assert damaged(workspace, image.lock) == ()
    path = store.path(Digest.of(TOP))
    path.chmod(0o644)
    path.write_bytes(bytes(len(TOP)))
    assert damaged(workspace, image.lock) == (Digest.of(TOP),)
    assert not path.exists()
    assert store.has(Digest.of(SHARED))
