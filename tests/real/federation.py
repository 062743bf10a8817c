"""Two real Synapses federate through two porchds. The two ways to find each other are two suites.

Everything that a user does goes through the porch too, so a message crosses two of them.
"""

import hashlib
import os
import time

from homeserver import Synapse
from lab import ask_dns, wait_until
from porch import Porch
from talk import User, ask, quote

ALIAS = "caf\u00e9/1%2F2?x+y#z"


def run(lab, delegated):
    """`delegated`: by well-known to port 443; else well-known is 404 and peers come to port 8448."""
    check = lab.check
    lab.names({"a.test": ["127.0.0.2"], "b.test": ["127.0.0.3"] + (["fd00::3"] if lab.ipv6 else [])})
    check(
        "SRV is NODATA, not NXDOMAIN",
        ask_dns("_matrix-fed._tcp.a.test", 33) == (0, 0),
        ask_dns("_matrix-fed._tcp.a.test", 33),
    )
    homes, porches = {}, {}
    for name, port, addresses in (
        ("a.test", 8008, ["127.0.0.2"]),
        ("b.test", 8009, ["127.0.0.3"] + (["fd00::3"] if lab.ipv6 else [])),
    ):
        homes[name] = Synapse(lab, name, port)
        homes[name].begin()
        porches[name] = Porch(
            lab, name, port, addresses, well_known=f"matrix.{name}:443" if delegated else None
        ).start()
    for home in homes.values():
        wait_until(home.healthy, 120, f"Synapse of {home.name} is healthy", home.process)
    a, b = User(lab, "https://matrix.a.test", "alice"), User(lab, "https://matrix.b.test", "bob")
    for person in (a, b):
        wait_until(lambda: person.register()[1].status == 200, 20, f"{person.name} is registered")
        person.sync()
    found(lab, delegated)
    room = messages(lab, a, b)
    files(lab, a, b)
    slashes(lab, a, b)
    questions(lab, a, b)
    silence(lab, porches["a.test"], homes["a.test"], a, b, room)
    for name, home in homes.items():
        check(f"no ERROR in the log of {name}", not home.errors(), home.errors()[:1])
        check(f"no panic in the porch of {name}", "panicked" not in porches[name].said())
    paths = [line["target"] for line in porches["a.test"].lines() if line.get("user_agent", "").startswith("Synapse")]
    check(
        "b's requests came through the porch of a",
        len([path for path in paths if path.startswith("/_matrix/federation")]) > 20,
        f"{len(paths)} requests, such as {paths[-3:]}",
    )
    for name, porch in porches.items():
        code = porch.process.stop()
        check(f"SIGTERM ends the porch of {name} with exit code 0", code == 0, code)


def found(lab, delegated):
    """How a peer finds the homeserver."""
    for name in ("a.test", "b.test"):
        answer = ask(lab, "GET", f"https://{name}/.well-known/matrix/server")
        if delegated:
            lab.check(
                f"{name} delegates to 443",
                answer.status == 200 and answer.json() == {"m.server": f"matrix.{name}:443"},
                answer,
            )
            base = f"https://matrix.{name}"
        else:
            lab.check(f"{name} delegates nowhere", answer.status == 404, answer)
            base = f"https://{name}:8448"
        answer = ask(lab, "GET", base + "/_matrix/federation/v1/version")
        lab.check(f"{name} answers as a peer asks", answer.json().get("server", {}).get("name") == "Synapse", answer)
        answer = ask(lab, "GET", base + "/_matrix/key/v2/server")
        lab.check(f"{name} shows its keys", answer.json().get("server_name") == name, answer.status)


def messages(lab, a, b):
    """A room of b with an odd alias; a joins by it; messages and typing both ways."""
    check = lab.check
    made = b.ask(
        "POST", "/_matrix/client/v3/createRoom", {"preset": "public_chat", "room_alias_name": ALIAS, "name": "porch"}
    )
    room = made.json().get("room_id")
    check("b makes a room with an odd alias", made.status == 200, made)
    joined = a.ask("POST", f"/_matrix/client/v3/join/{quote('#' + ALIAS + ':b.test')}", {}, timeout=120)
    check("a joins by the alias, over federation", joined.json().get("room_id") == room, joined)
    for sender, receiver in ((a, b), (b, a)):
        text = f"from {sender.name} to {receiver.name}"
        sent = sender.send(room, text, text)
        seconds = receiver.wait_for_text(text)
        check(f"message {text}", sent.status == 200 and seconds is not None, seconds and f"{seconds:.2f} s")
        sender.ask(
            "PUT",
            f"/_matrix/client/v3/rooms/{quote(room)}/typing/{quote(sender.id)}",
            {"typing": True, "timeout": 20000},
        )
        seconds = receiver.wait_for(
            lambda event: event.get("type") == "m.typing" and sender.id in event["content"]["user_ids"]
        )
        check(f"typing {text}", seconds is not None, seconds and f"{seconds:.2f} s")
    back = a.ask("GET", f"/_matrix/client/v3/rooms/{quote(room)}/messages?dir=b&limit=50")
    check(
        "a reads the room back",
        back.status == 200 and len(back.json().get("chunk", [])) > 5,
        f"{back.status}, {len(back.json().get('chunk', []))} events",
    )
    return room


def files(lab, a, b):
    """Media over federation, both ways."""
    blob = os.urandom(10 << 20)
    for owner, reader in ((a, b), (b, a)):
        up = owner.ask(
            "POST",
            "/_matrix/media/v3/upload?filename=" + quote("x /\u00e9.bin"),
            blob,
            {"Content-Type": "application/octet-stream"},
            timeout=120,
        )
        path = up.json().get("content_uri", "mxc://none/none").removeprefix("mxc://")
        got = reader.ask("GET", "/_matrix/client/v1/media/download/" + path, timeout=120)
        lab.check(
            f"10 MiB of {owner.name} for {reader.name}, same hash",
            hashlib.sha256(got.body).digest() == hashlib.sha256(blob).digest(),
            f"{up.status}, {got.status}, {len(got.body)} bytes, {got.seconds:.1f} s",
        )


def slashes(lab, a, b):
    """Rooms of version 3: their event ids are base64 with `/` and `+`, which stand in signed paths."""
    rooms = slashed = 0
    trouble = ""
    while rooms < 12 and not (rooms >= 6 and slashed >= 3):
        rooms += 1
        room = a.ask("POST", "/_matrix/client/v3/createRoom", {"preset": "public_chat", "room_version": "3"}).json()[
            "room_id"
        ]
        joined = b.ask("POST", f"/_matrix/client/v3/join/{quote(room)}?server_name=a.test", {}, timeout=120)
        sent = b.send(room, f"v3 {rooms}", f"v3-{rooms}")
        event = sent.json().get("event_id", "")
        slashed += "/" in event
        seen = a.wait_for_text(f"v3 {rooms}", 30)
        read = a.ask("GET", f"/_matrix/client/v3/rooms/{quote(room)}/event/{quote(event)}")
        if not (joined.status == sent.status == read.status == 200 and seen is not None):
            trouble = f"{joined} {sent} {read}"
    lab.check(
        "rooms of version 3, event ids with slashes among them, are joined and read",
        not trouble and slashed,
        f"{rooms} rooms, {slashed} event ids with a slash {trouble}",
    )


def questions(lab, a, b):
    """Queries of one home to the other."""
    for asker, asked in ((a, b), (b, a)):
        name = f"{asked.name} the {asked.name}"
        asked.ask("PUT", f"/_matrix/client/v3/profile/{quote(asked.id)}/displayname", {"displayname": name})
        answer = asker.ask("GET", f"/_matrix/client/v3/profile/{quote(asked.id)}")
        lab.check(
            f"{asker.name} asks for the profile of {asked.id}", answer.json().get("displayname") == name, answer
        )
        answer = asker.ask(
            "GET", f"/_matrix/client/v3/publicRooms?server={asked.base.removeprefix('https://matrix.')}&limit=3"
        )
        lab.check(f"{asker.name} lists the public rooms over there", answer.status == 200, answer.status)
        answer = asker.ask("POST", "/_matrix/client/v3/keys/query", {"device_keys": {asked.id: []}})
        lab.check(
            f"{asker.name} asks for the keys of {asked.id}",
            answer.status == 200 and not answer.json().get("failures"),
            answer,
        )


def silence(lab, porch, home, a, b, room):
    """Home of a is away while b speaks: the peer must not be put off (Synapse's back-off is 10 minutes)."""
    home.stop()
    sent = b.send(room, "are you there?", "away")
    time.sleep(8)
    home.begin()
    wait_until(home.healthy, 120, "Synapse of a.test is healthy again", home.process)
    begun = time.monotonic()
    wait_until(lambda: a.sync().status == 200, 20, "a can sync again")
    seconds = a.wait_for_text("are you there?", 90)
    lab.check(
        "what b said while a's home was away arrives soon after",
        sent.status == 200 and seconds is not None,
        f"{time.monotonic() - begun:.1f} s after home is back",
    )
    told = [
        line["status"] for line in porch.lines() if line["answered"] == "edge" and "/federation/" in line["target"]
    ]
    lab.check("the porch told the peer nothing of it: it let it wait", not told, told)
