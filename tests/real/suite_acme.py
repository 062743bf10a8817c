"""Certificates that take care of themselves, with pebble: first, next, refused, revoked, under load."""

import collections
import stat
import subprocess
import threading
import time

import talk
from acme_lab import EXTERNAL_KEY, EXTERNAL_KEY_ID, LATE, LOST, SIX, SIX_DAYS, AcmeLab, Relay, in_seconds, one_line
from acme_proxy import Fault
from lab import eventually, wait_until

LIMIT = 240
LABELS = "http alpn standin withkey nokey nonces wild near three later second address p384 rsa short profile".split()
LABELS += "finalize order life thief files load".split() + [SIX]
RENEWALS = 20


def run(lab):
    acme = AcmeLab(lab, LABELS)
    # Alone, for the figures' sake.
    first(acme, "http", "http-01")
    first(acme, "alpn", "tls-alpn-01")
    # These wait for clocks of porchd's own.
    slow = [acme.beside(files), acme.beside(postponed)]
    acme.together(stand_in, external_account, bad_nonces, wildcard, unreachable_site, bad_name, second_challenge)
    acme.together(address, keys, profiles, middle_of_an_order, aaaa, life)
    under_load(acme)
    for thread in slow:
        thread.join()
    acme.close()


def first(acme, label, challenge):
    """From nothing to a certificate, by one challenge."""
    front, check = acme.front(), acme.lab.check
    names = [f"{label}.test", f"matrix.{label}.test"]
    porch = acme.porch(label, front, *names, acme_keys=[f"challenge: {challenge}"]).start()
    seconds = porch.seconds(20)
    got = porch.valid()
    good = seconds is not None and seconds < 5 and got.names == names and front.count("newOrder") == 1
    check(
        f"first certificate by {challenge}: within 5 s of the start, one order for both names",
        good,
        f"{in_seconds(seconds)}, {got and got.names}, {front.story()}",
    )
    if label != "http":
        return
    loose = []
    for path in [porch.state, *porch.state.rglob("*")]:
        mode = stat.S_IMODE(path.lstat().st_mode)
        if mode != (0o700 if path.is_dir() else 0o600):
            loose.append(f"{path.name} {mode:o}")
    inside = sorted(str(path.relative_to(porch.state)) for path in porch.state.rglob("*") if path.is_file())
    check("the state folder: folders are 0700, files 0600", inside and not loose, loose or inside)
    asked = eventually(lambda: front.count("renewalInfo"), 10)
    told = porch.told()
    good = told.get("state") == "valid" and told.get("next", {}).get("why") and told.get("names") == names
    check("porchd certs --json: valid, with the next renewal and why then; ARI was asked", good and asked, told)
    mode = stat.S_IMODE(porch.socket.stat().st_mode)
    check("the control socket has mode 0660", mode == 0o660, f"{mode:o}")
    porch.show("1-valid")
    code, text = porch.command("certs")
    wide = max((len(line) for line in text.splitlines()), default=0)
    check(
        "porchd certs: for people, names and dates",
        code == 0 and names[0] in text,
        f"{wide} columns: {one_line(text)}",
    )


def stand_in(acme):
    """Before the first certificate everything works; when it comes nobody is disturbed."""
    front, check = acme.front(Fault("newOrder", "hang")), acme.lab.check
    porch = acme.porch("standin", front).start()
    shown = eventually(porch.shown, 5)
    seconds = time.monotonic() - porch.begun
    check(
        "before the first certificate: a self-signed one answers", shown and shown.self_signed(), in_seconds(seconds)
    )
    line = talk.Line(porch.lax, "standin.test", timeout=20)
    answer = line.ask("GET", "/_matrix/x")
    check("before the first certificate: requests reach home", answer.status == 200, answer)
    plain = talk.ask(porch.lax, "GET", "http://standin.test/", timeout=10)
    check("before the first certificate: port 80 answers", 200 <= plain.status < 400, plain)
    wait_until(lambda: front.count("newOrder"), 20, "the order is asked for")
    state = porch.told().get("state")
    check("porchd certs: an order on its way is told", state == "ordering", state)
    porch.show("4-ordering")
    front.release()
    seconds = porch.seconds(20, since=time.monotonic())
    answer = line.ask("GET", "/_matrix/x")
    check(
        "the first certificate is live without a reload, and an older connection goes on",
        seconds is not None and answer.status == 200,
        f"{in_seconds(seconds)} after the CA went on, {answer}",
    )
    line.close()


def external_account(acme):
    """A CA that wants an account of its own shop."""
    check = acme.lab.check
    shop = acme.authority(14010, external=True)
    key = acme.lab.dir / "external.key"
    key.write_text(EXTERNAL_KEY + "\n")
    key.chmod(0o600)
    words = [f'external_account: {{ key_id: {EXTERNAL_KEY_ID}, key_file: "{key}" }}']
    customer = acme.porch("withkey", acme.front(pebble=shop), root=shop.root, acme_keys=words).start()
    front = acme.front(pebble=shop)
    stranger = acme.porch("nokey", front, root=shop.root).start()
    seconds = customer.seconds(20)
    check("external account: a certificate with it", seconds is not None and seconds < 10, in_seconds(seconds))
    error = eventually(lambda: stranger.told().get("last_error"), 10) or {}
    text = error.get("text", "")
    good = "external_account" in text and not front.count("newOrder")
    check("external account: without it the message names the cure, and nothing is ordered", good, text)


def bad_nonces(acme):
    """Nonces are refused everywhere, as RFC 8555 section 6.5 lets a CA do at any time."""
    kinds = {"newAccount": 1, "newOrder": 2, "authz": 1, "challenge": 1, "finalize": 2, "cert": 1}
    front = acme.front(*(Fault(kind, "bad_nonce", times) for kind, times in kinds.items()))
    porch = acme.porch("nonces", front).start()
    seconds = porch.seconds(20)
    refused = sum(request.stale for request in front.seen)
    orders = front.count("newOrder")
    acme.lab.check(
        "bad nonces: tried again at once, one order",
        seconds is not None and seconds < 5 and orders == 1,
        f"{in_seconds(seconds)}, {refused} refused",
    )


def wildcard(acme):
    """What http-01 and tls-alpn-01 can't prove is said before anything is ordered."""
    front, check = acme.front(), acme.lab.check
    porch = acme.porch("wild", front, "wild.test", "*.wild.test")
    done = porch.run("check", "--offline", "-f", porch.file)
    said = done.stdout + done.stderr
    told = done.returncode == 0 and "*.wild.test" in done.stderr and ("wildcard" in said or "dns-01" in said)
    check("porchd check: tells of a wildcard host that no order can cover", told, one_line(said))
    porch.start()
    seconds = porch.seconds(20)
    orders = front.ordered()
    check(
        "a wildcard host is not ordered, the site's other host is",
        seconds is not None and orders == [["wild.test"]],
        f"{in_seconds(seconds)}, {orders}",
    )


def unreachable_site(acme):
    """Two sites, one of a name that leads nowhere."""
    front, check = acme.front(), acme.lab.check
    porch = acme.porch("near", front, sites=[["lost-one.test"]]).start()
    seconds = porch.seconds(20)
    check(
        "two sites, one with an unreachable name: the other gets its certificate at once",
        seconds is not None and seconds < 5,
        in_seconds(seconds),
    )
    # Both challenges are tried before it waits.
    lost = eventually(lambda: (told := porch.told("lost-one.test")).get("state") == "missing" and told, 20) or {}
    good = lost.get("next") and "lost-one.test" in lost.get("last_error", {}).get("text", "")
    check("two sites, one with an unreachable name: it is told, and when it is tried again", good, lost)
    porch.show("2-missing")
    tries = [order for order in front.ordered() if order == ["lost-one.test"]]
    time.sleep(5)
    later = [order for order in front.ordered() if order == ["lost-one.test"]]
    check(
        "an unreachable name is ordered once per challenge, then it waits", len(tries) <= len(later) <= 2, len(later)
    )


def bad_name(acme):
    """One site of three names, one of which leads nowhere at first."""
    front, check = acme.front(), acme.lab.check
    good, bad = ["matrix.three.test", "three.test"], "lost-two.test"
    porch = acme.porch("three", front, "three.test", "matrix.three.test", bad).start()
    seconds = porch.seconds(30)
    got, orders = porch.valid(), front.ordered()
    check(
        "one bad name of three: the others get their certificate within 15 s, in at most 4 orders",
        seconds is not None and seconds < 15 and got.names == good and len(orders) <= 4,
        f"{in_seconds(seconds)}, {got and got.names}, orders: {orders}",
    )
    told = porch.told()
    out = {one["name"]: one["why"] for one in told.get("left_out", [])}
    check("porchd certs: tells the name that is left out, and why", out.get(bad) and len(out) == 1, out or told)
    porch.show("3-left-out")
    relay = Relay(LOST[bad], porch.address)
    code, text = porch.renew("three.test", limit=90)
    got = eventually(lambda: (now := porch.valid()) and bad in now.names and now, 10)
    check("a name that works again is on the next certificate", code == 0 and got, f"exit {code}: {one_line(text)}")
    left = eventually(lambda: not porch.told().get("left_out"), 5)
    check("porchd certs: no name is left out any more", left, porch.told().get("left_out"))
    relay.close()


def postponed(acme):
    """A name without an address is not ordered until it has one."""
    front, check, name = acme.front(), acme.lab.check, "host." + LATE
    porch = acme.porch("later", front, name).start()
    time.sleep(5)
    told = porch.told()
    check("a name without an address: nothing is ordered", porch.begun and not front.count("newOrder"), front.story())
    reason = str(told.get("last_error", "")) + str(told.get("next", "")) + str(told.get("left_out", ""))
    check("a name without an address: porchd certs says so", "address" in reason, told)
    acme.give(name, porch.address)
    seconds = porch.seconds(75, since=time.monotonic())
    check("a name that gets its address is ordered by itself within 75 s", seconds is not None, in_seconds(seconds))


def second_challenge(acme):
    """Port 80 is closed: the second challenge is tried at once, and is the first next time."""
    front, check = acme.front(), acme.lab.check
    porch = acme.porch("second", front, acme_keys=["challenge: [ http-01, tls-alpn-01 ]"])
    porch.file.write_text(porch.file.read_text().replace(f"{porch.address}:80", f"{porch.address}:8080"))
    porch.start()
    seconds = porch.seconds(20)
    orders = front.count("newOrder")
    check(
        "http-01 fails: tls-alpn-01 is tried at once",
        seconds is not None and seconds < 10 and orders == 2,
        f"{in_seconds(seconds)}, {orders} orders",
    )
    code, text = porch.renew(limit=90)
    after = front.count("newOrder") - orders
    check(
        "the challenge that worked is tried first next time",
        code == 0 and after == 1,
        f"{after} orders; {one_line(text)}",
    )


def address(acme):
    """A site that is an IP address (RFC 8738)."""
    front, where = acme.front(), acme.addresses["address"]
    porch = acme.porch("address", front, where).start()
    seconds = porch.seconds(20)
    acme.lab.check(
        "a certificate for an IP address", seconds is not None, f"{in_seconds(seconds)}, {front.ordered()}"
    )


def keys(acme):
    """Other kinds of keys."""
    for label, key_type, words in (("p384", "p384", ["P-384"]), ("rsa", "rsa2048", ["2048 bit", "rsaEncryption"])):
        porch = acme.porch(label, acme.front(), acme_keys=[f"key_type: {key_type}"]).start()
        seconds = porch.seconds(30)
        text = seconds is not None and porch.valid().text()
        acme.lab.check(f"key_type: {key_type}", text and all(word in text for word in words), in_seconds(seconds))


def profiles(acme):
    """Certificates of six days; a profile that the CA does not have."""
    check = acme.lab.check
    pebble = acme.authority(14020, validity=SIX_DAYS)
    front, other = acme.front(pebble=pebble), acme.front(pebble=pebble)
    front.has_ari = False
    short = acme.porch("short", front, root=pebble.root, acme_keys=["profile: shortlived"]).start()
    wrong = acme.porch("profile", other, root=pebble.root, acme_keys=["profile: longlived"]).start()
    seconds = short.seconds(20)
    asked = [request.payload.get("profile") for request in front.of("newOrder")]
    told = short.told()
    left = hours(told.get("to")) - hours(told.get("next", {}).get("at"))
    check(
        "a certificate of six days without ARI: its renewal is two to three days before its end",
        seconds is not None and asked == ["shortlived"] and 47 <= left <= 73,
        f"{in_seconds(seconds)}, profile {asked}, {left:.0f} hours before",
    )
    error = eventually(lambda: wrong.told().get("last_error"), 10) or {}
    text = error.get("text", "")
    check(
        "an unknown profile: the message names those that there are",
        "shortlived" in text and "longlived" in text,
        text,
    )
    check("an unknown profile: asked for at most once", other.count("newOrder") <= 1, other.story())


def hours(text):
    """Hours since 1970 of RFC 3339 text in UTC; 0 for none."""
    return time.mktime(time.strptime(text, "%Y-%m-%dT%H:%M:%SZ")) / 3600 if text else 0


def middle_of_an_order(acme):
    """kill -9 while the CA signs, and just after newOrder."""
    for label, kind in (("finalize", "finalize"), ("order", "newOrder")):
        front = acme.front(Fault(kind, "held"))
        porch = acme.porch(label, front).start()
        wait_until(lambda f=front, k=kind: f.count(k), 20, f"{kind} is asked for")
        time.sleep(0.3)
        porch.kill()
        front.release()
        before = front.count("newOrder")
        porch.start()
        seconds = porch.seconds(40)
        orders = front.count("newOrder")
        acme.lab.check(
            f"kill -9 during {kind}: a certificate after the next start, in at most 2 orders",
            seconds is not None and orders <= 2,
            f"{in_seconds(seconds)}, {'fetched' if orders == before else 'ordered again'}, {front.story()}",
        )


def aaaa(acme):
    """An AAAA record, and no listener on IPv6."""
    if not acme.lab.ipv6:
        return
    porch = acme.porch(SIX, acme.front()).start()
    told = eventually(lambda: [line for line in porch.said().splitlines() if "AAAA" in line or "IPv6" in line], 10)
    acme.lab.check("an AAAA record without a listener on IPv6 is warned of", told, told[:1])


def life(acme):
    """One porch from reload to revocation."""
    front, check = acme.front(), acme.lab.check
    porch = acme.porch("life", front).start()
    wait_until(porch.valid, 20, "life.test has its certificate", porch.process)
    code, text = porch.command("reload")
    check("porchd reload: nothing changed", code == 0 and text.strip(), one_line(text))
    broken_reload(porch, check)
    porch.write(names=["life.test", "matrix.life.test"])
    code, text = porch.command("reload")
    check("porchd reload: prints what changed", code == 0 and text.strip(), one_line(text))
    seconds = porch.seconds(20, "matrix.life.test", time.monotonic())
    check("a host that was added is ordered at once", seconds is not None and seconds < 10, in_seconds(seconds))
    code, text = porch.renew("nobody.test")
    check("porchd certs renew: an unknown name is refused", code == 1 and "nobody.test" in text, one_line(text))
    second_instance(acme, porch)
    revoke(acme, porch, front)
    code = porch.process.stop()
    check("SIGTERM ends it with 0", code == 0, code)
    code, text = porch.command("certs")
    check(
        "porchd certs without a daemon: exit 1, and says so", code == 1 and str(porch.socket) in text, one_line(text)
    )


def broken_reload(porch, check):
    """A file that is wrong changes nothing, and the daemon can still be asked."""
    before, good = porch.valid(), porch.file.read_text()
    porch.file.write_text(good.replace("limits:", "limitz:"))
    code, text = porch.command("reload")
    check("porchd reload of a broken file: exit 1, with the error", code == 1 and "limitz" in text, one_line(text))
    after, told = porch.valid(), porch.told()
    check(
        "after it: the same certificate, and porchd certs still answers",
        after and after.print == before.print and told.get("state") == "valid",
        told.get("state"),
    )
    porch.file.write_text(good)


def second_instance(acme, porch):
    """Another porchd with the same state folder."""
    other = acme.porch("thief", porch.front, state=porch.state)
    try:
        done = other.run("run", "-f", other.file, limit=15)
        code, text = done.returncode, done.stdout + done.stderr
    except subprocess.TimeoutExpired:
        code, text = 0, "it runs"
    named = any(f"process {pid})" in text for pid in porch.family())
    good = code != 0 and named and str(porch.state) in text
    acme.lab.check(
        "a second instance with the same state folder is refused, with the first one's pid", good, one_line(text)
    )
    acme.lab.check("the first one goes on", porch.valid(), porch.told().get("state"))


def revoke(acme, porch, front):
    """Revocation is asked for twice, told to the CA, and followed by a new certificate."""
    check = acme.lab.check
    before = porch.valid()
    code, text = porch.command("certs", "revoke", "life.test")
    check(
        "porchd certs revoke without --yes does nothing", code != 0 and not front.count("revokeCert"), one_line(text)
    )
    words = ("certs", "revoke", "life.test", "--reason", "superseded", "--yes")
    code, text = porch.command(*words)
    status = acme.pebble.status(before.serial)
    check(
        "porchd certs revoke: the CA has revoked it", code == 0 and status == "Revoked", f"{status}; {one_line(text)}"
    )
    new = eventually(lambda: (now := porch.valid()) and now.print != before.print and now, 20)
    check("a revoked certificate is replaced by itself", new, f"serial {before.serial} -> {new and new.serial}")


def files(acme):
    """A certificate of `tls.certificates` is replaced on the disk; nobody says so to porchd."""
    lab, check, front = acme.lab, acme.lab.check, acme.front()
    cert, key = lab.certificate("files.test")
    more = f'tls: {{ certificates: [ {{ cert: "{cert}", key: "{key}" }} ] }}\n'
    porch = acme.porch("files", front, root=lab.ca, more=more).start()
    before = eventually(porch.valid, 10)
    line = talk.Line(porch.strict, "files.test", timeout=20)
    answer = line.ask("GET", "/_matrix/x")
    told = next((one for one in porch.certs().values() if one.get("source") == "file"), {})
    check("a host with a file of its own: served, told, not ordered", before and told, told)
    porch.show("5-file")
    lab.certificate("files.test")
    begun = time.monotonic()
    new = eventually(lambda: (now := porch.valid()) and now.print != before.print and now, 65)
    seconds = time.monotonic() - begun if new else None
    check("a certificate's file that is replaced is served within a minute", new, in_seconds(seconds))
    after = line.ask("GET", "/_matrix/x")
    check("and connections of before go on", (answer.status, after.status) == (200, 200), after)
    check("nothing was ordered for it", not front.count("newOrder"), front.story())
    line.close()


class Load:
    """Clients that keep their connection, clients that open a new one each time, and h2load."""

    def __init__(self, porch, name):
        self.porch, self.name = porch, name
        self.results, self.opened = collections.Counter(), 0
        self.lock, self.over = threading.Lock(), threading.Event()
        self.threads = [threading.Thread(target=self._client, args=(number < 4,)) for number in range(6)]
        self.threads += [threading.Thread(target=self._http2)]
        for thread in self.threads:
            thread.start()

    def _client(self, keeps):
        line = None
        while not self.over.is_set():
            try:
                if line is None:
                    line = talk.Line(self.porch.strict, self.name, timeout=20)
                    with self.lock:
                        self.opened += keeps
                result = line.ask("GET", "/_matrix/x").status
            except OSError as error:
                result, line = f"{type(error).__name__}: {error}", None
            with self.lock:
                self.results[f"HTTP/1.1, {'kept' if keeps else 'new'}: {result}"] += 1
            if line and not keeps:
                line.close()
                line = None
            self.over.wait(0.01)
        if line:
            line.close()

    def _http2(self):
        while not self.over.is_set():
            argv = ["h2load", "-c", "4", "-m", "4", "--rps", "25", "-D", "8", f"https://{self.name}/_matrix/x"]
            done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
            told = next((line for line in done.stdout.splitlines() if line.startswith("requests:")), "requests: ")
            numbers = dict(part.split()[::-1] for part in told[len("requests: ") :].split(",") if part.strip())
            with self.lock:
                self.results["HTTP/2: 200"] += int(numbers.get("succeeded", 0))
                bad = sum(int(numbers.get(word, 0)) for word in ("failed", "errored", "timeout"))
                if bad or not numbers:
                    self.results[f"HTTP/2: {told} {done.stderr[:80]}"] += bad or 1

    def stop(self):
        """Ends it; returns what was seen."""
        self.over.set()
        for thread in self.threads:
            thread.join(60)
        return dict(self.results)


def under_load(acme):
    """Twenty renewals while clients ask: nobody notices."""
    front, check = acme.front(), acme.lab.check
    porch = acme.porch("load", front, "load.test", "matrix.load.test").start()
    seen = [wait_until(porch.valid, 20, "load.test has its certificate", porch.process)]
    load = Load(porch, "load.test")
    time.sleep(1)
    begun, codes = time.monotonic(), collections.Counter()
    for _ in range(RENEWALS):
        code, text = porch.renew(limit=90)
        codes[code if code == 0 else f"{code}: {one_line(text)}"] += 1
        seen.append(porch.valid())
    seconds = time.monotonic() - begun
    results = load.stop()
    bad = {what: times for what, times in results.items() if not what.endswith(": 200")}
    total = sum(results.values())
    fresh = len({one.print for one in seen if one})
    check(
        f"{RENEWALS} forced renewals under load: each brings a certificate with a new key",
        codes == {0: RENEWALS} and fresh == RENEWALS + 1 == len({one.public_key() for one in seen if one}),
        f"{seconds:.0f} s, {fresh} certificates, exits {dict(codes)}",
    )
    check(
        f"{RENEWALS} forced renewals under load: no request fails",
        total > 500 and results["HTTP/2: 200"] and not bad,
        f"{total} requests: {results}",
    )
    check("no kept connection is dropped by a renewal", load.opened == 4, f"{load.opened} opened by 4 clients")
    following = [request.payload.get("replaces") for request in front.of("newOrder")]
    check("renewals say which certificate they replace (ARI)", all(following[1:]), following[-1:])
