"""Speaking HTTP to an edge the way clients do: one request, a kept connection, curl for HTTP/2, a Matrix user.

Targets go out exactly as written; nothing here encodes, retries or follows a redirect.
"""

import http.client
import json
import pathlib
import subprocess
import threading
import time
import urllib.parse


def quote(text):
    """One path segment."""
    return urllib.parse.quote(text, safe="")


class Reply:
    """A whole answer."""

    def __init__(self, status, headers, body, seconds):
        self.status = status
        self.headers = {name.lower(): value for name, value in headers}
        self.body = body
        self.seconds = seconds

    def json(self):
        """The body as JSON; an empty object when it is none."""
        try:
            return json.loads(self.body)
        except ValueError:
            return {}

    @property
    def errcode(self):
        """The Matrix error code, if there is one."""
        found = self.json()
        return found.get("errcode") if isinstance(found, dict) else None

    @property
    def cors(self):
        """Whether a script of any origin may read it."""
        return self.headers.get("access-control-allow-origin") == "*"

    @property
    def from_synapse(self):
        """Whether Synapse itself answered."""
        return self.headers.get("server", "").startswith("Synapse")

    def __str__(self):
        return f"{self.status} {self.seconds:.2f}s {self.body[:160]!r}"


class Line:
    """One connection, kept between requests."""

    def __init__(self, lab, host, port=443, timeout=60, source=None, plain=False):
        local = (source, 0) if source else None
        if plain:
            self.connection = http.client.HTTPConnection(host, port, timeout=timeout, source_address=local)
        else:
            self.connection = http.client.HTTPSConnection(
                host, port, timeout=timeout, source_address=local, context=lab.tls
            )

    def ask(self, method, target, body=None, headers=None):
        """One request; JSON bodies may be given as objects."""
        headers = dict(headers or {})
        if body is not None and not isinstance(body, (bytes, bytearray)) and not hasattr(body, "read"):
            body = json.dumps(body).encode()
            headers.setdefault("Content-Type", "application/json")
        begun = time.monotonic()
        self.connection.putrequest(method, target, skip_host="Host" in headers, skip_accept_encoding=True)
        if body is None and method in ("POST", "PUT"):
            body = b""
        if body is not None:
            size = body.seek(0, 2) if hasattr(body, "read") else len(body)
            if hasattr(body, "read"):
                body.seek(0)
            headers.setdefault("Content-Length", str(size))
        for name, value in headers.items():
            self.connection.putheader(name, value)
        self.connection.endheaders()
        if body is not None:
            self.connection.send(body)
        answer = self.connection.getresponse()
        whole = answer.read()
        return Reply(answer.status, answer.getheaders(), whole, time.monotonic() - begun)

    def close(self):
        """Closes it."""
        self.connection.close()


def ask(lab, method, url, body=None, headers=None, timeout=60, source=None):
    """One request on a connection of its own."""
    scheme, rest = url.split("://", 1)
    authority, slash, path = rest.partition("/")
    host, _, port = authority.partition(":")
    line = Line(lab, host, int(port or (443 if scheme == "https" else 80)), timeout, source, plain=scheme == "http")
    try:
        return line.ask(method, slash + path or "/", body, headers)
    finally:
        line.close()


def curl(lab, url, *arguments, headers=None, http2=True, limit=120):
    """One request by curl, on HTTP/2 unless told otherwise: (reply, version, exit code, what curl said)."""
    head, body = lab.dir / "curl.head", lab.dir / "curl.body"
    for path in (head, body):
        path.unlink(missing_ok=True)
    fields = [
        word
        for name, value in (headers or {}).items()
        for word in ("-H", f"{name}: {value}" if value else f"{name}:")
    ]
    begun = time.monotonic()
    done = subprocess.run(
        [
            "curl",
            "-sS",
            "--path-as-is",
            "--http2" if http2 else "--http1.1",
            "--cacert",
            str(lab.ca),
            "-m",
            str(limit),
            "-D",
            str(head),
            "-o",
            str(body),
            "-w",
            "%{http_version} %{http_code}",
            *fields,
            *map(str, arguments),
            url,
        ],
        capture_output=True,
        text=True,
    )
    version, _, status = done.stdout.partition(" ")
    lines = head.read_text(errors="replace").splitlines() if head.exists() else []
    headers = [tuple(part.strip() for part in line.split(":", 1)) for line in lines if ":" in line]
    content = body.read_bytes() if body.exists() else b""
    return (
        Reply(int(status or 0), headers, content, time.monotonic() - begun),
        version,
        done.returncode,
        done.stderr.strip(),
    )


class User:
    """A Matrix user who reaches the homeserver through the edge."""

    def __init__(self, lab, base, name, password="a long enough password"):
        self.lab, self.base, self.name, self.password = lab, base, name, password
        self.id = self.token = self.device = self.since = None

    def ask(self, method, target, body=None, headers=None, timeout=60, source=None):
        """One request with the user's token."""
        headers = dict(headers or {})
        if self.token:
            headers["Authorization"] = "Bearer " + self.token
        return ask(self.lab, method, self.base + target, body, headers, timeout, source)

    def register(self):
        """Open registration: the first answer is 401 with the stages, the second call passes the dummy one."""
        wish = {"username": self.name, "password": self.password}
        first = self.ask("POST", "/_matrix/client/v3/register", wish)
        session = first.json().get("session")
        second = self.ask(
            "POST", "/_matrix/client/v3/register", {**wish, "auth": {"type": "m.login.dummy", "session": session}}
        )
        self._take(second)
        return first, second

    def login(self):
        """By password; the new token replaces the old one."""
        self.token = None
        answer = self.ask(
            "POST",
            "/_matrix/client/v3/login",
            {
                "type": "m.login.password",
                "identifier": {"type": "m.id.user", "user": self.name},
                "password": self.password,
            },
        )
        self._take(answer)
        return answer

    def _take(self, answer):
        if answer.status == 200:
            told = answer.json()
            self.id, self.token, self.device = told["user_id"], told["access_token"], told["device_id"]

    def sync(self, milliseconds=0):
        """One sync; remembers where it ended."""
        since = f"&since={self.since}" if self.since else ""
        answer = self.ask(
            "GET", f"/_matrix/client/v3/sync?timeout={milliseconds}{since}", timeout=milliseconds / 1000 + 60
        )
        if answer.status == 200:
            self.since = answer.json()["next_batch"]
        return answer

    def send(self, room, text, transaction):
        """Sends a text message."""
        return self.ask(
            "PUT",
            f"/_matrix/client/v3/rooms/{quote(room)}/send/m.room.message/{quote(transaction)}",
            {"msgtype": "m.text", "body": text},
        )

    def wait_for(self, wanted, seconds=30):
        """Syncs until `wanted(event)` holds for an event; returns the seconds that it took, or None."""
        begun = time.monotonic()
        while time.monotonic() - begun < seconds:
            answer = self.sync(5000)
            for room in answer.json().get("rooms", {}).get("join", {}).values():
                events = room.get("timeline", {}).get("events", []) + room.get("ephemeral", {}).get("events", [])
                if any(wanted(event) for event in events):
                    return time.monotonic() - begun
        return None

    def wait_for_text(self, text, seconds=30):
        """Syncs until a message says `text`."""
        return self.wait_for(lambda event: event.get("content", {}).get("body") == text, seconds)


class Doing:
    """A request made beside the rest."""

    def __init__(self, act):
        self.act, self.answer = act, None
        self.thread = threading.Thread(target=self._do)
        self.thread.start()

    def _do(self):
        try:
            self.answer = self.act()
        except Exception as error:
            self.answer = Reply(0, [], repr(error).encode(), 0)

    def end(self, seconds=120):
        """Waits for its answer; no answer is one of status 0 that says why."""
        self.thread.join(seconds)
        return self.answer or Reply(0, [], f"nothing in {seconds} s".encode(), seconds)


def random_file(path, mebibytes):
    """A file of random bytes, and its path."""
    path = pathlib.Path(path)
    with open("/dev/urandom", "rb") as source, open(path, "wb") as out:
        for _ in range(mebibytes):
            out.write(source.read(1 << 20))
    return path
