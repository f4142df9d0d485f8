"""The policies of a project, from their files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from rbuild.errors import Problem, RbuildError, Where
from rbuild.policy.policyfile import Choice, Policy, read_policy
from rbuild.verbs.workspace import POLICIES, Workspace, policy_files

if TYPE_CHECKING:
    from rbuild.policy.expression import OwnCheck

_MOST_FILES = 100
_MOST_BYTES = 1 << 20


def load_policies(workspace: Workspace) -> tuple[Policy, ...]:
    """The policies in `policies/*.yaml`, in the order of their names.

    Raises RbuildError with the problems of all of them: file, line and key path.
    """
    policies: list[Policy] = []
    problems: list[Problem] = []
    names: dict[str, str] = {}
    files = policy_files(workspace)
    if len(files) > _MOST_FILES:
        raise RbuildError(
            f"holds {len(files)} policies; {_MOST_FILES} are the most", where=Where(file=POLICIES)
        )
    for path in files:
        file = f"{POLICIES}/{path.name}"
        try:
            policy = read_policy(_read(path, file), file, workspace.project.stages)
        except RbuildError as error:
            problems += error.problems
            continue
        first = names.setdefault(policy.name, file)
        if first != file:
            problems.append(
                Problem(
                    what=f"{first} has the name {policy.name} as well",
                    where=Where(file=file, key="name"),
                    hint="give each policy a name of its own",
                )
            )
        policies.append(policy)
    try:
        own_checks(policies)
    except RbuildError as error:
        problems += error.problems
    if problems:
        raise RbuildError(problems)
    return tuple(policies)


def own_checks(policies: Iterable[Policy]) -> Mapping[str, OwnCheck]:
    """The policies' own rules, ready to be checked; nothing is imported where there are none.

    Raises RbuildError with every mistake in an expression.
    """
    having = [policy for policy in policies if policy.own]
    if not having:
        return {}
    from rbuild.policy.expression import compile_own

    return compile_own(having)


def default_policy() -> Policy:
    """What holds where a project has no policies and asks all the same: every rule, with its own level."""
    return Policy(
        name="default",
        file="",
        description="Every built-in rule, with its own level.",
        stages=("*",),
        choices=tuple(
            Choice(pattern=pattern, where=Where(), level=level)
            for pattern, level in (("RB*", None), ("DL*", None), ("SC*", None))
        ),
        own=(),
        waivers=(),
    )


def _read(path: Path, file: str) -> bytes:
    try:
        with path.open("rb") as opened:
            return opened.read(_MOST_BYTES + 1)
    except OSError as error:
        raise RbuildError(f"cannot be read: {error.strerror}", where=Where(file=file)) from error
