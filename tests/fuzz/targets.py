"""What strangers hand over, as functions of bytes: each reads its argument as rbuild does.

A target returns, or raises RbuildError; anything else that comes out of it is a defect. Each brings seeds:
small inputs of its kind that are in order, from which a fuzzer or hypothesis makes others.
"""

from __future__ import annotations

import atexit
import contextlib
import io
import os
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import seeds

from rbuild.archive import unpack
from rbuild.compare.images import Image, compare
from rbuild.compare.opened.marshalled import Unreadable, read_code
from rbuild.containerfile.chain import image_chain
from rbuild.containerfile.expand import args_used, image_uses, remote_adds, scratch_uses
from rbuild.containerfile.parse import parse
from rbuild.containerfile.render import render, uses_heredocs
from rbuild.containerfile.steps import step_lines
from rbuild.debian.packages import parse_uris
from rbuild.digest import Digest
from rbuild.errors import RbuildError
from rbuild.ignore import IgnoreRules
from rbuild.image.canonicaljson import canonical_json
from rbuild.image.codec import MEDIA_TYPES, decompressed
from rbuild.image.config import canonical_config, read_config
from rbuild.image.derived import derived_config
from rbuild.image.form import NEWEST
from rbuild.image.index import LayerIndex, Tree, index_layer
from rbuild.image.layer import canonical_layer
from rbuild.image.manifest import canonical_manifest, read_manifest
from rbuild.image.normalise import normalisers
from rbuild.image.platforms import is_list, read_list
from rbuild.image.tar import BLOCK
from rbuild.lock import read_lock, write_lock
from rbuild.policy.expression import compile_own
from rbuild.policy.policyfile import read_policy
from rbuild.project import load_project
from rbuild.recording import Recording
from rbuild.reference import Reference
from rbuild.sealed.authority import Authority
from rbuild.sealed.connection import Connection
from rbuild.sealed.exchange import Exchange
from rbuild.sealed.session import Session
from rbuild.sealed.upstream import Patience, Upstream, fetch
from rbuild.sealed.urls import carries_secret, printable_url, recorded_url
from rbuild.signing.claims import Signature, listed_signatures, read_claim
from rbuild.simpleindex import HTML_TYPE, JSON_TYPE, PLAIN_HTML, lock_page, parse_page
from rbuild.simpleindex import render as render_page
from rbuild.store import Store
from rbuild.trust.attachments import read_attachments
from rbuild.trust.identity import Identity
from rbuild.trust.judge import judge
from rbuild.trust.policy import read_policy as read_trust

_EPOCH = 1_600_000_000
_UNPACKED = 64 << 20


@dataclass(frozen=True, slots=True)
class Target:
    """`run` reads bytes; `seeds` are inputs that are in order; `longest` is how many bytes are tried."""

    run: Callable[[bytes], object]
    seeds: Callable[[], list[bytes]]
    longest: int = 8_192


def _tar(data: bytes) -> None:
    data = _summed(data)
    index = index_layer(io.BytesIO(data))
    assert LayerIndex.from_bytes(index.to_bytes()) == index
    below = Tree()
    if data.count(b"w") % 2:
        below.apply(index)
    out = io.BytesIO()
    rules = tuple(normalisers(NEWEST).values())
    layer = canonical_layer(io.BytesIO(data), below, epoch=_EPOCH, normalisers=rules, sink=out)
    if layer is not None:
        written = index_layer(io.BytesIO(out.getvalue()), layer.diff_id)
        assert [path for path, _ in written.entries] == [path for path, _ in layer.index.entries]
        below.apply(layer.index)


def _summed(data: bytes) -> bytes:
    """The archive with right checksums in its headers, as a forger would leave it."""
    blocks = bytearray(data)
    for at in range(0, len(data) - BLOCK + 1, BLOCK):
        block = blocks[at : at + BLOCK]
        if block[257:262] == b"ustar":
            block[148:156] = b" " * 8
            blocks[at + 148 : at + 156] = b"%06o\0 " % sum(block)
    return bytes(blocks)


def _archive(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        unpack(io.BytesIO(_summed(data)), Path(folder), known=())
        assert all(path.parent == Path(folder) for path in Path(folder).rglob("*"))


def _codec(data: bytes) -> None:
    media_type = list(MEDIA_TYPES)[data[0] % len(MEDIA_TYPES)] if data else ""
    file = decompressed(io.BytesIO(data[1:]), media_type, limit=_UNPACKED)
    size = 0
    while chunk := file.read(1 << 16):
        size += len(chunk)
    assert size <= _UNPACKED


def _manifest(data: bytes) -> None:
    found = read_manifest(data)
    assert read_manifest(canonical_manifest(found.config, found.layers, found.annotations)).layers


def _list(data: bytes) -> None:
    if is_list(data):
        for one in read_list(data):
            str(one.digest)


def _config(data: bytes) -> None:
    found = read_config(data)
    derived = read_config(derived_config(found, {"SOURCE_DATE_EPOCH": "1"}, "token", gateway="http://g/"))
    written = canonical_config(
        derived,
        base=found,
        injected_env={"SOURCE_DATE_EPOCH": "1"},
        epoch=_EPOCH,
        platform=found.platform,
        history=[],
        diff_ids=found.diff_ids,
    )
    assert read_config(written).diff_ids == found.diff_ids


def _containerfile(data: bytes) -> None:
    file = parse(data, "Containerfile")
    uses_heredocs(file)
    args_used(file)
    step_lines(file)
    platform = "linux/amd64"
    uses = image_uses(file, build_args={}, platform=platform)
    scratch_uses(file, build_args={}, platform=platform)
    image_chain(file, build_args={}, platform=platform, target=None)
    remote_adds(file, build_args={}, platform=platform)
    parse(render(file, dict.fromkeys(uses, "localhost/pin"), platform=platform), "Containerfile")


def _ignore(data: bytes) -> None:
    rules = IgnoreRules.parse(data)
    for path in ("a", "a/b/c.txt", ".git/config", "x" * 200):
        rules.ignored(path)
        rules.prunes(path)


def _project(data: bytes) -> None:
    load_project(
        data, exists=lambda path: "file" if path.endswith(("file", "oci-layout")) else "directory"
    ).graph()


def _lock(data: bytes) -> None:
    lock = read_lock(data)
    assert read_lock(write_lock(lock)) == lock


def _policy(data: bytes) -> None:
    compile_own([read_policy(data, "policies/p.yaml")])


def _page(data: bytes) -> None:
    kind = (JSON_TYPE, HTML_TYPE, PLAIN_HTML)[data[0] % 3] if data else PLAIN_HTML
    page = parse_page("https://index.example/simple/a-project/", kind, data[1:])
    if page is not None:
        for accept in (JSON_TYPE, HTML_TYPE, "*/*"):
            render_page(lock_page(page, {}), accept)


def _names(data: bytes) -> None:
    text = data.decode("latin-1")
    printable_url(text)
    for read in (recorded_url, carries_secret):
        with contextlib.suppress(ValueError):
            read(text)
    for parse_text in (Reference.parse, Digest.parse):
        with contextlib.suppress(RbuildError):
            parse_text(text)


def _uris(data: bytes) -> None:
    for one in parse_uris(data.decode(errors="replace"), ["http://deb.example/debian"]):
        assert ".." not in one.path.split("/")


@cache
def _session() -> Session:
    folder = tempfile.mkdtemp(prefix="rbuild-fuzz-")
    atexit.register(shutil.rmtree, folder)
    return Session(Store(Path(folder) / "store"), Upstream({}), note=lambda _: None)


_authority = cache(Authority)


@cache
def _upstream() -> Upstream:
    return Upstream({}, patience=Patience(tries=1, connect=2, read=2, backoff=0), local=True)


def _client(data: bytes) -> None:
    """A client of the recorder, which has an empty lock and no network, sends `data`."""
    exchange = Exchange(
        _session(), Recording(), allow_new=False, allow_fetch=False, step=lambda: 1, on_refusal=lambda _: None
    )
    ours, theirs = socket.socketpair()
    with ours, theirs:
        writer = threading.Thread(target=_say, args=(theirs, data))
        writer.start()
        try:
            Connection(ours, _authority(), exchange).serve()
        finally:
            ours.close()
            writer.join()
    assert {one.kind.name for one in exchange.failures} <= {"NOT_LOCKED", "UNRECORDABLE"}


def _say(line: socket.socket, data: bytes) -> None:
    with contextlib.suppress(OSError):
        line.sendall(data)
        line.shutdown(socket.SHUT_WR)
        while line.recv(1 << 16):
            pass


def _server(data: bytes) -> None:
    """A server answers rbuild's own request with `data`."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        thread = threading.Thread(target=_answer, args=(listener, data))
        thread.start()
        store = _session().store
        upstream = _upstream()
        try:
            fetch(
                f"http://127.0.0.1:{port}/file",
                sha256=Digest.of(b"hello\n"),
                size=6,
                store=store,
                upstream=upstream,
            )
        finally:
            store.discard(Digest.of(b"hello\n"))
            upstream.close()
            with socket.socket() as knock:
                knock.connect_ex(("127.0.0.1", port))
            thread.join()


def _answer(listener: socket.socket, data: bytes) -> None:
    asked = True
    while asked:
        line, _ = listener.accept()
        with line, contextlib.suppress(OSError):
            line.settimeout(2)
            asked = bool(line.recv(1 << 16))
            line.sendall(data)


_NAMES = ("a.pyc", "a.whl", "a.tar", "a.json", "a.yaml", "a.gz", "a.png", "a.so", "a.db", "a.txt", "a")


def _compare(data: bytes) -> None:
    """Two images, which differ in the content of one file: one side is a seed, or a part of `data`."""
    if len(data) < 2:
        return
    name = _NAMES[data[0] % len(_NAMES)]
    known = seeds.contents()
    other = known[data[1] % len(known)] if data[1] < 128 else data[2 : 2 + len(data) // 2]
    compare(_image(name, data[2:]), _image(name, other))


def _code(data: bytes) -> None:
    with contextlib.suppress(Unreadable):
        read_code(data[1:], (3394, 3413, 3495, 3627)[data[0] % 4] if data else 3495)


def _image(name: str, content: bytes) -> Image:
    layer = seeds.tar_of({name: content})
    blob, diff_id = Digest.of(layer), Digest.of(layer)
    config = canonical_json(
        {
            "os": "linux",
            "architecture": "amd64",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [str(diff_id)]},
            "history": [{"created_by": "RUN make"}],
        }
    )
    manifest = canonical_json(seeds.manifest_of(config, [(blob, len(layer))]))
    return Image(name="fuzzed", manifest=manifest, config=config, open_layer=lambda number: io.BytesIO(layer))


def _trust(data: bytes) -> None:
    """A policy, registries.d, and what lies in a registry as a signature: each reader refuses the others."""
    image = Reference("registry.example", "team/app", digest=Digest.of(b""))
    with contextlib.suppress(RbuildError):
        _, requirements = read_trust(data, "policy.json").requirements(image)
        judge(requirements, image, [Signature(data, "AA==")], lambda key: key.data or b"")
    with contextlib.suppress(RbuildError):
        read_attachments([("a.yaml", data)]).used(image)
    with contextlib.suppress(RbuildError):
        listed_signatures(data)
    claim = read_claim(data)
    Identity(kind="matchRepository").fits(image, claim.name)


TARGETS = {
    "archive": Target(_archive, seeds.archives, 16_384),
    "client": Target(_client, seeds.requests),
    "code": Target(_code, seeds.codes, 4_096),
    "codec": Target(_codec, seeds.blobs),
    "compare": Target(_compare, seeds.tagged_contents, 16_384),
    "config": Target(_config, seeds.configs),
    "containerfile": Target(_containerfile, seeds.containerfiles),
    "ignore": Target(_ignore, seeds.ignores, 1_024),
    "list": Target(_list, seeds.lists),
    "lock": Target(_lock, seeds.locks),
    "manifest": Target(_manifest, seeds.manifests),
    "names": Target(_names, seeds.names, 512),
    "page": Target(_page, seeds.pages),
    "policy": Target(_policy, seeds.policies, 2_048),
    "project": Target(_project, seeds.projects),
    "server": Target(_server, seeds.responses, 4_096),
    "trust": Target(_trust, seeds.trusts, 4_096),
    "tar": Target(_tar, seeds.layers, 16_384),
    "uris": Target(_uris, seeds.uris, 2_048),
}
"""By name."""


def accept(target: Target, data: bytes) -> None:
    """Run a target, which may refuse its input."""
    try:
        target.run(data)
    except RbuildError as error:
        assert str(error), "an error says what is wrong"
        os.fsencode(str(error))
