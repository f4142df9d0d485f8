"""Which cached layers a build may meet."""

from __future__ import annotations

from pathlib import Path

from rbuild.digest import Digest
from rbuild.plan import Inputs
from rbuild.recording import Recording, Response
from rbuild.store import Store
from rbuild.verbs.layercache import LayerCache

ONE, OTHER = Digest.of(b"one"), Digest.of(b"other")
INPUTS = Inputs(
    containerfile=ONE,
    context=ONE,
    target=None,
    args={},
    platform="linux/amd64",
    bases={"localhost/base:1": ONE},
    epoch=1,
    normalisers=(),
    codec="zstd:3:1.5.7",
    form=1,
)


def read(url: str, sha256: Digest = ONE) -> Recording:
    return Recording(responses=(Response(url=url, sha256=sha256, size=3),))


def built(cache: LayerCache, stage: str, recording: Recording, locked: Recording = Recording()) -> str:  # noqa: B008
    with cache.token(INPUTS, stage, locked, fresh=False) as token:
        cache.keep(INPUTS, stage, token, recording)
    return token.name


def name(cache: LayerCache, stage: str, locked: Recording, *, fresh: bool = False) -> str:
    with cache.token(INPUTS, stage, locked, fresh=fresh) as token:
        return token.name


def test_layers_are_found_as_long_as_what_they_read_is_locked_so(tmp_path: Path) -> None:
    cache = LayerCache(Store(tmp_path), "demo")
    first = built(cache, "one", read("https://a.org/x"))
    assert name(cache, "one", read("https://a.org/x")) == first
    assert name(cache, "one", read("https://a.org/x", OTHER)) != first
    assert name(cache, "one", read("https://a.org/x"), fresh=True) != first


def test_stages_share_layers_and_prefer_their_own(tmp_path: Path) -> None:
    cache = LayerCache(Store(tmp_path), "demo")
    locked = read("https://a.org/x")
    first = built(cache, "one", locked, locked)
    assert name(cache, "two", locked) == first
    with cache.token(INPUTS, "one", locked, fresh=False) as token:
        second = built(cache, "two", locked, locked)
        assert token.name == first != second
    assert name(cache, "one", locked) == first
    assert name(cache, "two", locked) == second


def test_a_token_whose_layers_disagree_is_forgotten(tmp_path: Path) -> None:
    cache = LayerCache(Store(tmp_path), "demo")
    first = built(cache, "one", read("https://a.org/x"))
    assert built(cache, "one", read("https://a.org/x", OTHER)) == first  # nothing of it was locked
    assert name(cache, "one", read("https://a.org/x", OTHER)) != first


def test_projects_do_not_share_layers(tmp_path: Path) -> None:
    store = Store(tmp_path)
    first = built(LayerCache(store, "demo"), "one", read("https://a.org/x"))
    assert name(LayerCache(store, "else"), "one", read("https://a.org/x")) != first


def test_garbage_is_made_anew(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.cache("tokens", INPUTS.cache_key("demo"), b"garbage")
    assert built(LayerCache(store, "demo"), "one", Recording())
