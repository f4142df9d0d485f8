"""The usual clients, unmodified: what they got while recording they get again without a network."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import zipfile
from http.client import HTTPMessage
from pathlib import Path

import pytest

from rbuild.digest import Digest
from rbuild.plain import plain
from rbuild.sealed.upstream import Patience
from rbuild.store import Store

PATIENT = Patience()


def digests(folder: Path) -> dict[str, Digest]:
    """Every file below `folder`, by its path."""
    return {
        str(path.relative_to(folder)): Digest.of(path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def pip_download(build, *arguments: str) -> dict[str, Digest]:
    build.run(sys.executable, "-m", "pip", "download", "--no-cache-dir", "-d", "wheels", *arguments)
    return digests(build.home / "wheels")


def test_pip_replays_and_needs_no_store_for_it(building, tmp_path):
    with building(patience=PATIENT) as first:
        recorded = pip_download(first, "requests", "six<1.17")
    recording = first.exchange.recording()
    assert len(recorded) == 6
    assert not recording.responses, "a file of an index is not listed a second time"
    assert {index.project for index in recording.indexes} >= {"requests", "idna", "six"}
    assert sorted(file.name for index in recording.indexes for file in index.files) == sorted(recorded)

    with building(recording) as second:
        assert pip_download(second, "requests", "six<1.17") == recorded
        index = second.curl("https://pypi.org/simple/six/").decode()
    assert index.count("<a ") == 1 and "six-1.16" in index
    assert second.exchange.recording() == recording and not second.exchange.failures

    with building(recording, fetch=True, patience=PATIENT, into=Store(tmp_path / "empty")) as third:
        assert pip_download(third, "requests", "six<1.17") == recorded
    assert third.exchange.recording() == recording and not third.exchange.failures


def wheel() -> bytes:
    """The smallest wheel: the distribution `small` 1.0, without a module."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("small-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: small\nVersion: 1.0\n")
        archive.writestr("small-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr("small-1.0.dist-info/RECORD", "")
    return packed.getvalue()


def test_pip_is_led_from_an_index_to_another_host_again(site, building, tmp_path):
    """A mirror of an index, which has the page, and redirects to where the files are."""
    name = "small-1.0-py3-none-any.whl"
    listed = site.in_turn(f"/files/{name}", lambda handler: handler.give(b"", 302, Location=f"/cdn/{name}"))
    data = wheel()
    site.serve(f"/cdn/{name}", data)
    page = f'<a href="{listed}">{name}</a> <a href="/files/small-2.0-py3-none-any.whl">2.0</a>'.encode()
    site.serve("/simple/small/", page, Content_Type="text/html")
    asked = ("--index-url", site.url("/simple/"), "--trusted-host", "127.0.0.2", "small==1.0")
    with building() as first:
        recorded = pip_download(first, *asked)
    recording = first.exchange.recording()
    (index,) = recording.indexes
    assert [(file.url, file.sha256) for file in index.files] == [(listed, Digest.of(data))]
    assert {one.url: one.status for one in recording.responses} == {
        listed: 302,
        site.url(f"/cdn/{name}"): 200,
    }
    with building(recording) as second:
        assert pip_download(second, *asked) == recorded
    assert second.exchange.recording() == recording and not second.exchange.failures
    with building(recording, fetch=True, into=Store(tmp_path / "empty")) as third:
        assert pip_download(third, *asked) == recorded
    assert third.exchange.recording() == recording and not third.exchange.failures


def test_pip_is_refused_what_is_not_locked(building):
    with building(patience=PATIENT) as first:
        pip_download(first, "six")
    with building(first.exchange.recording()) as second:
        second.step = 4
        argv = (sys.executable, "-m", "pip", "download", "--no-cache-dir", "--retries", "0", "idna")
        assert second.run(*argv, ok=False).returncode != 0
    (failure,) = second.exchange.failures
    assert (failure.url, failure.step) == ("https://pypi.org/simple/idna/", 4)


# Debian's brings hundreds of packages along; tests/scenarios/npm has one in an image, always.
@pytest.mark.skipif(shutil.which("npm") is None, reason="there is no npm on this host: apt-get install npm")
def test_npm_replays(building):
    def install(build) -> dict[str, Digest]:
        (build.home / "package.json").write_text('{"name": "x", "version": "1.0.0"}')
        build.run("npm", "install", "--no-audit", "--cache", "cache", "is-odd@3.0.1")
        return digests(build.home / "node_modules")

    with building(patience=PATIENT) as first:
        recorded = install(first)
    assert "is-odd/package.json" in recorded and "is-number/package.json" in recorded
    with building(first.exchange.recording()) as second:
        assert install(second) == recorded
    assert not second.exchange.failures


def test_apt_replays(building, tmp_path):
    def update(build) -> dict[str, Digest]:
        apt = build.home / "apt"
        (apt / "lists" / "partial").mkdir(parents=True)
        (apt / "cache" / "archives" / "partial").mkdir(parents=True)
        sources = apt / "sources.list"
        keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
        sources.write_text(f"deb [signed-by={keyring}] http://deb.debian.org/debian bookworm-updates main\n")
        settings = {
            "Dir::State": apt,
            "Dir::State::Lists": apt / "lists",
            "Dir::State::Status": "/dev/null",
            "Dir::Cache": apt / "cache",
            "Dir::Etc::SourceList": sources,
            "Dir::Etc::SourceParts": "/dev/null",
            "Dir::Etc::Parts": "/dev/null",
            "Dir::Log": apt,
            "APT::Sandbox::User": "",
            "Acquire::Languages": "none",
        }
        options = [f"-o{key}={value}" for key, value in settings.items()]
        build.run("apt-get", *options, "--error-on=any", "update")
        build.run("apt-get", *options, "--error-on=any", "update")
        build.run("apt-get", *options, "download", "tzdata")
        shutil.rmtree(build.home / "mount")
        found = {Path(name).name: digest for name, digest in digests(build.home).items()}
        return {name: digest for name, digest in found.items() if not name.endswith(".bin")}

    with building(patience=PATIENT) as first:
        recorded = update(first)
    assert any(name.endswith("_InRelease") for name in recorded)
    assert any(name.startswith("tzdata_") for name in recorded)
    with building(first.exchange.recording()) as second:
        assert update(second) == recorded
    assert not second.exchange.failures


def test_git_replays_a_clone(building, site, tmp_path):
    project = tmp_path / "project"
    author = ("-c", "user.name=someone", "-c", "user.email=someone@example.org")
    for argv in (
        ("git", "init", "-q", "-b", "main", project),
        ("git", "-C", project, *author, "commit", "-q", "--allow-empty", "-m", "first"),
    ):
        subprocess.run([str(part) for part in argv], check=True)
    for number in range(200):
        (project / f"file{number}").write_text(f"{number}\n" * 100)
    subprocess.run(["git", "-C", project, "add", "."], check=True)
    subprocess.run(["git", "-C", project, *author, "commit", "-q", "-m", "second"], check=True)

    def http_backend(handler) -> None:
        path, _, query = handler.path.partition("?")
        env = {
            "PATH": "/usr/bin:/bin",
            "GIT_PROJECT_ROOT": str(tmp_path),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "safe.directory",
            "GIT_CONFIG_VALUE_0": "*",
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REQUEST_METHOD": handler.command,
            "CONTENT_TYPE": handler.headers.get("content-type", ""),
            "CONTENT_LENGTH": str(len(handler.body)),
            "HTTP_CONTENT_ENCODING": handler.headers.get("content-encoding", ""),
            "GIT_PROTOCOL": handler.headers.get("git-protocol", ""),
        }
        done = subprocess.run(["git", "http-backend"], input=handler.body, env=env, capture_output=True)
        head, _, body = done.stdout.partition(b"\r\n\r\n")
        headers = HTTPMessage()
        for line in head.decode().split("\r\n"):
            name, _, value = line.partition(": ")
            headers[name] = value
        handler.give(body, Content_Type=headers["content-type"])

    for path in ("info/refs", "git-upload-pack"):
        site.answers[f"/project/.git/{path}"] = http_backend

    def clone(build) -> None:
        build.run("git", "clone", "-q", site.url("/project/.git"), "clone")
        assert (build.home / "clone" / "file199").read_text() == "199\n" * 100

    with building() as first:
        clone(first)
    asked = len(site.asked)
    recording = first.exchange.recording()
    assert {"GET", "POST"} == {one.method for one in recording.responses}
    with building(recording) as second:
        clone(second)
    assert len(site.asked) == asked and not second.exchange.failures


@pytest.mark.parametrize("command", [("wget", "-q", "-O", "out"), ("curl", "-sS", "-o", "out")])
def test_downloaders_replay(building, site, command):
    url = site.serve("/tool.tar.gz", b"archive" * 50_000)
    with building() as first:
        first.run(*command, url)
    with building(first.exchange.recording()) as second:
        second.run(*command, url)
        assert (second.home / "out").read_bytes() == b"archive" * 50_000
    assert len(site.asked) == 1


def test_an_index_of_which_nothing_was_used_stays_an_empty_page(building):
    with building(patience=PATIENT) as first:
        first.curl("-H", "Accept: application/vnd.pypi.simple.v1+json", "https://pypi.org/simple/pip/")
    recording = first.exchange.recording()
    assert plain(recording) == {"indexes": [{"url": "https://pypi.org/simple/pip/", "project": "pip"}]}
    with building(recording) as second:
        assert second.curl("https://pypi.org/simple/pip/").count(b"<a ") == 0


def test_uv_replays(building):
    uv = Path(sys.executable).with_name("uv")

    def install(build) -> dict[str, Digest]:
        options = ("--no-cache", "--python", sys.executable, "--target", "target", "--no-deps")
        build.run(uv, "pip", "install", *options, "six<1.17")
        return digests(build.home / "target")

    with building(patience=PATIENT) as first:
        recorded = install(first)
    assert "six.py" in recorded
    with building(first.exchange.recording()) as second:
        assert install(second) == recorded
    assert not second.exchange.failures


FAR = "https://registry.npmjs.org/is-odd/-/is-odd-3.0.1.tgz"
PYTHON_SSL = f"from urllib.request import urlopen; urlopen({FAR!r}).read()"
REQUESTS = f"import requests; requests.get({FAR!r}).raise_for_status()"
NODE = """
const {hostname, pathname} = new URL(process.argv[1]), proxy = new URL(process.env.https_proxy)
const ask = {host: proxy.hostname, port: proxy.port, method: 'CONNECT', path: hostname + ':443'}
require('http').request(ask).on('connect', (_, socket) => {
  require('https').get({hostname, path: pathname, socket, agent: false}, (reply) => {
    reply.resume().on('end', () => process.exit(reply.statusCode == 200 ? 0 : 1))
  })
}).end()
"""
# What each client does, and how the URL that it is to be trusted with begins.
TRUSTING = {
    "Python's ssl": ((sys.executable, "-c", PYTHON_SSL), FAR),
    "requests, and conda": ((sys.executable, "-c", REQUESTS), FAR),
    "curl": (("curl", "-fsSo", "out", FAR), FAR),
    "wget": (("wget", "-qO", "out", FAR), FAR),
    "node": (("node", "-e", NODE, FAR), FAR),
    "git": (
        ("git", "ls-remote", "https://registry.npmjs.org/no.git"),
        "https://registry.npmjs.org/no.git/info",
    ),
    "Go": (("skopeo", "list-tags", "docker://registry.npmjs.org/no/one"), "https://registry.npmjs.org/v2/"),
}


@pytest.mark.parametrize("client", TRUSTING)
def test_clients_trust_by_what_a_run_finds(building, client):
    """By the variables and files of the sealed environment; there is no repository and no registry there."""
    argv, begins = TRUSTING[client]
    if shutil.which(argv[0]) is None:
        pytest.skip(f"there is no {argv[0]} on this host")
    with building(patience=PATIENT) as build:
        done = build.run(*argv, ok=begins == FAR)
    assert any(one.url.startswith(begins) for one in build.exchange.recording().responses), done.stderr
    assert b"certificate" not in done.stderr
