"""Where the matrix builds: this host, and root file systems with other versions of Podman.

Rootless Podman needs subordinate ids, a runtime folder and, for fuse-overlayfs, a /dev/fuse that it may open.
Each command gets them in mount and PID namespaces of its own, for which the matrix is started by root:
no user is added to the host, no device's mode is changed, and what a command leaves running ends with it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parent.parent
SUITES = {"trixie": "trixie", "sid": "sid"}  # what a place other than the host is made of
_PACKAGES = (
    *("podman", "buildah", "skopeo", "crun", "runc", "conmon", "fuse-overlayfs", "passt", "uidmap"),
    *("netavark", "aardvark-dns", "catatonit", "ca-certificates", "mmdebstrap", "git", "python3"),
    *("python3-venv", "locales", "tzdata"),
)
LOCALE = "tr_TR.UTF-8"  # in Turkish, the small letter of I is not i
_UV = "uv>=0.13.9,<0.14"  # as in scripts/venv
_PASSED = re.compile(r"(?i)(https?|ftp|all|no)_proxy|(UV|PIP)_(INDEX_URL|HTTP_TIMEOUT|DEFAULT_TIMEOUT)")
_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"


@dataclass(frozen=True, slots=True)
class User:
    """An ordinary user inside a place, with the subordinate ids (uids and gids) that are theirs."""

    name: str
    uid: int
    first_sub_id: int
    sub_ids: int = 65536


USERS = {
    "one": User("one", 61001, 700_000),
    "another": User("another", 62345, 3_000_000, 131_072),
}


@dataclass(frozen=True, slots=True)
class Place:
    """A root file system, and the folder of what belongs to it."""

    name: str
    root: Path
    kept: Path

    @property
    def venv(self) -> Path:
        """The Python environment with rbuild's locked dependencies; inside it is /mnt/venv."""
        return self.kept / "mnt" / "venv"

    def argv(self, user: User, home: Path, command: Sequence[str]) -> list[str]:
        etc, mnt = self.kept / "etc", self.kept / "mnt"
        # Whoever kills the matrix ends this as well, and with it everything in the namespaces.
        namespaces = ["setpriv", "--pdeathsig", "KILL", "--"]
        namespaces += ["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child"]
        enter = [str(HERE / "enter"), str(self.root), str(etc), str(mnt), str(home), str(user.uid)]
        return [*namespaces, "--", *enter, *command]

    def run(
        self,
        user: User,
        home: Path,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        timeout: float = 1800,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command as `user`, whose homes are in `home`. Nothing is checked but the time."""
        argv = self.argv(user, home, command)
        variables = {
            "HOME": f"/home/{user.name}",
            "USER": user.name,
            "LOGNAME": user.name,
            "LANG": "C.UTF-8",
            "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin",
            "XDG_RUNTIME_DIR": f"/run/user/{user.uid}",
            "PODMAN_IGNORE_CGROUPSV1_WARNING": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            **(env or {}),
        }
        process = subprocess.Popen(
            argv,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        try:
            out, err = process.communicate(timeout=timeout)
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise
        return subprocess.CompletedProcess(argv, process.returncode, out, err)

    def check(
        self, user: User, home: Path, command: Sequence[str], *, env: Mapping[str, str] | None = None
    ) -> str:
        """The output of a command that has to succeed."""
        done = self.run(user, home, command, env=env)
        if done.returncode != 0:
            raise SystemExit(f"{self.name}: {' '.join(command)[:500]}\n{done.stdout}{done.stderr}")
        return done.stdout


def network_environment() -> dict[str, str]:
    """What leads to the network from here: proxies, indexes, and the host's authorities."""
    chosen = {name: value for name, value in os.environ.items() if _PASSED.fullmatch(name)}
    trust = ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE")
    return {**chosen, **dict.fromkeys(trust, _BUNDLE)} if Path(_BUNDLE).exists() else chosen


def prepare(name: str, cache: Path, roots: Path) -> Place:
    """Have a place ready: its root file system, its users, its Python with rbuild's dependencies."""
    root = Path("/") if name == "host" else roots / name
    place = Place(name, root, cache / "places" / name)
    if name != "host" and not (root / "usr" / "bin" / "podman").exists():
        _bootstrap(SUITES[name], root)
    (place.kept / "etc").mkdir(parents=True, exist_ok=True)
    (place.kept / "mnt").mkdir(exist_ok=True)
    _write_etc(place)
    _make_locale(place)
    _make_venv(place, cache)
    return place


def _bootstrap(suite: str, root: Path) -> None:
    root.parent.mkdir(parents=True, exist_ok=True)
    making = root.with_name(f"{root.name}.making")
    shutil.rmtree(making, ignore_errors=True)
    argv = ["mmdebstrap", "--quiet", "--variant=essential", f"--include={','.join(_PACKAGES)}"]
    # The Release file of an unstable suite may have passed its Valid-Until, on a mirror that lags.
    argv += ['--aptopt=Acquire::Check-Valid-Until "false"', suite, str(making), mirror()]
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL)
    making.rename(root)


def mirror() -> str:
    """The first Debian mirror that this host's apt is configured with."""
    lists = [Path("/etc/apt/sources.list"), *Path("/etc/apt/sources.list.d").glob("*")]
    for file in sorted(file for file in lists if file.is_file()):
        if found := re.search(r"^(?:URIs:|deb .*?)\s*(https?://\S*debian/?)(?:\s|$)", file.read_text(), re.M):
            return found[1]
    return "http://deb.debian.org/debian"


def _write_etc(place: Place) -> None:
    """Write what is laid over the /etc of a place."""
    users = USERS.values()
    lines = {
        "passwd": [f"{user.name}:x:{user.uid}:{user.uid}::/home/{user.name}:/bin/bash" for user in users],
        "group": [f"{user.name}:x:{user.uid}:" for user in users],
        "subuid": [f"{user.name}:{user.first_sub_id}:{user.sub_ids}" for user in users],
    }
    lines["subgid"] = lines["subuid"]
    etc = place.kept / "etc"
    if place.name != "host":  # the way to the network is the host's
        shutil.copy("/etc/resolv.conf", etc)
        if Path(_BUNDLE).exists():
            (etc / "ssl" / "certs").mkdir(parents=True, exist_ok=True)
            shutil.copy(_BUNDLE, etc / "ssl" / "certs")
    for name, own in lines.items():
        # The host's other users stay, but have no subordinate ids here.
        known = (place.root / "etc" / name).read_text().splitlines() if not name.startswith("sub") else []
        (etc / name).write_text("\n".join([*known, *own, ""]))


def _make_locale(place: Place) -> None:
    """Compile a locale other than C for the place, which Debian's `locales` has the sources of."""
    language, _, charset = LOCALE.partition(".")
    made = place.kept / "mnt" / "locale" / LOCALE
    if made.exists():
        return
    made.parent.mkdir(parents=True, exist_ok=True)
    command = ["localedef", "--no-archive", f"--inputfile={language}", f"--charmap={charset}"]
    inside = ["chroot", str(place.root)] if place.name != "host" else []
    with tempfile.TemporaryDirectory(dir=place.root / "tmp") as making:
        target = Path(making) / LOCALE
        subprocess.run([*inside, *command, f"/{target.relative_to(place.root)}"], check=True)
        shutil.copytree(target, made)


def _make_venv(place: Place, cache: Path) -> None:
    """`uv.lock` as it is, by the place's own Python; made anew when one of the two has changed."""
    stamp = place.kept / "made-from"
    interpreter = (place.root / "usr/bin/python3").readlink()
    locked = hashlib.sha256((CHECKOUT / "uv.lock").read_bytes()).hexdigest()
    made_from = f"{interpreter} {locked}\n"
    if stamp.exists() and stamp.read_text() == made_from:
        return
    shutil.rmtree(place.venv, ignore_errors=True)
    place.venv.mkdir()
    user = USERS["one"]
    os.chown(place.venv, user.uid, user.uid)
    with home_of(user, cache) as home:
        project = home / user.name / "project"
        (project / "src" / "rbuild").mkdir(parents=True)
        for name in ("pyproject.toml", "uv.lock", "README.md"):
            shutil.copy(CHECKOUT / name, project)
        env = {**network_environment(), "UV_PROJECT_ENVIRONMENT": "/mnt/venv", "UV_PYTHON_DOWNLOADS": "never"}
        place.check(user, home, ["/usr/bin/python3", "-m", "venv", "/mnt/venv"], env=env)
        pip = ["/mnt/venv/bin/pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", _UV]
        place.check(user, home, pip, env=env)
        uv = ["/mnt/venv/bin/uv", "sync", "--frozen", "--inexact", "--no-dev", "--no-install-project"]
        uv += ["--compile-bytecode", "--quiet", "--no-cache", "--python", "/usr/bin/python3"]
        place.check(user, home, [*uv, "--project", f"/home/{user.name}/project"], env=env)
    (packages,) = place.venv.glob("lib/python3.*/site-packages")
    (packages / "rbuild.pth").write_text("/mnt/src\n")
    stamp.write_text(made_from)


@contextlib.contextmanager
def home_of(user: User, cache: Path) -> Iterator[Path]:
    """A folder with an empty home for `user`, gone at the end."""
    home = cache / "homes" / str(os.getpid())
    shutil.rmtree(home, ignore_errors=True)
    (home / user.name).mkdir(parents=True)
    try:
        os.chown(home / user.name, user.uid, user.uid)
        yield home
    finally:
        shutil.rmtree(home)
