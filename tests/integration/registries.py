"""Debian's docker-registry on loopback: open, with users over TLS, or read-only."""

from __future__ import annotations

import base64
import json
import re
import ssl
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.request import HTTPSHandler, ProxyHandler, Request, build_opener

import yaml

from rbuild.sealed.authority import Authority

USER, PASSWORD = "ann", "correct-horse-battery"
_HTPASSWD = f"{USER}:$2b$04$abcdefghijklmnopqrstuupOWRSKKNe562z1DsLEArFuJDHVyRIMa\n"
_ACCEPT = "application/vnd.oci.image.manifest.v1+json"


@dataclass(frozen=True)
class Registry:
    """A registry that runs; `authority` is the certificate of whoever vouches for it."""

    port: int
    storage: Path
    authority: Path | None = None
    process: int = 0

    @property
    def host(self) -> str:
        return f"localhost:{self.port}"

    def digest(self, name: str, reference: str) -> str:
        """What the registry says that a tag stands for."""
        request = Request(f"{self.url}/v2/{name}/manifests/{reference}", headers={"Accept": _ACCEPT})
        if self.authority:
            pair = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
            request.add_header("Authorization", f"Basic {pair}")
        context = ssl.create_default_context(cafile=self.authority) if self.authority else None
        with build_opener(ProxyHandler({}), HTTPSHandler(context=context)).open(request) as answer:
            said: str = answer.headers["Docker-Content-Digest"]
        return said

    @property
    def url(self) -> str:
        return f"{'https' if self.authority else 'http'}://{self.host}"

    def enlarge(self, size: str) -> None:
        """Give it a larger disk."""
        enter = ["nsenter", f"--target={self.process}", "--user", "--mount", "--preserve-credentials"]
        subprocess.run([*enter, "mount", "-o", f"remount,size={size}", "none", str(self.storage)], check=True)

    def log_in(self, folder: Path) -> dict[str, str]:
        """Write an auth file and a folder of certificates; the variables that lead there."""
        assert self.authority is not None
        pair = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        file = folder / "auth.json"
        file.write_text(json.dumps({"auths": {self.host: {"auth": pair}}}))
        return {"REGISTRY_AUTH_FILE": str(file), "SSL_CERT_FILE": str(self.authority)}


@contextmanager
def registry(
    folder: Path,
    *,
    users: bool = False,
    read_only: bool = False,
    storage: Path | None = None,
    disk: str = "",
) -> Iterator[Registry]:
    """A registry with its files below `folder`; with `users`, it has TLS and one user.

    `disk` is the size of a file system of its own for its storage, such as "300k".
    """
    own = Path(tempfile.mkdtemp(dir=folder, prefix="registry-"))
    files = storage or own / "storage"
    config = {
        "version": 0.1,
        "log": {"level": "info", "accesslog": {"disabled": True}},
        "storage": {
            "filesystem": {"rootdirectory": str(files)},
            "maintenance": {"readonly": {"enabled": read_only}},
        },
        "http": {"addr": "127.0.0.1:0"},  # a port that nobody else can have taken meanwhile
    }
    if users:
        authority = Authority()
        (own / "ca.crt").write_bytes(authority.certificate_pem)
        (own / "server.pem").write_bytes(authority._leaf_pem("localhost"))
        (own / "htpasswd").write_text(_HTPASSWD)
        config["http"] |= {"tls": {"certificate": str(own / "server.pem"), "key": str(own / "server.pem")}}  # type: ignore[operator]
        config["auth"] = {"htpasswd": {"realm": "tests", "path": str(own / "htpasswd")}}
    (own / "config.yml").write_text(yaml.safe_dump(config))
    argv = ["docker-registry", "serve", str(own / "config.yml")]
    if disk:
        files.mkdir()
        script = f'mount -t tmpfs -o size={disk} none "$0" && exec "$@"'
        # The namespaces are of this very process, which becomes the registry.
        lead = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, str(files)]
        argv = [*lead, *argv]
    log = own / "log"
    with log.open("wb") as written, subprocess.Popen(argv, stdout=written, stderr=written) as process:
        try:
            while not (listening := re.search(r"listening on 127\.0\.0\.1:(\d+)", log.read_text())):
                assert process.poll() is None, log.read_text()
                time.sleep(0.02)
            authority_file = own / "ca.crt" if users else None
            yield Registry(int(listening[1]), files, authority_file, process.pid)
        finally:
            process.terminate()
