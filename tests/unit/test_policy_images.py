"""Rules about images, on real layers: what each finds, on which line, and what it leaves alone."""

from __future__ import annotations

import random
import re
import string
import struct
import tarfile

import pytest
from policyfacts import Image, Members, stage_lock
from tarballs import member

from rbuild.digest import Digest
from rbuild.image.config import Execution, Healthcheck
from rbuild.lock import ImageLock, LayerLock
from rbuild.policy.catalogue import RULES

NUMBERS = random.Random(5)


def chance(length: int, alphabet: str = string.ascii_letters + string.digits) -> str:
    """A string that no scanner of this repository can take for a secret of somebody's."""
    return "".join(NUMBERS.choice(alphabet) for _ in range(length))


TEXT = (
    "FROM base:1 AS build\nRUN make\n"
    "FROM base:1\nCOPY a b\nUSER 10001\nRUN setup \\\n && more\nVOLUME /data\n"
)
COPY, RUN = 4, 6  # the lines of layers
CAPABLE = {
    "SCHILY.xattr.security.capability": struct.pack("<5I", 0x02000000, 1 << 10 | 1 << 13, 0, 0, 0).decode(
        "utf-8", "surrogateescape"
    )
}
SETUID = member("usr/bin/tool", b"x", mode=0o4755)
KEY = "-----BEGIN {}PRIVATE KEY-----\n{}\n{}\n-----END {}PRIVATE KEY-----\n"


def key(kind: str = "RSA ") -> bytes:
    return KEY.format(kind, chance(64), chance(64), kind).encode()


def metadata(name: str, licence: str | None, field: str = "License-Expression") -> Members:
    said = f"{field}: {licence}\n" if licence else ""
    place = f"opt/venv/lib/python3.11/site-packages/{name}-1.0.dist-info/METADATA"
    return file(place, f"Metadata-Version: 2.4\nName: {name}\nVersion: 1.0\n{said}\nText\n")


def debian(name: str, licence: str) -> Members:
    status = f"Package: {name}\nStatus: install ok installed\nVersion: 2-1\nArchitecture: amd64\n"
    about = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n"
    about += f"\nFiles: *\nCopyright: x\nLicense: {licence}\n text\n"
    return [*file("var/lib/dpkg/status", status), *file(f"usr/share/doc/{name}/copyright", about)]


def image(
    own: Members | dict[int, Members] = (),
    *,
    base: Members = (),
    text: str = TEXT,
    execution: Execution | None = None,
    before: int | None = None,
) -> Image:
    """An image; `own` alone is what the RUN of TEXT made, `before` the size of what was locked before."""
    previous = None
    if before is not None:
        nothing = Digest.of(b"")
        locked = LayerLock(diff_id=nothing, blob=nothing, size=before)
        previous = stage_lock(image=ImageLock(manifest=nothing, config=nothing, layers=(locked,)))
    layers = own if isinstance(own, dict) else {RUN: own} if own else {}
    return Image(
        text,
        layers,
        base=[base] if base else (),
        execution=execution,
        previous=previous,
    )


def file(name: str, content: str | bytes, **more: object) -> Members:
    data = content if isinstance(content, bytes) else content.encode()
    return [member(name, data, **more)]  # type: ignore[arg-type]


def app(content: str) -> Members:
    return file("app/settings.py", content)


def configured(**settings: object) -> Image:
    return image(execution=Execution(**settings))  # type: ignore[arg-type]


USERS = "FROM base:1\nUSER 10001\nRUN x\nUSER app\nEXPOSE 8080\nLABEL a=b\n"
ACCOUNTS = "root:*:19000:0:99999:7:::\ndaemon:*:19000::::::\n"

# rule, the image, the line, a part of the message, settings
FIRES: list[tuple[str, Image, int | None, str, dict[str, object]]] = [
    ("RB201", image(), 5, "names no user", {}),
    ("RB201", image(text="FROM base:1\nRUN x\n"), 1, "names no user", {}),
    ("RB201", configured(user="0"), 5, "runs as 0", {}),
    ("RB201", configured(user="root"), 5, "runs as root", {}),
    ("RB201", configured(user="00:10001"), 5, "runs as 00:10001", {}),
    ("RB202", image(text=USERS, execution=Execution(user="app")), 4, "runs as app", {}),
    ("RB202", image(text=USERS, execution=Execution(user="10001:app")), 4, "runs as 10001:app", {}),
    ("RB204", image(file("app/x", b"1", uid=100_000)), RUN, "/app/x belongs to 100000:100000", {}),
    ("RB204", image([member("app", uid=2_000_000)]), RUN, "/app belongs to 2000000", {}),
    ("RB204", image([member("app", uid=20_000)]), RUN, "beyond 10000", {"largest": 10_000}),
    ("RB206", image(file("usr/bin/sudo", b"x", mode=0o755)), RUN, "/usr/bin/sudo", {}),
    ("RB206", image({COPY: [member("usr/bin/doas", b"x")]}), COPY, "/usr/bin/doas", {}),
    ("RB207", image([SETUID]), RUN, "/usr/bin/tool is setuid: whoever starts it is user 0", {}),
    ("RB207", image([member("usr/bin/w", b"x", mode=0o2755, uid=5)]), RUN, "/usr/bin/w is setgid", {}),
    ("RB207", image([SETUID], base=[member("usr/bin/tool", b"x", mode=0o755)]), RUN, "is setuid", {}),
    ("RB208", image([member("bin/ping", b"x", pax=CAPABLE)]), RUN, "cap_net_bind_service, cap_net_raw", {}),
    ("RB209", image([member("app", mode=0o777)]), RUN, "/app may be written by everybody (mode 0777)", {}),
    (
        "RB209",
        image(
            [member("app", mode=0o777), member("app/1", b"", mode=0o666), member("app/2", b"", mode=0o666)]
        ),
        RUN,
        "/app may be written by everybody (mode 0777), with 2 more in it",
        {},
    ),
    ("RB209", image(file("app/x", b"1", mode=0o646)), RUN, "/app/x may be written by everybody", {}),
    ("RB210", image([member("dev/sda", kind=tarfile.BLKTYPE)]), RUN, "/dev/sda is a block device", {}),
    ("RB210", image([member("dev/kmsg", kind=tarfile.CHRTYPE)]), RUN, "/dev/kmsg is a char device", {}),
    (
        "RB212",
        image(file("etc/shadow", "root::19000:0:99999:7:::\n")),
        RUN,
        "root, which needs no password",
        {},
    ),
    (
        "RB212",
        image(file("etc/passwd", "root:x:0:0::/:\nadmin:x:0:0::/:\n")),
        RUN,
        "account admin, which is",
        {},
    ),
    (
        "RB214",
        image(app(f'x = 1\ny = "AKIA{chance(16, "ABCDEFGHIJ234567")}"\n')),
        RUN,
        "AWS access key on line 2",
        {},
    ),
    ("RB214", image(app(f"ghp_{chance(36)}")), RUN, "/app/settings.py holds a GitHub token on line 1", {}),
    ("RB214", image(app(f"github_pat_{chance(22)}_{chance(59)}")), RUN, "a GitHub token", {}),
    ("RB214", image(app(f"glpat-{chance(20)}")), RUN, "a GitLab token", {}),
    ("RB214", image(app(f"xoxb-{chance(12, string.digits)}-{chance(24)}")), RUN, "a Slack token", {}),
    (
        "RB214",
        image(
            app(
                f"https://hooks.slack.com/services/T0{chance(8, 'ABC123')}/B0{chance(8, 'ABC123')}/"
                f"{chance(24)}"
            )
        ),
        RUN,
        "a Slack webhook",
        {},
    ),
    ("RB214", image(app(f"npm_{chance(36)}")), RUN, "an npm token", {}),
    ("RB214", image(app(f"pypi-AgEIcHlwaS5vcmc{chance(60)}")), RUN, "a PyPI token", {}),
    ("RB214", image(app(f"AIza{chance(35)}")), RUN, "a Google API key", {}),
    ("RB214", image(app(f"sk_live_{chance(24)}")), RUN, "a Stripe key", {}),
    ("RB214", image(app(f"hf_{chance(34)}")), RUN, "a Hugging Face token", {}),
    ("RB214", image(app(f"eyJ{chance(20)}.eyJ{chance(40)}.{chance(43)}")), RUN, "a JSON web token", {}),
    ("RB214", image({COPY: file("app/server.pem", key())}), COPY, "/app/server.pem holds a private key", {}),
    ("RB214", image(file("root/x", key("OPENSSH "))), RUN, "a private key", {}),
    (
        "RB214",
        image(file("app/k.json", f'{{"private_key": "{key("").decode()}"}}'.replace("\n", "\\n"))),
        RUN,
        "a private key",
        {},
    ),
    (
        "RB214",
        image({COPY: app(f"ghp_{chance(36)}"), RUN: [member("app/.wh.settings.py", b"")]}),
        COPY,
        "a later layer deletes it",
        {},
    ),
    (
        "RB214",
        image(file("app/config.yaml", f"a: 1\napi_key: {chance(32)}\n")),
        RUN,
        "holds a value that looks like a secret on line 2",
        {},
    ),
    ("RB214", image(app(f'SECRET_KEY = "{chance(50)}"')), RUN, "looks like a secret", {}),
    (
        "RB214",
        image(file("usr/lib/python3/dist-packages/x.py", key())),
        RUN,
        "private key",
        {"installed": True},
    ),
    ("RB215", image(file("root/.npmrc", "//registry.npmjs.org/:_authToken=abc\n")), RUN, "npm's token", {}),
    ("RB215", image(file("root/.pypirc", "[pypi]\nusername: a\npassword: b\n")), RUN, "password", {}),
    ("RB215", image(file("root/.netrc", "machine x login y password z\n")), RUN, "/root/.netrc holds", {}),
    (
        "RB215",
        image(file("home/a/.docker/config.json", '{"auths":{"x":{"auth":"YTpi"}}}')),
        RUN,
        "registry's",
        {},
    ),
    (
        "RB215",
        image(file("root/.aws/credentials", "[default]\naws_secret_access_key=x\n")),
        RUN,
        "AWS's keys",
        {},
    ),
    ("RB215", image(file("root/.git-credentials", "https://a:b@example.com\n")), RUN, "git's passwords", {}),
    (
        "RB215",
        image(file("etc/pip.conf", "[global]\nindex-url=https://a:b@example.com/simple\n")),
        RUN,
        "index",
        {},
    ),
    (
        "RB215",
        image({COPY: file("root/.npmrc", "_auth=abc\n"), RUN: [member("root/.wh..npmrc", b"")]}),
        COPY,
        "a later layer deletes it, and whoever has the image still has it",
        {},
    ),
    (
        "RB216",
        image(file("root/.ssh/id_ed25519", key("OPENSSH "))),
        RUN,
        "/root/.ssh/id_ed25519 is a key",
        {},
    ),
    ("RB216", image(file("etc/ssh/ssh_host_rsa_key", key())), RUN, "is a host key", {}),
    ("RB216", image(file("home/a/.ssh/authorized_keys", "ssh-ed25519 AAAA a\n")), RUN, "log in", {}),
    ("RB216", image(file("app/id_rsa", key())), RUN, "/app/id_rsa is a key", {}),
    ("RB217", image({COPY: file("app/.env", "A=1\n")}), COPY, "/app/.env is a file of settings", {}),
    ("RB217", image(file("app/.env.production", "A=1\n")), RUN, "/app/.env.production", {}),
    ("RB221", image(file("var/cache/apt/archives/curl_7_amd64.deb", b"x")), RUN, "/var/cache/apt holds", {}),
    ("RB221", image(file("var/lib/apt/lists/deb.debian.org_Packages", b"x")), RUN, "1 file, 0.0 kB", {}),
    (
        "RB221",
        image([member(f"root/.cache/pip/http/{n}", b"x" * 60_000) for n in range(3)]),
        RUN,
        "/root/.cache/pip holds a package manager's cache: 3 files, 0.2 MB",
        {},
    ),
    ("RB221", image(file("root/.npm/_cacache/index-v5/1", b"x")), RUN, "/root/.npm/_cacache", {}),
    ("RB221", image(file("opt/conda/pkgs/numpy-1.conda", b"x")), RUN, "/opt/conda/pkgs", {}),
    ("RB221", image(file("usr/local/share/.cache/yarn/v6/a", b"x")), RUN, "yarn", {}),
    ("RB221", image(file("var/cache/apk/APKINDEX.1.tar.gz", b"x")), RUN, "/var/cache/apk", {}),
    (
        "RB222",
        image(
            [
                member("usr/bin/x86_64-linux-gnu-gcc-12", b"x", mode=0o755),
                member("usr/bin/g++", link="g++-12"),
                member("usr/bin/make", b"x", mode=0o755),
            ]
        ),
        RUN,
        "the build left compilers in the image: g++, gcc, make",
        {},
    ),
    ("RB222", image(file("usr/local/go/bin/go", b"x", mode=0o755)), RUN, ": go", {}),
    ("RB222", image(file("usr/bin/nasm", b"x", mode=0o755)), RUN, ": nasm", {"programs": ["nasm"]}),
    (
        "RB223",
        image({COPY: [member("app/.git"), member("app/.git/HEAD", b"ref"), member("app/.git/config", b"")]}),
        COPY,
        "/app/.git/HEAD is of /app/.git",
        {},
    ),
    ("RB224", image(file("usr/sbin/sshd", b"x", mode=0o755)), RUN, "/usr/sbin/sshd", {}),
    (
        "RB231",
        image(
            {COPY: [member("data"), member("data/main.py", b"1"), member("data/a.py", b"1")]},
            execution=Execution(volumes={"/data": {}}),
        ),
        8,
        "the volume /data lies over 2 files, /data/a.py among them",
        {},
    ),
    ("RB231", configured(volumes={"/srv/": {}}, working_dir="/srv/app"), 8, "over the working directory", {}),
    (
        "RB233",
        image(text=USERS, execution=Execution(exposed_ports={"8080/tcp": {}})),
        5,
        "serves on 8080/tcp",
        {},
    ),
    (
        "RB233",
        configured(exposed_ports={"1/tcp": {}}, healthcheck=Healthcheck(test=["NONE"])),
        3,
        "no HEALTH",
        {},
    ),
    (
        "RB311",
        image({COPY: metadata("x", "AGPL-3.0-only")}),
        COPY,
        "the pypi package x 1.0 is under AGPL-3.0-only, which is not allowed",
        {},
    ),
    ("RB311", image(metadata("x", "MIT AND agpl-3.0-or-later")), RUN, "not allowed", {}),
    (
        "RB311",
        image(metadata("x", "License :: OSI Approved :: GNU Affero General Public License v3", "Classifier")),
        RUN,
        "the pypi package x 1.0",
        {},
    ),
    ("RB311", image(debian("libx", "GPL-3+ or AGPL-3+")), RUN, "deb package libx 2-1", {"deny": ["*GPL-3*"]}),
    ("RB311", image(file("a", b"1"), base=debian("libx", "AGPL-3+")), 3, "the deb package libx 2-1", {}),
    (
        "RB311",
        image(
            file("app/node_modules/@a/b/package.json", '{"name":"@a/b","version":"1.0","license":"SSPL-1.0"}')
        ),
        RUN,
        "the npm package @a/b 1.0 is under SSPL-1.0",
        {},
    ),
    (
        "RB311",
        image(metadata("x", "GPL-3.0")),
        RUN,
        "which is not one of those allowed",
        {"allow": ["MIT", "BSD-*"]},
    ),
    ("RB311", image(metadata("x", None)), RUN, "names no licence", {"unknown": True}),
    (
        "RB312",
        image({COPY: file("a", NUMBERS.randbytes(900_000)), RUN: file("b", NUMBERS.randbytes(400_000))}),
        COPY,
        "the image has 1.3 MB; 1 MB are the most",
        {"megabytes": 1},
    ),
    (
        "RB313",
        image({COPY: file("a", b"1"), RUN: file("b", NUMBERS.randbytes(1_100_000))}),
        RUN,
        "layer 2 has 1.1 MB",
        {"megabytes": 1},
    ),
    (
        "RB314",
        image({COPY: file("a", b"1"), RUN: file("b", b"1")}, base=file("c", b"1")),
        None,
        "3 layers, 2 of them made by the build; 2 are the most",
        {"layers": 2},
    ),
    (
        "RB315",
        image(file("a", NUMBERS.randbytes(2_000_000)), before=1_000_000),
        RUN,
        "had 1.0 MB when it was last locked: 100 % more",
        {"megabytes": 0},
    ),
    (
        "RB316",
        image(text=USERS, execution=Execution(labels={"org.opencontainers.image.title": "a"})),
        6,
        "no label org.opencontainers.image.source",
        {"labels": ["org.opencontainers.image.source"]},
    ),
]

LABELS = {f"org.opencontainers.image.{name}": "x" for name in ("title", "description", "licenses")}

SILENT: list[tuple[str, Image, dict[str, object]]] = [
    ("RB201", configured(user="10001"), {}),
    ("RB201", configured(user="app"), {}),
    ("RB201", configured(user="10001:0"), {}),
    ("RB202", configured(user="10001:10001"), {}),
    ("RB202", configured(user="root"), {}),
    ("RB202", configured(), {}),
    ("RB204", image(file("app/x", b"1", uid=65_535)), {}),
    ("RB204", image(file("a", b"1"), base=file("app/x", b"1", uid=100_000)), {}),
    ("RB204", image(file("app/x", b"1", uid=100_000)), {"ignore": ["/app/*"]}),
    ("RB206", image(file("a", b"1"), base=file("usr/bin/sudo", b"x")), {}),
    ("RB206", image(file("etc/sudo.conf", b"1")), {}),
    ("RB206", image({COPY: file("usr/bin/sudo", b"x"), RUN: [member("usr/bin/.wh.sudo", b"")]}), {}),
    ("RB207", image(file("a", b"1"), base=[SETUID]), {}),
    ("RB207", image([SETUID], base=[SETUID]), {}),  # an upgrade of what was there
    ("RB207", image([member("var/mail", mode=0o2775)]), {}),
    ("RB207", image({COPY: [SETUID], RUN: [member("usr/bin/tool", b"x", mode=0o755)]}), {}),
    ("RB207", image([SETUID]), {"ignore": ["/usr/bin/*"]}),
    ("RB208", image(file("bin/ping", b"x", pax={"SCHILY.xattr.user.note": "1"})), {}),
    ("RB208", image(file("a", b"1"), base=[member("bin/ping", b"x", pax=CAPABLE)]), {}),
    ("RB209", image([member("tmp", mode=0o1777), member("a", link="b", mode=0o777), member("b", b"")]), {}),
    ("RB209", image(file("a", b"1"), base=[member("app", mode=0o777)]), {}),
    ("RB210", image(file("dev/null.txt", b"1"), base=[member("dev/null", kind=tarfile.CHRTYPE)]), {}),
    (
        "RB212",
        image([*file("etc/shadow", ACCOUNTS), *file("etc/passwd", "root:x:0:0::/:\na:x:7:7::/:\n")]),
        {},
    ),
    ("RB212", image(file("a", b"1"), base=file("etc/shadow", "root::1::::::\n")), {}),
    # Placeholders, mentions in programs, examples of manuals, digests, what others published.
    ("RB214", image(app(f"ghp_{'x' * 36}\nghp_short\nAKIAIOSFODNN7EXAMPLE\n")), {}),
    ("RB214", image(app('if b"-----BEGIN RSA PRIVATE KEY-----" in data:\n    return "-----END"\n')), {}),
    ("RB214", image(file("etc/ssl/cert.pem", f"-----BEGIN CERTIFICATE-----\n{chance(64)}\n")), {}),
    (
        "RB214",
        image(app(f"password = get_password()\ntoken = response.access_token2_of_it\nsha = '{chance(64)}'")),
        {},
    ),
    (
        "RB214",
        image(
            file(
                "app/package-lock.json", f'{{"integrity": "sha512-{chance(86)}==", "token": "{chance(40)}"}}'
            )
        ),
        {},
    ),
    (
        "RB214",
        image(
            file("app/values.yaml", "password: ${DB_PASSWORD}\napi_key: changeme-please-now\ntoken: /run/x\n")
        ),
        {},
    ),
    ("RB214", image(file("opt/venv/lib/python3.11/site-packages/tornado/test/test.key", key())), {}),
    ("RB214", image(file("usr/lib/python3.11/test/keycert.pem", key())), {}),
    ("RB214", image(file("app/blob.bin", b"\0" + key())), {}),
    ("RB214", image(file("app/data.csv", "".join(f"{chance(40)},{n}\n" for n in range(50)))), {}),
    ("RB214", image(file("a", b"1"), base=app(f"ghp_{chance(36)}")), {}),
    ("RB214", image(file("app/tests/server.pem", key())), {"ignore": ["/app/tests/*"]}),
    (
        "RB215",
        image(file("root/.npmrc", "registry=https://registry.npmjs.org/\n//x/:_authToken=${NPM_TOKEN}\n")),
        {},
    ),
    ("RB215", image(file("root/.docker/config.json", '{"auths": {}}')), {}),
    ("RB215", image(file("etc/pip.conf", "[global]\nindex-url=https://example.com/simple\n")), {}),
    ("RB215", image(file("app/config.json", '{"auth": "basic-auth"}')), {}),
    ("RB215", image(file("app/.git/config", "[remote]\nurl = https://example.com/x.git\n")), {}),
    ("RB216", image([*file("root/.ssh/id_rsa.pub", "ssh-rsa"), *file("root/.ssh/known_hosts", "x")]), {}),
    ("RB216", image(file("etc/ssh/ssh_config", "x")), {}),
    ("RB216", image([member("root/.ssh", mode=0o700), member("root/.ssh/authorized_keys", b"")]), {}),
    ("RB217", image([*file("app/.env.example", "A=1"), *file("app/.envrc", "x"), member("opt/.env")]), {}),
    ("RB217", image(file("app/node_modules/dotenv/.env", "A=1")), {}),
    (
        "RB221",
        image([member("var/lib/apt/lists"), member("var/lib/apt/lists/lock", b""), member("var/cache/apt")]),
        {},
    ),
    ("RB221", image({COPY: file("root/.cache/pip/x", b"1"), RUN: [member("root/.wh..cache", b"")]}), {}),
    ("RB221", image(file("a", b"1"), base=file("var/lib/apt/lists/deb_Packages", b"x")), {}),
    ("RB221", image(file("opt/venv/lib/python3.11/site-packages/cachetools/lists.py", b"x")), {}),
    ("RB222", image(file("a", b"1"), base=file("usr/bin/gcc", b"x", mode=0o755)), {}),
    (
        "RB222",
        image(
            [
                *file("usr/share/doc/gcc/README", b"x"),
                *file("usr/bin/ldd", b"x", mode=0o755),
                *file("usr/lib/gcc/x.o", b"x"),
            ]
        ),
        {},
    ),
    ("RB223", image([*file("app/.gitignore", b"x"), *file("app/.github/x.yml", b"x")]), {}),
    ("RB223", image(file("a", b"1"), base=file("app/.git/HEAD", b"x")), {}),
    ("RB224", image(file("usr/bin/ssh", b"x")), {}),
    (
        "RB231",
        image(
            {COPY: [member("data"), member("database/x", b"1")]},
            execution=Execution(volumes={"/data": {}}, working_dir="/app"),
        ),
        {},
    ),
    ("RB231", image(file("app/x", b"1")), {}),
    ("RB233", configured(exposed_ports={"80/tcp": {}}, healthcheck=Healthcheck(test=["CMD", "true"])), {}),
    ("RB233", configured(cmd=["true"]), {}),
    ("RB311", image([*metadata("a", "MIT"), *metadata("b", None), *metadata("c", "AGPL-3.0 OR MIT")]), {}),
    ("RB311", image(debian("libx", "Artistic or AGPL-3+")), {}),
    ("RB311", image({COPY: metadata("x", "AGPL-3.0"), RUN: [member("opt/.wh.venv", b"")]}), {}),
    ("RB311", image(metadata("x", "AGPL-3.0")), {"packages": ["x"]}),
    ("RB311", image(metadata("x", "mit OR GPL-3.0")), {"allow": ["MIT"]}),
    ("RB311", image(metadata("x", "BSD License", "License")), {"allow": ["BSD-*"]}),
    ("RB312", image(file("a", b"1")), {}),
    ("RB313", image(file("a", b"1"), base=file("c", NUMBERS.randbytes(1_100_000))), {"megabytes": 1}),
    ("RB314", image(file("a", b"1")), {}),
    ("RB315", image(file("a", b"1")), {"megabytes": 0}),
    ("RB315", image(file("a", NUMBERS.randbytes(110_000)), before=100_000), {"megabytes": 0}),
    ("RB315", image(file("a", NUMBERS.randbytes(110_000)), before=1), {}),
    ("RB316", configured(labels=LABELS), {}),
]


def _named(case: tuple[object, ...]) -> str:
    return str(case[0])


@pytest.mark.parametrize(("rule", "where", "line", "message", "settings"), FIRES, ids=map(_named, FIRES))
def test_finds(rule: str, where: Image, line: int | None, message: str, settings: dict[str, object]) -> None:
    (violation,) = where.violations(rule, **settings)
    assert message in violation.message
    assert violation.where is not None
    assert (violation.where.file, violation.where.line) == ("Containerfile", line)


@pytest.mark.parametrize(("rule", "where", "settings"), SILENT, ids=map(_named, SILENT))
def test_leaves_alone(rule: str, where: Image, settings: dict[str, object]) -> None:
    assert where.violations(rule, **settings) == []


def test_a_secret_is_in_nothing_that_is_said() -> None:
    token, password = f"ghp_{chance(36)}", chance(20)
    text = f"password = '{password}'\n{token}\n"
    for rule, members in (("RB214", app(text)), ("RB215", file("root/.netrc", f"password {password}"))):
        (violation,) = image(members).violations(rule)
        for part in (token[4:12], token[-8:], password[:6], password[-6:]):
            assert part not in f"{violation.message} {violation.text} {violation.hint}"


def test_a_long_list_ends() -> None:
    members = [member(f"usr/bin/tool{n:03}", b"x", mode=0o4755) for n in range(120)]
    violations = image(members).violations("RB207")
    assert len(violations) == 51
    assert violations[-1].message == "and 70 more of the kind"


def test_every_rule_about_images_is_in_both_tables() -> None:
    mine = re.compile("RB2|RB31")
    rules = {rule.id for rule in RULES.values() if (rule.watch or rule.image) and mine.match(rule.id)}
    assert rules == {rule for rule, *_ in FIRES} == {rule for rule, *_ in SILENT}
