"""Where images from registries come in: each is held against the trust policy before any of it is taken."""

from __future__ import annotations

import threading
from collections.abc import Collection

from rbuild.digest import Digest
from rbuild.errors import Exit, RbuildError, Where
from rbuild.origins import Origin, note_origin, origin_of
from rbuild.reference import Reference
from rbuild.registry.client import Registry
from rbuild.registry.patience import Limits
from rbuild.registry.repository import Repository
from rbuild.registry.signatures import signatures_of
from rbuild.signing.claims import Signature
from rbuild.trust.judge import Judgement, Verdict, judge, needs_signatures
from rbuild.trustfiles import Trust, user_trust
from rbuild.verbs.workspace import Workspace
from rbuild.yamlfile import key_path

_LIMITS = Limits()


class Admission:
    """One command's judge. Threads may share it."""

    def __init__(
        self,
        workspace: Workspace,
        *,
        insecure: Collection[str] = (),
        offline: bool = False,
        limits: Limits = _LIMITS,
    ) -> None:
        """`insecure` names registries that need no TLS; with `offline`, no registry is asked."""
        self._workspace = workspace
        self._insecure = {text.partition("/")[0] for text in insecure}
        self._offline = offline
        self._limits = limits
        self._registries: dict[str, Registry] = {}
        self._users: list[Trust | None] = []
        self._making = threading.Lock()

    @property
    def trust(self) -> Trust | None:
        """The policy that holds: the project's, else the user's own."""
        with self._making:
            if not self._users:
                trust = self._workspace.trust
                self._users.append(trust if trust else user_trust(self._workspace.env))
            return self._users[0]

    def close(self) -> None:
        """End every wait of every thread."""
        for registry in list(self._registries.values()):
            registry.close()

    def admit(
        self, image: Reference, *, repository: Repository | None = None, judged_again: bool = False
    ) -> str | None:
        """Let an image in, which is named by its digest; gives the digest of the policy that took it.

        `repository` is where its signatures are asked for, if a connection is there already. With
        `judged_again`, what rbuild does not verify is left to skopeo, which gets the same policy. Raises
        RbuildError for an image that the policy does not take: exit code 1, or 2 where rbuild cannot tell.
        """
        trust = self.trust
        if trust is None:
            return None
        scope, judgement = self._judged(trust, image, repository)
        left = judged_again and judgement.verdict is Verdict.UNKNOWN
        if judgement.verdict is Verdict.ACCEPTED or left:
            return str(trust.digest)
        raise _refused(trust.file, scope, image, judgement)

    def admit_fetched(self, image: Digest) -> None:
        """Hold an image that is here against the policy, if it was fetched, and not taken by this policy.

        An image that was built here needs nobody's word: it came out as it is locked. Raises RbuildError as
        `admit` does.
        """
        if self.trust is None:
            return
        origin = origin_of(self._workspace.store, image)
        if origin is not None:
            self._admit_again(origin, image)

    def admit_base(self, base: Reference) -> bool:
        """Hold a base that is here, and named by its digest, against the policy; False: fetch it again.

        That is where only skopeo can tell, which judges what it copies. Raises RbuildError as `admit` does.
        """
        trust = self.trust
        assert base.digest is not None
        if trust is None:
            return True
        # What was let in under another name says nothing of this one.
        wanted = Origin(repository=base.name, policy=str(trust.digest))
        if origin_of(self._workspace.store, base.digest) != wanted:
            scope, judgement = self._judged(trust, base, None)
            if judgement.verdict is Verdict.UNKNOWN:
                return False
            if judgement.verdict is Verdict.REFUSED:
                raise _refused(trust.file, scope, base, judgement)
            self.note(base, wanted.policy)
        return True

    def _admit_again(self, origin: Origin, image: Digest) -> None:
        trust = self.trust
        if trust is not None and origin.policy != str(trust.digest):
            reference = origin.reference(image)
            self.note(reference, self.admit(reference))

    def note(self, image: Reference, taken_by: str | None) -> None:
        """Keep where an image came from that was let in, and is in the store now."""
        assert image.digest is not None
        origin = Origin(repository=image.name, policy=taken_by)
        note_origin(self._workspace.store, image.digest, origin)

    def _judged(
        self, trust: Trust, image: Reference, repository: Repository | None
    ) -> tuple[str | None, Judgement]:
        """The scope that decides, and what comes of it."""
        scope, requirements = trust.policy.requirements(image)
        signatures: tuple[Signature, ...] = ()
        if needs_signatures(requirements):
            if not trust.attachments.used(image):
                return scope, Judgement(
                    Verdict.REFUSED,
                    "it asks for a signature, and registries.d does not say that any lie beside the image",
                    f"write `use-sigstore-attachments: true` for {image.name} there",
                )
            signatures = self._signatures(image, repository)
        return scope, judge(requirements, image, signatures, trust.public_key)

    def _signatures(self, image: Reference, repository: Repository | None) -> tuple[Signature, ...]:
        assert image.digest is not None
        if self._offline:
            raise RbuildError(
                f"the policy asks for a signature of {image.name}, and --offline lets nothing fetch it",
                where=Where(digest=str(image.digest)),
                hint="run the command without --offline once",
            )
        return signatures_of(repository or self._repository(image), image.digest)

    def _repository(self, image: Reference) -> Repository:
        host = image.registry
        with self._making:
            if host not in self._registries:
                self._registries[host] = Registry(
                    host, insecure=host in self._insecure, env=self._workspace.env, limits=self._limits
                )
            return self._registries[host].repository(image.repository)


def _refused(file: str, scope: str | None, image: Reference, judgement: Judgement) -> RbuildError:
    key = key_path(("default",) if scope is None else ("transports", "docker", scope))
    finding = judgement.verdict is Verdict.REFUSED
    return RbuildError(
        f"the policy does not take {image.name}: {judgement.why}",
        where=Where(file=file, key=key, digest=str(image.digest)),
        hint=judgement.hint,
        exit_code=Exit.FINDING if finding else Exit.CANNOT_TELL,
    )
