"""Facts as values of the types that expressions know."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from rbuild.containerfile.expand import ImageUse
from rbuild.containerfile.model import Instruction
from rbuild.digest import Digest
from rbuild.errors import RbuildError, Where
from rbuild.policy.cel.types import classes
from rbuild.policy.facts import FileEntry, FileFacts, ImageFacts, LayerFacts, LockFacts, PushFacts
from rbuild.recording import Recording
from rbuild.reference import Reference

Facts = FileFacts | LockFacts | ImageFacts | PushFacts


@dataclass(frozen=True, slots=True)
class Item:
    """One element of `each`: its value, where it stands, and the text that a waiver may name."""

    value: Any
    where: Where
    text: str


class Sources:
    """The facts of one stage, split by what they are about; the later ones may be missing."""

    def __init__(self, facts: Facts) -> None:
        self.push = facts if isinstance(facts, PushFacts) else None
        self.image = self.push.image if self.push else (facts if isinstance(facts, ImageFacts) else None)
        self.lock = self.image.lock if self.image else (facts if isinstance(facts, LockFacts) else None)
        files = self.lock.files if self.lock else facts
        assert isinstance(files, FileFacts)
        self.files: FileFacts = files
        self._made: dict[str, Any] = {}

    def value(self, name: str) -> Any:
        """The value of a variable; made once."""
        if name not in self._made:
            self._made[name] = _VARIABLES[name](self)
        return self._made[name]

    def items(self, each: str) -> Iterator[Item]:
        """The elements of `each`; image.files are not among them, since they stream."""
        files = self.files
        match each:
            case "containerfile.instructions":
                for one in files.instructions:
                    yield Item(_instruction(one, files), files.at(one.line), one.original)
            case "base":
                for use, key in files.uses.items():
                    yield Item(self.base(use, key), files.at(use.line), use.text)
            case "recording":
                assert self.lock is not None
                for read in _reads(self.lock.locked.recording):
                    yield Item(read, Where(file="rbuild.lock"), read.url)
            case "image.layers":
                assert self.image is not None
                for layer in self.image.layers:
                    made = layer.instruction
                    where = files.at(made.line if made else None)
                    yield Item(_layer(layer), where, made.original if made else str(layer.diff_id))
            case _:
                raise AssertionError(each)

    def base(self, use: ImageUse, key: str) -> Any:
        """A use of a base."""
        locked = self.lock.lock.bases.get(key) if self.lock else None
        try:
            meant = self.files.project.base(Reference.parse(use.image))
        except RbuildError:  # the name itself is wrong, which its build says
            meant = None
        image = meant.image if meant else None
        digest = locked.digest if locked else (image.digest if image else None)
        kind = "debian" if meant and meant.debian else "oci" if meant and meant.oci else "image"
        return _make(
            "Base",
            name=_text(use.image),
            kind=kind,
            registry=image.registry if image else "",
            repository=image.repository if image else "",
            tag=(image.tag or "") if image else "",
            digest=str(digest or ""),
            line=use.line,
        )


def _stage(sources: Sources) -> Any:
    stage = sources.files.stage
    return _make(
        "Stage",
        name=stage.name,
        containerfile=str(stage.containerfile),
        context=str(stage.context),
        target=stage.target or "",
        args=_texts(stage.args),
        needs=list(stage.needs),
    )


def _containerfile(sources: Sources) -> Any:
    files = sources.files
    return _make(
        "Containerfile",
        name=_text(files.containerfile.name),
        instructions=[_instruction(one, files) for one in files.instructions],
    )


def _instruction(one: Instruction, files: FileFacts) -> Any:
    target = "" if one.target is None else files.containerfile.targets[one.target].reference
    flag = classes()["Flag"]
    return _make(
        "Instruction",
        keyword=_text(one.keyword),
        arguments=_text(one.arguments),
        flags=[flag(name=_text(each.name), value=_text(each.value or "")) for each in one.flags],
        line=one.line,
        target=_text(target),
    )


def _bases(sources: Sources) -> list[Any]:
    return [item.value for item in sources.items("base")]


def _lock(sources: Sources) -> Any:
    assert sources.lock is not None
    locked = sources.lock.locked
    layer = classes()["LockedLayer"]
    return _make(
        "Lock",
        input=str(locked.input),
        form=locked.form,
        codec=locked.codec,
        epoch=datetime.fromtimestamp(min(locked.epoch, _LAST), UTC),
        normalisers=list(locked.normalisers),
        args=_texts(locked.args),
        manifest=str(locked.image.manifest),
        config=str(locked.image.config),
        layers=[
            layer(diff_id=str(one.diff_id), blob=str(one.blob), size=_number(one.size))
            for one in locked.image.layers
        ],
    )


_LAST = 253_402_300_799  # the end of the year 9999, where the library's calendar ends


def _recording(sources: Sources) -> list[Any]:
    return [item.value for item in sources.items("recording")]


def _reads(recording: Recording) -> Iterator[Any]:
    """Everything that was read: responses, the pages of package indexes, and the files that they led to."""
    for one in recording.responses:
        yield _response(one.url, one.sha256, one.size, method=one.method, status=one.status)
    for index in recording.indexes:
        yield _response(index.url)
        for file in index.files:
            yield _response(file.url, file.sha256, file.size or 0)


def _response(
    url: str, sha256: Digest | None = None, size: int = 0, *, method: str = "GET", status: int = 200
) -> Any:
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        host = ""
    return _make(
        "Response",
        url=_text(url),
        host=_text(host),
        method=method,
        status=status,
        sha256=str(sha256 or ""),
        size=_number(size),
    )


def _now(sources: Sources) -> datetime:
    assert sources.lock is not None
    return sources.lock.now


def _image(sources: Sources) -> Any:
    facts = sources.image
    assert facts is not None
    return _make(
        "Image",
        digest=str(facts.digest),
        config=_config(facts),
        layers=[_layer(one) for one in facts.layers],
    )


def _config(facts: ImageFacts) -> Any:
    config, run = facts.config, facts.config.config
    env = dict(each.partition("=")[::2] for each in (run.env if run else None) or ())
    health = run.healthcheck if run else None
    return _make(
        "Config",
        os=_text(config.os),
        architecture=_text(config.architecture),
        env=_texts(env),
        **(
            {
                "user": _text(run.user),
                "labels": _texts(run.labels or {}),
                "entrypoint": list(map(_text, run.entrypoint or ())),
                "cmd": list(map(_text, run.cmd or ())),
                "working_dir": _text(run.working_dir),
                "exposed_ports": sorted(map(_text, run.exposed_ports or ())),
                "volumes": sorted(map(_text, run.volumes or ())),
                "healthcheck": list(map(_text, (health.test if health else None) or ())),
                "stop_signal": _text(run.stop_signal),
            }
            if run
            else {}
        ),
    )


def _layer(one: LayerFacts) -> Any:
    return _make(
        "Layer",
        number=one.number,
        diff_id=str(one.diff_id),
        blob=str(one.blob),
        size=_number(one.size),
        own=one.own,
        line=one.instruction.line if one.instruction else 0,
    )


def file_item(entry: FileEntry) -> Any:
    """A file of an image."""
    return classes()["File"](
        path=_text(entry.path),
        kind=entry.kind.value,
        mode=entry.mode,
        uid=_number(entry.uid),
        gid=_number(entry.gid),
        size=_number(entry.size),
        link=_text(entry.link),
        xattrs={_text(name): value for name, value in entry.xattrs.items()},
        layer=entry.layer,
        own=entry.own,
        visible=entry.visible,
    )


def _push(sources: Sources) -> Any:
    facts = sources.push
    assert facts is not None
    return _make(
        "Push",
        destination=f"{facts.repository.registry}/{facts.repository.repository}",
        tags=list(facts.tags),
        moving=sorted(facts.moving),
        signed=facts.signed,
    )


_VARIABLES: Mapping[str, Callable[[Sources], Any]] = {
    "stage": _stage,
    "containerfile": _containerfile,
    "base": _bases,
    "lock": _lock,
    "recording": _recording,
    "now": _now,
    "image": _image,
    "push": _push,
}


def _make(kind: str, /, **fields: Any) -> Any:
    return classes()[kind](**fields)


def _text(text: str) -> str:
    """With what is no UTF-8 written out: \\udc80."""
    return text if text.isascii() else text.encode(errors="backslashreplace").decode()


def _texts(texts: Mapping[str, str]) -> dict[str, str]:
    return {_text(name): _text(text) for name, text in texts.items()}


def _number(number: int) -> int:
    """As far as 64 bits go."""
    return min(number, (1 << 63) - 1)
