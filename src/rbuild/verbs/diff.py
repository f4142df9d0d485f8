"""`rbuild diff`: two images held against each other, wherever they are."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass

from rbuild.compare.evidence import Facts
from rbuild.compare.images import compare
from rbuild.compare.model import Comparison
from rbuild.events import Emit
from rbuild.podman import Podman, native_platform
from rbuild.sealed.enter import HOST_NAME
from rbuild.store import Store
from rbuild.verbs.deep import DeepFindings, Diffoscope
from rbuild.verbs.opening import Desk, open_image
from rbuild.verbs.operands import Operand
from rbuild.verbs.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class Diff:
    """Two images held against each other; `deep` is what diffoscope said, None where nobody asked it."""

    comparison: Comparison
    deep: DeepFindings | None = None


def diff(
    workspace: Workspace | None,
    a: Operand,
    b: Operand,
    *,
    store: Store,
    podman: Podman,
    deep: bool,
    offline: bool,
    epoch: int,
    emit: Emit,
) -> Diff:
    """Compare two images, of stages of `workspace` or from elsewhere.

    `epoch` is for a stage that is built and was never locked. `deep` asks diffoscope about the files that
    differ. Nothing is left of what is fetched, unpacked and built. Raises RbuildError where an operand cannot
    be had, or is not one image.
    """
    with store.scratch("diff-") as scratch, contextlib.ExitStack() as opened:
        desk = Desk(
            workspace=workspace,
            store=store,
            podman=podman,
            platform=workspace.project.platform if workspace else native_platform(),
            scratch=scratch,
            offline=offline,
            epoch=epoch,
            emit=emit,
            opened=opened,
        )
        one, other = open_image(a, desk), open_image(b, desk)
        facts = Facts(
            responses_a=one.responses,
            responses_b=other.responses,
            hosts=frozenset((HOST_NAME, os.uname().nodename)),
        )
        if not deep:
            return Diff(comparison=compare(one.image, other.image, facts=facts))
        asked = Diffoscope(scratch, podman.env, emit)
        pairs = asked if asked.installed else None
        comparison = compare(one.image, other.image, facts=facts, pairs=pairs)
        return Diff(comparison=comparison, deep=asked.findings())
