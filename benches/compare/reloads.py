"""Start, and a reload under load: what clients notice of it, and what it costs."""

import dataclasses
import time

import cost
import lab as laboratory
import loads
import peers

START, RELOAD = "Start", "Reload under load"
KEYS = ["start", "reload", "reload-cost"]
STARTS = 5
# Long polls that are open when the reload comes, how long they are, and how long clients go on asking.
POLLS, POLL_MS, ASKED = 500, 6000, 4.0
# When the reload comes, after the clients began to ask.
AFTER = 1.0
ROUTES = 1000
# How long a reload's cost is counted after that: until all that it sets off is over.
COUNTED = 2.0


def start(lab, book, peers_chosen, options, say):
    """From the start of the process to its first connection, and to its first answer."""
    listens = book.open("start-listens", START, "start to first connection accepted", "ms")
    answers = book.open("start-answers", START, "start to first answer over TLS", "ms")
    for _ in range(STARTS):
        for peer in peers_chosen:
            try:
                proxy = peers.Proxy(lab, peer, peers.Setup(log=options.log))
                proxy.stop()
                listens.note(peer.name, proxy.listens * 1e3)
                answers.note(peer.name, proxy.answers * 1e3)
            except laboratory.Failed as why:
                listens.fail(peer.name, why)
                answers.fail(peer.name, why)
    say(listens)
    say(answers)


def reload(lab, book, peers_chosen, options, say):
    """A reload beside open long polls and a steady stream of requests."""
    measures = {
        "asked": book.open("reload-asked", RELOAD, "requests asked meanwhile", "count"),
        "failed": book.open("reload-failed", RELOAD, "of them failed", "count"),
        "retries": book.open("reload-retries", RELOAD, "of them sent again, their kept connection was lost", "count"),
        "cut": book.open("reload-cut", RELOAD, f"long polls cut, of {POLLS}", "count"),
        "until": book.open("reload-until", RELOAD, "until the new answer is seen", "ms"),
        "flips": book.open("reload-flips", RELOAD, "flips after that, on new connections", "count"),
        "stale": book.open("reload-stale", RELOAD, "old answers after that, on kept connections", "count"),
    }
    for peer in peers_chosen:
        try:
            seen = reloaded(lab, peer, options)
            for name, measure in measures.items():
                measure.note(peer.name, seen[name], **({"why": seen["why"]} if name == "failed" else {}))
        except laboratory.Failed as why:
            for measure in measures.values():
                measure.fail(peer.name, why)
    for measure in measures.values():
        say(measure)


def reloaded(lab, peer, options):
    """One fresh proxy under one reload."""
    setup = peers.Setup(log=options.log)
    proxy = peers.Proxy(lab, peer, setup)
    try:
        loads.check(lab, proxy.port, laboratory.WELL_KNOWN, document=setup.well_known())
        hold = loads.Hold(lab, proxy.port, POLLS, poll_ms=POLL_MS)
        probe = loads.Probe(lab, proxy.port, laboratory.WELL_KNOWN, ASKED)
        time.sleep(AFTER)
        changed = dataclasses.replace(setup, identity="https://changed.example")
        asked_at = time.time() * 1e3
        proxy.reload(changed)
        seen = probe.result()
        laboratory.wait_until(lambda: not lab.polls(), POLL_MS / 1e3, "the long polls are over")
        # The last answers are on their way through the proxy.
        time.sleep(0.2)
        told = hold.close()
    finally:
        proxy.stop()
    return seen_by_clients(seen, asked_at) | {"cut": POLLS - told["answered"]}


def seen_by_clients(seen, asked_at):
    """What the answers before and after a reload come to."""
    new = {place for place, body in enumerate(seen["bodies"]) if "changed.example" in body}
    answers = sorted(seen["answers"])
    first = min((answered for _, answered, place, _ in answers if place in new), default=None)
    if first is None:
        raise laboratory.Failed(f"the new answer was never seen; failures: {seen['failures'][:3]}")
    later = [(place in new, kept) for begun, _, place, kept in answers if begun > first]
    fresh = [is_new for is_new, kept in later if not kept]
    return {
        "asked": len(answers) + len(seen["failures"]),
        "failed": len(seen["failures"]),
        "why": sorted({why for _, why in seen["failures"]})[:5],
        "retries": seen["retries"],
        "until": first - asked_at,
        "flips": sum(one != other for one, other in zip([True, *fresh], fresh, strict=False)),
        "stale": sum(not is_new for is_new, kept in later if kept),
    }


def reload_cost(lab, book, peers_chosen, options, say):
    """What a reload costs with very many connections and routes; only of porchd, and nginx beside it."""
    if not (two := peers.nginx_and_porchd(peers_chosen)):
        return
    group = f"Reload with {options.many:,} connections and {ROUTES:,} routes"
    subjects = {"subjects": [peer.name for peer in two], "base": two[0].name}
    cpu = book.open("reload-cost-cpu", group, "CPU time of the reload", "ms", **subjects)
    until = book.open("reload-cost-until", group, "until the new answer is seen", "ms", **subjects)
    closed = book.open("reload-cost-closed", group, "idle connections closed by it", "count", **subjects)
    for peer in two:
        try:
            figures = reload_of_many(lab, peer, options)
            cpu.note(peer.name, figures["cpu"])
            until.note(peer.name, figures["until"])
            closed.note(peer.name, figures["closed"])
        except laboratory.Failed as why:
            for measure in (cpu, until, closed):
                measure.fail(peer.name, why)
    for measure in (cpu, until, closed):
        say(measure)


def reload_of_many(lab, peer, options):
    """One fresh proxy; one client asks until it sees the new answer, and some time more is counted."""
    setup = peers.Setup(log=options.log, routes=ROUTES)
    proxy = peers.Proxy(lab, peer, setup)
    try:
        hold = loads.Hold(lab, proxy.port, options.many)
        time.sleep(options.settle)
        watch = ["--kept", 1, "--kept-gap", 5, "--fresh-gap", 0, "--until-changed"]
        probe = loads.Probe(lab, proxy.port, laboratory.WELL_KNOWN, 20, *watch)
        before, asked_at = cost.snapshot(proxy.process), time.time() * 1e3
        proxy.reload(dataclasses.replace(setup, identity="https://changed.example"))
        seen = probe.result()
        time.sleep(COUNTED)
        busy = cost.spent(before, cost.snapshot(proxy.process))
        told = hold.close()
    finally:
        proxy.stop()
    found = seen_by_clients(seen, asked_at)
    return {"cpu": busy * 1e3, "until": found["until"], "closed": told["closed"]}
