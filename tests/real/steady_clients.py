"""Clients that never rest: steady_clients.py CA HOST, with the python of matrix-nio, which has h2.

Four on HTTP/1.1 and three on HTTP/2 ask one request after the other, on connections that they keep. Told on
standard input what to do, it answers with one line of JSON each:

    count            what was seen since the last count: answers, requests sent again, and each failure in words
    polls N MS       N long polls of MS each begin, half of them on each protocol
    upload SECONDS   an upload begins that takes so long, on each protocol
    long             waits for polls and uploads: what became of each
    rest             ends all clients when each has its answer, and counts

A request is sent again only where the protocol says that nobody has acted on it: a kept HTTP/1.1 connection that
was closed before a byte of the answer, a stream above the last one of a GOAWAY, or one that was refused. It counts
as sent again. All else that is not a whole 200 is a failure.
"""

import asyncio
import collections
import json
import ssl
import sys
import time

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions

CA, HOST = sys.argv[1:3]
TARGET = "/_matrix/client/v3/thing"
PATIENCE = 60
UPLOAD = 100 * 1000


def context(protocol):
    """What a client of this protocol says in its handshake."""
    tls = ssl.create_default_context(cafile=CA)
    tls.set_alpn_protocols([protocol])
    return tls


TLS = {protocol: context(protocol) for protocol in ("http/1.1", "h2")}


class Again(Exception):
    """Nobody has acted on it: it may be sent again."""


class Failed(Exception):
    """It may have been acted on."""


class Line:
    """One connection on HTTP/1.1."""

    async def open(self):
        """Opens it."""
        self.reader, self.writer = await asyncio.open_connection(HOST, 443, ssl=TLS["http/1.1"])
        self.used, self.last = False, False
        return self

    async def ask(self, target, body=None):
        """One request: (status, body). `body`: (length, parts that are told by and by)."""
        length = "" if body is None else f"Content-Length: {body[0]}\r\n"
        head = b""
        try:
            method = "GET" if body is None else "PUT"
            self.writer.write(f"{method} {target} HTTP/1.1\r\nHost: {HOST}\r\n{length}\r\n".encode())
            if body:
                async for part in body[1]:
                    self.writer.write(part)
                    await self.writer.drain()
            head = await self.reader.readuntil(b"\r\n\r\n")
            lines = head.decode("latin-1").lower().split("\r\n")
            fields = dict(line.split(": ", 1) for line in lines[1:] if ": " in line)
            whole = await self.reader.readexactly(int(fields["content-length"]))
        except (OSError, EOFError, ssl.SSLError) as error:
            if self.used and not head and body is None and not getattr(error, "partial", b""):
                raise Again from error
            raise Failed(f"{type(error).__name__} {error}") from error
        self.used, self.last = True, fields.get("connection") == "close"
        return int(lines[0].split()[1]), whole

    @property
    def over(self):
        """Whether it takes no more requests."""
        return self.last or self.reader.at_eof()

    def close(self):
        """Closes it."""
        self.writer.close()


class Lines2:
    """One connection on HTTP/2."""

    async def open(self):
        """Opens it."""
        self.reader, self.writer = await asyncio.open_connection(HOST, 443, ssl=TLS["h2"])
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self.h2.initiate_connection()
        self.streams, self.over, self.gone = {}, False, None
        self.flush()
        self.task = asyncio.create_task(self._hear())
        return self

    def flush(self):
        """Sends what is to be sent."""
        self.writer.write(self.h2.data_to_send())

    async def _hear(self):
        why = "closed"
        try:
            while data := await self.reader.read(65536):
                # h2 takes nothing more after a GOAWAY, and a connection that ends well says that first.
                for part in frames(self, data):
                    self._take(part)
                self.flush()
        except (OSError, ssl.SSLError, h2.exceptions.H2Error) as error:
            why = repr(error)
        self.over = True
        self.gone = why
        for stream in list(self.streams.values()):
            if not stream.done():
                stream.set_exception(Failed(f"connection {why}"))

    def _take(self, part):
        kind, number = part[3], int.from_bytes(part[5:9], "big") & 0x7FFFFFFF
        if kind == 7:
            last = int.from_bytes(part[9:13], "big") & 0x7FFFFFFF
            self.over = True
            for number, stream in list(self.streams.items()):
                if number > last and not stream.done():
                    stream.set_exception(Again())
            return
        for event in self.h2.receive_data(part):
            stream = self.streams.get(getattr(event, "stream_id", None))
            if stream is None or stream.done():
                continue
            if isinstance(event, h2.events.ResponseReceived):
                stream.status = int(dict(event.headers)[":status"])
            elif isinstance(event, h2.events.DataReceived):
                stream.body += event.data
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, h2.events.StreamEnded):
                stream.set_result((stream.status, stream.body))
            elif isinstance(event, h2.events.StreamReset):
                refused = event.error_code == h2.errors.ErrorCodes.REFUSED_STREAM
                stream.set_exception(Again() if refused else Failed(f"reset {event.error_code}"))

    async def ask(self, target, body=None):
        """One request: (status, body)."""
        number, stream = self.h2.get_next_available_stream_id(), Stream()
        self.streams[number] = stream
        method = "GET" if body is None else "PUT"
        fields = [(":method", method), (":scheme", "https"), (":authority", HOST), (":path", target)]
        try:
            self.h2.send_headers(number, fields, end_stream=body is None)
            self.flush()
            if body:
                async for part in body[1]:
                    self.h2.send_data(number, part)
                    self.flush()
                self.h2.end_stream(number)
                self.flush()
            return await asyncio.wait_for(stream, PATIENCE)
        except (OSError, TimeoutError, h2.exceptions.H2Error) as error:
            raise Failed(repr(error)) from error
        finally:
            self.streams.pop(number, None)

    def close(self):
        """Closes it."""
        self.task.cancel()
        self.writer.close()


class Stream(asyncio.Future):
    """An answer that is on its way."""

    def __init__(self):
        super().__init__()
        self.status, self.body = 0, b""


def frames(line, data):
    """The whole frames of what was read so far."""
    line.rest = getattr(line, "rest", b"") + data
    while len(line.rest) >= 9 and len(line.rest) >= (size := 9 + int.from_bytes(line.rest[:3], "big")):
        part, line.rest = line.rest[:size], line.rest[size:]
        yield part


class Book:
    """What was seen since the last count."""

    def __init__(self):
        self.answers, self.again, self.failures = collections.Counter(), collections.Counter(), []
        self.slowest = 0

    def told(self):
        """It, for a line of JSON."""
        return dict(
            answers=self.answers, again=self.again, failures=self.failures, slowest=round(self.slowest * 1000)
        )


class Clients:
    """All of them."""

    def __init__(self):
        self.book, self.long, self.over = Book(), [], False

    async def live(self, protocol):
        """One client, for ever."""
        line = None
        while not self.over:
            begun = time.monotonic()
            while True:
                try:
                    if line is None or line.over:
                        line = await self.renewed(line, protocol)
                    status, _ = await line.ask(TARGET)
                    if status == 200:
                        self.book.answers[protocol] += 1
                        self.book.slowest = max(self.book.slowest, time.monotonic() - begun)
                    else:
                        self.book.failures.append(f"{protocol} {status}")
                except Again:
                    self.book.again[protocol] += 1
                    line = await self.dropped(line)
                    continue
                except (Failed, OSError, ssl.SSLError) as error:
                    self.book.failures.append(f"{protocol} {type(error).__name__} {error}"[:120])
                    line = await self.dropped(line)
                break
            await asyncio.sleep(0.01)

    async def renewed(self, line, protocol):
        """Another connection."""
        await self.dropped(line)
        return await (Line() if protocol == "http/1.1" else Lines2()).open()

    async def dropped(self, line):
        """Closes one that is no good any more."""
        if line:
            line.close()

    def begin(self, name, protocol, target, body=None):
        """A request that takes long, on a connection of its own."""

        async def act():
            begun = time.monotonic()
            try:
                line = await (Line() if protocol == "http/1.1" else Lines2()).open()
                status, answer = await line.ask(target, body)
                line.close()
                told = json.loads(answer)
            except (Failed, Again, OSError, ValueError) as error:
                status, told = 0, repr(error)
            return dict(what=name, protocol=protocol, status=status, told=told, seconds=time.monotonic() - begun)

        self.long.append(asyncio.create_task(act()))

    async def told(self, words):
        """What one line asks for."""
        if words[0] == "rest":
            self.over = True
            await asyncio.wait(self.lives)
        if words[0] in ("count", "rest"):
            book, self.book = self.book, Book()
            return book.told()
        if words[0] == "polls":
            for number in range(int(words[1])):
                self.begin("poll", ("http/1.1", "h2")[number % 2], f"/_matrix/wait/{words[2]}")
        elif words[0] == "upload":
            for protocol in ("http/1.1", "h2"):
                self.begin("upload", protocol, TARGET, (UPLOAD, trickle(float(words[1]))))
        elif words[0] == "long":
            long, self.long = self.long, []
            return await asyncio.gather(*long)
        return {}


async def trickle(seconds):
    """An upload in a hundred parts."""
    for _ in range(100):
        await asyncio.sleep(seconds / 100)
        yield b"x" * (UPLOAD // 100)


async def main():
    clients = Clients()
    clients.lives = [asyncio.create_task(clients.live(protocol)) for protocol in ["http/1.1"] * 4 + ["h2"] * 3]
    loop = asyncio.get_running_loop()
    while words := (await loop.run_in_executor(None, sys.stdin.readline)).split():
        print(json.dumps(await clients.told(words)), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
