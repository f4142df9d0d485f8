from __future__ import annotations

import json
from typing import Any

import pytest

from rbuild.digest import Digest
from rbuild.errors import RbuildError
from rbuild.image.config import HistoryEntry, Platform, canonical_config, read_config

EPOCH = 1_600_000_000
A, B = Digest.of(b"a"), Digest.of(b"b")


def config(
    execution: dict[str, Any] | None = None, diff_ids: list[Digest] | None = None, **more: Any
) -> bytes:
    return json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": execution or {},
            "rootfs": {"type": "layers", "diff_ids": [str(each) for each in diff_ids or []]},
            **more,
        }
    ).encode()


BASE = config(
    {"Env": ["PATH=/bin", "LANG=C.UTF-8", "http_proxy=http://corp"], "Labels": {"of": "base"}},
    [A],
    created="2020-01-01T00:00:00.123456789Z",
    history=[
        {"created": "2020-01-01T00:00:00.1Z", "created_by": "ADD rootfs"},
        {"created_by": "CMD", "empty_layer": True},
    ],
)


def written(execution: dict[str, Any], **options: Any) -> dict[str, Any]:
    more = options.pop("more", {})
    arguments: dict[str, Any] = {
        "base": read_config(BASE),
        "injected_env": {},
        "epoch": EPOCH,
        "platform": Platform("linux", "amd64"),
        "history": [HistoryEntry(created_by="RUN x")],
        "diff_ids": [A, B],
    }
    data = canonical_config(read_config(config(execution, **more)), **(arguments | options))
    value: dict[str, Any] = json.loads(data)
    assert data == json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    return value


PODMAN = {
    "Hostname": "", "Domainname": "", "AttachStdin": False, "Tty": False, "Image": "", "OnBuild": None,
    "User": "1000", "Env": ["PATH=/bin", "LANG=C.UTF-8", "A=1"], "Cmd": ["python3"], "Volumes": None,
    "WorkingDir": "", "Entrypoint": None, "Labels": {"io.buildah.version": "1.28.2", "mine": "ä"},
    "Shell": ["/bin/bash", "-c"],
    "Healthcheck": {"Test": ["CMD", "true"], "Interval": 5_000_000_000}, "StopSignal": "SIGINT",
    "ExposedPorts": {"80/tcp": {}},
}  # fmt: skip


def test_the_builder_and_the_clock_leave_nothing() -> None:
    value = written(
        PODMAN,
        more={"created": "2031-01-01T00:00:00Z", "docker_version": "1", "container": "c", "author": "Me"},
    )
    assert value == {
        "architecture": "amd64",
        "author": "Me",
        "config": {
            "Cmd": ["python3"],
            "Env": ["PATH=/bin", "LANG=C.UTF-8", "A=1"],
            "ExposedPorts": {"80/tcp": {}},
            "Healthcheck": {"Interval": 5_000_000_000, "Test": ["CMD", "true"]},
            "Labels": {"mine": "ä"},
            "Shell": ["/bin/bash", "-c"],
            "StopSignal": "SIGINT",
            "User": "1000",
            "WorkingDir": "/",
        },
        "created": "2020-09-13T12:26:40Z",
        "history": [
            {"created": "2020-01-01T00:00:00.1Z", "created_by": "ADD rootfs"},
            {"created_by": "CMD", "empty_layer": True},
            {"created": "2020-09-13T12:26:40Z", "created_by": "RUN x"},
        ],
        "os": "linux",
        "rootfs": {"diff_ids": [str(A), str(B)], "type": "layers"},
    }


def test_the_canonical_config_is_read_again() -> None:
    value = written(PODMAN)
    again = read_config(json.dumps(value).encode())
    assert again.diff_ids == (A, B)
    assert again.platform == Platform("linux", "amd64")


def test_injected_variables_go_and_the_bases_own_come_back() -> None:
    injected = {"http_proxy": "http://recorder", "SOURCE_DATE_EPOCH": "1", "CA": "/ca.pem"}
    env = ["PATH=/bin", "LANG=C", "http_proxy=http://recorder", "SOURCE_DATE_EPOCH=1", "CA=/users.pem", "B=2"]
    value = written({"Env": env}, injected_env=injected)
    assert value["config"]["Env"] == ["PATH=/bin", "LANG=C", "http_proxy=http://corp", "CA=/users.pem", "B=2"]


def test_from_scratch_there_is_no_history_but_the_builds() -> None:
    value = written({}, base=None, diff_ids=[B], platform=Platform.parse("linux/arm/v7"))
    assert [entry["created_by"] for entry in value["history"]] == ["RUN x"]
    assert (value["architecture"], value["variant"]) == ("arm", "v7")
    assert value["config"] == {"WorkingDir": "/"}


def test_a_base_without_history_gets_one_entry_a_layer() -> None:
    value = written({}, base=read_config(config({}, [A, A])), diff_ids=[A, A, B])
    assert [entry.get("comment") for entry in value["history"]] == [
        "layer of the base",
        "layer of the base",
        None,
    ]


def test_history_and_layers_must_fit() -> None:
    with pytest.raises(RbuildError, match="has 1 layers, and its history names another number"):
        written({}, diff_ids=[A])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is not valid JSON"),
        (b"[]", "is not a JSON object"),
        (b'{"os": "a", "os": "b"}', "the key 'os' comes twice"),
        (b'{"os": NaN}', "NaN is not JSON"),
        (b'{"os": "\xff"}', "is not valid JSON"),
        (b'{"x":' * 100_000, "is nested too deeply"),
        (b'{"x": ' + b"1" * 5000 + b"}", "is not valid JSON"),
        (b" " * (9 << 20), "more than 8388608 are refused"),
        (config() + b"x", "is not valid JSON"),
        (config(rootfs={"type": "layers", "diff_ids": ["sha256:0"]}), "not a sha256 digest"),
        (config(rootfs={"type": "vhd", "diff_ids": []}), "of the type 'vhd'"),
        (config({"Env": "A=1"}), r"Expected `array \| null`, got `str` - at `\$.config.Env`"),
        (config(os=3), r"at `\$.os`"),
    ],
)
def test_refuses(data: bytes, message: str) -> None:
    with pytest.raises(RbuildError, match=message):
        read_config(data)


def test_refuses_text_that_is_no_unicode() -> None:
    with pytest.raises(RbuildError, match="is not Unicode"):
        written({"User": "\ud800"})


@pytest.mark.parametrize("text", ["linux", "linux/", "Linux/amd64", "linux/arm/v7/x", "linux/amd 64"])
def test_refuses_what_is_no_platform(text: str) -> None:
    with pytest.raises(RbuildError, match="not a platform"):
        Platform.parse(text)
