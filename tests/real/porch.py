"""porchd under test: its configuration, its start, reload and stop, and what it wrote.

It is started as a service manager would: ready when it says READY=1 on NOTIFY_SOCKET (sd_notify(3)), and a
reload is over when it says so again.
"""

import json
import os
import pathlib
import signal
import socket
import subprocess
import time

from lab import wait_until

BINARY = os.environ.get("PORCHD_REAL_BINARY", "porchd")

CONFIG = """\
matrix:
  server_name: {name}
  host: matrix.{name}
  home: home
  well_known:
    server: {well_known}
listeners:
  https: {{ bind: {https}, tls: true }}
  federation: {{ bind: {federation}, tls: true }}
  http: {{ bind: {http} }}
tls:
  certificates:
    - {{ cert: {cert}, key: {key} }}
upstreams:
  home:
    backends: [ "{address}:{port}" ]
    probe: {probe}
{upstream}drain: {{ stop: 10s, reload: 1m }}
state_dir: {state}
log:
  level: debug
  access: {{ file: {access}, format: json }}
{more}"""


def title(pid):
    """What a process is called in lists; nothing if it has ended."""
    try:
        words = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return ""
    return words.split(b"\0")[0].decode(errors="replace")


def children(pid):
    """The process ids of its children, the oldest first."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found.append((int(fields[19]), int(path.parent.name)))
    return [child for _, child in sorted(found)]


class Daemon:
    """One porchd: its folder, its start, reload and stop. What it is to serve stands in `file`."""

    def __init__(self, lab, name):
        self.lab, self.name = lab, name
        self.dir = lab.dir / ("porchd-" + name)
        self.dir.mkdir()
        self.file = self.dir / "porchd.yaml"
        self.process = None
        self.binary = BINARY
        self.notify = self.dir / "notify"
        self.ears = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.ears.bind(str(self.notify))
        # Its ears stay open as long as the suite lives: it says STOPPING=1 into them.
        lab.porches.append(self)

    def run(self, *arguments, limit=60):
        """Runs another of porchd's commands to its end."""
        return subprocess.run(
            [self.binary, *map(str, arguments)], capture_output=True, text=True, timeout=limit, stdin=subprocess.DEVNULL
        )

    def start(self, *wrapper):
        """Starts it, by a wrapper if one is named, and waits until it is ready."""
        env = dict(os.environ, NOTIFY_SOCKET=str(self.notify), RUST_BACKTRACE="1")
        self.process = self.lab.spawn([*wrapper, self.binary, "run", "-f", self.file], f"porchd-{self.name}.out", env=env)
        self.hear("READY=1", 30)
        return self

    def hear(self, wanted, seconds):
        """Waits for one state; returns all that was said until then."""
        deadline, said = time.monotonic() + seconds, []
        while time.monotonic() < deadline:
            if not self.process.alive():
                raise SystemExit(
                    f"porchd of {self.name} ended with {self.process.child.returncode}\n{self.process.tail()}"
                )
            self.ears.settimeout(0.5)
            try:
                said += self.ears.recv(4096).decode().splitlines()
            except TimeoutError:
                continue
            if wanted in said:
                return said
        raise SystemExit(
            f"porchd of {self.name} did not say {wanted} in {seconds} s, only {said}\n{self.process.tail()}"
        )

    def forget(self):
        """What it had said to its manager is forgotten; few such words fit into the ears."""
        self.ears.setblocking(False)
        try:
            while self.ears.recv(4096):
                pass
        except BlockingIOError:
            pass

    def reload(self):
        """SIGHUP, and waits until it is over; returns what was said."""
        self.process.signal(signal.SIGHUP)
        return self.hear("READY=1", 30)

    def edges(self):
        """The process ids of its edges, the oldest first."""
        return [pid for pid in children(self.process.child.pid) if title(pid) == "porchd: edge"]

    def edge(self):
        """The process id of its one edge."""
        return wait_until(lambda: pids[0] if len(pids := self.edges()) == 1 else None, 20, "it has one edge")

    def family(self):
        """The process ids of warden and edges."""
        return [self.process.child.pid, *self.edges()]

    def memory(self):
        """Resident MiB of all its processes."""
        texts = (pathlib.Path(f"/proc/{pid}/status").read_text() for pid in self.family())
        return sum(int(text.split("VmRSS:")[1].split()[0]) for text in texts) / 1024

    def kill(self):
        """SIGKILL for warden and edges, as when a machine loses its power."""
        edges = self.edges()
        self.process.kill()
        for pid in edges:
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not any(map(title, edges)), 10, "its edges are gone")

    def said(self):
        """All that it wrote to standard error."""
        return self.process.log.read_text(errors="replace")


class Porch(Daemon):
    """One porchd in front of one home."""

    def __init__(self, lab, name, port, addresses, well_known=None, names=(), **settings):
        super().__init__(lab, name)
        self.access = self.dir / "access.log"
        cert, key = lab.certificate(name, "matrix." + name, *names)
        self.cert = cert

        def binds(number):
            return json.dumps([f"[{a}]:{number}" if ":" in a else f"{a}:{number}" for a in addresses])

        self.facts = dict(
            name=name,
            address="127.0.0.1",
            port=port,
            probe="{ every: 2s, every_when_down: 500ms, timeout: 2s }",
            upstream="",
            cert=cert,
            key=key,
            access=self.access,
            state=self.dir / "state",
            https=binds(443),
            federation=binds(8448),
            http=binds(80),
            well_known=json.dumps(well_known or False),
            more="",
        )
        self.write(**settings)

    def write(self, **settings):
        """Writes the configuration; what is given stays for the next time."""
        self.facts.update(settings)
        self.file.write_text(CONFIG.format(**self.facts))
        return self

    def tells(self, command, *arguments):
        """What `porchd status` or `porchd incidents` shows a person."""
        done = self.run(command, "-f", self.file, *arguments)
        return done.stdout + done.stderr

    def lines(self):
        """The access log, oldest first."""
        if not self.access.exists():
            return []
        return [json.loads(line) for line in self.access.read_text().splitlines() if line.startswith("{")]
