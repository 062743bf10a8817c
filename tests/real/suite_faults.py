"""Faults of home, of clients and of the machine, with a stand-in home that misbehaves on purpose.

Takes longer than the other suites and needs no Synapse: `.ci/long` runs it.
"""

import collections
import socket
import ssl
import sys
import threading
import time

import talk
from lab import HERE, eventually, wait_until
from porch import Porch
from talk import Doing, ask, curl

LIMIT = 240
BASE = "https://matrix.a.test"
CONNECTION_LIMITS = "limits: { connections_per_address: 2000, request_head: 5s, handshake: 5s }\n"


class Home:
    """The stand-in home as a process."""

    def __init__(self, lab):
        self.lab, self.process = lab, None

    def start(self, *arguments):
        """Starts it; what ran before is killed."""
        self.kill()
        self.process = self.lab.spawn([sys.executable, HERE / "stand_in.py", 8008, *arguments], "stand-in.out")
        wait_until(lambda: listens(8008), 10, "the stand-in home listens", self.process)

    def kill(self):
        """Kills it."""
        if self.process:
            self.process.kill()


def listens(port):
    """Whether something on the loopback accepts connections at `port`."""
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    except OSError:
        return False


class Load:
    """Eight clients that ask one after the other until they are told to stop."""

    def __init__(self, lab, method):
        self.lab, self.method = lab, method
        self.results = collections.Counter()
        self.lock = threading.Lock()
        self.number = 0
        self.over = threading.Event()
        self.threads = [threading.Thread(target=self._client) for _ in range(8)]
        for thread in self.threads:
            thread.start()

    def _client(self):
        line = None
        while not self.over.is_set():
            with self.lock:
                self.number += 1
                number = self.number
            line = line or talk.Line(self.lab, "matrix.a.test", timeout=30)
            try:
                body = {"x": 1} if self.method in ("PUT", "POST") else None
                headers = {"X-Request-Number": f"{self.method}-{number}"}
                result = line.ask(self.method, "/_matrix/client/v3/thing", body, headers)
                result = result.status if result.status == 200 or result.cors else f"{result.status} without CORS"
            except OSError as error:
                result, line = type(error).__name__, None
            with self.lock:
                self.results[result] += 1
            time.sleep(0.002)
        if line:
            line.close()

    def stop(self):
        """Ends it and returns what was seen."""
        self.over.set()
        for thread in self.threads:
            thread.join(60)
        return dict(self.results)


def run(lab):
    lab.names({"a.test": ["127.0.0.2"], "b.test": ["127.0.0.3"]})
    home = Home(lab)
    home.start()
    porch = Porch(lab, "a.test", 8008, ["127.0.0.2"], well_known="matrix.a.test:443", more=CONNECTION_LIMITS).start()
    restart(lab, home)
    stale(lab, home)
    dies(lab, home)
    hangs(lab, porch)
    half_open(lab)
    slow_readers(lab, porch)
    lab.check("no panic in porchd's log", "panicked" not in porch.said())
    porch.process.stop()
    few_descriptors(lab)


def restart(lab, home):
    """Home is away for two seconds: within `connect_timeout`, nobody is told."""
    for method in ("GET", "PUT"):
        load = Load(lab, method)
        time.sleep(1)
        home.kill()
        time.sleep(2)
        home.start()
        time.sleep(2)
        results = load.stop()
        lab.check(f"home away for 2 s under {method}: no client notices", set(results) == {200}, results)


def stale(lab, home):
    """Home closes kept connections, between answers and in the face of a request."""
    for title, arguments in (("closes after 3 answers", ["3"]), ("drops every 4th request unanswered", ["3", "cut"])):
        home.start(*arguments)
        for method in ("GET", "PUT", "POST"):
            load = Load(lab, method)
            time.sleep(3)
            results = load.stop()
            seen = ask(lab, "GET", BASE + "/_matrix/counts").json()
            twice = [number for number, times in seen.items() if number.startswith(method) and times > 1]
            if method == "POST":
                told = set(results) <= {200, 502}
                lab.check(
                    f"home {title}: a POST is answered or told 502, never sent twice",
                    told and not twice,
                    f"{results}, twice: {len(twice)}",
                )
            else:
                lab.check(
                    f"home {title}: no {method} fails", set(results) == {200}, f"{results}, sent twice: {len(twice)}"
                )
    home.start()


def dies(lab, home):
    """Home dies in the middle of an answer: the client must see that it is not whole."""
    wait_until(lambda: ask(lab, "GET", BASE + "/_matrix/x").status == 200, 10, "home is up")
    for http2 in (False, True):
        _, version, code, said = curl(lab, BASE + "/_matrix/die", http2=http2)
        lab.check(
            f"home dies in an answer: the client sees it, on HTTP/{version}",
            code in (18, 56, 92),
            f"curl {code} {said}",
        )


def hangs(lab, porch):
    """100 requests hang: each is told 504 in time, and nobody else is held up."""
    porch.write(more=CONNECTION_LIMITS)
    text = porch.file.read_text()
    porch.file.write_text(text.replace("    probe:", "    response_timeout: 4s\n    probe:", 1))
    porch.reload()
    hanging = [Doing(lambda: ask(lab, "GET", BASE + "/_matrix/hang", timeout=30)) for _ in range(100)]
    time.sleep(1)
    others = [ask(lab, "GET", BASE + "/_matrix/x", timeout=10) for _ in range(50)]
    answers = collections.Counter()
    for answer in (one.end() for one in hanging):
        good = answer.errcode and answer.cors and 3.5 < answer.seconds < 8
        answers[answer.status if good else str(answer)] += 1
    lab.check(
        "100 requests that hang are told 504 after response_timeout", dict(answers) == {504: 100}, dict(answers)
    )
    slowest = max(answer.seconds for answer in others)
    good = {answer.status for answer in others} == {200} and slowest < 1
    lab.check("50 others are answered meanwhile", good, f"slowest {slowest:.2f} s")


def half_open(lab):
    """Clients that never finish a request head or a handshake are dropped."""
    lines = []
    for number in range(300):
        line = socket.create_connection(("127.0.0.2", 443), 10)
        if number % 2:
            line.sendall(b"\x16\x03\x01\x02")
        else:
            line = lab.tls.wrap_socket(line, server_hostname="matrix.a.test")
            line.sendall(b"GET /_matrix/x HTTP/1.1\r\nHost: matr")
        lines.append(line)
    begun = time.monotonic()
    answer = ask(lab, "GET", BASE + "/_matrix/x", timeout=10)
    lab.check("300 half-open clients: others are served", answer.status == 200 and answer.seconds < 1, answer)
    dropped = eventually(lambda: all(gone(line) for line in lines), 20)
    seconds = time.monotonic() - begun
    lab.check("300 half-open clients are dropped within 15 s", dropped and seconds < 15, f"{seconds:.1f} s")
    for line in lines:
        line.close()


def gone(line):
    """Whether the other side has closed this connection."""
    line.setblocking(False)
    try:
        while line.recv(4096):
            pass
        return True
    except (BlockingIOError, ssl.SSLWantReadError):
        return False
    except OSError:
        return True


def slow_readers(lab, porch):
    """50 clients ask for 32 MiB and read nothing: porchd must not hold it for them."""
    before = porch.memory()
    lines = []
    for _ in range(50):
        line = lab.tls.wrap_socket(socket.create_connection(("127.0.0.2", 443), 10), server_hostname="matrix.a.test")
        line.sendall(b"GET /_matrix/big HTTP/1.1\r\nHost: matrix.a.test\r\n\r\n")
        lines.append(line)
    time.sleep(4)
    growth = porch.memory() - before
    answer = ask(lab, "GET", BASE + "/_matrix/x", timeout=10)
    lab.check(
        "50 clients that do not read: memory grows by less than 32 MiB, others are served",
        growth < 32 and answer.status == 200,
        f"{growth:.0f} MiB, {answer}",
    )
    for line in lines:
        line.close()


def few_descriptors(lab):
    """256 descriptors and 600 clients: it does not spin, and works again when they have gone."""
    porch = Porch(lab, "b.test", 8008, ["127.0.0.3"], more=CONNECTION_LIMITS).start(
        "prlimit", "--nofile=256:256", "--"
    )
    lines = []
    for _ in range(600):
        try:
            lines.append(socket.create_connection(("127.0.0.3", 443), 1))
        except OSError:
            break
    begun = spent(porch)
    time.sleep(3)
    share = (spent(porch) - begun) / 3
    lab.check(
        "256 descriptors, 600 clients: it does not spin",
        porch.process.alive() and share < 0.3,
        f"{share * 100:.0f} % of a core, {len(lines)} connected",
    )
    for line in lines:
        line.close()
    answer = eventually(lambda: attempt(lab), 20)
    lab.check("256 descriptors: it works again when they have gone", answer, answer)


def attempt(lab):
    try:
        answer = ask(lab, "GET", "https://matrix.b.test/_matrix/x", timeout=5)
        return answer if answer.status == 200 else None
    except OSError:
        return None


def spent(porch):
    """Seconds of processor time that porchd has used."""
    fields = [open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split() for pid in porch.family()]
    return sum(int(one[11]) + int(one[12]) for one in fields) / 100
