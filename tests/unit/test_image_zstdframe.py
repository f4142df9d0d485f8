from __future__ import annotations

import struct

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from rbuild.image.zstdframe import ZstdFrame

MAX_STEP = 9 * (128 << 10)


def unpacked(data: bytes, step: int) -> tuple[bytes, bytes, bool]:
    """What the first frame gives, what follows it, and whether it ended."""
    frame = ZstdFrame()
    out = bytearray()
    while data and not frame.eof:
        part, data = data[:step], data[step:]
        given = frame.decompress(part)
        assert len(given) <= MAX_STEP
        out += given
        data = (frame.unused_data if frame.eof else frame.unconsumed_tail) + data
    return bytes(out), data, frame.eof


def packed(data: bytes, level: int, *, checksum: bool, size: bool) -> bytes:
    return zstandard.ZstdCompressor(level=level, write_checksum=checksum, write_content_size=size).compress(
        data
    )


@settings(deadline=None)
@given(
    st.binary(max_size=3000),
    st.integers(1, 200_000),
    st.sampled_from([1, 3, 19]),
    st.booleans(),
    st.booleans(),
    st.sampled_from([1, 2, 7, 1000, 1 << 16, 1 << 20]),
    st.binary(max_size=10),
)
def test_frames_unpack_in_steps_of_any_size(
    seed: bytes, length: int, level: int, checksum: bool, size: bool, step: int, rest: bytes
) -> None:
    data = (seed * (length // max(1, len(seed)) + 1))[:length] if seed else bytes(length)
    blob = packed(data, level, checksum=checksum, size=size)
    assert unpacked(blob + rest, step) == (data, rest, True)


def test_streams_of_many_blocks_unpack() -> None:
    compressor = zstandard.ZstdCompressor(level=1).compressobj()
    parts, plain = [], b""
    for number in range(400):
        piece = bytes([number % 256]) * (number * 7)
        plain += piece
        parts += [compressor.compress(piece), compressor.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)]
    parts.append(compressor.flush())
    for step in (3, 1 << 16):
        assert unpacked(b"".join(parts), step) == (plain, b"", True)


def test_a_bomb_of_repeated_bytes_comes_in_bounded_steps() -> None:
    """4 bytes of a block that repeats a byte stand for 128 KiB."""
    block = struct.pack("<I", (128 << 10) << 3 | 1 << 1)[:3] + b"x"
    frame = ZstdFrame()
    data = struct.pack("<I", 0xFD2FB528) + b"\x00\x58" + block * 10_000
    given = 0
    for _ in range(100):
        out = frame.decompress(data)
        assert len(out) <= MAX_STEP
        given += len(out)
        data = frame.unconsumed_tail
    assert given > 50 << 20


def test_a_skippable_frame_gives_nothing() -> None:
    assert unpacked(struct.pack("<II", 0x184D2A53, 5) + b"12345" + b"rest", 4) == (b"", b"rest", True)


@pytest.mark.parametrize("data", [b"not zstd at all", b"\x28\xb5\x2f\xfd\xff\xff\xff\xff" * 4])
def test_what_is_not_zstd_is_an_error(data: bytes) -> None:
    with pytest.raises(zstandard.ZstdError):
        unpacked(data, 100)


@settings(deadline=None)
@given(st.binary(max_size=60), st.integers(1, 20))
def test_damage_is_seen_as_the_library_sees_it(tail: bytes, step: int) -> None:
    data = b"\x28\xb5\x2f\xfd" + tail
    try:
        expected: object = (
            zstandard.ZstdDecompressor(max_window_size=1 << 27).decompressobj().decompress(data)
        )
    except zstandard.ZstdError:
        expected = None
    try:
        found: object = unpacked(data, step)[0]
    except zstandard.ZstdError:
        found = None
    assert found == expected
