"""How an image was made, as SLSA provenance v1 in an in-toto statement.

A pure function of the lock: nothing of the run that happened to make the image is in it, so that whoever
rebuilds the image can write the same statement, byte for byte.

Sources: slsa.dev/spec/v1.0/provenance; in-toto attestation framework, "Statement" and "ResourceDescriptor".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from rbuild.image.canonicaljson import canonical_json
from rbuild.lock import BaseLock, DebianLock, Lock
from rbuild.recording import Recording, Response

PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
PREDICATE_TYPE: Final = "https://slsa.dev/provenance/v1"
BUILD_TYPE: Final = "urn:rbuild:build:v1"
BUILDER: Final = "urn:rbuild:sealed-builder:v1"

_STATEMENT_TYPE = "https://in-toto.io/Statement/v1"

Descriptor = dict[str, Any]


def statement(lock: Lock, stage: str) -> bytes:
    """The statement on the image of `stage`, which `lock` has, as JSON with sorted keys and no white space.

    Its `resolvedDependencies` are every base, every Debian package of a base, and every file and response
    that the build read from the network, each with its sha256. What the project itself brings are external
    parameters; what rbuild decided are internal ones.
    """
    locked = lock.stages[stage]
    external: dict[str, Any] = {
        "args": locked.args,
        "containerfile": {"sha256": locked.containerfile.hex},
        "context": {"sha256": locked.context.hex},  # of the sorted list of files with their digests
        "platform": lock.platform,
        "project": lock.project,
        "stage": stage,
    }
    if locked.target is not None:
        external["target"] = locked.target
    dependencies = [
        *_bases({name: lock.bases[name] for name in locked.bases}),
        *_recorded(locked.recording),
    ]
    return canonical_json(
        {
            "_type": _STATEMENT_TYPE,
            "subject": [
                {"digest": {"sha256": locked.image.manifest.hex}, "name": f"{lock.project}/{stage}"},
            ],
            "predicateType": PREDICATE_TYPE,
            "predicate": {
                "buildDefinition": {
                    "buildType": BUILD_TYPE,
                    "externalParameters": external,
                    "internalParameters": {
                        "codec": locked.codec,
                        "epoch": locked.epoch,
                        "form": locked.form,
                        "input": {"sha256": locked.input.hex},
                        "normalisers": list(locked.normalisers),
                    },
                    "resolvedDependencies": _once(dependencies),
                },
                "runDetails": {"builder": {"id": BUILDER}},
            },
        }
    )


def _bases(bases: dict[str, BaseLock]) -> Iterator[Descriptor]:
    for name, base in sorted(bases.items()):
        descriptor: Descriptor = {"name": name, "digest": {"sha256": base.digest.hex}}
        if base.image:
            descriptor["uri"] = f"docker://{base.image.partition('@')[0]}"
        yield descriptor
        if base.debian:
            yield from _debian(base.debian)


def _debian(base: DebianLock) -> Iterator[Descriptor]:
    for one in base.packages:
        yield {
            "name": f"{one.name}_{one.version}_{one.architecture}",
            "uri": f"{one.archive or base.mirror}/{one.path}",
            "digest": {"sha256": one.sha256.hex},
            "annotations": {"size": one.size},
        }


def _recorded(recording: Recording) -> Iterator[Descriptor]:
    for index in recording.indexes:
        for file in index.files:
            yield {"name": file.name, "uri": file.url, "digest": {"sha256": file.sha256.hex}}
            if file.metadata:
                # PEP 658: the file's own metadata, which an installer may read instead of the file.
                yield {
                    "name": f"{file.name}.metadata",
                    "uri": f"{file.url}.metadata",
                    "digest": {"sha256": file.metadata.hex},
                }
    for response in recording.responses:
        yield {
            "uri": response.url,
            "digest": {"sha256": response.sha256.hex},
            "annotations": {"size": response.size, **_request(response)},
        }


def _request(response: Response) -> dict[str, Any]:
    """What tells it from a plain GET that succeeded."""
    said: dict[str, Any] = {}
    if response.status != 200:
        said["status"] = response.status
    if response.method != "GET":
        said["method"] = response.method
    if response.body:
        said["requestBody"] = {"sha256": response.body.hex}
    if response.accept is not None:
        said["accept"] = response.accept
    return said


def _once(dependencies: Iterable[Descriptor]) -> list[Descriptor]:
    """Each dependency once: bases share packages."""
    return list({canonical_json(one): one for one in dependencies}.values())
