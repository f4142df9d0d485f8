"""Which exact packages a Debian base needs: apt's own answer, from signed indexes, with nothing installed."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rbuild import process
from rbuild.debian.archives import KEYRING, Archive, sources_list
from rbuild.debian.packages import Package, parse_uris
from rbuild.errors import Problem, RbuildError, Where
from rbuild.suggest import did_you_mean

_RETRIES = 3
_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]*[a-z0-9+.](=[0-9][A-Za-z0-9+.~:-]*)?\Z")
# How this host reaches its mirrors, and what its administrator says of their clock. Nothing that says which
# packages are taken, or that a signature may be missing.
_HOST_SETTING = re.compile(
    r'Acquire::(?:(?:https?(?:::[^"\s]+)?|ForceIPv[46]|Check-(?:Date|Valid-Until))) "[^"\n\\]*";'
)
_HOST_VARIABLES = frozenset({"http_proxy", "https_proxy", "all_proxy", "no_proxy"})

_NO_SUITE = re.compile(r"The repository '(?P<url>\S+) (?P<suite>\S+) Release' does not have a Release file")
_NOT_SIGNED = re.compile(r"The repository '(?P<url>\S+) (?P<suite>\S+) \S+' is not signed")
_NO_FETCH = re.compile(r"Failed to fetch (?P<url>\S+) +(?P<why>.*)")
_NO_PACKAGE = (
    re.compile(r"Unable to locate package (?P<name>\S+)"),
    re.compile(r"Version '\S+' for '(?P<name>[^']+)' was not found"),
    re.compile(r"Package '(?P<name>[^']+)' has no installation candidate"),
)


@dataclass(frozen=True, slots=True)
class _Apt:
    """An apt that knows nothing of the host's packages and sources: everything of it lies in one folder."""

    home: Path
    env: Mapping[str, str]

    def run(self, argv: Sequence[str], on_line: Callable[[str], None] | None = None) -> process.Completed:
        return process.run(argv, env=self.env, on_line=on_line, check=False)


def resolve(
    archives: Sequence[Archive],
    packages: Sequence[str],
    *,
    architecture: str,
    environ: Mapping[str, str],
    work: Path,
    keyring: str = KEYRING,
    on_line: Callable[[str], None] | None = None,
) -> tuple[Package, ...]:
    """The packages of a root file system: all that are Essential, `packages`, and what these depend on.

    `packages` are names, or `name=version`; recommended packages are not taken. `architecture` is Debian's
    name (`amd64`). apt checks the archives' signatures against `keyring`. Of the host's apt configuration
    only its network settings count, and of `environ` only the proxies. `work` is an existing folder for
    temporary files; output lines go to `on_line`.

    Raises RbuildError for an unknown package or suite, a bad signature, an archive that cannot be reached
    (after a bounded number of retries), or packages that exclude each other.
    """
    wrong = [name for name in packages if not _PACKAGE.match(name)]
    if wrong:
        raise RbuildError(
            [Problem(what=f"not the name of a Debian package: {name[:80]!r}") for name in wrong]
        )
    if not Path(keyring).is_file():
        raise RbuildError(
            f"the keys of the Debian archive are missing: {keyring}",
            hint="apt-get install debian-archive-keyring",
        )
    with tempfile.TemporaryDirectory(prefix="apt-", dir=work) as folder:
        apt = _prepare(Path(folder).resolve(), archives, architecture, environ, keyring)
        updated = apt.run(["apt-get", "update", "-q"], on_line)
        if updated.returncode != 0:
            raise RbuildError(_why_no_update(updated, archives))
        wanted = [
            "?essential",
            # From bookworm on /usr is merged. Asked for by name, this empty package spares every base the
            # other way there, usrmerge, which converts a root in place and needs all of perl.
            "?exact-name(usr-is-merged)",
            *packages,
        ]
        listed = apt.run(["apt-get", "install", "-qq", "--print-uris", *wanted])
        if listed.returncode != 0:
            raise RbuildError([_why_no_packages(listed, apt, archives)])
        return parse_uris(listed.stdout, [archive.url for archive in archives])


def _prepare(
    home: Path, archives: Sequence[Archive], architecture: str, environ: Mapping[str, str], keyring: str
) -> _Apt:
    network = {name: value for name, value in environ.items() if name.lower() in _HOST_VARIABLES}
    env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "HOME": str(home), **network}
    host = process.run(["apt-config", "dump", "Acquire"], env=env).stdout.splitlines()
    for folder in ("etc/apt.conf.d", "etc/preferences.d", "lists/partial", "cache/archives/partial", "log"):
        (home / folder).mkdir(parents=True)
    (home / "status").touch()
    (home / "etc/sources.list").write_text(sources_list(archives, keyring=keyring))
    config = home / "apt.conf"
    config.write_text(
        "\n".join(
            [
                f'Dir "{home}"; Dir::Etc "etc"; Dir::State "{home}"; Dir::State::status "{home}/status";',
                'Dir::Cache "cache"; Dir::Log "log";',
                f'APT::Architecture "{architecture}"; APT::Architectures {{ "{architecture}"; }};',
                'APT::Install-Recommends "false"; APT::Install-Suggests "false";',
                # apt counts itself as essential unless told otherwise; a base has it if it asks for it.
                'pkgCacheGen::ForceEssential ",";',
                # An archive that is only partly there would resolve to other packages: no warning, an error.
                'APT::Update::Error-Mode "any";',
                'Acquire::Languages "none"; Acquire::ForceHash "sha256";',
                f'Acquire::Retries "{_RETRIES}"; Acquire::http::Timeout "30"; Acquire::https::Timeout "30";',
                *(line for line in host if _HOST_SETTING.fullmatch(line)),
                "",
            ]
        )
    )
    return _Apt(home, {**env, "APT_CONFIG": str(config)})


def _errors(completed: process.Completed) -> list[str]:
    """What apt calls errors (E:), and its warnings (W:) after them."""
    lines = f"{completed.stdout}\n{completed.stderr}".splitlines()
    return [line[2:].strip() for mark in ("E:", "W:") for line in lines if line.startswith(mark)]


def _why_no_update(completed: process.Completed, archives: Sequence[Archive]) -> list[Problem]:
    said = _errors(completed)
    problems = []
    for line in said:
        if match := _NO_SUITE.match(line):
            url, suite = match["url"], match["suite"]
            problems.append(
                Problem(
                    what=f"there is no suite {suite} in this archive",
                    where=Where(url=f"{url}/dists/{suite}/"),
                    hint="a suite is a Debian code name, such as bookworm; an old one may have gone from the "
                    "mirror, and is still to be had with a snapshot date",
                )
            )
        elif match := _NOT_SIGNED.match(line):
            reason = next((other for other in said if other.startswith("GPG error")), line)
            problems.append(
                Problem(
                    what=f"the signature of suite {match['suite']} is not good: {reason}",
                    where=Where(url=match["url"]),
                    hint="apt-get install --only-upgrade debian-archive-keyring",
                )
            )
        elif match := _NO_FETCH.match(line):
            problems.append(
                Problem(
                    what=f"cannot be fetched: {match['why']}",
                    where=Where(url=match["url"]),
                    hint="see that the mirror can be reached from here; apt's proxy settings are heeded",
                )
            )
    if problems:
        return problems
    what = said[0] if said else f"apt-get update ended with exit code {completed.returncode}"
    return [Problem(what=what, where=Where(url=archives[0].url))]


def _why_no_packages(completed: process.Completed, apt: _Apt, archives: Sequence[Archive]) -> Problem:
    said = _errors(completed)
    suite = archives[0].suite
    for line in said:
        for pattern in _NO_PACKAGE:
            if match := pattern.match(line):
                name = match["name"]
                names = apt.run(["apt-cache", "pkgnames"]).stdout.split()
                near = did_you_mean(name, (other for other in names if other != name)) or "look it up:"
                return Problem(
                    what=f"{suite} has no such package: {name} ({line})",
                    hint=f"{near} https://packages.debian.org/search?suite={suite}&keywords={name}",
                )
    unmet = [line.strip() for line in completed.stdout.splitlines() if line.startswith(" ")]
    return Problem(
        what="; ".join(["these packages cannot be installed together", *unmet, *said]),
        where=Where(url=archives[0].url),
        hint="take one of those that exclude each other from the base's packages",
    )
