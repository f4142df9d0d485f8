from __future__ import annotations

import pytest

from rbuild.containerfile.mounts import Mount, mounts, shares_a_cache
from rbuild.containerfile.parse import parse

TEXT = """\
FROM x AS one
RUN --mount=type=secret,id=token,required --mount=target=/in,ro make
FROM y
ONBUILD RUN --mount=type=cache,dst=/cache make
RUN --mount=type=secret,target=/etc/key,required=false make
COPY --from=one /a /b
"""


def test_the_mounts_of_a_target() -> None:
    file = parse(TEXT.encode(), "Containerfile")
    first = mounts(file, (0,))
    assert first == (
        Mount("secret", {"type": "secret", "id": "token", "required": ""}, 2),
        Mount("bind", {"target": "/in", "ro": ""}, 2),
    )
    assert [(one.kind, one.name, one.target, one.line) for one in mounts(file, (0, 1))[2:]] == [
        ("cache", "/cache", "/cache", 4),
        ("secret", "key", "/etc/key", 5),
    ]
    assert [one.is_required for one in mounts(file, (0, 1)) if one.kind == "secret"] == [True, False]


@pytest.mark.parametrize(
    ("runs", "shares"),
    [
        (["type=cache,target=/a"], False),
        (["type=cache,target=/a", "type=cache,target=/b"], False),
        (["type=cache,target=/a", "type=cache,target=/a"], True),
        (["type=cache,target=/a,id=x", "type=cache,target=/b,id=x"], True),
        (["type=cache,target=/a,id=x", "type=cache,target=/a,id=y"], False),
        (["type=cache,target=/a", "type=tmpfs,target=/a", "type=bind,target=/a"], False),
        (["type=cache,target=/a", "type=cache,target=$B"], True),
        (["type=tmpfs,target=/a", "type=cache,target=$B"], False),
    ],
)
def test_what_a_run_may_find_of_another(runs: list[str], shares: bool) -> None:
    text = "FROM x\n" + "".join(f"RUN --mount={run} make\n" for run in runs)
    assert shares_a_cache(parse(text.encode(), "Containerfile"), (0,)) is shares
