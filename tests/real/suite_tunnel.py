"""Home is behind a tunnel, and away for 20 seconds: no client, no peer and no message may notice.

A real Synapse at the far end of WireGuard (`tunnel.py`), porchd at the near end, and in front of it matrix-nio,
a sliding-sync client, one that sends without waiting, 50 long polls, and a second Synapse that federates.
What breaks, one after the other:

    drop      every packet between the two hosts is dropped, silently
    link      the near host's link is down
    kill      the near end of the tunnel dies, and is started again later
    move      home gets another address; near learns it from home's next word
    restart   Synapse is killed and started again
    hang      Synapse is stopped (SIGSTOP) and goes on later

PORCHD_REAL_CUT="20 drop move" chooses others than the suite's own. What `.ci/long` runs is `suite_tunnel60.py`.
"""

import json
import os
import signal
import sqlite3
import statistics
import threading
import time
import urllib.request

from cut_clients import Listener, Nio, Polls, Prober, Slider, Speaker
from homeserver import Synapse
from lab import eventually, wait_until
from porch import Porch
from talk import Doing, User, quote
from tunnel import HOME, PEER, PUBLIC, Tunnel, answers, client

LIMIT = 400
BASE = "https://matrix.a.test"
CUTS = ["drop", "restart", "hang"]
# What people are told about the fault; and whether somebody at home can speak while it lasts.
TUNNEL = {"drop", "link", "kill", "move"}
# What cuts home off from its peers, too: its own requests to them, of which porchd knows nothing.
ALONE = {"drop", "link", "move"}
# Seconds after the heal in which an open poll must be answered, and all that was held up must have arrived. What
# home itself was telling a peer when it was cut off, its Synapse gives up and says again after a minute or so.
# After a long cut the peer does so, too: nobody waits longer than a minute for an answer.
POLLS, ARRIVAL, SAID_AGAIN = 5, 25, 100


def run(lab, seconds=20, cuts=CUTS):
    if chosen := os.environ.get("PORCHD_REAL_CUT"):
        first, *cuts = chosen.split()
        seconds = int(first)
    stage = Stage(lab)
    for how in cuts:
        Cut(stage, how, seconds).play()
    stage.over()


class Stage:
    """The hosts, the servers and the people; one for all cuts."""

    def __init__(self, lab):
        self.lab, self.begun = lab, time.monotonic()
        lab.names({"a.test": [PUBLIC], "b.test": [PEER]})
        self.tunnel = Tunnel(lab)
        lab.spawn([*self.tunnel.inside, *lab.resolver_argv], "dnsmasq-home.log")
        self.home = Synapse(lab, "a.test", 8008, address=HOME, inside=self.tunnel.inside)
        self.peer = Synapse(lab, "b.test", 8009)
        for server in (self.home, self.peer):
            server.begin()
        # The probe is porchd's own: what is measured is what people get.
        settings = {"address": HOME, "probe": "{}", "more": control(lab, "a")}
        self.porch = Porch(lab, "a.test", 8008, [PUBLIC], well_known="matrix.a.test:443", **settings).start()
        settings = {"more": control(lab, "b")}
        self.other = Porch(lab, "b.test", 8009, [PEER], well_known="matrix.b.test:443", **settings).start()
        for server in (self.home, self.peer):
            wait_until(server.healthy, 120, f"Synapse of {server.name} is healthy", server.process)
        self._people()
        self._rooms()
        self._clients()

    def _people(self):
        names = ("alice", "sly", "eager", "polly", "resident")
        self.people = {name: User(self.lab, BASE, name) for name in names}
        self.people["bob"] = User(self.lab, "https://matrix.b.test", "bob")
        for person in self.people.values():
            wait_until(lambda p=person: p.register()[1].status == 200, 20, f"{person.name} is registered")

    def _rooms(self):
        """One room where everybody speaks, and a quiet one for the polls."""
        people, rooms = self.people, []
        for owner, others in (("alice", ("sly", "eager", "bob")), ("resident", ("polly",))):
            made = people[owner].ask("POST", "/_matrix/client/v3/createRoom", {"preset": "public_chat"})
            rooms.append(made.json()["room_id"])
            for name in others:
                joined = people[name].ask(
                    "POST", f"/_matrix/client/v3/join/{quote(rooms[-1])}?server_name=a.test", {}
                )
                if joined.status != 200:
                    raise SystemExit(f"{name} cannot join: {joined}")
        self.room, self.quiet = rooms
        for name in ("polly", "bob"):
            people[name].sync()

    def _clients(self):
        people = self.people
        self.nio = Nio(self.lab, BASE, people["alice"], self.room)
        self.slider = Slider(people["sly"], "sliding sync").start()
        self.eager = Speaker(people["eager"], "eager", self.room, [client(n) for n in range(10, 20)]).start()
        self.bob = Speaker(people["bob"], "bob", self.room).start()
        self.ears = Listener(people["bob"], "bob's sync").start()
        self.prober = Prober(people["resident"], [client(n) for n in range(20, 30)]).start()
        self.clients = [self.nio, self.slider, self.eager, self.bob, self.ears, self.prober]
        # What each of the first three says is heard by all three of the second.
        self.speakers, self.listeners = [self.nio, self.eager, self.bob], [self.nio, self.slider, self.ears]
        self.number = 0
        settled = eventually(
            lambda: all(one.diary.has("nio 2") and one.diary.has("bob 2") for one in self.listeners), 20
        )
        self.lab.check("everybody hears everybody", settled, self.tunnel.shown())
        print(f"-- all is set up after {time.monotonic() - self.begun:.1f} s", flush=True)

    def at_home(self, method, path, body=None):
        """One request of the resident straight to home, from home."""
        more = ["-X", method, "-H", "Authorization: Bearer " + self.people["resident"].token]
        more += ["-d", json.dumps(body)] if body is not None else []
        return json.loads(self.tunnel.at_home(self.home.url + path, *more))

    def news(self):
        """The resident says something in the quiet room, without the tunnel."""
        self.number += 1
        path = f"/_matrix/client/v3/rooms/{quote(self.quiet)}/send/m.room.message/news-{self.number}"
        self.at_home("PUT", path, {"msgtype": "m.text", "body": f"news {self.number}"})

    def back_off(self, server, destination):
        """What a Synapse's own table says of a peer: (since when it fails, its back-off in milliseconds)."""
        database = sqlite3.connect(f"file:{server.dir}/homeserver.db?mode=ro", uri=True, timeout=5)
        try:
            question = "SELECT failure_ts, retry_interval FROM destinations WHERE destination = ?"
            row = database.execute(question, (destination,)).fetchone()
        finally:
            database.close()
        return row and (row[0] or 0, row[1] or 0) or (0, 0)

    def over(self):
        """The end: all are quiet, and both sides' rooms are counted."""
        codes = [one.quiet() for one in self.speakers]
        self.lab.check("matrix-nio ended well", codes[0] == 0, self.nio.process.tail(3) if codes[0] else "")
        for listener in self.listeners:
            for name in ("nio", "bob"):
                numbers = listener.diary.numbers(name)
                double = len(numbers) - len(set(numbers))
                wrong = disorder(numbers)
                # What comes to the peer after a gap comes as Synapse fetches it; its room is in order (below).
                self.lab.check(
                    f"{listener.diary.name} heard {name} once, and in order",
                    numbers and not double and (not wrong or listener is self.ears),
                    f"{len(numbers)} messages, {double} double, {wrong} out of order",
                )
        there = wait_rooms(self)
        for speaker in self.speakers:
            for side, events in there.items():
                count(self.lab, speaker, side, events)
        for server, destination in ((self.peer, "a.test"), (self.home, "b.test")):
            print(
                f"-- back-off of {server.name} from {destination}: {self.back_off(server, destination)}", flush=True
            )
        for server in (self.home, self.peer):
            print(
                f"-- ERROR lines in the log of {server.name}: {len(server.errors())} {server.errors()[:1]}",
                flush=True,
            )
        self.lab.check("no panic in porchd's log", "panicked" not in self.porch.said())
        (self.lab.dir / "shown" / "incidents.txt").write_text(self.porch.tells("incidents"))
        # Their last polls would hold up a stop.
        for porch in (self.porch, self.other):
            porch.kill()


def control(lab, name):
    """A control socket of a porch's own: there are two."""
    return f"admin: {{ socket: {lab.dir}/{name}.sock }}\n"


class Cut:
    """One fault, from the seconds before it to when all is as it was."""

    number = 0

    def __init__(self, stage, how, seconds):
        self.stage, self.how, self.seconds = stage, how, seconds
        self.title = f"{how} {seconds} s" if how != "move" else how
        self.worst, self.over = (0, 0), threading.Event()

    def play(self):
        """All of it."""
        stage, begun = self.stage, time.monotonic()
        before = self._said(begun)
        polls = Polls(stage.people["polly"], 50, client(1))
        watch = threading.Thread(target=self._watch)
        watch.start()
        time.sleep(1.5)
        cut = time.monotonic()
        self._break()
        threading.Timer(min(self.seconds, 15) - 1, self._show, ["away"]).start()
        # A peer's question which only home can answer; most others the peer's Synapse gives up after 10 s.
        asking = Doing(lambda: stage.people["bob"].ask("GET", self._rooms(), timeout=120))
        if self.how in TUNNEL:
            time.sleep(min(self.seconds, 4) / 2)
            stage.news()
        healed = self._mend(cut)
        if self.how not in TUNNEL:
            stage.news()
        answers = polls.end(30)
        arrived = self._arrive(before, healed)
        self.over.set()
        watch.join()
        self._judge(begun, cut, healed)
        self._judge_polls(polls, answers, healed)
        self._judge_arrival(cut, healed, arrived)
        self._judge_peer(asking.end(100))
        self._show("back")
        stage.people["polly"].sync()

    def _rooms(self):
        # Never the same question twice: the peer keeps answers.
        Cut.number += 1
        return f"/_matrix/client/v3/publicRooms?server=a.test&limit={Cut.number}"

    def _break(self):
        process = self.stage.home.process
        if self.how in TUNNEL:
            self.stage.tunnel.cut(self.how)
        elif self.how == "restart":
            process.kill()
        else:
            process.signal(signal.SIGSTOP)

    def _mend(self, cut):
        """Waits for the end of the cut, ends it, and returns when home could be reached again."""
        # Synapse takes some seconds until it serves: they are part of the cut.
        early = 3 if self.how == "restart" else 0
        if self.how != "move":
            time.sleep(max(0, cut + self.seconds - early - time.monotonic()))
        stage = self.stage
        if self.how in TUNNEL:
            stage.tunnel.heal(self.how)
        elif self.how == "restart":
            stage.home.begin()
        else:
            stage.home.process.signal(signal.SIGCONT)
        back = stage.tunnel.carries if self.how in TUNNEL else lambda: answers(stage.home.url)
        wait_until(back, 120, f"home is back after {self.title}")
        healed = time.monotonic()
        print(f"-- {self.title}: home was away for {healed - cut:.1f} s; {stage.tunnel.shown()}", flush=True)
        return healed

    def _show(self, when):
        """Keeps what `porchd status` shows."""
        shown = self.stage.lab.dir / "shown"
        shown.mkdir(exist_ok=True)
        (shown / f"status-{self.how}-{when}.txt").write_text(self.stage.porch.tells("status"))

    def _watch(self):
        """Looks into the peer's table while it lasts: a back-off that is over is one all the same."""
        while not self.over.wait(0.5):
            self.worst = max(self.worst, self.stage.back_off(self.stage.peer, "a.test"))

    def _arrive(self, before, healed):
        """Waits until all that was said in between has been heard: what has not, and when the last was."""
        said = self._said(healed)
        bodies = [f"{name} {n}" for name in said for n in range(before[name] + 1, said[name] + 1)]

        def heard():
            return {
                (diary.name, b): diary.has(b) for diary in (one.diary for one in self.stage.listeners) for b in bodies
            }

        eventually(
            lambda: all(heard().values()) or self._fetched(heard()), healed + self._patience() - time.monotonic()
        )
        times = heard()
        missing = [f"{listener}: {body}" for (listener, body), at in times.items() if not at]
        last, at = max(times.items(), key=lambda one: one[1] or 0)
        told = f'the last was "{last[1]}" in {last[0]}, {(at or 0) - healed:.1f} s after the heal'
        return [] if self._fetched(times) else missing, told

    def _patience(self):
        return SAID_AGAIN if self.how == "move" or self.seconds > 30 else ARRIVAL

    def _fetched(self, times):
        """Whether nothing is missing but what the peer's Synapse has fetched to fill a gap.

        That is in the room, but in nobody's sync. Home leaves such a gap when it was cut off for long.
        """
        missing = {
            body for (listener, body), at in times.items() if not at and listener == self.stage.ears.diary.name
        }
        if self.how not in ALONE or len(missing) < sum(not at for at in times.values()):
            return False
        time.sleep(0.5)
        return missing <= {
            event["content"]["body"] for event in messages(lambda path: at_peer(self.stage, path), self.stage)
        }

    def _said(self, when):
        """How many messages each speaker had begun by then."""
        return {one.diary.name: one.diary.begun("PUT", when) for one in self.stage.speakers}

    def _judge(self, begun, cut, healed):
        for one in self.stage.clients:
            errors = one.diary.errors(begun)
            self.stage.lab.check(
                f"{self.title}: {one.diary.name} sees no error",
                not errors,
                f"{one.diary.count(begun)} answers, {len(errors)} bad {errors[:2]}",
            )
        first = self.stage.prober.first(healed)
        self.stage.lab.check(
            f"{self.title}: it works again", first is not None, first and f"{first:.2f} s after the heal"
        )

    def _judge_polls(self, polls, answers, healed):
        good = [one for one in answers if one["status"] == 200]
        bad = [f"{one['status']} {one['at'] - healed:+.1f} s {one['detail']}" for one in answers if one not in good]
        times = [one["at"] - healed for one in good] or [99]
        news = sum(one["news"] for one in good)
        self.stage.lab.check(f"{self.title}: 50 polls are answered well", len(good) == 50, f"{len(good)} {bad[:1]}")
        self.stage.lab.check(
            f"{self.title}: 50 polls are answered within {POLLS} s of the heal",
            len(good) == 50 and max(times) <= POLLS,
            f"{min(times):.2f} / {statistics.median(times):.2f} / {max(times):.2f} s (first, median, last), {news} with news",
        )

    def _judge_arrival(self, cut, healed, arrived):
        missing, last = arrived
        self.stage.lab.check(
            f"{self.title}: all that was said meanwhile is heard, on both sides",
            not missing,
            f"{last}; {len(missing)} not {missing[:3]}",
        )

    def _judge_peer(self, answer):
        check = self.stage.lab.check
        check(f"{self.title}: what a peer's user asks meanwhile is answered", answer.status == 200, answer)
        check(f"{self.title}: the peer does not back off", self.worst == (0, 0), f"(failing since, ms) {self.worst}")


def wait_rooms(stage):
    """The room's messages as each side has them, once both have the same or time is over."""

    def rooms():
        return {
            "home": messages(lambda path: stage.at_home("GET", path), stage, join=True),
            "peer": messages(lambda path: at_peer(stage, path), stage),
        }

    def alike():
        home, peer = rooms().values()
        return {event["event_id"] for event in home} == {event["event_id"] for event in peer}

    eventually(alike, 20)
    return rooms()


def at_peer(stage, path):
    """One request of bob straight to his server."""
    headers = {"Authorization": "Bearer " + stage.people["bob"].token}
    with urllib.request.urlopen(urllib.request.Request(stage.peer.url + path, headers=headers), timeout=20) as answer:
        return json.load(answer)


def messages(get, stage, join=False):
    """All messages of the room where everybody speaks, oldest first."""
    room = stage.room
    if join:
        # The resident reads along: a member from now on.
        stage.at_home("POST", f"/_matrix/client/v3/join/{quote(room)}", {})
    found, start = [], ""
    while True:
        page = get(f"/_matrix/client/v3/rooms/{quote(room)}/messages?dir=b&limit=500{start}")
        found += [event for event in page["chunk"] if event["type"] == "m.room.message"]
        if not page.get("end") or not page["chunk"]:
            return found[::-1]
        start = "&from=" + quote(page["end"])


def disorder(numbers):
    """How many stand before a smaller one."""
    return sum(one > following for one, following in zip(numbers, numbers[1:]))


def count(lab, speaker, side, events):
    """Whether each message of a speaker is there once, as the event that the speaker was told of, in order."""
    name = speaker.diary.name
    there = [(event["content"]["body"], event["event_id"]) for event in events]
    mine = [(body, event) for body, event in there if body.startswith(name + " ")]
    bodies = [body for body, _ in mine]
    double = sorted({body for body in bodies if bodies.count(body) > 1})
    lost = [body for body, event in speaker.diary.sent.items() if (body, event) not in mine]
    lab.check(
        f"{side}: each message of {name} is there exactly once",
        mine and not double and not lost and len(set(bodies)) >= len(speaker.diary.sent),
        f"{len(speaker.diary.sent)} sent, {len(mine)} there, double {double[:3]}, lost {lost[:3]}",
    )
    numbers = [int(body.split()[1]) for body in bodies]
    wrong = disorder(numbers)
    if name == "eager":
        # Each goes by itself, so their order is nobody's promise.
        print(f"-- {side}: {wrong} of {len(numbers)} messages of eager stand before an older one", flush=True)
    else:
        lab.check(
            f"{side}: the messages of {name} are in order", not wrong, f"{wrong} of {len(numbers)} out of order"
        )
