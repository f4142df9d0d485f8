"""Fuzz every target for its share of FUZZ_SECONDS (600): what `make fuzz` does.

An input that crashes, hangs or takes too much memory is kept in `out/fuzz/crashes`, and the command that
repeats it is printed. Ends with 1 if there was one.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from targets import TARGETS

_HERE = Path(__file__).parent
_OUT = Path("out/fuzz")


def main(wanted: list[str]) -> int:
    names = wanted or sorted(TARGETS)
    seconds = max(1, int(os.environ.get("FUZZ_SECONDS", "600")) // len(names))
    crashes = _OUT / "crashes"
    crashes.mkdir(parents=True, exist_ok=True)
    print(f"{len(names)} targets, {seconds} s each", flush=True)
    bad = total = 0
    for name in names:
        corpus = _OUT / "corpus" / name
        argv = [sys.executable, str(_HERE / "fuzz.py"), name, str(corpus)]
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="rbuild-fuzz-") as folder:  # libFuzzer tidies nothing up
            done = subprocess.run(
                [*argv, f"-max_total_time={seconds}", f"-artifact_prefix={crashes}/{name}-"],
                env={**os.environ, "TMPDIR": folder},
                capture_output=True,
                text=True,
                errors="replace",
            )
        said = done.stdout + done.stderr
        runs = _stat(said, "number_of_executed_units")
        total += runs
        print(
            f"{name:14} {runs:9,} runs  {time.monotonic() - began:5.0f} s  "
            f"{_stat(said, 'peak_rss_mb'):4} MB  {len(list(corpus.iterdir())):5} inputs  "
            f"{'ok' if done.returncode == 0 else 'CRASH'}",
            flush=True,
        )
        if done.returncode != 0:
            bad += 1
            lines = [line for line in said.splitlines() if line and not line.startswith(("INFO:", "stat::"))]
            print("\n".join(lines[-60:]))
            found = re.findall(r"Test unit written to (\S+)", said)
            for path in found:
                print(f"repeat it: {sys.executable} {_HERE / 'fuzz.py'} {name} {path}")
    print(f"{total:,} runs, {bad} of {len(names)} targets crashed")
    return 1 if bad else 0


def _stat(said: str, name: str) -> int:
    found = re.search(rf"stat::{name}:\s+([0-9]+)", said)
    return int(found[1]) if found else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
