"""Drops folders' files from the page cache: `podman unshare python3 evict.py FOLDER…`.

What an ordinary user can do where only root may write to /proc/sys/vm/drop_caches.
"""

import os
import sys
from pathlib import Path

os.sync()  # a page that was not written yet cannot be dropped
for top in sys.argv[1:]:
    for folder, _, names in os.walk(top):
        for name in names:
            path = Path(folder, name)
            if path.is_file() and not path.is_symlink():
                descriptor = os.open(path, os.O_RDONLY)
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
                os.close(descriptor)
