"""Rules of RB2xx about what a Containerfile says, and how lines with secrets are shown."""

from __future__ import annotations

import random
import string
import time

import pytest
from policyfacts import file_facts, found

from rbuild.policy.catalogue import RULES
from rbuild.policy.secrets import known_secrets, looks_random, masked

NUMBERS = random.Random(6)
_PROJECT = "project: demo\nstages:\n  app:\n    containerfile: Containerfile\n    context: .\n    args:\n"


def chance(length: int, alphabet: str = string.ascii_letters + string.digits) -> str:
    return "".join(NUMBERS.choice(alphabet) for _ in range(length))


TOKEN = f"ghp_{chance(36)}"
RANDOM = chance(40)

# rule, the Containerfile, lines of the findings
FIRES: list[tuple[str, str, list[int]]] = [
    ("RB203", "FROM x\nUSER 100000\n", [2]),
    ("RB203", "FROM x\nARG UID=70000\nUSER ${UID}:10001\n", [3]),
    ("RB203", "FROM x\nCOPY --chown=1:65536 a b\nADD --chown=99999 a b\n", [2, 3]),
    ("RB203", "FROM x AS a\nUSER 65536\nFROM a\nRUN x\n", [2]),
    ("RB205", "FROM x\nRUN sudo apt-get update\n", [2]),
    ("RB205", "FROM x\nRUN true \\\n && sudo -u app env A=1 ./x\n", [3]),
    (
        "RB205",
        "FROM x\nRUN apt-get update && \\\n    apt-get install -y --no-install-recommends curl sudo\n",
        [3],
    ),
    ("RB205", 'FROM x\nRUN ["sudo", "true"]\n', [2]),
    ("RB205", "FROM x\nRUN apk add --no-cache sudo=1.9\n", [2]),
    ("RB211", "FROM x\nRUN --security=insecure ./build\n", [2]),
    ("RB211", "FROM x\nRUN mkdir /m; \\\n  mount -t tmpfs none /m\n", [3]),
    ("RB211", "FROM x\nRUN modprobe fuse || true\n", [2]),
    ("RB211", "FROM x\nRUN iptables -A INPUT -j DROP\nRUN sysctl -w a=b && mknod /d c 1 3\n", [2, 3, 3]),
    ("RB213", "FROM x\nENV DB_PASSWORD=hunter2\n", [2]),
    ("RB213", "FROM x\nENV A=1 \\\n    # about it\n    API_KEY='abc' \\\n    B=2\n", [4]),
    ("RB213", "FROM x\nENV SECRET_KEY abc def\n", [2]),
    ("RB213", "ARG NPM_TOKEN=abc\nFROM x\n", [1]),
    ("RB213", "FROM x\nLABEL deploy.token=abc\n", [2]),
    ("RB213", f"FROM x\nENV NOTHING={TOKEN}\n", [2]),
    ("RB213", f"FROM x\nRUN true \\\n && curl -H 'Authorization: Bearer {TOKEN}' https://x\n", [3]),
    ("RB213", f"FROM x\nRUN <<EOF\necho a\necho {TOKEN} > /x\nEOF\n", [4]),
    ("RB213", "FROM x\nENV DATABASE_URL=postgres://app:s3cret@db:5432/app\n", [2]),
    ("RB213", f"FROM x\nENV SETTING={RANDOM}\n", [2]),
    ("RB213", "FROM x\nONBUILD ENV APP_PASSWORD=abc\n", [2]),
    ("RB213", "FROM x AS build\nENV BUILD_SECRET=abc\nFROM x\nCOPY --from=build a a\n", [2]),
    ("RB218", "FROM x\nRUN y\n", [1]),
    ("RB218", "FROM x AS a\nUSER 1\nFROM y\nCOPY --from=a z z\n", [3]),
    ("RB218", "FROM scratch\nCOPY a a\nONBUILD USER 1\n", [1]),
    ("RB232", "FROM x\nEXPOSE 8080 80/tcp\n", [2]),
    ("RB232", "FROM x\nENV PORT=443\nEXPOSE $PORT\n", [3]),
    ("RB232", "FROM x AS a\nEXPOSE 22\nFROM a\n", [2]),
]
SILENT: list[tuple[str, str]] = [
    ("RB203", "FROM x\nUSER 10001:65535\nCOPY --chown=$UID:0 a b\nUSER app\n"),
    ("RB203", "FROM x AS unused\nUSER 100000\nFROM x\nUSER 5\n"),
    ("RB205", "FROM x\nRUN echo sudo && apt-get install -y libsudo && apt-get remove -y sudo\n"),
    ("RB205", "FROM x AS unused\nRUN sudo x\nFROM x\nRUN true # sudo\n"),
    ("RB211", "FROM x\nRUN --mount=type=cache,target=/c mount && ./mount.sh && mknod /p p && sysctl -a\n"),
    (
        "RB211",
        "FROM x\nRUN apt-get install -y mount iptables && iptables --version && --security=sandbox x\n",
    ),
    ("RB213", "FROM x\nARG NPM_TOKEN\nARG PASSWORD=\nENV A=$NPM_TOKEN\n"),
    (
        "RB213",
        "FROM x\nENV TOKEN_LIMIT=100 SECRET_FILE=/run/x MAX_TOKENS=5 TOKENIZERS_PARALLELISM=false\n",
    ),
    ("RB213", "FROM x\nENV DB_PASSWORD=${DB_PASSWORD:-} DB_SECRET=/run/secrets/db TOKEN=changeme\n"),
    ("RB213", "FROM x\nENV GPG_KEY=A035C8C19219BA821ECEA86B64E628F8D684696D\n"),
    (
        "RB213",
        f"FROM x\nENV PYTHON_SHA256={chance(64, 'abcdef0123456789')} X={chance(40, '01ab')}\n",
    ),
    (
        "RB213",
        f"FROM x\nLABEL integrity=sha512-{chance(86)}== source=https://example.com/Some/Path/With9\n",
    ),
    ("RB213", "FROM x\nRUN --mount=type=secret,id=token TOKEN=$(cat /run/secrets/token) ./fetch\n"),
    (
        "RB213",
        "FROM x\nENV PATH=/opt/Venv3/bin:/usr/local/sbin:/usr/bin LD_LIBRARY_PATH=/usr/lib/x86_64\n",
    ),
    ("RB213", "FROM x\nENV DATABASE_URL=postgres://app:$PW@db/app PROXY=http://user@proxy:3128\n"),
    ("RB218", "FROM x\nUSER app\nRUN y\n"),
    ("RB218", "FROM x AS a\nUSER 1\nFROM a\nRUN y\n"),
    ("RB218", "FROM x\nUSER 0\n"),
    ("RB232", "FROM x\nEXPOSE 8080/udp 1024 $PORT\n"),
    ("RB232", "FROM x AS a\nEXPOSE 80\nFROM x\nCOPY --from=a b b\n"),
]


@pytest.mark.parametrize(("rule", "text", "lines"), FIRES)
def test_finds(rule: str, text: str, lines: list[int]) -> None:
    violations = found(rule, file_facts(text))
    assert [one.where.line if one.where else None for one in violations] == lines
    assert all(one.text for one in violations)


@pytest.mark.parametrize(("rule", "text"), SILENT)
def test_leaves_alone(rule: str, text: str) -> None:
    assert found(rule, file_facts(text)) == []


def test_settings() -> None:
    assert found("RB203", file_facts("FROM x\nUSER 2000\n"), largest=1000)
    assert found("RB232", file_facts("FROM x\nEXPOSE 8080\n"), lowest=9000)
    assert found("RB211", file_facts("FROM x\nRUN fusermount -u x\n"), commands=["fusermount"])
    assert not found("RB213", file_facts("FROM x\nENV AUTH_TOKEN=abc\n"), names=["AUTH_TOKEN"])


def test_a_build_argument_of_the_project() -> None:
    facts = file_facts("FROM x\nARG API_TOKEN\n", project=f'{_PROJECT}      API_TOKEN: "abc"\n')
    (violation,) = found("RB213", facts)
    assert violation.where is not None
    assert str(violation.where) == "rbuild.yaml stages.app.args.API_TOKEN"


@pytest.mark.parametrize(
    "line",
    [
        f"ENV DB_PASSWORD={RANDOM}",
        f"ENV X={TOKEN}",
        f'RUN curl -u "user:{TOKEN}"',
        f"ENV URL=postgres://app:{RANDOM}@db",
        f"key = {RANDOM}",
        f'  "password": "{RANDOM}",',
    ],
)
def test_what_is_shown_of_a_line(line: str) -> None:
    shown = masked(line)
    assert RANDOM[:5] not in shown
    assert TOKEN[4:9] not in shown
    assert "[hidden]" in shown
    assert masked(shown) == shown


def test_a_line_without_a_secret_is_shown_as_it_is() -> None:
    line = "RUN pip install --hash=sha256:" + chance(64, "0123456789abcdef") + " x==1 && echo $TOKEN"
    assert masked(line) == line


def test_hostile_text_takes_no_longer_than_other_text() -> None:
    pieces = ["eyJ" * 10_000, "ghp_" * 10_000, "-----BEGIN " * 9_000, "AAAA " * 8_000 + "PRIVATE KEY-----"]
    pieces += ["xox" + "b-" * 13_000, "sk-" + "a" * 30_000 + "T3BlbkFJ", "://a:" * 7_000, "a" * 30_000]
    pieces += ["-----BEGIN PRIVATE KEY-----" + "\n" * 30_000, "A: b\n" * 7_000, "SG." * 10_000]
    begin = time.process_time()
    for piece in pieces:
        list(known_secrets(piece.encode()))
        masked(piece)
        looks_random("X", piece)
    assert time.process_time() - begin < 10  # quadratic would be minutes


def test_every_rule_about_text_is_in_both_tables() -> None:
    rules = {rule.id for rule in RULES.values() if rule.id.startswith("RB2") and rule.files}
    assert rules == {rule for rule, *_ in FIRES} == {rule for rule, *_ in SILENT}
