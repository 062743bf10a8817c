"""Home's end of the tunnel dies: after three minutes without a handshake that is what its absence is put down to."""

import time

from suite_wireguard import IFACE, Stage

LIMIT = 420


def run(lab):
    stage = Stage(lab)
    stage.it_stands()
    shaken = stage.figure("last_handshake_timestamp_seconds")
    stage.tunnel.cut("far")
    early = stage.away("connect-timeout", 60)
    lab.check("at first nothing is known but that nobody answers", early, stage.upstream().get("cause"))
    begun = time.time()
    told = stage.away("tunnel-stale", 240)
    age = time.time() - shaken
    lab.check("the tunnel is the cause once its handshake is three minutes old", told and 180 <= age < 195, f"{age:.0f} s")
    cause = stage.upstream()["cause"]["text"]
    lab.check("its age is told", cause.startswith(f"no handshake over the tunnel {IFACE} for 3 min"), cause)
    text = stage.shown("stale")
    lab.check("a person is told so", f"tunnel {IFACE} is STALE: last handshake 3 min" in text, text)
    causes = stage.status()["incidents"][-1]["causes"]
    tokens = [one["token"] for one in causes]
    lab.check("the incident has both causes, in order", tokens[-1] == "tunnel-stale" and len(tokens) > 1, causes)
    print(f"-- waited {time.time() - begun:.0f} s; {stage.tunnel.shown()}", flush=True)
    stage.it_carries_again()
