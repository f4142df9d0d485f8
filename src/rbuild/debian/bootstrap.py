"""A Debian root file system, made offline by mmdebstrap from exactly the package files that are handed in."""

from __future__ import annotations

import hashlib
import itertools
import re
import shlex
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from rbuild import process
from rbuild.debian.archives import Archive, sources_list
from rbuild.errors import RbuildError, Where
from rbuild.sealed.namespace import sealed

# The folders besides bin, sbin and lib for which a merged /usr has a link (debootstrap's setup_merged_usr).
_LIBRARY_FOLDERS = {
    "amd64": ("lib32", "lib64", "libx32"),
    "i386": ("lib64", "libx32"),
    "ppc64el": ("lib64",),
    "s390x": ("lib32",),
}
_FIELD = re.compile(r"^(Package|Version|Architecture): *(\S+)$", re.MULTILINE)

# What mmdebstrap copies from the host is gone before the first maintainer script could read it.
_SETUP = """\
#!/bin/sh
set -eu
rm -f "$1/etc/resolv.conf" "$1/etc/hostname"
for folder in {links}; do
    mkdir -p "$1/usr/$folder"
    ln -s "usr/$folder" "$1/$folder"
done
"""
# Gone are the options of mmdebstrap's apt and dpkg, dpkg's and debconf's copies of an earlier state, and what
# that apt kept: it runs outside of the root, and gives folders to the number that the host has for _apt.
_CUSTOMIZE = """\
#!/bin/sh
set -eu
rm -f "$1/etc/apt/apt.conf.d/99mmdebstrap" "$1/etc/dpkg/dpkg.cfg.d/99mmdebstrap"
rm -f "$1"/var/lib/dpkg/*-old "$1"/var/cache/debconf/*-old
rm -rf "$1/var/lib/apt/lists/auxfiles"
for folder in var/lib/apt/lists var/cache/apt; do
    find "$1/$folder" -type f -delete
    find "$1/$folder" -exec chown 0:0 {{}} +
done
cat {sources} > "$1/etc/apt/sources.list"
"""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class _Deb:
    """A package file, and what its control data say."""

    name: str
    version: str
    architecture: str
    control: str
    path: Path


def build_root(
    packages: Iterable[Path],
    *,
    archives: Sequence[Archive],
    architecture: str,
    epoch: int,
    podman: Sequence[str],
    environ: Mapping[str, str],
    work: Path,
    on_line: Callable[[str], None],
) -> Path:
    """Make the root file system that `packages` (.deb files, whatever they are called) make up.

    Nothing but these files is read: there is no network. Their bytes must have been checked before.
    `archives` become the root's sources.list, for an apt that is run in it later. `epoch` is in seconds; no
    mtime is later. `podman` is the command with its storage options, `environ` what it needs to run. `work`
    is an existing folder of the caller's, which may be of mode 700, with room for the root twice.

    Gives the path, in `work`, of a tar with numeric owners and names that begin with `./`, without device
    nodes. The same packages and epoch give the same bytes, but for what a maintainer script takes from the
    clock. Raises RbuildError, with mmdebstrap's last lines, if they cannot be installed.
    """
    debs = sorted(_read(Path(path).resolve(), environ) for path in packages)
    twice = {deb.name for deb, after in itertools.pairwise(debs) if deb.name == after.name}
    if twice:
        raise RbuildError(f"more than one version of {', '.join(sorted(twice))} for one root file system")
    folder = Path(tempfile.mkdtemp(prefix="root-", dir=work)).resolve()
    try:
        repository = _lay_out_repository(folder / "repository", debs)
        hooks = _write_hooks(folder, archives, _merged_folders(debs, architecture, environ))
        made = folder / "root.tar"
        (folder / "tmp").mkdir()
        argv = [
            *("env", "-i"),
            *("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/nonexistent"),
            *("LANG=C.UTF-8", "LC_ALL=C.UTF-8", "TZ=UTC", "DEBIAN_FRONTEND=noninteractive"),
            # Python's bytecode, compiled by maintainer scripts, depends on both.
            *(f"SOURCE_DATE_EPOCH={epoch}", "PYTHONHASHSEED=0"),
            f"TMPDIR={folder / 'tmp'}",
            "mmdebstrap",
            # In a user namespace of Podman's, not of mmdebstrap's own (--mode=unshare): there the caller is
            # root, who may enter a home directory of mode 700; in mmdebstrap's he is nobody who may.
            "--mode=root",
            "--variant=essential",
            f"--architectures={architecture}",
            f"--include={','.join(deb.name for deb in debs)}",
            # The folders are the caller's own, closed to apt's sandbox user.
            '--aptopt=APT::Sandbox::User "root"',
            # A root that is lost in a crash is made again: no need to sync each file.
            "--dpkgopt=force-unsafe-io",
            *hooks,
            "--skip=cleanup/apt",  # after the last hook it would write with the host's _apt again
            # An ordinary user cannot make device nodes, and every container brings its own.
            "--skip=output/dev",
            "--format=tar",
            "",  # no suite: what is essential is asked of the packages, not of a release
            str(made),
            f"deb [trusted=yes] copy:{quote(str(repository))} ./",
        ]
        _run_sealed(argv, podman, environ, on_line)
        _add_dev(made, epoch)
        return made.rename(work / "root.tar")
    finally:
        remove_tree(folder, podman=podman, environ=environ)


def remove_tree(folder: Path, *, podman: Sequence[str], environ: Mapping[str, str]) -> None:
    """Remove a folder in which a root file system was made: some of it may belong to the user's subuids."""
    try:
        shutil.rmtree(folder)
    except PermissionError:
        process.run([*podman, "unshare", "rm", "-rf", "--", str(folder)], env=environ)


def _read(path: Path, environ: Mapping[str, str]) -> _Deb:
    control = process.run(["dpkg-deb", "--field", str(path)], env=environ).stdout.strip()
    fields = dict(_FIELD.findall(control))
    if len(fields) != 3:
        raise RbuildError("not a Debian package: its control data lack a name", where=Where(file=str(path)))
    return _Deb(
        name=fields["Package"],
        version=fields["Version"],
        architecture=fields["Architecture"],
        control=control,
        path=path,
    )


def _lay_out_repository(folder: Path, debs: Iterable[_Deb]) -> Path:
    """A flat repository (sources.list(5)) of links to the package files."""
    folder.mkdir()
    with (folder / "Packages").open("w") as index:
        for deb in debs:
            (folder / f"{deb.name}.deb").symlink_to(deb.path)
            with deb.path.open("rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            index.write(f"{deb.control}\nFilename: ./{deb.name}.deb\n")
            index.write(f"Size: {deb.path.stat().st_size}\nSHA256: {sha256}\n\n")
    return folder


def _merged_folders(debs: Iterable[_Deb], architecture: str, environ: Mapping[str, str]) -> tuple[str, ...]:
    """The folders that must be links into /usr before the first package is unpacked.

    bookworm's packages want a merged /usr and leave it to the installer; later on, base-files brings it.
    """
    paths = {deb.name: deb.path for deb in debs if deb.name in ("usr-is-merged", "base-files")}
    if len(paths) != 2:
        return ()
    contents = process.run(["dpkg-deb", "--contents", str(paths["base-files"])], env=environ).stdout
    if "./bin -> usr/bin" in contents:
        return ()
    return ("bin", "sbin", "lib", *_LIBRARY_FOLDERS.get(architecture, ()))


def _write_hooks(folder: Path, archives: Sequence[Archive], merged: Sequence[str]) -> tuple[str, str]:
    sources = folder / "sources.list"
    sources.write_text(sources_list(archives))
    setup, customize = folder / "setup", folder / "customize"
    setup.write_text(_SETUP.format(links=" ".join(merged)))
    customize.write_text(_CUSTOMIZE.format(sources=shlex.quote(str(sources))))
    for hook in (setup, customize):
        hook.chmod(0o755)
    return f"--setup-hook={setup}", f"--customize-hook={customize}"


def _run_sealed(
    argv: Sequence[str], podman: Sequence[str], environ: Mapping[str, str], on_line: Callable[[str], None]
) -> None:
    said: list[str] = []

    def keep(line: str) -> None:
        said.append(line)
        on_line(line)

    with sealed(podman, argv, env=environ) as box:
        code = box.run(keep)
    if code != 0:
        raise process.failure(
            process.Completed(
                ("mmdebstrap", *argv[argv.index("mmdebstrap") + 1 :]), code, "\n".join(said), ""
            )
        )


def _add_dev(root: Path, epoch: int) -> None:
    """The one thing that went with the device nodes: a container with a read-only root needs a /dev."""
    folder = tarfile.TarInfo("./dev")
    folder.type, folder.mode, folder.mtime = tarfile.DIRTYPE, 0o755, epoch
    with tarfile.open(root, "a:") as tar:
        tar.addfile(folder)
