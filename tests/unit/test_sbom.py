from __future__ import annotations

import io
import json
import tarfile
from typing import Any

import pytest
import zstandard
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from spdx_tools.spdx.parser.jsonlikedict.json_like_dict_parser import JsonLikeDictParser
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document
from tarballs import member, tarball

from rbuild.digest import Digest
from rbuild.errors import RbuildError
from rbuild.image.index import index_layer
from rbuild.lock import BaseLock, DebianLock, DebianPackage, ImageLock, StageLock
from rbuild.recording import IndexFile, Recording, Response, SimpleIndex
from rbuild.sbom import inventory as inventories
from rbuild.sbom.cyclonedxjson import cyclonedx
from rbuild.sbom.inventory import Inventory, Layer, inventory
from rbuild.sbom.origins import with_origins
from rbuild.sbom.package import Ecosystem, Origin, Package
from rbuild.sbom.spdxjson import spdx
from rbuild.sbom.subject import Subject

A, B, C, D = (Digest.of(text) for text in (b"a", b"b", b"c", b"d"))
SUBJECT = Subject(name="demo/train", digest=A, epoch=1_700_000_000, tool="0.1.0")
STATUS = b"""Package: libc6
Status: install ok installed
Architecture: amd64
Version: 2.36-9
Description: GNU C Library
 with a text of several lines,
 .
 Status: of no weight

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1

Package: diffutils
Status: install ok installed
Architecture: amd64
Version: 1:3.8-4
"""
OS = b'NAME="Debian"\nID=debian\nVERSION_CODENAME=bookworm\n'
METADATA = b"Name: Scikit_Learn\nVersion: 1.9.1\nLicense-Expression: BSD-3-Clause\n\nName: no\n"
SITE = "opt/venv/lib/python3.11/site-packages"


def layers(*stack: list[tuple[tarfile.TarInfo, bytes]]) -> list[Layer]:
    return [layer(tarball(members)) for members in stack]


def layer(data: bytes) -> Layer:
    return Layer(
        index=index_layer(io.BytesIO(data)),
        media_type="application/vnd.oci.image.layer.v1.tar+zstd",
        open=lambda: io.BytesIO(zstandard.compress(data)),
    )


def found(*files: tuple[str, bytes]) -> Inventory:
    return inventory(layers([member(name, data) for name, data in files]))


def names(inventory: Inventory) -> list[tuple[str, str, str]]:
    return [(one.ecosystem.value, one.name, one.version) for one in inventory.packages]


def test_the_three_kinds_of_packages_are_found() -> None:
    got = found(
        ("usr/lib/os-release", OS),
        ("var/lib/dpkg/status", STATUS),
        (f"{SITE}/scikit_learn-1.9.1.dist-info/METADATA", METADATA),
        ("srv/node_modules/@scope/thing/package.json", b'{"name": "@scope/thing", "version": "2.0.0"}'),
        ("srv/node_modules/@scope/thing/esm/package.json", b'{"type": "module"}'),
        ("srv/package.json", b'{"name": "the-project-itself", "version": "1.0.0"}'),
    )
    assert not got.problems
    debian = {"ecosystem": Ecosystem.DEBIAN, "namespace": "debian", "release": "bookworm"}
    assert got.packages == (
        Package(
            **debian,
            name="diffutils",
            version="1:3.8-4",
            architecture="amd64",
            places=("var/lib/dpkg/status",),
        ),
        Package(
            **debian, name="libc6", version="2.36-9", architecture="amd64", places=("var/lib/dpkg/status",)
        ),
        Package(
            ecosystem=Ecosystem.NPM,
            namespace="@scope",
            name="thing",
            version="2.0.0",
            places=("srv/node_modules/@scope/thing/package.json",),
        ),
        Package(
            ecosystem=Ecosystem.PYTHON,
            name="scikit-learn",
            version="1.9.1",
            licence="BSD-3-Clause",
            places=(f"{SITE}/scikit_learn-1.9.1.dist-info/METADATA",),
        ),
    )


def test_only_what_is_left_after_all_layers_counts() -> None:
    old = b"Name: old\nVersion: 1\n\n"
    stack = layers(
        [
            member("a/old-1.dist-info/METADATA", old),
            member("b/kept-1.dist-info/METADATA", b"Name: kept\nVersion: 1\n"),
            member("c/moved-1.dist-info/METADATA", b"Name: moved\nVersion: 1\n"),
            member("var/lib/dpkg/status", STATUS),
        ],
        [
            member("a/.wh.old-1.dist-info", b""),
            member("c/.wh..wh..opq", b""),
            member("var/lib/dpkg/status", STATUS.partition(b"\n\n")[0] + b"\n"),
        ],
    )
    assert names(inventory(stack)) == [("deb", "libc6", "2.36-9"), ("pypi", "kept", "1")]


def test_a_layer_without_such_files_is_not_opened() -> None:
    plain = layers([member("etc/motd", b"hello")])[0]
    closed = Layer(index=plain.index, media_type=plain.media_type, open=lambda: pytest.fail("opened"))
    assert inventory([closed]) == Inventory(packages=())


def test_one_package_in_two_places_is_one() -> None:
    data = [member("a/x-1.dist-info/METADATA", b"Name: x\nVersion: 1\n\n")]
    data.append(member("b/x-1.dist-info/METADATA", kind=tarfile.LNKTYPE, link="a/x-1.dist-info/METADATA"))
    (package,) = inventory(layers(data)).packages
    assert package.places == ("a/x-1.dist-info/METADATA", "b/x-1.dist-info/METADATA")


def test_packages_of_distroless_images_are_found() -> None:
    got = found(
        ("var/lib/dpkg/status.d/tzdata", b"Package: tzdata\nVersion: 2024a\nArchitecture: all\n"),
        ("var/lib/dpkg/status.d/tzdata.md5sums", b"0123  usr/share/zoneinfo/UTC\n"),
    )
    assert names(got) == [("deb", "tzdata", "2024a")] and not got.problems


@pytest.mark.parametrize(
    ("fields", "licence"),
    [
        ("License: MIT", "MIT"),
        ("License: UNKNOWN\nClassifier: License :: OSI Approved :: MIT License", "MIT License"),
        ("License: MIT License\n        Copyright (c) somebody", None),
        ("License: " + "x" * 300, None),
        ("License: GPL\nLicense-Expression: MIT OR Apache-2.0", "MIT OR Apache-2.0"),
        ("License: a\x1b[2Jb", None),
        ("", None),
    ],
)
def test_the_licence_of_a_distribution(fields: str, licence: str | None) -> None:
    (package,) = found(("x.dist-info/METADATA", f"Name: x\nVersion: 1\n{fields}".encode())).packages
    assert package.licence == licence


COPYRIGHT = b"""Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: tz

Files: *
Copyright: somebody
License: public-domain

Files: debian/*
Copyright: somebody else
License: GPL-2+
 This is free software.
 .
 License: not this one
"""


@pytest.mark.parametrize(
    ("data", "licence"),
    [
        (COPYRIGHT, "GPL-2+, public-domain"),
        (b"This is the Debian package of tzdata.\n\nLicense: MIT\n", None),
        (b"Package: x\nLicense: MIT\n", None),
        (COPYRIGHT + b"\nLicense: " + b"x" * 5000, None),
        (b"\0" * 999, None),
    ],
)
def test_the_licences_of_a_debian_package(data: bytes, licence: str | None) -> None:
    status = b"Package: tzdata\nStatus: install ok installed\nVersion: 1\nArchitecture: all\n"
    got = found(
        ("var/lib/dpkg/status", status),
        ("usr/share/doc/tzdata/copyright", data),
        ("usr/share/doc/other/copyright", COPYRIGHT),
    )
    assert [one.licence for one in got.packages] == [licence] and not got.problems


@pytest.mark.parametrize(
    ("written", "licence"),
    [
        ('"MIT"', "MIT"),
        ('{"type": "ISC", "url": "https://example.org"}', "ISC"),
        ('[{"type": "MIT"}, "Apache-2.0 WITH x"]', "MIT OR (Apache-2.0 WITH x)"),
        ("7", None),
    ],
)
def test_the_licence_of_an_npm_package(written: str, licence: str | None) -> None:
    data = f'{{"name": "x", "version": "1.0.0", "license": {written}}}'.encode()
    (package,) = found(("node_modules/x/package.json", data)).packages
    assert package.licence == licence


@pytest.mark.parametrize(
    ("path", "data"),
    [
        ("node_modules/x/package.json", b"[" * 100_000),
        ("node_modules/x/package.json", b'{"name": "../../x", "version": "1.0.0"}'),
        ("node_modules/x/package.json", b'{"name": "x", "version": 1}'),
        ("node_modules/x/package.json", b"\xff"),
        ("node_modules/x/package.json", b'{"name": "x", "version": "' + b"1" * 5000 + b'"}'),
        ("x.dist-info/METADATA", b"\0" * 1000),
        ("x.dist-info/METADATA", b"Name: x y\nVersion: 1"),
        ("x.dist-info/METADATA", b" " * (5 << 20)),
        ("var/lib/dpkg/status", b"Package: x\n\x1b[2J\n"),
        ("var/lib/dpkg/status", b"Package: x\nVersion: 1; rm\nArchitecture: all\n"),
    ],
)
def test_what_cannot_be_read_is_said_and_hides_nothing_else(path: str, data: bytes) -> None:
    got = found((path, data), ("y.dist-info/METADATA", b"Name: y\nVersion: 1"))
    assert names(got) == [("pypi", "y", "1")]
    (problem,) = got.problems
    assert problem.where and problem.where.file == f"/{path}"
    assert str(problem).isprintable() and len(str(problem)) < 500


def test_too_many_files_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inventories, "_MAX_FILES", 1)
    with pytest.raises(RbuildError, match="more than rbuild reads"):
        found(("x.dist-info/METADATA", b""), ("y.dist-info/METADATA", b""))


STAGE = StageLock(
    input=A,
    form=2,
    codec="zstd:3:1.5.7",
    epoch=1_700_000_000,
    bases=("localhost/base:1", "localhost/other:1"),
    context=A,
    containerfile=B,
    image=ImageLock(manifest=A, config=B, layers=()),
    recording=Recording(
        responses=(
            Response(url="https://registry.npmjs.org/@scope/thing/-/thing-2.0.0.tgz", sha256=C, size=4),
            Response(url="http://deb.example/pool/d/diffutils_3.8-4_amd64.deb", sha256=D, size=5),
            Response(url="http://deb.example/pool/l/libc6_2.36-9_amd64.deb", sha256=D, size=5, status=404),
        ),
        indexes=(
            SimpleIndex(
                url="https://pypi.org/simple/scikit-learn/",
                project="scikit-learn",
                files=(
                    IndexFile(
                        name="scikit_learn-1.9.1-cp311-cp311-manylinux_2_28_x86_64.whl",
                        url="https://files.example/scikit_learn-1.9.1-cp311-cp311-manylinux_2_28_x86_64.whl",
                        sha256=B,
                    ),
                    IndexFile(
                        name="scikit_learn-1.9.0.tar.gz",
                        url="https://files.example/scikit_learn-1.9.0.tar.gz",
                        sha256=C,
                    ),
                ),
            ),
        ),
    ),
)
BASES = {
    "localhost/other:1": BaseLock(digest=B, oci="bases/other"),
    "localhost/base:1": BaseLock(
        digest=B,
        debian=DebianLock(
            suite="bookworm",
            mirror="http://deb.debian.org/debian",
            epoch=1_700_000_000,
            packages=(
                DebianPackage(
                    name="libc6",
                    version="2.36-9",
                    architecture="amd64",
                    path="pool/main/g/glibc/libc6_2.36-9_amd64.deb",
                    sha256=A,
                    size=3,
                ),
            ),
        ),
    ),
}


def joined() -> tuple[Package, ...]:
    got = found(
        ("usr/lib/os-release", OS),
        ("var/lib/dpkg/status", STATUS),
        (f"{SITE}/scikit_learn-1.9.1.dist-info/METADATA", METADATA),
        ("local-1.dist-info/METADATA", b"Name: local\nVersion: 1\nLicense: Our own, see LICENSE"),
        ("srv/node_modules/@scope/thing/package.json", b'{"name": "@scope/thing", "version": "2.0.0"}'),
    )
    return with_origins(got.packages, STAGE, BASES)


def test_packages_are_joined_with_what_the_lock_pins() -> None:
    origins = {one.name: one.origins for one in joined()}
    wheel = "scikit_learn-1.9.1-cp311-cp311-manylinux_2_28_x86_64.whl"
    assert origins == {
        "libc6": (
            Origin(
                url="http://deb.debian.org/debian/pool/main/g/glibc/libc6_2.36-9_amd64.deb", sha256=A, size=3
            ),
        ),
        "diffutils": (Origin(url="http://deb.example/pool/d/diffutils_3.8-4_amd64.deb", sha256=D, size=5),),
        "thing": (Origin(url="https://registry.npmjs.org/@scope/thing/-/thing-2.0.0.tgz", sha256=C, size=4),),
        "scikit-learn": (Origin(url=f"https://files.example/{wheel}", sha256=B),),
        "local": (),
    }


def test_cyclonedx_is_valid_and_says_it_all() -> None:
    document = cyclonedx(SUBJECT, joined())
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(document.decode()) is None
    bom = json.loads(document)
    assert bom["specVersion"] == "1.6" and bom["metadata"]["timestamp"] == "2023-11-14T22:13:20+00:00"
    assert bom["metadata"]["component"]["hashes"] == [{"alg": "SHA-256", "content": A.hex}]
    components: dict[str, Any] = {one["purl"]: one for one in bom["components"]}
    assert sorted(components) == [
        "pkg:deb/debian/diffutils@1:3.8-4?arch=amd64&distro=bookworm",
        "pkg:deb/debian/libc6@2.36-9?arch=amd64&distro=bookworm",
        "pkg:npm/%40scope/thing@2.0.0",
        "pkg:pypi/local@1",
        "pkg:pypi/scikit-learn@1.9.1",
    ]
    libc = components["pkg:deb/debian/libc6@2.36-9?arch=amd64&distro=bookworm"]
    wheel = components["pkg:pypi/scikit-learn@1.9.1"]
    assert libc["hashes"] == [{"alg": "SHA-256", "content": A.hex}]
    assert libc["externalReferences"][0]["url"].endswith("/pool/main/g/glibc/libc6_2.36-9_amd64.deb")
    assert wheel["licenses"] == [{"license": {"acknowledgement": "declared", "id": "BSD-3-Clause"}}]
    assert wheel["evidence"]["occurrences"] == [{"location": f"{SITE}/scikit_learn-1.9.1.dist-info/METADATA"}]
    assert components["pkg:pypi/local@1"]["licenses"][0]["license"]["name"] == "Our own, see LICENSE"
    depends = {one["ref"]: one.get("dependsOn", []) for one in bom["dependencies"]}
    assert set(depends[bom["metadata"]["component"]["bom-ref"]]) == set(components)


def test_spdx_is_valid_and_says_it_all() -> None:
    document = spdx(SUBJECT, joined())
    said = json.loads(document)
    assert validate_full_spdx_document(JsonLikeDictParser().parse(json.loads(document))) == []
    assert said["spdxVersion"] == "SPDX-2.3" and said["creationInfo"]["created"] == "2023-11-14T22:13:20Z"
    packages = {one["name"]: one for one in said["packages"]}
    assert list(packages) == ["demo/train", "diffutils", "libc6", "@scope/thing", "local", "scikit-learn"]
    assert packages["libc6"]["checksums"] == [{"algorithm": "SHA256", "checksumValue": A.hex}]
    assert packages["libc6"]["downloadLocation"].endswith("/libc6_2.36-9_amd64.deb")
    assert packages["scikit-learn"]["licenseDeclared"] == "BSD-3-Clause"
    assert packages["local"]["licenseDeclared"] == "NOASSERTION"
    assert packages["local"]["licenseComments"] == "Our own, see LICENSE"
    assert packages["local"]["downloadLocation"] == "NOASSERTION"
    assert packages["@scope/thing"]["externalRefs"][0]["referenceLocator"] == "pkg:npm/%40scope/thing@2.0.0"
    contained = [one for one in said["relationships"] if one["relationshipType"] == "CONTAINS"]
    assert len(contained) == 5


@pytest.mark.parametrize("write", [cyclonedx, spdx])
def test_the_same_image_gives_the_same_bytes_and_another_one_another_number(write: Any) -> None:
    one = write(SUBJECT, joined())
    assert write(SUBJECT, joined()) == one
    other = write(Subject(name="demo/train", digest=B, epoch=1_700_000_000, tool="0.1.0"), joined())
    key = "serialNumber" if write is cyclonedx else "documentNamespace"
    assert json.loads(other)[key] != json.loads(one)[key]


@pytest.mark.parametrize(
    ("licence", "declared"),
    [
        ("MIT OR (Apache-2.0 AND ISC)", "MIT OR (Apache-2.0 AND ISC)"),
        ("MIT AND", "NOASSERTION"),
        ("(" * 200, "NOASSERTION"),
        ("MIT OR Nobody-Knows-1.0", "NOASSERTION"),
        ("AND", "NOASSERTION"),
        ("\N{SNOWMAN} & <b>", "NOASSERTION"),
    ],
)
def test_any_licence_makes_valid_documents(licence: str, declared: str) -> None:
    package = Package(ecosystem=Ecosystem.PYTHON, name="x", version="1", licence=licence, places=("x",))
    assert (
        JsonStrictValidator(SchemaVersion.V1_6).validate_str(cyclonedx(SUBJECT, [package]).decode()) is None
    )
    document = json.loads(spdx(SUBJECT, [package]))
    assert validate_full_spdx_document(JsonLikeDictParser().parse(document)) == []
    assert document["packages"][-1]["licenseDeclared"] == declared
