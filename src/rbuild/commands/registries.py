"""Commands about registries, and the keys for what lies there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from rbuild import textout
from rbuild.commands.app import app, chosen_stages, effective_time, guarded, workspace_here
from rbuild.commands.keys import key_password, opened_key
from rbuild.commands.options import (
    AsJson,
    Insecure,
    KeptSources,
    NoLoad,
    Quiet,
    SignKey,
    Stages,
    complete_kind,
)
from rbuild.console import print_error


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
    sign_key: SignKey = None,
    attach: Annotated[
        list[str] | None,
        typer.Option(
            "--attach",
            metavar="KIND",
            help="What goes beside the image: provenance, cyclonedx, spdx, none; without it, the project's.",
            autocompletion=complete_kind,
        ),
    ] = None,
    insecure: Annotated[
        list[str] | None,
        typer.Option(
            "--insecure", metavar="REGISTRY", help="Do without a certificate that is trusted there."
        ),
    ] = None,
    sources: Annotated[
        KeptSources | None,
        typer.Option(
            "--sources",
            help="What is published to rebuild the image from: nothing, the project's files with what cannot "
            "be had again (pages), or all that its build read. Without it, what the project says.",
        ),
    ] = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Push the images that are locked, byte for byte, to registries.

    What a registry has is not sent again. Tags come last, and are read back and compared with the lock.
    A template may have {stage}, {version} (the project's), {git} (the commit) and {input}.

    With --sign-key, each image is signed as cosign does it, and so are its provenance and bill of materials.
    The key's password is in COSIGN_PASSWORD, or is asked for.

    With its sources beside it, `rbuild rebuild` makes an image again from the registry alone.
    """
    from rbuild.commands.pushing import push_and_tell
    from rbuild.sources import Kept
    from rbuild.verbs.beside import chosen_kinds
    from rbuild.verbs.push import Request

    kinds = chosen_kinds(attach) if attach else None
    workspace = workspace_here()
    request = Request(
        to=tuple(to or ()),
        tags=tuple(tags) if tags else None,
        force=force,
        insecure=tuple(insecure or ()),
        now=effective_time(),
        attach=kinds,
        sign_key=opened_key(sign_key),
        sources=Kept(sources.value) if sources else None,
    )
    if code := push_and_tell(workspace, stages, request, quiet=quiet, as_json=as_json):
        raise typer.Exit(code)


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
    is fetched. What the trust policy refuses (trust: in rbuild.yaml) is not.
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

    pair = verb(prefix, lambda: key_password(new=True))
    if as_json:
        print_json(pair)
    else:
        textout.say_keys(pair)
