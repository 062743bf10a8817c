"""Floods and stalls: what they cost in memory, and what other clients feel of them.

The bounds on memory are the promised ones; those on time are wide, since a shared machine is no stopwatch. The
table at the end has the figures beside those of other proxies under the same floods. $PORCHD_FLOODS=full takes all
9,000 half-open connections under the default limits; else it is 1,000, and all of it is shorter.
"""

import contextlib
import json
import os
import pathlib
import select
import subprocess
import sys
import threading
import time

import talk
from lab import HERE, eventually, wait_until
from porch import Porch
from suite_faults import Home, listens
from talk import ask

LIMIT = 60
FULL = os.environ.get("PORCHD_FLOODS") == "full"
HALF_OPEN = 9000 if FULL else 1000
SECONDS = 4 if FULL else 1
PATIENCE = "" if FULL else "limits: { handshake: 4s, request_head: 4s }\n"
BASE = "https://matrix.a.test"
SITES = "sites: [ { hosts: [ matrix.a.test ], routes: [ { path: /quick/, forward: quick } ] } ]\n"
# Under the same floods on a machine like it: nginx 1.22, HAProxy 2.6, Caddy 2.6.
OTHERS = {
    "half-open": "353 MiB, 72 s; 325 MiB, 70 s; 249 MiB, never",
    "readers": "+16 MiB; +26 MiB; +49 MiB",
    "reset": "19 MiB, 4.4 s; 17 MiB, 0.43 s; 402 MiB, 4.4 s",
}


class Bystander:
    """A client that asks all the time, and notes how long each answer took."""

    def __init__(self, lab):
        self.lab, self.over = lab, threading.Event()
        self.seconds, self.failed = [], []
        self.threads = [threading.Thread(target=self._kept), threading.Thread(target=self._new)]
        [thread.start() for thread in self.threads]

    def _kept(self):
        line = talk.Line(self.lab, "matrix.a.test", timeout=30)
        while not self.over.is_set():
            self._note(lambda: line.ask("GET", "/quick/x"))
            time.sleep(0.01)
        line.close()

    def _new(self):
        while not self.over.is_set():
            self._note(lambda: ask(self.lab, "GET", BASE + "/quick/x", timeout=30))
            time.sleep(0.05)

    def _note(self, act):
        begun = time.monotonic()
        try:
            status = act().status
            if status != 200:
                self.failed.append(status)
        except OSError as error:
            self.failed.append(type(error).__name__)
        self.seconds.append(time.monotonic() - begun)

    def p99(self):
        """Ends it; the 99th percentile of what it waited, connections of its own included."""
        self.over.set()
        [thread.join(60) for thread in self.threads]
        return sorted(self.seconds)[int(len(self.seconds) * 0.99)]


class Flood:
    """Clients that mean harm."""

    def __init__(self, lab, kind, seconds, number=0):
        argv = [sys.executable, HERE / "flood_clients.py", kind, lab.ca, seconds, number]
        self.child = subprocess.Popen(
            list(map(str, argv)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

    def held(self, seconds=60):
        """Waits until it holds its connections."""
        ready, _, _ = select.select([self.child.stdout], [], [], seconds)
        assert ready and self.child.stdout.readline() == "held\n", "the flood did not begin"

    def told(self):
        """What it did."""
        return json.loads(self.child.stdout.readline() or "{}")

    def end(self):
        """Ends it."""
        with contextlib.suppress(OSError):
            self.child.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.child.wait(5)
        self.child.kill()
        self.child.wait()


class Memory:
    """Resident MiB of porchd's processes, and the most of it."""

    def __init__(self, porch):
        self.porch = porch

    def _sum(self, field):
        texts = [pathlib.Path(f"/proc/{pid}/status").read_text() for pid in self.porch.family()]
        return sum(int(text.split(field + ":")[1].split()[0]) for text in texts) / 1024

    def begin(self):
        """The most is measured from now on; what it is now."""
        for pid in self.porch.family():
            pathlib.Path(f"/proc/{pid}/clear_refs").write_text("5")
        return self.porch.memory()

    def most(self):
        """The most since then."""
        return self._sum("VmHWM")


class Table:
    """What was measured, for people."""

    def __init__(self, lab):
        self.lab, self.rows = lab, []

    def row(self, kind, title, before, most, p99, more=""):
        """One flood."""
        seen = f"{before:.0f} -> {most:.0f} MiB, p99 of others {p99 * 1000:.0f} ms{more}"
        self.rows.append(f"| {title} | {seen} | {OTHERS.get(kind, '')} |")

    def show(self):
        """All of it, on the screen and in the folder of texts for people."""
        head = ["| flood | porchd | nginx, HAProxy, Caddy |", "| --- | --- | --- |"]
        text = "\n".join(head + self.rows)
        print(text, flush=True)
        shown = self.lab.dir / "shown"
        shown.mkdir(exist_ok=True)
        (shown / "floods.md").write_text(text + "\n")


def run(lab):
    lab.names({"a.test": ["127.0.0.2"]})
    home = Home(lab)
    home.start()
    # What is asked in bulk keeps the first home busy; bystanders ask another one.
    lab.spawn([sys.executable, HERE / "stand_in.py", 8009], "bystanders-home.out")
    wait_until(lambda: listens(8009), 10, "the bystanders' home listens")
    upstream = '  quick: { backends: [ "127.0.0.1:8009" ], probe: { tcp: true } }\n'
    porch = Porch(lab, "a.test", 8008, ["127.0.0.2"], well_known="matrix.a.test:443", upstream=upstream, more=SITES + PATIENCE)
    porch.file.write_text(porch.file.read_text().replace("level: debug", "level: info"))
    porch.start()
    wait_until(lambda: ask(lab, "GET", BASE + "/_matrix/x").status == 200, 10, "home is up")
    memory, table = Memory(porch), Table(lab)
    # In this order: what a flood has touched stays resident, and the least bound comes first.
    holds_little(lab, memory, table, "readers", "300 clients that read nothing of 32 MiB", 300, 16)
    holds_little(lab, memory, table, "readers-h2", "100 of them by HTTP/2", 100, 16)
    storm(lab, memory, table, "reset", "rapid reset, 4 s", 4, 40)
    for kind, title in (
        ("made-you-reset", "made-you-reset"),
        ("continuation", "heads without end"),
        ("bombs", "header bombs"),
        ("pings", "pings whose answers nobody reads"),
        ("settings", "settings whose answers nobody reads"),
        ("handshakes", "handshakes that are left"),
    ):
        storm(lab, memory, table, kind, f"{title}, {SECONDS} s", SECONDS, 64)
    storm(lab, memory, table, "slow", f"200 slow heads and bodies, {SECONDS} s", SECONDS, 64, 200)
    half_open(lab, memory, table)
    renegotiation(lab)
    # A piece of 64 KiB for each stream, at the most. Nothing of home's is asked after it.
    holds_little(lab, memory, table, "windows", "4 clients, 100 streams each with a window of 1 byte", 4, 32)
    gives_way(lab, porch, table)
    lab.check("no panic in porchd's log", "panicked" not in porch.said())
    table.show()


def storm(lab, memory, table, kind, title, seconds, bound, number=0):
    """A flood that goes on for a while: its memory, and who else is served."""
    before = memory.begin()
    bystander = Bystander(lab)
    flood = Flood(lab, kind, seconds, number)
    told = flood.told()
    p99, most = bystander.p99(), memory.most()
    flood.end()
    table.row(kind, title, before, most, p99)
    lab.check(f"{title}: memory stays below {bound} MiB", most < bound, f"{before:.0f} -> {most:.0f} MiB, {told}")
    good = not bystander.failed and p99 < 2
    lab.check(f"{title}: others are served", good, f"p99 {p99 * 1000:.0f} ms of {len(bystander.seconds)}, {bystander.failed}")


def holds_little(lab, memory, table, kind, title, number, bound):
    """Clients that take nothing: what porchd holds for them."""
    before = memory.begin()
    flood = Flood(lab, kind, 0, number)
    flood.held()
    bystander = Bystander(lab)
    time.sleep(2)
    p99, most = bystander.p99(), memory.most()
    flood.end()
    table.row(kind, title, before, most, p99)
    grown = most - before
    lab.check(f"{title}: memory grows by less than {bound} MiB", grown < bound, f"{grown:.1f} MiB")
    lab.check(f"{title}: others are served", not bystander.failed and p99 < 2, f"p99 {p99 * 1000:.0f} ms, {bystander.failed}")


def half_open(lab, memory, table):
    """Connections that never get on: memory, and how soon they are gone."""
    title = f"{HALF_OPEN} half-open connections"
    before = memory.begin()
    bystander = Bystander(lab)
    flood = Flood(lab, "half-open", 40, HALF_OPEN)
    flood.held()
    told = flood.told()
    p99, most = bystander.p99(), memory.most()
    flood.end()
    table.row("half-open", title, before, most, p99, f", dropped in {told.get('seconds', 0):.0f} s")
    lab.check(f"{title}: memory stays below 150 MiB", most < 150, f"{before:.0f} -> {most:.0f} MiB")
    dropped = told.get("left") == 0 and told["seconds"] < 30
    lab.check(f"{title}: dropped within 30 s", dropped, told)
    lab.check(f"{title}: others are served", not bystander.failed and p99 < 2, f"p99 {p99 * 1000:.0f} ms, {bystander.failed}")


def renegotiation(lab):
    """TLS 1.2's renegotiation is not done."""
    argv = ["openssl", "s_client", "-connect", "127.0.0.2:443", "-servername", "matrix.a.test", "-tls1_2", "-CAfile", lab.ca]
    child = subprocess.Popen(
        list(map(str, argv)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    child.stdin.write("R\n")
    child.stdin.flush()
    try:
        said, _ = child.communicate(timeout=10)
    except subprocess.TimeoutExpired:
        child.kill()
        said = "it hangs: " + child.communicate()[0]
    end = said[said.rfind("RENEGOTIATING") :]
    lab.check("TLS renegotiation is refused", "RENEGOTIATING" in said and "verify return" not in end, end[-200:])


def gives_way(lab, porch, table):
    """At the bound, who idles gives way: newcomers are served although nobody leaves."""
    porch.write(more=SITES + "limits: { connections: 100 }\n")
    porch.reload()
    flood = Flood(lab, "idle", 0, 120)
    flood.held()
    begun = time.monotonic()
    statuses = [ask(lab, "GET", BASE + "/quick/x", timeout=20).status for _ in range(5)]
    seconds = time.monotonic() - begun
    flood.end()
    table.rows.append(f"| 120 idle connections where 100 are let in | 5 newcomers served in {seconds:.1f} s | |")
    lab.check("at the bound on connections, who idles gives way", statuses == [200] * 5, f"{seconds:.1f} s")
    again = eventually(lambda: ask(lab, "GET", BASE + "/quick/x", timeout=20).status == 200, 10)
    lab.check("and it goes on afterwards", again)
