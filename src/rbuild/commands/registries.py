"""Commands about registries, and the keys for what lies there."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from rbuild import textout
from rbuild.commands.app import app, chosen_stages, effective_time, guarded, workspace_here
from rbuild.commands.options import AsJson, Insecure, NoLoad, Quiet, Stages
from rbuild.console import print_error, screen
from rbuild.errors import RbuildError


@app.command("push")
def push(
    stages: Stages = None,
    to: Annotated[
        list[str] | None,
        typer.Option(
            "--to",
            metavar="REGISTRY",
            help="Where to, such as quay.io/team; without it, the project's registry.",
        ),
    ] = None,
    tags: Annotated[
        list[str] | None,
        typer.Option("--tag", metavar="T", help="A tag, or a template of one; without it, the project's."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Move tags that stand for another image, and are not to move.")
    ] = False,
    insecure: Annotated[
        list[str] | None,
        typer.Option(
            "--insecure", metavar="REGISTRY", help="Do without a certificate that is trusted there."
        ),
    ] = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Push the images that are locked, byte for byte, to registries.

    What a registry has is not sent again. Tags come last, and are read back and compared with the lock.
    A template may have {stage}, {version} (the project's), {git} (the commit) and {input}.
    """
    from rbuild.verbs.push import Request
    from rbuild.verbs.push import push as verb

    workspace = workspace_here()
    request = Request(
        to=tuple(to or ()),
        tags=tuple(tags) if tags else None,
        force=force,
        insecure=tuple(insecure or ()),
        now=effective_time(),
    )
    with screen(quiet=quiet, as_json=as_json) as shown:
        found = verb(workspace, chosen_stages(workspace, stages), request, shown.show)
    if as_json:
        from rbuild.jsonout import print_json

        print_json(found.deliveries)
    else:
        textout.say_deliveries(found.deliveries)
    errors = [*found.refused.values(), *(one.error for one in found.deliveries if one.error)]
    for error in errors:
        print_error(error, as_json=as_json)
    if errors:
        raise typer.Exit(max(error.exit_code for error in errors))


@app.command("pull")
def pull(
    stages: Stages = None,
    sources: Annotated[
        list[str] | None,
        typer.Option(
            "--from",
            metavar="REGISTRY",
            help="Where from, such as quay.io/team; without it, the project's registry and substitutes.",
        ),
    ] = None,
    insecure: Insecure = None,
    no_load: NoLoad = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Fetch locked images instead of building them.

    They come by digest into the store and Podman's storage. Every blob is checked, and only what is not here
    is fetched.
    """
    from rbuild.verbs.pull import pull as verb

    workspace = workspace_here()
    with guarded(workspace, "pull", quiet=quiet, as_json=as_json) as shown:
        found = verb(
            workspace,
            chosen_stages(workspace, stages),
            shown.show,
            sources=sources or (),
            insecure=insecure or (),
            load=not no_load,
            now=effective_time(),
        )
    if as_json:
        from rbuild.jsonout import print_json

        print_json(found)
    else:
        textout.say_pulled(found)
    errors = [one.error for one in found if one.error]
    for error in errors:
        print_error(error, as_json=as_json)
    if errors:
        raise typer.Exit(max(error.exit_code for error in errors))


@app.command("login")
def login(
    registry: Annotated[str, typer.Argument(metavar="REGISTRY", help="A registry: quay.io, localhost:5000.")],
) -> None:
    """Log in to a registry: hands over to `podman login`."""
    from rbuild.verbs.login import login as verb

    verb(registry, dict(os.environ))


@app.command("keygen")
def keygen(
    prefix: Annotated[
        Path,
        typer.Option("--output-key-prefix", metavar="PREFIX", help="Write PREFIX.key and PREFIX.pub."),
    ] = Path("cosign"),
    as_json: AsJson = False,
) -> None:
    """Make a pair of keys that sign images.

    The private one is encrypted with the password in COSIGN_PASSWORD; without it, you are asked for one.
    cosign reads these keys, and rbuild reads cosign's. A key that is there is never overwritten.
    """
    from rbuild.jsonout import print_json
    from rbuild.verbs.keygen import keygen as verb

    pair = verb(prefix, lambda: _key_password(new=True))
    if as_json:
        print_json(pair)
    else:
        textout.say_keys(pair)


def _key_password(*, new: bool = False) -> bytes:
    """The password of a private key: COSIGN_PASSWORD, which may be empty, else what the user types."""
    given = os.environ.get("COSIGN_PASSWORD")
    if given is not None:
        return os.fsencode(given)
    if not sys.stdin.isatty():
        raise RbuildError(
            "the private key has a password, and there is no terminal to ask for it",
            hint="set COSIGN_PASSWORD",
        )
    prompt = "Password of the private key"
    typed: str = typer.prompt(prompt, hide_input=True, confirmation_prompt=new, err=True)
    return typed.encode()
