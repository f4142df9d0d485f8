"""A registry in memory, with the logins that registries have. Faults come before it."""

from __future__ import annotations

import base64
import itertools
import json
import re
import threading
from collections.abc import Sequence
from typing import Literal
from urllib.parse import parse_qs, urlsplit

from httpfaults import Fault, Handler, Server

from rbuild.digest import Digest

USER, PASSWORD, REFRESH = "ann", "s3cret-word", "identity-t0ken"
BASIC = f"Basic {base64.b64encode(f'{USER}:{PASSWORD}'.encode()).decode()}"
INDEX = "application/vnd.oci.image.index.v1+json"
Login = Literal["none", "basic", "bearer"]


class FakeRegistry(Server):
    """`blobs` by repository and digest, `manifests` by repository and reference, uploads by session."""

    def __init__(
        self, *faults: Fault, login: Login = "none", resumes: bool = True, lists: bool = False
    ) -> None:
        """`lists`: it keeps the lists of referrers itself."""
        super().__init__(_Handler, faults)
        self.lists = lists
        self.login = login
        self.resumes = resumes
        self.blobs: dict[tuple[str, str], bytes] = {}
        self.manifests: dict[tuple[str, str], bytes] = {}
        self.uploads: dict[str, bytearray] = {}
        self.received = 0  # bytes of blobs, those of broken uploads among them
        self.counting = threading.Lock()
        self.sessions = itertools.count()
        self.tokens: set[str] = set()
        self.page: Sequence[str] = ()
        self.elsewhere = ""  # where blobs are to be fetched

    def expire_tokens(self) -> None:
        self.tokens.clear()


class _Handler(Handler):
    server: FakeRegistry

    def serve(self) -> None:
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        if url.path == "/token":
            self._token(query)
            return
        if not self._admitted():
            return
        match = re.fullmatch(r"/v2/(.+?)/(blobs/uploads|blobs|manifests|tags|referrers)/(.*)", url.path)
        if match is None:
            self.answer(200, b"{}")
            return
        repository, kind, name = match.groups()
        if kind == "blobs/uploads":
            self._upload(repository, name, query)
        elif kind == "blobs":
            self._blob(repository, name)
        elif kind == "manifests":
            self._manifest(repository, name)
        elif kind == "tags":
            self._tags(repository, query)
        elif self.server.lists:
            self._referrers(repository, name, query)
        else:
            self.answer(404)

    def _admitted(self) -> bool:
        given = self.headers.get("Authorization", "")
        if self.server.login == "none" or (self.server.login == "basic" and given == BASIC):
            return True
        if self.server.login == "bearer" and given.removeprefix("Bearer ") in self.server.tokens:
            return True
        realm = f'Bearer realm="http://{self.server.host}/token",service="the, service"'
        self.body()
        challenge = 'Basic realm="here"' if self.server.login == "basic" else realm
        self.answer(401, WWW_Authenticate=challenge)
        return False

    def _token(self, query: dict[str, str]) -> None:
        form = {name: values[0] for name, values in parse_qs(self.body().decode()).items()}
        if self.headers.get("Authorization") != BASIC and form.get("refresh_token") != REFRESH:
            self.answer(401)
            return
        asked = query or form
        assert asked["service"] == "the, service"
        token = f"token-{len(self.server.seen)}"
        self.server.tokens.add(token)
        self.answer(200, json.dumps({"token": token, "expires_in": 300}).encode())

    def _upload(self, repository: str, session: str, query: dict[str, str]) -> None:
        uploads, blobs = self.server.uploads, self.server.blobs
        if self.command == "POST":
            source = (query.get("from", ""), query.get("mount", ""))
            if source in blobs:
                blobs[repository, source[1]] = blobs[source]
                self.answer(201)
                return
            session = f"s{next(self.server.sessions)}"
            uploads[session] = bytearray()
            self.answer(202, Location=f"/v2/{repository}/blobs/uploads/{session}")
            return
        held = uploads.get(session)
        if held is None:
            self.body()
            self.answer(404)
        elif self.command == "GET":
            reached = max(len(held) - 1, 0)
            self.answer(204, Location=self.path, Range=f"0-{reached}")
        elif self.command == "PATCH":
            self.take(held, int(self.headers["Content-Length"]))
            self.answer(202, Location=f"{self.path.partition('?')[0]}?state={len(held)}")
        elif self.command == "DELETE":
            del uploads[session]
            self.answer(204)
        else:
            data = bytes(uploads.pop(session))
            if str(Digest.of(data)) != query["digest"]:
                self.answer(400, b'{"errors":[{"code":"DIGEST_INVALID","message":"not the digest"}]}')
                return
            blobs[repository, query["digest"]] = data
            self.answer(201)

    def take(self, held: bytearray, length: int) -> None:
        data = self.rfile.read(length)
        held += data
        with self.server.counting:
            self.server.received += len(data)

    def _blob(self, repository: str, digest: str) -> None:
        data = self.server.blobs.get((repository, digest))
        if data is None:
            self.answer(404)
        elif self.server.elsewhere:
            self.answer(307, Location=f"{self.server.elsewhere}/v2/{repository}/blobs/{digest}")
        elif (found := re.match(r"bytes=(\d+)-", self.headers.get("Range", ""))) and self.server.resumes:
            self.answer(206, data[int(found[1]) :])
        else:
            self.answer(200, data)

    def _manifest(self, repository: str, reference: str) -> None:
        if self.command == "PUT":
            data = self.body()
            self.server.manifests[repository, reference] = data
            self.server.manifests[repository, str(Digest.of(data))] = data
            subject = json.loads(data).get("subject")
            known = {"OCI_Subject": subject["digest"]} if self.server.lists and subject else {}
            self.answer(201, **known)
            return
        found = self.server.manifests.get((repository, reference))
        if found is None:
            self.answer(404)
        else:
            kind = "application/vnd.oci.image.manifest.v1+json; charset=utf-8"
            self.answer(200, found, Content_Type=kind, Docker_Content_Digest=str(Digest.of(found)))

    def _tags(self, repository: str, query: dict[str, str]) -> None:
        tags = sorted(
            name for where, name in self.server.manifests if where == repository and ":" not in name
        )
        last = query.get("last", "")
        rest = [tag for tag in tags if tag > last]
        link = {"Link": f'</v2/{repository}/tags/list?n=1&last={rest[0]}>; rel="next"'} if rest[1:] else {}
        self.answer(200, json.dumps({"tags": rest[:1]}).encode(), **link)

    def _referrers(self, repository: str, subject: str, query: dict[str, str]) -> None:
        """A page has one of them."""
        entries = []
        for (where, name), data in sorted(self.server.manifests.items()):
            read = json.loads(data)
            if where == repository and ":" in name and read.get("subject", {}).get("digest") == subject:
                kind = {"mediaType": read["mediaType"], "artifactType": read["artifactType"]}
                entries.append({**kind, "digest": name, "size": len(data)})
        at = int(query.get("at", "0"))
        path = f"/v2/{repository}/referrers/{subject}?at={at + 1}"
        more = {"Link": f'<{path}>; rel="next"'} if entries[at + 1 :] else {}
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries[at : at + 1]}
        self.answer(200, json.dumps(index).encode(), Content_Type=INDEX, **more)
