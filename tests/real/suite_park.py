"""Home is away and requests wait: many at once, more than may wait, through a reload, into a stop.

The home is `stand_in.py`, which counts how often it saw each request. Every client address is one of the
loopback's; the bounds are those that porchd has when nobody says otherwise.
"""

import asyncio
import collections
import json
import signal
import time

from lab import eventually
from porch import Porch
from suite_faults import Home
from talk import ask

LIMIT = 180
BASE = "https://matrix.a.test"
HOST = "matrix.a.test"
# Of porchd's defaults.
MOST, MOST_PER_CLIENT = 1024, 64
PATIENCE = 60
# Until porchd believes in home's return. Before, the outage of the scene before goes on, and who is let go and
# finds nobody has its place back, whatever the bounds are.
CALM = 3.5


def run(lab):
    lab.names({"a.test": ["127.0.0.2"]})
    home = Home(lab)
    home.start()
    porch = Porch(lab, "a.test", 8008, ["127.0.0.2"], well_known="matrix.a.test:443").start()
    for scene in (thousand, crowded, federation, bodies, budgets, reload, stop):
        settle(lab)
        if scene in (crowded, federation, budgets):
            time.sleep(CALM)
        asyncio.run(scene(lab, porch, home))
    lab.check("no panic in porchd's log", "panicked" not in porch.said())


def settle(lab):
    """Home is up, and porchd knows."""
    if not eventually(lambda: ask(lab, "GET", BASE + "/_matrix/x", timeout=20).status == 200, 20):
        raise SystemExit("the stand-in home does not come back")


class Asking:
    """One request on a connection of its own, and what came of it."""

    serial = 0

    def __init__(self, lab, client, method="GET", path="/_matrix/client/v3/thing", body=b"", headers=()):
        Asking.serial += 1
        self.lab, self.client, self.number = lab, client, Asking.serial
        lines = [f"{method} {path} HTTP/1.1", f"Host: {HOST}", f"X-Request-Number: {self.number}", *headers]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        self.head, self.body = "\r\n".join(lines).encode() + b"\r\n\r\n", body
        self.status, self.headers, self.answer = 0, {}, b""
        self.begun = self.ended = None
        self.task = None

    async def open(self):
        """The connection, and nothing more."""
        self.reader, self.writer = await asyncio.wait_for(
            asyncio.open_connection(
                "127.0.0.2", 443, ssl=self.lab.tls, server_hostname=HOST, local_addr=(f"127.0.1.{self.client}", 0)
            ),
            PATIENCE,
        )
        return self

    def go(self):
        """Sends it; the answer is awaited beside the rest."""
        self.begun = time.monotonic()
        self.writer.write(self.head + self.body)
        self.task = asyncio.create_task(self._hear())
        return self

    async def _hear(self):
        try:
            head = (await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), PATIENCE)).decode("latin-1")
            first, *lines = head.rstrip("\r\n").split("\r\n")
            self.headers = {name.lower(): value.strip() for name, value in (line.split(":", 1) for line in lines)}
            self.answer = await self.reader.readexactly(int(self.headers.get("content-length", 0)))
            self.status = int(first.split()[1])
        except (OSError, EOFError, TimeoutError, asyncio.LimitOverrunError) as error:
            self.answer = repr(error).encode()
        self.ended = time.monotonic()
        if self.writer:
            self.writer.close()

    def leave(self):
        """The client goes away."""
        self.task.cancel()
        self.writer.transport.abort()

    @property
    def waits(self):
        """Whether nothing has come yet."""
        return self.ended is None

    @property
    def told(self):
        """Whether it was told as Matrix's clients and browsers must be."""
        try:
            code = json.loads(self.answer).get("errcode")
        except ValueError:
            return False
        good = self.status in (503, 504) and code and self.headers.get("access-control-allow-origin") == "*"
        return good and self.headers.get("retry-after", "").isdigit()

    def __str__(self):
        return f"{self.status} {self.headers.get('retry-after')} {self.answer[:120]!r}"


async def opened(many):
    """Opens the connections of many, some at a time."""
    gate = asyncio.Semaphore(32)

    async def one(asking):
        async with gate:
            return await asking.open()

    return await asyncio.gather(*[one(asking) for asking in many])


async def waiting(many, seconds=1.5):
    """How many of them still wait after a while."""
    await asyncio.sleep(seconds)
    return sum(one.waits for one in many)


async def answered(many, seconds=PATIENCE):
    """Waits for all of them: how many had which status."""
    tasks = [one.task for one in many]
    if tasks:
        await asyncio.wait(tasks, timeout=seconds)
    return dict(collections.Counter(one.status if not one.waits else "nothing" for one in many))


def seen(lab):
    """How often home saw each request, in the order in which it first saw them."""
    return ask(lab, "GET", BASE + "/_matrix/counts", timeout=20).json()


def twice(counts, many):
    """Of these, what home saw more than once."""
    return [one.number for one in many if counts.get(str(one.number), 0) > 1]


async def thousand(lab, porch, home):
    """A thousand requests wait at once, a few more than may, and all go when home is back."""
    check = lab.check
    kinds = (("GET", b""), ("PUT", b'{"x":1}'), ("POST", b'{"x":1}'), ("GET", b""))
    many = await opened([Asking(lab, n // 50, *kinds[n % 4][:1], body=kinds[n % 4][1]) for n in range(1000)])
    more = await opened([Asking(lab, 100 + n // 50) for n in range(100)])
    idle = porch.memory()
    home.kill()
    for one in many:
        one.go()
    # Longer than a connection may take to stand.
    wait = await waiting(many, 7)
    heavy = porch.memory()
    check(
        "1,000 requests wait while home is away",
        wait == 1000,
        f"{wait} wait; {idle:.1f} MiB before, {heavy:.1f} MiB now: {(heavy - idle) * 1024 / 1000:.1f} KiB each",
    )
    for one in more:
        one.go()
    wait = await waiting(more)
    over = [one for one in more if not one.waits]
    check(
        f"no more than {MOST} wait, and the others are told 503 at once",
        wait == MOST - 1000 and all(one.told for one in over),
        f"{wait} more wait, {len(over)} are told {next(iter(over), None)}",
    )
    back = time.monotonic()
    await asyncio.to_thread(home.start)
    up = time.monotonic()
    held = many + [one for one in more if one not in over]
    results = await answered(held)
    check("all that waited are answered 200", results == {200: MOST}, results)
    times = sorted(one.ended - up for one in held if not one.waits) or [99]
    check(
        "the first is answered within a second of home's return, the last within 20",
        times[0] < 1 and times[-1] < 20,
        f"{times[0]:.2f} / {times[len(times) // 2]:.2f} / {times[-1]:.2f} s (first, median, last), home took {up - back:.2f} s",
    )
    counts = await asyncio.to_thread(seen, lab)
    lost = [one.number for one in held if str(one.number) not in counts]
    check(
        "home saw each of them once",
        not lost and not twice(counts, held),
        f"lost {len(lost)}, twice {len(twice(counts, held))}",
    )
    check("home saw none of those that were told 503", not [one for one in over if str(one.number) in counts])
    order = [int(number) for number in counts if int(number) in {one.number for one in many}]
    late = sum(one > following for one, following in zip(order, order[1:]))
    print(f"-- {late} of {len(order)} came to home before an older one", flush=True)
    await asyncio.sleep(1)
    print(f"-- {porch.memory():.1f} MiB when all have gone", flush=True)


async def crowded(lab, porch, home):
    """One client address has too many; some of its clients leave; another address is not held up."""
    check = lab.check
    many = await opened([Asking(lab, 1) for _ in range(100)])
    others = await opened([Asking(lab, 2) for _ in range(10)])
    late = await opened([Asking(lab, 1) for _ in range(30)])
    home.kill()
    for one in many:
        one.go()
    wait = await waiting(many)
    over = [one for one in many if not one.waits]
    check(
        f"of one client {MOST_PER_CLIENT} wait, and the others are told 503 at once",
        wait == MOST_PER_CLIENT and all(one.told for one in over),
        f"{wait} wait, {len(over)} are told {next(iter(over), None)}",
    )
    for one in others:
        one.go()
    wait = await waiting(others)
    check("another client waits all the same", wait == 10, f"{wait} of 10 wait")
    left = [one for one in many if one.waits][:30]
    for one in left:
        one.leave()
    await asyncio.sleep(0.5)
    for one in late:
        one.go()
    wait = await waiting(late)
    check("30 leave, and 30 others have their places", wait == 30, f"{wait} of 30 wait")
    await asyncio.to_thread(home.start)
    held = [one for one in many + others + late if one not in over and one not in left]
    results = await answered(held)
    check("all that stayed are answered 200", set(results) == {200}, results)
    counts = await asyncio.to_thread(seen, lab)
    gone = [one.number for one in left if str(one.number) in counts]
    check("home is not asked what nobody waits for", not gone, f"{len(gone)} of {len(left)}")
    check("none was sent twice", not twice(counts, held), len(twice(counts, held)))


async def federation(lab, porch, home):
    """Peers may have half of the places: the owner's own clients always find one."""
    check = lab.check
    path = "/_matrix/federation/v1/send/"
    many = await opened([Asking(lab, 10 + n // 50, "PUT", path + str(n), b"{}") for n in range(600)])
    own = await opened([Asking(lab, 3) for _ in range(20)])
    home.kill()
    for one in many:
        one.go()
    wait = await waiting(many, 2.5)
    over = [one for one in many if not one.waits]
    check(
        f"of peers {MOST // 2} wait, and the others are told 503",
        wait == MOST // 2 and all(one.told for one in over),
        f"{wait} wait, {len(over)} are told {next(iter(over), None)}",
    )
    for one in own:
        one.go()
    wait = await waiting(own)
    check("the owner's clients wait beside them", wait == 20, f"{wait} of 20 wait")
    await asyncio.to_thread(home.start)
    held = [one for one in many + own if one not in over]
    results = await answered(held)
    check("all that waited, peers and clients, are answered 200", set(results) == {200}, results)
    counts = await asyncio.to_thread(seen, lab)
    check("none of them was sent twice", not twice(counts, held), len(twice(counts, held)))


async def bodies(lab, porch, home):
    """An upload waits unread, and one that asks first (Expect: 100-continue) hears when home can take it."""
    check = lab.check
    size = 4 << 20
    upload = Asking(lab, 4, "POST", "/_matrix/media/v3/upload", b"x" * size)
    polite = Asking(lab, 5, "POST", "/_matrix/media/v3/upload", b"y" * 1000, ["Expect: 100-continue"])
    await opened([upload, polite])
    idle = porch.memory()
    home.kill()
    upload.go()
    polite.writer.write(polite.head)
    leave = asyncio.create_task(polite.reader.readuntil(b"\r\n\r\n"))
    wait = await waiting([upload])
    growth = porch.memory() - idle
    check("an upload of 4 MiB waits, and is not held in memory", wait == 1 and growth < 3, f"{growth:.1f} MiB more")
    check("who asks before sending hears nothing yet", not leave.done(), leave)
    await asyncio.to_thread(home.start)
    results = await answered([upload])
    check("the upload arrives whole", results == {200: 1} and json.loads(upload.answer)["length"] == size, upload)
    try:
        said = await asyncio.wait_for(leave, 20)
        polite.head = b""
        await asyncio.wait_for(polite.go().task, 20)
    except (OSError, EOFError, TimeoutError) as error:
        said = repr(error).encode()
    check("who asked is told to go on", said.startswith(b"HTTP/1.1 100") and polite.status == 200, f"{said} {polite}")


async def budgets(lab, porch, home):
    """Each class waits as long as it may; when the outage is a long one, nobody waits long."""
    check = lab.check
    porch.write(upstream="    park: { most_per_client: 10, keys: 2s, client: 5s, outage: 8s }\n")
    await asyncio.to_thread(porch.reload)
    await asyncio.sleep(1)
    crowd = await opened([Asking(lab, 40) for _ in range(15)])
    keys = await opened([Asking(lab, 41, path="/_matrix/key/v2/query/b.test") for _ in range(3)])
    sync = await opened([Asking(lab, 42, path="/_matrix/client/v3/sync?timeout=30000") for _ in range(3)])
    late = await opened([Asking(lab, 43, "PUT", "/_matrix/client/v3/rooms/r/send/m.x/1", b"{}") for _ in range(3)])
    home.kill()
    begun = time.monotonic()
    for one in crowd + keys + sync:
        one.go()
    wait = await waiting(crowd, 1)
    over = [one for one in crowd if not one.waits]
    good = wait == 10 and all(one.told for one in over)
    check("the bounds of the configuration hold: 10 of 15 wait", good, f"{wait} wait, {len(over)} are told")
    for name, many, budget in (("keys", keys, 2), ("client", [one for one in crowd if one not in over], 5)):
        results = await answered(many)
        times = sorted(one.ended - one.begun for one in many if not one.waits) or [99]
        check(
            f"who may wait {budget} s ({name}) is told after {budget} s",
            all(one.told for one in many) and budget - 0.2 < times[0] and times[-1] < budget + 2,
            f"{results} after {times[0]:.1f} to {times[-1]:.1f} s, {many[0]}",
        )
    await asyncio.sleep(max(0, begun + 10 - time.monotonic()))
    wait = sum(one.waits for one in sync)
    for one in late:
        one.go()
    results = await answered(late)
    times = sorted(one.ended - one.begun for one in late if not one.waits) or [99]
    check(
        "who comes in a long outage is told within 3 s",
        all(one.told for one in late) and times[-1] < 4.5,
        f"{results} after {times[0]:.1f} to {times[-1]:.1f} s, {late[0]}; {wait} of 3 polls from its begin waited on",
    )
    await asyncio.to_thread(home.start)
    results = await answered(sync)
    check("what still waited is answered when home is back", results == {200: 3}, results)
    porch.write(upstream="")
    await asyncio.to_thread(porch.reload)


async def reload(lab, porch, home):
    """Requests that wait follow a reload."""
    check = lab.check
    many = await opened([Asking(lab, 20 + n // 50, "PUT", body=b"{}") for n in range(100)])
    home.kill()
    for one in many:
        one.go()
    wait = await waiting(many)
    porch.write(
        more='sites:\n  - hosts: [ matrix.a.test ]\n    headers: { response: { set: { X-Generation: "two" } } }\n'
    )
    await asyncio.to_thread(porch.reload)
    still = await waiting(many, 0.5)
    check("100 wait before and after a reload", (wait, still) == (100, 100), f"{wait}, {still}")
    await asyncio.to_thread(home.start)
    results = await answered(many)
    check("all are answered 200", results == {200: 100}, results)
    generations = collections.Counter(one.headers.get("x-generation") for one in many)
    check("and by the new configuration", dict(generations) == {"two": 100}, dict(generations))
    counts = await asyncio.to_thread(seen, lab)
    check("and none was sent twice", not twice(counts, many), len(twice(counts, many)))


async def stop(lab, porch, home):
    """Requests that wait when porchd stops are told, not dropped."""
    check = lab.check
    text = porch.file.read_text()
    porch.file.write_text(text.replace("stop: 10s", "stop: 3s"))
    await asyncio.to_thread(porch.reload)
    many = await opened([Asking(lab, 30 + n // 50) for n in range(100)])
    home.kill()
    for one in many:
        one.go()
    wait = await waiting(many)
    begun = time.monotonic()
    porch.process.signal(signal.SIGTERM)
    results = await answered(many, 30)
    took = time.monotonic() - begun
    check("100 wait while porchd is told to stop", wait == 100, f"{wait} wait")
    check(
        "each is told 503 in Matrix's words by the deadline",
        results == {503: 100} and all(one.told for one in many) and took < 8,
        f"{results} after {took:.1f} s, {many[0]}",
    )
    code = await asyncio.to_thread(porch.process.child.wait, 30)
    check("porchd ends by itself with exit code 0", code == 0, f"exit {code}, {time.monotonic() - begun:.1f} s")
