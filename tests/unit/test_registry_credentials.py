"""Who one is to a registry: auth files and credential helpers."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest

from rbuild.errors import RbuildError
from rbuild.registry.credentials import Credentials, auth_files, credentials_for


def entry(user: str, password: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


def written(folder: Path, content: Any) -> dict[str, str]:
    path = folder / "auth.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return {"REGISTRY_AUTH_FILE": str(path), "PATH": os.environ["PATH"]}


def helper(folder: Path, name: str, script: str) -> dict[str, str]:
    path = folder / f"docker-credential-{name}"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return {"PATH": f"{folder}:{os.environ['PATH']}"}


def found(env: dict[str, str], registry: str = "quay.io", repository: str = "team/app") -> tuple[str, ...]:
    credentials = credentials_for(registry, repository, env)
    if credentials is None:
        return ()
    return (credentials.username, credentials.password, credentials.identity_token)


def test_the_longest_key_that_leads_to_the_repository(tmp_path: Path) -> None:
    auths = {
        "quay.io": entry("all", "1"),
        "quay.io/team": entry("team", "2:3"),
        "quay.io/team/app": entry("app", "4"),
        "quay.io/tea": entry("near", "5"),
    }
    env = written(tmp_path, {"auths": auths})
    assert found(env) == ("app", "4", "")
    assert found(env, repository="team/other") == ("team", "2:3", "")
    assert found(env, repository="else") == ("all", "1", "")
    assert found(env, registry="ghcr.io") == ()


@pytest.mark.parametrize("key", ["https://index.docker.io/v1/", "docker.io", "index.docker.io"])
def test_docker_hub_has_several_names(tmp_path: Path, key: str) -> None:
    env = written(tmp_path, {"auths": {key: entry("ann", "word")}})
    assert found(env, registry="docker.io") == ("ann", "word", "")


def test_the_first_file_that_knows_the_registry(tmp_path: Path) -> None:
    runtime, config, docker = tmp_path / "run", tmp_path / "config", tmp_path / "docker"
    for folder, content in (
        (runtime / "containers", {"auths": {"ghcr.io": entry("other", "1")}}),
        (config / "containers", {"auths": {"quay.io": entry("podman", "2")}}),
        (docker, {"auths": {"quay.io": entry("docker", "3")}}),
    ):
        folder.mkdir(parents=True)
        (folder / ("config.json" if folder is docker else "auth.json")).write_text(json.dumps(content))
    env = {"XDG_RUNTIME_DIR": str(runtime), "XDG_CONFIG_HOME": str(config), "DOCKER_CONFIG": str(docker)}
    assert found(env) == ("podman", "2", "")
    assert len(auth_files(env)) == 3


def test_an_identity_token(tmp_path: Path) -> None:
    env = written(tmp_path, {"auths": {"quay.io": {"identitytoken": "abc"}}})
    assert found(env) == ("", "", "abc")


def test_a_helper_is_asked_by_its_input_alone(tmp_path: Path) -> None:
    script = 'read server\necho "$# $1 $server" >&2\n[ "$server" = quay.io ] || exit 1\n'
    env = helper(tmp_path, "box", script + """echo '{"Username":"ann","Secret":"word"}'""")
    assert found({**written(tmp_path, {"credHelpers": {"quay.io": "box"}}), **env}) == ("ann", "word", "")
    assert found({**written(tmp_path, {"credsStore": "box"}), **env}) == ("ann", "word", "")
    token = helper(tmp_path, "box", """echo '{"Username":"<token>","Secret":"abc"}'""")
    assert found({**written(tmp_path, {"credHelpers": {"quay.io": "box"}}), **token}) == ("", "", "abc")


def test_a_helper_that_knows_nobody(tmp_path: Path) -> None:
    env = helper(tmp_path, "box", "echo 'credentials not found in native keychain'\nexit 1")
    auths = {"quay.io": entry("ann", "word")}
    file = written(tmp_path, {"credHelpers": {"quay.io": "box"}, "auths": auths})
    assert found({**file, **env}) == ("ann", "word", "")


@pytest.mark.parametrize(
    "script", ["echo s3cret-word; exit 2", "echo s3cret-word", 'echo \'{"Secret":"s3cret-word"}\'']
)
def test_a_helper_that_fails_is_named_and_not_quoted(tmp_path: Path, script: str) -> None:
    env = {**written(tmp_path, {"credHelpers": {"quay.io": "box"}}), **helper(tmp_path, "box", script)}
    with pytest.raises(RbuildError, match="docker-credential-box") as caught:
        found(env)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"auths": {"quay.io": {"auth": "s3cret-word"', "is not JSON"),
        ("[]", "is not a file of credentials"),
        ({"auths": {"quay.io": {"auth": "s3cret-word"}}}, "are not base64"),
        ({"auths": {"quay.io": {"auth": base64.b64encode(b"s3cret-word").decode()}}}, "are not base64"),
        ({"credHelpers": {"quay.io": "../s3cret-word/x"}}, "not the name of a credential helper"),
        (" " * (2 << 20), "is too large"),
    ],
)
def test_a_file_with_mistakes(tmp_path: Path, content: Any, said: str) -> None:
    with pytest.raises(RbuildError, match=said) as caught:
        found(written(tmp_path, content))
    if "helper" not in said:
        assert "s3cret" not in str(caught.value)


def test_nothing_secret_is_shown() -> None:
    shown = repr(Credentials(username="ann", password="s3cret-word", identity_token="abc"))
    assert shown == "Credentials()"
