"""Growth: what a request costs with more connections, sites and routes, and with one accept loop for all threads.

Each table has its own base. The load is as much as goes, with always as many requests on their way: at a low rate
a request costs most for being waited for, which hides what is looked for.
"""

import contextlib
import functools
import random

import lab as laboratory
import loads
import peers
import rounds

CONNECTIONS, SITES, ACCEPT = "More connections", "More sites and routes", "One accept loop"
KEYS = ["connections", "sites", "accept"]
# Requests on their way at a time; a single connection has one.
TOGETHER = 32
COUNTS = [1, TOGETHER, 100, 1000, 10000]
ALL, SOME = "all active", f"{TOGETHER} active, the others idle"
SETUPS = {
    "1 site": {},
    "100 sites": {"sites": 99},
    "1,000 sites": {"sites": 999},
    "1,000 routes": {"routes": 1000},
}
MODES = ["per-thread", "single"]
# Requests on each new connection.
FEW = 4
# Rounds at the most: here two proxies are not compared, but one with itself.
ROUNDS = 3


def connections(lab, book, peers_chosen, options, say):
    """CPU time for a request, by open connections."""
    counts = [count for count in COUNTS if count <= options.many]
    names = [f"{count:,}" for count in counts]
    measures = {}
    for peer in peers.nginx_and_porchd(peers_chosen):
        for which in (SOME, ALL):
            key = f"connections-{peer.name}-{which.split()[0]}"
            measures[peer.name, which] = book.open(
                key, CONNECTIONS, f"{peer.title}, {which}", "µs per request", names, f"{TOGETHER}"
            )
    for count, name in zip(counts, names, strict=True):
        with contextlib.ExitStack() as stack:
            stand_and_measure(lab, stack, measures, peers_chosen, count, name, options)
    for measure in measures.values():
        say(measure)


def stand_and_measure(lab, stack, measures, peers_chosen, count, name, options):
    """So many connections to each proxy, and rounds with some and with all of them active."""
    riders, proxies = {}, {}
    for peer in peers.nginx_and_porchd(peers_chosen):
        try:
            proxies[peer.name] = peers.Proxy(lab, peer, peers.Setup(log=options.log))
            stack.callback(proxies[peer.name].stop)
            riders[peer.name] = loads.Ride(lab, proxies[peer.name].port, count)
            stack.callback(riders[peer.name].stop)
        except laboratory.Failed as why:
            for which in (SOME, ALL):
                measures[peer.name, which].fail(name, why)
    tasks = {(peer, which): proxies[peer] for peer in riders for which in (SOME, ALL)}

    def load(task):
        peer, which = task
        return riders[peer].run(count if which == ALL else min(TOGETHER, count), options.seconds)

    for task, figures in each_round(lab, tasks, load, min(ROUNDS, options.rounds)):
        note(measures[task], name, figures)


def each_round(lab, tasks, load, count):
    """Rounds over `tasks`, a proxy each: what each cost for a unit, in microseconds, or why it failed."""
    for _ in range(count):
        for task in random.sample(list(tasks), len(tasks)):
            try:
                done, figures = rounds.measured(lab, tasks[task], functools.partial(load, task))
                yield task, figures | {"value": figures["seconds"] / done.done * 1e6}
            except laboratory.Failed as why:
                yield task, why


def note(measure, subject, figures):
    """Into the book: a value, or why there is none."""
    if isinstance(figures, laboratory.Failed):
        measure.fail(subject, figures)
    else:
        figures.pop("seconds")
        measure.note(subject, figures.pop("value"), **figures)


def sites(lab, book, peers_chosen, options, say):
    """CPU time for a request, by configured sites and routes that nobody asks."""
    measures, proxies = {}, {}
    with contextlib.ExitStack() as stack:
        for peer in peers.nginx_and_porchd(peers_chosen):
            measures[peer.name] = book.open(
                f"sites-{peer.name}", SITES, peer.title, "µs per request", list(SETUPS), next(iter(SETUPS))
            )
            for name, more in SETUPS.items():
                try:
                    proxy = peers.Proxy(lab, peer, peers.Setup(log=options.log, **more))
                    stack.callback(proxy.stop)
                    loads.check(lab, proxy.port, laboratory.SMALL, length=laboratory.SMALL_BYTES)
                    proxies[peer.name, name] = proxy
                except laboratory.Failed as why:
                    measures[peer.name].fail(name, why)

        def load(task):
            return loads.wrk(lab, proxies[task].port, laboratory.SMALL, laboratory.SMALL_BYTES, options.seconds)

        for (peer, name), figures in each_round(lab, proxies, load, min(ROUNDS, options.rounds)):
            note(measures[peer], name, figures)
    for measure in measures.values():
        say(measure)


def accept(lab, book, peers_chosen, options, say):
    """porchd's `accept: single` beside `per-thread`, with one thread and with two."""
    for peer in (peer for peer in peers_chosen if peer.name == "porchd"):
        for threads in (1, 2):
            with contextlib.ExitStack() as stack:
                proxies = {}
                for mode in MODES:
                    setup = peers.Setup(threads=threads, accept=mode, log=options.log)
                    cpus = lab.proxy_cpu if threads == 1 else lab.all_cpus
                    proxies[mode] = peers.Proxy(lab, peer, setup, cpus)
                    stack.callback(proxies[mode].stop)
                    loads.check(lab, proxies[mode].port, laboratory.SMALL, length=laboratory.SMALL_BYTES)
                accept_with(lab, book, proxies, threads, options, say)


def accept_with(lab, book, proxies, threads, options, say):
    """Both modes, over kept connections and over new ones."""

    def kept(mode):
        return loads.wrk(lab, proxies[mode].port, laboratory.SMALL, laboratory.SMALL_BYTES, options.seconds)

    def new(mode):
        return loads.handshakes(lab, proxies[mode].port, options.seconds, requests=FEW)

    for key, title, load in (("kept", "kept connections", kept), ("new", f"a new one every {FEW} requests", new)):
        title = f"threads: {threads}, {title}"
        measure = book.open(f"accept-{threads}-{key}", ACCEPT, title, "µs per request", MODES, MODES[0])
        for mode, figures in each_round(lab, proxies, load, options.rounds):
            note(measure, mode, figures)
        say(measure)
