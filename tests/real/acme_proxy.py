"""The front door of a CA that misbehaves on purpose: a TLS proxy before pebble, steered from the same process.

It adds what Debian's pebble lacks, ARI (RFC 9773) and profiles, and remembers every request. pebble makes its
URLs from the Host header, so any number of fronts, each with troubles of its own, can share one pebble.
"""

import asyncio
import base64
import concurrent.futures
import http.client
import json
import socket
import ssl
import struct
import threading
import time

# What pebble calls its resources (letsencrypt/pebble, wfe/wfe.go).
KINDS = (
    ("/dir", "directory"),
    ("/nonce-plz", "newNonce"),
    ("/sign-me-up", "newAccount"),
    ("/order-plz", "newOrder"),
    ("/my-account/", "account"),
    ("/my-order/", "order"),
    ("/finalize-order/", "finalize"),
    ("/authZ/", "authz"),
    ("/chalZ/", "challenge"),
    ("/certZ/", "cert"),
    ("/revoke-cert", "revokeCert"),
    ("/ari/", "renewalInfo"),
)
PROFILES = {"classic": "five years, as pebble likes it", "shortlived": "six days"}
PAGE = b"<!DOCTYPE html><html><body><h1>503</h1><p>Down for maintenance.</p></body></html>\n"
# These go with one connection, not with the message.
OWN = {"connection", "content-length", "transfer-encoding", "date"}


class Fault:
    """One kind of trouble for the next `times` requests of kind `on` ("any": for each kind).

    problem    a problem document: status=500, type="serverInternal", retry_after=None, detail=None
    page       HTML, 503
    garbage    200 and half a JSON object
    bad_nonce  400 badNonce, with a fresh nonce
    reset      the connection is reset before the CA hears of it
    hang       nothing, until `Front.release`; the CA hears nothing
    lost       the CA acts, and the connection is reset instead of its answer
    held       the CA acts, and its answer never comes
    truncated  the answer ends in the middle
    no_nonce   the answer without Replay-Nonce
    processing an order that is valid says `processing`, retry_after="1"
    """

    def __init__(self, on, do, times=1, **how):
        self.on, self.do, self.times, self.how = on, do, times, how


class Request:
    """One request that was seen."""

    def __init__(self, kind, method, path, payload):
        self.at = time.monotonic()
        self.kind, self.method, self.path, self.payload = kind, method, path, payload
        self.fault = self.status = None
        # Refused for its nonce alone, which CAs do at any time: the same request comes again.
        self.stale = False

    def __str__(self):
        told = self.fault or ("nonce" if self.stale else None)
        return f"{self.kind}:{self.status or '-'}" + (f"({told})" if told else "")


class Answer:
    """What goes back."""

    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body


class Window:
    """An ARI window, in seconds from now."""

    def __init__(self, start, end, retry_after=21600, explanation=None):
        now = time.time()
        self.start, self.end, self.retry_after, self.explanation = now + start, now + end, retry_after, explanation

    def answer(self):
        """As RFC 9773 section 4.2 has it."""
        told = {"suggestedWindow": {"start": rfc3339(self.start), "end": rfc3339(self.end)}}
        if self.explanation:
            told["explanationURL"] = self.explanation
        return Answer(200, [("Content-Type", "application/json"), ("Retry-After", str(self.retry_after))], dump(told))


def rfc3339(at):
    """UTC, whole seconds."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))


def dump(told):
    """JSON in bytes."""
    return json.dumps(told).encode()


def kind_of(path):
    """Which resource a path is."""
    return next((kind for start, kind in KINDS if path.startswith(start)), "other")


def payload_of(body):
    """What a JWS carries; None when it carries nothing, or is none."""
    try:
        text = json.loads(body)["payload"]
        return json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))) if text else None
    except (ValueError, KeyError, TypeError):
        return None


class Fronts:
    """The thread in which all fronts of a suite run."""

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self.loop.set_default_executor(concurrent.futures.ThreadPoolExecutor(64))
        threading.Thread(target=self.loop.run_forever, daemon=True).start()

    def do(self, coroutine):
        """Runs it there, and waits for what it brings."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(20)


class Front:
    """One front: its faults, its windows, and what it saw."""

    def __init__(self, fronts, name, port, upstream, trust, pair):
        """Listens on `port` of the loopback as `name` with the certificate `pair`; `upstream` is pebble's port."""
        self.fronts, self.name, self.port, self.upstream = fronts, name, port, upstream
        self.directory = f"https://{name}:{port}/dir"
        self.trust = ssl.create_default_context(cafile=str(trust))
        self.lock = threading.Lock()
        self.faults, self.seen = [], []
        # ARI: the window of the first certificate that is asked about, of the second, ...; all others get `later`.
        self.has_ari, self.windows, self.later, self.known = True, [], Window(30 * 86400, 31 * 86400), []
        # Orders that replace a certificate say so in every answer, as RFC 9773 section 5 wants it, unless this is off.
        self.reflects, self.replacing = True, {}
        self.released = asyncio.Event()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*map(str, pair))
        fronts.do(asyncio.start_server(self._serve, "127.0.0.1", port, ssl=context, backlog=256))

    # -- steering --------------------------------------------------------------------------------

    def trouble(self, *faults):
        """What happens from now on, instead of what was to happen; nothing: the CA is well."""
        with self.lock:
            self.faults = list(faults)

    def release(self):
        """Lets what hangs go on, now and from now on."""
        self.fronts.loop.call_soon_threadsafe(self.released.set)

    def of(self, kind):
        """The requests of one kind so far, without those whose nonce was refused."""
        with self.lock:
            return [request for request in self.seen if request.kind == kind and not request.stale]

    def count(self, kind):
        """How many requests of one kind there were, without those whose nonce was refused."""
        return len(self.of(kind))

    def ordered(self):
        """The names of each order that was asked for."""
        orders = [request.payload for request in self.of("newOrder")]
        return [sorted(one["value"] for one in order["identifiers"]) for order in orders if order]

    def story(self):
        """All that was asked, in one line."""
        with self.lock:
            return " ".join(map(str, self.seen))

    # -- serving ---------------------------------------------------------------------------------

    async def _serve(self, reader, writer):
        try:
            while await self._one(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError, ValueError, http.client.HTTPException):
            pass
        finally:
            writer.transport.abort() if writer.is_closing() else writer.close()

    async def _one(self, reader, writer):
        """One request and its answer; returns whether the connection goes on."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, path, _ = head[0].split(" ")
        headers = {n.strip().lower(): v.strip() for n, v in (line.split(":", 1) for line in head[1:] if ":" in line)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        request = Request(kind_of(path), method, path, payload_of(body))
        fault = self._fault(request)
        answer = await self._answer(request, fault, headers, body)
        if answer is None:
            reset(writer)
            return False
        request.status = answer.status
        request.stale = answer.status == 400 and b":badNonce" in answer.body
        # A cut body keeps the length of the whole one.
        length, cut = len(answer.body), fault is not None and fault.do == "truncated"
        lines = [f"HTTP/1.1 {answer.status} {http.client.responses.get(answer.status, 'Unknown')}"]
        lines += [f"{name}: {value}" for name, value in [*answer.headers, ("Content-Length", length)]]
        writer.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
        if method != "HEAD":
            writer.write(answer.body[: length // 2] if cut else answer.body)
        await writer.drain()
        return not cut and headers.get("connection", "").lower() != "close"

    def _fault(self, request):
        """Notes the request, and takes the fault that is meant for it."""
        with self.lock:
            self.seen.append(request)
            for fault in self.faults:
                if fault.on in (request.kind, "any") and fault.times > 0:
                    fault.times -= 1
                    request.fault = fault.do
                    return fault
        return None

    async def _answer(self, request, fault, headers, body):
        """The answer; None: the connection is reset."""
        do = fault.do if fault else None
        if do == "hang":
            await self.released.wait()
        if do == "reset":
            return None
        if do == "page":
            return Answer(503, [("Content-Type", "text/html; charset=utf-8")], PAGE)
        if do == "garbage":
            return Answer(200, [("Content-Type", "application/json")], b'{"status": "pen')
        if do == "problem":
            return await self._problem(**fault.how)
        if do == "bad_nonce":
            return await self._problem(status=400, type="badNonce")
        answer = await self._own(request) or await self._ask(request.method, request.path, headers, body)
        self._reflect(request, answer)
        if do == "held":
            await self.released.wait()
        if do in ("held", "lost"):
            return None
        if do == "no_nonce":
            answer.headers = [(name, value) for name, value in answer.headers if name.lower() != "replay-nonce"]
        if do == "processing" and not hide(answer, fault.how.get("retry_after", "1")):
            # Only an order that would be valid counts.
            with self.lock:
                fault.times += 1
        return answer

    async def _problem(self, status=500, type="serverInternal", retry_after=None, detail=None):
        """A problem document (RFC 7807) with a nonce, as RFC 8555 section 6.5 wants it."""
        nonce = await self._ask("HEAD", "/nonce-plz", {"host": f"{self.name}:{self.port}"}, b"")
        headers = [(name, value) for name, value in nonce.headers if name.lower() == "replay-nonce"]
        headers.append(("Content-Type", "application/problem+json"))
        if retry_after is not None:
            headers.append(("Retry-After", str(retry_after)))
        told = {
            "type": "urn:ietf:params:acme:error:" + type,
            "detail": detail or "a fault on purpose",
            "status": status,
        }
        return Answer(status, headers, dump(told))

    async def _own(self, request):
        """What pebble knows nothing of; None: pebble is asked."""
        if request.kind == "directory":
            answer = await self._ask("GET", "/dir", {"host": f"{self.name}:{self.port}"}, b"")
            told = json.loads(answer.body)
            told.setdefault("meta", {})["profiles"] = PROFILES
            if self.has_ari:
                told["renewalInfo"] = f"https://{self.name}:{self.port}/ari"
            answer.body = dump(told)
            return answer
        if request.kind == "renewalInfo":
            with self.lock:
                certificate = request.path.rsplit("/", 1)[1]
                if certificate not in self.known:
                    self.known.append(certificate)
                place = self.known.index(certificate)
                window = self.windows[place] if place < len(self.windows) else self.later
            return window.answer()
        wish = request.payload.get("profile") if request.kind == "newOrder" and request.payload else None
        if wish is not None and wish not in PROFILES:
            return await self._problem(status=400, type="invalidProfile", detail=f"no profile {wish} here")
        return None

    def _reflect(self, request, answer):
        """Says in an order which certificate it replaces, which pebble forgets."""
        if request.kind not in ("newOrder", "order", "finalize") or answer.status not in (200, 201):
            return
        told = json.loads(answer.body)
        if request.kind == "newOrder" and (request.payload or {}).get("replaces"):
            self.replacing[told["finalize"]] = request.payload["replaces"]
        if self.reflects and told.get("finalize") in self.replacing:
            told["replaces"] = self.replacing[told["finalize"]]
            answer.body = dump(told)

    async def _ask(self, method, path, headers, body):
        """Asks pebble."""
        return await asyncio.to_thread(self._ask_pebble, method, path, headers, body)

    def _ask_pebble(self, method, path, headers, body):
        connection = http.client.HTTPSConnection(self.name, self.upstream, context=self.trust, timeout=60)
        try:
            sent = {name: value for name, value in headers.items() if name not in OWN | {"accept-encoding"}}
            connection.request(method, path, body or None, sent)
            answer = connection.getresponse()
            whole = answer.read()
            kept = [(name, value) for name, value in answer.getheaders() if name.lower() not in OWN]
            return Answer(answer.status, kept, whole)
        finally:
            connection.close()


def hide(answer, retry_after):
    """An order that is valid says that the CA is still at work; returns whether it was one."""
    try:
        told = json.loads(answer.body)
    except ValueError:
        return False
    if not isinstance(told, dict) or "finalize" not in told or told.get("status") != "valid":
        return False
    told["status"] = "processing"
    told.pop("certificate", None)
    answer.body = dump(told)
    answer.headers.append(("Retry-After", str(retry_after)))
    return True


def reset(writer):
    """Ends a connection by a TCP reset."""
    line = writer.get_extra_info("socket")
    if line is not None:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
