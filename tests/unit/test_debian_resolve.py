"""What apt is told, and what its errors become."""

from __future__ import annotations

from pathlib import Path

import pytest

from rbuild import process
from rbuild.debian import resolve as module
from rbuild.debian.archives import archives
from rbuild.errors import RbuildError

BOOKWORM = archives("bookworm")


class FakeApt:
    """Answers in apt's place, and keeps the configuration that it was given."""

    def __init__(self, *, update: str = "", install: str = "", names: str = "") -> None:
        self.said = {"update": update, "install": install, "pkgnames": names}
        self.config = ""
        self.sources = ""
        self.env: dict[str, str] = {}
        self.wanted: list[str] = []

    def run(self, argv: list[str], **options: object) -> process.Completed:
        if argv[0] == "apt-config":
            host = (
                'Acquire::http::Proxy "http://proxy.example:3128";\n'
                'Acquire::Check-Valid-Until "false";\n'
                'Acquire::AllowInsecureRepositories "1";\n'
                'Acquire::IndexTargets::deb::DEP-11::MetaKey "x";\n'
            )
            return process.Completed(tuple(argv), 0, host, "")
        env = options["env"]
        assert isinstance(env, dict)
        self.env = env
        config = Path(env["APT_CONFIG"])
        self.config = config.read_text()
        self.sources = (config.parent / "etc/sources.list").read_text()
        if argv[1] == "install":
            self.wanted = argv[argv.index("--print-uris") + 1 :]
        said = self.said[argv[1]]
        return process.Completed(tuple(argv), 100 if said.startswith(("E:", "W:")) else 0, said, "")


def resolve(monkeypatch: pytest.MonkeyPatch, work: Path, apt: FakeApt, *names: str) -> None:
    monkeypatch.setattr(process, "run", apt.run)
    keyring = work / "keys.gpg"
    keyring.touch()
    module.resolve(
        BOOKWORM,
        names,
        architecture="arm64",
        environ={"https_proxy": "http://p.example", "APT_CONFIG": "/host", "LANG": "de_DE.UTF-8"},
        work=work,
        keyring=str(keyring),
    )
    assert list(work.iterdir()) == [keyring]


def test_only_the_network_settings_of_the_host_count(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    apt = FakeApt()
    resolve(monkeypatch, tmp_path, apt, "python3", "zlib1g=1:1.2.13.dfsg-1")
    assert 'Acquire::http::Proxy "http://proxy.example:3128";' in apt.config
    assert 'Acquire::Check-Valid-Until "false";' in apt.config
    assert "AllowInsecure" not in apt.config
    assert "DEP-11" not in apt.config
    assert 'APT::Architecture "arm64"' in apt.config
    assert apt.env["https_proxy"] == "http://p.example"
    assert apt.env["LC_ALL"] == "C.UTF-8"
    assert set(apt.env) == {"PATH", "LC_ALL", "HOME", "APT_CONFIG", "https_proxy"}
    assert apt.sources.count(f"signed-by={tmp_path}/keys.gpg") == 3
    assert apt.wanted[0] == "?essential"
    assert apt.wanted[-2:] == ["python3", "zlib1g=1:1.2.13.dfsg-1"]


@pytest.mark.parametrize("name", ["-oDir=/", "python3-", "?essential", "lib*", "./x.deb", "a b", "", "x=1/y"])
def test_a_name_that_apt_would_read_otherwise_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(RbuildError, match="not the name of a Debian package"):
        module.resolve(BOOKWORM, ["python3", name], architecture="amd64", environ={}, work=tmp_path)


def test_missing_keys_are_named(tmp_path: Path) -> None:
    with pytest.raises(RbuildError, match=r"none\.gpg\nhint: apt-get install debian-archive-keyring"):
        module.resolve(BOOKWORM, [], architecture="amd64", environ={}, work=tmp_path, keyring="/none.gpg")


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (
            "E: The repository 'http://m.example/debian bokworm Release' does not have a Release file.",
            "http://m.example/debian/dists/bokworm/: there is no suite bokworm",
        ),
        (
            "W: GPG error: http://m.example/debian sid InRelease: NO_PUBKEY 54404762BBB6E853\n"
            "E: The repository 'http://m.example/debian sid InRelease' is not signed.",
            "http://m.example/debian: the signature of suite sid is not good: .*NO_PUBKEY 54404762BBB6E853",
        ),
        (
            "E: Failed to fetch http://m.example/debian/dists/sid/InRelease  Could not resolve 'm.example'\n"
            "E: Some index files failed to download.",
            "http://m.example/debian/dists/sid/InRelease: cannot be fetched: Could not resolve 'm.example'",
        ),
        ("E: something new", "http://deb.debian.org/debian: something new"),
    ],
)
def test_why_the_indexes_are_not_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, said: str, expected: str
) -> None:
    with pytest.raises(RbuildError, match=expected):
        resolve(monkeypatch, tmp_path, FakeApt(update=said))


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (
            "E: Unable to locate package pyhton3",
            r"bookworm has no such package: pyhton3 .*\nhint: did you mean 'python3'\?",
        ),
        ("E: Version '1' for 'bash' was not found", r"bookworm has no such package: bash \(Version '1'"),
        ("E: Package 'awk' has no installation candidate", "bookworm has no such package: awk"),
        ("E: Unable to correct problems, you have held broken packages.", "cannot be installed together"),
    ],
)
def test_why_the_packages_cannot_be_had(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, said: str, expected: str
) -> None:
    with pytest.raises(RbuildError, match=expected):
        resolve(monkeypatch, tmp_path, FakeApt(install=said, names="python3\nbash\n"), "pyhton3")
