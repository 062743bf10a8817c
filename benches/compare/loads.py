"""The loads: wrk, h2load and our own tool, and what each says of itself.

Each gives a `Load`. An answer that is not what was asked for counts as failed: a quick refusal is no result.
"""

import dataclasses
import re

import lab as laboratory

# The same as `load/wire.rs` sends.
HEADERS = {
    "user-agent": "Mozilla/5.0 (X11; Linux x86_64; rv:142.0) Gecko/20100101 Firefox/142.0",
    "accept": "application/json",
    "accept-language": "en,de;q=0.7",
    "accept-encoding": "gzip, deflate, br, zstd",
    "authorization": "Bearer syt_cG9yY2g_ZxYwVuTsRqPoNmLkJiHg_1a2B3c",
}
# KiB and so on, as wrk and h2load write them.
SIZES = {"B": 1, "KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30}


@dataclasses.dataclass
class Load:
    """What one load did."""

    # Units of work done: requests, handshakes or GiB.
    done: float
    failed: int
    seconds: float
    # More that it measured.
    more: dict = dataclasses.field(default_factory=dict)


def headers(host=None):
    """Options for wrk and h2load."""
    return [word for name, value in {**HEADERS, **({"Host": host} if host else {})}.items()
            for word in ("-H", f"{name}: {value}")]  # fmt: skip


def wrk(lab, port, path, length, seconds, connections=32):
    """Requests over kept HTTP/1.1 connections, as many as go."""
    argv = [
        "wrk",
        "-t1",
        f"-c{connections}",
        f"-d{seconds}s",
        *headers("localhost"),
        f"https://localhost:{port}{path}",
    ]
    said = lab.run(argv, "wrk", seconds + 30, env={"OPENSSL_CONF": str(lab.openssl_conf)})
    ran = re.search(r"(\d+) requests in ([\d.]+)s, ([\d.]+)([KMG]?B) read", said)
    if not ran:
        raise laboratory.Failed(f"wrk said: {said[-300:]}")
    done, read = int(ran[1]), float(ran[3]) * SIZES[ran[4]]
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", said)
    broken = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", said)
    failed = int(refused[1]) if refused else 0
    failed += sum(map(int, broken.groups())) if broken else 0
    # Too few bytes for so many answers; 2 percent for how wrk rounds.
    if read * 1.02 < done * length:
        failed += done
    return Load(done, failed, float(ran[2]))


def h2load(lab, port, path, seconds, connections=8, streams=10):
    """Requests over kept HTTP/2 connections, so many streams on each, as many as go."""
    argv = ["h2load", "-t1", f"-c{connections}", f"-m{streams}", f"-D{seconds}", *headers()]
    said = lab.run([*argv, f"https://localhost:{port}{path}"], "h2load", seconds + 30)
    return of_h2load(said)


def download(lab, port, count, http2):
    """So many bodies of 100 MiB, two at a time."""
    # Windows of 1 MiB for each stream and 16 MiB for each connection.
    spoken = ["-w20", "-W24"] if http2 else ["--h1"]
    argv = ["h2load", "-t1", "-c2", "-m1", f"-n{count}", *spoken, *headers()]
    said = lab.run([*argv, f"https://localhost:{port}{laboratory.BIG}"], "h2load", 120)
    load = of_h2load(said)
    sent = re.search(r"traffic: \S+ \(\d+\) total, .*, \S+ \((\d+)\) data", said)
    if load.done != count or not sent or int(sent[1]) != count * laboratory.BIG_BYTES:
        raise laboratory.Failed(f"a body came broken: {said[-500:]}")
    return in_gib(load)


def upload(lab, port, count):
    """So many bodies of 100 MiB the other way, over HTTP/1.1."""
    argv = ["h2load", "-t1", "-c2", "-m1", f"-n{count}", "--h1", "-d", lab.upload, *headers()]
    said = lab.run([*argv, f"https://localhost:{port}{laboratory.UPLOAD}"], "h2load", 120)
    load = of_h2load(said)
    if load.done != count:
        raise laboratory.Failed(f"an upload failed: {said[-500:]}")
    return in_gib(load)


def of_h2load(said):
    """What h2load says."""
    ran = re.search(r"finished in ([\d.]+)(ms|s|us)", said)
    status = re.search(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", said)
    sums = re.search(r"(\d+) failed, (\d+) errored, (\d+) timeout", said)
    if not (ran and status and sums):
        raise laboratory.Failed(f"h2load said: {said[-500:]}")
    seconds = float(ran[1]) / {"s": 1, "ms": 1e3, "us": 1e6}[ran[2]]
    good, *bad = map(int, status.groups())
    return Load(good, sum(bad) + int(sums[1]) + int(sums[3]), seconds)


def in_gib(load):
    """Bodies of 100 MiB, counted in GiB."""
    load.done *= laboratory.BIG_BYTES / (1 << 30)
    return load


def handshakes(lab, port, seconds, resume=False, requests=0):
    """New connections, as many as go, each with so many requests."""
    more = ["--resume"] if resume else []
    told = lab.ask_load(
        "handshakes", "--port", port, "--path", laboratory.SMALL, "--seconds", seconds, "--requests", requests, *more
    )
    done = told["requests"] if requests else told["connections"]
    load = Load(done, told["failed"], told["seconds"], {"resumed": told["resumed"] / max(1, told["connections"])})
    # A ticket may be missing at the very beginning.
    if resume and load.more["resumed"] < 0.95:
        raise laboratory.Failed(f"only {load.more['resumed']:.0%} of the handshakes were resumed")
    return load


class Ride:
    """Connections that stand, and requests over some of them."""

    def __init__(self, lab, port, connections):
        self.lab = lab
        argv = [lab.load_program, "ride", "--port", port, "--connections", connections]
        self.process = lab.spawn(argv, "ride", talks=True)
        standing = self.process.told(60)["standing"]
        if standing != connections:
            raise laboratory.Failed(f"{standing} of {connections} connections stand")

    def run(self, active, seconds, rate=0):
        """One run at a fixed rate, or with as many requests as go."""
        self.process.send(f"{active} {rate} {seconds}")
        told = self.process.told(seconds + 30)
        waits = {name: told[name] for name in ("p50", "p99") if name in told}
        return Load(told["requests"], told["failed"], told["seconds"], waits)

    def stop(self):
        """Closes the connections."""
        self.lab.end(self.process)


class Hold:
    """Connections that are idle after one request, or long polls."""

    def __init__(self, lab, port, connections, http2=False, poll_ms=0):
        self.lab, self.connections = lab, connections
        path = f"{laboratory.POLL}{poll_ms}" if poll_ms else laboratory.SMALL
        options = ["--h2"] * http2 + ["--poll"] * bool(poll_ms)
        argv = [lab.load_program, "hold", "--port", port, "--connections", connections, "--path", path, *options]
        self.process = lab.spawn(argv, "hold", talks=True)
        told = self.process.told(60)
        if told["failed"]:
            raise laboratory.Failed(f"{told['failed']} of {connections} connections failed")
        if poll_ms:
            laboratory.wait_until(lambda: lab.polls() >= connections, 20, "all long polls have arrived")

    def close(self):
        """Closes them, and says what became of them until then."""
        self.process.close_input()
        told = self.process.told(30)
        self.lab.end(self.process)
        return told


class Probe:
    """A steady stream of requests."""

    def __init__(self, lab, port, path, seconds, *options):
        self.lab, self.seconds = lab, seconds
        argv = [lab.load_program, "probe", "--port", port, "--path", path, "--seconds", seconds, *options]
        self.process = lab.spawn(argv, "probe", talks=True)
        self.process.told(20)

    def result(self):
        """All that it saw."""
        told = self.process.told(self.seconds + 30)
        self.lab.end(self.process)
        return told


def check(lab, port, path, http2=False, length=None, document=None):
    """Asks once: the answer has to be the right one, and TLS what all are to have. Returns what TLS settled on."""
    told = lab.ask_load("ask", "--port", port, "--path", path, *(["--h2"] if http2 else []))
    if told["status"] != 200:
        raise laboratory.Failed(f"{path}: status {told['status']}: {told['body'][:200]}")
    if length is not None and told["length"] != length:
        raise laboratory.Failed(f"{path}: {told['length']} bytes, not {length}")
    if document is not None and laboratory.json.loads(told["body"]) != document:
        raise laboratory.Failed(f"{path}: not the document: {told['body'][:200]}")
    tls, spoken = told["tls"], "h2" if http2 else "http/1.1"
    settled = (tls["version"], tls["cipher"], tls["group"], tls["alpn"])
    if settled != ("TLSv1_3", "TLS13_AES_128_GCM_SHA256", "X25519", spoken):
        raise laboratory.Failed(f"TLS settled on {settled}")
    return told["length"]
