"""Artifacts that refer to an image, in registries that list them themselves and in one that does not."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from fakeregistry import FakeRegistry
from faultyproxy import FaultyProxy
from httpfaults import IMPATIENT, Act, Fault, Handler, serving
from registries import registry

from rbuild.digest import Digest
from rbuild.errors import RbuildError
from rbuild.image.artifact import (
    Artifact,
    Part,
    artifact,
    read_artifact,
    referrers_index,
    referrers_tag,
)
from rbuild.image.manifest import OCI_INDEX, OCI_MANIFEST, Descriptor
from rbuild.registry.client import Registry
from rbuild.registry.referrers import attach, referrers
from rbuild.registry.repository import Repository

SUBJECT = artifact(
    Descriptor(media_type=OCI_MANIFEST, digest=Digest.of(b"nothing"), size=7), "text/image", []
)
IMAGE = Descriptor(media_type=OCI_MANIFEST, digest=SUBJECT.digest, size=len(SUBJECT.manifest))


def made(kind: str, *documents: bytes) -> Artifact:
    return artifact(IMAGE, kind, [Part.of("text/plain", one) for one in documents])


SOURCES, BOM = made("text/sources", b"one", b"two", b"one"), made("text/bom", b"two")


def client(host: str) -> Repository:
    return Registry(host, env={}, limits=IMPATIENT).repository("team/app")


def upload(repository: Repository, *artifacts: Artifact) -> None:
    for part in {part for one in (SUBJECT, *artifacts) for part in [(p.digest, p.data) for p in one.blobs]}:
        digest, data = part
        assert data is not None
        repository.push_blob(digest, len(data), partial(io.BytesIO, data), lambda _: None)
    repository.put_manifest(str(SUBJECT.digest), SUBJECT.manifest, OCI_MANIFEST)


@pytest.fixture(params=["keeps no list", "keeps the list"])
def server(request: pytest.FixtureRequest, folder: Path) -> Iterator[str]:
    """The host of Debian's registry, and of one that lists referrers, a page for each."""
    if request.param == "keeps the list":
        with serving(FakeRegistry(lists=True)) as fake:
            yield fake.host
    else:
        with registry(folder) as real:
            yield real.host


def test_what_is_attached_is_listed_by_type(server: str) -> None:
    repository = client(server)
    upload(repository, SOURCES, BOM)
    assert referrers(repository, IMAGE.digest) == ()
    attach(repository, IMAGE.digest, [SOURCES], missing=[SOURCES])
    attach(repository, IMAGE.digest, [SOURCES, BOM], missing=[BOM])
    assert {one.digest for one in referrers(repository, IMAGE.digest)} == {SOURCES.digest, BOM.digest}
    (found,) = referrers(repository, IMAGE.digest, "text/sources")
    manifest = repository.manifest(str(found.digest))
    assert manifest is not None and found.size == len(manifest.data)
    parts = read_artifact(manifest.data, IMAGE.digest, "text/sources")
    assert [part.digest for part in parts] == [Digest.of(one) for one in (b"one", b"two", b"one")]


def test_what_is_attached_already_is_not_written_again(folder: Path) -> None:
    with registry(folder) as real, serving(FaultyProxy(real.port)) as proxy:
        repository = client(proxy.host)
        upload(repository, SOURCES)
        assert attach(repository, IMAGE.digest, [SOURCES], missing=[SOURCES])
        before = proxy.count("PUT", "manifests")
        assert not attach(repository, IMAGE.digest, [SOURCES], missing=[])
        assert proxy.count("PUT", "manifests") == before


def test_a_registry_that_keeps_the_list_gets_no_tag() -> None:
    with serving(FakeRegistry(lists=True)) as fake:
        repository = client(fake.host)
        upload(repository, SOURCES)
        assert not attach(repository, IMAGE.digest, [SOURCES], missing=[SOURCES])
        assert list(repository.tags()) == []


def others_write(act: Callable[[], object]) -> Act:
    """Somebody else writes just before what is asked is done."""

    def acted(handler: Handler) -> bool:
        act()
        return False

    return acted


def test_a_list_that_somebody_else_writes_meanwhile(folder: Path) -> None:
    """Between reading the list and writing it, another entry appears, and ours would take its place; after
    writing, ours is gone again. In the end both are there."""
    tag = referrers_tag(IMAGE.digest)
    with registry(folder) as real:
        other = client(real.host)
        upload(other, SOURCES, BOM)
        other.put_manifest(str(BOM.digest), BOM.manifest, OCI_MANIFEST)
        theirs = referrers_index(None, [BOM])
        written = threading.Event()

        def write() -> None:
            written.set()
            other.put_manifest(tag, theirs, OCI_INDEX)

        # The second time that the list is read is after it was written.
        fault = Fault("GET", f"manifests/{tag}", others_write(write), skip=1)
        with serving(FaultyProxy(real.port, fault)) as proxy:
            assert attach(client(proxy.host), IMAGE.digest, [SOURCES], missing=[SOURCES])
        assert written.is_set()
        assert {one.digest for one in referrers(other, IMAGE.digest)} == {SOURCES.digest, BOM.digest}


def test_a_list_that_somebody_else_writes_all_the_time(folder: Path) -> None:
    tag = referrers_tag(IMAGE.digest)
    with registry(folder) as real:
        other = client(real.host)
        upload(other, SOURCES)
        empty = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}).encode()
        write = others_write(lambda: other.put_manifest(tag, empty, OCI_INDEX))
        with (
            serving(FaultyProxy(real.port, Fault("GET", f"manifests/{tag}", write, times=99))) as proxy,
            pytest.raises(RbuildError, match=f"others write the tag {tag} as well .tried 4 times"),
        ):
            attach(client(proxy.host), IMAGE.digest, [SOURCES], missing=[SOURCES])


def test_a_tag_that_is_no_list_is_left_alone(folder: Path) -> None:
    with registry(folder) as real:
        repository = client(real.host)
        upload(repository, SOURCES)
        repository.put_manifest(referrers_tag(IMAGE.digest), SUBJECT.manifest, OCI_MANIFEST)
        with pytest.raises(RbuildError, match="stands for something else"):
            attach(repository, IMAGE.digest, [SOURCES], missing=[SOURCES])
        with pytest.raises(RbuildError, match="stands for something else"):
            referrers(repository, IMAGE.digest)


def test_a_list_without_end() -> None:
    def endless(handler: Handler) -> bool:
        index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}
        data = json.dumps(index).encode()
        handler.answer(200, data, Content_Type=OCI_INDEX, Link='<?more>; rel="next"')
        return True

    with (
        serving(FakeRegistry(Fault("GET", "/referrers/", endless, times=10_000))) as fake,
        pytest.raises(RbuildError, match="pages"),
    ):
        referrers(client(fake.host), IMAGE.digest)
