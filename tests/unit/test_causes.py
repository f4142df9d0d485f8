"""Causes: what shows each of them, and what looks like it and is not."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from evidences import binary, swapped

from rbuild.compare.causes import CATALOGUE, find
from rbuild.compare.evidence import Evidence, Facts
from rbuild.compare.model import Change, Field


def text(a: str, b: str, path: str = "srv/file", **more: object) -> Evidence:
    return binary(a.encode(), b.encode(), path, format="text", **more)


def key(name: str, a: str, b: str, format: str = "json") -> Evidence:
    return Evidence(path=b"srv/file.json", format=format, part=name, a=a.encode(), b=b.encode())


def fields(format: str, *three: tuple[str, str | None, str | None], part: str = "") -> Evidence:
    listed = tuple(Field(name=name, a=a, b=b) for name, a, b in three)
    return Evidence(path=b"srv/file", format=format, part=part, fields=listed)


def renamed(path: str, *others: str) -> Evidence:
    there = frozenset(other.encode() for other in others)
    return Evidence(path=path.encode(), format="entry", change=Change.REMOVED, others=there)


UUIDS = ("0b8f6f1e-3c55-4d0e-9a67-2f1f0c7f6a11", "5d1c2a90-77aa-4b1b-8f3e-90e1c6d2b7f4")
KEYS = tuple(
    f"-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXkt{middle}\n-----END OPENSSH PRIVATE KEY-----\n"
    for middle in ("q0Zk9", "XX1pd")
)
CRYPT = tuple(
    f"root:$6${drawn}:19000:0:99999:7:::"
    for drawn in ("Zk1pqT0s$w9aXYZ0123456789abcdef", "9sLqPo2x$Ab0123456789abcdefghij")
)
DIGESTS = ("sha256:" + "0a" * 32, "sha256:" + "1b" * 32)
PYC, CHECKED = bytes.fromhex("a70d0d0a 00000000"), bytes.fromhex("a70d0d0a 01000000")

SHOWN = {
    "image-times": [
        fields("metadata", ("mtime", "2026-11-23T10:00:00Z", "2026-11-23T10:00:05Z")),
        key("created", "2026-11-23T10:00:00Z", "2026-11-23T10:00:05Z", "config"),
        key("history[3].created", "2026-11-23T10:00:00Z", "2026-11-23T10:00:05Z", "config"),
    ],
    "derived-hash": [
        key("history[3].comment", "FROM 1d2ec3de6c99", "FROM c275d23513bf", "config"),
        key('annotations["org.opencontainers.image.base.digest"]', DIGESTS[0], DIGESTS[1], "config"),
        key(
            "history[4].created_by",
            *(f"/bin/sh -c #(nop) COPY dir:{d[7:]} in /srv " for d in DIGESTS),
            "config",
        ),
    ],
    "build-argument": [
        key("history[4].created_by", "|1 A=x /bin/sh -c make", "|1 A=y /bin/sh -c make", "config"),
    ],
    "other-containerfile": [
        key("history[4].created_by", "RUN make", "RUN make all", "config"),
        key("history[4].created_by", "RUN date > /built", "RUN date -u > /built", "config"),
        key("history[4].created_by", "|1 A=x /bin/sh -c make", "|1 A=x /bin/sh -c cmake", "config"),
    ],
    "user-or-umask": [
        fields("metadata", ("mode", "0664", "0644")),
        fields("metadata", ("mode", "0755", "0700")),
        fields(
            "metadata", ("mode", "0600", "0644"), ("mtime", "1970-01-01T00:00:00Z", "1970-01-01T00:00:09Z")
        ),
        fields("metadata", ("owner", "1000:1000", "0:0")),
        fields("tar", ("a: mode", "0775", "0755"), ("a: owner", "1000:1000", "0:0"), part="attributes"),
    ],
    "bytecode": [
        binary(
            PYC + b"\1\2\3\4\x10\0\0\0", PYC + b"\1\2\3\5\x10\0\0\0", "m.pyc", format="pyc", part="header"
        ),
    ],
    "gzip-header": [
        fields("gzip", ("time", "2026-11-23T10:00:00Z", "2026-11-23T10:00:05Z"), part="header"),
        fields("gzip", ("name", "a", "b"), part="header"),
    ],
    "archive-member-times": [
        fields("tar", ("a", "2026-11-23T10:00:00Z", "2026-11-23T10:00:05Z"), part="time"),
        fields(
            "zip", ("a: extra", "5554090003d2049669d2049669", "5554090003d3049669d3049669"), part="attributes"
        ),
    ],
    "unsorted-listing": [
        Evidence(path=b"a.tar", format="tar", part="order", a=b"x\ny\nz\n", b=b"z\nx\ny\n"),
        text("./a\n./b\n./c\n", "./c\n./a\n./b\n"),
    ],
    "build-path": [
        binary(
            b"\4\0\0\0\x14\0\0\0\3\0\0\0GNU\0" + b"a" * 20,
            b"\4\0\0\0\x14\0\0\0\3\0\0\0GNU\0" + b"b" * 20,
            format="elf",
            part=".note.gnu.build-id",
        ),
        binary(
            b"GNU C17\0/build/a1/x.c\0int\0",
            b"GNU C17\0/build/b2/x.c\0int\0",
            format="elf",
            part=".debug_str",
        ),
        binary(
            b"\xe3\x02/tmp/tmp.AbC123/x.py\xda",
            b"\xe3\x02/tmp/tmp.9dEfgh/x.py\xda",
            format="pyc",
            part="code",
        ),
        binary(
            b"/\0/tmp/tmp.jEKUYgTmjg/main.c\0/tmp/tmp.jEKUYgTmjg\0",
            b"/tmp/tmp.ywWuNYp3uT/main.c\0/\0/tmp/tmp.ywWuNYp3uT\0",
            format="elf",
            part=".debug_line_str",
        ),
        text("src=/home/alice/proj/x.c\n", "src=/home/bob/proj/x.c\n"),
    ],
    "database-pages": [
        binary(b"SQLite format 3\0" + bytes(9), b"SQLite format 3\0" + bytes(8) + b"x"),
        Evidence(path=b"a.db", format="sqlite", part="pages", a=b"abc", b=b"acb"),
        fields("sqlite", ("change counter", "3", "4"), ("version valid for", "3", "4"), part="header"),
        binary(b"\xce\x9a\x57\x13abc", b"\xce\x9a\x57\x13abd", "var/cache/x.gdbm"),
    ],
    "git-metadata": [
        binary(b"DIRC\0\0\1", b"DIRC\0\0\2", "src/.git/index"),
        renamed(".git/objects/pack/pack-1.idx"),
    ],
    "package-leftovers": [
        text("startup 2026-11-23 10:00:00\n", "startup 2026-11-23 10:00:09\n", "var/log/dpkg.log"),
        text("Start-Date: x\n", "Start-Date: y\n", "var/log/apt/history.log"),
        binary(b"x", b"y", "var/cache/apt/pkgcache.bin"),
        binary(b"x", b"y", "var/cache/ldconfig/aux-cache"),
        renamed("root/.npm/_logs/2026-11-23T10_00_00_000Z-debug-0.log"),
        renamed("root/.cache/pip/http/1/2/3"),
    ],
    "machine-id": [
        text("0" * 32 + "\n", "1" * 32 + "\n", "etc/machine-id"),
        text("", "1" * 32 + "\n", "var/lib/dbus/machine-id"),
    ],
    "ssh-host-keys": [
        text(*KEYS, "etc/ssh/ssh_host_ed25519_key"),
        text("ssh-ed25519 AAAAC3 root@a", "ssh-ed25519 AAAAC4 root@a", "etc/ssh/ssh_host_ed25519_key.pub"),
    ],
    "generated-key": [text(*KEYS, "etc/ssl/private/server.key")],
    "password-salt": [text(CRYPT[0], CRYPT[1], "etc/shadow")],
    "unlocked-network": [
        text("one\n", "two\n", instruction="ADD https://example.org/status /srv/file"),
        text("one\n", "two\n", instruction="/bin/sh -c #(nop) ADD http://127.0.0.1:80/x /srv/"),
        text("one\n", "two\n", instruction="/bin/sh -c #(nop) ADD " + "0a" * 32 + " in /srv/file"),
        text("one\n", "two\n", instruction="RUN curl -fsSL -o /srv/file https://example.org/status && rm x"),
        text("one\n", "two\n", instruction="RUN apk add x && wget -qO /srv/file http://example.org/a"),
        text(
            "a\n",
            "b\n",
            sha256_a=b"1" * 32,
            sha256_b=b"2" * 32,
            facts=Facts(responses_a={b"1" * 32: "http://x/"}, responses_b={b"2" * 32: "http://x/"}),
        ),
    ],
    "locale": [
        text("at 2026-11-23 10:00:07 UTC\n", "at 2026-11-23 11:00:07 CET\n"),
        text("2026-11-23T10:00:00+00:00", "2026-11-23T12:00:00+02:00"),
        text("Mon Nov 23 10:00:07 UTC 2026", "Mon Nov 23 11:00:07 CET 2026"),
        text("lang: en_US.UTF-8", "lang: C.UTF-8"),
        text("encoding utf-8", "encoding ANSI_X3.4-1968"),
        text("pi = 3.14", "pi = 3,14"),
        text("./Apple\n./Zebra\n./apple\n./banana\n", "./Apple\n./apple\n./banana\n./Zebra\n"),
        text("Apple\nZebra\napple\nbanana\n", "Apple\napple\nbanana\nZebra\n"),
        text("zone Europe/Berlin", "zone Etc/UTC"),
    ],
    "hash-order": [
        binary(
            b"\xe3\xda\x05alpha\xda\x04beta\xda\x05gamma",
            b"\xe3\xda\x05gamma\xda\x05alpha\xda\x04beta",
            format="pyc",
            part="code",
        ),
        text("{'ab', 'cd', 'ef'}\n", "{'ef', 'ab', 'cd'}\n"),
        text("ab\ncd\nef\n", "ef\nab\ncd\n"),
        text('{\n "a": 1,\n "b": 2,\n "c": 3\n}\n', '{\n "c": 3,\n "a": 1,\n "b": 2\n}\n'),
        Evidence(
            path=b"a.db",
            format="sqlite",
            part="table t",
            a=b"1 | a\n2 | b\n3 | c\n",
            b=b"3 | c\n1 | a\n2 | b\n",
        ),
    ],
    "uuid": [
        text(f"id={UUIDS[0]}\n", f"id={UUIDS[1]}\n"),
        key("install.id", UUIDS[0], UUIDS[1]),
        binary(b"\0\1" + UUIDS[0].encode() + b"\0", b"\0\1" + UUIDS[1].encode() + b"\0"),
        renamed(f"srv/{UUIDS[0]}.json", f"srv/{UUIDS[1]}.json"),
    ],
    "random-name": [
        text("dir /tmp/tmp.aB3dE9gH1k/x\n", "dir /tmp/tmp.Zq8mN2pL0s/x\n"),
        text("dir /tmp/tmpab_1c2xz\n", "dir /tmp/tmpk9q_3m0p\n"),
        text("# /tmp/ccX1bZq9.o\n", "# /tmp/ccQ0aLm3.o\n"),
        text("from /tmp/pip-install-x8k2_q1a/six", "from /tmp/pip-install-0a9bzz_1/six"),
        renamed("srv/tmp.AbC123", "srv/tmp.xYz987", "srv/else"),
        renamed("srv/tmp.AbC123/inside"),
    ],
    "build-date": [
        text("built 2026-11-23 10:00:00\n", "built 2026-11-23 10:00:05\n"),
        text("x\nMon Nov 23 10:00:00 UTC 2026\n", "x\nMon Nov 23 10:00:05 UTC 2026\n"),
        text("Mon, 23 Nov 2026 10:00:00 +0000", "Tue, 24 Nov 2026 11:10:09 +0000"),
        text("1795000000\n", "1795000007\n"),
        text("time=1795000000.123\n", "time=1796123456.5\n"),
        text("2026-11-23\n", "2026-11-24\n"),
        text("20261123T100000Z", "20261123T100100Z"),
        binary(b"\x7fx\0Nov 23 2026\0", b"\x7fx\0Nov 24 2026\0", format="elf", part=".rodata"),
        binary(b"\0Built at 10:00:01\0", b"\0Built at 10:00:09\0", format="elf", part=".rodata"),
        text("root:*:20780:0:99999:7:::\n", "root:*:20781:0:99999:7:::\n", "etc/shadow"),
        key("build.time", "1795000000", "1895000000"),
        key("stamp", "2026-11-23T10:00:00.123456Z", "2026-11-23T10:00:05.2Z"),
        renamed("srv/run-2026-11-23T10_00_00.log", "srv/run-2026-11-23T10_00_09.log"),
        binary(b"\x07\xea\x0b\x17\x0a\0\0", b"\x07\xea\x0b\x17\x0a\0\1", format="png", part="tIME"),
    ],
    "elapsed-time": [
        text("12 passed in 0.31s\n", "12 passed in 0.42s\n"),
        text("real\t0m0.103s\n", "real\t0m0.205s\n"),
        text("took 1.5 seconds", "took 2.5 seconds"),
    ],
    "kernel-or-cpu": [
        text("Linux 6.1.0-18-amd64 #1 SMP\n", "Linux 5.10.0-8-amd64 #1 SMP\n"),
        text("Linux version 6.1.102\n", "Linux version 6.6.3\n"),
        text("kernel: 6.1.0-18-amd64\n", "kernel: 6.1.0-21-amd64\n"),
        text("cpu MHz\t\t: 2445.431\n", "cpu MHz\t\t: 2450.000\n"),
        text("model name\t: Intel X\n", "model name\t: AMD Y\n"),
        text("MemFree:        12345 kB\n", "MemFree:        23456 kB\n"),
        text("-march=haswell -O2", "-march=znver3 -O2"),
    ],
    "cpu-count": [
        text("jobs=2\n", "jobs=4\n"),
        text("make -j2 all\n", "make -j16 all\n"),
        text("2\n", "4\n", "etc/nproc"),
        key("build.cpu_count", "2", "8"),
        text("NumCPUs: 1\n", "NumCPUs: 2\n"),
        text("running on 2 CPUs\n", "running on 8 CPUs\n"),
    ],
    "hostname": [
        text("4f2c1a9b8d3e\n", "9a8b7c6d5e4f\n", "etc/mailname"),
        text("myhostname = 4f2c1a9b8d3e\n", "myhostname = 9a8b7c6d5e4f\n"),
        text("built on alpha\n", "built on beta\n", facts=Facts(hosts=frozenset({"alpha", "beta"}))),
        text("Linux alpha 6.1.0-18-amd64 #1 SMP\n", "Linux beta 6.1.0-18-amd64 #1 SMP\n"),
    ],
}

UNKNOWN = [
    key("config.Labels.base", "FROM 1d2ec3de6c99", "FROM c275d23513bf", "config"),
    text("one\n", "two\n", instruction="/bin/sh -c #(nop) ADD file:" + "0a" * 32 + " in /srv/file"),
    # Versions that look like dates, and dates that are versions.
    text("certifi 2024.2.2\n", "certifi 2025.1.31\n"),
    text("version = 2026-11-23\n", "version = 2026-11-24\n"),
    text("API-Version: 2023-07-01\n", "API-Version: 2024-02-01\n"),
    text("ca-certificates 20230311\n", "ca-certificates 20240203\n"),
    text("tzdata-2026-11-23.whl\n", "tzdata-2026-12-01.whl\n"),
    text("1.2.3-4\n", "1.2.4-1\n"),
    text("2026-13-45\n", "2026-13-46\n"),
    # Rows of data with dates in them.
    text("2020-01-01,3.5\n", "2020-01-02,3.6\n"),
    # Numbers that change and count no processors, no seconds, no time.
    text("retries = 3\n", "retries = 5\n"),
    text("3\n", "5\n"),
    text("timeout: 30s\n", "timeout: 60s\n"),
    text("size 1795000000\n", "size 1234567890\n"),
    text("score 2\n", "score 4\n"),
    text("threads found: 2 of 7 jobs 0.5\n", "threads found: 2 of 7 jobs 0.7\n"),
    text("cpus: 1.5.2\n", "cpus: 1.6.2\n"),
    # Sorted lists that differ by one item; two lines that changed places; numbers that did.
    text("a\nb\nc\n", "a\nb\nc\nd\n"),
    text("alpha beta gamma\n", "alpha beta delta gamma\n"),
    text("import a\nimport b\nx\n", "import b\nimport a\nx\n"),
    text("1 2 3\n", "3 2 1\n"),
    text("some three words 1 2 3\n", "some three words 3 2 1\n"),
    text("range min max\n", "range max min\n"),
    text("1.2\n", "2.1\n"),
    # Hexadecimal ids: of contents, of commits.
    text("commit 4f2c1a9b8d3e\n", "commit 9a8b7c6d5e4f\n"),
    text("f" * 64, "e" * 64),
    renamed("srv/chunk.3f2a9b1c.js", "srv/chunk.9b1c3f2a.js"),
    renamed("srv/app-1.2", "srv/app-1.3"),
    renamed("srv/template", "srv/temporal"),
    text("/tmp/template/x", "/tmp/sandbox1/x"),
    # Names of servers, addresses, users.
    text("host: db1.example.org\n", "host: db2.example.org\n"),
    text("mac 00:16:3e:10:20:30\n", "mac 00:16:3e:10:20:31\n"),
    text("Linux Mint 21.1.0\n", "Linux Mint 21.2.0\n"),
    text("src=/opt/app-1.2/x.c\n", "src=/opt/app-1.3/x.c\n"),
    text("flags: a b\n", "flags: a c\n"),
    text("model: small\n", "model: large\n"),
    text("lang: de\n", "lang: en\n"),
    text("encoding UTF-8\n", "encoding utf8\n"),
    text("version 1.5\n", "version 1.6\n"),
    # Modes that no umask gives; links; what has no property that tells.
    fields("metadata", ("mode", "0755", "0644")),
    fields("metadata", ("mode", "4755", "0755")),
    fields("metadata", ("link", "libx.so.1", "libx.so.2")),
    fields("metadata", ("size", "1", "2")),
    # Bytecode of another source; of a source's hash.
    binary(PYC + b"\1\2\3\4\x10\0\0\0", PYC + b"\1\2\3\5\x11\0\0\0", "m.pyc", format="pyc", part="header"),
    binary(CHECKED + b"12345678", CHECKED + b"12345679", "m.pyc", format="pyc", part="header"),
    # A key that was copied from the context, a certificate of others.
    text(*KEYS, "etc/ssl/server.key", instruction="COPY server.key /etc/ssl/"),
    text("-----BEGIN CERTIFICATE-----\nMIIa\n", "-----BEGIN CERTIFICATE-----\nMIIb\n", "etc/ssl/ca.crt"),
    # An order that differs, and a member as well.
    Evidence(path=b"a.tar", format="tar", part="order", a=b"x\ny\nz\n", b=b"z\nx\nw\n"),
    text("one\n", "two\n", instruction="RUN curl -o /srv/other https://example.org/x"),
    text("one\n", "two\n", instruction="ADD --checksum=sha256:12 https://example.org/x /srv/file"),
    binary(b"\1\2\3", b"\1\2\4"),
    binary(b"\x90\x90", b"\x91\x90", format="elf", part=".text"),
    binary(b"/usr/a1/x\0one\0", b"two\0/usr/a1/x\0", format="elf", part=".debug_str"),
    binary(b"\x90/usr/a1/x", b"\x90/usr/b2/x", format="elf", part=".text"),
    fields("sqlite", ("SQLite version", "3040001", "3046001"), part="header"),
    text("\n", ""),
    text("", "x"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("cause", "evidence"), [(cause, one) for cause, several in SHOWN.items() for one in several]
)
def test_shown(cause: str, evidence: Evidence) -> None:
    found, why = find(evidence)
    assert found.id == cause, why
    assert why
    assert find(swapped(evidence))[0] == found


@pytest.mark.parametrize("evidence", UNKNOWN)
def test_not_shown(evidence: Evidence) -> None:
    found, why = find(evidence)
    assert found.id == "unknown", why
    assert why
    assert find(swapped(evidence))[0] == found


def test_the_catalogue() -> None:
    assert [cause.id for cause in CATALOGUE][-1] == "unknown"
    assert {*SHOWN, "unknown"} == {cause.id for cause in CATALOGUE}
    for cause in CATALOGUE:
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", cause.id)
        assert cause.title
        assert cause.explanation.endswith(".")
        assert "`" in cause.hint, cause.id


SENTENCES = {
    "line 3 holds 2026-11-23 10:00:00 and 2026-11-23 10:00:05": text(
        "a\nb\nat 2026-11-23 10:00:00\n", "a\nb\nat 2026-11-23 10:00:05\n"
    ),
    "line 1 holds 2026-11-23 10:00:00 and 2026-11-23 10:00:05; 2 more places differ, by UUID": text(
        f"2026-11-23 10:00:00 {UUIDS[0]}\nx 1\n", f"2026-11-23 10:00:05 {UUIDS[1]}\nx 2\n"
    ),
    "line 1 holds 6.1.0-18-amd64 and 5.10.0-8-amd64": text("kernel=6.1.0-18-amd64", "kernel=5.10.0-8-amd64"),
    "line 1 holds jobs=2 and jobs=4": text("jobs=2\n", "jobs=4\n"),
    f"install.id holds {UUIDS[0]} and {UUIDS[1]}": key("install.id", UUIDS[0], UUIDS[1]),
    f"offset 0x1002 holds {UUIDS[0]} and {UUIDS[1]}": binary(
        b"\0\1" + UUIDS[0].encode(), b"\0\1" + UUIDS[1].encode(), start=0x1000
    ),
    "first differing byte at 4098 (0x1002): 03 04 and 05": replace(
        binary(b"\1\2\3\4", b"\1\2\5"), first=0x1002, start=0x1000
    ),
    "mode is 0664 and 0644": fields("metadata", ("mode", "0664", "0644")),
    "only A has tmp.AbC123, and the other side tmp.xYz987": renamed("srv/tmp.AbC123", "srv/tmp.xYz987"),
    r"/var/log/apt/\x1b[31m is a package manager's log": text("a", "b", "var/log/apt/\x1b[31m"),
}


@pytest.mark.parametrize("sentence", SENTENCES)
def test_what_showed_it(sentence: str) -> None:
    assert find(SENTENCES[sentence])[1] == sentence


def test_lines_that_moved_apart_are_still_held_against_each_other() -> None:
    a = "".join(f"step {n}\n" for n in range(50)) + "done at 2026-11-23 10:00:00\n"
    found, why = find(text(a, a.replace("10:00:00", "10:00:05") + "bye\n"))
    assert (found.id, why) == (
        "build-date",
        "line 51 holds 2026-11-23 10:00:00 and 2026-11-23 10:00:05; one more place differs",
    )
