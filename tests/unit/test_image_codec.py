from __future__ import annotations

import gzip
import io
import os
import random
import struct
import subprocess
from pathlib import Path

import pytest
import zstandard

from rbuild.digest import Digest
from rbuild.errors import RbuildError
from rbuild.image import codec
from rbuild.image.codec import DEFAULT, Codec, codec_text, decompressed
from rbuild.image.form import Algorithm

ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"
GZIP = "application/vnd.docker.image.rootfs.diff.tar.gzip"
PLAIN = "application/vnd.oci.image.layer.v1.tar"
DATA = random.Random(1).randbytes(9_000_000) + b"text and more text " * 1_000_000


def packed(how: Codec, data: bytes, *, workers: int = 1, step: int = 1 << 20) -> bytes:
    sink = io.BytesIO()
    writer = how.writer(sink, workers=workers)
    for at in range(0, len(data), step):
        writer.write(data[at : at + step])
    blob = writer.finish()
    assert (blob.digest, blob.size) == (Digest.of(sink.getvalue()), len(sink.getvalue()))
    return sink.getvalue()


def test_codecs_are_text() -> None:
    assert str(DEFAULT) == "zstd:3:" + ".".join(map(str, zstandard.ZSTD_VERSION))
    for text in (str(DEFAULT), "gzip:6"):
        assert str(Codec.parse(text)) == text
    assert Codec.parse("gzip:9").media_type == "application/vnd.oci.image.layer.v1.tar+gzip"
    assert DEFAULT.media_type == ZSTD


@pytest.mark.parametrize(
    "text", ["", "zstd", "zstd:3", "zstd:99:1.5.7", "gzip:0", "gzip:6:1", "lz4:1", "gzip:6\n"]
)
def test_refuses_what_is_no_codec(text: str) -> None:
    with pytest.raises(RbuildError, match="not a codec"):
        Codec.parse(text)


def test_another_version_of_the_library_is_known_for_what_it_is() -> None:
    assert Codec.parse("zstd:3:1.4.0") == DEFAULT
    assert not Codec.is_ours("zstd:3:1.4.0")
    assert Codec.is_ours(str(DEFAULT))
    assert Codec.is_ours("gzip:9")
    with pytest.raises(RbuildError, match="not a codec"):
        Codec.is_ours("zstd:3")


@pytest.mark.parametrize(
    ("algorithm", "locked", "text"),
    [
        ("zstd", "", str(DEFAULT)),
        ("gzip", "", "gzip:6"),
        ("zstd", "zstd:5:1.4.0", "zstd:5:1.4.0"),
        ("gzip", "gzip:9", "gzip:9"),
        ("gzip", "zstd:5:1.4.0", "gzip:6"),
        ("zstd", "gzip:9", str(DEFAULT)),
        ("zstd", "zstd:3", str(DEFAULT)),
    ],
)
def test_what_is_locked_keeps_its_codec_until_another_algorithm_is_asked_for(
    algorithm: Algorithm, locked: str, text: str
) -> None:
    assert codec_text(algorithm, locked) == text


def test_bytes_do_not_depend_on_workers_or_the_size_of_writes() -> None:
    assert len({packed(DEFAULT, DATA, workers=workers) for workers in (0, 1, 2, 4)}) == 1
    assert packed(DEFAULT, DATA, step=7_777) == packed(DEFAULT, DATA, step=len(DATA))


def test_the_bytes_of_the_default_codec_are_known() -> None:
    """A change here is a new version of the canonical form."""
    data = b"".join(b"line %d\n" % number for number in range(200_000))
    assert Digest.of(packed(DEFAULT, data)).short == "2f4eb2071d19"


def test_other_programs_read_it(tmp_path: Path) -> None:
    for how, program in ((DEFAULT, "zstd"), (Codec("gzip", 6), "gzip")):
        file = tmp_path / program
        file.write_bytes(packed(how, DATA[:3_000_000]))
        with file.open("rb") as stdin:
            done = subprocess.run([program, "-dc"], stdin=stdin, capture_output=True, check=True)
        assert done.stdout == DATA[:3_000_000]


def test_gzip_has_no_name_and_no_time() -> None:
    assert packed(Codec("gzip", 6), b"x")[:8] == b"\x1f\x8b\x08\0\0\0\0\0"


@pytest.mark.parametrize(
    ("media_type", "blob"),
    [
        (ZSTD, packed(DEFAULT, DATA)),
        (
            ZSTD,
            packed(DEFAULT, DATA[:5000])
            + struct.pack("<II", 0x184D2A50, 3)
            + b"skp"
            + packed(DEFAULT, DATA[5000:]),
        ),
        (GZIP, gzip.compress(DATA)),
        (GZIP, gzip.compress(DATA[:5000]) + gzip.compress(DATA[5000:])),
        (PLAIN, DATA),
    ],
)
def test_unpacks(media_type: str, blob: bytes) -> None:
    file = decompressed(io.BytesIO(blob), media_type)
    assert file.read(1000) == DATA[:1000]
    rest = b""
    while chunk := file.read(1 << 20):
        rest += chunk
    assert rest == DATA[1000:]


@pytest.mark.parametrize(
    ("media_type", "blob"),
    [
        (ZSTD, packed(DEFAULT, DATA)[:-1]),
        (ZSTD, packed(DEFAULT, DATA)[:-5000]),
        (ZSTD, packed(DEFAULT, DATA)[:3]),
        (ZSTD, packed(DEFAULT, DATA) + b"more"),
        (ZSTD, b"no zstd at all"),
        (GZIP, gzip.compress(DATA)[:-1]),
        (GZIP, gzip.compress(DATA)[:-5000]),
        (GZIP, gzip.compress(DATA) + b"more"),
        (GZIP, gzip.compress(DATA)[:-8] + bytes(8)),
        (GZIP, b"no gzip at all"),
    ],
)
def test_refuses_broken_blobs(media_type: str, blob: bytes) -> None:
    with pytest.raises(RbuildError, match="a layer is not valid"):
        decompressed(io.BytesIO(blob), media_type).read()


def test_refuses_media_types_that_are_no_layers() -> None:
    with pytest.raises(RbuildError, match="not the media type of a layer"):
        decompressed(io.BytesIO(), "application/json")


@pytest.mark.parametrize("algorithm", ["zstd", "gzip"])
def test_refuses_bombs(algorithm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    blob = packed(Codec(algorithm, 3), bytes(300 << 20))  # type: ignore[arg-type]
    media_type = f"application/vnd.oci.image.layer.v1.tar+{algorithm}"

    def unpacked(**options: int) -> int:
        file = decompressed(io.BytesIO(blob), media_type, **options)
        size = 0
        while chunk := file.read(1 << 20):
            size += len(chunk)
        return size

    assert unpacked() == 300 << 20
    with pytest.raises(RbuildError, match="refused as a bomb"):
        unpacked(limit=100 << 20)
    monkeypatch.setattr(codec, "_FREE", 10 << 20)
    monkeypatch.setattr(codec, "_MAX_RATIO", 100)
    with pytest.raises(RbuildError, match="refused as a bomb"):
        unpacked()


def test_refuses_windows_that_do_not_fit_in_memory() -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=30, strategy=1, min_match=4)
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    blob = compressor.compress(os.urandom(1000)) + compressor.flush()
    with pytest.raises(RbuildError, match="a layer is not valid zstd"):
        decompressed(io.BytesIO(blob), ZSTD).read()
