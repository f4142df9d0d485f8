"""What an expression of a project's own rule can look at, as data: types, fields, and when they are there.

The library's types, the values and the table in docs/policies.md are made of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from rbuild.policy.model import Moment

_TEXTS: Final = "list of texts"
_MAP: Final = "map from text to text"


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a type, or a variable. `kind` is a type of TYPES or one in plain words; `many`: a list."""

    name: str
    kind: str
    said: str
    moment: Moment = Moment.FILES
    many: bool = False


# The kinds that are no types of ours: text, number, truth, time, list of texts, map from text to …
TYPES: Final[Mapping[str, tuple[Field, ...]]] = {
    "Stage": (
        Field("name", "text", "its name in rbuild.yaml"),
        Field("containerfile", "text", "the path of its Containerfile in the project"),
        Field("context", "text", "the folder that COPY and ADD read from"),
        Field("target", "text", "the build target to stop at; empty: the last"),
        Field("args", _MAP, "its build arguments"),
        Field("needs", _TEXTS, "the stages that come first"),
    ),
    "Containerfile": (
        Field("name", "text", "its path"),
        Field("instructions", "Instruction", "those that the image needs, each FROM included", many=True),
    ),
    "Instruction": (
        Field("keyword", "text", "in capitals: RUN"),
        Field("arguments", "text", "what follows the flags, continued lines joined, variables as written"),
        Field("flags", "Flag", "such as --mount=type=cache", many=True),
        Field("line", "number", "the first line"),
        Field("target", "text", "the name of its build target, or its number, from 0"),
    ),
    "Flag": (
        Field("name", "text", "without the dashes: mount"),
        Field("value", "text", "what follows =; empty where nothing does"),
    ),
    "Base": (
        Field("name", "text", "as the Containerfile says it, variables replaced"),
        Field("kind", "text", "image, oci or debian"),
        Field("registry", "text", "of an image: docker.io; else empty"),
        Field("repository", "text", "of an image: library/python; else empty"),
        Field("tag", "text", "of an image; empty where it is named by digest"),
        Field("digest", "text", "of the manifest: locked, or as written; else empty"),
        Field("line", "number", "where the Containerfile names it"),
    ),
    "Lock": (
        Field("input", "text", "the input digest"),
        Field("form", "number", "the version of the canonical form"),
        Field("codec", "text", "how layers are compressed"),
        Field("epoch", "time", "SOURCE_DATE_EPOCH"),
        Field("normalisers", _TEXTS, "the normalisers that were applied"),
        Field("args", _MAP, "the build arguments"),
        Field("manifest", "text", "the digest of the image"),
        Field("config", "text", "the digest of its configuration"),
        Field("layers", "LockedLayer", "from the lowest", many=True),
    ),
    "LockedLayer": (
        Field("diff_id", "text", "the digest of the tar"),
        Field("blob", "text", "the digest of what a registry holds"),
        Field("size", "number", "bytes of the blob"),
    ),
    "Response": (
        Field("url", "text", "what was asked for"),
        Field("host", "text", "the host of that, without the port"),
        Field("method", "text", "GET, …"),
        Field("status", "number", "200, …"),
        Field("sha256", "text", "the digest of the body"),
        Field("size", "number", "bytes of the body"),
    ),
    "Image": (
        Field("digest", "text", "of the manifest"),
        Field("config", "Config", "the configuration"),
        Field("layers", "Layer", "from the lowest", many=True),
    ),
    "Config": (
        Field("user", "text", "USER"),
        Field("env", _MAP, "ENV"),
        Field("labels", _MAP, "LABEL"),
        Field("entrypoint", _TEXTS, "ENTRYPOINT"),
        Field("cmd", _TEXTS, "CMD"),
        Field("working_dir", "text", "WORKDIR"),
        Field("exposed_ports", _TEXTS, "EXPOSE: 8080/tcp"),
        Field("volumes", _TEXTS, "VOLUME"),
        Field("healthcheck", _TEXTS, "HEALTHCHECK: CMD-SHELL and a command, or NONE"),
        Field("stop_signal", "text", "STOPSIGNAL"),
        Field("os", "text", "linux"),
        Field("architecture", "text", "amd64, arm64, …"),
    ),
    "Layer": (
        Field("number", "number", "from 1"),
        Field("diff_id", "text", "the digest of the tar"),
        Field("blob", "text", "the digest of what a registry holds"),
        Field("size", "number", "bytes of the blob"),
        Field("own", "truth", "whether the build made it, and not the base's"),
        Field("line", "number", "of the instruction that made it; 0: the base's"),
    ),
    "File": (
        Field("path", "text", "without a leading slash; what is no UTF-8 is there as \\udc80"),
        Field("kind", "text", "file, directory, symlink, hardlink, char, block or fifo"),
        Field("mode", "number", "twelve bits: 0o4755 is 2541"),
        Field("uid", "number", "the owner"),
        Field("gid", "number", "the group"),
        Field("size", "number", "bytes of the content"),
        Field("link", "text", "what a link leads to"),
        Field("xattrs", "map from text to bytes", "extended attributes: security.capability"),
        Field("layer", "number", "from 1"),
        Field("own", "truth", "whether the build made its layer"),
        Field("visible", "truth", "whether no higher layer replaces or deletes it"),
    ),
    "Push": (
        Field("destination", "text", "registry and repository: quay.io/team/train"),
        Field("tags", _TEXTS, "the tags that the image gets"),
        Field("moving", _TEXTS, "those of them that may move"),
        Field("signed", "truth", "whether it is signed by this push"),
    ),
}

VARIABLES: Final = (
    Field("stage", "Stage", "the stage, as rbuild.yaml has it"),
    Field("containerfile", "Containerfile", "its Containerfile"),
    Field("base", "Base", "what its build targets start from and copy from", many=True),
    Field("lock", "Lock", "what is locked for it", Moment.LOCK),
    Field(
        "recording",
        "Response",
        "what its build read from the network: responses, pages of package indexes, and their files",
        Moment.LOCK,
        many=True,
    ),
    Field("now", "time", "now, or --effective-time (UTC)", Moment.LOCK),
    Field("image", "Image", "its canonical image", Moment.IMAGE),
    Field("push", "Push", "where the image is going", Moment.PUSH),
)

# What `each` can be: the type of `item`, and from when on.
EACH: Final[Mapping[str, tuple[str, Moment]]] = {
    "containerfile.instructions": ("Instruction", Moment.FILES),
    "base": ("Base", Moment.FILES),
    "recording": ("Response", Moment.LOCK),
    "image.layers": ("Layer", Moment.IMAGE),
    "image.files": ("File", Moment.IMAGE),
}

_ORDER: Final = tuple(Moment)


def there(moment: Moment, when: Moment) -> bool:
    """Whether what exists from `moment` on exists for a rule that is checked at `when`."""
    return _ORDER.index(moment) <= _ORDER.index(when)


def variables(when: Moment) -> tuple[Field, ...]:
    """The variables of a rule that is checked at `when`, without `item`."""
    return tuple(one for one in VARIABLES if there(one.moment, when))


def table() -> Iterator[str]:
    """The table of docs/policies.md: every name that an expression can use, in Markdown."""
    yield "| name | type | from `when` | what it is |"
    yield "|---|---|---|---|"
    for variable in VARIABLES:
        yield from _rows(variable, variable.name, variable.moment)
    yield "| `item` | of `each` | | the one that is looked at |"
    yield from _rows(Field("image.files", "File", "only as `each: image.files`", many=True), "", Moment.IMAGE)


def _rows(field: Field, name: str, moment: Moment) -> Iterator[str]:
    shown = name or field.name
    kind = f"list of {field.kind}" if field.many else field.kind
    yield f"| `{shown}{'[]' if field.many else ''}` | {kind} | {moment.value} | {field.said} |"
    for part in TYPES.get(field.kind, ()):
        yield from _rows(part, f"{shown}{'[]' if field.many else ''}.{part.name}", moment)
