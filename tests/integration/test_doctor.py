"""`rbuild doctor` on this very host, and on the same host with programs taken away."""

from __future__ import annotations

import os
from pathlib import Path

from rbuild.host import probe
from rbuild.podman import Podman
from rbuild.verbs.doctor import Check, doctor

NEEDED = ("podman", "skopeo", "mmdebstrap", "unshare", "newuidmap", "newgidmap", "true", "apt-get")


def checks(environment: dict[str, str], store: Path) -> dict[str, Check]:
    return {check.name: check for check in doctor(environment, store, debian_bases=True)}


def programs(folder: Path, *names: str) -> dict[str, str]:
    """This process's environment with a PATH on which only `names` are."""
    folder.mkdir()
    for name in names:
        target = next(Path(part) / name for part in os.get_exec_path() if (Path(part) / name).exists())
        (folder / name).symlink_to(target)
    return {**os.environ, "PATH": str(folder)}


def test_the_test_host_itself_is_fit(tmp_path: Path) -> None:
    found = checks(dict(os.environ), tmp_path)

    assert [check for check in found.values() if check.ok is False] == []
    assert found["podman"].found == ".".join(map(str, Podman(os.environ).version()))
    assert found["OCI runtime"].ok is True
    assert found["sealed network"].ok is True


def test_podman_and_skopeo_missing(tmp_path: Path) -> None:
    environment = programs(tmp_path / "bin", *(name for name in NEEDED if name not in ("podman", "skopeo")))
    found = checks(environment, tmp_path)

    assert found["podman"].ok is False
    assert found["podman"].fix == "sudo apt-get install --no-install-recommends podman"
    assert found["skopeo"].ok is False
    assert found["skopeo"].fix == "sudo apt-get install --no-install-recommends skopeo"
    assert found["mmdebstrap"].ok is True
    assert found["user namespaces"].ok is True
    assert found["OCI runtime"].ok is None


def test_a_podman_that_is_too_old_and_broken(tmp_path: Path) -> None:
    environment = programs(tmp_path / "bin", *(name for name in NEEDED if name != "podman"))
    fake = tmp_path / "bin" / "podman"
    fake.write_text(
        "#!/bin/sh\n"
        'if [ "$1" = --version ]; then echo podman version 3.4.4; exit; fi\n'
        "echo Error: no such thing here >&2; exit 125\n"
    )
    fake.chmod(0o755)
    found = checks({**environment, "PATH": f"{tmp_path / 'bin'}"}, tmp_path)

    assert found["podman"].ok is False
    assert found["podman"].found == "3.4.4, older than 4.3"
    assert "no such thing here" in found["OCI runtime"].found
    assert found["sealed network"].ok is False


def test_a_runtime_that_does_not_run(tmp_path: Path) -> None:
    broken = tmp_path / "crun"
    broken.write_text("#!/bin/sh\necho broken on purpose >&2\nexit 1\n")
    broken.chmod(0o755)
    configuration = tmp_path / "containers.conf"
    configuration.write_text(f'[engine]\nruntime = "crun"\n[engine.runtimes]\ncrun = ["{broken}"]\n')

    found = checks({**os.environ, "CONTAINERS_CONF": str(configuration)}, tmp_path)

    assert found["OCI runtime"].ok is False
    assert "does not run a container here" in found["OCI runtime"].found
    assert 'runtime = "runc"' in (found["OCI runtime"].fix or "")


def test_probing_leaves_nothing_behind(tmp_path: Path) -> None:
    store = tmp_path / "store"
    runtime_dir = Path(os.environ["XDG_RUNTIME_DIR"])
    before = {path.name for path in runtime_dir.glob("rbuild-*")}

    probe(os.environ, store)

    assert not store.exists()
    assert {path.name for path in runtime_dir.glob("rbuild-*")} == before
