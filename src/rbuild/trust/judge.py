"""An image held against a policy: pure, with the signatures that lie beside it handed in."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

from rbuild.errors import RbuildError
from rbuild.reference import Reference
from rbuild.signing.claims import Signature, read_claim
from rbuild.signing.key import verify
from rbuild.trust.policy import Accept, Key, Reject, Requirement, Signed, Unknown

_MOST_NAMED = 3


class Verdict(Enum):
    """What a policy says of an image. UNKNOWN is refused, too, unless somebody else judges."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict; unless it is ACCEPTED, why, and what to do."""

    verdict: Verdict
    why: str = ""
    hint: str | None = None


ACCEPTED = Judgement(Verdict.ACCEPTED)


def needs_signatures(requirements: Sequence[Requirement]) -> bool:
    """Whether nobody can judge by these without an image's signatures."""
    decided = any(isinstance(one, Reject | Unknown) for one in requirements)
    return not decided and any(isinstance(one, Signed) for one in requirements)


def judge(
    requirements: Sequence[Requirement],
    image: Reference,
    signatures: Sequence[Signature],
    public_key: Callable[[Key], bytes],
) -> Judgement:
    """Whether `image`, which has a digest and no tag, satisfies every requirement.

    `public_key` gives the bytes of a key. A signature that cannot be read counts as none.
    """
    for one in requirements:
        match one:
            case Reject():
                return Judgement(
                    Verdict.REFUSED,
                    "it takes nothing from there (reject)",
                    "take the image from a place that the policy allows, or let the policy name its key",
                )
            case Unknown():
                return Judgement(
                    Verdict.UNKNOWN,
                    f"it asks for {one.what}, which rbuild does not verify, and so refuses",
                    "sign with a key, and ask for sigstoreSigned with keyPath",
                )
    for one in requirements:
        if isinstance(one, Signed) and (why := _unsigned(one, image, signatures, public_key)):
            return Judgement(Verdict.REFUSED, *why)
    assert all(isinstance(one, Accept | Signed) for one in requirements)
    return ACCEPTED


def _unsigned(
    wanted: Signed, image: Reference, signatures: Sequence[Signature], public_key: Callable[[Key], bytes]
) -> tuple[str, str | None] | None:
    """Why no signature will do; None: one does."""
    if not signatures:
        return (
            "it asks for a signature, and the image has none",
            "whoever has the key signs it: rbuild push --sign-key FILE",
        )
    keys = [public_key(key) for key in wanted.keys]
    good = [one for one in signatures if any(_verifies(key, one) for key in keys)]
    if not good:
        count = "signature is" if len(signatures) == 1 else f"{len(signatures)} signatures are"
        return f"its {count} of another key, or not of what it says", None
    strangers: list[str] = []
    for signature in good:
        try:
            claim = read_claim(signature.payload)
        except RbuildError as error:
            strangers.append(error.problems[0].what)
            continue
        if claim.digest != image.digest:
            strangers.append(f"it was made for the image {claim.digest}")
        elif not wanted.identity.fits(image, claim.name):
            strangers.append(f"it was made for {claim.name[:200]} ({wanted.identity.kind})")
        else:
            return None
    return f"its signature does not fit: {'; '.join(strangers[:_MOST_NAMED])}", _exactness(wanted)


def _exactness(wanted: Signed) -> str | None:
    if wanted.identity.kind in ("matchExact", "matchRepoDigestOrExact"):
        return "signatures of cosign and rbuild name a repository: matchRepository is what fits them"
    return None


def _verifies(key: bytes, signature: Signature) -> bool:
    try:
        return verify(key, base64.b64decode(signature.text, validate=True), signature.payload)
    except binascii.Error:
        return False
