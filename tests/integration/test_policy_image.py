"""Rules about images, on images that were really built: one with many sins, and the same made well."""

from __future__ import annotations

import json
import random
import re
import string

import pytest
from worlds import Layouts, World, project_file

SINS = """\
FROM localhost/base:1
ENV DB_PASSWORD=hunter2swordfish
COPY app /app
RUN cp /bin/busybox /bin/tool && chmod 4755 /bin/tool
RUN mkdir -p /srv/open && \\
    chmod 777 /srv/open && echo 1 > /srv/open/file
COPY npmrc /root/.npmrc
RUN rm /root/.npmrc
RUN mkdir -p /opt/conda/pkgs && echo 1 > /opt/conda/pkgs/numpy-1.conda
RUN mkdir -p /usr/local/bin && cp /bin/busybox /usr/local/bin/gcc
RUN mkdir -p /etc/ssh && echo key > /etc/ssh/ssh_host_rsa_key
RUN mkdir -p /app/.git && echo ref > /app/.git/HEAD
RUN mkdir -p /etc && echo 'admin::19000::::::' >> /etc/shadow
RUN mount -t tmpfs none /srv || true
RUN mkdir -p /usr/sbin && cp /bin/busybox /usr/sbin/sshd && cp /bin/busybox /bin/sudo
WORKDIR /app
VOLUME /app
EXPOSE 80
USER root
"""
GOOD = """\
FROM localhost/base:1
ENV DB_USER=app
LABEL org.opencontainers.image.title="good" \\
      org.opencontainers.image.description="Made well" \\
      org.opencontainers.image.licenses="Apache-2.0"
COPY app/main.py /app/
RUN mkdir -p /srv/data && chmod 1777 /srv/data
RUN mkdir -p /var/app && chown 10001:10001 /var/app
VOLUME /var/app
WORKDIR /app
EXPOSE 8080
HEALTHCHECK CMD ["true"]
USER 10001:10001
"""
EXPECTED = {
    ("RB201", 19),
    ("RB206", 15),
    ("RB207", 4),
    ("RB209", 5),
    ("RB211", 14),
    ("RB212", 13),
    ("RB213", 2),
    ("RB214", 3),
    ("RB215", 7),
    ("RB216", 11),
    ("RB217", 3),
    ("RB221", 9),
    ("RB222", 10),
    ("RB223", 12),
    ("RB224", 15),
    ("RB231", 17),
    ("RB232", 18),
    ("RB233", 18),
    ("RB311", 3),
    ("RB316", 1),
}
MINE = re.compile(r"RB2|RB31[1-6]")


@pytest.fixture
def token() -> str:
    """A secret of nobody's: in no file of this repository."""
    chance = random.Random(7)
    return "ghp_" + "".join(chance.choice(string.ascii_letters + string.digits) for _ in range(36))


def test_each_sin_is_found_on_its_line_and_the_same_made_well_is_silent(
    world: World, layouts: Layouts, token: str
) -> None:
    bases = layouts.install(world, "tiny", ("localhost/base:1",))
    stages = {name: {"containerfile": name, "context": "context"} for name in ("sins", "good")}
    packages = "context/app/site-packages/x-1.0.dist-info/METADATA"
    world.write(
        {
            "rbuild.yaml": project_file(bases, stages),
            "sins": SINS,
            "good": GOOD,
            "context/app/main.py": "print('Hello')\n",
            "context/app/settings.py": f"# for tests\nTOKEN = '{token}'\n",
            "context/app/.env": "A=1\n",
            packages: "Metadata-Version: 2.1\nName: x\nVersion: 1.0\nLicense: AGPL-3.0\n",
            "context/npmrc": "//registry.npmjs.org/:_authToken=abcdefgh\n",
        }
    )
    built = world.rbuild("all")
    assert built.returncode == 0, built.stderr
    done = world.rbuild("check", "--json")
    assert done.returncode == 1, done.stderr
    findings = [one for one in json.loads(done.stdout)["findings"] if MINE.match(one["rule"])]
    assert {one["stage"] for one in findings} == {"sins"}
    assert {one["where"]["file"] for one in findings} == {"sins"}
    assert {(one["rule"], one["where"]["line"]) for one in findings} == EXPECTED
    (npm,) = (one for one in findings if one["rule"] == "RB215")
    assert "a later layer deletes it" in npm["message"]
    said = (
        done.stdout + world.rbuild("check").stdout + world.rbuild("check", "--output-format", "sarif").stdout
    )
    for secret in ("hunter2", "swordfish", token[4:12], token[-8:], "abcdefgh"):
        assert secret not in said
