"""The page of `--report` in a real browser: what it shows, who can use it, and that it asks for nothing."""

from __future__ import annotations

import os
import struct
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import getproxies_environment

import pytest
import samplereports as sample
from browser import Browser, browser

from rbuild.digest import Digest
from rbuild.htmlreport import page
from rbuild.sealed.upstream import Patience, Upstream, fetch
from rbuild.store import Store

AXE = "axe-core/-/axe-core-4.14.1.tgz"
AXE_SHA256 = Digest("e6b0ce02b84d892e2e33e403485e7f3d6c29e2be6df65daf44d89ba564139745")
AXE_SIZE = 708_405

LAST_DETAIL = "Array.from(document.querySelectorAll('.side')).at(-1)"


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("browser")) as window:
        yield window


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """axe-core, which is one script, out of its npm package; fetched as rbuild fetches what is locked."""
    registry = os.environ.get("NPM_CONFIG_REGISTRY", "https://registry.npmjs.org").rstrip("/")
    store = Store(tmp_path_factory.mktemp("axe"))
    upstream = Upstream(getproxies_environment(), patience=Patience(tries=10), local=True)
    fetch(f"{registry}/{AXE}", sha256=AXE_SHA256, size=AXE_SIZE, store=store, upstream=upstream)
    upstream.close()
    with tarfile.open(store.path(AXE_SHA256)) as package:
        member = package.extractfile("package/axe.min.js")
        assert member
        return member.read().decode()


@pytest.fixture
def report(tmp_path: Path, chromium: Browser) -> str:
    """The URL of a page, open in the browser at a desktop's width, in light."""
    file = tmp_path / "report.html"
    file.write_text(page(sample.pipeline()))
    chromium.events()
    chromium.console()
    chromium.devtools("Emulation.setScriptExecutionDisabled", value=False)
    chromium.resize(1280)
    chromium.prefer("light")
    chromium.open(file.as_uri())
    return file.as_uri()


def unfold(chromium: Browser) -> None:
    chromium.run("document.querySelector('[data-unfold=all]').click()")


def test_no_request_leaves_the_page(chromium: Browser, report: str) -> None:
    unfold(chromium)
    chromium.prefer("dark")

    # What the page asks for, and not the browser's own first tab, which may still be loading its pictures.
    asked = [
        event["params"]["request"]["url"]
        for event in chromium.events()
        if event["method"] == "Network.requestWillBeSent" and event["params"]["documentURL"] == report
    ]
    assert [url for url in asked if not url.startswith("data:")] == [report]
    assert chromium.console() == []


def test_the_policy_lets_nothing_in(chromium: Browser, report: str) -> None:
    chromium.run(
        """
        const image = new Image();
        image.src = "http://127.0.0.1:9/pixel.png";
        const script = document.createElement("script");
        script.textContent = "window.ran = true";
        const style = document.createElement("style");
        style.textContent = "body { display: none }";
        document.body.append(image, script, style);
        """
    )

    assert (
        chromium.run("return window.ran === undefined && getComputedStyle(document.body).display") == "block"
    )
    complaints = " ".join(chromium.console())
    assert all(f"{kind}-src" in complaints for kind in ("script", "style", "img"))


def test_every_difference_is_reached_and_unfolded_by_the_keyboard(chromium: Browser, report: str) -> None:
    reached: list[str] = []
    for _ in range(200):
        chromium.press("Tab")
        on, text, closed = chromium.run(
            "const on = document.activeElement;"
            "return [on.tagName, on.textContent, on.tagName === 'SUMMARY' && !on.parentElement.open]"
        )
        if on == "BODY":
            break
        outline = chromium.run(
            "const on = document.activeElement;"
            "const seen = on.matches('.theme input') ? on.nextElementSibling : on;"
            "return getComputedStyle(seen).outlineStyle"
        )
        assert outline == "solid", f"nobody sees that {on} {text!r} has the focus"
        reached.append(on if on != "SUMMARY" else "summary")
        if closed:
            chromium.press("Enter")

    assert reached[0] == "A"  # the skip link
    assert reached.count("summary") == chromium.run("return document.querySelectorAll('summary').length") > 10
    assert chromium.run("return document.querySelectorAll('details:not([open])').length") == 0
    assert chromium.run(f"return {LAST_DETAIL}.checkVisibility({{contentVisibilityAuto: true}})")


def test_the_skip_link_leads_to_the_report(chromium: Browser, report: str) -> None:
    chromium.press("Tab")
    assert chromium.run("return document.activeElement.getBoundingClientRect().top") >= 0

    chromium.press("Enter")

    assert chromium.run("return document.activeElement.tagName") == "MAIN"


def test_a_cause_leads_into_its_folded_difference(chromium: Browser, report: str) -> None:
    chromium.run("document.querySelector('.tally a[href=\"#first-2\"]').click()")

    assert chromium.run("return document.querySelector('#first-2').closest('details').open")
    assert "sklearn/__init__" in chromium.run("return document.querySelector(':target').textContent")


def test_all_of_it_is_read_without_scripts(chromium: Browser, report: str) -> None:
    chromium.devtools("Emulation.setScriptExecutionDisabled", value=True)
    chromium.open(report)
    assert chromium.run("return document.querySelector('#tools').hidden")

    seen = chromium.run("return document.querySelectorAll('details:not([open])').length")
    while chromium.run(
        "const next = Array.from(document.querySelectorAll('details:not([open]) > summary'))"
        ".find(one => one.checkVisibility());"
        "next?.focus(); return Boolean(next)"
    ):
        chromium.press("Enter")
        left = chromium.run("return document.querySelectorAll('details:not([open])').length")
        assert left < seen
        seen = left

    assert seen == 0
    text = chromium.run("return document.body.innerText")
    assert "2026-03-14T09:31:07Z" in text
    assert "bytes 8 to 11 of the header" in text


def test_light_and_dark_and_the_switch(chromium: Browser, report: str) -> None:
    def colours() -> list[str]:
        style = "getComputedStyle(document.documentElement)"
        found: list[str] = chromium.run(f"return [{style}.backgroundColor, {style}.color]")
        return found

    light = colours()
    chromium.prefer("dark")
    dark = colours()
    assert not set(light) & set(dark)

    chromium.run("document.querySelector('#theme-auto').focus()")
    chromium.press("Right")
    assert colours() == light
    chromium.press("Right")
    chromium.prefer("light")
    assert colours() == dark


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_nothing_runs_over_the_edge(chromium: Browser, report: str, tmp_path: Path, width: int) -> None:
    name = "/" + "n" * 255 + "/" + "\u05d0" * 120 + "\u202e" * 40
    long = sample.stage(name, sample.layer(1, sample.entry(name, why=name), blame=sample.Blame(text=name)))
    file = tmp_path / "long.html"
    file.write_text(page([*sample.pipeline(), long]))
    chromium.resize(width)
    chromium.open(file.as_uri())
    unfold(chromium)

    over = chromium.run(
        "return Array.from(document.body.querySelectorAll('*'))"
        ".filter(one => !one.matches('.unseen') && one.getBoundingClientRect().right > innerWidth + .5)"
        ".map(one => one.outerHTML.slice(0, 200))"
    )
    assert over == []
    assert chromium.run("return document.documentElement.scrollWidth") <= width


def test_bars_are_as_long_as_layers_are_large(chromium: Browser, report: str) -> None:
    strips: list[list[tuple[str, float, float]]] = chromium.run(
        "return Array.from(document.querySelector('.strips').querySelectorAll('svg'), svg => {"
        "  const whole = svg.getBoundingClientRect();"
        "  return Array.from(svg.querySelectorAll('rect'), rect => {"
        "    const part = rect.getBoundingClientRect();"
        "    return [rect.className.baseVal, (part.x - whole.x) / whole.width, part.width / whole.width]})})"
    )
    train = next(one for one in sample.pipeline() if one.name == "train")
    assert train.comparison
    pairs = train.comparison.layers
    sides = [[pair.size_a or 0 for pair in pairs], [pair.size_b or 0 for pair in pairs]]
    full = max(map(sum, sides))
    assert len(strips) == 2
    for strip, sizes, own in zip(strips, sides, ("in-a", "in-b"), strict=True):
        assert [kind for kind, _, _ in strip] == ["shared" if pair.shared else own for pair in pairs]
        end = 0.0
        for (_, start, length), size in zip(strip, sizes, strict=True):
            assert start == pytest.approx(end, abs=0.001)
            assert length == pytest.approx(size / full, abs=0.01)
            assert length > 0.004  # a layer of a few bytes is seen
            end = start + length
        assert end == pytest.approx(1, abs=0.001)


def test_a_picture_in_both_schemes(chromium: Browser, report: str, tmp_path: Path) -> None:
    """RBUILD_PICTURE=docs/report.png writes the one of the documentation."""
    pictures = []
    chromium.resize(1100)
    for scheme in ("light", "dark"):
        chromium.prefer(scheme)
        chromium.screenshot(tmp_path / "page.png", whole=True)
        pictures.append((tmp_path / "page.png").read_bytes())
    light, dark = pictures
    for one in pictures:
        assert one.startswith(b"\x89PNG\r\n")
        width, height = struct.unpack(">II", one[16:24])
        page_of = "const page = document.documentElement; return [page.scrollWidth, page.scrollHeight]"
        assert [width, height] == chromium.run(page_of)
    assert light != dark
    if kept := os.environ.get("RBUILD_PICTURE"):
        Path(kept).write_bytes(light)


def test_paper_shows_what_is_folded(chromium: Browser, report: str) -> None:
    assert not chromium.run(f"return {LAST_DETAIL}.checkVisibility()")
    chromium.devtools("Emulation.setEmulatedMedia", media="print")
    try:
        assert chromium.run(f"return {LAST_DETAIL}.checkVisibility()")
        assert chromium.run("return getComputedStyle(document.querySelector('.theme')).display") == "none"
    finally:
        chromium.devtools("Emulation.setEmulatedMedia", media="")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_keeps_anybody_from_reading_it(
    chromium: Browser, report: str, axe: str, scheme: str, width: int
) -> None:
    chromium.prefer(scheme)
    chromium.resize(width)
    chromium.run(axe)

    assert violations(chromium) == []
    unfold(chromium)
    assert violations(chromium) == []


def violations(chromium: Browser) -> list[Any]:
    """What axe-core finds, with the elements."""
    found: list[Any] = chromium.run_async(
        "const done = arguments[arguments.length - 1];"
        "axe.run({resultTypes: ['violations']}).then("
        "  found => done(found.violations.map(one => [one.id, one.nodes.map(node => node.html)])))"
    )
    return found
