#!/usr/bin/env python3
"""Instructions of the proxy for one request, counted by valgrind: the steadiest figure there is.

    benches/compare/instructions.py [--write] [--proxies porchd,nginx,haproxy]

Counts the release build's and holds the counts against the committed table, `benches/instructions.md`: it fails
when one is more than 2 percent above. `--write` writes the table anew, to be committed with the change that
explains it. Other proxies are counted only to be looked at. On Debian: apt install valgrind nghttp2-client
openssl. Only user space is counted, and a processor that valgrind knows: never compare counts of two machines.
"""

import argparse
import dataclasses
import pathlib
import re
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable

import lab as laboratory
import loads
import needs
import peers

TABLE = pathlib.Path(__file__).resolve().parents[1] / "instructions.md"
# How far above the table a count may be, in parts of it.
TOLERANCE = 0.02
WARM_UP, REQUESTS = 200, 1000
HANDSHAKES = 40
LINE = re.compile(r"^\| (.+?) +\| +([\d,]+) \|$", re.M)


@dataclasses.dataclass(frozen=True)
class Case:
    """One kind of request."""

    name: str
    # Does so many of them, from (laboratory, port, count).
    work: Callable
    count: int = REQUESTS
    # What it begins with, connections say, is there for any count: it is counted out.
    begins: bool = False
    left_out: tuple = ()


def cases():
    """All of them, in the order of the table."""
    whoami, put = laboratory.SMALL, "/_matrix/client/v3/rooms/!a:localhost/send/m.room.message/1"
    sync = laboratory.POLL + "0"
    return [
        Case("HTTP/1.1, 200 bytes of JSON", kept(request("GET", whoami))),
        Case("HTTP/1.1, /sync that is answered at once", kept(request("GET", sync))),
        Case("HTTP/1.1, PUT of an event", kept(request("PUT", put, b'{"msgtype":"m.text","body":"hello"}'))),
        Case("HTTP/1.1, file of 4 KiB", kept(request("GET", laboratory.FILE)), left_out=("haproxy",)),
        Case("HTTP/1.1, well-known document", kept(request("GET", laboratory.WELL_KNOWN))),
        Case("HTTP/1.1, connection, handshake, request", anew(request("GET", whoami)), HANDSHAKES),
        Case("HTTP/2, 200 bytes of JSON, 10 streams", streams(whoami, 10), begins=True),
        Case("HTTP/2, 200 bytes of JSON, 1 stream", streams(whoami, 1), begins=True),
        Case("HTTP/2, file of 4 KiB, 10 streams", streams(laboratory.FILE, 10), begins=True, left_out=("haproxy",)),
    ]


def request(method, path, body=b""):
    """A request of a browser over HTTP/1.1."""
    lines = [f"{method} {path} HTTP/1.1", "host: localhost"]
    lines += [f"{name}: {value}" for name, value in loads.HEADERS.items()]
    if body:
        lines += ["content-type: application/json", f"content-length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


def kept(asked):
    """Requests over one connection, which stands."""
    standing = {}

    def work(lab, port, count):
        if port not in standing:
            standing[port] = connected(port)
        for _ in range(count):
            answered(standing[port], asked)

    return work


def anew(asked):
    """Requests over a new connection each."""

    def work(lab, port, count):
        for _ in range(count):
            with connected(port) as tls:
                answered(tls, asked)

    return work


def streams(path, at_once):
    """Requests over one HTTP/2 connection."""

    def work(lab, port, count):
        argv = ["h2load", f"-n{count}", "-c1", f"-m{at_once}", *loads.headers(), f"https://localhost:{port}{path}"]
        done = loads.of_h2load(lab.run(argv, "h2load", 60))
        if done.done != count:
            raise laboratory.Failed(f"{done.failed} of {count} requests failed")

    return work


def connected(port):
    """A TLS connection."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["http/1.1"])
    return context.wrap_socket(socket.create_connection(("127.0.0.1", port), 30), server_hostname="localhost")


def answered(tls, asked):
    """Sends a request and reads its answer, which has to be a good one."""
    tls.sendall(asked)
    said = b""
    while b"\r\n\r\n" not in said:
        said += tls.recv(65536) or fail("the connection was closed")
    head, _, body = said.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        fail(head.decode(errors="replace"))
    missing = int(re.search(rb"content-length: *(\d+)", head, re.I)[1]) - len(body)
    while missing > 0:
        missing -= len(tls.recv(65536)) or fail("the connection was closed")


def fail(why):
    """No measurement."""
    raise laboratory.Failed(why)


class Counted(peers.Proxy):
    """A proxy under valgrind."""

    def __init__(self, lab, peer):
        self.counts = lab.dir / f"{peer.name}.count"
        program = peer.argv

        def argv(conf):
            tool = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={self.counts}.%p", "-q"]
            # valgrind needs more of the system than the walls of an edge let through.
            alone = ["--one-process"] if peer.name == "porchd" else []
            return [*tool, "--trace-children=yes", *program(conf), *alone]

        peer.argv = argv
        super().__init__(lab, peer)
        # Masters serve nobody: the process that was started last is the one.
        self.pid = max(self.process.alive())
        self.dumps = 0

    def of(self, work):
        """Instructions during `work`."""
        self._tell("-z")
        work()
        # What an answer leaves to do is done when nothing has been asked for a while.
        time.sleep(0.2)
        self._tell("-d")
        self.dumps += 1
        dump = pathlib.Path(f"{self.counts}.{self.pid}.{self.dumps}")
        laboratory.wait_until(dump.exists, 10, "valgrind has written its count")
        return int(re.search(r"^(?:totals|summary): (\d+)", dump.read_text(), re.M)[1])

    def _tell(self, order):
        done = subprocess.run(["callgrind_control", order, str(self.pid)], capture_output=True, text=True)
        if done.returncode:
            fail(f"callgrind_control: {done.stderr or done.stdout}")


def count(lab, proxy, case):
    """Instructions for one request of this kind."""
    case.work(lab, proxy.port, WARM_UP if case.count > WARM_UP else 4)
    total = proxy.of(lambda: case.work(lab, proxy.port, case.count))
    if not case.begins:
        return total / case.count
    fewer = case.count // 10
    return (total - proxy.of(lambda: case.work(lab, proxy.port, fewer))) / (case.count - fewer)


def counted(lab, peer):
    """All counts of one proxy, by the name of the case."""
    proxy = Counted(lab, peer)
    found = {}
    for case in cases():
        if peer.name not in case.left_out:
            found[case.name] = round(count(lab, proxy, case))
            print(f"{peer.title:8} {case.name:44} {found[case.name]:>9,}", flush=True)
    proxy.stop()
    return found


def written(found, version):
    """The table to commit."""
    lines = [
        "# Instructions for a request",
        "",
        "Counted by `benches/compare/instructions.py`: user space of a release build on x86-64, by valgrind. A",
        "change that moves a count by more than 2 % writes this table anew and says why.",
        "",
        f"| {version} | instructions |",
        "| --- | ---: |",
    ]
    lines += [f"| {name} | {number:,} |" for name, number in found.items()]
    return "\n".join(lines) + "\n"


def known(table):
    """What a table says."""
    return {name: int(number.replace(",", "")) for name, number in LINE.findall(table)}


def complaints(found, before):
    """What is above the table; what is well below is only told."""
    for name, number in found.items():
        if name not in before:
            yield f"{name}: not in {TABLE.name}; write it anew with --write"
        elif number > before[name] * (1 + TOLERANCE):
            more = number / before[name] - 1
            yield f"{name}: {number:,} instructions, {more:.1%} above the table's {before[name]:,}"
        elif number < before[name] * (1 - TOLERANCE):
            print(f"{name}: {number:,} is less than the table's {before[name]:,}; write it anew with --write")


def arguments():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write the table anew")
    parser.add_argument("--proxies", default="porchd", help="some of: " + ",".join(peers.PEERS))
    parser.add_argument("--porchd", metavar="PATH", help="the binary (target/release/porchd)")
    parser.add_argument("--load", metavar="PATH", help="the load tool (built by cargo)")
    options = parser.parse_args()
    options.proxies = options.proxies.split(",")
    if unknown := [name for name in options.proxies if name not in peers.PEERS]:
        parser.error(f"no {', '.join(unknown)}; there are {', '.join(peers.PEERS)}")
    return options


def main():
    """Counts, and holds them against the table."""
    options = arguments()
    programs = needs.programs(options.proxies, counts=True)
    load = needs.load(options.load)
    found = {}
    try:
        with laboratory.Lab(load, laboratory.Interrupts()) as lab:
            for name in options.proxies:
                program = needs.porchd(options.porchd) if name == "porchd" else programs[name]
                found[name] = counted(lab, peers.PEERS[name](program))
    except laboratory.Stopped as signal:
        return 128 + signal.args[0]
    except laboratory.Failed as why:
        sys.exit(f"failed: {why}")
    if "porchd" not in found:
        return 0
    if options.write:
        TABLE.write_text(written(found["porchd"], "porchd"))
        return 0
    wrong = list(complaints(found["porchd"], known(TABLE.read_text())))
    print("\n".join(wrong) or "no count is above the table")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
