"""What a base's configuration becomes for a build, and what of that does not stay in the image."""

from __future__ import annotations

import json

from rbuild.image.config import Config, Execution, RootFs
from rbuild.image.derived import derived_config, without_gateway

GATEWAY = "http://127.0.0.1:9/"


def config(*triggers: str) -> Config:
    return Config(
        os="linux",
        architecture="amd64",
        config=Execution(on_build=list(triggers) or None),
        rootfs=RootFs(diff_ids=[]),
    )


def test_urls_that_a_trigger_adds_are_led_through_the_gateway() -> None:
    said = ("ADD --chown=1 https://x/y http://z /to", 'add ["http://x y", "/"]', "RUN wget http://x")
    derived = json.loads(derived_config(config(*said), {}, "token", gateway=GATEWAY))
    assert derived["config"]["OnBuild"] == [
        f"ADD --chown=1 {GATEWAY}https://x/y {GATEWAY}http://z /to",
        f'add ["{GATEWAY}http://x y", "/"]',
        "RUN wget http://x",
    ]


def test_what_an_image_leaves_to_others_says_what_the_containerfile_says() -> None:
    left = without_gateway(config(f"ADD {GATEWAY}https://x/y /", f"RUN echo {GATEWAY}"), GATEWAY)
    assert left.config is not None
    assert left.config.on_build == ["ADD https://x/y /", f"RUN echo {GATEWAY}"]
    assert without_gateway(config(), GATEWAY) == config()
