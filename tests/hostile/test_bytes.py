"""Whatever is done to something that was in order, rbuild reads it or says why not, and soon.

The targets are those of the fuzzer (`make fuzz`), which looks much longer; these are its first minutes.
"""

import os
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from targets import TARGETS, accept

_SECONDS = 5
# What breaks readers: ends of things, signs, large numbers, nesting, other encodings.
_PIECES = (
    *(b"", b"\0", b"\xff", b"\n", b"\r\n", b'"', b"'", b"\\", b"/", b"..", b"../", b"=", b"-1", b"0", b" "),
    *(b"99999999999999999999", b"1" * 5_000, b"[" * 5_000, b"{" * 500, b"\xed\xa0\x80", b"\xc3", b"&#9;"),
    *(b"%2e%2e", b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"0 ", b"null", b"true", b"$", b"<", b"</", b"&", b": "),
)


@st.composite
def _damaged(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """A seed with some of its bytes replaced, removed, repeated, or put elsewhere."""
    data = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(0, 6))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.integers(0, 40)))
        piece = draw(st.sampled_from(_PIECES) | st.binary(max_size=8))
        match draw(st.integers(0, 3)):
            case 0:
                data[start:end] = piece
            case 1:
                data[start:start] = data[start:end] * draw(st.integers(1, 20))
            case 2:
                del data[start:]
            case 3 if start < len(data):
                data[start] ^= 1 << draw(st.integers(0, 7))
    return bytes(data)


@pytest.mark.parametrize("name", TARGETS)
@settings(
    deadline=None,
    max_examples=int(os.environ.get("HOSTILE_EXAMPLES", "100")),
    suppress_health_check=list(HealthCheck),
)
@given(st.data())
def test_damaged_bytes_are_read_or_refused(name: str, data: st.DataObject) -> None:
    target = TARGETS[name]
    damaged = data.draw(_damaged(target.seeds()))
    began = time.process_time()
    accept(target, damaged)
    assert time.process_time() - began < _SECONDS
