"""Rules about where things come from: registries, mirrors, hosts, indexes, and whether that was checked."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from typing import Annotated
from urllib.parse import urlsplit

from msgspec import Meta

from rbuild.containerfile.words import name_values
from rbuild.errors import Where
from rbuild.policy.facts import FileFacts, LockFacts
from rbuild.policy.model import Level, Violation
from rbuild.policy.rule import Rule, Settings
from rbuild.policy.runs import about, runs
from rbuild.reference import Reference

_OFF_OPTIONS: dict[str, tuple[str, ...]] = {
    "curl": ("-k", "--insecure"),
    "wget": ("--no-check-certificate",),
    "pip": ("--trusted-host",),
    "apt-get": ("--allow-unauthenticated", "--allow-insecure-repositories", "--force-yes"),
    "apk": ("--allow-untrusted",),
    "dnf": ("--nogpgcheck",),
    "zypper": ("--no-gpg-checks",),
    "rpm": ("--nosignature", "--nodigest"),
    "debootstrap": ("--no-check-gpg",),
    "git": (),
    "npm": (),
}
_SAME = {
    "pip3": "pip",
    "python": "pip",
    "python3": "pip",
    "uv": "pip",
    "apt": "apt-get",
    "yum": "dnf",
    "microdnf": "dnf",
}
_OFF_WORDS = re.compile(
    r"\[(?:[^\]]{0,200}\s)?\s{0,9}trusted\s*=\s*yes|http\.sslVerify\s*=?\s*(?:false|0)|strict-ssl\s*=?\s*false"
    r"|sslverify['\"]?\s*=\s*(?:false|0|no)\b"
    r"|APT::Get::AllowUnauthenticated\s*\"?=?\s*\"?(?:true|1)|Acquire::https?::Verify-Peer\s*\"?=?\s*\"?false",
    re.IGNORECASE,
)
_OFF_VARIABLES = {
    "NODE_TLS_REJECT_UNAUTHORIZED": ("0",),
    "PYTHONHTTPSVERIFY": ("0",),
    "GIT_SSL_NO_VERIFY": ("1", "true"),
    "NPM_CONFIG_STRICT_SSL": ("false",),
    "YARN_STRICT_SSL": ("false",),
}
# These turn a check off for what they name.
_OFF_FOR = frozenset({"PIP_TRUSTED_HOST", "GOINSECURE", "UV_INSECURE_HOST"})
_INDEX_OPTIONS = ("--extra-index-url",)
_INDEX_VARIABLES = ("PIP_EXTRA_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_INDEX")


class RegistrySettings(Settings, frozen=True, kw_only=True):
    allowed: Annotated[
        tuple[str, ...],
        Meta(description="Patterns of registry/repository: docker.io/library/*, quay.io/team/*. None: any."),
    ] = ()


class MirrorSettings(Settings, frozen=True, kw_only=True):
    allowed: Annotated[
        tuple[str, ...], Meta(description="Patterns of hosts that Debian packages may come from.")
    ] = ("deb.debian.org", "snapshot.debian.org", "security.debian.org", "archive.debian.org")


class HostSettings(Settings, frozen=True, kw_only=True):
    allowed: Annotated[
        tuple[str, ...],
        Meta(description="Patterns of hosts that a build may read from: pypi.org, *.debian.org. None: any."),
    ] = ()


class SignedSettings(Settings, frozen=True, kw_only=True):
    images: Annotated[
        tuple[str, ...],
        Meta(
            description="Patterns of the bases, registry/repository, that have to be signed. None: no base."
        ),
    ] = ()


def _registry(facts: FileFacts, settings: RegistrySettings) -> Iterable[Violation]:
    if not settings.allowed:
        return
    for use in facts.uses:
        base = facts.project.base(Reference.parse(use.image))
        if base.image is not None and not any(fnmatchcase(base.image.name, one) for one in settings.allowed):
            yield Violation(
                message=f"{base.image.name} is in no registry that is allowed",
                where=facts.at(use.line),
                text=use.text,
                hint=f"allowed are: {', '.join(settings.allowed)[:300]}",
            )


def _unsigned(facts: FileFacts, settings: SignedSettings) -> Iterable[Violation]:
    for use in facts.uses if settings.images else ():
        image = facts.project.base(Reference.parse(use.image)).image
        if image is None or not any(fnmatchcase(image.name, one) for one in settings.images):
            continue
        if facts.signed is None or not facts.signed(image):
            wants = "asks for no signature of it" if facts.signed else "is not there"
            yield Violation(
                message=f"{image.name} has to be signed, and the project's trust policy {wants}",
                where=facts.at(use.line),
                text=use.text,
            )


def _mirror(facts: FileFacts, settings: MirrorSettings) -> Iterable[Violation]:
    for use in facts.uses:
        reference = Reference.parse(use.image)
        debian = facts.project.base(reference).debian
        if debian is None:
            continue
        host = _host(debian.mirror)
        if not _is_allowed(host, settings.allowed):
            key = next((str(one) for one in facts.project.bases if one == reference), use.image)
            yield Violation(
                message=f"{host} is no mirror that is allowed",
                where=facts.locate("bases", key, "debian", "mirror"),
                text=debian.mirror,
                hint=f"allowed are: {', '.join(settings.allowed)[:300]}",
            )


def _hosts(facts: LockFacts, settings: HostSettings) -> Iterable[Violation]:
    if not settings.allowed:
        return
    seen: set[str] = set()
    for url in facts.locked.recording.urls:
        host = _host(url)
        if host not in seen and not _is_allowed(host, settings.allowed):
            yield Violation(
                message=f"the build read from {host}: {url[:200]}",
                where=_in_lock(facts),
                text=url[:300],
                hint=f"allowed are: {', '.join(settings.allowed)[:300]}",
            )
        seen.add(host)


def _host(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "").lower()
    except ValueError:
        return url[:100]


def _is_allowed(host: str, allowed: Iterable[str]) -> bool:
    return any(fnmatchcase(host, pattern.lower()) for pattern in allowed)


def _in_lock(facts: LockFacts) -> Where:
    return Where(file="rbuild.lock", key=f"stages.{facts.files.stage.name}.recording")


def _extra_index(facts: FileFacts, _: Settings) -> Iterable[Violation]:
    for run in runs(facts):
        for command in run.commands:
            for word, line in zip(command.arguments, command.lines[1:], strict=True):
                if word.partition("=")[0] in _INDEX_OPTIONS and command.name not in ("echo", "printf"):
                    yield about(
                        facts, command, f"{command.name} asks a second index for every package", line=line
                    )
            for name, _value in command.assignments:
                if name in _INDEX_VARIABLES:
                    yield about(facts, command, f"{name} makes pip ask a second index for every package")
    for name, value, where, text in _variables(facts):
        if name in _INDEX_VARIABLES and value:
            yield Violation(
                message=f"{name} makes pip ask a second index for every package", where=where, text=text
            )


def _variables(facts: FileFacts) -> Iterator[tuple[str, str, Where, str]]:
    """What every ENV sets: name, value, where, the instruction."""
    for written in facts.instructions:
        instruction = written.trigger or written
        if instruction.keyword == "ENV":
            at = instruction.arguments_start
            for name, value in name_values(instruction.arguments, facts.containerfile.escape):
                at = max(instruction.original.find(name, at), at)
                spans = instruction.spans(at, at + 1)
                line = spans[0].line if spans else instruction.line
                yield name, value.strip("'\""), facts.at(line), instruction.original[:300]


def _checks_off(facts: FileFacts, _: Settings) -> Iterable[Violation]:
    for run in runs(facts):
        for command in run.commands:
            options = _OFF_OPTIONS.get(_SAME.get(command.name, command.name), ())
            for word, line in zip(command.arguments, command.lines[1:], strict=True):
                if any(_says(word, one) for one in options):
                    yield about(facts, command, f"{command.name} {word[:80]} checks nothing", line=line)
            text = " ".join(command.arguments)
            if match := _OFF_WORDS.search(text[:20_000]):
                yield about(facts, command, f"{match[0].strip()[:80]} turns a check off")
            for name, value in command.assignments:
                if _is_off(name, value):
                    yield about(facts, command, f"{name}={value[:20]} turns a check off")
    for name, value, where, text in _variables(facts):
        if _is_off(name, value):
            yield Violation(
                message=f"{name}={value[:20]} turns a check off, in the container as well",
                where=where,
                text=text,
            )


def _is_off(name: str, value: str) -> bool:
    upper = name.upper()
    return bool(value) if upper in _OFF_FOR else value.lower() in _OFF_VARIABLES.get(upper, ())


def _says(word: str, option: str) -> bool:
    if option.startswith("--"):
        return word.partition("=")[0] == option
    return word.startswith("-") and not word.startswith("--") and option[1] in word[1:]


def _yanked(facts: LockFacts, _: Settings) -> Iterable[Violation]:
    for index in facts.locked.recording.indexes:
        for file in index.files:
            if file.yanked is not False and file.yanked != "":
                reason = f": {file.yanked[:200]}" if isinstance(file.yanked, str) else ""
                yield Violation(
                    message=f"{posixpath.basename(file.name)[:200]} was yanked by its publishers{reason}",
                    where=_in_lock(facts),
                    text=file.name[:300],
                )


RULES = (
    Rule(
        id="RB301",
        name="registry-not-allowed",
        title="A base comes from a registry or repository that is not in the allowed list.",
        level=Level.ERROR,
        why="Whoever owns a base's repository decides what is in every image on top of it. Without a list in "
        "the settings the rule says nothing.",
        example="FROM docker.io/somebody/python:3.11        # with allowed: [docker.io/library/*]",
        fix="take the base from a registry of the list, or have the list extended",
        settings=RegistrySettings,
        files=_registry,
    ),
    Rule(
        id="RB302",
        name="mirror-not-allowed",
        title="A Debian base is made from a mirror that is not in the allowed list.",
        level=Level.ERROR,
        why="Packages are checked against the archive's signature; a mirror of somebody's can still serve an "
        "old state of it, or go away.",
        example="debian: {suite: bookworm, mirror: http://mirror.example.org/debian}        # in rbuild.yaml",
        fix="leave mirror out (deb.debian.org), or have the list extended",
        settings=MirrorSettings,
        files=_mirror,
    ),
    Rule(
        id="RB303",
        name="host-not-allowed",
        title="A build read from a host that is not in the allowed list.",
        level=Level.ERROR,
        why="The recording names everything that a build fetched: package indexes, downloads, redirects. A "
        "redirect to an address with a signature in it counts as the address that was asked for. Without a "
        "list in the settings the rule says nothing.",
        example="packages.example.org in the recording        # with allowed: [pypi.org]",
        fix="fetch it from a host of the list, or have the list extended; then rbuild lock --upgrade",
        settings=HostSettings,
        lock=_hosts,
    ),
    Rule(
        id="RB304",
        name="second-index",
        title="pip may take a package from either of two indexes.",
        level=Level.WARNING,
        why="It takes the higher version, wherever that is: whoever puts a project of your name on the "
        "public index gets their code into the image (dependency confusion).",
        example="RUN pip install --extra-index-url https://packages.example.org/simple team-tool",
        fix="--index-url with one index that has both, or uv with its first-index strategy",
        files=_extra_index,
    ),
    Rule(
        id="RB305",
        name="check-turned-off",
        title="A step turns off the check of a certificate or of a signature.",
        level=Level.ERROR,
        why="Anybody on the way could hand over anything. The recorder checks the servers itself, so builds "
        "need none of these; in ENV it stays off for the program in the container.",
        example="RUN pip install --trusted-host pypi.org flask==3.1.0",
        fix="take it out: the recorder's authority is trusted in every RUN",
        files=_checks_off,
    ),
    Rule(
        id="RB308",
        name="yanked-file",
        title="The recording holds a file that its publishers have yanked.",
        level=Level.WARNING,
        why="They took it back: broken, vulnerable or released by mistake. pip installs it when it is asked "
        "for by its exact version, and a lock asks for just that.",
        example="flask-9.9.9-py3-none-any.whl was yanked by its publishers: wrong metadata",
        fix="ask for another version, then rbuild lock --upgrade",
        lock=_yanked,
    ),
    Rule(
        id="RB319",
        name="base-unsigned",
        title="A base has to be signed, and nothing asks for its signature.",
        level=Level.ERROR,
        why="rbuild, Podman and skopeo take an image without a signature, unless the project's trust policy "
        "asks for one. Without a list in the settings the rule says nothing.",
        example="FROM registry.example.org/team/base:1        # with images: [registry.example.org/*]",
        fix="trust: policies/trust in rbuild.yaml, with sigstoreSigned for that registry in policy.json",
        settings=SignedSettings,
        files=_unsigned,
    ),
)
