"""A registry: who one is there, and its repositories."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from rbuild.registry.authorization import Authorizer
from rbuild.registry.credentials import Credentials, credentials_for
from rbuild.registry.patience import Limits, Patience
from rbuild.registry.repository import Repository
from rbuild.registry.transport import Transport

_LIMITS = Limits()


class Registry:
    """One registry. Threads may share it, and with it its connections and tokens."""

    def __init__(
        self, host: str, *, insecure: bool = False, env: Mapping[str, str], limits: Limits = _LIMITS
    ) -> None:
        """`host` is `name[:port]`. Nothing is sent yet.

        `insecure`: any certificate will do, or none at all. `env` says where credentials, certificates and
        proxies are.
        """
        self.host = host
        self._env = env
        self._patience = Patience(limits)
        self._transport = Transport(host, insecure=insecure, env=env, limits=limits)
        self._authorizer = Authorizer(self._transport, self._patience, self._credentials)
        self._known: dict[str, Credentials | None] = {}
        self._looking = threading.Lock()

    def repository(self, name: str) -> Repository:
        """A repository, which need not be there yet."""
        return Repository(name, self._transport, self._authorizer, self._patience)

    def close(self) -> None:
        """End every wait of every thread; what is under way fails with an RbuildError."""
        self._patience.close()
        self._transport.close()

    def _credentials(self, repository: str) -> Credentials | None:
        """A helper may ask a person: once for a repository."""
        with self._looking:
            if repository not in self._known:
                self._known[repository] = credentials_for(self.host, repository, self._env)
            return self._known[repository]
