"""Two hosts, an internet between them, and WireGuard over it; and the ways in which that breaks.

    near: the suite's own namespace                    home: a namespace of its own
    lo        198.51.100.2, .3  public names
              203.0.113.0/24    clients
    internet  192.0.2.1   ------- veth pair -------    192.0.2.10, later .11, .12 ...
    wg-near   10.77.0.1   ------- WireGuard -------    10.77.0.2  wg-home

As `README.md` has it: home dials out and keeps the path open every 25 s. Near is told the endpoint too, where it
knows it: without, it waits for home to speak first, which after a restart of its WireGuard can take two minutes.
What is not for the tunnel (home's own requests to its peers) goes over the internet. Nothing leaves the machine.
"""

import os
import pathlib
import socket
import subprocess
import time
import urllib.request

from lab import wait_until

NEAR, HOME = "10.77.0.1", "10.77.0.2"
PUBLIC, PEER = "198.51.100.2", "198.51.100.3"
INTERNET = "192.0.2."
PORT = "51820"
# To be dropped where it arrives: a rule at the sender's end is told to the sender.
DROP = """\
table inet cut {
  chain arriving {
    type filter hook input priority 0;
    iifname "internet" drop
  }
}
"""


def client(number):
    """The address of a client: one /24 of them lives on the near host."""
    return f"203.0.113.{number % 250 + 1}"


def ip(*arguments, check=True):
    """Runs ip(8)."""
    return subprocess.run(["ip", *map(str, arguments)], check=check, capture_output=not check, text=True)


class Tunnel:
    """The two hosts; made once for a suite, whose namespaces end it."""

    def __init__(self, lab):
        self.lab, self.outer = lab, 10
        self.inside = ["nsenter", "--net=/run/netns/home", "--"]
        # Nothing of these folders is to be seen outside, nor to stay.
        for folder in ("/run/netns", "/run/wireguard"):
            os.makedirs(folder, exist_ok=True)
            subprocess.run(["mount", "-t", "tmpfs", "none", folder], check=True)
        self._wire()
        self.keys = {side: self._key(side) for side in ("near", "home")}
        self.near = self.far = None
        self._dig_near()
        self._dig_home()
        wait_until(self.carries, 15, "the tunnel carries packets", self.far)

    def _wire(self):
        ip("netns", "add", "home")
        ip("link", "add", "internet", "type", "veth", "peer", "name", "internet", "netns", "home")
        ip("-n", "home", "link", "set", "lo", "up")
        for address in (PUBLIC, PEER):
            ip("address", "add", address + "/32", "dev", "lo")
        ip("route", "add", "local", "203.0.113.0/24", "dev", "lo")
        ip("address", "add", INTERNET + "1/24", "dev", "internet")
        ip("link", "set", "internet", "up")
        ip("-n", "home", "link", "set", "internet", "up")
        self._lease()

    def _lease(self):
        """Home's own address, and its way out."""
        ip("-n", "home", "address", "add", f"{INTERNET}{self.outer}/24", "dev", "internet")
        ip("-n", "home", "route", "replace", "default", "via", INTERNET + "1")

    def _key(self, side):
        secret = subprocess.run(["wg", "genkey"], check=True, capture_output=True, text=True).stdout
        path = self.lab.dir / (side + ".key")
        path.touch(0o600)
        path.write_text(secret)
        public = subprocess.run(["wg", "pubkey"], check=True, capture_output=True, text=True, input=secret).stdout
        return path, public.strip()

    def _dig(self, side, inside, address, other, *more):
        """Starts one end of the tunnel: the process, its keys, its address."""
        name = "wg-" + side
        ears = pathlib.Path(f"/run/wireguard/{name}.sock")
        ears.unlink(missing_ok=True)
        process = self.lab.spawn(
            [*inside, "wireguard-go", "--foreground", name], name + ".out", env=dict(os.environ, LOG_LEVEL="error")
        )
        wait_until(ears.exists, 10, f"wireguard-go of {name} listens", process)
        peer = ["peer", self.keys[other][1], "allowed-ips", (NEAR if other == "near" else HOME) + "/32", *more]
        for command in (
            ["wg", "set", name, "listen-port", PORT, "private-key", self.keys[side][0], *peer],
            ["ip", "address", "add", address + "/24", "dev", name],
            ["ip", "link", "set", name, "mtu", "1420", "up"],
        ):
            subprocess.run([*inside, *map(str, command)], check=True)
        return process

    def _dig_near(self):
        self.near = self._dig("near", [], NEAR, "home", "endpoint", f"{INTERNET}{self.outer}:{PORT}")

    def _dig_home(self):
        dial = ["endpoint", f"{INTERNET}1:{PORT}", "persistent-keepalive", "25"]
        self.far = self._dig("home", self.inside, HOME, "near", *dial)

    # -- what breaks ---------------------------------------------------------------------------

    def cut(self, how):
        """Breaks it: `drop`, `link`, `kill`, `far` (home's end dies) or `move`."""
        if how == "drop":
            for inside in ([], self.inside):
                subprocess.run([*inside, "nft", "-f", "-"], check=True, input=DROP, text=True)
        elif how == "link":
            ip("link", "set", "internet", "down")
        elif how == "kill":
            self.near.kill()
        elif how == "far":
            self.far.kill()
        elif how == "move":
            ip("-n", "home", "address", "delete", f"{INTERNET}{self.outer}/24", "dev", "internet")
            self.outer += 1
            self._lease()

    def heal(self, how):
        """Undoes it; home that has moved stays where it is."""
        if how == "drop":
            for inside in ([], self.inside):
                subprocess.run([*inside, "nft", "delete", "table", "inet", "cut"], check=True)
        elif how == "link":
            ip("link", "set", "internet", "up")
        elif how == "kill":
            self._dig_near()
        elif how == "far":
            self._dig_home()

    # -- what can be seen ----------------------------------------------------------------------

    def carries(self):
        """Whether home answers a ping of TCP through the tunnel: a refusal is an answer."""
        try:
            socket.create_connection((HOME, 9), 0.4).close()
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
        return True

    def at_home(self, url, *arguments):
        """One request by somebody at home, not through the tunnel: the body of the answer."""
        command = [*self.inside, "curl", "-sS", "--fail-with-body", "-m", "20", *arguments, url]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def shown(self):
        """Both ends as wg(8) sees them, in a line each."""
        lines = []
        for side, inside in (("near", []), ("home", self.inside)):
            command = [*inside, "wg", "show", "wg-" + side, "dump"]
            done = subprocess.run(command, capture_output=True, text=True)
            for line in done.stdout.splitlines()[1:]:
                _, _, endpoint, _, shaken, received, sent, keep = line.split("\t")
                age = f"{time.time() - int(shaken):.0f} s" if int(shaken) else "never"
                lines.append(f"{side}: peer at {endpoint}, handshake {age} ago, {received} in, {sent} out, {keep}")
        return "; ".join(lines)


def answers(url):
    """Whether a homeserver behind the tunnel says that it is healthy, on a new connection."""
    try:
        with urllib.request.urlopen(url + "/health", timeout=0.6) as answer:
            return answer.status == 200
    except OSError:
        return False
