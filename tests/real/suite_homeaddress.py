"""Home moves, and a nameserver lies about it; nft, wireguard-go and porchd are real.

The nameserver is a stand-in on 127.0.0.1: it answers nothing, private addresses, NXDOMAIN, SERVFAIL, with foreign
numbers, cut short so that TCP is needed, two answers in turn; and at last the truth. After each lie the nft set must
hold what it held, and at every time the element that is not porchd's. In a set that merges neighbours, too. Of two tunnels the one that is alive keeps its
endpoint; the other, that was never heard of, is dialled where home is.
"""

import os
import pathlib
import re
import socket
import struct
import subprocess
import threading
import time

from lab import eventually, wait_until
from porch import Daemon
from tunnel import PORT, Tunnel

LIMIT = 120
NAME, PLACE = "myhomeip.a.test", ("127.0.0.1", 24053)
FOREIGN = "9.9.9.9"
RULES = f"""\
table inet filter {{
  set homeip {{ type ipv4_addr; elements = {{ {FOREIGN} }}; }}
  set homeip6 {{ type ipv6_addr; }}
}}
"""
CONFIG = """\
listeners: {{ http: {{ bind: [ "127.0.0.1:24080" ] }} }}
sites: [ {{ hosts: [ a.test ], listeners: [ http ], routes: [ {{ path: /, respond: {{ status: 204 }} }} ] }} ]
state_dir: {dir}/state
log: {{ level: debug }}
admin: {{ socket: {dir}/sock, metrics: "127.0.0.1:24090" }}
"""
LINK = """\
home_link:
  address:
    name: {name}
    nameserver: 127.0.0.1:24053
    every: 1s
    update:
      - {{ nft_set: "inet filter {set}"{owned} }}
      - {{ nft_set: "inet filter homeip6" }}
      - {{ file: {file} }}
      - {{ wireguard_endpoint: {{ interface: wg-near, peer: "{alive}", port: 51820 }} }}
      - {{ wireguard_endpoint: {{ interface: wg-old, peer: "{silent}", port: 51820 }} }}
"""
CODES = {"servfail": 2, "nxdomain": 3, "refused": 5}


class Nameserver:
    """Says of one name what it is told to say."""

    def __init__(self):
        self.a, self.aaaa, self.mode = ["5.9.1.1"], [], "truth"
        self.asked, self.over_tcp = 0, 0
        self.datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.datagrams.bind(PLACE)
        self.streams = socket.create_server(PLACE)
        for work in (self.over_datagrams, self.over_streams):
            threading.Thread(target=work, daemon=True).start()

    def over_datagrams(self):
        while True:
            question, client = self.datagrams.recvfrom(600)
            for answer in self.answers(question):
                self.datagrams.sendto(answer, client)

    def over_streams(self):
        while True:
            client, _ = self.streams.accept()
            with client:
                length = struct.unpack(">H", client.recv(2))[0]
                answer = self.answer(client.recv(length), self.a, self.aaaa)
                client.sendall(struct.pack(">H", len(answer)) + answer)
                self.over_tcp += 1

    def answers(self, question):
        """The datagrams that answer a question, in the mode of now."""
        mode, a, aaaa = self.mode, self.a, self.aaaa
        if question[-4:-2] == b"\0\1":
            self.asked += 1
        if mode == "empty":
            return [self.answer(question, [], [])]
        if mode == "private":
            return [self.answer(question, ["192.168.1.7"], [])]
        if mode == "bogus":
            return [self.answer(question, ["127.0.0.1", "0.0.0.0", "203.0.113.7"], [])]
        if mode in CODES:
            return [self.answer(question, [], [], flags=0x8400 | CODES[mode])]
        if mode == "spoofed":
            foreign = self.answer(question, ["5.9.9.9"], [])
            other = self.answer(question.replace(b"myhomeip", b"yourhome"), ["5.9.9.9"], [])
            number = struct.pack(">H", struct.unpack(">H", question[:2])[0] ^ 1)
            return [number + foreign[2:], other, self.answer(question, a, aaaa)]
        if mode == "turn":
            return [self.answer(question, [f"5.9.2.{self.asked % 3 + 1}"], [])]
        if mode == "cut":
            return [self.answer(question, [], [], flags=0x8600)]
        return [self.answer(question, a, aaaa)]

    def answer(self, question, a, aaaa, flags=0x8400):
        kind = struct.unpack(">H", question[-4:-2])[0]
        all_of = [(socket.AF_INET, one) for one in a] if kind == 1 else [(socket.AF_INET6, one) for one in aaaa]
        records = b""
        for family, one in all_of:
            data = socket.inet_pton(family, one)
            records += struct.pack(">HHHIH", 0xC00C, kind, 1, 60, len(data)) + data
        return question[:2] + struct.pack(">HHHHH", flags, 1, len(all_of), 0, 0) + question[12:] + records

    def hears(self, questions, seconds=12):
        """Waits for so many more questions."""
        wanted = self.asked + questions
        return eventually(lambda: self.asked >= wanted, seconds)


def elements(name):
    """What a set holds."""
    command = ["nft", "list", "set", "inet", "filter", name]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = re.search(r"elements = \{([^}]*)\}", text)
    return sorted(one.strip() for one in found.group(1).split(",")) if found else []


def endpoint(interface):
    """Where the one peer of an interface is dialled."""
    command = ["wg", "show", interface, "endpoints"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1]


class Stage:
    """Two tunnels, two sets, a file, and porchd."""

    def __init__(self, lab):
        self.lab, self.check = lab, lab.check
        lab.names({"a.test": ["127.0.0.2"]})
        subprocess.run(["nft", "-f", "-"], check=True, input=RULES, text=True)
        self.tunnel = Tunnel(lab)
        self.nameserver = Nameserver()
        self.file = lab.dir / "homeip"
        self.silent = self.old_tunnel()
        self.watch = lab.spawn(["nft", "monitor", "elements"], "monitor.out")
        self.porch = Daemon(lab, "near")
        self.write()

    def old_tunnel(self):
        """A tunnel whose other end was never heard of; its key."""
        self.lab.spawn(["wireguard-go", "--foreground", "wg-old"], "wg-old.out")
        wait_until(pathlib.Path("/run/wireguard/wg-old.sock").exists, 10, "wireguard-go of wg-old listens")
        secret = self.lab.dir / "old.key"
        other = ""
        for path in (secret, None):
            made = subprocess.run(["wg", "genkey"], check=True, capture_output=True, text=True).stdout
            if path:
                path.write_text(made)
            other = subprocess.run(["wg", "pubkey"], check=True, capture_output=True, text=True, input=made).stdout
        other = other.strip()
        peer = ["peer", other, "allowed-ips", "10.78.0.2/32", "endpoint", f"192.0.2.99:{PORT}"]
        subprocess.run(["wg", "set", "wg-old", "private-key", str(secret), *peer], check=True)
        return other

    def write(self, link=True, owned=False, set="homeip"):
        facts = dict(set=set, name=NAME, file=self.file, owned=", owned: true" if owned else "", silent=self.silent)
        facts["alive"] = self.tunnel.keys["home"][1]
        text = CONFIG.format(dir=self.porch.dir) + (LINK.format(**facts) if link else "")
        self.porch.file.write_text(text)

    def holds(self, what, wanted, seconds=8, set="homeip"):
        """Whether the set of IPv4 comes to hold `wanted` and the foreign element."""
        wanted = sorted([*wanted, FOREIGN])
        eventually(lambda: elements(set) == wanted, seconds)
        return self.check(what, elements(set) == wanted, elements(set))

    def said(self, text):
        """How often porchd's log has a line with this."""
        return sum(text in line for line in self.porch.said().splitlines())

    def warnings(self):
        """How many there were of each record."""
        lines = [line for line in self.porch.said().splitlines() if " WARN " in line]
        both = sum(", A and AAAA: " in line for line in lines)
        return [both + sum(record in line for line in lines) for record in (", A: ", ", AAAA: ")]

    def lie(self, mode, fault):
        """One lie, told for three questions: nothing changes, and it is told once."""
        before = self.warnings()
        self.nameserver.mode = mode
        heard = self.nameserver.hears(4)
        told = [now - then for now, then in zip(self.warnings(), before)]
        same = elements("homeip") == sorted(["5.9.1.1", FOREIGN]) and self.file.read_text() == "5.9.1.1\n"
        self.check(f"{mode}: nothing changes", heard and same, elements("homeip"))
        if fault:
            again = self.said("it is answered again")
            self.nameserver.mode = "truth"
            back = eventually(lambda: self.said("it is answered again") > again, 8)
            self.check(f"{mode}: told once for a record, and when it is over", told in ([1, 0], [1, 1]) and back, told)
        else:
            self.check(f"{mode}: nothing is told", told == [0, 0], told)
        self.nameserver.mode = "truth"
        self.nameserver.hears(1)


def run(lab):
    stage = Stage(lab)
    nameserver = stage.nameserver
    checked = stage.porch.run("check", "-f", stage.porch.file)
    lab.check("check asks the nameserver and finds nothing odd", checked.returncode == 0 and not checked.stderr, checked.stderr)
    nameserver.mode = "servfail"
    checked = stage.porch.run("check", "-f", stage.porch.file)
    told = "SERVFAIL" in checked.stderr and checked.returncode == 0
    lab.check("check warns of a nameserver with a fault", told, checked.stderr)
    nameserver.mode = "truth"
    stage.porch.start()
    stage.holds("home is in the set once it is known", ["5.9.1.1"])
    lab.check("and in the file", eventually(lambda: stage.file.exists() and stage.file.read_text() == "5.9.1.1\n", 5))
    lies(stage)
    moves(stage)
    both_families(stage)
    restarts(stage)
    reloads(stage)
    merges(stage)
    show(stage)


def lies(stage):
    for mode, fault in (
        ("empty", True),
        ("private", True),
        ("bogus", True),
        ("nxdomain", True),
        ("servfail", True),
        ("refused", True),
        ("spoofed", False),
        ("turn", True),
    ):
        stage.lie(mode, fault)


def moves(stage):
    """The answer is cut short: over TCP it is another."""
    lab, nameserver = stage.lab, stage.nameserver
    nameserver.mode, nameserver.a = "cut", ["5.9.1.2"]
    stage.holds("home moves, as TCP says", ["5.9.1.2"])
    lab.check("TCP was asked", nameserver.over_tcp >= 2, nameserver.over_tcp)
    nameserver.mode = "truth"
    lab.check("the file follows", eventually(lambda: stage.file.read_text() == "5.9.1.2\n", 5))
    wanted = f"5.9.1.2:{PORT}"
    eventually(lambda: endpoint("wg-old") == wanted, 5)
    lab.check("the silent tunnel is dialled there", endpoint("wg-old") == wanted, endpoint("wg-old"))
    alive = f"192.0.2.10:{PORT}"
    lab.check("the tunnel that is alive keeps its endpoint", endpoint("wg-near") == alive, stage.tunnel.shown())
    changes = [line for line in stage.watch.log.read_text().splitlines() if "homeip " in line or "homeip\t" in line]
    order = [line for line in changes if "5.9.1.2" in line or "delete" in line]
    first = order and order[0].startswith(("add", "create")) and any("delete" in line and "5.9.1.1" in line for line in order)
    lab.check("the new address was added before the old one went", first, "; ".join(order))
    status = stage.porch.run("status", "-f", stage.porch.file).stdout
    lab.check("status says where home is", "home is at 5.9.1.2 since" in status, status)
    eventually(lambda: "moved" in stage.porch.run("incidents", "-f", stage.porch.file).stdout, 5)
    told = stage.porch.run("incidents", "-f", stage.porch.file).stdout
    lab.check("incidents remember it", "home moved from 5.9.1.1 to 5.9.1.2" in told, told)


def both_families(stage):
    lab, nameserver = stage.lab, stage.nameserver
    nameserver.aaaa = ["2a01:4f8::2"]
    eventually(lambda: elements("homeip6") == ["2a01:4f8::2"], 8)
    lab.check("an IPv6 address goes into the set for it", elements("homeip6") == ["2a01:4f8::2"], elements("homeip6"))
    stage.holds("and not into the other", ["5.9.1.2"], 1)
    nameserver.hears(3)
    lab.check("that it does not fit is told once", stage.said("it holds ipv4_addr") == 1)
    lab.check("of the other set, too, whatever the address", stage.said("it holds ipv6_addr") == 1)


def restarts(stage):
    lab, nameserver = stage.lab, stage.nameserver
    stage.porch.process.stop()
    stage.holds("a stop takes nothing out", ["5.9.1.2"], 1)
    nameserver.a = ["5.9.1.3"]
    stage.porch.start()
    stage.holds("after a restart the old address is taken out", ["5.9.1.3"])
    stage.porch.kill()
    nameserver.a = ["5.9.1.4"]
    stage.porch.start()
    stage.holds("after a crash, too", ["5.9.1.4"])
    path = stage.porch.dir / "state" / "home.json"
    stage.porch.process.stop()
    path.write_text("{ broken")
    stage.porch.start()
    broken = path.with_name("home.json.broken")
    lab.check("a broken memory is told and set aside", stage.said("home.json.broken") == 1 and broken.exists())
    stage.holds("and what it put there before stays", ["5.9.1.4"])


def reloads(stage):
    lab, nameserver = stage.lab, stage.nameserver
    stage.write(owned=True)
    stage.porch.reload()
    eventually(lambda: elements("homeip") == ["5.9.1.4"], 8)
    lab.check("a set that porchd owns holds home alone", elements("homeip") == ["5.9.1.4"], elements("homeip"))
    stage.write(link=False)
    stage.porch.reload()
    asked = nameserver.asked
    time.sleep(3)
    lab.check("without the section nobody is asked", nameserver.asked <= asked + 1, nameserver.asked - asked)
    lab.check("and what is in the set stays", elements("homeip") == ["5.9.1.4"], elements("homeip"))


def merges(stage):
    """A set with `auto-merge`: nothing in it says whose an address is that is there already."""
    nameserver, network = stage.nameserver, "5.9.2.0/24"

    def nft(line):
        subprocess.run(["nft", line], check=True)

    def holds(what, *wanted):
        stage.holds(f"merging: {what}", [*wanted, network], set="merging")

    nft(f"add set inet filter merging {{ type ipv4_addr; flags interval; auto-merge; elements = {{ {FOREIGN}, {network} }}; }}")
    nameserver.a = ["5.9.1.7"]
    stage.write(set="merging")
    stage.porch.reload()
    holds("home is put there", "5.9.1.7")
    nameserver.a = ["5.9.1.8"]
    holds("of two neighbours the old one goes", "5.9.1.8")
    nameserver.a = ["5.9.2.1"]
    holds("of what a network has already nothing is added")
    nameserver.a = ["5.9.4.1"]
    holds("and nothing is taken out of it", "5.9.4.1")
    nameserver.a = [FOREIGN]
    holds("home is where somebody else put it")
    nameserver.a = ["5.9.4.1"]
    holds("whose it stays", "5.9.4.1")
    nft("add element inet filter merging { 5.9.4.0/24 }")
    nameserver.a = ["5.9.1.7"]
    holds("a network that came later stays", "5.9.1.7", "5.9.4.0/24")
    told = eventually(lambda: stage.said("5.9.4.1 is part of 5.9.4.0-5.9.4.255 there"), 5)
    stage.check("merging: and what stays in it is told", told == 1, told)


def show(stage):
    """The log of the moves, for people."""
    words = ("home", "nft set", "wireguard", "file ", "answered again")
    lines = [line for line in stage.porch.said().splitlines() if any(word in line for word in words)]
    lines = [line for line in lines if " INFO " in line or " WARN " in line or "info" in line or "warn" in line]
    folder = stage.lab.dir / "shown"
    os.makedirs(folder, exist_ok=True)
    incidents = stage.porch.run("incidents", "-f", stage.porch.file).stdout
    (folder / "moves.txt").write_text("\n".join(lines) + "\n\n$ porchd incidents\n" + incidents)
