"""`rbuild.yaml` as it may be written: its keys, their types, and what they mean.

The JSON Schema that editors complete from is made of these Structs; the descriptions are for its readers.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from rbuild.image.form import Algorithm
from rbuild.reference import Reference
from rbuild.relativepath import RelativePath

DEFAULT_PLATFORM: Final = "linux/amd64"
# Braces that hold anything else, such as those of JSON, are left alone.
Kind = Literal["file", "directory", "outside"]
Exists = Callable[[str], Kind | None]
"""What is at a path of the project; "outside": a symbolic link leads out of it."""

PLACEHOLDER: Final = re.compile(r"\{([A-Za-z_]+)\.([A-Za-z0-9_-]+)\}")

DEFAULT_MIRROR: Final = "http://deb.debian.org/debian"

# A name becomes a component of an image's name, and so has to be one.
Name = Annotated[
    str,
    Meta(
        pattern=r"^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*$",
        max_length=63,
        extra={"expected": "a name of lower-case letters and digits, with '-', '_' or '.' between them"},
    ),
]
Handle = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9_][A-Za-z0-9_-]*$",
        max_length=63,
        extra={"expected": "a name of letters, digits, '_' and '-'"},
    ),
]
Variable = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
        extra={"expected": "the name of a variable: letters, digits and '_'"},
    ),
]
SecretId = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$",
        max_length=63,
        extra={"expected": "a name of letters, digits, '_', '.' and '-'"},
    ),
]
PackageName = Annotated[
    str,
    Meta(
        pattern=r"^[a-z0-9][a-z0-9+.-]*[a-z0-9+.](?:=[0-9][A-Za-z0-9+.~:-]*)?$",
        extra={"expected": "the name of a Debian package, or name=version"},
    ),
]
DebianWord = Annotated[
    str,
    Meta(
        pattern=r"^[a-z0-9][a-z0-9.-]*$",
        extra={"expected": "a word of lower-case letters, digits, '.' and '-'"},
    ),
]


class Debian(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A root file system that is made of Debian packages."""

    suite: Annotated[DebianWord, Meta(description="The release: bookworm, trixie, …")]
    packages: Annotated[
        tuple[PackageName, ...],
        Meta(
            description="Packages beside the essential ones; what they depend on comes along. "
            "The lock pins the version of each."
        ),
    ] = ()
    snapshot: Annotated[
        Annotated[
            str,
            Meta(
                pattern=r"^[0-9]{4}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])T"
                r"(?:[01][0-9]|2[0-3])[0-5][0-9][0-5][0-9]Z$",
                extra={"expected": "a time such as 20260701T000000Z"},
            ),
        ]
        | None,
        Meta(description="Take the archive as it was at this time (UTC), from snapshot.debian.org."),
    ] = None
    mirror: Annotated[
        str,
        Meta(
            pattern=r"^https?://[!-~]+$",
            extra={"expected": "an http or https URL"},
            description="The archive that packages are fetched from.",
        ),
    ] = DEFAULT_MIRROR
    components: Annotated[
        tuple[DebianWord, ...], Meta(description="Parts of the archive: main, contrib, non-free, …")
    ] = ("main",)


class Base(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a `FROM` means: exactly one of image, oci and debian."""

    image: Annotated[
        Reference | None, Meta(description="An image in a registry. The lock pins its digest.")
    ] = None
    oci: Annotated[
        RelativePath | None, Meta(description="A folder of the project that holds an OCI image layout.")
    ] = None
    tag: Annotated[
        str | None,
        Meta(description="Which image of the layout, by its org.opencontainers.image.ref.name."),
    ] = None
    debian: Annotated[
        Debian | None, Meta(description="A root file system that is made of Debian packages.")
    ] = None


class Secret(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the value of a secret is: exactly one of env and file. It is read when the stage is built."""

    env: Annotated[
        Variable | None, Meta(description="The variable that holds the value, in rbuild's environment.")
    ] = None
    file: Annotated[
        RelativePath | None,
        Meta(
            description="The file that holds the value: in the project, or where a link there leads. "
            "It is in no context."
        ),
    ] = None


class Run(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a stage is run: its command, the files that it reads, and the folders that it fills."""

    command: Annotated[
        tuple[str, ...],
        Meta(
            description="Arguments to the image's entry point, or the whole command where it has none. "
            "{inputs.NAME} and {outputs.NAME} become paths in the container."
        ),
    ] = ()
    inputs: Annotated[
        dict[Handle, RelativePath],
        Meta(description="Files and folders of the project that the command reads, by name."),
    ] = {}
    outputs: Annotated[
        dict[Handle, RelativePath],
        Meta(description="Folders of the project that the command fills, by name. Each has one stage."),
    ] = {}

    def argv(self) -> tuple[str, ...]:
        """The command as the container gets it, with paths of the container for its placeholders."""
        return tuple(
            PLACEHOLDER.sub(lambda match: self._path(*match.groups()), item) for item in self.command
        )

    def input_path(self, name: str) -> str:
        """Where the container finds the input `name`: under its own name, in a folder of its own."""
        return f"/in/{name}/{self.inputs[name].name}"

    def output_path(self, name: str) -> str:
        """The folder of the container that the command fills for the output `name`."""
        if name not in self.outputs:
            raise KeyError(name)
        return f"/out/{name}"

    def _path(self, kind: str, name: str) -> str:
        return self.input_path(name) if kind == "inputs" else self.output_path(name)


class StageFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One step of the pipeline."""

    containerfile: Annotated[
        RelativePath | None,
        Meta(description="What to build; without it Containerfiles/<stage>.Containerfile."),
    ] = None
    context: Annotated[
        RelativePath, Meta(description="The folder that COPY and ADD read from; without it the project.")
    ] = RelativePath(".")
    target: Annotated[
        Annotated[
            str,
            Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", extra={"expected": "the name of a build target"}),
        ]
        | None,
        Meta(description="The build target (FROM … AS target) to stop at; without it the last."),
    ] = None
    args: Annotated[dict[Variable, str], Meta(description="Build arguments (ARG), all of them text.")] = {}
    secrets: Annotated[
        dict[SecretId, Secret],
        Meta(
            description="What RUN --mount=type=secret,id=… may read, by id. No value is written anywhere, "
            "nor counts as an input: an image must not depend on it."
        ),
    ] = {}
    needs: Annotated[
        tuple[str, ...], Meta(description="Stages that come first, since this one uses what they make.")
    ] = ()
    normalisers: Annotated[
        dict[str, bool],
        Meta(description="Turns a rule of the canonical form off for this stage: bytecode: false."),
    ] = {}
    run: Annotated[Run, Meta(description="How the stage is run.")] = Run()


Attach = Literal["provenance", "cyclonedx", "spdx"]


class PushFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `rbuild push` calls the images that it sends."""

    tags: Annotated[
        tuple[str, ...],
        Meta(
            description="Templates of the tags that an image gets: {input} is the start of the stage's input "
            "digest, {git} the commit of a clean checkout, {version} the project's version, {stage} its name."
        ),
    ] = ("{input}", "latest")
    moving_tags: Annotated[
        tuple[str, ...],
        Meta(
            description="The templates whose tags may move from one image to another; "
            "any other needs `rbuild push --force` for that."
        ),
    ] = ("latest",)
    attach: Annotated[
        tuple[Attach, ...],
        Meta(
            description="What is published beside an image, as artifacts that refer to it: SLSA provenance, "
            "and bills of materials as CycloneDX 1.6 or SPDX 2.3. [] is nothing."
        ),
    ] = ("provenance", "cyclonedx")


class ProjectFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A project of rbuild: the stages of a pipeline, and the images that they start from."""

    project: Annotated[
        Name, Meta(description="The project's name; its images are localhost/<project>/<stage>.")
    ]
    version: Annotated[
        str | None, Meta(description="The project's version, for tags: {version}. No input of any image.")
    ] = None
    registry: Annotated[str | None, Meta(description="Where `rbuild push` sends images: quay.io/team.")] = (
        None
    )
    substitutes: Annotated[
        tuple[str, ...],
        Meta(
            description="Registries, such as quay.io/team, that are asked in this order for images that are "
            "locked and not here, before they are built."
        ),
    ] = ()
    push: Annotated[PushFile, Meta(description="What the images are called that `rbuild push` sends.")] = (
        PushFile()
    )
    trust: Annotated[
        RelativePath | None,
        Meta(
            description="The folder with the policy.json (containers-policy.json(5)) and registries.d by "
            "which images from registries are taken: policies/trust. Without it the user's own policy holds."
        ),
    ] = None
    sources: Annotated[
        Literal["none", "pages", "all"] | None,
        Meta(
            description="What `rbuild push` publishes beside an image to rebuild it from: none; pages: the "
            "project's files, and what cannot be had again by URL and sha256; all: all that its build read. "
            "Without it, pages if there is a registry, else none."
        ),
    ] = None
    platform: Annotated[
        str, Meta(description="The platform that images are for: linux/amd64, linux/arm64, …")
    ] = DEFAULT_PLATFORM
    compression: Annotated[
        Algorithm,
        Meta(
            description="How the layers that rbuild writes are compressed: zstd, or gzip for what cannot "
            "read zstd. Layers of a base that is an image stay as they are."
        ),
    ] = "zstd"
    bases: Annotated[
        dict[str, Base],
        Meta(
            description="What a FROM means, by the reference that it names. "
            "A reference that is not listed is an image in a registry."
        ),
    ] = {}
    stages: Annotated[dict[Name, StageFile], Meta(description="The steps of the pipeline, by name.")]


def default_containerfile(stage: str) -> RelativePath:
    """The Containerfile of a stage that names none."""
    return RelativePath(f"Containerfiles/{stage}.Containerfile")
