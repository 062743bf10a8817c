"""Home goes away, hangs and comes back; porchd is reloaded under traffic and stopped.

The rules are those of the Matrix specification's clients and peers: an edge that answers 404 or HTML while
home is away logs people out and silences federation for minutes.
"""

import collections
import hashlib
import json
import signal
import threading
import time

import talk
from homeserver import Synapse
from lab import eventually, wait_until
from porch import Porch
from talk import Doing, User, ask, quote

LIMIT = 300
BASE = "https://matrix.a.test"
# How long requests wait is a matter of `suite_park.py`; here it is what they are told then.
SHORT = ", ".join(f"{kind}: 2s" for kind in ("sync", "send", "client", "media", "login", "federation", "keys"))
# The edge answers others by itself while home is away.
WHOAMI = "/_matrix/client/v3/account/whoami"
PREFLIGHT = {
    "Origin": "https://web.a.test",
    "Access-Control-Request-Method": "PUT",
    "Access-Control-Request-Headers": "authorization",
}


def run(lab):
    lab.names({"a.test": ["127.0.0.2"]})
    home = Synapse(lab, "a.test", 8008)
    home.begin()
    park = {"upstream": f"    park: {{ {SHORT} }}\n"}
    porch = Porch(lab, "a.test", 8008, ["127.0.0.2"], well_known="matrix.a.test:443", **park).start()
    wait_until(home.healthy, 120, "Synapse is healthy", home.process)
    alice = User(lab, BASE, "alice")
    wait_until(lambda: alice.register()[1].status == 200, 20, "alice is registered")
    room = alice.ask("POST", "/_matrix/client/v3/createRoom", {"preset": "private_chat"}).json()["room_id"]
    alice.sync()
    reload_under_traffic(lab, porch, alice, room)
    bad_reload(lab, porch)
    admin_by_reload(lab, porch, home)
    away(lab, porch, home, alice, room)
    hung(lab, home, alice)
    stop_with_traffic(lab, porch, alice)
    lab.check("no panic in porchd's log", "panicked" not in porch.said())


def away(lab, porch, home, alice, room):
    """Home is stopped: what everybody is told, and how soon it works again."""
    check = lab.check
    alice.sync()
    poll = Doing(lambda: alice.sync(30000))
    time.sleep(1)
    home.process.kill()
    answer = poll.end(60)
    check(
        "a long poll that home cuts off is told 502, 503 or 504 by the edge, never closed silently",
        answer.status in (502, 503, 504) and answer.cors and answer.errcode,
        answer,
    )

    requests = [
        ("GET", "/_matrix/client/versions", None),
        ("GET", "/_matrix/client/v3/sync?timeout=30000", None),
        ("POST", "/_matrix/client/v3/login", {"type": "m.login.password"}),
        ("PUT", f"/_matrix/client/v3/rooms/{quote(room)}/send/m.room.message/gone", {"body": "x"}),
        ("GET", "/_matrix/federation/v1/version", None),
        ("PUT", "/_matrix/federation/v1/send/1", {}),
        ("GET", "/_matrix/key/v2/server", None),
        ("GET", "/_matrix/media/v3/download/a.test/none", None),
        ("GET", "/_synapse/client/unsubscribe", None),
        ("GET", "/_matrix/client/v99/nothing", None),
        ("HEAD", "/_matrix/client/versions", None),
    ]
    for (method, target, _), asked in [(request, Doing(lambda r=request: alice.ask(*r))) for request in requests]:
        answer = asked.end()
        good = answer.status == 503 and answer.cors and answer.headers.get("retry-after", "").isdigit()
        good = good and answer.headers.get("content-type", "").startswith("application/json")
        good = good and (answer.errcode or method == "HEAD")
        name = f"{method} {target.split('?')[0][:60]}"
        check(f"home away: {name} is 503, JSON, CORS, Retry-After", good, f"{answer} {answer.headers}")
    answer = ask(lab, "OPTIONS", BASE + "/_matrix/client/v3/sync", headers=PREFLIGHT, timeout=30)
    allowed = answer.headers.get("access-control-allow-methods", ""), answer.headers.get(
        "access-control-allow-headers", ""
    )
    check(
        "home away: OPTIONS is answered by the edge, at once",
        answer.status in (200, 204)
        and answer.cors
        and "PUT" in allowed[0]
        and "authorization" in allowed[1].lower()
        and answer.seconds < 2,
        f"{answer} {allowed}",
    )
    for kind in ("server", "client"):
        answer = ask(lab, "GET", f"https://a.test/.well-known/matrix/{kind}")
        check(
            f"home away: well-known {kind} is answered as ever",
            answer.status == 200 and answer.cors and answer.seconds < 2,
            answer,
        )

    def told():
        return [line for line in porch.lines() if line["answered"] == "edge" and line["status"] == 503]

    lines = eventually(told, 5)
    check(
        "the access log says that the edge answered, and why",
        lines and all(line.get("why") for line in lines),
        json.dumps(lines[-1:]),
    )

    home.begin()
    seen, begun = collections.Counter(), time.monotonic()
    healthy = first = None
    while first is None and time.monotonic() - begun < 120:
        if healthy is None and home.healthy():
            healthy = time.monotonic()
        answer = alice.ask("GET", WHOAMI, timeout=30)
        seen[answer.status] += 1
        if answer.status == 200:
            first = time.monotonic()
        time.sleep(0.1)
    late = first - (healthy or first) if first else None
    check(
        "home is back: the first 200 comes within 2 s of its health, nothing but 503 before",
        late is not None and late < 2 and set(seen) <= {200, 503},
        f"{late and round(late, 2)} s, {dict(seen)}",
    )
    answer = alice.send(room, "after the outage", "after")
    check("home is back: a message is sent", answer.status == 200, answer)


def hung(lab, home, alice):
    """Home accepts connections and never answers: the probe notices, requests are told, and it heals by itself."""
    check = lab.check
    home.process.signal(signal.SIGSTOP)
    statuses, begun = collections.Counter(), time.monotonic()
    answer = None
    try:
        while time.monotonic() - begun < 40:
            try:
                answer = alice.ask("GET", WHOAMI, timeout=10)
            except TimeoutError:
                statuses["no answer in 10 s"] += 1
                continue
            statuses[answer.status] += 1
            if answer.status in (503, 504):
                break
        check(
            "home hangs: requests are told 503 or 504 once the probe has noticed",
            answer is not None and answer.status in (503, 504) and answer.cors and answer.errcode,
            f"{dict(statuses)} after {time.monotonic() - begun:.1f} s",
        )
    finally:
        home.process.signal(signal.SIGCONT)
    begun = time.monotonic()
    wait_until(lambda: alice.ask("GET", WHOAMI, timeout=30).status == 200, 30, "it works again")
    check(
        "home wakes up: requests work within 5 s", time.monotonic() - begun < 5, f"{time.monotonic() - begun:.1f} s"
    )
    check("home wakes up: sync works", alice.sync().status == 200)


def reload_under_traffic(lab, porch, alice, room):
    """Five reloads under new connections, kept connections, long polls, an upload and a download."""
    check = lab.check
    blob = talk.random_file(lab.dir / "blob", 40)
    digest = hashlib.sha256(blob.read_bytes()).hexdigest()
    failures, counts, stop = [], collections.Counter(), threading.Event()
    lock = threading.Lock()

    def note(kind, ok, detail):
        with lock:
            counts[kind] += 1
            if not ok:
                failures.append(f"{kind}: {detail}")

    def attempt(kind, act):
        try:
            answer = act()
            note(kind, answer.status == 200, answer)
            return answer
        except Exception as error:
            note(kind, False, repr(error))
            # Ends this thread and nothing else.
            raise SystemExit from error

    def fresh():
        while not stop.is_set():
            attempt("new connection", lambda: ask(lab, "GET", BASE + "/_matrix/client/versions"))

    def kept():
        line = talk.Line(lab, "matrix.a.test")
        while not stop.is_set():
            answer = attempt(
                "kept connection",
                lambda: line.ask(
                    "GET", "/_matrix/client/v3/account/whoami", headers={"Authorization": "Bearer " + alice.token}
                ),
            )
            if answer.headers.get("connection", "").lower() == "close":
                line.close()
            time.sleep(0.01)
        line.close()

    def sender():
        number = 0
        while not stop.is_set():
            number += 1
            attempt("send", lambda: alice.send(room, f"under reload {number}", f"reload-{number}"))

    def poller(name):
        person = User(lab, BASE, name)
        attempt("register", lambda: person.register()[1])
        attempt("first sync", person.sync)
        attempt("first sync", lambda: person.sync(100))
        while not stop.is_set():
            answer = attempt("long poll of 5 s", lambda: person.sync(5000))
            # Nobody talks to this person: an early answer is a poll that was cut.
            note("long poll ran its time", answer.seconds > 4.5, f"{answer.seconds:.1f} s")

    def transfers():
        while not stop.is_set():
            with open(blob, "rb") as body:
                sent = attempt(
                    "upload of 40 MiB",
                    lambda: alice.ask(
                        "POST", "/_matrix/media/v3/upload", body, {"Content-Type": "application/octet-stream"}
                    ),
                )
            path = "/_matrix/client/v1/media/download/" + sent.json()["content_uri"].removeprefix("mxc://")
            got = attempt("download of 40 MiB", lambda: alice.ask("GET", path))
            note("hash of the download", hashlib.sha256(got.body).hexdigest() == digest, len(got.body))

    work = (fresh, fresh, kept, kept, sender, lambda: poller("polly"), lambda: poller("molly"), transfers)
    threads = [threading.Thread(target=one) for one in work]
    for thread in threads:
        thread.start()
    time.sleep(2)
    said = []
    for number in range(5):
        porch.write(
            more=f'sites:\n  - hosts: [ a.test, matrix.a.test ]\n    headers: {{ response: {{ set: {{ X-Generation: "{number}" }} }} }}\n'
        )
        said.append(porch.reload())
        seen = ask(lab, "GET", BASE + "/_matrix/client/versions").headers.get("x-generation")
        if seen != str(number):
            failures.append(f"after reload {number} the answer is still of generation {seen}")
        time.sleep(2)
    stop.set()
    for thread in threads:
        thread.join(60)
    blob.unlink()
    check(
        "5 reloads under traffic: no request failed, no poll was cut, no old answer after a new one",
        not failures and len(counts) == 10,
        f"{dict(counts)} {failures[:3]}",
    )
    check(
        "the service manager was told: RELOADING with MONOTONIC_USEC, then READY",
        all(
            "RELOADING=1" in one and any(x.startswith("MONOTONIC_USEC=") for x in one) and "READY=1" in one
            for one in said
        ),
        said[0],
    )


def bad_reload(lab, porch):
    """A file that cannot be used changes nothing and is told."""
    check = lab.check
    good = porch.file.read_text()
    files = {
        "a syntax error": (good[: len(good) // 2] + "\n}}} !!!\n", ""),
        "an empty file": ("", ""),
        "a missing certificate": (good.replace(str(porch.cert), "/nowhere/a.crt"), "/nowhere/a.crt"),
        "an unknown key": (good + "lissteners: {}\n", "listeners"),
    }
    for name, (text, named) in files.items():
        porch.file.write_text(text)
        before = len(porch.said())
        porch.reload()
        answer = ask(lab, "GET", BASE + "/_matrix/client/versions")
        told = porch.said()[before:]
        check(
            f"reload with {name}: the old configuration goes on, and why is told",
            answer.status == 200 and answer.headers.get("x-generation") == "4" and "refused" in told and named in told,
            told[-250:],
        )
        done = porch.run("check", "-f", porch.file)
        check(
            f"check of {name} fails and says why",
            done.returncode == 1 and (done.stdout + done.stderr).strip() and named in done.stdout + done.stderr,
            (done.stdout + done.stderr).strip()[-200:],
        )
    porch.file.write_text(good)


def admin_by_reload(lab, porch, home):
    """`admin_api` by reload: for the listed addresses alone."""
    token = home.administrator("root")
    text = porch.file.read_text()
    porch.file.write_text(
        text.replace("  home: home\n", "  home: home\n  admin_api: { allow: [ 127.0.0.77/32 ] }\n", 1)
    )
    porch.reload()
    answers = [
        ask(
            lab,
            "GET",
            BASE + "/_synapse/admin/v2/users?limit=1",
            headers={"Authorization": "Bearer " + token},
            source=source,
        )
        for source in ("127.0.0.77", "127.0.0.78")
    ]
    lab.check(
        "admin_api: the listed address is let in, another is not",
        answers[0].status == 200
        and answers[0].from_synapse
        and answers[1].status in (403, 404)
        and not answers[1].from_synapse,
        f"{answers[0].status} {answers[1]}",
    )
    porch.file.write_text(text)
    porch.reload()
    answer = ask(
        lab,
        "GET",
        BASE + "/_synapse/admin/v2/users?limit=1",
        headers={"Authorization": "Bearer " + token},
        source="127.0.0.77",
    )
    lab.check("admin_api: taken away again by a reload", answer.status == 404 and not answer.from_synapse, answer)


def stop_with_traffic(lab, porch, alice):
    """SIGTERM: what is in flight ends well, idle polls are told at the deadline, nothing new is taken."""
    check = lab.check
    alice.sync()
    poll = f"/_matrix/client/v3/sync?since={alice.since}&timeout="
    short = Doing(lambda: alice.ask("GET", poll + "4000"))
    long = Doing(lambda: alice.ask("GET", poll + "60000", timeout=90))
    time.sleep(1)
    begun = time.monotonic()
    porch.process.signal(signal.SIGTERM)
    answer = short.end()
    check("SIGTERM: a poll that ends in time is answered by Synapse", answer.status == 200, answer)
    answer = long.end()
    code = porch.process.child.wait(30)
    took = time.monotonic() - begun
    check(
        "SIGTERM: a poll that is still idle at the deadline is told 503 in Matrix's words",
        answer.status == 503 and answer.errcode and answer.cors,
        answer,
    )
    check(
        "SIGTERM: porchd ends by itself soon after drain.stop (10 s), with exit code 0",
        code == 0 and took < 15,
        f"exit {code}, {took:.1f} s",
    )
