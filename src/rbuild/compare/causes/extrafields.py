"""Extra fields of a zip's members, where Info-ZIP keeps what Unix knows of a file: its times, its owner."""

from __future__ import annotations

UNIX_TIME, UNIX_OWNER = 0x5455, 0x7875  # APPNOTE.TXT 4.6.1 and Info-ZIP's extrafld.txt


def extra_fields(a: str, b: str) -> list[int]:
    """The ids of the blocks that differ in two extra fields of a zip, given in hexadecimal."""
    blocks = []
    for text in (a, b):
        try:
            data = bytes.fromhex(text)
        except ValueError:
            return []
        found: dict[int, bytes] = {}
        while len(data) >= 4:
            size = int.from_bytes(data[2:4], "little")
            found[int.from_bytes(data[:2], "little")] = data[4 : 4 + size]
            data = data[4 + size :]
        blocks.append(found)
    return [key for key in blocks[0].keys() | blocks[1].keys() if blocks[0].get(key) != blocks[1].get(key)]
