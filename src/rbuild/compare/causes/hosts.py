"""What a build learns of the machine that it runs on."""

from __future__ import annotations

import re

from rbuild.compare.causes.setting import Setting
from rbuild.compare.causes.tokens import Spot, Token

_MOST_CPUS = 4096

# Keys of /proc/cpuinfo and lscpu(1), of /proc/meminfo.
_PROCESSOR = re.compile(
    rb"(?:model name|cpu mhz|cpu m(?:ax|in) mhz|cpu family|cpu op-mode\(s\)|bogomips|microcode|stepping"
    rb"|vendor[_ ]id|cache size|cpu (?:implementer|architecture|variant|part|revision)|l[123][di]? cache"
    rb"|hypervisor vendor|vulnerability [a-z ]{2,40}|(?:model|flags|bugs|features)(?=\t))\s*:",
    re.IGNORECASE,
)
_MEMORY = re.compile(
    rb"(?:Mem(?:Total|Free|Available)|Buffers|Cached|Swap(?:Total|Free)|Active|Inactive|Slab|Committed_AS):"
    rb"\s+\d+ kB"
)
_RELEASE = re.compile(rb"\d{1,2}\.\d{1,3}\.\d{1,4}(?:[-+.~_][\w.+~-]{1,60})?")
_KERNEL = re.compile(rb"(?:kernel|uname|osrelease)[a-z_. \"'-]{0,20}[=:]\s{0,4}[\"']?$")
_LINUX = re.compile(rb"\bLinux (?:version |[A-Za-z0-9.-]{1,64} )?$")
_UNAME = re.compile(rb" \d{1,2}\.\d{1,3}\.\d{1,4}\S{0,80} #")
_MICROARCHITECTURES = frozenset(
    b"x86-64 x86-64-v2 x86-64-v3 x86-64-v4 nehalem westmere sandybridge ivybridge haswell broadwell skylake"
    b" skylake-avx512 cascadelake cooperlake icelake-client icelake-server sapphirerapids graniterapids"
    b" alderlake znver1 znver2 znver3 znver4 znver5 neoverse-n1 neoverse-n2 neoverse-v1 neoverse-v2"
    b" cortex-a72".split()
)
_FEATURE = re.compile(
    rb"[+-]?(?:sse[23]?|ssse3|sse4(?:[._][12]|a)?|avx2?|avx512\w{0,12}|avx_vnni|fma[34]?|bmi[12]|aes|f16c"
    rb"|popcnt|adx|sha_ni|amx_\w{2,6}|neon|asimd\w{0,4}|sve2?|xop)"
)
_CPUS = re.compile(
    rb"(?:^|[^a-z])(?:(?:n|num|max|logical|physical|online|total)?[_-]{0,2}"
    rb"(?:cpus?|cores?|procs?|processors?|nproc|threads|jobs)(?:[_ -]?(?:count|num|number|total|online))?"
    rb"|(?:number|count) of (?:cpus?|cores|processors|threads))[\s\"']{0,2}[=:]?[\s\"']{0,2}$"
)
_JOBS = re.compile(rb"(?:^|[\s=\"'])-$")
_CPU_UNIT = re.compile(rb"\s(?:cpus?|cores?|processors?)\b", re.IGNORECASE)
_CONTAINER = re.compile(rb"[0-9a-f]{12}")  # what Podman calls a container that has no other name
_HOST = re.compile(rb"[A-Za-z0-9][A-Za-z0-9-]{0,62}(?:\.[A-Za-z0-9-]{1,63}){0,6}")
_NAMES_A_HOST = re.compile(
    rb"(?:host|hostnames?|host_name|nodename|node|mailname|fqdn|machine)[\s\"']{0,2}[=:@]?[\s\"']{0,2}$"
)
_HOST_FILE = re.compile(rb"etc/(?:hostname|mailname|nodename)")


def kernel_or_cpu(a: Token, b: Token, spot: Spot, setting: Setting) -> bool:
    """A kernel's release, a line of /proc/cpuinfo, a processor's architecture or feature."""
    tables = [host_table(token) for token in (a, b)]
    if tables[0] is not None or tables[1] is not None:
        return tables[0] == tables[1]
    wide = [token.widened() for token in (a, b)]
    if all(_RELEASE.fullmatch(token.text) for token in wide):
        named = all(_KERNEL.search(setting.name_of(token)) for token in wide)
        return named or all(_of_uname(token) for token in wide)
    if all(token.text in _MICROARCHITECTURES for token in wide):
        return True
    return all(_FEATURE.fullmatch(token.widened(b"_").text) for token in (a, b))


def host_table(token: Token) -> bytes | None:
    """The key of a line that tells of the processor or the memory, whose value the token is a part of."""
    for pattern in (_PROCESSOR, _MEMORY):
        match = pattern.match(token.line)
        key = token.line.partition(b":")[0] if match else b""
        if key and token.start > len(key):
            return key.strip().lower()
    return None


def _of_uname(token: Token) -> bool:
    before = token.before[-100:]
    if not _LINUX.search(before):
        return False
    return before.endswith(b"version ") or b"-" in token.text or token.after.startswith((b" #", b" ("))


def cpu_count(a: Token, b: Token, spot: Spot, setting: Setting) -> bool:
    """Two small numbers that a key, an option or a unit calls a number of processors."""
    return all(_counts_cpus(token, setting) for token in (a, b))


def _counts_cpus(token: Token, setting: Setting) -> bool:
    option = token.text.startswith(b"j") and _JOBS.search(token.before[-2:]) is not None  # -j4
    digits = token.text[1:] if option else token.text
    # A number that more adjoins is a version, a range, a fraction.
    alone = option or token.widened(b",").text.rstrip(b".,") == digits
    if not alone or not digits.isdigit() or len(digits) > 4 or not 0 < int(digits) <= _MOST_CPUS:
        return False
    named = _CPUS.search(setting.name_of(token)) or _CPU_UNIT.match(token.after)
    return option or named is not None


def hostname(a: Token, b: Token, spot: Spot, setting: Setting) -> bool:
    """Two names of building hosts, or of containers where a host's name belongs."""
    wide = [token.widened() for token in (a, b)]
    if not all(_HOST.fullmatch(token.text) for token in wide):
        return False
    if _HOST_FILE.fullmatch(setting.path) or all(token.text.decode() in setting.hosts for token in wide):
        return True
    if all(token.before.endswith(b"Linux ") and _UNAME.match(token.after) for token in wide):
        return True
    drawn = all(_CONTAINER.fullmatch(token.text) for token in wide)
    return drawn and all(_NAMES_A_HOST.search(setting.name_of(token)) for token in wide)
