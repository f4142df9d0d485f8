"""The configuration of an image: what the Containerfile and the base say, nothing that rbuild put there."""

from __future__ import annotations

import json
import shutil
from hashlib import sha256
from pathlib import Path
from typing import Any

from worlds import Layouts, World, project_file

TRIGGERS = ["ENV FROM_TRIGGER=1", "RUN busybox id -u > /triggered"]
SAYS = """\
FROM localhost/triggers:1
SHELL ["/bin/sh", "-ec"]
ENV PYTHONHASHSEED=random SSL_CERT_FILE=/x
ENV GREETING="hello  world" \\
    PIP_CERT=$SSL_CERT_FILE
LABEL one=1 \\
      # what a label may hold
      org.example.two="2 and more" \\
      three='"3"'
EXPOSE 8080 53/udp
VOLUME /data
STOPSIGNAL SIGINT
RUN busybox env | busybox sort > /env
RUN echo 'app:x:1000:1000::/made/by:/bin/sh' >> /etc/passwd
WORKDIR /made/by
WORKDIR workdir
HEALTHCHECK --interval=30s --timeout=5s --retries=2 CMD busybox true
ONBUILD RUN echo built upon
ONBUILD COPY . /
USER app
ENTRYPOINT ["busybox"]
CMD ["pwd"]
MAINTAINER someone
"""
KEEPS = """\
FROM localhost/triggers:1
ENV PYTHONHASHSEED=0
ENV SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH}
"""
COPIES = """\
FROM scratch
COPY here.txt /there/
LABEL kind=scratch
"""
RUNS = """\
FROM localhost/triggers:1 AS tools
RUN busybox echo tools > /tools
FROM scratch
COPY --from=tools / /
RUN busybox env > /env; busybox cat /tools
"""


def with_config(layout: Path, changes: dict[str, Any]) -> None:
    """Give the image of a layout, a copy of which it is, other settings."""
    blobs = layout / "blobs" / "sha256"
    index = json.loads((layout / "index.json").read_text())
    manifest = json.loads((blobs / index["manifests"][0]["digest"].removeprefix("sha256:")).read_bytes())
    config = json.loads((blobs / manifest["config"]["digest"].removeprefix("sha256:")).read_bytes())
    config["config"] |= changes

    def put(value: Any) -> dict[str, Any]:
        data = json.dumps(value).encode()
        name = sha256(data).hexdigest()
        (blobs / name).write_bytes(data)
        return {"digest": f"sha256:{name}", "size": len(data)}

    manifest["config"] |= put(config)
    index["manifests"][0] |= put(manifest)
    (layout / "index.json").write_text(json.dumps(index))


def test_what_is_said_stays(world: World, layouts: Layouts) -> None:
    layout = world.project / "bases" / "triggers"
    shutil.copytree(layouts["tiny"], layout)
    base_env = ["PATH=/usr/local/bin:/usr/bin:/bin", "PYTHONHASHSEED=7", "REQUESTS_CA_BUNDLE=/own.pem"]
    with_config(layout, {"OnBuild": TRIGGERS, "Env": base_env, "Labels": {"base": "yes"}})
    texts = {"says": SAYS, "keeps": KEEPS, "copies": COPIES, "runs": RUNS}
    stages = {name: {"containerfile": f"{name}.Containerfile", "context": "context"} for name in texts}
    world.write({f"{name}.Containerfile": text for name, text in texts.items()})
    bases = {"localhost/triggers:1": {"oci": "bases/triggers"}}
    world.write({"rbuild.yaml": project_file(bases, stages), "context/here.txt": "here\n"})
    world.ok("all")
    first = world.digests()
    world.forget_images()
    shutil.rmtree(world.store / "cache")
    for digest in first.values():
        (world.store / "blobs" / "sha256" / digest.removeprefix("sha256:")).unlink()
    world.ok("all", "--offline")
    assert world.digests() == first
    assert {one["stage"]: one["verdict"] for one in world.json("verify")} == dict.fromkeys(texts, "identical")

    says = config_of(world, "says")
    assert says["config"] == {
        "Cmd": ["pwd"],
        "Entrypoint": ["busybox"],
        "Env": [
            "PATH=/usr/local/bin:/usr/bin:/bin",
            "PYTHONHASHSEED=random",
            "REQUESTS_CA_BUNDLE=/own.pem",
            "FROM_TRIGGER=1",
            "SSL_CERT_FILE=/x",
            "GREETING=hello  world",
            "PIP_CERT=/x",
        ],
        "ExposedPorts": {"53/udp": {}, "8080/tcp": {}},
        "Healthcheck": {
            "Interval": 30_000_000_000,
            "Retries": 2,
            "Test": ["CMD-SHELL", "busybox true"],
            "Timeout": 5_000_000_000,
        },
        "Labels": {"base": "yes", "one": "1", "org.example.two": "2 and more", "three": '"3"'},
        "OnBuild": ["RUN echo built upon", "COPY . /"],
        "Shell": ["/bin/sh", "-ec"],
        "StopSignal": "SIGINT",
        "User": "app",
        "Volumes": {"/data": {}},
        "WorkingDir": "/made/by/workdir",
    }
    assert says["author"] == "someone"
    written = [entry["created_by"] for entry in says["history"]]
    below = len(config_of(world, "keeps")["history"]) - 2 - len(TRIGGERS)
    assert written[below : below + 2] == [f"ONBUILD {trigger}" for trigger in TRIGGERS]
    labelled = 'LABEL one=1       org.example.two="2 and more"       three=\'"3"\''
    assert labelled in written
    assert written[-1] == "MAINTAINER someone"
    assert len(written) == below + 2 + 18
    image = "localhost/demo/says"
    assert world.podman("run", "--rm", "--network", "none", image) == "/made/by/workdir\n"
    assert world.podman("run", "--rm", "--network", "none", image, "cat", "/triggered") == "0\n"
    seen = world.podman("run", "--rm", "--network", "none", image, "cat", "/env").splitlines()
    assert {"PYTHONHASHSEED=random", "SSL_CERT_FILE=/x", "PIP_CERT=/x", "HOME=/root"} <= set(seen)
    seen_names = {line.partition("=")[0] for line in seen}
    assert {"SOURCE_DATE_EPOCH", "https_proxy", "CURL_CA_BUNDLE"} <= seen_names

    epoch = world.lock["stages"]["keeps"]["epoch"]
    keeps = config_of(world, "keeps")["config"]
    assert keeps["Env"] == [
        "PATH=/usr/local/bin:/usr/bin:/bin",
        "PYTHONHASHSEED=0",
        "REQUESTS_CA_BUNDLE=/own.pem",
        "FROM_TRIGGER=1",
        f"SOURCE_DATE_EPOCH={epoch}",
    ]

    copies = config_of(world, "copies")
    assert copies["config"] == {"Labels": {"kind": "scratch"}, "WorkingDir": "/"}
    assert len(world.lock["stages"]["copies"]["image"]["layers"]) == 1
    assert [entry["created_by"] for entry in copies["history"]] == COPIES.splitlines()[1:]

    runs = config_of(world, "runs")
    assert runs["config"].get("Env", []) == []
    seen_names = {
        line.partition("=")[0]
        for line in world.podman(
            "run", "--rm", "--network", "none", "localhost/demo/runs", "busybox", "cat", "/env"
        ).splitlines()
    }
    assert {"SOURCE_DATE_EPOCH", "PYTHONHASHSEED", "SSL_CERT_FILE", "https_proxy"} <= seen_names


def config_of(world: World, stage: str) -> Any:
    name = world.lock["stages"][stage]["image"]["config"].removeprefix("sha256:")
    return json.loads((world.store / "blobs" / "sha256" / name).read_bytes())
