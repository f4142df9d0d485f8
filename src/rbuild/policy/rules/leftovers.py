"""Rules about what a build leaves in an image that no container needs."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated

from msgspec import Meta

from rbuild.image.tar import Kind
from rbuild.policy.facts import FileEntry, ImageFacts
from rbuild.policy.model import Level, Violation
from rbuild.policy.rule import Rule
from rbuild.policy.sightings import Heap, PathSettings, Sight, megabytes, place, said_path

# The cache's own folder is the group; locks and empty folders are none.
_CACHE = re.compile(
    r"(?P<root>var/cache/apt(?=/(?:archives/.*\.deb|(?:src)?pkgcache\.bin)\Z)"
    r"|var/lib/apt/lists(?=/(?:partial/)?[^/]{6,}\Z)"
    r"|(?:var/cache|etc)/apk(?=/.*\.(?:apk|tar\.gz)\Z)"
    r"|var/cache/(?:yum|dnf|libdnf5|zypp)"
    r"|var/cache/pacman/pkg"
    r"|(?:.*/)?\.cache/(?:pip|uv|pypoetry|pdm|yarn|go-build|pre-commit|bazel)"
    r"|(?:.*/)?\.npm/_cacache"
    r"|(?:usr/local/share|usr/share)/\.cache/yarn"
    r"|(?:.*/)?\.cargo/registry/cache"
    r"|(?:.*/)?(?:conda|miniconda3?|mambaforge|miniforge3?|micromamba)/pkgs"
    r"(?=/[^/]+\.(?:conda|tar\.bz2)\Z)"
    r"|(?:.*/)?go/pkg/mod/cache"
    r"|(?:.*/)?\.bundle/cache|usr/local/bundle/cache)/",
    re.DOTALL,
)


class _Caches(Sight):
    """Visible files of caches, said once for each cache and layer."""

    def __init__(self, facts: ImageFacts, settings: PathSettings) -> None:
        super().__init__(facts, settings)
        self._heaps: dict[tuple[int, str], Heap] = {}

    def see(self, entry: FileEntry, content: bytes) -> None:
        path = entry.path
        if not (entry.visible and entry.size):
            return
        if "cache" not in path and "/lists/" not in path and "/pkgs/" not in path and "/apk/" not in path:
            return  # nearly all: quicker than the pattern
        if (match := _CACHE.match(path)) and len(self._heaps) < 1000:
            self._heaps.setdefault((entry.layer, match["root"]), Heap(entry)).add(entry)

    def violations(self) -> Iterable[Violation]:
        for (layer, root), heap in sorted(self._heaps.items()):
            files = "1 file" if heap.count == 1 else f"{heap.count} files"
            yield Violation(
                message=f"{said_path(root)} holds a package manager's cache: {files}, {megabytes(heap.size)}",
                where=place(self.facts, layer, heap.first.instruction),
                text=said_path(heap.first.path),
            )


_COMPILERS = [
    "gcc",
    "g++",
    "cc",
    "c++",
    "clang",
    "clang++",
    "gfortran",
    "rustc",
    "cargo",
    "go",
    "javac",
    "ghc",
    "make",
    "cmake",
    "ninja",
    "ld",
    "as",
    "nvcc",
    "tcc",
]


class CompilerSettings(PathSettings, frozen=True, kw_only=True):
    """Of the rule about compilers."""

    programs: Annotated[
        tuple[str, ...],
        Meta(description="The programs asked for; gcc stands for gcc-12 and x86_64-linux-gnu-gcc, too."),
    ] = tuple(_COMPILERS)


class _Compilers(Sight):
    """Visible compilers, said together for each layer."""

    settings: CompilerSettings

    def __init__(self, facts: ImageFacts, settings: CompilerSettings) -> None:
        super().__init__(facts, settings)
        names = "|".join(re.escape(one) for one in sorted(settings.programs, key=len, reverse=True))
        self._pattern = re.compile(
            r"(?:usr/|usr/local/|opt/[^/]{1,80}/|usr/local/(?:go|cargo|cuda[^/]{0,20})/)?bin/"
            r"(?:[a-z0-9_]{1,20}-linux-[a-z0-9]{1,20}-)?"
            rf"(?P<name>{names or '(?!)'})(?:-[0-9.]{{1,10}})?\Z"
        )
        self._heaps: dict[int, tuple[Heap, set[str]]] = {}

    def see(self, entry: FileEntry, content: bytes) -> None:
        if not entry.own or not entry.visible or "bin/" not in entry.path:
            return
        match = self._pattern.match(entry.path)
        if match is None or entry.kind is Kind.DIRECTORY:
            return
        if entry.kind is Kind.FILE and not entry.mode & 0o111:
            return
        heap, names = self._heaps.setdefault(entry.layer, (Heap(entry), set()))
        heap.add(entry)
        names.add(match["name"])

    def violations(self) -> Iterable[Violation]:
        for layer, (heap, names) in sorted(self._heaps.items()):
            listed = ", ".join(sorted(names)[:6]) + (", …" if len(names) > 6 else "")
            yield Violation(
                message=f"the build left compilers in the image: {listed}",
                where=place(self.facts, layer, heap.first.instruction),
                text=said_path(heap.first.path),
            )


_GIT = re.compile(r"(?P<root>(?:.*/)?\.(?:git|hg|svn))/(?:HEAD|config|index|objects|store|wc\.db)", re.DOTALL)


class _History(Sight):
    """The folders of version control, each once."""

    def __init__(self, facts: ImageFacts, settings: PathSettings) -> None:
        super().__init__(facts, settings)
        self._roots: set[str] = set()

    def see(self, entry: FileEntry, content: bytes) -> None:
        path = entry.path
        if not entry.own or (".git/" not in path and ".hg/" not in path and ".svn/" not in path):
            return
        if (match := _GIT.match(path)) and match["root"] not in self._roots and len(self._roots) < 1000:
            self._roots.add(match["root"])
            self.say(entry, f"is of {said_path(match['root'])}: all that was ever committed is in the image")


_SERVERS = frozenset({"usr/sbin/sshd", "usr/local/sbin/sshd", "usr/sbin/dropbear", "usr/sbin/in.telnetd"})


class _Servers(Sight):
    def see(self, entry: FileEntry, content: bytes) -> None:
        if entry.path in _SERVERS and entry.own and entry.visible:
            self.say(entry, "is a server for logging in")


RULES = (
    Rule(
        id="RB221",
        name="package-cache",
        title="A package manager's cache is left in the image.",
        level=Level.WARNING,
        why="It makes the image larger, for everybody who pulls it, and no container reads it.",
        example="RUN apt-get update && apt-get install -y curl        # and normalisers: {apt-caches: false}",
        fix="leave rbuild's normalisers on; else remove it in the same RUN: rm -rf /var/lib/apt/lists/*, "
        "pip install --no-cache-dir, conda clean --all --yes",
        settings=PathSettings,
        watch=_Caches,
    ),
    Rule(
        id="RB222",
        name="compiler-left",
        title="The build left a compiler in the image.",
        level=Level.WARNING,
        why="It is large, and it is what an intruder would otherwise have to bring along.",
        example="RUN apt-get install -y build-essential && pip install -r requirements.txt",
        fix="compile in a build target of its own, and COPY --from what came out",
        settings=CompilerSettings,
        watch=_Compilers,
    ),
    Rule(
        id="RB223",
        name="history-left",
        title="A folder of version control is in the image.",
        level=Level.WARNING,
        why="With it whoever can pull the image reads all that was ever committed, secrets that were removed "
        "later among it.",
        example="RUN git clone https://… /app",
        fix="rm -rf /app/.git in the same RUN, or fetch an archive of one commit",
        settings=PathSettings,
        watch=_History,
    ),
    Rule(
        id="RB224",
        name="login-server",
        title="The build put a server for logging in into the image.",
        level=Level.WARNING,
        why="A container has its own way in, `podman exec`, which asks the host who may. A second one has "
        "keys and passwords of its own to look after.",
        example="RUN apt-get install -y openssh-server",
        fix="leave it out; rbuild shell STAGE, or podman exec, looks around in a container",
        settings=PathSettings,
        watch=_Servers,
    ),
)
