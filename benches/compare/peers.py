"""The proxies: their programs, their configurations from the templates beside this file, start and reload.

Every configuration says the same. What a template cannot say, because it depends on the run, is made here.
"""

import dataclasses
import json
import os
import pathlib
import re
import signal
import socket
import ssl
import subprocess
import time

import lab as laboratory

# Connections that others than the held ones need.
SPARE = 500
HERE = pathlib.Path(__file__).resolve().parent


@dataclasses.dataclass(frozen=True)
class Setup:
    """What differs between the runs of one proxy."""

    threads: int = 1
    # Of porchd: `per-thread`, `single` or nothing.
    accept: str = ""
    # More sites than the one that is asked, and more routes on that one.
    sites: int = 0
    routes: int = 0
    # Part of the well-known document, so that a reload shows.
    identity: str = "https://vector.im"
    log: bool = False

    def well_known(self):
        """The document for clients."""
        return {
            "m.homeserver": {"base_url": "https://localhost"},
            "m.identity_server": {"base_url": self.identity},
        }


class Peer:
    """One kind of proxy."""

    name = title = program = package = template = suffix = ""
    asks_version = []

    def __init__(self, program=None):
        self.program = program or self.program

    def version(self):
        """Its version number."""
        done = subprocess.run([self.program, *self.asks_version], capture_output=True, text=True)
        found = re.search(r"(\d+\.\d+(\.\d+)?)", done.stdout + done.stderr)
        return found.group(1) if found else "?"

    def words(self, proxy, setup):
        """Words of its template that only it has."""
        return {}

    def argv(self, conf):
        """How it is started in the foreground."""
        raise NotImplementedError

    def reload(self, proxy):
        """Asks it to take its configuration anew."""
        os.kill(proxy.process.child.pid, signal.SIGHUP)


class Nginx(Peer):
    """nginx, the one that the others are compared with."""

    name, title, program, package = "nginx", "nginx", "nginx", "nginx"
    template, suffix, asks_version = "nginx.conf.tmpl", "conf", ["-v"]

    def words(self, proxy, setup):
        """Its log is buffered, as porchd's is."""
        site = "server {{ listen 127.0.0.1:@PORT@ ssl http2; server_name {}; location / {{ return 204; }} }}"
        return {
            "USER": "root" if os.geteuid() == 0 else "nobody",
            "ACCESS_LOG": f"{proxy.log} combined buffer=64k flush=1s" if setup.log else "off",
            "WELL_KNOWN": json.dumps(setup.well_known()),
            "SITES": "\n".join(site.format(host) for host in hosts(setup)),
            "ROUTES": "\n".join(f"location {path} {{ return 204; }}" for path in paths(setup)),
        }

    def argv(self, conf):
        """One master, one worker for each thread."""
        return [self.program, "-c", conf, "-p", conf.parent]


class Haproxy(Peer):
    """HAProxy, with a master that reloads."""

    name, title, program, package = "haproxy", "HAProxy", "haproxy", "haproxy"
    template, suffix, asks_version = "haproxy.cfg.tmpl", "cfg", ["-v"]

    def words(self, proxy, setup):
        """Its log goes to standard output, in the combined format by hand."""
        line = r'"%ci - - [%trl] %{+Q}r %ST %B %{+Q}[capture.req.hdr(0)] %{+Q}[capture.req.hdr(1)]"'
        combined = ["log global", "option httplog", "log-format " + line]
        return {
            # It wants descriptors for both sides of each at once.
            "CONNECTIONS": most_connections(proxy.lab) // 2,
            "LOG_TARGET": "log stdout format raw local0" if setup.log else "",
            "ACCESS_LOG": "\n".join(combined) if setup.log else "",
            "CAPTURES": "capture request header Referer len 64\ncapture request header User-Agent len 128"
            if setup.log
            else "",
            "WELL_KNOWN": json.dumps(setup.well_known()).replace('"', r"\""),
        }

    def argv(self, conf):
        """Master and worker, in the foreground."""
        return [self.program, "-W", "-f", conf]

    def reload(self, proxy):
        """The master starts a new worker."""
        os.kill(proxy.process.child.pid, signal.SIGUSR2)


class Caddy(Peer):
    """Caddy; its log is JSON, since Debian's has no other for access lines."""

    name, title, program, package = "caddy", "Caddy", "caddy", "caddy"
    template, suffix, asks_version = "Caddyfile.tmpl", "caddyfile", ["version"]

    def words(self, proxy, setup):
        """It has a port for its API, by which it reloads."""
        return {
            "ADMIN_PORT": proxy.admin_port,
            # Where they go is said above all sites: 2.6 takes no site's word for a port of its own.
            "LOG_TARGET": f"log access {{\n\toutput file {proxy.log}\n\tinclude http.log.access\n}}"
            if setup.log
            else "",
            "ACCESS_LOG": "log" if setup.log else "",
            "WELL_KNOWN": json.dumps(setup.well_known()),
        }

    def argv(self, conf):
        """In the foreground."""
        return [self.program, "run", "--config", conf, "--adapter", "caddyfile"]

    def reload(self, proxy):
        """By its own command, which asks the API."""
        address = f"127.0.0.1:{proxy.admin_port}"
        argv = [self.program, "reload", "--config", proxy.conf, "--adapter", "caddyfile", "--address", address]
        proxy.lab.run(argv, "caddy-reload", 30, env=proxy.env)


class Porchd(Peer):
    """porchd."""

    name, title, package = "porchd", "porchd", ""
    template, suffix, asks_version = "edge.yaml.tmpl", "yaml", ["--version"]

    def words(self, proxy, setup):
        """More sites have one route, which answers; more routes are of the same kind."""
        site = "- {{ hosts: [ {} ], routes: [ {{ path: /, respond: {{ status: 204 }} }} ] }}"
        route = "- {{ path: {}, respond: {{ status: 204 }} }}"
        return {
            "ACCEPT": f"accept: {setup.accept}" if setup.accept else "",
            "ACCESS_LOG": f"access: {{ file: {proxy.log} }}" if setup.log else "",
            "CONNECTIONS": f"connections: {most_connections(proxy.lab)}",
            "WELL_KNOWN": json.dumps(setup.well_known()),
            "SITES": "\n".join(site.format(host) for host in hosts(setup)),
            "ROUTES": "\n".join(route.format(path) for path in paths(setup)),
        }

    def argv(self, conf):
        """In the foreground, as always."""
        return [self.program, "run", "-f", conf]


class Proxy:
    """A proxy that runs."""

    def __init__(self, lab, peer, setup=Setup(), cpus=None):
        self.lab, self.peer, self.setup = lab, peer, setup
        self.port, self.admin_port = lab.port(), lab.port()
        self.label = f"{peer.name}-{self.port}"
        self.log = lab.dir / f"{self.label}.access"
        self.conf = lab.dir / f"{self.label}.{peer.suffix}"
        self.configure(setup)
        self.env = {
            "GOMAXPROCS": str(setup.threads),
            "HOME": str(lab.dir),
            "XDG_DATA_HOME": str(lab.dir),
            "XDG_CONFIG_HOME": str(lab.dir),
        }
        begun = time.perf_counter()
        self.process = lab.spawn(peer.argv(self.conf), self.label, cpus=cpus or lab.proxy_cpu, env=self.env)
        try:
            # Seconds until it took a connection, and until it answered over it.
            self.listens, self.answers = self._first_answer(begun)
        except laboratory.Failed:
            self.stop()
            raise

    def configure(self, setup):
        """Writes its configuration."""
        self.setup = setup
        words = {
            "PORT": self.port,
            "THREADS": setup.threads,
            "DIR": self.lab.dir,
            "CERT": self.lab.cert,
            "KEY": self.lab.key,
            "CERT_AND_KEY": self.lab.cert_and_key,
            "BACKEND": f"127.0.0.1:{self.lab.origin_port}",
            "STATIC_DIR": self.lab.static,
            "DESCRIPTORS": self.lab.descriptors,
            "CONNECTIONS": most_connections(self.lab),
        }
        words |= self.peer.words(self, setup)
        self.conf.write_text(filled((HERE / self.peer.template).read_text(), words))

    def reload(self, setup):
        """Writes another configuration and asks for it."""
        self.configure(setup)
        self.peer.reload(self)

    def stop(self):
        """Ends it."""
        self.lab.end(self.process)

    def _first_answer(self, begun, patience=15):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        listens = None
        while time.perf_counter() < begun + patience and self.process.child.poll() is None:
            try:
                with socket.create_connection(("127.0.0.1", self.port), patience) as plain:
                    listens = listens or time.perf_counter() - begun
                    with context.wrap_socket(plain, server_hostname="localhost") as tls:
                        request = f"GET {laboratory.WELL_KNOWN} HTTP/1.1\r\nHost: localhost\r\n\r\n"
                        tls.sendall(request.encode())
                        if tls.recv(4096).startswith(b"HTTP/1.1 200"):
                            return listens, time.perf_counter() - begun
            except OSError:
                pass
            time.sleep(0.0005)
        raise laboratory.Failed(f"{self.peer.title} does not start: {self.process.tail()}")


def most_connections(lab):
    """What a proxy may be told to take: it needs descriptors for the other side too, if not for each."""
    return min(16000, lab.descriptors * 4 // 5)


def hosts(setup):
    """Hosts of sites that nobody asks for."""
    return [f"s{number:04}.sites.test" for number in range(setup.sites)]


def paths(setup):
    """Paths of routes that nobody asks for, before and behind `/_matrix/` in any order."""
    return [f"/{'az'[number % 2]}{number:04}/" for number in range(setup.routes)]


def filled(template, words):
    """A template with its words replaced; a line `#@WORD@` becomes lines of its own indentation."""
    lines = []
    for line in template.splitlines():
        whole = re.fullmatch(r"(\s*)#@([A-Z_]+)@", line)
        if whole and words.get(whole[2]):
            lines += [whole[1] + each for each in str(words[whole[2]]).splitlines()]
        else:
            lines.append(line)
    text = "\n".join(lines) + "\n"
    text = re.sub(r"(?<!#)@([A-Z_]+)@", lambda word: str(words.get(word[1], word[0])), text)
    if left := re.findall(r"(?<!#)@[A-Z_]+@", text):
        raise SystemExit(f"nothing to put for {', '.join(left)}")
    return text


def nginx_and_porchd(chosen):
    """porchd, and nginx beside it, for what would be too much of all."""
    return [peer for peer in chosen if peer.name in ("nginx", "porchd")]


PEERS = {peer.name: peer for peer in (Nginx, Haproxy, Caddy, Porchd)}
