"""`rbuild push --sources` and `rbuild rebuild`: an image once more, from its registry alone."""

from __future__ import annotations

import io
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from faultyproxy import FaultyProxy
from httpfaults import serving
from registries import Registry, registry
from worlds import Layouts, World, make_world, project_file, remove_world

from rbuild.digest import Digest
from rbuild.image.artifact import Artifact, Part, artifact, read_artifact
from rbuild.image.manifest import OCI_MANIFEST, Descriptor
from rbuild.image.tar import Entry, Kind, TarReader
from rbuild.image.ustar import END, header, padding
from rbuild.registry.client import Registry as Client
from rbuild.registry.referrers import attach, referrers
from rbuild.registry.repository import Repository
from rbuild.sources import ARTIFACT_TYPE, FILE_TYPE, KEPT, PROJECT_TYPE, TITLE

SECRET = "correct-horse-battery-staple"
# A base of Debian packages, one that is a layout, two targets, apt, a secret whose file is in the context.
TOOLS = """\
FROM debian:bookworm AS build
RUN --mount=type=secret,id=token,required grep -q . /run/secrets/token && apt-get update && \\
    apt-get install -y --no-install-recommends tree && rm -rf /var/lib/apt/lists/*
FROM busybox:1
COPY --from=build /usr/bin/tree /bin/tree
COPY . /srv
"""
# Nothing but what is local answers: all else goes to a port on which nobody listens.
CUT_OFF = {
    **dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9"),
    **dict.fromkeys(("no_proxy", "NO_PROXY"), "localhost,127.0.0.1"),
}


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="rb-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def server(place: Path) -> Iterator[Registry]:
    with registry(place) as running:
        yield running


@pytest.fixture
def auditor(folder: Path) -> Iterator[World]:
    """Somebody else: no project, an empty store, empty Podman storage."""
    (folder / "auditor").mkdir()
    made = make_world(folder / "auditor")
    yield made
    remove_world(made)


def left_in_store(world: World) -> list[str]:
    """What is in the store but its own furniture and the logs of builds."""
    files = [path.relative_to(world.store) for path in world.store.rglob("*") if path.is_file()]
    furniture = {"lock", "index.json", "oci-layout"}
    return sorted(str(path) for path in files if str(path) not in furniture and path.parts[0] != "logs")


def rebuilt(world: World, image: str, *arguments: str, env: Mapping[str, str] | None = None) -> Any:
    done = world.rbuild("rebuild", image, "--json", *arguments, env=env)
    assert done.stdout, done.stderr
    assert left_in_store(world) == []
    assert world.podman("images", "--all", "--quiet") == ""
    return json.loads(done.stdout)


# A stage with everything


@pytest.fixture(scope="module")
def tools(place: Path, layouts: Layouts) -> Iterator[World]:
    (place / "tools").mkdir()
    world = make_world(place / "tools")
    bases: dict[str, Any] = {
        **layouts.install(world, "tiny", ("docker.io/library/busybox:1",)),
        "docker.io/library/debian:bookworm": {"debian": {"suite": "bookworm", "packages": ["apt"]}},
    }
    stage = {
        "containerfile": "Containerfile",
        "context": ".",
        "secrets": {"token": {"file": "private/token"}},
    }
    world.write(
        {
            "rbuild.yaml": project_file(bases, {"tools": stage}),
            "Containerfile": TOOLS,
            ".containerignore": "bases\n*.tmp\n",
            "ignored.tmp": "nobody is to see this\n",
            "private/token": f"{SECRET}\n",
            "notes/read me": "text\n",
        }
    )
    (world.project / "large").write_bytes(os.urandom((1 << 20) + 5))
    (world.project / "large").chmod(0o755)
    (world.project / "link").symlink_to("notes/read me")
    (world.project / "nothing in it").mkdir()
    world.ok("all")
    yield world
    remove_world(world)


def pushed(world: World, *arguments: str) -> dict[str, Any]:
    """The one image of a push that succeeds."""
    (found,) = json.loads(world.ok("push", *arguments, "--json").stdout)
    assert found["error"] is None
    (image,) = found["images"]
    result: dict[str, Any] = image
    return result


def sources_in(image: dict[str, Any]) -> dict[str, Any]:
    """What a push says of the sources."""
    (found,) = [one for one in image["attached"] if one["artifact_type"] == ARTIFACT_TYPE]
    result: dict[str, Any] = found
    return result


def test_all_sources_are_enough_without_any_network(tools: World, server: Registry, auditor: World) -> None:
    image = pushed(tools, "--to", f"{server.host}/all", "--sources", "all")
    found = rebuilt(auditor, image["reference"], env=CUT_OFF)
    assert (found["verification"]["verdict"], found["kept"]) == ("identical", "all")
    assert found["verification"]["built"] == tools.digests()["tools"]
    assert found["sources"] == sources_in(image)["digest"]


def test_a_second_push_sends_nothing(tools: World, server: Registry, folder: Path) -> None:
    first = pushed(tools, "--to", f"{server.host}/again", "--sources", "all")
    with serving(FaultyProxy(server.port)) as proxy:
        # From elsewhere: other times, another umask, and the same files.
        shutil.copytree(tools.project, folder / "project", symlinks=True)
        for path in (folder / "project" / "notes").rglob("*"):
            path.chmod(0o600)
        elsewhere = World(folder / "project", tools.data, tools.env)
        again = pushed(elsewhere, "--to", f"{proxy.host}/again", "--sources", "all")
        assert again["attached"] == [{**one, "bytes_sent": 0} for one in first["attached"]]
        assert again["bytes_sent"] == 0
        assert not [seen for seen in proxy.seen if seen.method not in ("GET", "HEAD")]


def test_pages_are_enough_with_the_network(tools: World, server: Registry, auditor: World) -> None:
    everything = pushed(tools, "--to", f"{server.host}/all", "--sources", "all")
    image = pushed(tools, "--to", f"{server.host}/pages", "--sources", "pages")
    assert sources_in(image)["blobs"] < sources_in(everything)["blobs"] / 5
    found = rebuilt(auditor, f"{server.host}/pages/demo/tools:latest", "--offline")
    assert found["verification"]["verdict"] == "could not tell"  # packages are asked for elsewhere
    found = rebuilt(auditor, f"{server.host}/pages/demo/tools:latest")
    assert (found["verification"]["verdict"], found["kept"]) == ("identical", "pages")


def test_the_sources_hold_the_files_and_no_secret(tools: World, server: Registry, folder: Path) -> None:
    image = pushed(tools, "--to", f"{server.host}/secret", "--sources", "pages")
    repository = Client(server.host, env={}).repository("secret/demo/tools")
    digest = Digest.parse(tools.digests()["tools"])
    (listed,) = referrers(repository, digest, ARTIFACT_TYPE)
    assert str(listed.digest) == sources_in(image)["digest"]
    assert listed.annotations == {KEPT: "pages"}
    files = archive(repository, digest)
    assert {*files} == {
        "rbuild.yaml",
        "rbuild.lock",
        "Containerfile",
        "Containerfile.containerignore",
        "bases/0/oci-layout",
        *("context", "context/.containerignore", "context/Containerfile", "context/link"),
        *("context/notes", "context/notes/read me", "context/nothing in it", "context/private"),
        "context/rbuild.yaml",
    }
    assert not [name for name, data in files.items() if SECRET.encode() in data]
    for name in server.storage.rglob("data"):
        assert SECRET.encode() not in name.read_bytes()


def archive(repository: Repository, image: Digest) -> dict[str, bytes]:
    """The files of the published project but for the large ones; of links and folders, nothing."""
    part = next(part for part in parts_of(repository, image) if part.media_type == PROJECT_TYPE)
    data = bytearray()
    repository.pull_blob(part.digest, part.size, data.extend)
    return dict(unpacked(bytes(data)))


def parts_of(repository: Repository, image: Digest) -> tuple[Part, ...]:
    (listed, *_) = referrers(repository, image, ARTIFACT_TYPE)
    manifest = repository.manifest(str(listed.digest))
    assert manifest is not None
    return read_artifact(manifest.data, image, ARTIFACT_TYPE)


def unpacked(data: bytes) -> Iterator[tuple[str, bytes]]:
    from rbuild.image.codec import decompressed

    reader = TarReader(decompressed(io.BytesIO(data), "application/vnd.oci.image.layer.v1.tar+zstd"))
    for entry in reader:
        yield os.fsdecode(entry.path), b"".join(reader.content())


# Small stages, made upon nothing


@dataclass(frozen=True)
class Small:
    """A project whose images are pushed without sources, and what those would have been."""

    world: World
    repository: Callable[[str], Repository]
    name: Callable[[str], str]

    def image(self, stage: str) -> Descriptor:
        manifest = self.repository(stage).manifest(self.world.digests()[stage])
        assert manifest is not None
        return Descriptor(media_type=OCI_MANIFEST, digest=manifest.digest, size=len(manifest.data))

    def attach(self, stage: str, *parts: Part) -> Artifact:
        """Publish these parts as the sources of a stage."""
        made = artifact(self.image(stage), ARTIFACT_TYPE, parts, {KEPT: "pages"})
        repository = self.repository(stage)
        for part in made.blobs:
            if part.data is not None:
                repository.push_blob(part.digest, part.size, partial(io.BytesIO, part.data), lambda _: None)
        attach(repository, self.image(stage).digest, [made], missing=[made])
        return made


@pytest.fixture(scope="module")
def made_of_files(place: Path) -> Iterator[World]:
    (place / "small").mkdir()
    world = make_world(place / "small")
    stages = {name: {"containerfile": "Containerfile", "context": name} for name in ("one", "two")}
    world.write(
        {
            "rbuild.yaml": yaml.safe_dump({"project": "iris", "stages": stages}),
            "Containerfile": "FROM scratch\nCOPY . /\n",
            "one/file": "one\n",
            "two/file": "two\n",
        }
    )
    (world.project / "one" / "large").write_bytes(bytes(2 << 20))
    world.ok("all")
    yield world
    remove_world(world)


@pytest.fixture
def small(made_of_files: World, server: Registry) -> Small:
    """In repositories of its own, without sources."""
    own = f"small-{os.urandom(6).hex()}"
    where = f"{server.host}/{own}"
    made_of_files.ok("push", "--to", where)
    client = Client(server.host, env={})
    return Small(
        made_of_files,
        lambda stage: client.repository(f"{own}/iris/{stage}"),
        lambda stage: f"{where}/iris/{stage}@{made_of_files.digests()[stage]}",
    )


@pytest.fixture(scope="module")
def good(made_of_files: World, server: Registry) -> str:
    """Where their images are with their sources."""
    made_of_files.ok("push", "--to", f"{server.host}/good", "--sources", "pages")
    return f"{server.host}/good/iris"


@pytest.fixture
def sources(made_of_files: World, server: Registry, good: str) -> Callable[[str], dict[str, bytes]]:
    """What the published project of a stage has in its archive."""

    def of(stage: str) -> dict[str, bytes]:
        repository = Client(server.host, env={}).repository(f"good/iris/{stage}")
        return archive(repository, Digest.parse(made_of_files.digests()[stage]))

    return of


def packed(files: Mapping[str, bytes], *more: tuple[Entry, bytes]) -> Part:
    """An archive with these files, as a part of an artifact."""
    import zstandard

    kinds = {name: Kind.DIRECTORY if name == "context" else Kind.FILE for name in files}
    entries = [
        (Entry(os.fsencode(name), kinds[name], 0o644, size=len(data)), data) for name, data in files.items()
    ]
    tar = b"".join(header(entry) + data + padding(len(data)) for entry, data in (*entries, *more)) + END
    return Part.of(PROJECT_TYPE, zstandard.compress(tar))


def refused(world: World, image: str) -> str:
    done = world.rbuild("rebuild", image)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr and "rebuilding from nothing" not in done.stderr
    assert left_in_store(world) == []
    return done.stderr


def test_an_image_by_its_tag_with_its_sources_for_reading(
    made_of_files: World, good: str, auditor: World, folder: Path
) -> None:
    image, kept = f"{good}/one", folder / "kept"
    done = auditor.ok("rebuild", f"{image}:latest", "--keep", str(kept))
    digest = made_of_files.digests()["one"]
    assert done.stdout == f"one  identical  {digest}\n"
    assert f"{image}:latest is {digest} now" in done.stderr
    names = {str(path.relative_to(kept)) for path in kept.rglob("*")}
    assert names == {
        *("rbuild.yaml", "rbuild.lock", "Containerfile"),
        *("context", "context/file", "context/large"),
    }
    assert "two" not in (kept / "rbuild.lock").read_text()
    there = auditor.rbuild("rebuild", f"{image}@{digest}", "--keep", str(kept))
    assert there.returncode == 2 and f"{kept}: is there already" in there.stderr


def test_an_image_without_sources(small: Small, auditor: World) -> None:
    said = refused(auditor, small.name("one"))
    assert "its sources are not published beside it" in said
    assert "hint: rbuild push --sources pages, or --sources all" in said


def test_what_is_no_image_there(small: Small, auditor: World) -> None:
    nothing = small.name("one").partition("@")[0]
    assert "has no such image" in refused(auditor, f"{nothing}@{Digest.of(b'nothing')}")
    assert "not an image name" in refused(auditor, "Not An Image")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"context/file": b"another\n"}, "does not fit their files (context: changed)"),
        (
            {"Containerfile": b"FROM scratch\nCOPY file /\n"},
            "does not fit their files (containerfile: changed)",
        ),
        ({"rbuild.lock": b"version: 1\n"}, "rbuild.lock"),
        ({"rbuild.yaml": b"project: ../..\nstages: {}\n"}, "rbuild.yaml"),
        ({"rbuild.yaml": b"project: iris\nstages: {one: {containerfile: /etc/passwd}}\n"}, "rbuild.yaml"),
    ],
)
def test_sources_that_are_not_those_of_the_image(
    small: Small,
    sources: Callable[[str], dict[str, bytes]],
    auditor: World,
    change: dict[str, bytes],
    said: str,
) -> None:
    small.attach("two", packed({**sources("two"), **change}))
    assert said in refused(auditor, small.name("two"))


def test_the_lock_of_another_image(
    small: Small, sources: Callable[[str], dict[str, bytes]], auditor: World
) -> None:
    small.attach("one", packed(sources("two")))
    said = refused(auditor, small.name("one"))
    assert f"the lock of the sources is of another image, {small.world.digests()['two']}" in said


def test_sources_that_lead_out_of_their_folder(
    small: Small, sources: Callable[[str], dict[str, bytes]], auditor: World, folder: Path
) -> None:
    good = sources("two")
    evil = Part.of(FILE_TYPE, b"evil", {TITLE: "context/../../../evil"})
    small.attach("two", packed(good), evil)
    assert "a file of the context has the path 'context/../../../evil'" in refused(auditor, small.name("two"))
    # A link in the archive, and a large file that would go through it.
    target = folder / "outside"
    target.mkdir()
    link = Entry(b"context/door", Kind.SYMLINK, 0o777, link=os.fsencode(target))
    through = Part.of(FILE_TYPE, b"evil", {TITLE: "context/door/evil"})
    small.attach("one", packed(sources("one"), (link, b"")), through)
    assert "cannot be unpacked" in refused(auditor, small.name("one"))
    assert list(target.iterdir()) == []
    assert not list(folder.rglob("evil"))


def test_a_blob_that_the_registry_altered(
    made_of_files: World, small: Small, server: Registry, auditor: World, folder: Path
) -> None:
    """Sources that do not arrive are passed over; those that do are used."""
    with registry(folder) as own:
        made_of_files.ok("push", "one", "--to", own.host, "--sources", "pages")
        client = Client(own.host, env={}).repository("iris/one")
        digest = Digest.parse(made_of_files.digests()["one"])
        large = next(part for part in parts_of(client, digest) if part.media_type == FILE_TYPE)
        place = own.storage / "docker/registry/v2/blobs/sha256" / large.digest.hex[:2] / large.digest.hex
        data = bytearray((place / "data").read_bytes())
        data[1000] ^= 1
        (place / "data").write_bytes(data)
        said = refused(auditor, f"{own.host}/iris/one@{digest}")
        assert f"{own.host}/iris/one" in said and str(large.digest) in said


def test_the_first_sources_that_can_be_used_are(
    small: Small, sources: Callable[[str], dict[str, bytes]], auditor: World
) -> None:
    small.attach("two", packed({**sources("two"), "context/file": b"another\n"}))
    small.attach("two", packed(sources("two")))
    done = auditor.ok("rebuild", small.name("two"))
    assert "identical" in done.stdout
    assert "does not fit their files" in done.stderr


# A stage whose image depends on a secret, which none should


@pytest.fixture(scope="module")
def leak(place: Path, layouts: Layouts) -> Iterator[World]:
    (place / "leak").mkdir()
    world = make_world(place / "leak")
    world.env["AUDITORS_TOKEN"] = SECRET
    bases = layouts.install(world, "tiny", ("docker.io/library/busybox:1",))
    run = (
        "RUN --mount=type=secret,id=token busybox cp /run/secrets/token /leaked && busybox chmod 644 /leaked"
    )
    stage = {
        "containerfile": "Containerfile",
        "context": "files",
        "secrets": {"token": {"env": "AUDITORS_TOKEN"}},
    }
    world.write(
        {
            "rbuild.yaml": project_file(bases, {"leak": stage}),
            "Containerfile": f"FROM busybox:1\n{run}\nCOPY file /\n",
            "files/file": "a perfectly harmless text\n",
        }
    )
    world.ok("all")
    yield world
    remove_world(world)


def test_an_image_that_comes_out_otherwise(leak: World, server: Registry, auditor: World) -> None:
    image = pushed(leak, "--to", f"{server.host}/leak", "--sources", "pages")
    report = auditor.project / "report.html"
    done = auditor.rbuild("rebuild", image["reference"], "--report", str(report), env=CUT_OFF)
    assert done.returncode == 1
    assert done.stdout.startswith(f"leak  different  locked {leak.digests()['leak']}, built sha256:")
    # What is published was fetched to be compared.
    assert "/leaked" in done.stdout and f"- {SECRET}" in done.stdout
    assert "/leaked" in report.read_text()
    assert left_in_store(auditor) == []
    done = auditor.rbuild("rebuild", image["reference"], "--output-format", "junit", env=CUT_OFF)
    assert done.returncode == 1 and "<failure" in done.stdout


def test_a_strangers_project_gets_no_secret_of_the_auditors(
    leak: World, server: Registry, auditor: World
) -> None:
    """The published project asks for a variable that the auditor has, with the value that would fit."""
    pushed(leak, "--to", f"{server.host}/leak", "--sources", "pages")
    pushed(leak, "--to", f"{server.host}/evil")
    digest = Digest.parse(leak.digests()["leak"])
    good, evil = (Client(server.host, env={}).repository(f"{name}/demo/leak") for name in ("leak", "evil"))
    manifest = evil.manifest(str(digest))
    assert manifest is not None
    subject = Descriptor(media_type=OCI_MANIFEST, digest=digest, size=len(manifest.data))
    files = archive(good, digest)
    assert b"NOT_PUBLISHED" in files["rbuild.yaml"]
    files["rbuild.yaml"] = files["rbuild.yaml"].replace(b"NOT_PUBLISHED", b"AUDITORS_TOKEN")
    others = [part for part in parts_of(good, digest) if part.media_type != PROJECT_TYPE]
    made = artifact(subject, ARTIFACT_TYPE, [packed(files), *others], {KEPT: "pages"})
    for part in made.blobs:
        if part.data is not None:
            evil.push_blob(part.digest, part.size, partial(io.BytesIO, part.data), lambda _: None)
        else:
            assert evil.mount(part.digest, "leak/demo/leak")
    attach(evil, digest, [made], missing=[made])
    done = auditor.rbuild(
        "rebuild", f"{server.host}/evil/demo/leak@{digest}", env={"AUDITORS_TOKEN": SECRET, **CUT_OFF}
    )
    assert done.returncode == 1
    assert "no-secret-is-published" in done.stdout


def test_a_value_of_a_secret_is_not_published(leak: World, server: Registry) -> None:
    value = {"AUDITORS_TOKEN": "a perfectly harmless text"}
    done = leak.rbuild("push", "--to", f"{server.host}/refused", "--sources", "pages", env=value)
    assert done.returncode == 1
    assert "the file file of the context has the value of the secret 'token' in it" in done.stderr
    assert value["AUDITORS_TOKEN"] not in done.stdout + done.stderr
    assert not list(server.storage.glob("**/repositories/refused"))
