"""Reading what `apt-get --print-uris` writes."""

from __future__ import annotations

import pytest

from rbuild.debian.packages import Package, parse_uris
from rbuild.digest import Digest
from rbuild.errors import RbuildError

MAIN = "http://deb.debian.org/debian"
SECURITY = "http://deb.debian.org/debian-security"
SHA = "ba4f88f73dbc3ae9055f3c20f4523bfdbaf1ad13ff95e258924f77d20b4fbedf"


def line(path: str, file: str, archive: str = MAIN, digest: str = f"SHA256:{SHA}") -> str:
    return f"'{archive}/{path}' {file} 2759320 {digest}\n"


def test_a_package_is_read_with_its_epoch_and_its_escapes_undone() -> None:
    text = line(
        "pool/main/z/zlib/zlib1g_1.2.13.dfsg-1%2bb1_amd64.deb", "zlib1g_1%3a1.2.13.dfsg-1+b1_amd64.deb"
    )
    (package,) = parse_uris(text, [MAIN])
    assert package == Package(
        name="zlib1g",
        version="1:1.2.13.dfsg-1+b1",
        architecture="amd64",
        archive=MAIN,
        path="pool/main/z/zlib/zlib1g_1.2.13.dfsg-1+b1_amd64.deb",
        sha256=Digest(SHA),
        size=2759320,
    )
    assert package.url == f"{MAIN}/pool/main/z/zlib/zlib1g_1.2.13.dfsg-1+b1_amd64.deb"


def test_each_package_belongs_to_its_archive_and_the_order_is_by_name() -> None:
    text = line("pool/o/openssl_3_amd64.deb", "openssl_3_amd64.deb", SECURITY)
    text += line("pool/b/bash_5_amd64.deb", "bash_5_amd64.deb")
    assert [(p.name, p.archive) for p in parse_uris(text, [MAIN, SECURITY])] == [
        ("bash", MAIN),
        ("openssl", SECURITY),
    ]


@pytest.mark.parametrize(
    "text",
    [
        line("pool/a_1_all.deb", "a_1_all.deb", archive="http://elsewhere.example"),
        line("../a_1_all.deb", "a_1_all.deb"),
        line("pool/%2e%2e/a_1_all.deb", "a_1_all.deb"),
        line("pool/a_1_all.deb?x=%0a", "a_1_all.deb"),
        line("pool/a_1_all.deb", "a_1_all.deb", digest="MD5Sum:d41d8cd98f00b204e9800998ecf8427e"),
        line("pool/a_1_all.deb", "a.deb"),
        "Reading package lists...\n",
    ],
)
def test_what_is_not_a_file_of_the_archive_with_a_sha256_is_refused(text: str) -> None:
    with pytest.raises(RbuildError, match="print-uris"):
        parse_uris(text, [MAIN])
