"""Pages of a Python package index: read, reduced to what a build used, and written again.

A page is HTML (PEP 503, with the attributes of PEPs 592, 658 and 714) or JSON (PEP 691). It changes whenever
someone uploads a file, so a recording keeps of it only the files that the build read; a page made of just
those leads every client to the same choice again.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

import msgspec

from rbuild.digest import Digest
from rbuild.errors import RbuildError
from rbuild.htmltags import tags
from rbuild.recording import IndexFile, Response, SimpleIndex

MAX_PAGE = 64 << 20  # bytes
_MAX_FILES = 200_000  # of one project; each costs a tenth of a millisecond
JSON_TYPE = "application/vnd.pypi.simple.v1+json"
HTML_TYPE = "application/vnd.pypi.simple.v1+html"
PLAIN_HTML = "text/html"

# What a file of an index is answered with, whatever its server sent: the lock has no headers for it.
FILE_HEADERS = {"content-type": "application/octet-stream"}

_ALIASES = {
    "application/vnd.pypi.simple.latest+json": JSON_TYPE,
    "application/vnd.pypi.simple.latest+html": HTML_TYPE,
}
_PROJECT = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?\Z")
_DISTRIBUTION = re.compile(r"\.(?:whl|tar\.gz|tar\.bz2|tar\.xz|tgz|zip|egg|exe|msi|rpm|deb|dmg)\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class PageFile:
    """A file as a page lists it; `url` is absolute and without a fragment."""

    name: str
    url: str
    sha256: Digest | None = None
    size: int | None = None
    requires_python: str | None = None
    yanked: bool | str = False


@dataclass(frozen=True, slots=True)
class Page:
    """The page of one project, whole."""

    url: str
    project: str
    files: tuple[PageFile, ...]

    @classmethod
    def of(cls, index: SimpleIndex) -> Page:
        """The page that `render` makes of `index`."""
        files = tuple(
            PageFile(
                name=file.name,
                url=file.url,
                sha256=file.sha256,
                size=file.size,
                requires_python=file.requires_python,
                yanked=file.yanked,
            )
            for file in index.files
        )
        return cls(index.url, index.project, files)


def file_key(url: str) -> str:
    """What the URL of a file is compared by: clients write `+` and `%2B` as they like."""
    return unquote(url)


def is_simple_page(url: str, content_type: str) -> bool:
    """Whether a response may be the page of a project; `parse_page` has the last word on plain HTML."""
    media_type = _media_type(content_type)
    if media_type in (JSON_TYPE, HTML_TYPE):
        return bool(_project(url))
    return media_type == PLAIN_HTML and bool(_project(url))


def parse_page(url: str, content_type: str, data: bytes) -> Page | None:
    """Read the page that `url` answered; None if it is not the page of a project after all.

    Plain HTML counts where it lies below a folder `simple`, or lists distributions with their sha256 and
    nothing else. A file without a usable name or an http(s) URL is left out, as clients do.
    """
    project = _project(url)
    if project is None or len(data) > MAX_PAGE:
        return None
    media_type = _media_type(content_type)
    if media_type == JSON_TYPE:
        return _parse_json(url, data)
    if media_type not in (HTML_TYPE, PLAIN_HTML):
        return None
    base, found = _links(url, data.decode(errors="replace"))
    if len(found) > _MAX_FILES:
        return None
    files = tuple(file for attributes in found if (file := _linked_file(base, attributes)))
    told = media_type == HTML_TYPE or urlsplit(url).path.rstrip("/").split("/")[-2] == "simple"
    if not told:
        all_files = len(files) == len(found) and all(_DISTRIBUTION.search(file.name) for file in files)
        if not (all_files and any(file.sha256 for file in files)):
            return None
    return Page(url, project, files)


def lock_page(page: Page, read: Mapping[str, Response]) -> SimpleIndex:
    """Reduce `page` to the files that a build read: their bodies, or their metadata (PEP 658).

    `read` has the responses by `file_key` of their URL. The digests are those of the bytes that were read.
    """
    files: dict[str, IndexFile] = {}
    for file in page.files:
        body = read.get(file_key(file.url))
        metadata = read.get(file_key(file.url + ".metadata"))
        sha256 = body.sha256 if body else file.sha256
        if sha256 is None or (body is None and metadata is None):
            continue
        files[file.name] = IndexFile(
            name=file.name,
            url=file.url,
            sha256=sha256,
            size=body.size if body else file.size,
            requires_python=file.requires_python,
            metadata=metadata.sha256 if metadata else None,
            yanked=file.yanked,
        )
    return SimpleIndex(url=page.url, project=page.project, files=tuple(files.values()))


def render(index: SimpleIndex, accept: str) -> tuple[str, bytes]:
    """Write the page: its content type, by the request's Accept header, and its bytes."""
    media_type = negotiate(accept)
    if media_type == JSON_TYPE:
        return media_type, _render_json(index)
    return (media_type if media_type == HTML_TYPE else "text/html; charset=utf-8"), _render_html(index)


def negotiate(accept: str) -> str:
    """The media type that an Accept header likes best (RFC 9110, section 12.5.1); plain HTML in doubt."""
    liked: dict[str, tuple[float, int]] = {}
    for part in accept.split(","):
        name, *parameters = (piece.strip() for piece in part.split(";"))
        name = _ALIASES.get(name.lower(), name.lower())
        quality = 1.0
        for parameter in parameters:
            key, _, value = parameter.partition("=")
            if key.strip().lower() == "q":
                try:
                    quality = float(value)
                except ValueError:
                    quality = 0.0
        for offered in (PLAIN_HTML, JSON_TYPE, HTML_TYPE):
            group = offered.partition("/")[0] + "/*"
            exactness = {offered: 2, group: 1, "*/*": 0}.get(name)
            if exactness is not None and exactness >= liked.get(offered, (0.0, -1))[1]:
                liked[offered] = (quality, exactness)
    best = max(liked, key=lambda offered: liked[offered], default=PLAIN_HTML)
    return best if liked.get(best, (0.0, 0))[0] > 0 else PLAIN_HTML


def _media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def _project(url: str) -> str | None:
    """The project that a page's URL names, normalised (PEP 503)."""
    parts = urlsplit(url).path.rstrip("/").split("/")
    name = unquote(parts[-1])
    if len(parts) < 2 or not _PROJECT.match(name) or _DISTRIBUTION.search(name):
        return None
    return re.sub(r"[-_.]+", "-", name).lower()


class _JsonFile(msgspec.Struct):
    filename: str
    url: str
    hashes: dict[str, str] = {}
    size: Any = None
    requires_python: Any = msgspec.field(name="requires-python", default=None)
    yanked: Any = False


class _JsonPage(msgspec.Struct):
    name: str
    files: list[_JsonFile]


def _parse_json(url: str, data: bytes) -> Page | None:
    try:
        page = msgspec.json.decode(data, type=_JsonPage)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if len(page.files) > _MAX_FILES:
        return None
    found = []
    for file in page.files:
        address = _absolute(url, file.url)
        if address and _is_name(file.filename):
            found.append(
                PageFile(
                    name=file.filename,
                    url=address,
                    sha256=_digest(file.hashes.get("sha256")),
                    size=file.size if type(file.size) is int and file.size >= 0 else None,
                    requires_python=file.requires_python if isinstance(file.requires_python, str) else None,
                    yanked=file.yanked if isinstance(file.yanked, str) and file.yanked else bool(file.yanked),
                )
            )
    return Page(url, page.name, tuple(found))


def _links(url: str, text: str) -> tuple[str, list[dict[str, str | None]]]:
    """What the URLs of a page are relative to, and the attributes of every `<a href>`."""
    base = url
    found: list[dict[str, str | None]] = []
    for tag, attributes in tags(text):
        href = attributes.get("href")
        if href and tag == "a":
            found.append(attributes)
        elif href and tag == "base" and not found:
            base = _absolute(base, href) or base
        if len(found) > _MAX_FILES:
            break
    return base, found


def _linked_file(base: str, attributes: Mapping[str, str | None]) -> PageFile | None:
    href = attributes["href"] or ""
    address = _absolute(base, href)
    name = unquote(urlsplit(address).path.rsplit("/", 1)[-1]) if address else ""
    if not address or not _is_name(name):
        return None
    algorithm, _, value = href.partition("#")[2].partition("=")
    yanked: bool | str = False
    if "data-yanked" in attributes:
        yanked = attributes["data-yanked"] or True
    return PageFile(
        name=name,
        url=address,
        sha256=_digest(value.partition("&")[0]) if algorithm == "sha256" else None,
        requires_python=attributes.get("data-requires-python") or None,
        yanked=yanked,
    )


def _absolute(base: str, reference: str) -> str | None:
    try:
        address = urldefrag(urljoin(base, reference.strip())).url
        usable = urlsplit(address).hostname is not None
    except ValueError:
        return None
    return address if usable and address.startswith(("http://", "https://")) else None


def _is_name(name: str) -> bool:
    return bool(name) and "/" not in name and name not in (".", "..") and name.isprintable()


def _digest(hex_digits: str | None) -> Digest | None:
    try:
        return Digest((hex_digits or "").lower())
    except RbuildError:
        return None


def _render_json(index: SimpleIndex) -> bytes:
    files = []
    for file in index.files:
        entry: dict[str, Any] = {
            "filename": file.name,
            "hashes": {"sha256": file.sha256.hex},
            "requires-python": file.requires_python,
            "url": file.url,
            "yanked": file.yanked,
        }
        if file.size is not None:
            entry["size"] = file.size
        if file.metadata is not None:
            # Not also as `dist-info-metadata`: pip 22.3 to 23.1 trips over that one (PEP 714).
            entry["core-metadata"] = {"sha256": file.metadata.hex}
        files.append(entry)
    page = {"files": files, "meta": {"api-version": "1.0"}, "name": index.project}
    return msgspec.json.encode(page, order="sorted")


def _render_html(index: SimpleIndex) -> bytes:
    lines = [
        "<!DOCTYPE html>",
        "<html>",
        '<head><meta name="pypi:repository-version" content="1.0">',
        f"<title>{html.escape(index.project)}</title></head>",
        "<body>",
    ]
    for file in index.files:
        attributes = {"href": f"{file.url}#sha256={file.sha256.hex}"}
        if file.requires_python is not None:
            attributes["data-requires-python"] = file.requires_python
        if file.metadata is not None:
            attributes["data-core-metadata"] = f"sha256={file.metadata.hex}"
            attributes["data-dist-info-metadata"] = f"sha256={file.metadata.hex}"
        if file.yanked is not False:
            attributes["data-yanked"] = "" if file.yanked is True else file.yanked
        text = " ".join(f'{name}="{html.escape(value)}"' for name, value in attributes.items())
        lines.append(f"<a {text}>{html.escape(file.name)}</a><br>")
    lines += ["</body>", "</html>", ""]
    return "\n".join(lines).encode()
