"""What kind of machine this is, without its name."""

import datetime
import os
import pathlib
import platform
import re


def kind():
    """Such as "2 shared cores, x86-64, Debian 12"; shared, because a virtual machine has no core of its own."""
    cores = os.cpu_count()
    return f"{cores} {'shared ' if is_virtual() else ''}cores, {architecture()}, {system()}"


def is_virtual():
    """Whether a hypervisor is below."""
    return bool(re.search(r"^flags\s*:.*\bhypervisor\b", read("/proc/cpuinfo"), re.M))


def architecture():
    """In the words of people."""
    return {"x86_64": "x86-64", "aarch64": "ARM64"}.get(platform.machine(), platform.machine())


def system():
    """Name and version of the distribution."""
    release = dict(re.findall(r'^(\w+)="?([^"\n]*)"?$', read("/etc/os-release"), re.M))
    return f"{release.get('NAME', 'Linux').removesuffix(' GNU/Linux')} {release.get('VERSION_ID', '')}".strip()


def processor():
    """The processor's own name for itself."""
    found = re.search(r"^model name\s*:\s*(.+)$", read("/proc/cpuinfo"), re.M)
    return found.group(1).strip() if found else architecture()


def today():
    """The date, in UTC."""
    return datetime.datetime.now(datetime.UTC).date().isoformat()


def read(path):
    """A small file of the system, or nothing."""
    try:
        return pathlib.Path(path).read_text()
    except OSError:
        return ""
