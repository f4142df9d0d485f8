"""The variables that an instruction sees: build args, predefined args, ENV."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from rbuild.containerfile.model import Instruction
from rbuild.containerfile.variables import expand
from rbuild.containerfile.words import name_values, split_words
from rbuild.errors import RbuildError, Where

Values = Mapping[str, str | RbuildError]

PROXY_ARGS = frozenset(
    name
    for upper in ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY")
    for name in (upper, upper.lower())
)
PLATFORM_ARGS = frozenset(
    f"{prefix}{part}" for prefix in ("TARGET", "BUILD") for part in ("PLATFORM", "OS", "ARCH", "VARIANT")
)


def platform_args(platform: str) -> dict[str, str]:
    """The predefined args for `os/architecture[/variant]`; the build runs on the platform it builds for."""
    os, _, rest = platform.partition("/")
    architecture, _, variant = rest.partition("/")
    values = {"PLATFORM": platform, "OS": os, "ARCH": architecture, "VARIANT": variant}
    return {f"{prefix}{part}": value for prefix in ("TARGET", "BUILD") for part, value in values.items()}


def arg_names(instruction: Instruction, escape: str) -> Iterable[str]:
    """The names that an ARG declares."""
    return (word.partition("=")[0] for word in split_words(instruction.arguments, escape))


class Scope:
    """The variables at one place of a Containerfile; grows instruction by instruction.

    A build arg counts only once an ARG declares it. What the base image's own ENV sets is not known here. A
    value that cannot be expanded is an error only for who asks for it: most variables never reach the name
    of an image.
    """

    def __init__(
        self,
        file: str,
        escape: str,
        build_args: Mapping[str, str],
        predefined: Mapping[str, str],
        *,
        global_args: Values | None = None,
        env: Values | None = None,
    ) -> None:
        self._file = file
        self._escape = escape
        self._build_args = build_args
        self._predefined = predefined
        self._global_args = global_args or {}
        self.args: dict[str, str | RbuildError] = {}
        self.env: dict[str, str | RbuildError] = dict(env or {})

    def arg(self, name: str) -> str | None:
        """The value that an ARG gave to `name`."""
        return _value(self.args, name)

    def arg_or_predefined(self, name: str) -> str | None:
        """The same, or the value of a predefined platform arg: what a FROM sees."""
        return self.arg(name) if name in self.args else self._predefined.get(name)

    def variable(self, name: str) -> str | None:
        """The value that an ENV or, failing that, an ARG gave to `name`."""
        return _value(self.env, name) if name in self.env else self.arg(name)

    def read(self, instruction: Instruction) -> None:
        """Take in an ARG or ENV; anything else changes nothing."""
        where = Where(file=self._file, line=instruction.line)
        if instruction.keyword == "ENV":
            pairs = name_values(instruction.arguments, self._escape)
            # All pairs of one ENV see the values before it.
            self.env.update([self._expanded(name, value, where) for name, value in pairs])
        elif instruction.keyword == "ARG":
            for word in split_words(instruction.arguments, self._escape):
                self._declare(word, where)

    def _declare(self, word: str, where: Where) -> None:
        # Quotes may stand around all of `name=value`, so the name is known for certain only after expansion.
        try:
            name, equals, default = expand(word, self.variable, where=where).partition("=")
        except RbuildError as error:
            self.args[word.partition("=")[0].strip("'\"")] = error
            return
        for known in (self._build_args, self._predefined):
            if name in known:
                self.args[name] = known[name]
                return
        if equals:
            self.args[name] = default
        elif name in self._global_args:
            self.args[name] = self._global_args[name]

    def _expanded(self, name: str, value: str, where: Where) -> tuple[str, str | RbuildError]:
        try:
            return expand(name, self.variable, where=where), expand(value, self.variable, where=where)
        except RbuildError as error:
            return name, error


def _value(values: Values, name: str) -> str | None:
    value = values.get(name)
    if isinstance(value, RbuildError):
        raise value
    return value
