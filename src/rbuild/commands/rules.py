"""Commands about rules and the policies that turn them on: `rbuild rule`, `rbuild policy init`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from rbuild.commands.app import app, workspace_here
from rbuild.commands.options import AsJson
from rbuild.errors import RbuildError

if TYPE_CHECKING:
    from rbuild.policy.described import Described

policy = typer.Typer(help="The policies of a project.", rich_markup_mode=None)
app.add_typer(policy, name="policy")


def _complete_rule(incomplete: str) -> list[tuple[str, str]]:
    from rbuild.policy.described import all_described

    return [(one.id, one.title) for one in all_described() if one.id.startswith(incomplete)]


@app.command("rule")
def rule(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[RULE]", help="A rule's id or name.", autocompletion=_complete_rule),
    ] = None,
    listed: Annotated[bool, typer.Option("--list", help="All rules, a line each.")] = False,
    as_json: AsJson = False,
) -> None:
    """Say what a rule forbids, and what to do.

    And when it is checked, why, and what a policy can set. Policies name rules by their ids.
    """
    from rbuild.jsonout import print_json
    from rbuild.policy.described import all_described
    from rbuild.rulesout import say_rule, say_rules

    if listed == (name is not None):
        raise typer.BadParameter("name a rule, or ask for --list")
    if name is None:
        rules = tuple(all_described())
        print_json(rules) if as_json else say_rules(rules)
        return
    found = _found(name)
    print_json(found) if as_json else say_rule(found)


def _found(name: str) -> Described:
    from rbuild.policy.described import all_described, described
    from rbuild.suggest import did_you_mean

    if known := described(name.upper()):
        return known
    names = {one.name: one for one in all_described()}
    if name in names:
        return names[name]
    choices = [*(one.id for one in names.values()), *names]
    raise RbuildError(
        f"there is no rule {name[:80]!r}", hint=did_you_mean(name, choices) or "rbuild rule --list shows all"
    )


@policy.command("init")
def policy_init(as_json: AsJson = False) -> None:
    """Write rbuild's own policies into policies/.

    A file that is there already stays as it is.
    """
    from rbuild.jsonout import print_json
    from rbuild.rulesout import say_policy_files
    from rbuild.verbs.policyinit import init_policies

    written = init_policies(workspace_here())
    print_json(written) if as_json else say_policy_files(written)
