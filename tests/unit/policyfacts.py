"""Facts for tests of rules: of Containerfiles as text, of locks, and of images on real layers."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from tarfile import TarInfo

import msgspec
from tarballs import tarball

from rbuild.containerfile.expand import image_uses, needed_targets
from rbuild.containerfile.model import Instruction
from rbuild.containerfile.parse import parse
from rbuild.digest import Digest
from rbuild.image.codec import Codec
from rbuild.image.config import Config, Execution, HistoryEntry, RootFs
from rbuild.image.manifest import OCI_CONFIG, OCI_MANIFEST, Descriptor, Manifest
from rbuild.lock import ImageLock, LayerLock, Lock, StageLock
from rbuild.policy.catalogue import RULES
from rbuild.policy.facts import FileFacts, ImageFacts, LayerFacts, LockFacts
from rbuild.policy.model import Violation
from rbuild.policy.rule import Settings
from rbuild.policy.watch import OpenLayer, watched
from rbuild.project import Project, load_project
from rbuild.reference import Reference

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
Members = Sequence[tuple[TarInfo, bytes]]

_STAGE = "project: demo\nstages:\n  app:\n    containerfile: Containerfile\n    context: .\n"


def settings_of(rule: str, /, **settings: object) -> Settings:
    """A rule's settings, as a policy would give them."""
    return msgspec.convert(settings, RULES[rule].settings)


def project_of(yaml: str = _STAGE) -> Project:
    """A project whose files are all there."""
    return load_project(yaml.encode(), exists=lambda path: "directory" if path == "." else "file")


def file_facts(
    containerfile: str | bytes,
    *,
    context: Mapping[str, bytes] | None = None,
    ignore_file: str | None = None,
    project: str = _STAGE,
    stage: str = "app",
) -> FileFacts:
    """A stage with this Containerfile, in this project, whose context has these files."""
    text = containerfile.encode() if isinstance(containerfile, str) else containerfile
    parsed = parse(text, "Containerfile")
    whole = project_of(project)
    asked = whole.stages[stage]
    found = image_uses(parsed, build_args=asked.args, platform=whole.platform, target=asked.target)
    files = dict(context or {})
    return FileFacts(
        project=whole,
        stage=asked,
        containerfile=parsed,
        targets=needed_targets(parsed, asked.target, build_args=asked.args, platform=whole.platform),
        uses={use: Reference.parse(use.image).name for use in found},
        context=tuple(sorted(files)),
        ignore_file=ignore_file,
        read=files.get,
    )


def stage_lock(**changed: object) -> StageLock:
    """What is locked of a stage, with what is not named left to chance."""
    nothing = Digest.of(b"")
    locked = StageLock(
        input=nothing,
        form=2,
        codec="zstd:3:1.5.7",
        epoch=1_600_000_000,
        context=nothing,
        containerfile=nothing,
        image=ImageLock(manifest=nothing, config=nothing, layers=()),
    )
    return msgspec.structs.replace(locked, **changed)


def lock_facts(
    files: FileFacts,
    *,
    locked: StageLock | None = None,
    lock: Lock | None = None,
    now: datetime = NOW,
    **others: object,
) -> LockFacts:
    """The stage as it is locked; without a lock, one that holds just this stage."""
    mine = locked or stage_lock()
    whole = lock or Lock(
        version=1, project=files.project.name, platform="linux/amd64", stages={files.stage.name: mine}
    )
    return replace(LockFacts(files=files, lock=whole, locked=mine, now=now), **others)  # type: ignore[arg-type]


class Image:
    """An image on real layers: those of a base, and one for each named instruction of a Containerfile."""

    def __init__(
        self,
        containerfile: str,
        own: Mapping[int, Members] | None = None,
        *,
        base: Iterable[Members] = (),
        execution: Execution | None = None,
        previous: StageLock | None = None,
        project: str = _STAGE,
    ) -> None:
        """`own` are the layers by the line of the instruction that made each."""
        files = file_facts(containerfile, project=project)
        below = list(base)
        made = sorted((own or {}).items())
        makers: list[Instruction | None] = [None] * len(below)
        makers += [_at(files, line) for line, _ in made]
        self._blobs: list[bytes] = []
        layers = []
        for number, members in enumerate([*below, *(members for _, members in made)], 1):
            tar = tarball(members)
            out = io.BytesIO()
            writer = Codec("zstd", 3).writer(out)
            writer.write(tar)
            blob = writer.finish()
            self._blobs.append(out.getvalue())
            layers.append(
                LayerFacts(
                    number=number,
                    diff_id=Digest(hashlib.sha256(tar).hexdigest()),
                    blob=blob.digest,
                    size=blob.size,
                    own=number > len(below),
                    instruction=makers[number - 1],
                )
            )
        media_type = Codec("zstd", 3).media_type
        config = Config(
            os="linux",
            architecture="amd64",
            config=execution or Execution(),
            rootfs=RootFs(diff_ids=[str(layer.diff_id) for layer in layers]),
            history=[HistoryEntry(created_by="made") for _ in layers],
        )
        nothing = Digest.of(b"")
        locks = tuple(LayerLock(diff_id=one.diff_id, blob=one.blob, size=one.size) for one in layers)
        locked = stage_lock(image=ImageLock(manifest=nothing, config=nothing, layers=locks))
        self.facts = ImageFacts(
            lock=lock_facts(files, locked=locked, previous=previous),
            digest=nothing,
            manifest=Manifest(
                media_type=OCI_MANIFEST,
                config=Descriptor(media_type=OCI_CONFIG, digest=nothing, size=1),
                layers=tuple(
                    Descriptor(media_type=media_type, digest=one.blob, size=one.size) for one in layers
                ),
            ),
            config=config,
            layers=tuple(layers),
            packages=tuple,
        )

    @property
    def layers(self) -> tuple[OpenLayer, ...]:
        """As `watched` takes them."""
        return tuple(
            OpenLayer(
                facts=layer,
                media_type=Codec("zstd", 3).media_type,
                open=lambda data=self._blobs[layer.number - 1]: io.BytesIO(data),
            )
            for layer in self.facts.layers
        )

    def violations(self, rule: str, /, **settings: object) -> list[Violation]:
        """What a rule about images finds in it."""
        return found(rule, self.facts, self.layers, **settings)


def found(
    rule: str, facts: object, layers: Sequence[OpenLayer] = (), /, **settings: object
) -> list[Violation]:
    """What a rule finds in the facts that it looks at."""
    one, chosen = RULES[rule], settings_of(rule, **settings)
    if one.watch:
        assert isinstance(facts, ImageFacts)
        watcher = one.watch(facts, chosen)
        watched(layers, (watcher,))
        return list(watcher.violations())
    examine = one.files or one.lock or one.image or one.push
    assert examine is not None
    return list(examine(facts, chosen))  # type: ignore[arg-type]


def _at(files: FileFacts, line: int) -> Instruction:
    for instruction in files.instructions:
        if instruction.line == line:
            return instruction
    raise AssertionError(f"no instruction begins on line {line}")
