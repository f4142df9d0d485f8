"""Rules about commands of a RUN that want to be more than a rootless build may be."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from msgspec import Meta

from rbuild.policy.facts import FileFacts
from rbuild.policy.model import Level, Violation
from rbuild.policy.rule import Rule, Settings
from rbuild.policy.runs import runs

_INSTALLERS = {
    "apt-get": "install",
    "apt": "install",
    "aptitude": "install",
    "apk": "add",
    "dnf": "install",
    "microdnf": "install",
    "yum": "install",
    "zypper": "install",
}
_SUDO_PACKAGES = frozenset({"sudo", "doas", "opendoas", "sudo-ldap", "policykit-1", "pkexec"})
_NEEDS_PRIVILEGE = frozenset(
    {
        *("mount", "umount", "losetup", "dmsetup", "cryptsetup", "swapon", "swapoff", "mkswap"),
        *("modprobe", "insmod", "rmmod", "kexec", "setenforce"),
        *("iptables", "ip6tables", "iptables-restore", "nft", "ufw", "firewall-cmd"),
    }
)
_QUERIES = ("--version", "--help", "-V", "-h")


def _uses_sudo(facts: FileFacts, _: Settings) -> Iterable[Violation]:
    for run in runs(facts):
        for command in run.commands:
            used = next((one for one in ("sudo", "doas", "pkexec") if one in command.through), None)
            if used or command.name in ("sudo", "doas", "pkexec"):
                name = used or command.name
                what = f"{name} in a RUN, which is root already or may not become it"
            elif (names := _installs_sudo(command.name, command.words)) is not None:
                what = f"{command.name} installs {names}"
            else:
                continue
            yield Violation(message=what, where=facts.at(command.line), text=command.text[:200])


def _installs_sudo(program: str, words: tuple[str, ...]) -> str | None:
    verb = _INSTALLERS.get(program)
    if verb is None or verb not in words:
        return None
    names = {word.partition("=")[0].partition(":")[0] for word in words[words.index(verb) + 1 :]}
    return ", ".join(sorted(names & _SUDO_PACKAGES)) or None


class PrivilegeSettings(Settings, frozen=True, kw_only=True):
    """Of the rule about commands that need privileges."""

    commands: Annotated[
        tuple[str, ...], Meta(description="More commands that no build may need: fusermount, …")
    ] = ()


def _needs_privilege(facts: FileFacts, settings: PrivilegeSettings) -> Iterable[Violation]:
    commands = _NEEDS_PRIVILEGE | set(settings.commands)
    for run in runs(facts):
        for flag in run.instruction.flags:
            if flag.name == "security" and flag.value == "insecure":
                yield Violation(
                    message="RUN --security=insecure asks for a privileged build",
                    where=facts.at(run.instruction.line),
                    text=run.instruction.original[:200],
                )
        for command in run.commands:
            if _is_privileged(command.name, command.words, commands):
                yield Violation(
                    message=f"{command.name} needs privileges that no rootless build has",
                    where=facts.at(command.line),
                    text=command.text[:200],
                )


def _is_privileged(name: str, words: tuple[str, ...], commands: set[str] | frozenset[str]) -> bool:
    arguments = words[1:]
    if any(word in _QUERIES for word in arguments):
        return False
    if name == "mknod":
        return any(word in ("b", "c", "u") for word in arguments)
    if name == "sysctl":
        return any(word in ("-w", "--write", "-p", "--system") or "=" in word for word in arguments)
    if name in ("mount", "swapon") and not arguments:
        return False  # lists what is mounted
    return name in commands


RULES = (
    Rule(
        id="RB205",
        name="sudo-used",
        title="A RUN uses or installs sudo.",
        level=Level.WARNING,
        why="A RUN is root unless a USER before it says otherwise, and a rootless build cannot become more. "
        "An image with sudo in it lets its user become root.",
        example="RUN sudo apt-get install -y curl",
        fix="leave sudo out; USER 0 before the step and USER 10001:10001 after it",
        files=_uses_sudo,
    ),
    Rule(
        id="RB211",
        name="needs-privilege",
        title="A RUN needs privileges.",
        level=Level.ERROR,
        why="It works only where a build may do everything: neither rootless, nor in a cluster.",
        example="RUN --security=insecure mount -t tmpfs none /mnt",
        fix="do it when the container is run, or prepare the files before the build and COPY them",
        settings=PrivilegeSettings,
        files=_needs_privilege,
    ),
)
