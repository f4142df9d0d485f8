"""Reports as rbuild could make them, and as nobody should."""

from __future__ import annotations

from rbuild.compare.model import (
    Blame,
    Cause,
    Change,
    Comparison,
    Detail,
    Difference,
    Field,
    LayerPair,
    Part,
    Row,
    Side,
    Verdict,
)
from rbuild.digest import Digest
from rbuild.errors import Problem, Where
from rbuild.htmlreport import Condition, StageReport

DATE = Cause(
    id="build-date",
    title="build date in a file",
    explanation="A program wrote the time of the build into a file.",
    hint="take the time from `$SOURCE_DATE_EPOCH`, which rbuild sets in every `RUN`",
)
BYTECODE = Cause(
    id="bytecode",
    title="Python bytecode with its source's time",
    explanation="A .pyc file's header holds the mtime of the source that it was compiled from.",
    hint="leave the normaliser `bytecode` on, or `pip install --no-compile …`",
)
BUILD_ID = Cause(
    id="build-path",
    title="build path or build id in a program",
    explanation="A compiled program holds the folder that it was built in, or a hash over such things.",
    hint="compile with `-ffile-prefix-map=$PWD=.`, or link with `-Wl,--build-id=none`",
)
ZIP_TIMES = Cause(
    id="archive-member-times",
    title="times of an archive's members",
    explanation="An archive holds the mtime of each member, and the members were written during the build.",
    hint="`find DIR -exec touch -d @$SOURCE_DATE_EPOCH {} +` first, then `zip -X`",
)
UMASK = Cause(
    id="user-or-umask",
    title="user or umask",
    explanation="The permission bits of a file are those of whoever checked the project out.",
    hint="say them in the Containerfile: `COPY --chmod=644 …`",
)
UNKNOWN = Cause(
    id="unknown",
    title="cause unknown",
    explanation="No cause of the catalogue fits.",
    hint="look at the first differing byte, and at what the instruction runs",
)

PIP = Blame(text="RUN pip install --no-cache-dir -r requirements.txt", file="train/Containerfile", line=9)
MAKE = Blame(text="RUN make -C /src/solver install", file="train/Containerfile", line=14)
COPY = Blame(text="COPY --chown=1000:1000 train.py config/ /app/", file="train/Containerfile", line=17)
STAMP = Blame(
    text="RUN ./configure-model --stamp > /app/build-info.json", file="train/Containerfile", line=21
)


def digest(name: str) -> Digest:
    return Digest.of(name.encode(errors="surrogatepass"))


def hexadecimal(data: bytes) -> str:
    text = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in data)
    return f"{data.hex(' '):<47}  {text}"


def entry(name: str, cause: Cause | None = DATE, **more: object) -> Difference:
    return Difference(part=Part.ENTRY, name=name, change=Change.CHANGED, cause=cause, **more)  # type: ignore[arg-type]


def layer(number: int, *children: Difference, blame: Blame | None = None, omitted: int = 0) -> Difference:
    return Difference(
        part=Part.LAYER,
        name=f"layer {number}",
        change=Change.CHANGED,
        blame=blame,
        children=children,
        omitted=omitted,
    )


def stage(name: str, *differences: Difference, layers: tuple[LayerPair, ...] = ()) -> StageReport:
    comparison = Comparison(
        a=Side(name=f"{name}, as locked", digest=digest("a" + name)),
        b=Side(name=f"{name}, as built now", digest=digest("b" + name)),
        verdict=Verdict.DIFFERENT,
        layers=layers,
        differences=differences,
    )
    return StageReport(name=name, verdict=Verdict.DIFFERENT, comparison=comparison)


def identical(name: str) -> StageReport:
    return StageReport(name=name, verdict=Verdict.IDENTICAL, locked=digest(name), built=digest(name))


def many(count: int) -> list[StageReport]:
    """One stage with `count` differing files in one layer, each with its lines side by side."""
    return [stage("train", layer(3, *(numbered(number) for number in range(count)), blame=STAMP))]


def numbered(number: int) -> Difference:
    rows = (
        *(Row(a=f"key {at}: value", b=f"key {at}: value", at_a=f"{at}", at_b=f"{at}") for at in (1, 2, 3)),
        Row(a="built: 2026-03-14 09:26:53", b="built: 2026-03-14 09:31:07", at_a="4", at_b="4"),
        *(Row(a=f"key {at}: value", b=f"key {at}: value", at_a=f"{at}", at_b=f"{at}") for at in (5, 6, 7)),
    )
    return entry(
        f"/usr/share/models/part-{number:05}/manifest.txt",
        why="line 4 holds two times: 2026-03-14 09:26:53 and 2026-03-14 09:31:07",
        blame=STAMP,
        fields=(Field(name="sha256", a=digest(f"a{number}").hex, b=digest(f"b{number}").hex),),
        detail=Detail(form="text", rows=rows),
    )


def pipeline() -> list[StageReport]:
    """Three stages, one of which differs in many ways, and one that nobody could judge."""
    return [_train(), identical("pre-process"), _infer()]


def _train() -> StageReport:
    layers = (
        (28_230_541, 28_230_541, "debian:bookworm", None),
        (
            3_512_870,
            3_512_870,
            "RUN apt-get update && apt-get install -y --no-install-recommends libgomp1",
            4,
        ),
        (112_480_113, 112_481_002, PIP.text, PIP.line),
        (18_220_411, 18_220_399, MAKE.text, MAKE.line),
        (48_211, 48_196, COPY.text, COPY.line),
        (612, 613, STAMP.text, STAMP.line),
    )
    pairs = tuple(
        LayerPair(
            number=number,
            blame=Blame(text=text, file="train/Containerfile", line=line) if line else None,
            a=digest(f"layer {number}"),
            b=digest(f"layer {number}" if a == b else f"other {number}"),
            size_a=a,
            size_b=b,
            shared=a == b,
        )
        for number, (a, b, text, line) in enumerate(layers, 1)
    )
    report = stage(
        "train",
        _config(),
        layer(3, *_bytecode(), _wheel(), blame=PIP),
        layer(4, _solver(), blame=MAKE),
        layer(5, _modes(), _added(), blame=COPY),
        layer(6, _stamped(), blame=STAMP),
        layers=pairs,
    )
    return StageReport(
        name="train",
        verdict=report.verdict,
        comparison=report.comparison,
        conditions=(
            Condition(name="host name", digest=digest("btrain"), same=True, note="another-host"),
            Condition(name="CPUs", digest=digest("btrain"), same=True, note="1 of 8"),
            Condition(name="umask", digest=digest("umask"), same=False, note="077", comparison=_umask()),
            Condition(
                name="storage driver", digest=None, same=False, outcome="not varied", note="no second one"
            ),
        ),
    )


def _umask() -> Comparison:
    return Comparison(
        a=Side(name="train, as built now", digest=digest("btrain")),
        b=Side(name="train, under umask 077", digest=digest("umask")),
        verdict=Verdict.DIFFERENT,
        layers=(),
        differences=(layer(5, _modes(), blame=COPY),),
    )


def _config() -> Difference:
    return Difference(
        part=Part.CONFIG,
        name="config.Labels.org.opencontainers.image.created",
        change=Change.CHANGED,
        fields=(Field(name="value", a="2026-03-14T09:26:53Z", b="2026-03-14T09:31:07Z"),),
        cause=DATE,
        why="two times of one form, 4 min 14 s apart",
        blame=Blame(text="LABEL org.opencontainers.image.created=$NOW", file="train/Containerfile", line=23),
    )


def _bytecode() -> list[Difference]:
    names = ("__init__", "base", "ensemble/_forest", "metrics/_ranking", "utils/validation")
    header_a = bytes.fromhex("a70d0d0a000000005f3cb36518900000e3000000000000000000000000050000")
    header_b = bytes.fromhex("a70d0d0a000000005d3db36518900000e3000000000000000000000000050000")
    rows = tuple(
        Row(
            a=hexadecimal(header_a[at : at + 16]),
            b=hexadecimal(header_b[at : at + 16]),
            at_a=f"{at:08x}",
            at_b=f"{at:08x}",
        )
        for at in (0, 16)
    )
    return [
        entry(
            f"/usr/lib/python3/dist-packages/sklearn/{name}.cpython-311.pyc",
            BYTECODE,
            why="bytes 8 to 11 of the header are the source's mtime: 2026-03-14 09:26:39 and 09:30:53",
            blame=PIP,
            detail=Detail(form="hex", rows=rows),
        )
        for name in names
    ]


def _wheel() -> Difference:
    member = Difference(
        part=Part.MEMBER,
        name="solver-1.4.dist-info/METADATA",
        change=Change.CHANGED,
        fields=(Field(name="mtime", a="2026-03-14 09:26:40", b="2026-03-14 09:30:54"),),
        cause=ZIP_TIMES,
        why="the member's time is that of the build",
        blame=PIP,
    )
    other = Difference(
        part=Part.MEMBER,
        name="solver/_native.so",
        change=Change.CHANGED,
        cause=BUILD_ID,
        why="the section .note.gnu.build-id differs",
        blame=PIP,
    )
    return entry("/root/.wheels/solver-1.4-cp311-linux_x86_64.whl", None, children=(member, other))


def _solver() -> Difference:
    a, b = digest("x").hex[:40], digest("y").hex[:40]
    head = bytes.fromhex("040000001400000003000000474e5500")
    row_a, row_b = head + bytes.fromhex(a), head + bytes.fromhex(b)
    rows = tuple(
        Row(
            a=hexadecimal(row_a[at : at + 16]),
            b=hexadecimal(row_b[at : at + 16]),
            at_a=f"{0x370 + at:08x}",
            at_b=f"{0x370 + at:08x}",
        )
        for at in range(0, 36, 16)
    )
    section = Difference(
        part=Part.MEMBER,
        name=".note.gnu.build-id",
        change=Change.CHANGED,
        cause=BUILD_ID,
        why="a build id is a hash over the program, debug information with its folder included",
        blame=MAKE,
        detail=Detail(form="hex", rows=rows),
    )
    text = Difference(
        part=Part.MEMBER,
        name=".rodata",
        change=Change.CHANGED,
        cause=UNKNOWN,
        why="first differing byte at 0x4c21",
        blame=MAKE,
        detail=Detail(
            form="hex",
            omitted=True,
            rows=(
                Row(
                    a=hexadecimal(b"solver 1.4 seed "),
                    b=hexadecimal(b"solver 1.4 seed "),
                    at_a="00004c10",
                    at_b="00004c10",
                ),
                Row(
                    a=hexadecimal(b"0x5f1e77a0\0\0\0\0\0\0"),
                    b=hexadecimal(b"0x91c3d204\0\0\0\0\0\0"),
                    at_a="00004c20",
                    at_b="00004c20",
                ),
            ),
        ),
    )
    return entry("/usr/local/bin/solver", None, children=(section, text))


def _modes() -> Difference:
    return entry(
        "/app/config/défaut.yaml",
        UMASK,
        why="0644 and 0600 are the same mode under umask 022 and 077",
        blame=COPY,
        fields=(Field(name="mode", a="0644", b="0600"), Field(name="owner", a="1000:1000", b="1000:1000")),
    )


def _added() -> Difference:
    return Difference(
        part=Part.ENTRY,
        name="/app/config/.train.py.swp",
        change=Change.ADDED,
        fields=(Field(name="size", a=None, b="12288"), Field(name="mode", a=None, b="0600")),
        cause=UNKNOWN,
        why="only B has it",
        blame=COPY,
        note="12,288 bytes; binary, not opened",
    )


def _stamped() -> Difference:
    lines = (
        (1, "{", "{"),
        (2, '  "model": "random-forest",', '  "model": "random-forest",'),
        (3, '  "built": "2026-03-14T09:26:53Z",', '  "built": "2026-03-14T09:31:07Z",'),
        (4, '  "duration": 12.81,', '  "duration": 13.02,'),
        (5, '  "features": ["sepal", "petal"]', '  "features": ["sepal", "petal"]'),
        (6, None, '  "warning": "slow clock"'),
        (7, "}", "}"),
    )
    rows = tuple(
        Row(a=a, b=b, at_a="" if a is None else str(at - (at > 6)), at_b=str(at)) for at, a, b in lines
    )
    return entry(
        "/app/build-info.json",
        DATE,
        why="line 3 holds two times: `2026-03-14T09:26:53Z` and `2026-03-14T09:31:07Z`",
        blame=STAMP,
        fields=(Field(name="size", a="131", b="160"),),
        detail=Detail(form="text", rows=rows),
    )


def _infer() -> StageReport:
    return StageReport(
        name="infer",
        verdict=Verdict.UNKNOWN,
        locked=digest("infer"),
        problems=(
            Problem(
                what="infer.py is not what it was when the stage was locked",
                where=Where(file="rbuild.lock", line=212, key="stages.infer.context"),
                hint="`rbuild lock infer` locks what is there now",
            ),
        ),
    )
