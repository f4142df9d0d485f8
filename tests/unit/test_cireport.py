"""Verifications as JUnit XML and as GitHub's workflow commands."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import PurePosixPath
from xml.etree import ElementTree

import pytest

from rbuild.cireport.verifications import github, junit
from rbuild.compare.model import (
    Blame,
    Cause,
    Change,
    Comparison,
    Difference,
    Part,
    Side,
    Verdict,
)
from rbuild.digest import Digest
from rbuild.errors import Problem, Where
from rbuild.verbs.trial import Effect, Trial
from rbuild.verbs.verify import Verification

A, B = Digest("a" * 64), Digest("b" * 64)
DATE = Cause(
    id="build-date", title="build date in a file", explanation="It is.", hint="use SOURCE_DATE_EPOCH"
)
BLAME = Blame(text="RUN date > /when", file="docker/train.Containerfile", line=7)


def entry(name: str, *, why: str = "line 1 holds two times", cause: Cause | None = DATE) -> Difference:
    return Difference(part=Part.ENTRY, name=name, change=Change.CHANGED, cause=cause, why=why)


def comparison(*entries: Difference) -> Comparison:
    layer = Difference(part=Part.LAYER, name="layer 3", change=Change.CHANGED, blame=BLAME, children=entries)
    return Comparison(
        a=Side(name="as locked", digest=A),
        b=Side(name="as built", digest=B),
        verdict=Verdict.DIFFERENT,
        layers=(),
        differences=(layer,),
    )


def different(*entries: Difference, trials: tuple[Trial, ...] = ()) -> Verification:
    return Verification(
        stage="train",
        verdict=Verdict.DIFFERENT,
        locked=A,
        built=B,
        differs=("config", "layer 3"),
        comparison=comparison(*entries),
        trials=trials,
        seconds=2.5,
    )


GOOD = Verification(stage="good", verdict=Verdict.IDENTICAL, locked=A, built=A, seconds=1.25)
CLOSE = Verification(
    stage="close", verdict=Verdict.SAME_CONTENT, locked=A, built=B, differs=("compression of layer 1",)
)
STALE = Verification(
    stage="stale",
    verdict=Verdict.UNKNOWN,
    problems=(
        Problem(what="the lock does not fit", where=Where(file="rbuild.lock"), hint="rbuild lock stale"),
        Problem(what="50% of it:\nnothing", where=Where(file="a,b:c", line=3)),
    ),
)


def parsed(*found: Verification, accepted: bool = False, host: str = "host") -> ElementTree.Element:
    when = datetime(2026, 3, 1, 1, 30, tzinfo=timezone(timedelta(hours=2)))
    text = junit(found, project="iris", host=host, when=when, accepted=accepted)
    root = ElementTree.fromstring(text)
    assert root.tag == "testsuites"
    (suite,) = root
    return suite


def test_junit_counts_stages() -> None:
    suite = parsed(GOOD, different(entry("/when")), STALE, CLOSE)
    counted = [suite.attrib[name] for name in ("tests", "failures", "errors", "skipped")]
    assert counted == ["4", "2", "1", "0"]
    assert suite.attrib["timestamp"] == "2026-02-28T23:30:00"
    assert suite.attrib["time"] == "3.750"
    assert [case.attrib["name"] for case in suite.iter("testcase")] == ["good", "train", "stale", "close"]
    assert [[child.tag for child in case] for case in suite.iter("testcase")] == [
        [],
        ["failure"],
        ["error"],
        ["failure"],
    ]


def test_junit_has_what_the_schemas_require() -> None:
    suite = parsed(GOOD)
    assert [child.tag for child in suite] == ["properties", "testcase", "system-out", "system-err"]
    required = {"name", "package", "id", "hostname", "timestamp", "time", "tests", "failures", "errors"}
    assert required <= suite.attrib.keys()
    assert suite.find("testcase").attrib.keys() == {"classname", "name", "time"}  # type: ignore[union-attr]


def test_junit_tells_causes_with_their_lines() -> None:
    failure = parsed(different(entry("/when"))).find("testcase/failure")
    assert failure is not None
    assert failure.attrib["type"] == "different"
    assert failure.attrib["message"] == f"locked {A}, built {B}, differs in: config, layer 3"
    assert failure.text is not None
    assert failure.text.splitlines()[1:] == [
        "docker/train.Containerfile:7: /when: build date in a file: line 1 holds two times",
        "  hint: use SOURCE_DATE_EPOCH",
    ]


def test_junit_of_many_differences_is_short() -> None:
    failure = parsed(different(*(entry(f"/{number}") for number in range(5000)))).find("testcase/failure")
    assert failure is not None and failure.text is not None
    assert failure.text.splitlines()[-1] == "… and 4980 more"
    assert len(failure.text) < 10_000


def test_junit_errors_hold_the_problems() -> None:
    error = parsed(STALE).find("testcase/error")
    assert error is not None
    assert error.attrib == {"type": "could not tell", "message": "rbuild.lock: the lock does not fit"}
    assert error.text is not None and "hint: rbuild lock stale" in error.text


def test_junit_accepts_the_same_content() -> None:
    assert parsed(CLOSE, accepted=True).attrib["failures"] == "0"
    assert parsed(CLOSE).find("testcase/failure").attrib["type"] == "same content"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "nasty", ["\0\x01\x1b[31m", "\ufffe\uffff", "]]> <b> & \" '", "\udc80\udcff", "\x85\u2028"]
)
def test_junit_survives_any_text(nasty: str) -> None:
    found = different(entry(f"/{nasty}", why=nasty * 3))
    stale = Verification(stage="bad", verdict=Verdict.UNKNOWN, problems=(Problem(what=nasty),))
    suite = parsed(found, stale, host=nasty)
    text = "".join(suite.itertext())
    assert "build date in a file" in text
    written = junit([found, stale], project="p", host=nasty, when=datetime.now().astimezone(), accepted=False)
    assert written.encode("utf-8")  # no lone surrogates
    assert not set(written) & {chr(number) for number in (*range(9), 11, 12, *range(14, 32), 0xFFFE, 0xFFFF)}


def trial(condition: str, effect: Effect, **more: object) -> Trial:
    return Trial(condition=condition, effect=effect, what="1, not 2", **more)  # type: ignore[arg-type]


TRIALS = (
    trial("moment", Effect.NONE),
    trial("cpus", Effect.CHANGES, comparison=comparison(entry("/n"))),
    trial("driver", Effect.FAILED, problems=(Problem(what="no overlay here"),)),
    trial("jobs", Effect.NOT_VARIED),
    trial("path", Effect.AS_EVER),
)


def test_junit_has_a_case_for_each_condition() -> None:
    suite = parsed(different(entry("/when"), trials=TRIALS))
    cases = {case.attrib["name"]: [child.tag for child in case] for case in suite.iter("testcase")}
    assert cases == {
        "train": ["failure"],
        "moment": [],
        "cpus": ["failure"],
        "driver": ["error"],
        "jobs": ["skipped"],
        "path": [],
    }
    assert [suite.attrib[name] for name in ("tests", "failures", "errors", "skipped")] == ["6", "2", "1", "1"]
    assert suite.findall("testcase")[1].attrib["classname"] == "rbuild.verify.iris.train"


# GitHub


def lines(*found: Verification, folder: str = ".", accepted: bool = False) -> list[str]:
    text = github(found, folder=PurePosixPath(folder), accepted=accepted)
    assert text == "" or text.endswith("\n")
    return text.splitlines()


def test_github_annotates_each_line_once() -> None:
    assert lines(GOOD, different(entry("/when"), entry("/then", why="100%")), folder="sub/project") == [
        "::error file=sub/project/docker/train.Containerfile,line=7,title=train%3A different::"
        "/when: build date in a file: line 1 holds two times%0A/then: build date in a file: 100%25%0A"
        "hint: use SOURCE_DATE_EPOCH"
    ]


def test_github_escapes_what_would_be_a_command() -> None:
    (line,) = lines(
        different(entry("/x\n::stop-commands::y\r::set-env name=a::b", why="::error::z\n::debug::"))
    )
    assert line.startswith("::error file=docker/train.Containerfile,line=7,title=")
    assert "\r" not in line and "\x85" not in line
    assert line.count("::error") == 2  # its own, and the harmless text


def test_github_of_problems() -> None:
    assert lines(STALE) == [
        "::error file=rbuild.lock,title=stale%3A could not tell::"
        "the lock does not fit%0Ahint: rbuild lock stale",
        "::error file=a%2Cb%3Ac,line=3,title=stale%3A could not tell::50%25 of it:%0Anothing",
    ]


def test_github_of_the_same_content() -> None:
    (line,) = lines(CLOSE)
    assert line.startswith("::error title=close%3A same content::locked sha256:aaa")
    assert lines(CLOSE, accepted=True)[0].startswith("::notice ")


def test_github_of_conditions() -> None:
    _, cpus, driver = lines(different(entry("/when"), trials=TRIALS))
    assert "title=train%3A another cpus changes the digest::/n: build date" in cpus
    assert cpus.startswith("::error file=docker/train.Containerfile,line=7,")
    assert driver == "::error title=train%3A driver%3A could not tell::no overlay here"


def test_github_without_a_comparison() -> None:
    found = Verification(
        stage="train",
        verdict=Verdict.DIFFERENT,
        locked=A,
        built=B,
        differs=("layer 1",),
        note="the locked image is not in the store",
    )
    (line,) = lines(found)
    assert line.endswith(
        f"::locked {A}, built {B}, differs in: layer 1%0Athe locked image is not in the store"
    )
