"""Rules about secrets in the files of an image."""

from __future__ import annotations

import re
from typing import Annotated

from msgspec import Meta

from rbuild.image.tar import Kind
from rbuild.policy.facts import FileEntry, ImageFacts
from rbuild.policy.model import Level
from rbuild.policy.rule import Rule
from rbuild.policy.secrets import SECRET_FIX, is_literal, is_secret_name, is_strong, known_secrets
from rbuild.policy.sightings import GONE, PathSettings, Sight

_READ = 1 << 18  # bytes of a file
_CONFIG_READ = 1 << 16

# What package managers put there is public, and has keys of test suites in it.
_INSTALLED = re.compile(
    r"(?:usr/(?!local/|src/)|s?bin/|lib(?:32|64)?/|var/lib/(?:dpkg|apt|rpm)/|boot/)"
    r"|(?:.*/)?(?:site-packages|dist-packages|node_modules)/"
    r"|(?:usr/local|opt/[^/]+)/(?:lib/python3[^/]*|include|share)/",
    re.DOTALL,
)
_BINARY = (
    ".pyc .pyo .so .a .o .gz .xz .bz2 .zst .zip .whl .jar .png .jpg .jpeg .gif .webp .ico .pdf .woff .woff2 "
    ".ttf .npy .npz .parquet .mo .h5 .pt .onnx .safetensors .wasm .dll .exe .class .map .svg .css"
)
_NO_TEXT = frozenset(_BINARY.split())
_CONFIG = frozenset(
    [
        ".env",
        ".ini",
        ".cfg",
        ".conf",
        ".toml",
        ".yaml",
        ".yml",
        ".json",
        ".properties",
        ".py",
        ".sh",
        ".xml",
        ".tfvars",
    ]
)
_PROGRAMS = frozenset({".py", ".sh"})
_SETTINGS = re.compile(r"setting|conf|secret|credential|env|key|auth|const|param", re.IGNORECASE)
_LOCK = re.compile(r"(?:.*[._-])?lock(?:file)?(?:\..*)?\Z|.*\.(?:lock|sum)\Z", re.DOTALL)
_WORDS = (b"secret", b"token", b"passw", b"api_key", b"apikey", b"api-key", b"access_key", b"private_key")
_ASSIGNED = re.compile(
    rb"""(?<![A-Za-z0-9_.-])["']?(?P<name>[A-Za-z_][A-Za-z0-9_.-]{1,60})["']?[ \t]{0,8}[=:][ \t]{0,8}"""
    rb"""(?P<quote>["']?)(?P<value>[A-Za-z0-9+/=_.!@#%^&*-]{16,400})(?P=quote)[ \t]{0,8}[,;]?(?=\s|\Z)"""
)


def _suffix(path: str) -> str:
    name = path.rpartition("/")[2]
    _, dot, suffix = name.rpartition(".")
    return f".{suffix.lower()}" if dot else ""


class FileSecretSettings(PathSettings, frozen=True, kw_only=True):
    """Of the rule about secrets in files."""

    installed: Annotated[
        bool,
        Meta(
            description="Whether to read what package managers installed, too: test suites have keys in it."
        ),
    ] = False


class _InFiles(Sight):
    """Known formats in any text that the build added, and random values of secrets in its configuration."""

    reads = True
    settings: FileSecretSettings

    def __init__(self, facts: ImageFacts, settings: FileSecretSettings) -> None:
        super().__init__(facts, settings)
        self._installed = settings.installed

    def wants(self, entry: FileEntry) -> int:
        if not entry.own or entry.kind is not Kind.FILE or _suffix(entry.path) in _NO_TEXT:
            return 0
        return _READ if self._installed or not _INSTALLED.match(entry.path) else 0

    def see(self, entry: FileEntry, content: bytes) -> None:
        if not content or b"\0" in content[:1024] or not self.wants(entry):
            return
        content = content[:_READ]
        kinds = {one.kind: one.start for one in reversed(list(known_secrets(content)))}
        if not kinds and (at := _random_value(entry.path, content)) is not None:
            kinds = {"a value that looks like a secret": at}
        for kind, start in sorted(kinds.items(), key=lambda item: item[1]):
            line = content.count(b"\n", 0, start) + 1
            self.say(entry, f"holds {kind} on line {line}" + ("" if entry.visible else GONE))


def _random_value(path: str, content: bytes) -> int | None:
    """Where a configuration file sets a secret to something random."""
    name = path.rpartition("/")[2]
    suffix = ".env" if name.startswith(".env") else _suffix(path)
    if suffix not in _CONFIG or len(content) > _CONFIG_READ or _LOCK.match(name):
        return None
    if suffix in _PROGRAMS and not _SETTINGS.search(name):
        return None
    small = content.lower()
    if not any(word in small for word in _WORDS):
        return None
    for match in _ASSIGNED.finditer(content):
        variable, value = match["name"].decode(), match["value"].decode()
        if suffix in _PROGRAMS and not match["quote"]:
            continue  # the name of something
        if is_secret_name(variable) and is_literal(value) and is_strong(value):
            return match.start("value")
    return None


# By the end of the path: what in the file makes it a credential.
_CREDENTIALS: tuple[tuple[str, str, str], ...] = (
    (r"\.npmrc", r"(?m)^[^#;\n]{0,300}(?:_authToken|_auth|_password)[ \t]*=[ \t]*(?!\$\{)\S", "npm's token"),
    (r"\.yarnrc(?:\.yml)?", r"(?i)npmAuth(?:Token|Ident)[\"']?[: ]+(?!\$\{)\S", "yarn's token"),
    (r"\.pypirc", r"(?im)^[ \t]*password[ \t]*[:=][ \t]*\S", "the password for a package index"),
    (r"(?:pip|uv)\.(?:conf|toml|ini)", r"://[^/\s:@]{0,200}:[^/\s@$]{1,300}@", "a package index's password"),
    (r"[._]netrc", r"(?i)\bpassword\s+\S", "passwords"),
    (r"\.git-credentials", r"://[^:/\s]{1,200}:[^@\s]{1,300}@", "git's passwords"),
    (r"\.git/config", r"://[^:/\s]{0,200}:[^@\s/]{1,300}@", "git's password"),
    (
        r"(?:\.docker/config\.json|\.dockercfg|containers/auth\.json)",
        r'"(?:auth|identitytoken|registrytoken)"\s*:\s*"[^"\s]{4}',
        "a registry's password",
    ),
    (r"\.aws/credentials", r"(?i)aws_secret_access_key\s*=\s*\S", "AWS's keys"),
    (r"\.kube/config", r"(?m)^\s*(?:token|client-key-data|password):\s*\S", "a cluster's credentials"),
    (r"\.pgpass", r"(?m)^[^#\n:]{0,200}(?::[^\n:]{0,200}){3}:\S", "a database's password"),
    (r"\.my\.cnf", r"(?im)^\s*password\s*=\s*\S", "a database's password"),
    (r"application_default_credentials\.json", r'"(?:refresh_token|private_key)"', "Google's credentials"),
    (r"(?:\.cache/huggingface|\.huggingface)/(?:stored_)?tokens?", r"\S", "Hugging Face's token"),
    (r"\.config/gh/hosts\.yml", r"oauth_token:\s*\S", "GitHub's token"),
    (r"credentials\.tfrc\.json", r'"token"\s*:\s*"[^"]', "Terraform's token"),
    (r"\.cargo/credentials(?:\.toml)?", r"token\s*=\s*\S", "cargo's token"),
    (r"\.m2/settings\.xml", r"<password>[^<{$\s]", "Maven's password"),
)
_CREDENTIAL = tuple(
    (re.compile(rf"(?:.*/)?{path}\Z", re.DOTALL), re.compile(content.encode()), what)
    for path, content, what in _CREDENTIALS
)
_CREDENTIAL_NAMES = frozenset(
    [
        ".npmrc",
        ".yarnrc",
        ".yarnrc.yml",
        ".pypirc",
        "pip.conf",
        "pip.ini",
        "uv.toml",
        ".netrc",
        "_netrc",
        ".git-credentials",
        "config",
        "config.json",
        ".dockercfg",
        "auth.json",
        "credentials",
        ".pgpass",
        ".my.cnf",
        "application_default_credentials.json",
        "token",
        "stored_tokens",
        "hosts.yml",
        "credentials.tfrc.json",
        "credentials.toml",
        "settings.xml",
    ]
)


class _Credentials(Sight):
    reads = True

    def wants(self, entry: FileEntry) -> int:
        return _CONFIG_READ if entry.own and self._form(entry.path) else 0

    def see(self, entry: FileEntry, content: bytes) -> None:
        if not content or not entry.own or not (form := self._form(entry.path)):
            return
        pattern, what = form
        if pattern.search(content[:_CONFIG_READ]):
            self.say(entry, f"holds {what}" + ("" if entry.visible else GONE))

    def _form(self, path: str) -> tuple[re.Pattern[bytes], str] | None:
        if path.rpartition("/")[2] not in _CREDENTIAL_NAMES:
            return None
        return next(((content, what) for name, content, what in _CREDENTIAL if name.match(path)), None)


_SSH_KEY = re.compile(
    r"(?:.*/)?(?:\.ssh/(?:id_[a-z0-9_-]+|identity)|id_(?:rsa|dsa|ecdsa|ed25519)(?:_sk)?"
    r"|etc/ssh/ssh_host_[a-z0-9]+_key|(?:etc/)?dropbear/dropbear_[a-z0-9]+_host_key)\Z",
    re.DOTALL,
)


class _SshKeys(Sight):
    def see(self, entry: FileEntry, content: bytes) -> None:
        if not entry.own or not entry.size or "/" not in entry.path:
            return
        if entry.path.endswith("/.ssh/authorized_keys"):
            if entry.visible:
                self.say(entry, "lets the holders of keys log in")
        elif ("id" in entry.path or "_key" in entry.path) and _SSH_KEY.match(entry.path):
            what = "is a host key, the same in every container" if "_host_" in entry.path else "is a key"
            self.say(entry, what + ("" if entry.visible else GONE))


_SAMPLES = frozenset({"example", "sample", "template", "dist", "tpl", "schema", "defaults"})


class _EnvFiles(Sight):
    def see(self, entry: FileEntry, content: bytes) -> None:
        name = entry.path.rpartition("/")[2]
        if not name.startswith(".env") or not entry.own or not entry.size or entry.kind is not Kind.FILE:
            return
        kind, *more = name[4:].strip(".").split(".")
        if name != ".env" and not name.startswith(".env."):
            return
        if not {kind, *more} & _SAMPLES and not _INSTALLED.match(entry.path):
            self.say(entry, "is a file of settings for one place" + ("" if entry.visible else GONE))


RULES = (
    Rule(
        id="RB214",
        name="secret-in-file",
        title="A file that the build added holds a secret.",
        level=Level.ERROR,
        why="Whoever can pull the image can read every file of every layer, also what a later layer deletes.",
        example="COPY config.yaml /app/        # with a token in it",
        fix=SECRET_FIX,
        settings=FileSecretSettings,
        watch=_InFiles,
    ),
    Rule(
        id="RB215",
        name="credentials-file",
        title="A program's file of credentials is in the image.",
        level=Level.ERROR,
        why="Whoever can pull the image can use them, also where a later layer deletes the file.",
        example="COPY .npmrc /root/.npmrc\nRUN npm ci && rm /root/.npmrc",
        fix="RUN --mount=type=secret,id=npmrc,target=/root/.npmrc npm ci        # and secrets in rbuild.yaml",
        settings=PathSettings,
        watch=_Credentials,
    ),
    Rule(
        id="RB216",
        name="ssh-key",
        title="A key of ssh is in the image.",
        level=Level.ERROR,
        why="A private key is known to whoever can pull the image; host keys are the same in every "
        "container, so that anybody can pass for it; authorized_keys is a door.",
        example="COPY id_ed25519 /root/.ssh/",
        fix="fetch what needs the key before the build, or through RUN --mount=type=secret; rm "
        "/etc/ssh/ssh_host_* in the RUN that installs the server",
        settings=PathSettings,
        watch=_SshKeys,
    ),
    Rule(
        id="RB217",
        name="env-file",
        title="A .env file is in the image.",
        level=Level.WARNING,
        why="It holds what differs from place to place, secrets as a rule; an image is for all places.",
        example="COPY . /app        # with .env in the context",
        fix="add .env to .containerignore; give the values when the container is run",
        settings=PathSettings,
        watch=_EnvFiles,
    ),
)
