"""A home that misbehaves on purpose: stand_in.py PORT [ANSWERS [cut]]

    /health                200
    /_matrix/hang          never answers
    /_matrix/die           promises a megabyte and dies after 5000 bytes
    /_matrix/big           32 MiB
    /_matrix/wait/MS       answers after so many milliseconds
    /_matrix/counts        how often each request id was seen (header X-Request-Number)
    anything else          reads the body and answers its length

With ANSWERS it closes each connection after so many answers; with `cut` it takes one request more and
drops the connection without an answer to it.
"""

import asyncio
import json
import sys

LIMIT = int(sys.argv[2]) if len(sys.argv) > 2 else 0
CUT = "cut" in sys.argv
SEEN = {}
BLOCK = b"x" * 65536


def head_of(text):
    """(method, path, headers)"""
    lines = text.decode("latin-1").split("\r\n")
    method, target, _ = lines[0].split(" ")
    pairs = (line.split(":", 1) for line in lines[1:] if ":" in line)
    return method, target.split("?")[0], {name.strip().lower(): value.strip() for name, value in pairs}


async def body_of(reader, headers):
    """Reads the body and returns its length."""
    if headers.get("transfer-encoding") != "chunked":
        length = int(headers.get("content-length", 0))
        await reader.readexactly(length)
        return length
    total = 0
    while True:
        size = int((await reader.readline()).split(b";")[0], 16)
        if size == 0:
            while (await reader.readline()).strip():
                pass
            return total
        await reader.readexactly(size + 2)
        total += size


async def answer(method, path, length, writer):
    """Writes one answer; returns whether the connection goes on."""
    if path == "/_matrix/hang":
        await asyncio.sleep(3600)
    if path.startswith("/_matrix/wait/"):
        await asyncio.sleep(int(path.rsplit("/", 1)[1]) / 1000)
    if path == "/_matrix/die":
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 5000)
        await writer.drain()
        writer.transport.abort()
        return False
    if path == "/_matrix/big":
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (512 * len(BLOCK)))
        for _ in range(512):
            writer.write(BLOCK)
            await writer.drain()
        return True
    if path == "/_matrix/counts":
        body = json.dumps(SEEN).encode()
    else:
        body = json.dumps({"length": length}).encode()
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body))
    writer.write(b"" if method == "HEAD" else body)
    await writer.drain()
    return True


async def serve(reader, writer):
    answers = 0
    try:
        while True:
            method, path, headers = head_of(await reader.readuntil(b"\r\n\r\n"))
            length = await body_of(reader, headers)
            # Probes and counts are not part of the game.
            plays = path not in ("/health", "/_matrix/counts")
            if number := headers.get("x-request-number"):
                SEEN[number] = SEEN.get(number, 0) + 1
            if plays and CUT and answers == LIMIT:
                writer.transport.abort()
                return
            if not await answer(method, path, length, writer):
                return
            answers += plays
            if LIMIT and answers >= LIMIT and not CUT:
                return
    except (asyncio.IncompleteReadError, OSError):
        pass
    finally:
        writer.close()


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1]), backlog=4096, limit=1 << 20)
    print("ready", flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
