"""A Debian base as of a date: asked of snapshot.debian.org alone, and rebuilt from there.

What stands for that archive here is a proxy, which answers its addresses with the packages of the mirror.
"""

from __future__ import annotations

import re
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
from httpfaults import Handler, Server, serving
from worlds import World, project_file

DATE = "20260701T000000Z"
DATED = re.compile(rf"http://snapshot\.debian\.org/archive/(debian|debian-security)/{DATE}/(.+)\Z")
_PASSED_ON = ("Content-Length", "Last-Modified", "ETag")


class _Snapshots(Handler):
    def serve(self) -> None:
        found = DATED.match(self.path)
        if found is None:
            self.answer(502)
            return
        asked = urllib.request.Request(f"http://deb.debian.org/{found[1]}/{found[2]}")
        try:
            answer = urllib.request.urlopen(asked, timeout=60)
        except urllib.error.HTTPError as error:
            self.answer(error.code)
            return
        with answer:
            self.send_response(answer.status)
            for name in _PASSED_ON:
                if value := answer.headers.get(name):
                    self.send_header(name, value)
            self.end_headers()
            shutil.copyfileobj(answer, self.wfile)


@pytest.fixture
def snapshots() -> Iterator[Server]:
    with serving(Server(_Snapshots)) as server:
        yield server


def test_a_base_as_of_a_date_is_locked_and_rebuilt_from_the_snapshot(world: World, snapshots: Server) -> None:
    base = {"debian": {"suite": "bookworm", "snapshot": DATE, "packages": ["busybox"]}}
    world.write(
        {
            "rbuild.yaml": project_file(
                {"docker.io/library/debian:bookworm": base},
                {"one": {"containerfile": "Containerfile", "context": "context"}},
            ),
            "Containerfile": "FROM debian:bookworm\nCOPY . /srv\n",
            "context/file": "text\n",
        }
    )
    names = ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY")
    world.env |= dict.fromkeys(names, f"http://{snapshots.host}")
    world.ok("lock")
    pinned = world.lock["bases"]["docker.io/library/debian:bookworm"]["debian"]
    assert pinned["snapshot"] == DATE
    assert snapshots.seen
    assert [one.path for one in snapshots.seen if not DATED.match(one.path)] == []
    # From nothing, by what is locked: no index is asked for, only the packages, each at its own date.
    world.forget_store()
    asked = len(snapshots.seen)
    assert "one  identical" in world.ok("verify").stdout
    again = [one.path for one in snapshots.seen[asked:]]
    assert len(again) == len(set(again)) == len(pinned["packages"])
    assert all(DATED.match(path) and path.endswith(".deb") for path in again)
