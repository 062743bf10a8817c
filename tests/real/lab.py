"""The laboratory of one suite: names, certificates, processes, and the book of what passed.

A suite runs in network, mount and process namespaces of its own (`run.py` sees to that): only a loopback
exists, so ports 80, 443 and 8448 are free, nothing leaves the machine, and every process ends with the
suite. It does not know Matrix or porchd; see `homeserver.py` and `porch.py`.
"""

import json
import os
import pathlib
import shutil
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
CACHE = pathlib.Path(os.environ.get("PORCHD_REAL_DIR") or pathlib.Path.home() / ".cache" / "porchd-real")


class Book:
    """What passed and what failed, told as it happens."""

    def __init__(self):
        self.passed = 0
        self.failed = 0
        # Some suites do several things at once.
        self.turn = threading.Lock()

    def check(self, name, ok, detail=""):
        """Notes one result; `detail` is what was seen, and is always shown."""
        ok = bool(ok)
        text = str(detail)
        if len(text) > 400:
            text = text[:400] + "..."
        with self.turn:
            self.passed += ok
            self.failed += not ok
            print(("PASS " if ok else "FAIL ") + name + (f"  [{text}]" if text else ""), flush=True)
        return ok

    def close(self):
        """The closing line, and the exit code."""
        print(f"{self.passed} passed, {self.failed} failed", flush=True)
        return 1 if self.failed or not self.passed else 0


class Process:
    """A process with its output in a file."""

    def __init__(self, argv, log, env=None, cwd=None):
        self.log = pathlib.Path(log)
        with open(self.log, "ab") as out:
            self.child = subprocess.Popen(
                [str(a) for a in argv], stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=env, cwd=cwd
            )

    def alive(self):
        """Whether it still runs."""
        return self.child.poll() is None

    def signal(self, number):
        """Sends a signal."""
        self.child.send_signal(number)

    def stop(self, patience=20):
        """SIGTERM, then SIGKILL; returns the exit code."""
        if self.alive():
            self.child.terminate()
            try:
                self.child.wait(patience)
            except subprocess.TimeoutExpired:
                self.child.kill()
        return self.child.wait()

    def kill(self):
        """SIGKILL, at once."""
        if self.alive():
            self.child.kill()
        self.child.wait()

    def tail(self, lines=25):
        """The end of its output."""
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


class Lab:
    """Names, certificates and a scratch folder for one suite."""

    def __init__(self, folder):
        self.dir = pathlib.Path(folder)
        shutil.rmtree(self.dir, ignore_errors=True)
        self.dir.mkdir(parents=True, exist_ok=True)
        self.dir.chmod(0o755)
        self.book = Book()
        self.check = self.book.check
        self.running = []
        self.porches = []
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        self.ipv6 = os.path.exists("/proc/sys/net/ipv6")
        self.ca = self.dir / "ca.pem"
        self._make_ca()
        self.tls = ssl.create_default_context(cafile=str(self.ca))

    # -- processes -------------------------------------------------------------------------------

    def spawn(self, argv, log, **more):
        """Starts a process that ends with the suite."""
        process = Process(argv, self.dir / log, **more)
        self.running.append(process)
        return process

    def stop_all(self):
        """Stops what still runs, the latest first."""
        for process in reversed(self.running):
            process.stop(10)

    # -- names -----------------------------------------------------------------------------------

    def names(self, zones, hosts=None):
        """A resolver for `zones`: {"a.test": ["127.0.0.2", "fd00::2"]}; each name covers what is below it.

        A zone without addresses has only the names of `hosts`, a file in the form of /etc/hosts that the
        resolver reads again on SIGHUP. Returns the resolver; `resolver_argv` starts one more on another host.

        Every other record type of these names is NODATA, not NXDOMAIN: a federating peer asks for SRV
        first, and must be told that the name exists.
        """
        argv = [
            "dnsmasq",
            "--keep-in-foreground",
            "--no-daemon",
            "--conf-file=/dev/null",
            "--no-resolv",
            "--no-hosts",
            "--user=root",
            "--listen-address=127.0.0.1",
            "--bind-interfaces",
            "--local-ttl=5",
            "--pid-file=",
        ]
        if hosts:
            argv.append(f"--addn-hosts={hosts}")
        for zone, addresses in zones.items():
            argv.append(f"--local=/{zone}/")
            for address in addresses:
                argv.append(f"--address=/{zone}/{address}")
                if ":" in address:
                    subprocess.run(["ip", "address", "add", address + "/128", "dev", "lo", "nodad"], check=True)
        for path, text in (
            ("/etc/resolv.conf", "nameserver 127.0.0.1\noptions timeout:2\n"),
            ("/etc/hosts", "127.0.0.1 localhost\n::1 localhost\n"),
        ):
            mine = self.dir / os.path.basename(path)
            mine.write_text(text)
            subprocess.run(["mount", "--bind", str(mine), os.path.realpath(path)], check=True)
        self.resolver_argv = argv
        resolver = self.spawn(argv, "dnsmasq.log")
        zone = next(iter(zones))
        wait_until(lambda: ask_dns(zone, 1)[1] > 0, 10, "the resolver answers", resolver)
        return resolver

    # -- certificates ----------------------------------------------------------------------------

    def _make_ca(self):
        openssl(
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "30",
            "-subj",
            "/CN=porchd test authority",
            "-addext",
            "basicConstraints=critical,CA:TRUE",
            "-addext",
            "keyUsage=critical,keyCertSign,cRLSign",
            "-keyout",
            self.dir / "ca.key",
            "-out",
            self.ca,
        )

    def certificate(self, *names):
        """A certificate for `names`, signed by the test authority: (chain, key)."""
        stem = self.dir / names[0]
        chain, key, request = (
            stem.with_name(names[0] + ".crt"),
            stem.with_name(names[0] + ".key"),
            stem.with_name(names[0] + ".csr"),
        )
        extensions = stem.with_name(names[0] + ".ext")
        extensions.write_text(
            "subjectAltName="
            + ",".join("DNS:" + name for name in names)
            + "\nbasicConstraints=CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=serverAuth\n"
        )
        openssl(
            "req",
            "-new",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-subj",
            "/CN=" + names[0],
            "-keyout",
            key,
            "-out",
            request,
        )
        openssl(
            "x509",
            "-req",
            "-in",
            request,
            "-CA",
            self.ca,
            "-CAkey",
            self.dir / "ca.key",
            "-CAcreateserial",
            "-days",
            "20",
            "-extfile",
            extensions,
            "-out",
            chain,
        )
        chain.write_bytes(chain.read_bytes() + self.ca.read_bytes())
        return chain, key


def openssl(*arguments):
    """Runs openssl; its output is shown only when it fails."""
    done = subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"openssl {arguments[0]} failed: {done.stderr}")


def ask_dns(name, kind):
    """One question to the suite's resolver: (response code, number of answers); (-1, 0) for no answer."""
    question = b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"
    packet = struct.pack(">HHHHHH", 0x5050, 0x0100, 1, 0, 0, 0) + question + struct.pack(">HH", kind, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ask:
        ask.settimeout(1)
        try:
            ask.connect(("127.0.0.1", 53))
            ask.send(packet)
            answer = ask.recv(1500)
        except OSError:
            return -1, 0
    _, flags, _, answers, _, _ = struct.unpack(">HHHHHH", answer[:12])
    return flags & 15, answers


def eventually(condition, seconds):
    """The first value of `condition` that holds, or its last one after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (value := condition()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return value


def wait_until(condition, seconds, what, process=None):
    """Waits for `condition`; gives up after `seconds`, or when `process` has ended."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        if process and not process.alive():
            raise SystemExit(
                f"gave up waiting until {what}: the process ended with {process.child.returncode}\n{process.tail()}"
            )
        time.sleep(0.05)
    raise SystemExit(f"gave up waiting until {what}, after {seconds} s" + ("\n" + process.tail() if process else ""))


def node(lab, script, *arguments, limit=180):
    """Runs a node script that prints one JSON object a line: {"check": .., "ok": .., "detail": ..}."""
    env = dict(os.environ, PORCHD_REAL_JS=str(CACHE / "js"), NODE_EXTRA_CA_CERTS=str(lab.ca))
    log = lab.dir / (script + ".log")
    with open(log, "wb") as err:
        child = subprocess.Popen(
            ["node", str(HERE / script), *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=err,
            env=env,
            text=True,
        )
    deadline, finished = time.monotonic() + limit, False
    try:
        for line in child.stdout:
            if time.monotonic() > deadline:
                break
            try:
                told = json.loads(line)
            except ValueError:
                continue
            finished = finished or told.get("done", False)
            if "check" in told:
                lab.check(told["check"], told["ok"], told.get("detail", ""))
        code = child.wait(max(1, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        code = "timeout"
    finally:
        child.kill()
        child.wait()
    tail = log.read_text(errors="replace")[-400:]
    lab.check(
        f"{script} ran to its end", finished and code == 0, "" if finished and code == 0 else f"exit {code}: {tail}"
    )


if __name__ == "__main__":
    sys.exit("this is a module: start run.py")
