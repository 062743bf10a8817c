"""Certificates while the CA, the disk or the machine misbehaves: no lock-out, no drop, soon well again."""

import collections
import threading
import time

import talk
from acme_lab import AcmeLab, Disk, in_seconds, one_line
from acme_proxy import Fault, Window
from lab import eventually, wait_until

LIMIT = 240
STARTS = 20

# What goes wrong, what the CA does, and the seconds within which there must be a certificate all the same.
# porchd's waits after a CA that is unwell are 5, 10, 20... s, and a bit.
TROUBLES = (
    (
        "429 with Retry-After 3",
        (3, 6),
        [Fault("newOrder", "problem", status=429, type="rateLimited", retry_after=3)],
    ),
    ("HTML 503 on the directory", (0, 12), [Fault("directory", "page")]),
    ("500 twice on newOrder", (0, 30), [Fault("newOrder", "problem", 2)]),
    ("500 on newNonce and newAccount", (0, 30), [Fault("newNonce", "problem"), Fault("newAccount", "problem")]),
    ("503 with Retry-After 2", (2, 12), [Fault("newOrder", "problem", status=503, retry_after=2)]),
    ("newOrder reset twice", (0, 30), [Fault("newOrder", "reset", 2)]),
    ("the answer to finalize lost", (0, 20), [Fault("finalize", "lost")]),
    ("garbage on newOrder", (0, 12), [Fault("newOrder", "garbage")]),
    ("garbage on authz and challenge", (0, 30), [Fault("authz", "garbage"), Fault("challenge", "garbage")]),
    ("the certificate truncated", (0, 20), [Fault("cert", "truncated")]),
    ("newOrder hangs", (0, 55), [Fault("newOrder", "hang")]),
    ("ten answers `processing`", (0, 45), [Fault("order", "processing", 10)]),
    (
        "no nonce with newAccount, newOrder, challenge",
        (0, 6),
        [Fault("newAccount", "no_nonce"), Fault("newOrder", "no_nonce"), Fault("challenge", "no_nonce")],
    ),
)
LABELS = [f"trouble{number}" for number in range(len(TROUBLES))]
LABELS += "ignores already past future greedy asked silent restarts patient full filling frozen bare".split()
LABELS += "expired brief second third".split()


def run(lab):
    acme = AcmeLab(lab, LABELS)
    scenarios = [trouble(f"trouble{number}", *facts) for number, facts in enumerate(TROUBLES)]
    # Two of them alone, for the figures' sake.
    acme.together(*scenarios[:2])
    scenarios = scenarios[2:]
    scenarios += [not_replaced, window_past, window_future, window_always_past, window_asked_again, window_unknown]
    scenarios += [restarts, patience, full_disk, filling_disk, read_only_disk, expired, brief, fallback]
    acme.together(*scenarios)
    acme.close()


def trouble(label, title, within, faults):
    """A first certificate in spite of some faults; then a renewal during which they never end."""

    def scenario(acme):
        front, check = acme.front(*faults), acme.lab.check
        porch = acme.porch(label, front).start()
        least, most = within
        seconds = porch.seconds(most + 15)
        asked = [request.at - porch.begun for request in front.of("newOrder")]
        orders = len(asked)
        check(
            f"{title}: the first certificate within {most} s",
            seconds is not None and least <= seconds <= most and orders <= 5,
            f"{in_seconds(seconds)}, orders at {', '.join(map(in_seconds, asked))}, {front.story()}",
        )
        if seconds is None:
            return
        endless = [Fault(fault.on, fault.do, 1000, **fault.how) for fault in faults]
        front.trouble(*endless)
        before = front.count("newOrder")
        porch.renew(wait=False)
        served = watch(porch, 4)
        orders = front.count("newOrder") - before
        check(
            f"{title}, without end, while renewing: always a valid certificate, few orders",
            None not in served and orders <= 4,
            f"{sum(served.values())} handshakes, {len(served)} certificates, {orders} orders",
        )

    scenario.__name__ = label
    return scenario


def watch(porch, seconds, name=None):
    """What careful clients see meanwhile: certificates, and None for none, with how often."""
    seen, end = collections.Counter(), time.monotonic() + seconds
    while time.monotonic() < end:
        got = porch.valid(name)
        seen[got and got.print] += 1
        time.sleep(0.2)
    return seen


def not_replaced(acme):
    """CAs that know ARI and will not hear which certificate an order replaces."""
    refusal = Fault("newOrder", "problem", status=409, type="alreadyReplaced")
    for label, title in (("ignores", "ignores"), ("already", "refuses")):
        front = acme.front()
        porch = acme.porch(label, front).start()
        wait_until(porch.valid, 20, f"{label}.test has its certificate", porch.process)
        front.reflects = label != "ignores"
        front.trouble(*[refusal] * (label == "already"))
        code, text = porch.renew()
        orders = [bool(order.payload.get("replaces")) for order in front.of("newOrder")]
        acme.lab.check(
            f"a CA with ARI that {title} `replaces`: renewed all the same",
            code == 0 and orders in ([False, True], [False, True, False]),
            f"exit {code}, `replaces` was sent: {orders}; {one_line(text)}",
        )


def window_past(acme):
    """The CA wants a certificate replaced now."""
    front, check = acme.front(), acme.lab.check
    front.windows = [Window(-7200, -3600, explanation="https://ca.test/why")]
    porch = acme.porch("past", front).start()
    first = wait_until(porch.valid, 20, "past.test has its certificate", porch.process)
    begun = time.monotonic()
    new = eventually(lambda: (now := porch.valid()) and now.print != first.print and now, 30)
    seconds = time.monotonic() - begun if new else None
    check("ARI window in the past: renewed at once", seconds is not None and seconds < 20, in_seconds(seconds))
    time.sleep(8)
    orders = front.of("newOrder")
    check(
        "ARI window in the past: once, and it says what it replaces",
        len(orders) == 2 and (orders[1].payload or {}).get("replaces"),
        f"{len(orders)} orders, {orders[-1].payload}",
    )


def window_future(acme):
    """The CA wants a certificate kept: the point in its window is chosen once and survives restarts."""
    front, check = acme.front(), acme.lab.check
    front.later = Window(10 * 86400, 12 * 86400)
    porch = acme.porch("future", front).start()
    wait_until(porch.valid, 20, "future.test has its certificate", porch.process)
    wait_until(lambda: front.count("renewalInfo"), 20, "ARI is asked", porch.process)
    planned = eventually(lambda: inside(porch.told().get("next", {}).get("at"), front.later), 10)
    check("ARI window in the future: the renewal is planned within it", planned, porch.told().get("next"))
    porch.again()
    after = porch.told().get("next", {}).get("at")
    check("ARI: the point in the window is the same after a restart", planned and after == planned, after)
    time.sleep(15)
    check("ARI window in the future: nothing is ordered", front.count("newOrder") == 1, front.story())


def inside(text, window):
    """The time in `text`, if it lies in the window."""
    if not text:
        return None
    here = time.strptime(text, "%Y-%m-%dT%H:%M:%SZ")
    start, end = time.gmtime(int(window.start)), time.gmtime(window.end + 1)
    return text if tuple(start) <= tuple(here) <= tuple(end) else None


def window_always_past(acme):
    """A CA that wants every certificate replaced at once is not asked for one a second."""
    front = acme.front()
    front.later = Window(-7200, -3600)
    porch = acme.porch("greedy", front).start()
    wait_until(porch.valid, 20, "greedy.test has its certificate", porch.process)
    time.sleep(20)
    orders = front.count("newOrder")
    acme.lab.check(
        "ARI windows that always lie in the past: at most 5 orders in 20 s", orders <= 5, f"{orders} orders"
    )


def window_asked_again(acme):
    """The window moves into the past between two questions, which are a minute apart as told."""
    front, check = acme.front(), acme.lab.check
    front.windows = [Window(20 * 86400, 21 * 86400, retry_after=60)]
    porch = acme.porch("asked", front).start()
    first = wait_until(porch.valid, 20, "asked.test has its certificate", porch.process)
    wait_until(lambda: front.count("renewalInfo"), 20, "ARI is asked", porch.process)
    front.windows = [Window(-7200, -3600, retry_after=60)]
    new = eventually(lambda: (now := porch.valid()) and now.print != first.print and now, 85)
    questions = front.of("renewalInfo")
    pause = questions[1].at - questions[0].at if len(questions) > 1 else 0
    check(
        "ARI is asked again after Retry-After 60, and what it says then is done",
        new and 59 <= pause <= 80,
        f"{pause:.0f} s between questions, {len(questions)} questions",
    )


def window_unknown(acme):
    """A CA whose renewal information is broken."""
    front = acme.front(Fault("renewalInfo", "problem", 1000))
    porch = acme.porch("silent", front).start()
    wait_until(porch.valid, 20, "silent.test has its certificate", porch.process)
    time.sleep(10)
    told, questions = porch.told(), front.count("renewalInfo")
    good = told.get("next") and told.get("state") == "valid" and 1 <= questions <= 4
    acme.lab.check("ARI that answers 500: the renewal is planned by lifetime", good, f"{questions} questions, {told}")


def restarts(acme):
    """A restart loop while the CA fails; then the CA is well."""
    front, check = acme.front(Fault("newOrder", "problem", 10000)), acme.lab.check
    porch = acme.porch("restarts", front)
    begun = time.monotonic()
    for number in range(STARTS):
        porch.again() if number else porch.start()
        time.sleep(0.7)
    took = time.monotonic() - begun
    orders, accounts = front.count("newOrder"), front.count("newAccount")
    check(
        f"{STARTS} starts against a failing CA: at most 6 orders, one account",
        orders <= 6 and sum(one.status == 201 for one in front.of("newAccount")) == 1,
        f"{orders} orders and {accounts} requests for an account in {took:.0f} s",
    )
    front.trouble()
    seconds = porch.seconds(60, since=time.monotonic())
    check("after the restart loop: a certificate by itself", seconds is not None, in_seconds(seconds))


def patience(acme):
    """Retry-After is obeyed over a restart."""
    front = acme.front(Fault("newOrder", "problem", status=429, type="rateLimited", retry_after=15))
    porch = acme.porch("patient", front).start()
    wait_until(lambda: front.count("newOrder"), 20, "the order is asked for", porch.process)
    time.sleep(1)
    porch.again()
    porch.again()
    got = porch.seconds(40, since=time.monotonic())
    orders = front.of("newOrder")
    pause = orders[1].at - orders[0].at if len(orders) > 1 else 0
    acme.lab.check(
        "429 with Retry-After 15 and two restarts: obeyed",
        got is not None and 15 <= pause <= 25 and len(orders) == 2,
        f"asked again after {pause:.1f} s, {len(orders)} orders",
    )


class Visitors:
    """One client that asks all the time over one connection, whatever the certificate."""

    def __init__(self, porch, name):
        self.porch, self.name, self.results = porch, name, collections.Counter()
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._ask)
        self.thread.start()

    def _ask(self):
        line = talk.Line(self.porch.lax, self.name, timeout=20)
        while not self.over.wait(0.05):
            try:
                self.results[line.ask("GET", "/_matrix/x").status] += 1
            except OSError as error:
                self.results[type(error).__name__] += 1
                line = talk.Line(self.porch.lax, self.name, timeout=20)
        line.close()

    def stop(self):
        """Ends it; returns what was seen."""
        self.over.set()
        self.thread.join(30)
        return dict(self.results)


def full_disk(acme):
    """The disk is full at the first start, and freed later."""
    disk, front, check = Disk(acme.lab, "disk-full"), acme.front(), acme.lab.check
    disk.fill()
    porch = acme.porch("full", front, state=disk.state).start()
    visitors = Visitors(porch, "full.test")
    time.sleep(8)
    shown, orders = porch.shown(), front.count("newOrder")
    check("full disk: the stand-in answers, nothing is ordered", shown and shown.self_signed() and not orders, orders)
    told, said = porch.told(), porch.said()
    good = "disk is full" in said and "disk" in str(told)
    check("full disk: the log and porchd certs say so", good, told)
    porch.show("6-full-disk")
    disk.free()
    seconds = porch.seconds(80, since=time.monotonic())
    check("full disk, freed: a certificate within 70 s", seconds is not None and seconds < 70, in_seconds(seconds))
    results = visitors.stop()
    check("full disk: no request fails meanwhile", set(results) == {200}, results)


def filling_disk(acme):
    """The disk takes nothing more in the middle of an order: the certificate is served from memory, and kept later."""
    disk, front, check = Disk(acme.lab, "disk-filling"), acme.front(Fault("cert", "hang")), acme.lab.check
    porch = acme.porch("filling", front, state=disk.state).start()
    wait_until(lambda: front.count("cert"), 20, "the certificate is fetched", porch.process)
    # An order that is done with makes room for its certificate on a disk that is only full.
    disk.shut("certificates")
    disk.fill()
    front.release()
    seconds = porch.seconds(20, since=time.monotonic())
    state = porch.told().get("state")
    check(
        "the disk fills up during an order: its certificate is served from memory, and told",
        seconds is not None and state == "unsaved",
        f"{in_seconds(seconds)}, {state}",
    )
    porch.show("7-unsaved")
    # What was freed meanwhile is taken.
    disk.fill()
    before = porch.valid()
    code, text = porch.renew()
    now = porch.valid()
    good = now and before and now.print == before.print and front.count("newOrder") == 1
    check(
        "full disk: a forced renewal is not ordered, and is told why",
        good and code == 1,
        f"exit {code}: {one_line(text)}",
    )
    disk.free()
    disk.open("certificates")
    begun, folder = time.monotonic(), disk.state / "certificates"
    kept = eventually(lambda: folder.is_dir() and list(folder.glob("*.pem")), 80)
    seconds = time.monotonic() - begun if kept else None
    check("the disk is freed: the certificate is kept within 70 s", kept and seconds < 70, in_seconds(seconds))
    porch.again()
    now = eventually(porch.valid, 10)
    check(
        "and the next start serves it without an order", now and before and now.print == before.print, front.story()
    )


def read_only_disk(acme):
    """A state folder that takes no writes: with a certificate in it, and with none."""
    check = acme.lab.check
    disk, front = Disk(acme.lab, "disk-frozen"), acme.front()
    bare, other = Disk(acme.lab, "disk-bare"), acme.front()
    bare.read_only(True)
    empty = acme.porch("bare", other, state=bare.state).start()
    porch = acme.porch("frozen", front, state=disk.state).start()
    before = wait_until(porch.valid, 20, "frozen.test has its certificate", porch.process)
    porch.kill()
    disk.read_only(True)
    porch.start()
    now = porch.valid()
    eventually(lambda: "read-only" in porch.said(), 5)
    said = porch.said().lower()
    check("read-only state: the certificate is served", now and now.print == before.print, now and now.print)
    check("read-only state: the log says so", "read-only" in said, one_line("\n".join(said.splitlines()[-3:])))
    time.sleep(5)
    shown = empty.shown()
    good = shown and shown.self_signed() and not other.count("newOrder")
    check("read-only state without a certificate: the stand-in answers, nothing is ordered", good, other.story())
    bare.read_only(False)
    seconds = empty.seconds(80, since=time.monotonic())
    check("read-only no more: a certificate within 70 s", seconds is not None and seconds < 70, in_seconds(seconds))
    disk.read_only(False)


def expired(acme):
    """A certificate's time is over while the CA fails: it stays, also over a restart."""
    check = acme.lab.check
    pebble = acme.authority(14030, validity=12)
    front = acme.front(pebble=pebble)
    front.has_ari = False
    porch = acme.porch("expired", front, root=pebble.root).start()
    before = wait_until(porch.valid, 20, "expired.test has its certificate", porch.process)
    front.trouble(Fault("newOrder", "problem", 10000))
    wait_until(lambda: not porch.valid(), 30, "its time is over")
    shown, told = porch.shown(), porch.told()
    check(
        "an expired certificate stays until there is a better one, and is told",
        shown and before.print == shown.print and told.get("state") == "expired" and told.get("last_error"),
        told,
    )
    porch.show("8-expired")
    porch.again()
    shown = porch.shown()
    check("also over a restart", shown and before.print == shown.print, shown and shown.print)
    front.trouble()
    code, text = porch.renew()
    check("porchd certs renew after an outage: goes out at once", code == 0 and porch.valid(), one_line(text))


def brief(acme):
    """Certificates of 40 seconds, without ARI: never without one."""
    pebble = acme.authority(14040, validity=40)
    front = acme.front(pebble=pebble)
    front.has_ari = False
    porch = acme.porch("brief", front, root=pebble.root).start()
    wait_until(porch.valid, 20, "brief.test has its certificate", porch.process)
    seen = watch(porch, 50)
    orders = front.count("newOrder")
    acme.lab.check(
        "certificates of 40 s: renewed in time by themselves, in at most 6 orders a minute",
        None not in seen and len(seen) >= 2 and orders <= 6,
        f"{sum(seen.values())} handshakes, {len(seen)} certificates, {orders} orders, {seen[None]} refused",
    )


def fallback(acme):
    """The first CA fails: the second is asked at once."""
    faults = {
        "second": ("HTML 503 on its directory", Fault("directory", "page", 1000)),
        "third": (
            "429 for an hour",
            Fault("newOrder", "problem", 1000, status=429, type="rateLimited", retry_after=3600),
        ),
    }
    for label, (title, fault) in faults.items():
        first, other = acme.front(fault), acme.front()
        words = [f'fallback: [ {{ directory: "{other.directory}", ca_file: "{acme.lab.ca}" }} ]']
        porch = acme.porch(label, first, acme_keys=words).start()
        seconds = porch.seconds(20)
        acme.lab.check(
            f"the first CA has {title}: a certificate of the fallback within 10 s",
            seconds is not None and seconds < 10 and other.count("newOrder") == 1,
            in_seconds(seconds),
        )
