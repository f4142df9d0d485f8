"""RB1xx: what is found in real Containerfiles, on which line, and what is left alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from policyfacts import NOW, file_facts, found, lock_facts, stage_lock

from rbuild.digest import Digest
from rbuild.policy.facts import Verified

HEX = "0123456789abcdef" * 4
COMMIT = HEX[:40]
FROM = "FROM a.example/b:1.2"

# rule, what follows FROM (which is line 1), the lines of what is found
FIRES: tuple[tuple[str, str, list[int]], ...] = (
    ("RB103", "RUN git clone git@github.com:a/b.git", [2]),
    ("RB103", "RUN a \\\n && rsync -a host::files /x \\\n && scp h:/f /f", [3, 4]),
    ("RB103", "RUN wget ftp://a.example/f\nRUN pip install git+ssh://git@a.example/b", [2, 3]),
    ("RB103", "RUN --mount=type=cache,target=/c \\\n --network=host true", [3]),
    ("RB103", "RUN docker pull debian\nRUN cat < /x | nc a.example 80", [2, 3]),
    ("RB103", "ADD git://a.example/b.git /b", [2]),
    ("RB103", "RUN gpg --keyserver hkps://keys.example --recv-keys ABCD", [2]),
    ("RB103", 'RUN ["git", "clone", "ssh://a.example/b"]', [2]),
    ("RB103", "RUN exec 3<>/dev/tcp/a.example/80", [2]),
    ("RB104", "RUN curl -fsSL https://a.example/i.sh | sh", [2]),
    ("RB104", "RUN x; \\\n wget -qO- https://a.example/i | sudo -E bash -s -- -y", [3]),
    ("RB104", 'RUN bash -c "$(curl -fsSL https://a.example/i)"', [2]),
    ("RB104", "RUN bash <(curl -s https://a.example/i)\nRUN . <(curl -s https://a.example/i)", [2, 3]),
    ("RB104", "RUN curl -sSL https://a.example/get-pip.py | python3 -", [2]),
    ("RB104", "RUN <<EOF\nset -e\ncurl -sS https://a.example/i | sh\nEOF", [4]),
    ("RB105", "ADD https://a.example/f /f", [2]),
    ("RB105", "ARG V=1\nADD https://a.example/$V \\\n  https://a.example/f \\\n  /d/", [3, 4]),
    ("RB105", "ADD https://a.example/a.git#main /a", [2]),
    ("RB106", "RUN curl -fsSLo /f https://a.example/f && chmod +x /f", [2]),
    ("RB106", "RUN wget https://a.example/f.tar.gz \\\n && tar xf f.tar.gz", [2]),
    ("RB106", "RUN curl -fsSL https://a.example/f.tgz | tar xz -C /opt", [2]),
    ("RB106", "RUN curl -s https://a.example/f > /f", [2]),
    ("RB107", "RUN apt-get update \\\n && apt-get -y upgrade", [3]),
    ("RB107", "RUN apk update && apk upgrade\nRUN dnf -y update\nRUN yum upgrade -y", [2, 3, 4]),
    ("RB107", "RUN apt-get update && DEBIAN_FRONTEND=noninteractive apt-get dist-upgrade -yq", [2]),
    ("RB107", "RUN pacman -Syu --noconfirm git", [2]),
    ("RB108", "RUN apt-get update\nRUN apt-get install -y curl", [2]),
    ("RB108", "RUN apt-get install -y curl && apt-get update && echo done", [2]),
    ("RB108", "RUN apk update", [2]),
    ("RB109", "RUN pip install -U numpy \\\n scipy==1.2 \\\n pandas", [2, 4]),
    ("RB109", "RUN python3 -m pip --python /v/bin/python install flask[async]", [2]),
    ("RB109", "RUN uv pip install --system requests", [2]),
    ("RB109", "RUN pip3 install 'torch ; python_version > \"3\"' --index-url https://a.example/", [2]),
    ("RB110", "COPY package.json .\nRUN npm install", [3]),
    ("RB110", "RUN npm i -g \\\n typescript \\\n prettier@3", [3, 4]),
    ("RB110", "RUN yarn && pnpm install", [2, 2]),
    (
        "RB111",
        "RUN apt-get update && apt-get install -y --no-install-recommends \\\n curl \\\n jq=1.6-2",
        [3],
    ),
    ("RB112", "RUN date > /built", [2]),
    ("RB112", 'RUN echo "built $(date -u +%F)" >> /etc/motd', [2]),
    ("RB112", "RUN a \\\n && sed -i s/X/$(hostname)/ /etc/x", [3]),
    ("RB112", "RUN uuidgen | tee /etc/id\nRUN head -c 16 /dev/urandom > /key", [2, 3]),
    ("RB112", "RUN V=$RANDOM && echo $V > /v", [2]),
    ("RB112", "RUN apt-get install -y linux-headers-$(uname -r)", [2]),
    ("RB112", 'RUN echo "id=$(cat /proc/sys/kernel/random/uuid)" > /id', [2]),
    ("RB112", "RUN ssh-keygen -A", [2]),
    ("RB112", "RUN openssl req -x509 -newkey rsa:2048 -nodes -keyout k -out c -subj /CN=x", [2]),
    ("RB112", "RUN cat /proc/sys/kernel/random/uuid > /id && nproc > /n", [2, 2]),
    ("RB113", "RUN git clone https://a.example/b.git /b", [2]),
    ("RB113", "RUN x && \\\n git clone --depth 1 -b v1.2 https://a.example/b", [3]),
    ("RB113", "RUN git clone https://a.example/b && cd b && git checkout main", [2]),
    ("RB113", f"RUN pip install git+https://a.example/b@{COMMIT} \\\n git+https://a.example/c@main", [3]),
    ("RB113", "RUN cargo install --git https://a.example/b", [2]),
    ("RB114", "WORKDIR /app\nCOPY . .", [3]),
    ("RB114", 'ADD ["./", "/app"]', [2]),
    ("RB115", "COPY .git /src/.git", [2]),
    ("RB119", "RUN --mount=type=cache,target=/root/.cache \\\n a && cp -r /root/.cache/models /models", [3]),
    (
        "RB119",
        "WORKDIR /src\nRUN --mount=type=cache,target=/src/target cargo build && cp target/x /bin/x",
        [3],
    ),
    ("RB119", "RUN --mount=type=cache,dst=/c cat /c/f > /f", [2]),
    ("RB120", "RUN curl -fsSLO https://a.example/b/releases/latest/download/b.tgz", [2]),
    ("RB120", "RUN wget https://a.example/b/archive/master.zip", [2]),
    ("RB120", "ADD https://raw.example/a/b/main/install.sh /i", [2]),
)

SILENT: tuple[tuple[str, str], ...] = (
    ("RB103", "RUN git clone https://a.example/b.git && rsync -a /a/ /b/ && nc -h"),
    ("RB103", "RUN echo 'ssh://not-fetched' && ssh -V && pip install 'a @ https://a.example/a.whl'"),
    ("RB103", "RUN apt-get install -y openssh-client rsync netcat-openbsd && docker --version"),
    ("RB103", "RUN sed -i s,git://,https://, f && curl -H 'X: a@b:c' https://a.example"),
    ("RB103", "RUN git config --global url.https://a.example/.insteadOf ssh://git@a.example/ && ./x ssh://b"),
    ("RB104", "RUN curl -fsSLo i.sh https://a.example/i.sh && sha256sum -c i.sum && sh i.sh"),
    ("RB104", "RUN curl -s https://a.example/key | gpg --dearmor -o /k && sh /x.sh"),
    ("RB104", "RUN curl -s https://a.example/f.json | python3 -c 'import json'"),
    ("RB104", "RUN curl -s https://a.example | bash /filter.sh && echo curl x | grep sh"),
    ("RB104", "# RUN curl https://a.example | sh\nRUN true # curl https://a.example | sh"),
    ("RB105", f"ADD --checksum=sha256:{HEX} https://a.example/f /f"),
    ("RB105", f"ADD f.tgz https://a.example/a.git#{COMMIT} /a/"),
    ("RB105", "COPY f /f\nADD a.tar.gz /"),
    ("RB106", "RUN curl -fsSLo f https://a.example/f && echo '1234  f' | sha256sum -c -"),
    ("RB106", "RUN wget https://a.example/f https://a.example/f.asc \\\n && gpg --batch --verify f.asc f"),
    ("RB106", "RUN curl -fsS http://localhost:8080/health && curl -sI https://a.example"),
    ("RB106", "RUN curl -s https://a.example/v.json | jq .version\nRUN curl -so /dev/null https://a.example"),
    ("RB107", "RUN apt-get update && apt-get install -y --only-upgrade openssl && dnf -y upgrade openssl"),
    ("RB106", "RUN wget https://a.example/f\nRUN sha256sum -c /sums"),
    ("RB107", "RUN apk upgrade --no-cache openssl"),
    ("RB107", "RUN pip install --upgrade pip && echo apt-get upgrade"),
    ("RB108", "RUN apt-get update \\\n && apt-get install -y curl \\\n && rm -rf /var/lib/apt/lists/*"),
    ("RB108", "RUN <<EOF\napt-get update\napt-get install -y curl\nEOF"),
    ("RB108", "COPY deps.sh /\nRUN apt-get update && /deps.sh"),
    ("RB108", "RUN sh -c 'apt-get update && apt-get -y build-dep hello'"),
    ("RB109", "RUN pip install 'numpy>=2,<3' 'pandas ~=2.0' x==1.*"),
    ("RB109", "RUN pip install numpy==1.2.3 . -e ./lib /tmp/x.whl 'a==1; python_version<\"4\"'"),
    ("RB109", 'ARG V=1.2\nRUN pip install flask==$V $EXTRA "b==${V}" && pip install -r gone.txt'),
    ("RB109", "RUN pip install --require-hashes -r r.txt numpy && pip download x && pip --version"),
    ("RB109", "RUN pip install -c unreadable.txt numpy\nRUN pip install --no-index --find-links /w numpy"),
    ("RB109", "RUN pip install 'a @ https://a.example/a-1.whl' git+https://a.example/b"),
    ("RB110", "COPY package*.json ./\nRUN npm ci --omit=dev && npm install -g npm@10.2.3 && npm run build"),
    (
        "RB110",
        "RUN yarn install --frozen-lockfile && yarn build && pnpm i --frozen-lockfile && npm i ./x.tgz",
    ),
    (
        "RB111",
        "ARG V=1\nRUN apt-get install -y curl=7.88.1-10 jq=$V /tmp/x.deb $MORE && apt-get remove -y vim",
    ),
    ("RB112", "RUN date -u -d @$SOURCE_DATE_EPOCH +%F > /built && date --date=@0 >/x && date -ud @0 > /y"),
    ("RB112", 'RUN echo "begun $(date)" && date && make -j$(nproc) > /log && ninja -j "$(nproc)"'),
    ("RB112", 'RUN [ "$(uname -m)" = x86_64 ] && echo $(uname -s) > /os && T=$(mktemp -d) && rm -r $T'),
    ("RB112", "RUN cmake --build . --parallel $(nproc) 2>/dev/null && date >&2 && uuidgen > /dev/null"),
    ("RB112", "RUN apt-get install -y uuid-runtime hostname && echo date > /word"),
    ("RB113", f"RUN git clone https://a.example/b && cd b && git checkout {COMMIT}"),
    ("RB113", f"ARG C={COMMIT}\nRUN git clone https://a.example/b\nRUN cd b && git reset --hard $C"),
    ("RB113", "ARG C\nRUN git clone https://a.example/b && git -C b checkout $C && git --version"),
    (
        "RB113",
        f"RUN git init b && git -C b fetch https://a.example/b {COMMIT} && git -C b checkout FETCH_HEAD",
    ),
    ("RB113", f"RUN pip install 'b @ git+https://a.example/b@{COMMIT}#egg=b' && cargo install x"),
    ("RB114", "COPY src /src\nCOPY --from=a.example/c:1 . /c"),
    ("RB115", "COPY .gitignore a.git/x /src/"),
    (
        "RB119",
        "RUN --mount=type=cache,target=/root/.cache pip install x==1 && cp /src/a /b && cp /a /root/.cache/a",
    ),
    ("RB119", "RUN --mount=type=cache,target=/c a\nRUN cp /c/f /f"),
    ("RB120", "RUN curl -O https://deb.debian.org/debian/dists/bookworm/main/source/Release"),
    ("RB120", "RUN curl -fsSLO https://a.example/b/releases/download/v1.2/latest-notes.tgz"),
    (
        "RB120",
        f"ADD --checksum=sha256:{HEX} https://a.example/latest/f /f\nADD https://a.example/v1/maintenance /f",
    ),
)


def lines(rule: str, text: str, **others: Any) -> list[int | None]:
    """The lines of what a rule finds."""
    context: Mapping[str, bytes] | None = others.pop("context", None)
    ignore = others.pop("ignore_file", None)
    facts = file_facts(f"{FROM}\n{text}\n", context=context, ignore_file=ignore)
    return [one.where.line if one.where else None for one in found(rule, facts, **others)]


@pytest.mark.parametrize(("rule", "text", "expected"), FIRES)
def test_found_on_its_line(rule: str, text: str, expected: list[int]) -> None:
    assert lines(rule, text) == expected


@pytest.mark.parametrize(("rule", "text"), SILENT)
def test_left_alone(rule: str, text: str) -> None:
    assert lines(rule, text) == []


def test_requirements_of_the_context() -> None:
    context = {
        "app/requirements.txt": b"# pinned\nnumpy==1.2\npandas ; python_version > '3'\n-r more.txt\n"
        b"a @ https://a.example/a.whl\nscipy \\\n  ; python_version > '3'\nx>=1\n",
        "app/more.txt": b"-c pins.txt\n\nflask\n",
    }
    facts = file_facts(f"{FROM}\nCOPY app /app\nRUN pip install -r /app/requirements.txt\n", context=context)
    where = [one.where for one in found("RB109", facts)]
    assert [(one.file, one.line) for one in where if one] == [
        ("app/requirements.txt", 3),
        ("app/more.txt", 3),
        ("app/requirements.txt", 6),
    ]


def test_constraints_pin_what_a_command_leaves_open() -> None:
    context = {"pins.txt": b"Flask==1\nnumpy<2\n"}
    assert lines("RB109", "RUN pip install -c pins.txt flask numpy", context=context) == [2]


def test_exact_versions_when_they_are_asked_for() -> None:
    text = (
        "RUN pip install \\\n 'numpy>=2,<3' \\\n pandas==2.* \\\n x==1.0 'y===1' 'z==1; python_version<\"4\"'"
    )
    assert lines("RB109", text, pins="exact") == [3, 4]


def test_hashes_when_they_are_asked_for() -> None:
    context = {"r.txt": f"numpy==1 \\\n  --hash=sha256:{HEX}\nscipy==1\n".encode()}
    facts = file_facts(f"{FROM}\nRUN pip install flask==1 -r r.txt\n", context=context)
    assert [one.message for one in found("RB109", facts, pins="hashes")] == [
        "nothing says which file of flask==1",
        "nothing says which file of scipy==1",
    ]
    assert found("RB109", facts) == []


def test_a_project_may_say_what_needs_no_version() -> None:
    assert lines("RB109", "RUN pip install -U pip setuptools", allowed=("PIP", "setuptools")) == []


def test_an_ignore_file_says_what_is_copied() -> None:
    assert lines("RB114", "COPY . .", ignore_file=".containerignore") == []


def test_version_control_data_in_the_context() -> None:
    bare = {f"vendor/tool.git/{name}": b"" for name in ("HEAD", "objects/pack", "refs/x")}
    folders = {"vendor/tool.git/objects": b"", "vendor/tool.git/refs": b""}  # as the context lists them
    context = {**bare, **folders, ".hg": b"", ".hg/store": b"", "CVS": b"", "docs/HEAD": b""}
    facts = file_facts(FROM, context=context)
    assert [one.text for one in found("RB115", facts)] == [".hg", "vendor/tool.git"]


@pytest.mark.parametrize(
    ("base", "settings", "expected"),
    [
        ("python", {}, [1]),
        ("python:slim", {}, [1]),
        ("docker.io/library/debian:testing-slim", {}, [1]),
        ("python:3", {"numbers": 2}, [1]),
        ("debian:bookworm", {"numbers": 1}, [1]),
        ("a.example/b:weekly-7", {"moving": ("weekly-*",)}, [1]),
        ("python:3", {}, []),
        ("python:3.11-slim", {"numbers": 2}, []),
        ("debian:bookworm", {}, []),
        (f"python@sha256:{HEX}", {"numbers": 3}, []),
        ("scratch", {"numbers": 3}, []),
    ],
)
def test_tags_that_move(base: str, settings: dict[str, Any], expected: list[int]) -> None:
    facts = file_facts(f"FROM {base}\nCOPY a /a\n")
    assert [one.where.line for one in found("RB102", facts, **settings) if one.where] == expected


def test_a_normaliser_that_is_off() -> None:
    said = (
        "project: demo\nstages:\n  app:\n    containerfile: Containerfile\n    normalisers: {bytecode: %s}\n"
    )
    (one,) = found("RB116", file_facts(FROM, project=said % "false"))
    assert str(one.where) == "rbuild.yaml stages.app.normalisers.bytecode"
    assert found("RB116", file_facts(FROM, project=said % "true")) == []


def test_a_base_without_a_digest_in_the_lock() -> None:
    files = file_facts("FROM a.example/b:1 AS b\nRUN true\nFROM a.example/c:1\nCOPY --from=b / /\n")
    keys = tuple(files.uses.values())
    assert found("RB101", files) == []  # a build is about to pin them
    assert found("RB101", replace(files, locked=frozenset(keys))) == []
    lacking = replace(files, locked=frozenset(keys[:1]))
    assert [one.where.line for one in found("RB101", lacking) if one.where] == [3]


def test_an_old_lock() -> None:
    files = file_facts(FROM)
    old = lock_facts(files, locked_at=NOW - timedelta(days=91))
    assert [one.message for one in found("RB117", old)] == ["the lock is 91 days old; 90 are the most"]
    assert found("RB117", old, days=91) == []
    assert found("RB117", lock_facts(files, locked_at=NOW - timedelta(days=91), fresh=True)) == []
    assert found("RB117", lock_facts(files, locked_at=None)) == []


def test_a_stage_without_a_verification() -> None:
    files, locked = file_facts(FROM), stage_lock()
    image, when = locked.image.manifest, NOW - timedelta(days=9)
    right = Verified(image=image, input=locked.input, when=when, verdict="identical")
    assert found("RB118", lock_facts(files, locked=locked, verified=right)) == []
    for verified, said in (
        (None, "was not built again from nothing"),
        (replace(right, input=Digest.of(b"other")), "was not built again from nothing"),
        (replace(right, verdict="different"), "was built again on 2026-11-16, and was different"),
    ):
        (one,) = found("RB118", lock_facts(files, locked=locked, verified=verified))
        assert said in one.message
    assert found("RB118", lock_facts(files, locked=locked, verified=right), days=8) != []
    assert found("RB118", lock_facts(files, locked=locked, fresh=True)) == []
