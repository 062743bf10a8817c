"""A real Prometheus reads porchd's figures; what it knows is held against what was sent and what was logged.

Home is a stand-in: figures are porchd's own, and it must be known to the request what there is to count.
"""

import collections
import pathlib
import shutil
import subprocess
import sys
import urllib.parse

import talk
from lab import HERE, eventually, wait_until
from porch import Porch
from talk import Doing, Line, ask

LIMIT = 180
BASE = "https://matrix.a.test"
FIGURES = "127.0.0.1:9178"
PROMETHEUS = "127.0.0.1:9090"
PACKAGING = HERE.parent.parent / "packaging" / "prometheus"
OPEN_METRICS = "application/openmetrics-text; version=1.0.0"


def run(lab):
    lab.names({"a.test": ["127.0.0.2"]})
    home = stand_in(lab)
    porch = Porch(lab, "a.test", 8008, ["127.0.0.2"], well_known="matrix.a.test:443", more=admin(lab))
    porch.start()
    wait_until(lambda: figures(lab).get('porchd_upstream_up{upstream="home"}') == 1, 20, "home is known to be up")
    prometheus = Prometheus(lab)
    checked_by_promtool(lab)
    requests_are_what_was_sent(lab, prometheus, porch)
    polls_have_figures_of_their_own(lab, prometheus)
    reloads(lab, prometheus, porch)
    home_goes_away(lab, prometheus, home)
    lab.check("no panic in porchd's log", "panicked" not in porch.said())


def admin(lab, metrics=FIGURES):
    """The section of porchd.yaml."""
    return f'admin: {{ socket: {lab.dir}/porchd.sock, metrics: "{metrics}" }}\n'


def stand_in(lab):
    """A home."""
    return lab.spawn([sys.executable, HERE / "stand_in.py", 8008], "stand-in.out")


class Prometheus:
    """A Prometheus that reads porchd each second, with the rules of packaging/."""

    def __init__(self, lab):
        folder = lab.dir / "prometheus"
        folder.mkdir()
        shutil.copy(PACKAGING / "alerts.yml", folder)
        text = (PACKAGING / "scrape.yml").read_text().replace("/etc/prometheus/porchd-alerts.yml", "alerts.yml")
        (folder / "prometheus.yml").write_text("global: { scrape_interval: 1s, evaluation_interval: 1s }\n" + text)
        tool = promtool("check", "config", folder / "prometheus.yml")
        lab.check("promtool takes the scrape example and its rules", tool.returncode == 0, told(tool))
        self.lab = lab
        self.process = lab.spawn(
            [
                "prometheus",
                f"--config.file={folder}/prometheus.yml",
                f"--storage.tsdb.path={folder}/data",
                f"--web.listen-address={PROMETHEUS}",
            ],
            "prometheus.out",
        )
        wait_until(lambda: self.value('up{job="porchd"}') == 1, 60, "Prometheus has read porchd", self.process)

    def query(self, expression):
        """What an expression is now: labels and value of each series."""
        target = f"http://{PROMETHEUS}/api/v1/query?query={urllib.parse.quote(expression)}"
        try:
            answer = ask(self.lab, "GET", target).json()
        except OSError:
            return []
        return [(one["metric"], float(one["value"][1])) for one in answer.get("data", {}).get("result", [])]

    def value(self, expression):
        """The value of the only series; None if there is not exactly one."""
        found = self.query(expression)
        return found[0][1] if len(found) == 1 else None

    def comes_to(self, expression, wanted, seconds=15):
        """Its value as soon as that is `wanted`, or the last one."""
        eventually(lambda: self.value(expression) == wanted, seconds)
        return self.value(expression)


def promtool(*arguments, text=None):
    """Runs promtool to its end."""
    command = ["promtool", *map(str, arguments)]
    return subprocess.run(command, input=text, capture_output=True, text=True, timeout=60)


def told(done):
    """What a command said."""
    return (done.stdout + done.stderr).strip()[-300:]


def read(lab, accept=None):
    """The figures as they are served."""
    return ask(lab, "GET", f"http://{FIGURES}/metrics", headers={"Accept": accept} if accept else {})


def figures(lab):
    """Figures by their whole names."""
    lines = [line for line in read(lab).body.decode().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def checked_by_promtool(lab):
    """Names, help and types as Prometheus' conventions want them; rules that mean what they say."""
    check = lab.check
    plain = read(lab)
    tool = promtool("check", "metrics", text=plain.body.decode())
    check("promtool finds nothing wrong with the figures", tool.returncode == 0 and not told(tool), told(tool))
    kinds = plain.headers["content-type"], read(lab, OPEN_METRICS).headers["content-type"]
    good = kinds[0].startswith("text/plain; version=0.0.4") and kinds[1].startswith("application/openmetrics-text")
    check("either format is served by Accept", good, kinds)
    open_text = read(lab, OPEN_METRICS).body.decode()
    check("OpenMetrics ends with its mark", open_text.endswith("# EOF\n"), open_text[-40:])
    tool = promtool("check", "rules", PACKAGING / "alerts.yml")
    check("promtool takes the rules", tool.returncode == 0, told(tool))
    for path in (PACKAGING / "alerts.yml", HERE / "alerts_test.yml"):
        shutil.copy(path, lab.dir)
    tool = promtool("test", "rules", pathlib.Path(lab.dir) / "alerts_test.yml")
    check("the rules tell what they should, and nothing else", tool.returncode == 0, told(tool))


def requests_are_what_was_sent(lab, prometheus, porch):
    """Requests of all kinds; then Prometheus, the access log and this script must agree."""
    check = lab.check
    sent = [
        ("GET", "/_matrix/client/versions", None, 12, ("client", "2xx", "home")),
        ("PUT", "/_matrix/client/v3/rooms/!r/send/m.room.message/1", {}, 7, ("send", "2xx", "home")),
        ("GET", "/_matrix/federation/v1/version", None, 5, ("federation", "2xx", "home")),
        ("GET", "/_matrix/key/v2/server", None, 4, ("keys", "2xx", "home")),
        ("GET", "/_matrix/client/v1/media/download/a.test/1", None, 3, ("media", "2xx", "home")),
        ("POST", "/_matrix/client/v3/login", {}, 2, ("login", "2xx", "home")),
        ("GET", "/_synapse/admin/v1/rooms", None, 6, ("other", "4xx", "edge")),
    ]
    shaken = figures(lab)['porchd_tls_handshakes_total{result="full"}']
    accepted = figures(lab)["porchd_connections_accepted_total"]
    for method, target, body, count, _ in sent:
        line = Line(lab, "matrix.a.test")
        for _ in range(count):
            line.ask(method, target, body)
        line.close()
    for *_, count, (kind, status, answered) in sent:
        name = f'porchd_requests_total{{class="{kind}",status="{status}",answered="{answered}"}}'
        seen = prometheus.comes_to(name, count)
        check(f"Prometheus knows of {count} requests of class {kind}", seen == count, seen)
        count_name = f'porchd_request_duration_seconds_count{{class="{kind}"}}'
        seen = prometheus.value(count_name)
        check(f"and of {count} times of them", seen == count, seen)
    seen = prometheus.value('porchd_edge_answers_total{why="denied"}')
    check("Prometheus knows why the edge answered", seen == 6, seen)
    seen = prometheus.value('porchd_tls_handshakes_total{result="full"}'), prometheus.value(
        "porchd_connections_accepted_total"
    )
    wanted = shaken + len(sent), accepted + len(sent)
    check("Prometheus knows of each connection and handshake", seen == wanted, f"{seen}, not {wanted}")
    seen = prometheus.comes_to("porchd_connections_open", 0)
    check("no connection is open any more", seen == 0, seen)
    same_as_the_log(lab, prometheus, porch)


def same_as_the_log(lab, prometheus, porch):
    """Each kind of request as often as the access log has it."""

    def ending(line):
        return f"{line['status'] // 100}xx" if line["status"] else "left"

    def logged():
        return collections.Counter((line["class"], ending(line), line["answered"]) for line in porch.lines())

    def counted():
        found = prometheus.query("porchd_requests_total > 0")
        return {(one["class"], one["status"], one["answered"]): value for one, value in found}

    eventually(lambda: logged() == counted(), 15)
    lab.check("figures and the access log agree", logged() == counted(), f"{counted()} {logged()}")


def polls_have_figures_of_their_own(lab, prometheus):
    """A long poll that home holds, a client that leaves, and a download that the client takes slowly."""
    check = lab.check
    poll = Doing(lambda: ask(lab, "GET", BASE + "/_matrix/client/v3/sync?timeout=30000"))
    poll.end(30)
    seen = prometheus.comes_to("porchd_long_poll_duration_seconds_count", 1)
    check("a long poll is counted apart", seen == 1, seen)
    seen = prometheus.query('porchd_request_duration_seconds_count{class="sync"}')
    check("and not among the others", seen == [], seen)
    talk.curl(lab, BASE + "/_matrix/hang", limit=1)
    name = 'porchd_requests_total{status="left"}'
    seen = prometheus.comes_to(f"sum({name})", 1)
    check("a client that left is counted as one", seen == 1, prometheus.query(name + " > 0"))
    below = 'porchd_request_duration_seconds_bucket{class="client",le="1.0"}'
    before = prometheus.value(below)
    talk.curl(lab, BASE + "/_matrix/big", "--limit-rate", "10M")
    seen = prometheus.comes_to(below, before + 1)
    check("a client that takes an answer slowly does not make home slow", seen == before + 1, seen)


def reloads(lab, prometheus, porch):
    """A reload that is done, one that is refused, one that moves the address."""
    check = lab.check
    porch.reload()
    seen = prometheus.comes_to('porchd_reloads_total{result="done"}', 1)
    check("a reload is counted", seen == 1, seen)
    good = porch.file.read_text()
    porch.file.write_text(good + "nonsense: 1\n")
    porch.reload()
    seen = prometheus.comes_to('porchd_reloads_total{result="refused"}', 1)
    check("a refused one is counted as such", seen == 1, seen)
    seen = prometheus.value("porchd_last_reload_successful"), prometheus.value("porchd_generation")
    check("and the generation before is in force", seen == (0, 2), seen)
    waiting = prometheus.comes_to('count(ALERTS{alertname="PorchdReloadRefused"})', 1)
    check("Prometheus is about to tell of it", waiting == 1, waiting)
    porch.file.write_text(good)
    porch.reload()
    seen = prometheus.comes_to("porchd_last_reload_successful", 1)
    check("the next one that is done makes it good", seen == 1, seen)
    porch.write(more=admin(lab, "127.0.0.1:9179")).reload()
    seen = prometheus.comes_to('up{job="porchd"}', 0)
    check("a reload moves the address: nobody answers at the old one", seen == 0, seen)
    moved = ask(lab, "GET", "http://127.0.0.1:9179/metrics").status
    porch.write(more=admin(lab)).reload()
    seen = prometheus.comes_to('up{job="porchd"}', 1)
    check("it answers at the new one, and can be moved back", (moved, seen) == (200, 1), (moved, seen))
    ends = prometheus.value("min(porchd_certificate_not_after_timestamp_seconds) - time()") or 0
    check("the certificate's end is known", 19 * 86400 < ends < 20 * 86400, f"{ends / 86400:.2f} days")


def home_goes_away(lab, prometheus, home):
    """Home stops; Prometheus hears of it, of who waits for it, and that it came back."""
    check = lab.check
    home.kill()
    # Keys are what waits for home the shortest, client requests the longest.
    brief = [Doing(lambda: ask(lab, "GET", BASE + "/_matrix/key/v2/server", timeout=60)) for _ in range(3)]
    long = [Doing(lambda: ask(lab, "GET", BASE + "/_matrix/client/versions", timeout=120)) for _ in range(2)]
    up = 'porchd_upstream_up{upstream="home"}'
    seen = prometheus.comes_to(up, 0, 30)
    check("home is told to be away", seen == 0, seen)
    down = 'porchd_backend_health{backend="127.0.0.1:8008",state="down"}'
    seen = prometheus.value(down)
    check("and which backend it is", seen == 1, seen)
    seen = prometheus.comes_to('porchd_outage{upstream="home",cause="refused"}', 1)
    check("and why", seen == 1, seen)
    waiting = prometheus.comes_to('count(ALERTS{alertname="PorchdHomeDown",upstream="home"})', 1)
    check("Prometheus is about to tell of it", waiting == 1, waiting)
    for one in brief:
        one.end(60)
    failed = prometheus.comes_to('sum(porchd_requests_total{status="5xx",answered="edge"})', len(brief))
    check("requests that failed for it are counted", failed == len(brief), failed)
    seen = prometheus.comes_to("porchd_parked_requests", len(long))
    check("so are those that still wait", seen == len(long), seen)
    seen = prometheus.comes_to('porchd_parked_ended_total{result="expired"}', len(brief))
    check("and those that waited in vain", seen == len(brief), seen)
    expire = 'ALERTS{alertname="PorchdParkedRequestsExpire",alertstate="firing"}'
    seen = prometheus.comes_to(f"count({expire})", 1)
    check("Prometheus tells of them", seen == 1, seen)
    stand_in(lab)
    statuses = [one.end(60).status for one in long]
    check("who waited long enough is answered by home", statuses == [200, 200], statuses)
    seen = prometheus.comes_to('porchd_parked_ended_total{result="delivered"}', len(long))
    check("and counted", seen == len(long), seen)
    seen = prometheus.comes_to(up, 1, 30), prometheus.value("porchd_parked_requests")
    check("home is told to be back, and nobody waits", seen == (1, 0), seen)
    seen = prometheus.query("porchd_outage"), prometheus.value("porchd_outages_total")
    check("the outage is over, and was one", seen == ([], 1), seen)
