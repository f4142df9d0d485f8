"""Which step a build is at, by what Podman prints, whatever a RUN prints in between."""

from __future__ import annotations

import pytest

from rbuild.containerfile.expand import image_uses, needed_targets
from rbuild.containerfile.parse import parse
from rbuild.containerfile.render import render
from rbuild.containerfile.steps import step_lines
from rbuild.events import Event, Output, StepStarted
from rbuild.verbs.following import Expected, Follower

ONE = """\
FROM base:1
RUN wget \\
  # where from
  http://a.example/
ADD http://a.example/ /a
COPY a b /
"""
BASE = "STEP 1/4: FROM localhost/pin:1"
RUN = "STEP 2/4: RUN wget   http://a.example/"
ADD = "STEP 3/4: ADD http://gate/http://a.example/ /a"
COPY = "STEP 4/4: COPY a b /"


def follower(text: str, *, full: bool = False) -> tuple[Follower, list[Event]]:
    file = parse(text.encode(), "Containerfile")
    given = render(
        file, dict.fromkeys(image_uses(file, build_args={}), "localhost/pin:1"), gateway="http://gate/"
    )
    events: list[Event] = []
    expected = Expected(
        written=step_lines(file),
        given=step_lines(parse(given, "f")),
        needed=needed_targets(file, None, build_args={}),
    )
    return Follower(
        expected,
        stage="one",
        file="Containerfile",
        emit=events.append,
        log=lambda _text: None,
        hide=lambda text: text.replace("hunter2", "***"),
        is_full=lambda: full,
    ), events


def followed(text: str, *lines: str) -> Follower:
    found, _ = follower(text)
    for line in lines:
        found.line(line)
    return found


def test_podmans_own_lines() -> None:
    found, events = follower(ONE)
    for line in (BASE, RUN, "out", "--> aaaaaaaaaaa", ADD, "--> Using cache " + "b" * 64, "--> bbbbbbbbbbb"):
        found.line(line)
    found.line(COPY)
    found.line("COMMIT")
    found.line("--> ccccccccccc")
    found.line("c" * 64)
    assert found.number == 4 and not found.is_doubtful
    assert [found.where(step).line for step in (1, 2, 3, 4)] == [1, 2, 5, 6]
    assert found.layers == {2: {"a" * 11: False}, 3: {"b" * 11: True}, 4: {"c" * 11: False}}
    assert [(one.number, one.total, one.text) for one in events if isinstance(one, StepStarted)][2] == (
        3,
        4,
        "ADD http://a.example/ /a",
    )
    assert [one.text for one in events if isinstance(one, Output)] == ["out"]


@pytest.mark.parametrize(
    "printed",
    [
        "STEP 5/9: RUN make",
        "STEP 3/4: checking",  # the next number, and another text
        "STEP 3/4: ADD http://a.example/ /a",  # as the user wrote it, not as Podman has it
        "STEP 2/4: RUN something else",
        "STEP 1/4: FROM scratch",
        "[1/2] " + ADD,
        " " + ADD,
        "COMMIT to it",
    ],
)
def test_output_that_is_like_podmans(printed: str) -> None:
    found = followed(ONE, BASE, RUN, printed)
    assert found.number == 2 and not found.is_doubtful
    found = followed(ONE, BASE, RUN, printed, "--> aaaaaaaaaaa", ADD, "--> bbbbbbbbbbb")
    assert found.number == 3 and not found.is_doubtful
    assert found.layers == {2: {"a" * 11: False}, 3: {"b" * 11: False}}


@pytest.mark.parametrize(
    "printed",
    [(ADD,), (ADD, COPY), (COPY,), (RUN,), (BASE,)],
    ids=["the next", "all that come", "one after the next", "its own", "an earlier one"],
)
def test_output_that_is_podmans_word_for_word_is_noticed(printed: tuple[str, ...]) -> None:
    lines = (
        BASE,
        RUN,
        *printed,
        "--> aaaaaaaaaaa",
        ADD,
        "--> bbbbbbbbbbb",
        COPY,
        "COMMIT",
        "--> ccccccccccc",
    )
    assert followed(ONE, *lines).is_doubtful


def test_layers_that_a_run_announces() -> None:
    """A RUN cannot know the ID of its own layer: what it announces stands beside that, and is harmless."""
    found = followed(
        ONE, BASE, RUN, "--> fffffffffff", "out", "--> Using cache " + "e" * 64, "x--> aaaaaaaaaaa"
    )
    assert found.layers == {2: {"f" * 11: False, "e" * 11: False, "a" * 11: False}}
    assert found.last == ["out", "x--> aaaaaaaaaaa"]


TWO = """\
FROM base:1 AS one
RUN true
FROM base:1 AS unneeded
RUN false
FROM base:1
RUN --mount=from=one true
"""
LAST = ("[3/3] STEP 1/2: FROM localhost/pin:1", "[3/3] STEP 2/2: RUN --mount=from=one true")
FIRST = ("[1/3] STEP 1/2: FROM localhost/pin:1 AS one", "[1/3] STEP 2/2: RUN true")


def test_targets_that_podman_changes_between() -> None:
    found = followed(TWO, LAST[0], FIRST[0], FIRST[1], "--> aaaaaaaaaaa", LAST[1], "--> bbbbbbbbbbb")
    assert found.number == 4 and not found.is_doubtful
    assert [found.where(step).line for step in (1, 2, 3, 4)] == [5, 1, 2, 6]
    # It waits in the middle of a step, and does not say when it goes on with it.
    found = followed(TWO, *LAST, *FIRST, "--> aaaaaaaaaaa", "--> Using cache " + "b" * 64, "--> bbbbbbbbbbb")
    assert found.layers == {4: {"a" * 11: False, "b" * 11: True}} and not found.is_doubtful


def test_a_target_that_is_not_built_is_never_begun() -> None:
    """Newer versions of Podman print nothing of it, so that a second line of theirs would never come."""
    skipped = "[2/3] STEP 1/1: FROM scratch AS unneeded"
    assert followed(TWO, *FIRST, skipped, "--> aaaaaaaaaaa", *LAST).number == 4


def test_triggers_of_a_base_are_steps() -> None:
    text = "FROM base:1\nRUN make\n"
    lines = ("STEP 1/4: FROM localhost/pin:1", "STEP 2/4: COPY . /", "--> aaaaaaaaaaa", "STEP 3/4: RUN setup")
    found = followed(text, *lines, "--> bbbbbbbbbbb", "STEP 4/4: RUN make")
    assert found.number == 4 and not found.is_doubtful
    assert [found.where(step).line for step in (1, 2, 3, 4)] == [1, 1, 1, 2]


def test_the_platform_of_a_base_is_printed_or_not() -> None:
    text = "FROM --platform=linux/amd64 base:1 AS one\nRUN true\n"
    for printed in ("", "--platform=linux/amd64 "):
        found = followed(text, f"STEP 1/2: FROM {printed}localhost/pin:1 AS one", "STEP 2/2: RUN true")
        assert found.number == 2


def test_an_instruction_that_is_longer_than_a_line_is_read() -> None:
    command = "echo " + "x" * 65_000
    found = followed(
        f"FROM base:1\nRUN {command}\n", "STEP 1/2: FROM localhost/pin:1", "STEP 2/2: RUN " + command[:5000]
    )
    assert found.number == 2


def test_a_full_disk_is_looked_at_when_it_is_said() -> None:
    said = "cp: write error: No space left on device"
    for full in (False, True):
        found, _ = follower(ONE, full=full)
        for line in (BASE, RUN, said):
            found.line(line)
        assert found.found_full is full
        found.line(ADD)
        assert not found.found_full
    found, _ = follower(ONE, full=True)
    found.line("nothing to say of it")
    assert not found.found_full


def test_secrets_are_blotted_out_of_all_but_what_is_compared() -> None:
    text = ONE.replace("http://a.example/ /a", "hunter2 /a")
    found, events = follower(text)
    for line in (BASE, RUN, "hunter2", "STEP 3/4: ADD hunter2 /a"):
        found.line(line)
    assert found.number == 3
    shown = [one.text for one in events if isinstance(one, Output | StepStarted)]
    assert shown[-2:] == ["***", "ADD *** /a"]
