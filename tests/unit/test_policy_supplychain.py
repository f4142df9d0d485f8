"""RB3xx about text, the lock and pushes: what is found, where, and what is left alone."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from policyfacts import NOW, Image, file_facts, found, lock_facts, stage_lock

from rbuild.digest import Digest
from rbuild.errors import RbuildError
from rbuild.lock import BaseLock, DebianLock, DebianPackage, Lock
from rbuild.policy.facts import PushFacts, Verified
from rbuild.policy.versions import Range, compare_debian, compare_semver
from rbuild.recording import IndexFile, Recording, Response, SimpleIndex
from rbuild.reference import Reference
from rbuild.sbom.package import Ecosystem, Package

FROM = "FROM a.example/b:1.2"

FIRES: tuple[tuple[str, str, list[int]], ...] = (
    ("RB304", "RUN pip install \\\n --extra-index-url https://b.example/simple a==1", [3]),
    (
        "RB304",
        "ENV A=1 \\\n  PIP_EXTRA_INDEX_URL=https://b.example/\nRUN UV_INDEX=x uv pip install a==1",
        [4, 3],
    ),
    ("RB304", "RUN python3 -m pip install --extra-index-url=https://b.example/ a==1", [2]),
    (
        "RB305",
        "RUN curl -fsSkL https://b.example/f \\\n && wget --no-check-certificate https://b.example",
        [2, 3],
    ),
    ("RB305", "RUN pip install \\\n --trusted-host b.example a==1", [3]),
    ("RB305", "RUN echo 'deb [trusted=yes] http://b.example x main' > /etc/apt/sources.list.d/b.list", [2]),
    ("RB305", "RUN git config --global http.sslVerify false && npm config set strict-ssl false", [2, 2]),
    ("RB305", "ENV NODE_TLS_REJECT_UNAUTHORIZED=0\nRUN GIT_SSL_NO_VERIFY=1 git fetch", [3, 2]),
    ("RB305", "RUN apt-get update && apt-get install -y --allow-unauthenticated x", [2]),
    ("RB305", "RUN dnf config-manager --setopt=sslverify=false --save\nENV GOINSECURE=b.example", [2, 3]),
    ("RB305", "RUN PIP_TRUSTED_HOST=b.example pip install a==1", [2]),
    ("RB305", "RUN apk add --allow-untrusted /x.apk && dnf install -y --nogpgcheck x", [2, 2]),
)
SILENT: tuple[tuple[str, str], ...] = (
    ("RB304", "RUN pip install --index-url https://b.example/simple a==1 && echo --extra-index-url"),
    ("RB304", "ENV PIP_EXTRA_INDEX_URL=\nENV PIP_INDEX_URL=https://b.example/"),
    ("RB305", "RUN curl -fsSL https://b.example/k && curl --key f https://b.example && kill -k 1"),
    ("RB305", "RUN npm config set strict-ssl true && git config http.sslVerify true && pip install a==1"),
    (
        "RB305",
        "ENV NODE_TLS_REJECT_UNAUTHORIZED=1\n# RUN curl -k https://b.example\nRUN echo curl --insecure",
    ),
    ("RB305", "RUN echo 'deb [signed-by=/k.gpg] https://b.example x main' > /etc/apt/sources.list.d/b.list"),
)


@pytest.mark.parametrize(("rule", "text", "expected"), FIRES)
def test_found_on_its_line(rule: str, text: str, expected: list[int]) -> None:
    assert [one.where.line for one in found(rule, file_facts(f"{FROM}\n{text}\n")) if one.where] == expected


@pytest.mark.parametrize(("rule", "text"), SILENT)
def test_left_alone(rule: str, text: str) -> None:
    assert found(rule, file_facts(f"{FROM}\n{text}\n")) == []


def test_registries() -> None:
    facts = file_facts("FROM python:3.11 AS a\nFROM a.example/team/b:1\nCOPY --from=quay.io/x/y:1 / /\n")
    allowed = ("docker.io/library/*", "a.example/*")
    (one,) = found("RB301", facts, allowed=allowed)
    assert (one.where and one.where.line, one.text) == (3, "quay.io/x/y:1")
    assert found("RB301", facts, allowed=(*allowed, "quay.io/x/*")) == []
    assert found("RB301", facts) == []


def test_bases_that_have_to_be_signed() -> None:
    facts = file_facts("FROM a.example/team/b:1\n")
    asked = replace(facts, signed=lambda image: image.registry == "a.example")
    lax = replace(facts, signed=lambda _: False)
    assert found("RB319", asked, images=("a.example/*",)) == []
    assert found("RB319", lax) == []
    for some in (facts, lax):
        (one,) = found("RB319", some, images=("a.example/*",))
        assert one.where and one.where.line == 1


def test_mirrors() -> None:
    said = (
        "project: demo\nbases:\n  localhost/base/a:1:\n    debian: {suite: bookworm, mirror: 'http://%s/debian'}\n"
        "stages:\n  app:\n    containerfile: Containerfile\n"
    )
    (one,) = found("RB302", file_facts("FROM localhost/base/a:1", project=said % "b.example"))
    assert str(one.where) == "rbuild.yaml bases.localhost/base/a:1.debian.mirror"
    assert found("RB302", file_facts("FROM localhost/base/a:1", project=said % "deb.debian.org")) == []
    other = file_facts("FROM localhost/base/a:1", project=said % "b.example")
    assert found("RB302", other, allowed=("*.example",)) == []


def index(*files: tuple[str, bool | str]) -> SimpleIndex:
    return SimpleIndex(
        url="https://pypi.org/simple/flask/",
        project="flask",
        files=tuple(
            IndexFile(
                name=name,
                url=f"https://files.pythonhosted.org/{name}",
                sha256=Digest.of(name.encode()),
                yanked=yanked,
            )
            for name, yanked in files
        ),
    )


def response(url: str) -> Response:
    return Response(url=url, sha256=Digest.of(url.encode()), size=1)


RECORDING = Recording(
    indexes=(index(("Flask-2.3.0-py3-none-any.whl", "broken"), ("flask-2.3.1-py3-none-any.whl", False)),),
    responses=(
        response("http://deb.debian.org/debian/pool/main/o/openssl/openssl_3.0.9-1_amd64.deb"),
        response("https://registry.npmjs.org/@a/tool/-/tool-1.4.0.tgz"),
        response("https://b.example/f"),
    ),
)


def recorded(rule: str, **settings: Any) -> list[str]:
    facts = lock_facts(file_facts(FROM), locked=stage_lock(recording=RECORDING))
    return [one.text for one in found(rule, facts, **settings)]


def test_hosts_of_the_recording() -> None:
    allowed = ("pypi.org", "files.pythonhosted.org", "*.debian.org", "registry.npmjs.org")
    assert recorded("RB303", allowed=allowed) == ["https://b.example/f"]
    assert recorded("RB303", allowed=(*allowed, "b.example")) == []
    assert recorded("RB303") == []


def test_yanked_files() -> None:
    assert recorded("RB308") == ["Flask-2.3.0-py3-none-any.whl"]
    whole = lock_facts(
        file_facts(FROM), locked=stage_lock(recording=Recording(indexes=(index(("a", False)),)))
    )
    assert found("RB308", whole) == []


@pytest.mark.parametrize(
    ("forbidden", "expected"),
    [
        ("pypi:FLASK <2.3.1", ["pypi:flask 2.3.0"]),
        ("pypi:fl* >=2.3, <3", ["pypi:flask 2.3.0", "pypi:flask 2.3.1"]),
        ("deb:openssl <3.0.11-1", ["deb:openssl 3.0.9-1"]),
        ("npm:@a/tool 1.x", ["npm:@a/tool 1.4.0"]),
        ("npm:@a/* *", ["npm:@a/tool 1.4.0"]),
        ("npm:@a/tool <1.4.0", []),
        ("deb:openssl >=3.0.11-1", []),
        ("pypi:django", []),
    ],
)
def test_forbidden_packages_of_the_recording(forbidden: str, expected: list[str]) -> None:
    assert recorded("RB306", forbidden=(Range.parse(forbidden),)) == expected


def test_forbidden_packages_of_a_base() -> None:
    package = DebianPackage(
        name="openssl",
        version="3.0.9-1",
        architecture="amd64",
        path="pool/o.deb",
        sha256=Digest.of(b""),
        size=1,
    )
    debian = DebianLock(suite="bookworm", mirror="http://a.example", epoch=1, packages=(package,))
    bases = {"a.example/b": BaseLock(digest=Digest.of(b""), debian=debian)}
    lock = Lock(version=1, project="demo", platform="linux/amd64", bases=bases)
    facts = lock_facts(file_facts(FROM), lock=lock, locked=stage_lock(bases=tuple(bases)))
    (one,) = found("RB306", facts, forbidden=(Range.parse("deb:openssl <<3.0.11-1"),))
    assert str(one.where) == "rbuild.lock bases.a.example/b.debian.packages"
    assert found("RB306", facts) == []


def test_forbidden_packages_of_an_image() -> None:
    packages = (
        Package(
            ecosystem=Ecosystem.NPM, namespace="@a", name="tool", version="1.0.0", places=("x/package.json",)
        ),
        Package(ecosystem=Ecosystem.DEBIAN, namespace="debian", name="bash", version="5.2-1"),
    )
    facts = replace(Image(FROM).facts, packages=lambda: packages)
    (one,) = found("RB307", facts, forbidden=(Range.parse("npm:@a/tool <2"),))
    assert (one.where and one.where.file, one.text) == ("x/package.json", "npm:@a/tool 1.0.0")
    assert found("RB307", facts, forbidden=(Range.parse("deb:bash >=5.3"),)) == []
    assert found("RB307", facts) == []


@pytest.mark.parametrize(
    "text", ["requests", "gem:x", "pypi:a ~1", "pypi:a <1,,<2", "deb:a <1.*", "npm:a ~1.2", ""]
)
def test_a_range_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(RbuildError):
        Range.parse(text)


def test_debian_versions_in_their_order() -> None:
    """The examples of deb-version(7), and others that dpkg --compare-versions was asked about."""
    rising = [
        "0~~",
        "0~~a",
        "0~",
        "0",
        "0a",
        "0+",
        "1.0~rc1",
        "1.0",
        "1.0-1~deb12u1",
        "1.0-1",
        "1.0-1+b1",
        "1.0+dfsg-1",
        "1.2",
        "1.10",
        "1:0.1",
        "2:0",
    ]
    for low, high in pairwise(rising):
        assert (compare_debian(low, high), compare_debian(high, low)) == (-1, 1), (low, high)
    assert compare_debian("01.0", "1.00") == 0
    assert compare_debian("0:1", "1") == 0


def test_semantic_versions_in_their_order() -> None:
    """The example of semver.org, paragraph 11."""
    rising = (
        "1.0.0-alpha 1.0.0-alpha.1 1.0.0-alpha.beta 1.0.0-beta 1.0.0-beta.2 1.0.0-beta.11 1.0.0-rc.1 1.0.0"
    )
    for low, high in pairwise([*rising.split(), "1.0.1", "1.2.0", "1.10.0", "2"]):
        assert (compare_semver(low, high), compare_semver(high, low)) == (-1, 1), (low, high)
    assert compare_semver("v1.0.0+build", "1") == 0


def push(*tags: str, moving: frozenset[str] = frozenset({"latest"}), **others: Any) -> PushFacts:
    return PushFacts(
        image=Image(FROM).facts,
        repository=Reference.parse("a.example/team/app"),
        tags=tags,
        moving=moving,
        signed=others.get("signed", False),
    )


def test_destinations() -> None:
    facts = push("1")
    assert [one.text for one in found("RB310", facts, allowed=("b.example/*",))] == ["a.example/team/app"]
    assert found("RB310", facts, allowed=("a.example/team/*",)) == []
    assert found("RB310", facts) == []


def test_tags() -> None:
    assert [one.text for one in found("RB317", push("1.2", "latest"), allowed=("v*", "latest"))] == ["1.2"]
    assert [one.text for one in found("RB317", push("latest"))] == ["latest"]
    assert found("RB317", push("latest"), fixed=False) == []
    assert found("RB317", push("0123abcd", "latest")) == []


def test_a_push_without_a_signature() -> None:
    assert len(found("RB318", push("1"))) == 1
    assert found("RB318", push("1", signed=True)) == []


def test_a_push_without_a_verification() -> None:
    facts = push("1")
    lock = facts.image.lock
    verified = Verified(
        image=lock.locked.image.manifest,
        input=lock.locked.input,
        when=NOW - timedelta(days=1),
        verdict="identical",
    )
    right = replace(facts, image=replace(facts.image, lock=replace(lock, verified=verified)))
    assert found("RB309", right) == []
    assert [one.hint for one in found("RB309", facts)] == ["rbuild verify app"]
