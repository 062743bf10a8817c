"""What porchd knows of the tunnel home: a real wireguard-go tells it, and it is the cause of what it breaks.

The hosts are those of `tunnel.py`; home is a stand-in. porchd asks the near end's wireguard-go, as it would ask a
kernel. That a handshake grows old takes three minutes: `suite_wireguard180.py` waits for it.
"""

import json
import subprocess
import sys
import time
import urllib.request

from lab import HERE, eventually, wait_until
from porch import Porch
from tunnel import HOME, INTERNET, PORT, PUBLIC, Tunnel, answers

LIMIT = 150
FIGURES = "127.0.0.1:9178"
IFACE = "wg-near"


def run(lab):
    stage = Stage(lab)
    stage.it_stands()
    stage.it_was_never_up()
    stage.it_carries_again()
    stage.it_is_gone()
    stage.another_key_is_told()
    lab.check("no panic in porchd's log", "panicked" not in stage.porch.said())


class Stage:
    """The tunnel, a home behind it, and porchd in front."""

    def __init__(self, lab):
        self.lab, self.check = lab, lab.check
        lab.names({"a.test": [PUBLIC]})
        self.tunnel = Tunnel(lab)
        # It listens on the loopback alone: somebody must carry it to the tunnel's address.
        inside = self.tunnel.inside
        lab.spawn([*inside, sys.executable, HERE / "stand_in.py", 8008], "stand-in.out")
        lab.spawn([*inside, *carrier(HOME, 8008)], "carrier.out")
        wait_until(lambda: answers(f"http://{HOME}:8008"), 20, "home answers through the tunnel")
        self.porch = Porch(lab, "a.test", 8008, [PUBLIC], address=HOME, more=self.link(self.tunnel.keys["home"][1]))
        self.porch.start()
        wait_until(lambda: self.upstream()["state"] == "up", 20, "home is known to be up")

    def link(self, key):
        """The sections of porchd.yaml."""
        sections = f'admin: {{ socket: {self.lab.dir}/porchd.sock, metrics: "{FIGURES}" }}\n'
        return sections + f'home_link: {{ wireguard: {{ interface: {IFACE}, peer: "{key}" }} }}\n'

    def status(self):
        """What programs are told."""
        return json.loads(self.porch.tells("status", "--json"))

    def upstream(self):
        """How home stands."""
        return self.status()["upstreams"][0]

    def cause(self):
        """What home's absence is put down to, if it is away."""
        return self.upstream().get("cause", {}).get("token")

    def figures(self):
        """The figures of the tunnel and of outages, by their whole names."""
        with urllib.request.urlopen(f"http://{FIGURES}/metrics", timeout=5) as answer:
            lines = [line.rpartition(" ") for line in answer.read().decode().splitlines() if line[0] != "#"]
        return {name: float(value) for name, _, value in lines if "tunnel" in name or "outage" in name}

    def figure(self, name):
        """One figure of the tunnel."""
        return self.figures().get(f'porchd_tunnel_{name}{{interface="{IFACE}"}}')

    def peer(self):
        """The far end as wg(8) tells it: endpoint, handshake, bytes received and sent."""
        done = subprocess.run(["wg", "show", IFACE, "dump"], check=True, capture_output=True, text=True)
        _, _, endpoint, _, shaken, received, sent, _ = done.stdout.splitlines()[1].split("\t")
        return endpoint, int(shaken), int(received), int(sent)

    def shown(self, name):
        """Keeps what a person is shown, and returns it."""
        folder = self.lab.dir / "shown"
        folder.mkdir(exist_ok=True)
        text = self.porch.tells("status") + "\n" + self.porch.tells("incidents")
        (folder / f"{name}.txt").write_text(text)
        return text

    def away(self, wanted, seconds=40):
        """Waits until home's absence is put down to `wanted`."""
        eventually(lambda: self.cause() == wanted, seconds)
        return self.cause() == wanted

    # -- scenes --------------------------------------------------------------------------------

    def it_stands(self):
        """What porchd tells of a tunnel that carries is what wg(8) tells."""
        status, (endpoint, shaken, received, sent) = self.status()["tunnel"], self.peer()
        age = time.time() - self.figure("last_handshake_timestamp_seconds")
        self.check("the last handshake is younger than three minutes", 0 <= age < 180, f"{age:.0f} s")
        self.check("it is the one of wg(8)", self.figure("last_handshake_timestamp_seconds") == shaken, shaken)
        self.check("the endpoint is home's", status["endpoint"] == endpoint == f"{INTERNET}10:{PORT}", status)
        self.check("bytes are counted", 0 < status["received_bytes"] <= received and 0 < status["sent_bytes"] <= sent)
        self.check("it is not stale", not status["stale"] and self.figure("stale") == 0 and self.figure("readable") == 1)
        text = self.shown("stands")
        told = f"tunnel {IFACE} stands: last handshake" in text and f"home at {endpoint}" in text
        self.check("a person is told so", told, text)

    def it_was_never_up(self):
        """Home is silent, and the near end begins anew: no handshake at all."""
        self.tunnel.cut("far")
        self.tunnel.cut("kill")
        begun = time.monotonic()
        self.tunnel.heal("kill")
        told = self.away("tunnel-stale")
        self.check("home's absence is put down to the tunnel", told, f"{time.monotonic() - begun:.1f} s")
        cause = self.upstream().get("cause")
        self.check("it is said why", cause and cause["text"].startswith(f"no handshake over the tunnel {IFACE}"), cause)
        wanted = 'porchd_outage{upstream="home",cause="tunnel-stale"}'
        self.check("so do figures", self.figures().get(wanted) == 1 and self.figure("stale") == 1, self.figures())
        text = self.shown("never")
        self.check("so is a person", f"tunnel {IFACE} has had NO handshake yet" in text, text)

    def it_carries_again(self):
        """Home speaks again."""
        self.tunnel.heal("far")
        wait_until(lambda: self.upstream()["state"] == "up", 30, "home is back")
        eventually(lambda: self.figure("stale") == 0, 35)
        self.check("the tunnel is not stale any more", self.figure("stale") == 0, self.status()["tunnel"])
        incident = self.status()["incidents"][-1]
        tokens = [cause["token"] for cause in incident["causes"]]
        self.check("the incident has the cause on record", "tunnel-stale" in tokens and "ended" in incident, incident)
        self.check("so has the log", f"no handshake over the tunnel {IFACE}" in self.porch.said())

    def it_is_gone(self):
        """The interface is not there: the tunnel is down by name."""
        self.tunnel.cut("kill")
        told = self.away("tunnel-stale")
        cause = self.upstream().get("cause")
        self.check("an interface that is gone is the tunnel's absence", told, cause)
        # Where the kernel has WireGuard, it says that there is no such interface.
        text = self.shown("gone")
        self.check("the cure is told", "wg-quick up" in text or "start wireguard-go" in text, text)
        self.check("a tunnel that is not there has no handshake", self.figure("last_handshake_timestamp_seconds") is None)
        self.tunnel.heal("kill")
        wait_until(lambda: self.upstream()["state"] == "up", 60, "home is back")

    def another_key_is_told(self):
        """A reload names another key: the ones that are there are named."""
        self.porch.write(more=self.link(self.tunnel.keys["near"][1])).reload()
        text = eventually(lambda: "no peer" in self.porch.said() and self.porch.said(), 10) or ""
        known = f"(its peers are {self.tunnel.keys['home'][1]})"
        self.check("a wrong key is told with the right one", known in text, self.status()["tunnel"])
        self.porch.write(more=self.link(self.tunnel.keys["home"][1])).reload()
        back = eventually(lambda: self.figure("readable") == 1, 10)
        self.check("and a reload mends it", back, self.status()["tunnel"])


def carrier(address, port):
    """A program that carries connections to the same port on the loopback."""
    script = (
        "import asyncio\n"
        "async def copy(reader, writer):\n"
        "    while piece := await reader.read(65536):\n"
        "        writer.write(piece); await writer.drain()\n"
        "    writer.close()\n"
        "async def carry(reader, writer):\n"
        f"    ends = await asyncio.open_connection('127.0.0.1', {port})\n"
        "    await asyncio.gather(copy(reader, ends[1]), copy(ends[0], writer), return_exceptions=True)\n"
        "async def main():\n"
        f"    await (await asyncio.start_server(carry, '{address}', {port})).serve_forever()\n"
        "asyncio.run(main())\n"
    )
    return [sys.executable, "-c", script]
