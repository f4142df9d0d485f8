"""Small inputs that are in order, of every kind that rbuild reads from strangers."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import marshal
import sqlite3
import struct
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import zstandard

from rbuild.digest import Digest
from rbuild.reference import Reference
from rbuild.signing.cosign import signature, simple_signing
from rbuild.signing.key import SigningKey

_PROJECT = Path(__file__).parents[2]
_HEX = "sha256:" + "a" * 64
_OCI = "application/vnd.oci.image."
_DOCKER = "application/vnd.docker."


def tar_of(files: Mapping[str, bytes], *, form: int = tarfile.PAX_FORMAT) -> bytes:
    """An archive of plain files."""
    return _tar([(_info(name), data) for name, data in files.items()], form)


def _info(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", **pax: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.pax_headers = kind, link, pax
    info.mode = 0o755 if kind == tarfile.DIRTYPE else 0o644
    info.mtime = 1_600_000_000
    return info


def _tar(members: Sequence[tuple[tarfile.TarInfo, bytes]], form: int = tarfile.PAX_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        for info, data in members:
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    data = out.getvalue()
    return data.rstrip(b"\0") + bytes(-len(data.rstrip(b"\0")) % 512 + 1024)


def layers() -> list[bytes]:
    """Tars with everything that a layer may hold."""
    long = "very/" * 30 + "long"
    every = [
        (_info("etc", tarfile.DIRTYPE), b""),
        (_info("etc/shadow"), b"root:*:19000:0:99999:7:::\n"),
        (_info("etc/link", tarfile.SYMTYPE, "../etc/shadow"), b""),
        (_info("etc/same", tarfile.LNKTYPE, "etc/shadow"), b""),
        (_info("dev/null", tarfile.CHRTYPE), b""),
        (_info("dev/pipe", tarfile.FIFOTYPE), b""),
        (_info("etc/.wh.gone"), b""),
        (_info("opt/.wh..wh..opq"), b""),
        (_info("bin/ping", **{"SCHILY.xattr.security.capability": "\1\0\0\2"}), b"x"),
        (_info("u\xe9", mtime="1600000000.5"), b"name"),
    ]
    logs = {
        "var/log/apt/history.log": b"Start-Date: 2020-01-01\n",
        "var/log/dpkg.log": b"2020-01-01 00:00:00 startup\n",
        "usr/lib/a.py": b"x = 1\n",
        "usr/lib/__pycache__/a.cpython-311.pyc": _pyc(),
        "etc/machine-id": b"0123456789abcdef0123456789abcdef\n",
        "tmp/pip-1/x.so": _elf(),
    }
    return [
        _tar(every),
        _tar([(_info(long), b"a"), (_info("s", tarfile.SYMTYPE, long), b"")], tarfile.GNU_FORMAT),
        tar_of(logs, form=tarfile.USTAR_FORMAT),
        bytes(1024),
    ]


def archives() -> list[bytes]:
    """What `podman save` writes."""
    layer = tar_of({"a": b"1"})
    hexadecimal = Digest.of(layer).hex
    config = json.dumps(_config([f"sha256:{hexadecimal}"])).encode()
    listed = [{"Config": "c.json", "RepoTags": ["x:1"], "Layers": [f"{hexadecimal}.tar"]}]
    return [
        tar_of({f"{hexadecimal}.tar": layer, "c.json": config, "manifest.json": json.dumps(listed).encode()})
    ]


def blobs() -> list[bytes]:
    """Compressed layers, after a byte that chooses the media type."""
    data = tar_of({"a": b"hello" * 100})
    packed = [data, gzip.compress(data, mtime=0), zstandard.ZstdCompressor(level=3).compress(data)]
    two = packed[2] + zstandard.ZstdCompressor(level=1, write_checksum=True).compress(b"more")
    return [bytes([at]) + one for at, one in enumerate([*packed, two])] + [bytes([2]) + two]


def manifest_of(config: bytes, layers: Sequence[tuple[Digest, int]]) -> dict[str, Any]:
    """An OCI manifest of uncompressed layers."""
    return {
        "schemaVersion": 2,
        "mediaType": f"{_OCI}manifest.v1+json",
        "config": {
            "mediaType": f"{_OCI}config.v1+json",
            "digest": str(Digest.of(config)),
            "size": len(config),
        },
        "layers": [
            {"mediaType": f"{_OCI}layer.v1.tar", "digest": str(digest), "size": size}
            for digest, size in layers
        ],
    }


def manifests() -> list[bytes]:
    """OCI's and Docker's."""
    found = manifest_of(b"{}", [(Digest.of(b""), 3)]) | {"annotations": {"a": "b"}}
    docker = {
        "schemaVersion": 2,
        "mediaType": f"{_DOCKER}distribution.manifest.v2+json",
        "config": {"mediaType": f"{_DOCKER}container.image.v1+json", "digest": _HEX, "size": 1},
        "layers": [{"mediaType": f"{_DOCKER}image.rootfs.diff.tar.gzip", "digest": _HEX, "size": 2}],
    }
    return [json.dumps(one).encode() for one in (found, docker)] + lists()


def lists() -> list[bytes]:
    """Image indexes."""
    one = {
        "mediaType": f"{_OCI}manifest.v1+json",
        "digest": _HEX,
        "size": 100,
        "platform": {"os": "linux", "architecture": "arm", "variant": "v7"},
        "annotations": {"org.opencontainers.image.ref.name": "latest"},
    }
    return [
        json.dumps({"schemaVersion": 2, "mediaType": f"{_OCI}index.v1+json", "manifests": [one]}).encode()
    ]


def _config(diff_ids: Sequence[str]) -> dict[str, Any]:
    return {
        "architecture": "amd64",
        "os": "linux",
        "created": "2020-01-01T00:00:00Z",
        "config": {
            "User": "1000",
            "Env": ["PATH=/bin", "A=b"],
            "Cmd": ["sh"],
            "ExposedPorts": {"80/tcp": {}},
            "Labels": {"a": "b"},
            "Healthcheck": {"Test": ["CMD", "x"], "Interval": 1000000000},
            "OnBuild": ["RUN x"],
            "WorkingDir": "/w",
        },
        "rootfs": {"type": "layers", "diff_ids": list(diff_ids)},
        "history": [{"created_by": "RUN a"}, {"created_by": "ENV A=b", "empty_layer": True}],
    }


def configs() -> list[bytes]:
    """Image configurations."""
    return [json.dumps(_config([_HEX])).encode(), json.dumps(_config([])).encode()]


def containerfiles() -> list[bytes]:
    """The project's own, and one with everything."""
    every = b"""# escape=`
ARG V=1
FROM --platform=$BUILDPLATFORM debian:${V:-12} AS one
ARG V
ENV A=1 B="two words" C=${V:+x}
SHELL ["/bin/sh", "-c"]
RUN --mount=type=cache,target=/c,id=x a `
  # a comment
  && b
COPY --from=one --chown=1:1 --chmod=755 ["a b", "c"] /d/
ADD --checksum=sha256:0000000000000000000000000000000000000000000000000000000000000000 https://h.example/f /
RUN <<EOF
echo $A
EOF
HEALTHCHECK --interval=5s CMD x
ONBUILD RUN y
FROM scratch
COPY --from=0 / /
COPY --from=docker.io/library/x:1 a b
LABEL a=b c="d e"
"""
    return [every, *(path.read_bytes() for path in sorted(_PROJECT.glob("stages/*/[A-Z]*file*")))]


def ignores() -> list[bytes]:
    """Files `.containerignore`."""
    return [b"# a comment\n*.pyc\n**/node_modules\n!keep/**/[a-z]?.txt\n/a/b\\ c\n"]


def policies() -> list[bytes]:
    """Files `policies/*.yaml`."""
    rules = b"""name: supply
description: What may be in an image.
stages: ['*']
comment_waivers: false
hadolint: optional
rules:
  RB101: error
  RB1*: {level: note, longest_waiver: 30}
  DL3008: warning
  SC*: off
waivers:
  - {rule: RB101, reason: soon, owner: ann, expires: 2027-01-31, stage: '*', line: FROM}
"""
    own = b"""name: own
description: Ours.
rules:
  no-add:
    expression: item.keyword != "ADD" && !item.flags.exists(f, f.name == "from")
    each: containerfile.instructions
    message: "{{ item.keyword }} on line {{ item.line }} of {{ stage.name }}"
    hint: "COPY {{ item.arguments.split(' ')[0] }}"
    level: warning
  small:
    expression: item.size < 200 * 1024 * 1024 || item.path.matches("^usr/(lib|share)/")
    when: image
    each: image.files
    message: "{{ item.path }}"
    hint: remove it
"""
    return [rules, own]


def projects() -> list[bytes]:
    """Files `rbuild.yaml`."""
    bases = b"""project: demo
platform: linux/amd64
registry: registry.example/team
bases:
  localhost/a:1: {oci: layout, tag: base}
  localhost/b:1: {debian: {suite: bookworm, packages: [curl], components: [main]}}
stages:
  one:
    containerfile: file
    context: .
    args: {A: "1"}
"""
    return [(_PROJECT / "rbuild.yaml").read_bytes(), bases]


def locks() -> list[bytes]:
    """Files `rbuild.lock`: one that is small enough to be changed with effect."""
    digest = "sha256:" + "b" * 64
    return [
        f"""version: 1
project: demo
platform: linux/amd64
bases:
  docker.io/library/a:1:
    digest: {digest}
    image: docker.io/library/a:1
stages:
  one:
    input: {digest}
    form: 1
    codec: gzip:6
    epoch: 1700000000
    bases:
    - docker.io/library/a:1
    context: {digest}
    containerfile: {digest}
    recording:
      responses:
      - url: https://h.example/f
        sha256: {digest}
        size: 3
      indexes:
      - url: https://pypi.org/simple/a/
        project: a
        files:
        - name: a-1.tar.gz
          url: https://h.example/a-1.tar.gz
          sha256: {digest}
          yanked: true
    image:
      manifest: {digest}
      config: {digest}
      layers:
      - diff_id: {digest}
        blob: {digest}
        size: 12
""".encode()
    ]


def pages() -> list[bytes]:
    """Pages of a package index, after a byte that chooses the content type."""
    file = {
        "filename": "a_project-1-py3-none-any.whl",
        "url": "../../a_project-1-py3-none-any.whl",
        "hashes": {"sha256": "a" * 64},
        "requires-python": ">=3.8",
        "size": 12,
        "yanked": "bad",
    }
    text = """<!DOCTYPE html><html><head><base href="https://files.example/"><title>x</title></head><body>
<!-- a comment --><script>if (a < b) {}</script>
<a href="a_project-1.tar.gz#sha256=%s" data-requires-python="&gt;=3.8" data-yanked>a_project-1.tar.gz</a><br/>
<A HREF='https://h.example/a_project-2.whl' data-dist-info-metadata=true>x</A></body></html>"""
    page = {"meta": {"api-version": "1.0"}, "name": "a-project", "files": [file]}
    html = (text % ("b" * 64)).encode()
    return [b"\0" + json.dumps(page).encode(), b"\1" + html, b"\2" + html]


def names() -> list[bytes]:
    """URLs, image names, digests."""
    return [
        b"https://user:pw@h.example:443/a?X-Amz-Signature=1&b=2#f",
        b"http://[::1]:80/",
        b"registry.example:5000/team/image:tag@" + _HEX.encode(),
        b"debian",
        _HEX.encode(),
    ]


def requests() -> list[bytes]:
    """What clients of a proxy say."""
    head = b"GET http://h.example/a HTTP/1.1\r\nHost: h.example\r\nRange: bytes=1-2\r\n\r\n"
    post = b"POST http://h.example/b HTTP/1.1\r\nHost: h.example\r\nContent-Length: 3\r\n\r\nabc"
    chunked = b"PUT http://h/c HTTP/1.1\r\nHost: h\r\ntransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    tunnel = b"CONNECT h.example:443 HTTP/1.1\r\nHost: h.example:443\r\n\r\n"
    hello = b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x03"
    return [head + post, chunked, tunnel + hello, tunnel + head, tunnel + b"SSH-2.0-x\r\n"]


def responses() -> list[bytes]:
    """What servers answer."""
    return [
        b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nContent-Type: text/plain\r\n\r\nhello\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nhello\n\r\n0\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.9:1/other\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 429 Later\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n",
    ]


def uris() -> list[bytes]:
    """What `apt-get --print-uris` prints."""
    line = (
        "'http://deb.example/debian/pool/main/a/a/a_1%3a2_amd64.deb' a_1%3a2_amd64.deb 12 SHA256:" + "c" * 64
    )
    return [f"{line}\n".encode()]


_SOURCE = "x = {1, 2.5, (3, None)}\ndef f(a, *b):\n    return a in {'x', b'y', 10**20}\n"


@cache
@cache  # the key is a new one each time
def trusts() -> list[bytes]:
    image = Reference("registry.example", "team/app", digest=Digest.of(b""))
    made = signature(SigningKey.generate(), image)
    policy = (_PROJECT / "policies/trust/policy.json").read_bytes()
    attachments = (_PROJECT / "policies/trust/registries.d/team.yaml").read_bytes()
    signed = {"type": "sigstoreSigned", "keyData": "AA==", "signedIdentity": {"type": "matchExact"}}
    other = {"default": [signed], "transports": {"docker": {"*.example": [{"type": "reject"}]}}}
    return [policy, json.dumps(other).encode(), attachments, made.manifest, simple_signing(image)]


def contents() -> list[bytes]:
    """Files that a comparison looks into."""
    text = b"one\ntwo\n2020-01-01 10:00:00\n"
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo("a/b.txt"), text)
        archive.writestr(zipfile.ZipInfo("c.json"), b'{"a": [1, {"b": null}]}')
    return [
        text,
        b'{"a": [1, {"b": null}], "c": "d"}',
        b"a: [1, 2]\nb: {c: d}\n",
        zipped.getvalue(),
        gzip.compress(text, mtime=0),
        lzma.compress(text),
        bz2.compress(text),
        zstandard.ZstdCompressor().compress(text),
        b"!<arch>\n" + b"a.txt/".ljust(16) + b"0           0     0     100644  4         `\none\n",
        tar_of({"x": text, "y.json": b"{}"}),
        _pyc(),
        _elf(),
        _png(),
        _database(),
    ]


def tagged_contents() -> list[bytes]:
    """Contents, after a byte for the file's name and one for what they are compared with."""
    return [bytes([at, at]) + one for at, one in enumerate(contents())]


def codes() -> list[bytes]:
    """Code objects as marshal writes them, after a byte for the Python that is said to have."""
    return [bytes([at]) + _pyc()[16:] for at in range(4)]


def _pyc() -> bytes:
    magic = b"\xa7\r\r\n" if sys.version_info < (3, 12) else b"\xcb\r\r\n"
    return magic + struct.pack("<III", 0, 1_600_000_000, 10) + marshal.dumps(compile(_SOURCE, "a.py", "exec"))


def _elf() -> bytes:
    """A 64-bit ELF file with a string table and a build id."""
    names = b"\0.shstrtab\0.note.gnu.build-id\0"
    note = struct.pack("<III", 4, 8, 3) + b"GNU\0" + b"\1" * 8
    head = struct.pack(
        "<16sHHIQQQIHHHHHH",
        b"\x7fELF\2\1\1",
        3,
        62,
        1,
        0,
        0,
        64 + len(names) + len(note),
        0,
        64,
        56,
        0,
        64,
        3,
        1,
    )

    def section(name: int, kind: int, offset: int, size: int) -> bytes:
        return struct.pack("<IIQQQQIIQQ", name, kind, 0, 0, offset, size, 0, 0, 1, 0)

    table = section(0, 0, 0, 0) + section(1, 3, 64, len(names)) + section(11, 7, 64 + len(names), len(note))
    return head + names + note + table


def _png() -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
    text = chunk(b"tEXt", b"Creation Time\x002020-01-01")
    return b"\x89PNG\r\n\x1a\n" + header + text + chunk(b"IDAT", zlib.compress(b"\0\0")) + chunk(b"IEND", b"")


def _database() -> bytes:
    connection = sqlite3.connect(":memory:")
    connection.execute("PRAGMA page_size = 512")
    connection.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT)")
    connection.execute("INSERT INTO t VALUES (1, 'x'), (2, NULL)")
    connection.commit()
    data: bytes = connection.serialize()
    connection.close()
    return data
