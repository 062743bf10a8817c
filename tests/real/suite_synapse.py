"""A day with one real Synapse behind porchd, through the `matrix:` preset.

Everything that a person's client does, on HTTP/1.1 and HTTP/2, over IPv4 and IPv6; and everything that the
edge must not let through. What happens when home is away is in `suite_outage.py`.
"""

import hashlib
import http.client
import json
import re
import subprocess
import time

import talk
from homeserver import Synapse
from lab import wait_until
from porch import Porch
from talk import Doing, User, ask, curl, quote

LIMIT = 240
BASE = "https://matrix.a.test"

# Ways to write /_synapse/admin/v1/server_version that some proxy or other has let through.
ADMIN = "/admin/v1/server_version"
DISGUISES = [
    "/_synapse" + ADMIN,
    "//_synapse" + ADMIN,
    "/_synapse/" + ADMIN,
    "/_synapse/." + ADMIN,
    "/./_synapse" + ADMIN,
    "/_matrix/.." + "/_synapse" + ADMIN,
    "/_matrix/client/../../_synapse" + ADMIN,
    "/_matrix/%2e%2e/_synapse" + ADMIN,
    "/_matrix/%2E%2e%2f_synapse" + ADMIN,
    "/_matrix/..%2f_synapse" + ADMIN,
    "/_matrix/..%5c_synapse" + ADMIN,
    "/_matrix\\..\\_synapse" + ADMIN,
    "/_matrix/..;/_synapse" + ADMIN,
    "/_matrix/..;x=1/_synapse" + ADMIN,
    "/_matrix/%252e%252e/_synapse" + ADMIN,
    "/_synapse/client/.." + ADMIN,
    "/_synapse/client/%2e%2e" + ADMIN,
    "/_synapse/client/.%2e" + ADMIN,
    "/_synapse/client/..;" + ADMIN,
    "/_synapse/client/..%2fadmin/v1/server_version",
    "/_synapse/client%2f..%2fadmin/v1/server_version",
    "/%5fsynapse" + ADMIN,
    "/_synapse%2fadmin/v1/server_version",
    "/_synaps%65/%61dmin/v1/server_version",
    "/_synapse/%61dmin/v1/server_version",
    "/_synapse;x" + ADMIN,
    "/_SYNAPSE" + ADMIN,
    "/_synapse" + ADMIN + "/",
    "/_synapse" + ADMIN + "?x=/_matrix/client/versions",
    "/_synapse/client" + ADMIN,
]

ALIASES = [
    "plain",
    "with#hash",
    "50%2Fpercent",
    "slash/in/it",
    "question?mark=1&x",
    "plus+and%20percent",
    "caf\u00e9",
    "\u65e5\u672c\u8a9e",
    "dots..",
    "semi;colon,'()*!",
]


def run(lab):
    check = lab.check
    addresses = ["127.0.0.2"] + (["fd00::2"] if lab.ipv6 else [])
    lab.names({"a.test": addresses})
    home = Synapse(lab, "a.test", 8008)
    home.begin()
    porch = Porch(lab, "a.test", 8008, addresses, well_known="matrix.a.test:443")
    command_line(lab, porch)
    porch.start()
    talk_until_up(lab, home)
    discovery(lab)
    alice, bob = accounts(lab)
    room = rooms(lab, alice, bob)
    polls(lab, alice, bob, room)
    media(lab, alice, bob)
    limits(lab, alice, room)
    closed_doors(lab, home)
    addresses_of_clients(lab, home, alice)
    many_streams(lab, alice)
    logs(lab, porch, home, [alice, bob])
    code = porch.process.stop()
    check("SIGTERM ends porchd with exit code 0", code == 0, code)


def command_line(lab, porch):
    """`check`, `check --expand` and `schema` on the suite's own file."""
    done = porch.run("check", "-f", porch.file)
    lab.check("check accepts the configuration", done.returncode == 0, (done.stdout + done.stderr).strip())
    expanded = porch.run("check", "-f", porch.file, "--expand")
    again = porch.dir / "expanded.yaml"
    again.write_text(expanded.stdout)
    done = porch.run("check", "-f", again)
    lab.check(
        "check --expand prints a file that check accepts",
        expanded.returncode == 0 and done.returncode == 0 and "/_matrix" in expanded.stdout,
        (expanded.stderr + done.stdout + done.stderr).strip()[-300:],
    )
    done = porch.run("schema")
    try:
        properties = json.loads(done.stdout).get("properties", {})
    except ValueError:
        properties = {}
    lab.check(
        "schema prints a JSON Schema",
        {"matrix", "sites", "upstreams"} <= set(properties),
        sorted(properties) or done.stderr,
    )


def talk_until_up(lab, home):
    """From a start with home still starting, the first good answer comes by itself."""
    begun = time.monotonic()
    statuses = []
    while time.monotonic() - begun < 120 and (not statuses or statuses[-1] != 200):
        statuses.append(ask(lab, "GET", BASE + "/_matrix/client/versions").status)
        time.sleep(0.1)
    lab.check(
        "while home starts the edge says 503 and nothing else, then 200",
        statuses[-1] == 200 and set(statuses[:-1]) <= {503},
        f"{len(statuses)} requests, {sorted(set(statuses))}, {time.monotonic() - begun:.1f} s; Synapse healthy: {home.healthy()}",
    )


def discovery(lab):
    """The three documents and the redirect of port 80."""
    check = lab.check
    for host in ("a.test", "matrix.a.test"):
        got = ask(lab, "GET", f"https://{host}/.well-known/matrix/server")
        check(
            f"well-known server on {host}",
            got.status == 200 and got.json() == {"m.server": "matrix.a.test:443"} and got.cors,
            got,
        )
        got = ask(lab, "GET", f"https://{host}/.well-known/matrix/client")
        check(
            f"well-known client on {host}",
            got.json().get("m.homeserver", {}).get("base_url", "").rstrip("/") == BASE and got.cors,
            got,
        )
    got = ask(
        lab,
        "OPTIONS",
        "https://a.test/.well-known/matrix/client",
        headers={"Origin": "https://x.test", "Access-Control-Request-Method": "GET"},
    )
    check("well-known answers a preflight", got.status in (200, 204) and got.cors, got)
    got = ask(lab, "GET", "http://a.test/_matrix/client/versions?x=%2F")
    check(
        "port 80 redirects to https, target untouched",
        got.status in (301, 302, 307, 308)
        and got.headers.get("location") == "https://a.test/_matrix/client/versions?x=%2F",
        f"{got.status} {got.headers.get('location')}",
    )
    got = ask(lab, "GET", "http://a.test/", headers={"Host": "evil.example"})
    check("port 80 redirects to no other host", got.status == 404 and "location" not in got.headers, got)


def accounts(lab):
    """Open registration and login, and what a wrong password gives."""
    check = lab.check
    people = []
    for name in ("alice", "bob"):
        person = User(lab, BASE, name)
        first, second = person.register()
        check(
            f"registration of {name}: 401 with stages, then 200",
            first.status == 401 and first.json().get("flows") and second.status == 200,
            f"{first.status}, {second}",
        )
        answer = person.login()
        check(f"login of {name}", answer.status == 200 and person.id == f"@{name}:a.test", answer.status)
        people.append(person)
    wrong = ask(
        lab,
        "POST",
        BASE + "/_matrix/client/v3/login",
        {"type": "m.login.password", "identifier": {"type": "m.id.user", "user": "alice"}, "password": "wrong"},
    )
    check(
        "a wrong password is Synapse's own 403",
        wrong.status == 403 and wrong.errcode == "M_FORBIDDEN" and wrong.from_synapse,
        wrong,
    )
    page = ask(lab, "GET", BASE + "/_synapse/client/unsubscribe")
    check("/_synapse/client reaches Synapse", page.from_synapse, page)
    unknown = ask(lab, "GET", BASE + "/_matrix/client/v99/no/such/thing")
    check(
        "an unknown path below /_matrix is Synapse's to refuse",
        unknown.status == 404 and unknown.errcode == "M_UNRECOGNIZED" and unknown.from_synapse,
        unknown,
    )
    return people


def rooms(lab, alice, bob):
    """Rooms with odd aliases; odd transaction ids and state keys; a repeated transaction."""
    check = lab.check
    good, detail = 0, ""
    for alias in ALIASES:
        made = alice.ask("POST", "/_matrix/client/v3/createRoom", {"preset": "public_chat", "room_alias_name": alias})
        full = quote(f"#{alias}:a.test")
        found = bob.ask("GET", f"/_matrix/client/v3/directory/room/{full}")
        over_h2, version, _, _ = curl(lab, f"{BASE}/_matrix/client/v3/directory/room/{full}")
        joined = bob.ask("POST", f"/_matrix/client/v3/join/{full}", {})
        room = made.json().get("room_id")
        if (
            room
            and version == "2"
            and {found.json().get("room_id"), over_h2.json().get("room_id"), joined.json().get("room_id")} == {room}
        ):
            good += 1
        else:
            detail += f" {alias!r}: {made} {found} {over_h2} {joined}"
    check(f"{len(ALIASES)} odd aliases: made, found on h1 and h2, joined", good == len(ALIASES), f"{good}{detail}")
    sent = [alice.send(room, "odd", "t/1 %2F#?\u00e9") for _ in range(2)]
    check(
        "an odd transaction id, sent twice, is one event",
        sent[0].status == 200 and sent[0].json() == sent[1].json(),
        sent[0],
    )
    key = quote("a/b#c%2Fd")
    put = alice.ask("PUT", f"/_matrix/client/v3/rooms/{quote(room)}/state/org.example.odd/{key}", {"is": "here"})
    got = alice.ask("GET", f"/_matrix/client/v3/rooms/{quote(room)}/state/org.example.odd/{key}")
    check("an odd state key is read back", put.status == 200 and got.json() == {"is": "here"}, got)
    return room


def polls(lab, alice, bob, room):
    """Long polls of both kinds: woken by a message, or running their time."""
    check = lab.check
    first = bob.sync()
    check("initial sync", first.status == 200 and room in first.json()["rooms"]["join"], first.status)

    def woken(act, text):
        waiting = Doing(act)
        time.sleep(3)
        alice.send(room, text, text)
        return waiting.end(60)

    answer = woken(lambda: bob.sync(30000), "wake up")
    check(
        "a long poll is answered by a message, not before and not much later",
        answer.status == 200 and b"wake up" in answer.body and 2.9 < answer.seconds < 8,
        f"{answer.seconds:.2f} s",
    )
    bob.sync()
    answer = bob.sync(8000)
    check(
        "an idle long poll of 8 s runs its 8 s",
        answer.status == 200 and 7.5 < answer.seconds < 12,
        f"{answer.seconds:.2f} s",
    )

    path = "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync"
    lists = {"all": {"ranges": [[0, 20]], "required_state": [["m.room.name", ""]], "timeline_limit": 5}}
    answer = bob.ask("POST", path + "?timeout=0", {"conn_id": "c", "lists": lists})
    check(
        "sliding sync: first answer", answer.status == 200 and room in answer.json().get("rooms", {}), answer.status
    )
    position = answer.json().get("pos", "")
    answer = woken(
        lambda: bob.ask("POST", f"{path}?pos={quote(position)}&timeout=30000", {"conn_id": "c", "lists": lists}),
        "slide",
    )
    check(
        "sliding sync: a long poll is answered by a message",
        answer.status == 200 and b"slide" in answer.body and answer.seconds > 2.9,
        f"{answer.status} {answer.seconds:.2f} s",
    )
    position = answer.json().get("pos", "")
    for _ in range(3):
        answer = bob.ask("POST", f"{path}?pos={quote(position)}&timeout=6000", {"conn_id": "c", "lists": lists})
        position = answer.json().get("pos", position)
        if answer.seconds > 5:
            break
    check(
        "sliding sync: an idle long poll runs its time",
        answer.status == 200 and 5.5 < answer.seconds < 10,
        f"{answer.seconds:.2f} s",
    )


def media(lab, alice, bob):
    """50 MiB up and down with the same hash, on both versions of HTTP, and ranges."""
    check = lab.check
    blob = talk.random_file(lab.dir / "blob", 50)
    digest = hashlib.sha256(blob.read_bytes()).hexdigest()
    upload = "/_matrix/media/v3/upload?filename=" + quote("b\u00efg /file#1.bin")
    with open(blob, "rb") as body:
        answer = alice.ask("POST", upload, body, {"Content-Type": "application/octet-stream"}, timeout=120)
    check("50 MiB up on HTTP/1.1", answer.status == 200, f"{answer.status} {answer.seconds:.1f} s")
    uri = answer.json().get("content_uri", "mxc://a.test/none")
    path = "/_matrix/client/v1/media/download/" + uri.removeprefix("mxc://")
    got = bob.ask("GET", path, timeout=120)
    check(
        "50 MiB down on HTTP/1.1, same hash",
        hashlib.sha256(got.body).hexdigest() == digest,
        f"{got.status} {len(got.body)} bytes {got.seconds:.1f} s",
    )
    fields = {"Authorization": "Bearer " + alice.token, "Content-Type": "application/octet-stream"}
    answer, version, code, said = curl(lab, BASE + upload, "--data-binary", f"@{blob}", headers=fields)
    check(
        "50 MiB up on HTTP/2",
        answer.status == 200 and version == "2",
        f"{answer.status} h{version} {code} {said} {answer.seconds:.1f} s",
    )
    path = "/_matrix/client/v1/media/download/" + answer.json().get("content_uri", "mxc://a.test/none").removeprefix(
        "mxc://"
    )
    got, version, code, said = curl(lab, BASE + path, headers=fields)
    check(
        "50 MiB down on HTTP/2, same hash",
        hashlib.sha256(got.body).hexdigest() == digest and version == "2",
        f"{got.status} h{version} {code} {said} {got.seconds:.1f} s",
    )
    blob.unlink()


def limits(lab, alice, room):
    """Too large: Synapse's own answers pass, and the edge's own are Matrix answers too."""
    check = lab.check
    fields = {"Authorization": "Bearer " + alice.token, "Content-Type": "application/json"}
    upload = BASE + "/_matrix/media/v3/upload"
    target = f"/_matrix/client/v3/rooms/{quote(room)}/send/m.room.message/"

    def cut_off(size, url, *arguments, title, status, **more):
        blob = talk.random_file(lab.dir / "blob", size)
        # A browser tries the same on HTTP/2 in `suite_browser.py`; Debian's curl takes an answer that comes
        # before the end of the upload, and the reset without an error after it (RFC 9113 8.1), for a failure.
        answer, _, code, said = curl(
            lab, url, *arguments, "--data-binary", f"@{blob}", http2=False, headers={**fields, **more}
        )
        good = answer.status == status and answer.errcode and answer.cors and not answer.from_synapse
        check(title, good, f"{answer} {code} {said}")
        blob.unlink()

    # Above its largest body Synapse answers nothing: it resets the connection in the middle of the upload.
    cut_off(61, upload, title="an upload that Synapse cuts off is told so by the edge", status=502, Expect="")
    cut_off(61, upload, title="so is one that waits for 100 Continue", status=502)
    big = BASE + target + "big"
    cut_off(17, big, "-X", "PUT", title="the edge's own 413 is a Matrix answer with CORS", status=413, Expect="")
    cut_off(17, big, "-X", "PUT", title="so is that for one who waits for 100 Continue", status=413)
    answer = alice.ask("PUT", target + "event", {"msgtype": "m.text", "body": "x" * 100_000})
    good = answer.status == 413 and answer.errcode == "M_TOO_LARGE" and answer.from_synapse
    check("413 of Synapse for an event above 64 KiB passes", good, answer)


def closed_doors(lab, home):
    """Nothing of the admin API, by any spelling, on either port; and no metrics, replication, health."""
    check = lab.check
    with_home = ask(lab, "GET", home.url + "/_synapse" + ADMIN)
    check(
        "(Synapse itself does answer the admin path)",
        with_home.status == 200 and b"server_version" in with_home.body,
        with_home,
    )
    leaks = []
    for port in (443, 8448):
        for host in ("a.test", "matrix.a.test"):
            for target in DISGUISES:
                line = talk.Line(lab, host, port, 20)
                try:
                    got = line.ask("GET", target)
                    if got.status < 400 or b"server_version" in got.body:
                        leaks.append(f"{host}:{port} {target} -> {got}")
                except (http.client.HTTPException, OSError) as error:
                    leaks.append(f"{host}:{port} {target} -> no answer: {error!r}")
                finally:
                    line.close()
    for target in DISGUISES:
        got, version, _, _ = curl(lab, "https://matrix.a.test" + target)
        if got.status < 400 or b"server_version" in got.body:
            leaks.append(f"h2 {target} -> {got}")
    check(
        f"{len(DISGUISES)} spellings of the admin path on two hosts, two ports, h1 and h2: none let through",
        not leaks,
        "; ".join(leaks[:4]),
    )
    for target in (
        "/_synapse/metrics",
        "/_synapse/replication/x",
        "/_synapse/admin/v1/register",
        "/_synapse/mas/x",
        "/health",
    ):
        got = ask(lab, "GET", BASE + target)
        check(f"{target} is the edge's own 404", got.status == 404 and not got.from_synapse, got)
    denied = ask(lab, "GET", BASE + "/_synapse" + ADMIN)
    check("a denied path is M_UNRECOGNIZED with CORS", denied.errcode == "M_UNRECOGNIZED" and denied.cors, denied)


def addresses_of_clients(lab, home, alice):
    """Synapse sees the client's address; a client cannot claim another."""
    administrator = home.administrator("root")
    spoofs = [
        ("X-Forwarded-For", "6.6.6.6"),
        ("X-FORWARDED-FOR", "6.6.6.7, 6.6.6.8"),
        ("Forwarded", "for=6.6.6.9"),
        ("X-Real-IP", "6.6.6.10"),
    ]
    for port, source in ((443, "127.0.0.9"), (8448, "127.0.0.10")):
        line = talk.Line(lab, "matrix.a.test", port, 20, source)
        for name, value in spoofs:
            line.ask(
                "GET",
                "/_matrix/client/v3/account/whoami",
                headers={"Authorization": "Bearer " + alice.token, name: value, "User-Agent": f"probe {port} {name}"},
            )
        line.close()
    for twin in ("X_Forwarded_For", "X.Forwarded.For"):
        got = ask(
            lab,
            "GET",
            BASE + "/_matrix/client/v3/account/whoami",
            headers={"Authorization": "Bearer " + alice.token, twin: "6.6.6.11"},
        )
        lab.check(f"{twin} is refused or does not count", got.status in (200, 400), got.status)
    curl(
        lab,
        BASE + "/_matrix/client/v3/account/whoami",
        "-H",
        "Authorization: Bearer " + alice.token,
        "-H",
        "X-Forwarded-For: 6.6.6.12",
        "--interface",
        "127.0.0.11",
        "-4",
    )
    wanted, seen = {"127.0.0.9", "127.0.0.10", "127.0.0.11"}, set()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and not wanted <= seen:
        told = home.admin(administrator, f"/_synapse/admin/v1/whois/{quote(alice.id)}")
        seen = {
            one["ip"]
            for device in told.get("devices", {}).values()
            for session in device["sessions"]
            for one in session["connections"]
        }
        time.sleep(0.5)
    lab.check("the client's address reaches Synapse on 443, 8448 and h2", wanted <= seen, sorted(seen))
    lab.check("a spoofed address does not", not [ip for ip in seen if ip.startswith("6.")], sorted(seen))


def many_streams(lab, alice):
    """Many streams on few HTTP/2 connections while a long poll is open on one of them."""
    done = subprocess.run(
        ["h2load", "-n", "2000", "-c", "4", "-m", "50", BASE + "/_matrix/client/versions"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    found = re.search(r"requests: .*? (\d+) succeeded, (\d+) failed", done.stdout)
    codes = re.search(r"status codes: .*", done.stdout)
    lab.check(
        "2000 requests on 4 HTTP/2 connections, 50 at a time: all 2xx",
        found and found.group(1) == "2000" and "2000 2xx" in codes.group(0),
        codes.group(0) if codes else done.stdout[-200:] + done.stderr[-200:],
    )
    line = talk.Line(lab, "matrix.a.test")
    answers = [
        line.ask(
            "GET", "/_matrix/client/v3/account/whoami", headers={"Authorization": "Bearer " + alice.token}
        ).status
        for _ in range(100)
    ]
    line.close()
    lab.check("100 requests on one HTTP/1.1 connection", set(answers) == {200}, set(answers))


def logs(lab, porch, home, people):
    """No secret in what porchd wrote, one access line for a request, no complaint of Synapse."""
    check = lab.check
    ask(lab, "GET", BASE + "/_matrix/client/v3/account/whoami?access_token=" + people[0].token)
    ask(lab, "GET", BASE + "/_matrix/client/v3/account/whoami?acc%65ss_token=" + people[0].token)
    wait_until(
        lambda: "redacted" in porch.access.read_text() if porch.access.exists() else False,
        10,
        "the access log has the last lines",
    )
    wrote = porch.access.read_text() + porch.said()
    for person in people:
        check(
            f"neither token nor password of {person.name} is in porchd's logs",
            person.token not in wrote and person.password not in wrote,
        )
    lines = porch.lines()
    answered = {line["answered"] for line in lines}
    check(
        "access lines say who answered",
        answered == {"home", "edge"},
        f"{len(lines)} lines, {answered}; last: {json.dumps(lines[-1]) if lines else ''}",
    )
    check(
        "no panic in porchd's log",
        "panicked" not in wrote,
        [line for line in wrote.splitlines() if "panicked" in line][:1],
    )
    check("no ERROR in Synapse's log", not home.errors(), home.errors()[:1])
