"""Clients that live through a cut: each keeps a diary of every answer and of every message heard.

A message is "NAME NUMBER", so that what is missing, double or out of order can be named. None of them makes up
for an error in silence: an error is written down, and then they ask again.
"""

import json
import threading
import time

from lab import CACHE, HERE
from talk import quote

NIO = CACHE / "nio" / "bin" / "python"
# Longer than an edge holds a request.
PATIENCE = 110
MANY = {"room": {"timeline": {"limit": 500}}}
SLIDING = "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync"


class Diary:
    """What one client met. Times are those of `time.monotonic()`, which all processes share."""

    def __init__(self, name):
        self.name = name
        self.asked = {}
        self.answers = []
        self.sent = {}
        self.heard = []

    def asks(self, what, begun):
        """A request begins; one that is made again counts once."""
        self.asked.setdefault(what, begun)

    def begun(self, method, before):
        """How many different requests of a method had begun by then."""
        return sum(what.startswith(method) and at < before for what, at in list(self.asked.items()))

    def answer(self, what, begun, status, detail=""):
        """An answer, or why there was none (status 0)."""
        at = time.monotonic()
        self.answers.append({"what": what, "begun": begun, "at": at, "status": status, "detail": detail})

    def errors(self, since):
        """What went wrong since then, in words."""
        return [
            f"{one['what'][:60]} {one['status']} after {one['at'] - one['begun']:.1f} s {one['detail']}"
            for one in list(self.answers)
            if one["status"] != 200 and one["at"] >= since
        ]

    def count(self, since):
        """How many answers came since then."""
        return sum(one["at"] >= since for one in list(self.answers))

    def listens(self, events):
        """Notes the messages among these events."""
        for event in events:
            if body := event.get("content", {}).get("body"):
                self.heard.append({"body": body, "event": event["event_id"], "at": time.monotonic()})

    def has(self, body):
        """When it first heard this, or None."""
        return next((one["at"] for one in list(self.heard) if one["body"] == body), None)

    def numbers(self, name):
        """The numbers of the messages of `name`, as they were heard."""
        return [int(one["body"].split()[1]) for one in list(self.heard) if one["body"].startswith(name + " ")]


class Client:
    """A thread that does one thing again and again until the suite is over."""

    def __init__(self, user, name):
        self.user, self.diary = user, Diary(name)
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._live, daemon=True)

    def start(self):
        """Lets it live."""
        self.thread.start()
        return self

    def _live(self):
        while not self.over.is_set():
            begun = time.monotonic()
            try:
                self.turn()
            except Exception as error:
                self.diary.answer("turn", begun, 0, repr(error))
                time.sleep(1)

    def ask(self, method, target, body=None, source=None):
        """One request, written down."""
        begun, what = time.monotonic(), f"{method} {target.split('?')[0]}"
        self.diary.asks(what, begun)
        try:
            answer = self.user.ask(method, target, body, timeout=PATIENCE, source=source)
        except Exception as error:
            self.diary.answer(what, begun, 0, repr(error))
            return None
        self.diary.answer(what, begun, answer.status, "" if answer.status == 200 else str(answer))
        return answer if answer.status == 200 else None


class Listener(Client):
    """Plain /sync, one poll after the other."""

    def turn(self):
        """One poll."""
        wish = f"timeout=30000&since={self.user.since}&filter={quote(json.dumps(MANY))}"
        answer = self.ask("GET", f"/_matrix/client/v3/sync?{wish}")
        if not answer:
            time.sleep(1)
            return
        told = answer.json()
        for name, room in told.get("rooms", {}).get("join", {}).items():
            timeline = room.get("timeline", {})
            if timeline.get("limited"):
                self.diary.listens(self.skipped(name, timeline["prev_batch"]))
            self.diary.listens(self.new(timeline.get("events", [])))
        self.user.since = told["next_batch"]

    def skipped(self, room, start):
        """What a timeline with a gap has left out: that of before it which was never heard."""
        answer = self.ask("GET", f"/_matrix/client/v3/rooms/{quote(room)}/messages?dir=b&limit=200&from={start}")
        return self.new(answer.json()["chunk"][::-1]) if answer else []

    def new(self, events):
        """Those of the events that were never heard: what has filled a gap comes by sync, too."""
        known = {one["event"] for one in self.diary.heard}
        return [event for event in events if event["event_id"] not in known]


class Slider(Client):
    """Sliding sync: a POST that waits, and that says by `pos` how far it has come."""

    pos = None

    def turn(self):
        """One poll."""
        wish = {"ranges": [[0, 20]], "timeline_limit": 500, "required_state": []}
        since = f"&pos={quote(self.pos)}" if self.pos else ""
        answer = self.ask("POST", f"{SLIDING}?timeout=30000{since}", {"conn_id": "cut", "lists": {"all": wish}})
        if not answer:
            time.sleep(1)
            return
        told = answer.json()
        self.pos = told["pos"]
        for room in told.get("rooms", {}).values():
            self.diary.listens(room.get("timeline", []))


class Speaker(Client):
    """A message every second: patient, one after the other; or each by itself, from `sources` in turn."""

    def __init__(self, user, name, room, sources=()):
        super().__init__(user, name)
        self.room, self.sources, self.number = room, sources, 0
        self.due, self.speaking = time.monotonic(), []

    def turn(self):
        """One message."""
        self.number += 1
        if self.sources:
            number = self.number
            speaking = threading.Thread(target=self.say, args=(number, self.sources[number % len(self.sources)]))
            self.speaking.append(speaking)
            speaking.start()
        else:
            while not self.say(self.number) and not self.over.is_set():
                time.sleep(1)
        self.due += 1
        self.over.wait(max(0, self.due - time.monotonic()))

    def say(self, number, source=None):
        """Says it once; returns whether the server has taken it."""
        name = self.diary.name
        target = f"/_matrix/client/v3/rooms/{quote(self.room)}/send/m.room.message/{name}-{number}"
        answer = self.ask("PUT", target, {"msgtype": "m.text", "body": f"{name} {number}"}, source)
        if answer:
            self.diary.sent[f"{name} {number}"] = answer.json()["event_id"]
        return answer

    def quiet(self):
        """No more words; waits for those that are on their way."""
        self.over.set()
        for speaking in [self.thread, *self.speaking]:
            speaking.join(PATIENCE)


class Prober(Client):
    """Every half second a new client that asks a small question which only home can answer."""

    def __init__(self, user, sources):
        super().__init__(user, "whoami")
        self.sources, self.number = sources, 0

    def turn(self):
        """One question."""
        self.number += 1
        source = self.sources[self.number % len(self.sources)]
        asking = threading.Thread(
            target=self.ask, args=("GET", "/_matrix/client/v3/account/whoami", None, source), daemon=True
        )
        asking.start()
        self.over.wait(0.5)

    def first(self, healed):
        """Seconds from the heal to the first good answer."""
        good = [
            one["at"] - healed for one in list(self.diary.answers) if one["status"] == 200 and one["at"] >= healed
        ]
        return min(good, default=None)


class Nio:
    """matrix-nio in a process of its own."""

    def __init__(self, lab, base, user, room):
        self.name, self.room = "nio", room
        arguments = [base, lab.ca, user.id, user.password, room]
        self.process = lab.spawn([NIO, HERE / "nio_client.py", *arguments], "nio.out")
        self.read = 0
        self._diary = Diary("nio")

    @property
    def diary(self):
        """What it has told so far."""
        with open(self.process.log, "rb") as log:
            log.seek(self.read)
            for line in log:
                if not line.endswith(b"\n"):
                    break
                self.read += len(line)
                if line.startswith(b"{"):
                    self._take(json.loads(line))
        return self._diary

    def _take(self, told):
        kind = told.pop("kind")
        if kind == "asked":
            self._diary.asks(told["what"], told["at"])
        elif kind == "answer":
            self._diary.answers.append(told)
        elif kind == "heard":
            self._diary.heard.append(told)
        elif kind == "sent":
            self._diary.sent[told["body"]] = told["event"]

    def quiet(self):
        """No more words, and the end of the process; returns its exit code."""
        return self.process.stop(PATIENCE)


class Polls:
    """Many long polls of one quiet reader, all open at once."""

    def __init__(self, user, count, source):
        self.answers, self.lock = [], threading.Lock()
        self.target = f"/_matrix/client/v3/sync?timeout=30000&since={user.since}"
        self.user, self.source = user, source
        self.threads = [threading.Thread(target=self._poll, daemon=True) for _ in range(count)]
        for thread in self.threads:
            thread.start()

    def _poll(self):
        try:
            answer = self.user.ask("GET", self.target, timeout=PATIENCE + 30, source=self.source)
            told, news = answer.status, bool(answer.json().get("rooms"))
            detail = "" if told == 200 else str(answer)
        except Exception as error:
            told, news, detail = 0, False, repr(error)
        with self.lock:
            self.answers.append({"status": told, "at": time.monotonic(), "news": news, "detail": detail})

    def end(self, seconds):
        """Waits for all of them; returns their answers."""
        deadline = time.monotonic() + seconds
        for thread in self.threads:
            thread.join(max(0, deadline - time.monotonic()))
        with self.lock:
            return list(self.answers)
