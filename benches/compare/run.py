#!/usr/bin/env python3
"""porchd beside nginx, HAProxy and Caddy: CPU time, latency, memory, start, reload, growth.

    benches/compare/run.py [--only h1,h2,...] [--quick]

All of it takes less than ten minutes on two cores, once the load tool is built. On Debian it needs:
apt install nginx haproxy caddy wrk nghttp2-client openssl. Everything stays on loopback; each proxy has one
thread on the first CPU, loads and the homeserver's stand-in have the others. Results go to
benches/compare/results, those of a part or of --quick to compare/ in cargo's target folder: results.json,
results.md, chart.svg.
"""

import argparse
import functools
import pathlib
import sys
import time

import book as books
import chart
import growth
import holding
import lab as laboratory
import loads
import machine
import needs
import peers
import reloads
import rounds
import table

HERE = pathlib.Path(__file__).resolve().parent
SECTIONS = {
    "start": reloads.start,
    "reload": reloads.reload,
    "connections": growth.connections,
    "sites": growth.sites,
    "reload-cost": reloads.reload_cost,
    "accept": growth.accept,
}
KEYS = [*rounds.KEYS, *holding.KEYS, *SECTIONS]
RESULTS = HERE / "results"


def arguments():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=names(KEYS), default=KEYS, metavar="NAMES", help="some of: " + ",".join(KEYS))
    parser.add_argument("--proxies", type=names(peers.PEERS), default=list(peers.PEERS), metavar="NAMES",
                        help="some of: " + ",".join(peers.PEERS))  # fmt: skip
    parser.add_argument("--rounds", type=int, default=5, help="of each measure (5)")
    parser.add_argument("--seconds", type=int, default=1, help="of each load (1)")
    parser.add_argument("--held", type=int, default=2000, help="connections whose memory is measured (2000)")
    parser.add_argument("--many", type=int, default=10000, help="connections at the most, of `connections` (10000)")
    parser.add_argument("--settle", type=float, default=1.0, help="seconds until memory is read (1.0)")
    parser.add_argument("--log", action="store_true", help="with an access log in all proxies")
    parser.add_argument("--quick", action="store_true", help="two rounds, fewer connections: does it work?")
    parser.add_argument("--nice", type=int, default=0, help="such as -5: hurt less by others on the machine")
    parser.add_argument("--porchd", metavar="PATH", help="the binary (target/release/porchd)")
    parser.add_argument("--load", metavar="PATH", help="the load tool (built by cargo)")
    parser.add_argument("--out", type=pathlib.Path, metavar="FOLDER", help="where results go")
    parser.add_argument("--render", type=pathlib.Path, metavar="JSON", help="only table and chart of earlier results")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.held, options.many = min(2, options.rounds), 500, 2000
    return options


def names(known):
    """A list of names, for argparse."""

    def parse(text):
        chosen = text.split(",")
        if unknown := [name for name in chosen if name not in known]:
            raise argparse.ArgumentTypeError(f"no {', '.join(unknown)}; there are {', '.join(known)}")
        return [name for name in known if name in chosen]

    return parse


def about(options, chosen):
    """What the results are of."""
    titles = {peer.name: f"{peer.title} {peer.version()}" for peer in chosen}
    base = "nginx" if "nginx" in titles else chosen[0].name
    said = f"{options.rounds} rounds of {options.seconds} s, access log {'on' if options.log else 'off'}"
    said += f", nice {options.nice}" if options.nice else ""
    return {
        "date": machine.today(),
        "machine": machine.kind(),
        "processor": machine.processor(),
        "titles": titles,
        "base": base,
        "options": said,
    }


def in_rounds(lab, book, chosen, options, say):
    """All measures over proxies that run beside each other."""
    keys = [key for key in options.only if key in rounds.KEYS]
    running = {}
    for peer in chosen:
        try:
            running[peer.name] = peers.Proxy(lab, peer, peers.Setup(log=options.log))
            loads.handshakes(lab, running[peer.name].port, 0.3, requests=4)
        except laboratory.Failed as why:
            did_not_run(book, peer.name, why)
            running.pop(peer.name, None)
    rounds.run(lab, book, keys, running, options, say)
    for proxy in running.values():
        proxy.stop()


def measure(lab, book, chosen, options):
    """Everything that was asked for; what fails is in the book."""

    def say(measure):
        print("\n".join(table.lines(book, measure)), flush=True)

    parts = []
    if set(options.only) & set(rounds.KEYS):
        parts.append(("rounds", functools.partial(in_rounds, lab, book, chosen, options, say)))
    if kinds := [key for key in options.only if key in holding.KEYS]:
        parts.append(("memory", functools.partial(holding.run, lab, book, kinds, chosen, options, say)))
    for key in options.only:
        if key in SECTIONS:
            parts.append((key, functools.partial(SECTIONS[key], lab, book, chosen, options, say)))
    for name, part in parts:
        begun = time.monotonic()
        try:
            part()
        except laboratory.Failed as why:
            did_not_run(book, name, why)
        print(f"-- {name}: {time.monotonic() - begun:.0f} s", flush=True)


def did_not_run(book, name, why):
    """Notes what a measure, or a proxy, could not even begin with."""
    book.open(name, "What did not run", name, "", [name], name).fail(name, why)
    print(f"{name} failed: {why}", flush=True)


def write(book, folder):
    """Table, chart and JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    book.save(folder / "results.json")
    (folder / "results.md").write_text(table.markdown(book, books.NOISY))
    (folder / "chart.svg").write_text(chart.drawn(book))
    print(f"written: {folder}/results.json, results.md, chart.svg")


def main():
    """Needs, laboratory, measures, results."""
    options = arguments()
    if options.render:
        return write(books.Book.load(options.render), options.out or options.render.parent)
    try:
        return run(options, laboratory.Interrupts())
    except laboratory.Stopped as signal:
        print("stopped; nothing is left running", file=sys.stderr)
        return 128 + signal.args[0]


def run(options, interrupts):
    """All that takes time."""
    begun = time.monotonic()
    programs = needs.programs(options.proxies)
    load = needs.load(options.load)
    named = {"porchd": needs.porchd(options.porchd)} if "porchd" in options.proxies else {}
    chosen = [peers.PEERS[name](named.get(name) or programs[name]) for name in options.proxies]
    book = books.Book(about(options, chosen))
    print(f"{book.about['machine']}: {', '.join(book.about['titles'].values())}; {book.about['options']}", flush=True)
    with laboratory.Lab(load, interrupts, options.nice) as lab:
        most = peers.most_connections(lab) - peers.SPARE
        if max(options.many, options.held) > most:
            print(f"{lab.descriptors} open files (ulimit -Hn) are enough for {most:,} connections: fewer are held")
            options.many, options.held = min(options.many, most), min(options.held, most // 2)
        measure(lab, book, chosen, options)
    whole = options.only == KEYS and len(chosen) == len(peers.PEERS) and not options.quick
    write(book, options.out or (RESULTS if whole else needs.target() / "compare"))
    failed = sum(len(measure.failures) for measure in book.measures)
    print(f"{time.monotonic() - begun:.0f} s in all" + (f"; {failed} figures failed" if failed else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
