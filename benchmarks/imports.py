"""Runs in a container, as `python3 -c`: times an import in fresh interpreters, one after the other.

Prints JSON: the seconds of each, the modules that come from bytecode files, and how many of those are stale.
"""

import json
import subprocess
import sys

TIMED = """
import time
start = time.perf_counter()
import sklearn.ensemble, pandas
print(time.perf_counter() - start)
"""
# A bytecode file is valid if its header has the source's time and size, or its hash (PEP 552).
CHECKED = """
import importlib.util, os, sys
import sklearn.ensemble, pandas
modules = stale = 0
for module in list(sys.modules.values()):
    source, cached = getattr(module, "__file__", None), getattr(module, "__cached__", None)
    if not source or not source.endswith(".py") or not cached:
        continue
    modules += 1
    if not os.path.exists(cached):
        stale += 1
        continue
    with open(cached, "rb") as file:
        header = file.read(16)
    flags = int.from_bytes(header[4:8], "little")
    found = os.stat(source)
    if flags == 0:
        stale += (int.from_bytes(header[8:12], "little"), int.from_bytes(header[12:], "little")) != (
            int(found.st_mtime) & 0xFFFFFFFF, found.st_size & 0xFFFFFFFF)
    elif flags == 3:
        with open(source, "rb") as file:
            stale += header[8:] != importlib.util.source_hash(file.read())
print(modules, stale)
"""


def said(program: str) -> str:
    return subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout


seconds = [float(said(TIMED)) for _ in range(int(sys.argv[1]))]
modules, stale = map(int, said(CHECKED).split())
print(json.dumps({"seconds": seconds, "modules": modules, "stale": stale}))
