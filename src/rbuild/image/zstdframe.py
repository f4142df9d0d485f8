"""A zstd frame, unpacked in bounded steps: RFC 8878.

The library cannot be told how much it may give, and a few bytes may stand for 128 KiB. But a frame is made of
blocks, each of which says how long it is and gives 128 KiB at most: so blocks are counted on the way in.
"""

from __future__ import annotations

from collections.abc import Callable

import zstandard

_MAX_BLOCKS = 8  # that begin in one step: 1 MiB of output
_MAX_WINDOW = 1 << 27  # bytes; what zstd's own command line takes without being told

_MAGIC = 0xFD2FB528
_SKIPPABLE = 0x184D2A50  # to 0x184D2A5F
_ENDLESS = 1 << 62


class ZstdFrame:
    """One frame on its way, with the attributes of zlib's decompression objects."""

    def __init__(self) -> None:
        self.unconsumed_tail = b""
        self._frame = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW).decompressobj()
        self._header = b""  # what is there of the header that comes next
        self._wanted = 5  # bytes of it
        self._next: Callable[[], None] = self._begin
        self._left = 0  # bytes up to that header
        self._checksum = 0  # bytes of it at the frame's end

    @property
    def eof(self) -> bool:
        """Whether the frame was unpacked to its end."""
        return bool(self._frame.eof)

    @property
    def unused_data(self) -> bytes:
        """What follows the frame."""
        return bytes(self._frame.unused_data) + self.unconsumed_tail

    def decompress(self, data: bytes) -> bytes:
        """Unpack some of `data`: what it does not take is in `unconsumed_tail`, to be given again.

        Gives 1.2 MB at most. Raises zstandard.ZstdError for what is not zstd.
        """
        at = blocks = 0
        while at < len(data) and blocks < _MAX_BLOCKS:
            if self._left:
                step = min(self._left, len(data) - at)
                self._left -= step
                at += step
                continue
            taken = data[at : at + self._wanted - len(self._header)]
            self._header += taken
            at += len(taken)
            if len(self._header) == self._wanted:
                blocks += self._next == self._block
                self._next()
        self.unconsumed_tail = data[at:]
        unpacked: bytes = self._frame.decompress(data[:at])
        return unpacked

    def _expect(self, what: Callable[[], None], size: int, after: int) -> None:
        """After so many bytes comes a header of that size."""
        self._next, self._wanted, self._left, self._header = what, size, after, b""

    def _begin(self) -> None:
        magic = int.from_bytes(self._header[:4], "little")
        if magic & ~0xF == _SKIPPABLE:
            if self._wanted == 5:
                self._wanted = 8
                return
            self._expect(self._end, 1, int.from_bytes(self._header[4:], "little"))
        elif magic != _MAGIC:
            self._end()  # The library says what is wrong with it.
        else:
            descriptor = self._header[4]
            single = descriptor >> 5 & 1
            window = 1 - single
            dictionary = (0, 1, 2, 4)[descriptor & 3]
            content_size = (single, 2, 4, 8)[descriptor >> 6]
            self._checksum = 4 * (descriptor >> 2 & 1)
            self._expect(self._block, 3, window + dictionary + content_size)

    def _block(self) -> None:
        header = int.from_bytes(self._header, "little")
        last, kind, size = header & 1, header >> 1 & 3, header >> 3
        if kind == 1:  # a byte that is repeated `size` times
            size = 1
        if last:
            self._expect(self._end, 1, size + self._checksum)
        else:
            self._expect(self._block, 3, size)

    def _end(self) -> None:
        self._expect(self._end, 1, _ENDLESS)
