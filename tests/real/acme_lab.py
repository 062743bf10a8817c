"""CAs and porches for the ACME suites: pebble, its fronts, names that come and go, porches that order.

pebble validates on ports 80 and 443 of whatever address a name leads to, so every porch has an address of
its own on the loopback, and everything below LABEL.test leads to the porch LABEL.
"""

import hashlib
import http.client
import itertools
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import traceback
import types

from acme_proxy import Front, Fronts
from lab import HERE, eventually, wait_until
from porch import Daemon

BACKEND = "127.0.0.1:8008"
CA_NAME = "ca.test"
# Names that lead nowhere: nothing listens at these addresses until a `Relay` does.
LOST = {"lost-one.test": "127.0.2.1", "lost-two.test": "127.0.2.2"}
# Names without any address until `AcmeLab.give` says otherwise.
LATE = "late.test"
# A label whose name has an AAAA record too, at which nothing listens.
SIX = "six"
EXTERNAL_KEY_ID = "key-of-the-shop"
EXTERNAL_KEY = "c29tZSBieXRlcyB0aGF0IGEgY3VzdG9tZXIgYW5kIHRoZSBDQSBzaGFyZQ"
SIX_DAYS = 6 * 86400


class Pebble:
    """One pebble; its management interface is one port above."""

    def __init__(self, lab, port, pair, external=False, validity=None, nonce_reject=5, reuse=0):
        self.lab, self.port = lab, port
        self.context = ssl.create_default_context(cafile=str(lab.ca))
        settings = {
            "listenAddress": f"127.0.0.1:{port}",
            "managementListenAddress": f"127.0.0.1:{port + 1}",
            "certificate": str(pair[0]),
            "privateKey": str(pair[1]),
            "httpPort": 80,
            "tlsPort": 443,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": external,
        }
        if external:
            settings["externalAccountMACKeys"] = {EXTERNAL_KEY_ID: EXTERNAL_KEY}
        if validity:
            settings["certificateValidityPeriod"] = validity
        file = lab.dir / f"pebble-{port}.json"
        file.write_text(json.dumps({"pebble": settings}, indent=1))
        env = dict(
            os.environ,
            PEBBLE_VA_NOSLEEP="1",
            PEBBLE_WFE_NONCEREJECT=str(nonce_reject),
            PEBBLE_AUTHZREUSE=str(reuse),
        )
        argv = ["pebble", "-config", file, "-dnsserver", "127.0.0.1:53"]
        self.process = lab.spawn(argv, f"pebble-{port}.out", env=env)
        self.root = lab.dir / f"pebble-{port}-root.pem"
        self.root.write_bytes(wait_until(lambda: self.manage("/roots/0"), 20, "pebble is up", self.process))

    def manage(self, path):
        """What its management interface says; empty while it says nothing."""
        connection = http.client.HTTPSConnection(CA_NAME, self.port + 1, context=self.context, timeout=5)
        try:
            connection.request("GET", path)
            return connection.getresponse().read()
        except OSError:
            return b""
        finally:
            connection.close()

    def status(self, serial):
        """Valid or Revoked."""
        return json.loads(self.manage(f"/cert-status-by-serial/{serial.lower()}") or b"{}").get("Status")


class AcmeLab:
    """Names, pebble, and a home for all porches of a suite."""

    def __init__(self, lab, labels):
        self.lab, self.fronts, self.ports = lab, Fronts(), itertools.count(14101)
        self.addresses = {label: f"127.0.1.{number}" for number, label in enumerate(labels, 1)}
        # Without an address beside 127.0.0.1, h2load's AI_ADDRCONFIG finds none of IPv4 at all.
        subprocess.run(["ip", "address", "add", "127.0.1.254/8", "dev", "lo"], check=True)
        self.hosts = lab.dir / "hosts-of-the-resolver"
        self.hosts.write_text("")
        zones = {CA_NAME: ["127.0.0.1"]}
        zones |= {label + ".test": [address] for label, address in self.addresses.items()}
        zones |= {name: [address] for name, address in LOST.items()} | {LATE: []}
        if lab.ipv6 and SIX in labels:
            zones[SIX + ".test"].append("fd00::66")
        self.resolver = lab.names(zones, self.hosts)
        self.pair = lab.certificate(CA_NAME)
        self.pebble = self.authority(14000)
        home = lab.spawn([sys.executable, HERE / "stand_in.py", BACKEND.split(":")[1]], "home.out")
        wait_until(lambda: "ready" in home.tail(), 10, "home listens", home)

    def authority(self, port, **settings):
        """A pebble of its own."""
        return Pebble(self.lab, port, self.pair, **settings)

    def front(self, *faults, pebble=None):
        """A front of its own, with its first faults."""
        upstream = (pebble or self.pebble).port
        front = Front(self.fronts, CA_NAME, next(self.ports), upstream, self.lab.ca, self.pair)
        front.trouble(*faults)
        return front

    def porch(self, label, front, *names, root=None, **settings):
        """A porch at the address of `label`, not started; its site's hosts are `names`, or LABEL.test alone."""
        return AcmePorch(self, label, front, names or [label + ".test"], root or self.pebble.root, **settings)

    def give(self, name, address):
        """Gives an address to a name below LATE."""
        self.hosts.write_text(self.hosts.read_text() + f"{address} {name}\n")
        self.resolver.signal(signal.SIGHUP)

    def beside(self, act):
        """Runs a scenario beside the rest; one that breaks is one failed check. To be joined."""

        def guarded():
            try:
                act(self)
            except BaseException as error:
                if not isinstance(error, SystemExit):
                    traceback.print_exc()
                self.lab.check(f"{act.__name__} ran to its end", False, f"{type(error).__name__}: {error}")

        thread = threading.Thread(target=guarded)
        thread.start()
        return thread

    def together(self, *acts):
        """Runs scenarios side by side, and waits for them."""
        for thread in [self.beside(act) for act in acts]:
            thread.join()

    def close(self):
        """Tells all porches to stop, and looks for panics in what they said."""
        porches = [porch for porch in self.lab.porches if porch.process]
        for porch in porches:
            if porch.process.alive():
                porch.process.signal(signal.SIGTERM)
        panics = [porch.name for porch in porches if "panicked" in porch.said()]
        self.lab.check("no panic in any porchd's log", not panics, panics)

    def show(self, name, text):
        """Keeps a text for people beside the results."""
        folder = self.lab.dir / "shown"
        folder.mkdir(exist_ok=True)
        (folder / name).write_text(text)


class AcmePorch(Daemon):
    """One porchd whose certificates come from a front."""

    def __init__(self, acme, label, front, names, root, acme_keys=(), sites=(), more="", state=None, socket=None):
        """`acme_keys`: lines below `acme:`; `sites`: hosts of more sites; `more`: text at the file's end."""
        super().__init__(acme.lab, label)
        self.acme, self.front, self.address = acme, front, acme.addresses[label]
        self.state = state or self.dir / "state"
        self.socket = socket or self.dir / "porchd.sock"
        self.trusting = trusting(root)
        # Lines of `talk` take their context from a lab.
        self.strict = types.SimpleNamespace(tls=self.trusting, dir=self.dir, ca=root)
        self.lax = types.SimpleNamespace(tls=careless(), dir=self.dir)
        self.kept = dict(names=names, acme_keys=acme_keys, sites=sites, more=more)
        self.begun = None
        self.write()

    def write(self, **settings):
        """Writes the configuration; what is given stays for the next time."""
        self.kept.update(settings)
        facts = {
            "BIND": self.address,
            "HTTP": 80,
            "HTTPS": 443,
            "FED": 8448,
            "NAMES": flow(self.kept["names"]),
            "BACKEND": BACKEND,
            "DIRECTORY": self.front.directory,
            "CA_FILE": self.lab.ca,
            "STATE_DIR": self.state,
        }
        text = (HERE / "acme.yaml.tmpl").read_text()
        for word, value in facts.items():
            text = text.replace(f"@{word}@", str(value))
        # A state folder that takes nothing is no place for the socket.
        text = re.sub(r"socket: .* }", f'socket: "{self.socket}" }}', text)
        text = text.replace("acme:\n", "".join(["acme:\n", *(f"  {line}\n" for line in self.kept["acme_keys"])]))
        for hosts in self.kept["sites"]:
            text += f"  - hosts: [ {flow(hosts)} ]\n    listeners: [ https, http ]\n"
            text += "    routes: [ { path: /, forward: home } ]\n"
        self.file.write_text(text + self.kept["more"])
        return self

    def start(self, *wrapper):
        """Starts it, and remembers when."""
        self.begun = time.monotonic()
        return super().start(*wrapper)

    def kill(self):
        """SIGKILL; what it had said to its manager is forgotten."""
        super().kill()
        self.forget()

    def again(self, *wrapper):
        """Kills it and starts it again."""
        self.kill()
        return self.start(*wrapper)

    # -- asking it -------------------------------------------------------------------------------

    def command(self, *words, limit=60):
        """One of porchd's commands for the running daemon: (exit code, all that it printed)."""
        done = self.run(*words, "-f", self.file, limit=limit)
        return done.returncode, done.stdout + done.stderr

    def certs(self):
        """All that `porchd certs --json` tells, by name."""
        done = self.run("certs", "--json", "-f", self.file)
        return {one["name"]: one for one in listed(done.stdout)} if done.returncode == 0 else {}

    def told(self, name=None):
        """One certificate's state; an empty object while there is none of that name."""
        return self.certs().get(name or self.kept["names"][0], {})

    def show(self, title):
        """Keeps what `porchd certs` prints, for people and as JSON."""
        for ending, words in (("txt", ()), ("json", ("--json",))):
            self.acme.show(f"{title}.{ending}", self.command("certs", *words)[1])

    def renew(self, *names, wait=True, limit=60):
        """`porchd certs renew`: (exit code, what it printed)."""
        return self.command("certs", "renew", *(names or ["--all"]), *(["--wait"] if wait else []), limit=limit)

    # -- what it serves --------------------------------------------------------------------------

    def valid(self, name=None, port=443):
        """The certificate that a careful client accepts for `name`; None while there is none."""
        name = name or self.kept["names"][0]
        try:
            with socket.create_connection((self.address, port), 5) as line:
                with self.trusting.wrap_socket(line, server_hostname=name) as tls:
                    return Certificate(tls.getpeercert(True), tls.getpeercert())
        except OSError:
            return None

    def shown(self, name=None, port=443):
        """The certificate that is shown to a client who checks nothing; None without a handshake."""
        name = name or self.kept["names"][0]
        try:
            with socket.create_connection((self.address, port), 5) as line:
                with careless().wrap_socket(line, server_hostname=name) as tls:
                    return Certificate(tls.getpeercert(True))
        except OSError:
            return None

    def seconds(self, limit, name=None, since=None):
        """Seconds from its start (or `since`) to the first certificate that a careful client accepts, or None."""
        since = self.begun if since is None else since
        got = eventually(lambda: self.valid(name), max(0, since + limit - time.monotonic()))
        return time.monotonic() - since if got else None


class Disk:
    """A file system of 256 KiB that can be filled, and made read-only."""

    def __init__(self, lab, name):
        self.path = lab.dir / name
        self.path.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k,mode=755", name, str(self.path)], check=True)
        self.state, self.ballast = self.path / "state", self.path / "ballast"
        self.state.mkdir(0o700)
        # As a package makes it: on a disk that takes no writes it can't be given to anybody.
        shutil.chown(self.state, "_porchd", "_porchd")

    def fill(self):
        """No byte is free any more."""
        with open(self.ballast, "ab", buffering=0) as out:
            for size in (4096, 1):
                try:
                    while out.write(b"x" * size):
                        pass
                except OSError:
                    continue

    def free(self):
        """There is room again."""
        self.ballast.unlink()

    def shut(self, name):
        """One folder of the state takes no writes."""
        folder = self.state / name
        folder.mkdir(mode=0o700, exist_ok=True)
        shutil.chown(folder, "_porchd", "_porchd")
        subprocess.run(["mount", "--bind", str(folder), str(folder)], check=True)
        subprocess.run(["mount", "-o", "remount,bind,ro", str(folder)], check=True)

    def open(self, name):
        """It takes them again."""
        subprocess.run(["umount", str(self.state / name)], check=True)

    def read_only(self, yes):
        """Takes no writes, or takes them again."""
        subprocess.run(["mount", "-o", "remount," + ("ro" if yes else "rw"), str(self.path)], check=True)


class Certificate:
    """What a handshake showed."""

    def __init__(self, der, facts=None):
        self.der, self.facts = der, facts or {}
        self.print = hashlib.sha256(der).hexdigest()[:16]

    @property
    def names(self):
        """The names that it is good for, in order."""
        return sorted(value for _, value in self.facts.get("subjectAltName", ()))

    @property
    def serial(self):
        """In hexadecimal."""
        return self.facts.get("serialNumber", "")

    def text(self):
        """As openssl prints it."""
        done = subprocess.run(
            ["openssl", "x509", "-inform", "DER", "-noout", "-text"], input=self.der, capture_output=True
        )
        return done.stdout.decode(errors="replace")

    def public_key(self):
        """Its public key, PEM."""
        done = subprocess.run(
            ["openssl", "x509", "-inform", "DER", "-noout", "-pubkey"], input=self.der, capture_output=True
        )
        return done.stdout

    def self_signed(self):
        """Whether it names itself as its issuer."""
        text = self.text()
        issuer, subject = (re.search(rf"{word}: ?(.*)", text) for word in ("Issuer", "Subject"))
        return bool(issuer and subject and issuer.group(1).strip() == subject.group(1).strip())


class Relay:
    """Passes what comes to `address` on ports 80 and 443 on to another address: a way that was mended."""

    def __init__(self, address, to):
        self.to, self.doors = to, []
        for port in (80, 443):
            door = socket.create_server((address, port), backlog=64)
            self.doors.append(door)
            threading.Thread(target=self._accept, args=(door, port), daemon=True).start()

    def _accept(self, door, port):
        while True:
            try:
                line, _ = door.accept()
                there = socket.create_connection((self.to, port), 5)
            except OSError:
                return
            for one, other in ((line, there), (there, line)):
                threading.Thread(target=self._pass, args=(one, other), daemon=True).start()

    def _pass(self, one, other):
        try:
            while block := one.recv(65536):
                other.sendall(block)
            other.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def close(self):
        """Nothing leads there any more."""
        for door in self.doors:
            door.close()


def trusting(root):
    """A careful client."""
    return ssl.create_default_context(cafile=str(root))


def careless():
    """A client that takes any certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def flow(hosts):
    """Hosts as they stand between the brackets of a YAML list; what YAML would misread is quoted."""
    return ", ".join(host if re.fullmatch(r"[a-z][a-z0-9.-]*", host) else json.dumps(host) for host in hosts)


def listed(text):
    """The certificates in what `porchd certs --json` prints."""
    try:
        told = json.loads(text)
    except ValueError:
        return []
    if isinstance(told, dict):
        told = next((value for value in told.values() if isinstance(value, list)), [])
    return [one for one in told if isinstance(one, dict) and "name" in one]


def one_line(text):
    """A text for a result's detail."""
    return " / ".join(line.strip() for line in str(text).splitlines() if line.strip())


def in_seconds(value):
    """A number of seconds for people."""
    return "never" if value is None else f"{value:.1f} s"
