"""The laboratory: a scratch folder, pinned processes, and an end that leaves nothing behind.

Proxies run on the first CPU that this process may use, everything else on the others. It knows no proxy and
no measurement; see `peers.py` and `rounds.py`.
"""

import contextlib
import json
import os
import pathlib
import resource
import selectors
import shutil
import signal
import socket
import subprocess
import tempfile
import time

# What is asked by all loads, and who is asked.
SMALL = "/_matrix/client/v3/account/whoami"
BIG = "/_matrix/client/v1/media/download/localhost/big"
UPLOAD = "/_matrix/media/v3/upload"
FILE = "/file.js"
WELL_KNOWN = "/.well-known/matrix/client"
POLL = "/_matrix/client/v3/sync?timeout="

SMALL_BYTES = 200
FILE_BYTES = 4096
BIG_BYTES = 100 << 20


class Failed(Exception):
    """A measurement that would not be one; its text says why."""


class Stopped(BaseException):
    """A signal asked for the end."""


class Interrupts:
    """Signals that end the run, but not between a process that was started and its place in the book."""

    def __init__(self):
        self.held = 0
        self.came = None
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._take)

    def _take(self, number, _):
        self.came = number
        if not self.held:
            raise Stopped(number)

    @contextlib.contextmanager
    def hold(self):
        """What comes meanwhile takes effect at the end."""
        self.held += 1
        try:
            yield
        finally:
            self.held -= 1
        if self.came and not self.held:
            raise Stopped(self.came)


class Process:
    """A program and what it starts: they share a session, by which all of them are found."""

    def __init__(self, argv, folder, name, cpus=None, env=None, talks=False):
        self.name = name
        self.errors = pathlib.Path(folder) / f"{name}.err"
        pinned = ["taskset", "-c", cpus] if cpus else []
        with open(self.errors, "ab") as errors, open(self.errors.with_suffix(".out"), "ab") as out:
            self.child = subprocess.Popen(
                [*pinned, *map(str, argv)],
                stdin=subprocess.PIPE if talks else subprocess.DEVNULL,
                stdout=subprocess.PIPE if talks else out,
                stderr=errors,
                env=dict(os.environ, **(env or {})),
                cwd=folder,
                start_new_session=True,
            )

    def pids(self):
        """All processes of its session."""
        mine = []
        for entry in os.scandir("/proc"):
            if entry.name.isdigit() and (stat := read_stat(entry.name)) and int(stat[3]) == self.child.pid:
                mine.append(int(entry.name))
        return mine

    def alive(self):
        """Those of them that have not ended."""
        return [pid for pid in self.pids() if (read_stat(pid) or "Z")[0] not in "ZX"]

    def stop(self):
        """Ends all of it, by process id."""
        deadline = time.monotonic() + 10
        while (alive := self.alive()) and time.monotonic() < deadline:
            for pid in alive:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            self.child.poll()
            time.sleep(0.002)
        self.child.wait()
        for pipe in (self.child.stdin, self.child.stdout):
            if pipe:
                pipe.close()

    def tail(self):
        """The end of what it complained of."""
        return "\n".join(self.errors.read_text(errors="replace").splitlines()[-8:])

    def send(self, line):
        """One line to its standard input."""
        self.child.stdin.write(line.encode() + b"\n")
        self.child.stdin.flush()

    def told(self, seconds):
        """The next line of its standard output, as JSON."""
        with selectors.DefaultSelector() as ready:
            ready.register(self.child.stdout, selectors.EVENT_READ)
            line = self.child.stdout.readline() if ready.select(seconds) else b""
        if not line:
            raise Failed(f"{self.name} said nothing within {seconds:.0f} s: {self.tail()}")
        return json.loads(line)

    def close_input(self):
        """Ends its standard input, which ends what it holds."""
        self.child.stdin.close()


class Lab:
    """A scratch folder with certificate and files, and all processes; leaving it ends them."""

    def __init__(self, load, interrupts, nice=0):
        allowed = sorted(os.sched_getaffinity(0))
        if len(allowed) < 2:
            raise SystemExit("two CPUs are needed: one for the proxies, one for the load")
        os.sched_setaffinity(0, allowed[1:])
        self.cpus = len(allowed)
        self.proxy_cpu = str(allowed[0])
        self.all_cpus = ",".join(map(str, allowed))
        if nice:
            os.setpriority(os.PRIO_PROCESS, 0, nice)
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.descriptors = 65536 if most == resource.RLIM_INFINITY else min(65536, most)
        resource.setrlimit(resource.RLIMIT_NOFILE, (self.descriptors, most))
        self.load_program = load
        self.running = []
        self.interrupts = interrupts
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="porchd-compare-"))
        self.next_port = 20100

    def __enter__(self):
        try:
            self._furnish()
            self.origin = self.spawn([self.load_program, "origin"], "origin", talks=True)
            self.origin_port = self.origin.told(10)["port"]
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        # A second Ctrl-C must not leave processes behind.
        with self.interrupts.hold():
            for process in reversed(self.running):
                process.stop()
            shutil.rmtree(self.dir, ignore_errors=True)

    def _furnish(self):
        self.dir.chmod(0o755)
        self.cert, self.key = self.dir / "cert.pem", self.dir / "key.pem"
        self.cert_and_key = self.dir / "both.pem"
        # Hosts of many sites are below sites.test.
        names = "subjectAltName=DNS:localhost,DNS:*.sites.test"
        made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        made += ["-days", "30", "-subj", "/CN=localhost", "-addext", names, "-keyout", self.key, "-out", self.cert]
        done = subprocess.run(list(map(str, made)), capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"openssl req failed: {done.stderr}")
        self.cert_and_key.write_bytes(self.cert.read_bytes() + self.key.read_bytes())
        self.static = self.dir / "static"
        self.static.mkdir()
        (self.static / FILE.lstrip("/")).write_text("// porch\n".ljust(FILE_BYTES, "x"))
        # A hole of a file: what it holds does not matter to TLS.
        self.upload = self.dir / "upload.bin"
        with open(self.upload, "wb") as file:
            file.truncate(BIG_BYTES)
        # wrk has no option for it: what its TLS library offers, first of all AES-128-GCM.
        self.openssl_conf = self.dir / "openssl.cnf"
        self.openssl_conf.write_text(
            "openssl_conf = all\n[all]\nssl_conf = ssl\n[ssl]\nsystem_default = offered\n[offered]\n"
            "Ciphersuites = TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384\nGroups = X25519:P-256\n"
        )

    def spawn(self, argv, name, **more):
        """Starts a process that ends with the laboratory at the latest."""
        with self.interrupts.hold():
            process = Process(argv, self.dir, name, **more)
            self.running.append(process)
        return process

    def end(self, process):
        """Ends one process before its time."""
        with self.interrupts.hold():
            process.stop()
            self.running.remove(process)

    def run(self, argv, name, seconds, env=None):
        """Runs a load to its end and returns what it said; it is ended after `seconds`."""
        process = self.spawn(argv, name, env=env, talks=True)
        try:
            said, _ = process.child.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            raise Failed(f"{name} did not end within {seconds:.0f} s") from None
        finally:
            self.end(process)
        if process.child.returncode:
            raise Failed(f"{name} failed: {process.tail() or said.decode()[-400:]}")
        return said.decode(errors="replace")

    def ask_load(self, *arguments, seconds=60):
        """Runs a command of the load tool and returns what it told."""
        said = self.run([self.load_program, *arguments], f"load-{arguments[0]}", seconds)
        return json.loads(said.splitlines()[-1])

    def port(self):
        """A port of 127.0.0.1 that nobody has, below those that clients are given."""
        while True:
            self.next_port += 1
            with socket.socket() as attempt:
                attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    attempt.bind(("127.0.0.1", self.next_port))
                    return self.next_port
                except OSError:
                    continue

    def polls(self):
        """How many long polls have reached the origin and wait there."""
        with socket.create_connection(("127.0.0.1", self.origin_port), 10) as ask:
            ask.sendall(b"GET /waiting HTTP/1.1\r\nHost: origin\r\n\r\n")
            said = b""
            while b"\r\n\r\n" not in said or said.endswith(b"\r\n\r\n"):
                said += ask.recv(4096)
        return int(said.rpartition(b"\r\n\r\n")[2])


def read_stat(pid):
    """The fields of /proc/PID/stat from the state on; nothing when it is gone."""
    try:
        text = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return text[text.rindex(")") + 2 :].split()


def wait_until(condition, seconds, what):
    """Waits for `condition`, or fails."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise Failed(f"gave up after {seconds:.0f} s waiting until {what}")
        time.sleep(0.01)
