"""The rules of hadolint and of ShellCheck, which hadolint brings along: their ids, weights and titles.

hadolint's are those of 2.15.1. ShellCheck's are an open set: SC and four digits.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from rbuild.policy.model import Level

SHELLCHECK: Final = re.compile(r"SC[0-9]{4}\Z")
UNREADABLE: Final = "DL1000"
"""What hadolint says of an instruction that it cannot read."""

LEVELS: Final = MappingProxyType(
    {
        "error": Level.ERROR,
        "warning": Level.WARNING,
        "info": Level.NOTE,
        "style": Level.NOTE,
        "ignore": Level.OFF,
    }
)
"""Their levels, as ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignRule:
    """A rule of hadolint. `title` says what it is about; its page has the reasons."""

    id: str
    level: Level
    title: str

    @property
    def name(self) -> str:
        return name_of(self.id)

    @property
    def fix(self) -> str:
        return fix_of(self.id)


def name_of(rule: str) -> str:
    """Whose rule it is."""
    return "shellcheck" if rule.startswith("SC") else "hadolint"


def fix_of(rule: str) -> str:
    """Where it says what to do."""
    return f"see {page_of(rule)}"


def page_of(rule: str) -> str:
    """Its page."""
    where = "koalaman/shellcheck" if rule.startswith("SC") else "hadolint/hadolint"
    return f"https://github.com/{where}/wiki/{rule}"


_TABLE = """
DL1000 error    hadolint cannot read an instruction, and so checks nothing of it.
DL1001 ignore   A comment tells hadolint to ignore a rule (rbuild hands no comments on: see waivers).
DL3000 error    WORKDIR is not an absolute path.
DL3001 info     A command that makes no sense in a container: ssh, vim, shutdown, mount and the like.
DL3002 warning  The last USER is root.
DL3003 warning  cd instead of WORKDIR.
DL3004 error    sudo.
DL3006 warning  A base without a tag.
DL3007 warning  A base with the tag latest.
DL3008 warning  apt-get install without versions.
DL3009 info     apt's lists are not deleted after an installation.
DL3010 info     COPY of an archive that ADD would unpack.
DL3011 error    A port that is none.
DL3012 error    More than one HEALTHCHECK.
DL3013 warning  pip install without versions.
DL3014 warning  apt-get install without -y.
DL3015 info     apt-get install without --no-install-recommends.
DL3016 warning  npm install without versions.
DL3018 warning  apk add without versions.
DL3019 info     apk add without --no-cache.
DL3020 error    ADD where COPY would do.
DL3021 error    COPY of several sources to what does not end in a slash.
DL3022 warning  COPY --from of what no earlier FROM has named.
DL3023 error    COPY --from of the build target that it is in.
DL3024 error    Two build targets of one name.
DL3025 warning  CMD or ENTRYPOINT in the shell form.
DL3026 error    A base from a registry that is not trusted (set in RB3 rules; hadolint is given no list).
DL3027 warning  apt instead of apt-get.
DL3028 warning  gem install without versions.
DL3029 warning  FROM with --platform.
DL3030 warning  yum install without -y.
DL3032 warning  yum without yum clean all.
DL3033 warning  yum install without versions.
DL3034 warning  zypper without -y.
DL3035 warning  zypper dist-upgrade.
DL3036 warning  zypper without zypper clean.
DL3037 warning  zypper install without versions.
DL3038 warning  dnf install without -y.
DL3040 warning  dnf without dnf clean all.
DL3041 warning  dnf install without versions.
DL3042 warning  pip install with its cache.
DL3043 error    ONBUILD of ONBUILD, FROM or MAINTAINER.
DL3044 error    A variable used in the ENV that sets it.
DL3045 warning  COPY to a relative path without a WORKDIR.
DL3046 warning  useradd with a high uid and without -l.
DL3047 info     wget without --progress.
DL3048 style    A label's name that is against the convention.
DL3049 info     A label is missing (hadolint is given no list of labels).
DL3050 info     A label too many (hadolint is given no list of labels).
DL3051 warning  An empty label (hadolint is given no list of labels).
DL3052 warning  A label that is no URL (hadolint is given no list of labels).
DL3053 warning  A label that is no time (hadolint is given no list of labels).
DL3054 warning  A label that is no SPDX licence (hadolint is given no list of labels).
DL3055 warning  A label that is no git hash (hadolint is given no list of labels).
DL3056 warning  A label that is no semantic version (hadolint is given no list of labels).
DL3057 ignore   No HEALTHCHECK.
DL3058 warning  A label that is no address of e-mail (hadolint is given no list of labels).
DL3059 info     RUN after RUN.
DL3060 info     yarn install without yarn cache clean.
DL3061 error    Something before FROM that is no ARG.
DL3062 warning  go install without versions.
DL3063 warning  A build target with the name of something else, such as scratch.
DL3064 warning  A variable whose name says that it holds a secret.
DL3065 warning  FROM --platform with what holds anyway.
DL3066 info     USER by name.
DL3067 warning  COPY of a whole file system from another build target.
DL4000 error    MAINTAINER.
DL4001 warning  wget and curl, both.
DL4003 warning  More than one CMD.
DL4004 error    More than one ENTRYPOINT.
DL4005 warning  A shell replaced by a link instead of SHELL.
DL4006 warning  A pipe in a RUN without pipefail.
"""


def _read(table: str) -> Mapping[str, ForeignRule]:
    rows = (line.split(maxsplit=2) for line in table.strip().splitlines())
    return MappingProxyType(
        {rule: ForeignRule(id=rule, level=LEVELS[level], title=title) for rule, level, title in rows}
    )


HADOLINT: Final = _read(_TABLE)
"""hadolint's rules, by id."""


def is_shellcheck(pattern: str) -> bool:
    """Whether an id, or a pattern of ids, can be one of ShellCheck's, which nobody lists."""
    return re.match(r"SC(?:[0-9]{4}|[0-9]{0,3}\*)\Z", pattern) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Remark:
    """What hadolint says of one line. `level` is its own default; unknown words count as a warning."""

    code: str
    level: Level
    line: int
    message: str
