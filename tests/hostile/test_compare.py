"""Images of strangers on one side of a comparison, or on both."""

import io
import json
import re
import time
from typing import Any

import pytest
from strangers import CASES, GOOD, Stranger, deep, tar

from rbuild.compare.images import Image, compare
from rbuild.errors import RbuildError

# What a reader of the image cannot see: which bytes stand under a digest is looked at by who hands it in.
_NOT_HERE = {
    *("digest", "manifest's digest", "size", "two sizes", "no blob", "other tar", "deep index"),
    *("no manifests", "a million manifests", "list of a list", "a million", "gzip bomb"),
}


def image(stranger: Stranger) -> Image:
    manifest, blobs = stranger.parts()
    value: dict[str, Any] = {}
    if len(manifest) < 8192:
        value = json.loads(manifest)
    config = blobs.get(value.get("config", {}).get("digest", ""), b"{}")

    def open_layer(number: int) -> io.BytesIO:
        return io.BytesIO(blobs[value["layers"][number - 1]["digest"]])

    return Image(name="a stranger's", manifest=manifest, config=config, open_layer=open_layer)


@pytest.mark.parametrize("side", ["a", "b"])
@pytest.mark.parametrize("case", sorted(CASES.keys() - _NOT_HERE))
def test_each_lie_is_an_error_that_names_blob_and_entry(case: str, side: str) -> None:
    make, blob, message = CASES[case]
    stranger, honest = make(), Stranger(tar(("bin/tool", b"another")))
    sides = (stranger, honest) if side == "a" else (honest, stranger)
    began = time.process_time()
    with pytest.raises(RbuildError) as caught:
        compare(*map(image, sides))
    assert time.process_time() - began < 15
    said = str(caught.value)
    if case != "list":  # a comparison chooses no platform
        assert re.search(message, said), said
    assert stranger.name_of("manifest" if case == "layers" else blob) in said


@pytest.mark.parametrize(
    "name", ["a.json", "a.yaml", "a.whl", "a.tar", "a.gz", "a.png", "a.so", "a.pyc", "a.db"]
)
def test_what_is_broken_inside_of_a_file_is_a_note(name: str) -> None:
    contents = (
        deep(),
        deep() + b"x",
        b"PK\x03\x04" + bytes(50),
        b"\x1f\x8b\x08" + bytes(20),
        b"\x7fELF" + bytes(80),
    )
    for content in contents:
        found = compare(image(Stranger(tar((name, content)))), image(Stranger(GOOD)))
        assert found is not None
        compare(image(Stranger(tar((name, content)))), image(Stranger(tar((name, content + b"1")))))
