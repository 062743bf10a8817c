"""Memory: what a connection costs that is only held, idle or with a long poll open.

Each figure is taken on a fresh process, for memory that was freed is used again.
"""

import time

import cost
import lab as laboratory
import loads
import peers

GROUP = "Memory"
# Key: title, HTTP/2 or not, long poll or not.
KINDS = {
    "idle-h1": ("idle connection, HTTP/1.1", False, False),
    "idle-h2": ("idle connection, HTTP/2", True, False),
    "poll-h1": ("long poll, HTTP/1.1", False, True),
    "poll-h2": ("long poll, HTTP/2", True, True),
}
KEYS = list(KINDS)
# A poll that outlives its measure.
POLL_MS = 120_000


def run(lab, book, chosen, peers_chosen, options, say):
    """The chosen kinds, each peer after the other."""
    for key in chosen:
        title, http2, poll = KINDS[key]
        measures = {
            "pss": book.open(key, GROUP, f"{title}, PSS", "KiB each"),
            "private": book.open(f"{key}-private", GROUP, f"{title}, private", "KiB each"),
            "base": book.open(f"{key}-base", GROUP, f"{title}: process before {options.held:,} of them, PSS", "MiB"),
            "after": book.open(f"{key}-after", GROUP, f"{title}: process after they closed, PSS", "MiB"),
        }
        for peer in peers_chosen:
            try:
                figures = held(lab, peer, http2, poll, options)
                for name, measure in measures.items():
                    measure.note(peer.name, figures[name])
            except laboratory.Failed as why:
                for measure in measures.values():
                    measure.fail(peer.name, why)
        for measure in measures.values():
            say(measure)


def held(lab, peer, http2, poll, options):
    """One fresh proxy, before, with and after its connections."""
    proxy = peers.Proxy(lab, peer, peers.Setup(log=options.log))
    try:
        loads.check(lab, proxy.port, laboratory.SMALL, http2, laboratory.SMALL_BYTES)
        # What it allocates once, for its first requests, is not the connections'.
        loads.handshakes(lab, proxy.port, 0.3, requests=4)
        time.sleep(options.settle / 2)
        before = cost.memory(proxy.process)
        hold = loads.Hold(lab, proxy.port, options.held, http2, POLL_MS if poll else 0)
        time.sleep(options.settle)
        during = cost.memory(proxy.process)
        told = hold.close()
        time.sleep(options.settle)
        after = cost.memory(proxy.process)
    finally:
        proxy.stop()
    if told["closed"] or told["cut"]:
        raise laboratory.Failed(f"{told['closed']} connections were closed, {told['cut']} polls cut meanwhile")
    return {
        "pss": (during.pss - before.pss) / options.held,
        "private": (during.private - before.private) / options.held,
        "base": before.pss / 1024,
        "after": after.pss / 1024,
    }
