"""Blobs for several repositories of one registry: each sent once, the rest mounted."""

from __future__ import annotations

import io
import os

import pytest
from fakeregistry import FakeRegistry
from httpfaults import IMPATIENT, Fault, says, serving

from rbuild.digest import Digest
from rbuild.errors import RbuildError
from rbuild.registry.client import Registry
from rbuild.registry.delivery import Arrivals, Consignment, Means, deliver

BLOBS = {Digest.of(data): data for data in (os.urandom(300_000), os.urandom(1_000), b"", b"config")}
SHARED, OWN, *_ = BLOBS


def delivered(server: FakeRegistry, *consignments: Consignment) -> Arrivals:
    told: list[tuple[int, int]] = []
    registry = Registry(server.host, env={}, limits=IMPATIENT)
    found = deliver(
        registry,
        consignments,
        lambda digest, _: io.BytesIO(BLOBS[digest]),
        lambda done, total: told.append((done, total)),
    )
    assert all(done <= total for done, total in told)
    assert not told or told[-1][0] == told[-1][1]
    return found


def consignment(digest: Digest, *repositories: str, sources: tuple[str, ...] = ()) -> Consignment:
    return Consignment(digest=digest, size=len(BLOBS[digest]), repositories=repositories, sources=sources)


def test_a_shared_blob_is_sent_once() -> None:
    with serving(FakeRegistry()) as server:
        blobs = [consignment(digest, "a/x", "a/y", "a/z") for digest in BLOBS]
        first = delivered(server, *blobs)
        assert server.received == sum(map(len, BLOBS.values()))
        assert [first["a/x", SHARED].means, first["a/y", SHARED].means] == [Means.SENT, Means.MOUNTED]
        assert (first["a/x", SHARED].sent, first["a/y", SHARED].sent) == (300_000, 0)
        assert len(server.blobs) == 3 * len(BLOBS)
        second = delivered(server, *blobs)
        assert {one.means for one in second.values()} == {Means.SKIPPED}
        assert server.received == sum(map(len, BLOBS.values()))


def test_what_is_there_in_one_is_mounted_in_the_others() -> None:
    with serving(FakeRegistry()) as server:
        server.blobs["a/y", str(SHARED)] = BLOBS[SHARED]
        server.blobs["base", str(OWN)] = BLOBS[OWN]
        found = delivered(
            server, consignment(SHARED, "a/x", "a/y"), consignment(OWN, "a/x", sources=("gone", "base"))
        )
        assert found["a/x", SHARED].means is Means.MOUNTED
        assert found["a/y", SHARED].means is Means.SKIPPED
        assert found["a/x", OWN].means is Means.MOUNTED
        assert server.received == 0


def test_a_registry_that_mounts_nothing_gets_the_bytes() -> None:
    refused = Fault("POST", "mount=", says(403), times=99)
    with serving(FakeRegistry(refused)) as server:
        found = delivered(server, consignment(SHARED, "a/x", "a/y"))
        assert {one.means for one in found.values()} == {Means.SENT}
        assert server.blobs["a/y", str(SHARED)] == BLOBS[SHARED]


def test_one_blob_that_cannot_be_sent_ends_the_delivery() -> None:
    server = FakeRegistry(Fault("PATCH", "", says(507), times=99))
    with serving(server), pytest.raises(RbuildError, match="507"):
        delivered(server, *(consignment(digest, "a/x") for digest in BLOBS))


def test_a_blob_that_was_refused_is_opened_with_more_care() -> None:
    opened: list[bool] = []

    def care(digest: Digest, again: bool) -> io.BytesIO:
        opened.append(again)
        return io.BytesIO(BLOBS[digest] if again else bytes(300_000))

    with serving(FakeRegistry()) as server:
        registry = Registry(server.host, env={}, limits=IMPATIENT)
        deliver(registry, [consignment(SHARED, "a/x")], care, lambda _, __: None)
        assert server.blobs["a/x", str(SHARED)] == BLOBS[SHARED]
    assert opened == [False, True]
