"""What a proxy costs: CPU time and memory of all its processes, from /proc.

CPU time is the scheduler's own count in nanoseconds; where the system keeps none, ticks of `stat`.
"""

import collections
import contextlib
import os
import pathlib

import lab

TICK = 10**9 // os.sysconf("SC_CLK_TCK")

# Nanoseconds by (process, thread), of children that ended, and when it was taken is the caller's business.
Snapshot = collections.namedtuple("Snapshot", "threads ended")
# KiB.
Memory = collections.namedtuple("Memory", "pss private")


def snapshot(process):
    """The CPU time of a process and what it started, up to now."""
    threads, ended = {}, 0
    for pid in process.pids():
        stat = lab.read_stat(pid)
        if not stat:
            continue
        # What children used that have been waited for: workers that a reload replaced.
        ended += (int(stat[13]) + int(stat[14])) * TICK
        threads.update(of_threads(pid) or {(pid, 0): (int(stat[11]) + int(stat[12])) * TICK})
    return Snapshot(threads, ended)


def of_threads(pid):
    """Nanoseconds on a CPU by thread; nothing where the system does not count them."""
    spent = {}
    for path in pathlib.Path(f"/proc/{pid}/task").glob("*/schedstat"):
        # A thread that ends meanwhile is none.
        with contextlib.suppress(OSError):
            spent[pid, int(path.parent.name)] = int(path.read_text().split()[0])
    return spent if any(spent.values()) else {}


def spent(before, after):
    """Seconds of CPU time between two snapshots."""
    running = sum(now - before.threads.get(thread, 0) for thread, now in after.threads.items())
    # What a process had used before, that ended since, is among that of ended children.
    processes = {pid for pid, _ in after.threads}
    gone = sum(then for (pid, _), then in before.threads.items() if pid not in processes)
    return max(0, running + after.ended - before.ended - gone) / 1e9


def memory(process):
    """Its memory now: its share of what is shared (PSS), and what is its alone."""
    pss = private = 0
    for pid in process.pids():
        try:
            lines = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
        except OSError:
            continue
        sizes = {name: int(size) for name, size, *_ in (line.replace(":", "").split() for line in lines)}
        pss += sizes["Pss"]
        private += sizes["Private_Clean"] + sizes["Private_Dirty"]
    return Memory(pss, private)


def busy(cpu):
    """Seconds that a CPU was not idle, and seconds that the host took of it."""
    for line in pathlib.Path("/proc/stat").read_text().splitlines():
        name, *ticks = line.split()
        if name == f"cpu{cpu}":
            user, nice, system, _, _, interrupts, soft, steal, *_ = map(int, ticks)
            return (user + nice + system + interrupts + soft) * TICK / 1e9, steal * TICK / 1e9
    return 0.0, 0.0
