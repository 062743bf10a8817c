"""Measures in rounds: every proxy in turn, in a new order each round, under the same load.

What is measured is CPU time of the proxy for a unit of work, read around the load; at a fixed rate also how
long answers take.
"""

import contextlib
import dataclasses
import functools
import random
from collections.abc import Callable

import cost
import lab as laboratory
import loads
import peers

GROUP = "CPU time"
LATENCY = "Latency"
# Requests a second of the open loop, and over how many connections.
RATE, RIDERS = 3000, 32
# Bodies of 100 MiB in one round.
BODIES = 4


@dataclasses.dataclass(frozen=True)
class Kind:
    """One measure."""

    key: str
    title: str
    unit: str
    # What the load does, from (laboratory, port, seconds).
    load: Callable
    # How the answer is checked: arguments of `loads.check`.
    path: str
    checked: dict
    saturates: bool = True
    # HAProxy serves no files.
    left_out: tuple = ()


def kinds():
    """All of them, in the order of the table."""
    small = {"length": laboratory.SMALL_BYTES}
    per_request, per_handshake, per_gib = "µs per request", "µs each", "ms per GiB"
    return [
        Kind("h1", "200 bytes of JSON, HTTP/1.1", per_request,
             lambda lab, port, seconds: loads.wrk(lab, port, laboratory.SMALL, laboratory.SMALL_BYTES, seconds),
             laboratory.SMALL, small),
        Kind("h2", "200 bytes of JSON, HTTP/2", per_request,
             lambda lab, port, seconds: loads.h2load(lab, port, laboratory.SMALL, seconds),
             laboratory.SMALL, small | {"http2": True}),
        Kind("handshake", "full handshake", per_handshake,
             lambda lab, port, seconds: loads.handshakes(lab, port, seconds),
             laboratory.SMALL, small),
        Kind("resumed", "resumed handshake", per_handshake,
             lambda lab, port, seconds: loads.handshakes(lab, port, seconds, resume=True),
             laboratory.SMALL, small),
        Kind("down-h1", "1 GiB down, HTTP/1.1", per_gib,
             lambda lab, port, seconds: loads.download(lab, port, BODIES, http2=False),
             laboratory.BIG, {"length": laboratory.BIG_BYTES}),
        Kind("down-h2", "1 GiB down, HTTP/2", per_gib,
             lambda lab, port, seconds: loads.download(lab, port, BODIES, http2=True),
             laboratory.SMALL, small | {"http2": True}),
        Kind("up-h1", "1 GiB up, HTTP/1.1", per_gib,
             lambda lab, port, seconds: loads.upload(lab, port, BODIES),
             laboratory.SMALL, small),
        Kind("file", "static file of 4 KiB, HTTP/1.1", per_request,
             lambda lab, port, seconds: loads.wrk(lab, port, laboratory.FILE, laboratory.FILE_BYTES, seconds),
             laboratory.FILE, {"length": laboratory.FILE_BYTES}, left_out=("haproxy",)),
        Kind("well-known", "well-known document, HTTP/1.1", per_request,
             lambda lab, port, seconds: loads.wrk(lab, port, laboratory.WELL_KNOWN, 0, seconds),
             laboratory.WELL_KNOWN, {"document": peers.Setup().well_known()}),
    ]  # fmt: skip


KEYS = [kind.key for kind in kinds()] + ["rate"]


def run(lab, book, chosen, proxies, options, say):
    """The chosen measures over proxies that run already."""
    for kind in kinds():
        if kind.key in chosen:
            measure = book.open(kind.key, GROUP, kind.title, kind.unit, saturates=kind.saturates)
            able = {name: proxy for name, proxy in proxies.items() if name not in kind.left_out}
            per = 1e3 if kind.unit == "ms per GiB" else 1e6
            ready = checked(lab, measure, able, kind.path, kind.checked)

            load = functools.partial(load_of, lab, kind, proxies, options.seconds)
            in_rounds(lab, measure, ready, load, per, options.rounds)
            say(measure)
    if "rate" in chosen:
        at_a_rate(lab, book, proxies, options, say)


def load_of(lab, kind, proxies, seconds, name):
    """The load of one kind on one proxy."""
    return kind.load(lab, proxies[name].port, seconds)


def checked(lab, measure, able, path, arguments):
    """Those that give the right answer."""
    ready = {}
    for name, proxy in able.items():
        try:
            loads.check(lab, proxy.port, path, **arguments)
            ready[name] = proxy
        except laboratory.Failed as why:
            measure.fail(name, why)
    return ready


def in_rounds(lab, measure, proxies, load, per, rounds, extra=None):
    """Rounds of `load`, which takes a name; `extra` is told of each load."""
    for _ in range(rounds):
        for name in random.sample(list(proxies), len(proxies)):
            try:
                done, figures = measured(lab, proxies[name], functools.partial(load, name))
                measure.note(name, figures.pop("seconds") / done.done * per, **figures)
            except laboratory.Failed as why:
                measure.fail(name, why)
                done = None
            if extra:
                extra(name, done)


def measured(lab, proxy, load):
    """One load, and what it cost the proxy."""
    before, (busy, stolen) = cost.snapshot(proxy.process), cost.busy(lab.proxy_cpu)
    done = load()
    after, (busy_then, stolen_then) = cost.snapshot(proxy.process), cost.busy(lab.proxy_cpu)
    if not done.done:
        raise laboratory.Failed(f"nothing was done, {done.failed} failed")
    seconds = cost.spent(before, after)
    return done, {
        "seconds": seconds,
        "failed": done.failed,
        "rate": done.done / done.seconds,
        "use": seconds / done.seconds,
        # What others did on the proxy's CPU meanwhile, and what the host took of it.
        "others": round(max(0, busy_then - busy - seconds) / done.seconds, 3),
        "stolen": round((stolen_then - stolen) / done.seconds, 3),
        **done.more,
    }


def at_a_rate(lab, book, proxies, options, say):
    """Latency, and CPU time at a load that all can bear."""
    what = f"{RATE:,} requests/s over {RIDERS} connections"
    spent = book.open("rate", GROUP, what, "µs per request")
    waits = {
        "p50": book.open("rate-p50", LATENCY, f"{what}, median", "µs"),
        "p99": book.open("rate-p99", LATENCY, f"{what}, 99th percentile", "µs"),
    }
    ready = checked(lab, spent, proxies, laboratory.SMALL, {"length": laboratory.SMALL_BYTES})

    def note(name, done):
        for percentile, measure in waits.items():
            if done:
                measure.note(name, done.more[percentile])
            else:
                measure.fail(name, "see above")

    with contextlib.ExitStack() as stack:
        riders = {}
        for name, proxy in ready.items():
            riders[name] = loads.Ride(lab, proxy.port, RIDERS)
            stack.callback(riders[name].stop)

        def load(name):
            return riders[name].run(RIDERS, options.seconds, RATE)

        in_rounds(lab, spent, ready, load, 1e6, options.rounds, note)
    for measure in (spent, *waits.values()):
        say(measure)
