"""Fuzz one target with atheris: `fuzz.py TARGET FOLDER [libFuzzer's options]`; with a FILE, repeat one input.

FOLDER keeps the corpus, which begins with the target's seeds. A hang and a large memory are crashes as well.
"""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["rbuild"]):
    from targets import TARGETS, accept

_MEMORY = 4 << 30  # bytes of address space; libFuzzer's own limit is of what is resident
_OPTIONS = (
    "-rss_limit_mb=1024",
    "-malloc_limit_mb=512",
    "-timeout=20",
    "-print_final_stats=1",
    "-verbosity=0",
)


def main() -> None:
    name, place, *options = sys.argv[1:]
    target = TARGETS[name]
    path = Path(place)
    if not path.is_file():
        path.mkdir(parents=True, exist_ok=True)
        for number, seed in enumerate(target.seeds()):
            (path / f"seed-{number}").write_bytes(seed)
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    atheris.Setup(
        [sys.argv[0], *_OPTIONS, f"-max_len={target.longest}", *options, str(path)],
        lambda data: accept(target, data),
        enable_python_coverage=True,
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main()
