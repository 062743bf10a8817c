"""Warden and edge: who runs as whom, upgrades and crashes under load, and what is refused.

Home is a stand-in. The table of what clients saw is kept in `shown/processes.txt`.
"""

import json
import os
import pathlib
import shutil
import signal
import statistics
import subprocess
import time

from lab import CACHE, HERE, eventually
from porch import Porch, title
from suite_faults import Home
from talk import Line, ask

LIMIT = 75
BASE = "https://matrix.a.test"
HOST = "matrix.a.test"
USER = "_porchd"
PYTHON = CACHE / "nio" / "bin" / "python"
MORE = """\
  to: {log}
user: _porchd
admin: {{ socket: {socket} }}
limits: {{ connections_per_address: 2000 }}
"""


def run(lab, times=6):
    """The suite, with so many upgrades and crashes."""
    lab.names({"a.test": ["127.0.0.2"], "files.test": ["127.0.0.2"]})
    Home(lab).start()
    stage = Stage(lab)
    stage.porch.start()
    walls(stage)
    reload_as_root_would(stage)
    logs(stage)
    beyond_the_walls(stage)
    table = upgrades(stage, times) + crashes(stage, times)
    refused(stage)
    orphaned(stage)
    never_started(stage)
    said = "".join(path.read_text(errors="replace") for path in stage.porch.dir.glob("*.log*"))
    lab.check("no panic in porchd's logs", "panicked" not in stage.porch.said() + said)
    (lab.dir / "shown").mkdir()
    (lab.dir / "shown" / "processes.txt").write_text("\n".join(table) + "\n")
    print("\n".join("-- " + row for row in table), flush=True)


class Stage:
    """A porchd with a binary of its own, which can be exchanged."""

    def __init__(self, lab):
        self.lab, self.check = lab, lab.check
        self.porch = Porch(lab, "a.test", 8008, ["127.0.0.2"], well_known="matrix.a.test:443", names=["files.test"])
        porch = self.porch
        self.log = porch.dir / "porchd.log"
        self.more = MORE.format(log=self.log, socket=porch.dir / "sock")
        self.key = pathlib.Path(porch.facts["key"])
        self.key.chmod(0o600)
        for path in (self.log, porch.access):
            path.touch(0o640)
        porch.write(more=self.more)
        (lab.dir / "bin").mkdir()
        porch.binary = str(lab.dir / "bin" / "porchd")
        self.good = lab.dir / "porchd.good"
        shutil.copy2(os.environ["PORCHD_REAL_BINARY"], self.good)
        self.put(self.good)

    def put(self, source):
        """Puts a copy of `source` in the place of the binary, as a package does; None: nothing is there."""
        place = pathlib.Path(self.porch.binary)
        if source is None:
            place.unlink()
            return
        fresh = place.with_name("fresh")
        shutil.copy2(source, fresh)
        fresh.chmod(0o755)
        fresh.replace(place)

    def ask(self, command):
        """`porchd reload` or `upgrade`, by the good binary: (exit code, what it said)."""
        self.porch.forget()
        done = subprocess.run(
            [self.good, command, "-f", self.porch.file], capture_output=True, text=True, timeout=90
        )
        return done.returncode, (done.stdout + done.stderr).strip()

    @property
    def warden(self):
        """Its process id."""
        return self.porch.process.child.pid

    def serves(self):
        """Whether a new connection is served."""
        try:
            return ask(self.lab, "GET", BASE + "/_matrix/x", timeout=5).status == 200
        except OSError:
            return False


def of(pid, *fields):
    """Fields of /proc/PID/status."""
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    told = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    return [told[field].split()[0] for field in fields]


# -- who runs as whom ------------------------------------------------------------------------------


def walls(stage):
    check, porch = stage.check, stage.porch
    edge = porch.edge()
    done = subprocess.run(["ps", "-o", "user=,args=", "-p", f"{stage.warden},{edge}"], capture_output=True, text=True)
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    wanted = [f"root {porch.binary} run -f {porch.file}", f"{USER} porchd: edge"]
    check("ps shows a warden of root and an edge of _porchd", lines == wanted, lines)
    facts = of(edge, "NoNewPrivs", "CapInh", "CapPrm", "CapEff", "CapAmb", "Seccomp")
    none = "0" * 16
    check("the edge: no new privileges, no capabilities, a seccomp filter", facts == ["1", *[none] * 4, "2"], facts)
    check("and none that it could ever get", of(edge, "CapBnd") == [none], of(edge, "CapBnd"))
    status = pathlib.Path(f"/proc/{edge}/status").read_text()
    ids = {line.split(":")[0]: line.split()[1:] for line in status.splitlines() if line[:4] in ("Uid:", "Gid:", "Grou")}
    uid = subprocess.run(["id", "-u", USER], capture_output=True, text=True).stdout.strip()
    check("the edge has the ids of _porchd alone", set(ids["Uid"]) == {uid} and "0" not in ids["Groups"], ids)
    tasks = {tuple(of(f"{edge}/task/{task}", "Seccomp", "NoNewPrivs")) for task in os.listdir(f"/proc/{edge}/task")}
    check("so has each of its threads", tasks == {("2", "1")}, tasks)
    owners = [f"{path.owner()} {path.stat().st_mode & 0o777:o}" for path in (stage.key, stage.log, porch.access)]
    check("its key and its logs are root's", owners == ["root 600", "root 640", "root 640"], owners)
    state = porch.facts["state"]
    check("its state folder is _porchd's", (state.owner(), state.stat().st_mode & 0o77) == (USER, 0), state.owner())
    # What the key is served for is seen by whoever connects: the test authority is all that clients trust.
    check("it serves", stage.serves())


def serial(lab):
    """The serial number of the certificate that is served."""
    line = Line(lab, HOST)
    line.ask("GET", "/_matrix/x")
    found = line.connection.sock.getpeercert()["serialNumber"]
    line.close()
    return found


def reload_as_root_would(stage):
    """A port below 1024 is added, and the key is another one: an edge may do neither."""
    lab, porch = stage.lab, stage.porch
    before, edge = serial(lab), porch.edge()
    chain, key = lab.certificate("a.test", HOST, "files.test")
    key.chmod(0o600)
    text = porch.file.read_text().replace("  http: {", '  more: { bind: [ "127.0.0.2:81" ] }\n  http: {', 1)
    porch.file.write_text(text)
    code, said = stage.ask("reload")
    stage.check("reload adds a listener on port 81", code == 0, said)
    answer = ask(lab, "GET", "http://a.test:81/.well-known/matrix/server", timeout=5)
    stage.check("port 81 answers", answer.status in (200, 301), answer)
    after = eventually(lambda: (now := serial(lab)) != before and now, 10)
    stage.check("the renewed key is served", after, f"{before}, then {after}")
    same = porch.edge() == edge and stage.key.stat().st_mode & 0o777 == 0o600
    stage.check("by the same edge, and the key is still root's alone", same)


def logs(stage):
    porch = stage.porch
    old = {path: path.with_name(path.name + ".0") for path in (stage.log, porch.access)}
    for path, moved in old.items():
        path.rename(moved)
    porch.process.signal(signal.SIGUSR1)
    there = eventually(lambda: all(path.exists() for path in old), 5)
    sizes = {path: moved.stat().st_size for path, moved in old.items()}
    stage.check("SIGUSR1 makes the logs anew", there, [path.name for path in old if not path.exists()])
    ask(stage.lab, "GET", BASE + "/_matrix/after-the-rotation", timeout=5)
    stage.ask("reload")
    # Who says that it has taken over is the warden, who is confined is the edge.
    code, said = stage.ask("upgrade")
    stage.check("an upgrade that changes nothing", code == 0, said)
    access = eventually(lambda: "after-the-rotation" in text_of(porch.access), 5)
    lines = eventually(lambda: all(at in text_of(stage.log) for at in ("this warden has taken over", "confined:")), 5)
    stage.check("new access lines are in the new file", access, text_of(porch.access)[-200:])
    stage.check("new lines of warden and edge are in the new log", lines, text_of(stage.log)[-300:])
    grown = [path.name for path, moved in old.items() if moved.stat().st_size != sizes[path]]
    stage.check("the old files do not grow", not grown, grown)
    eventually(lambda: len(porch.edges()) == 1, 20)


def text_of(path):
    """A file's text, nothing if there is none."""
    return path.read_text(errors="replace") if path.exists() else ""


def beyond_the_walls(stage):
    root = stage.lab.dir / "www"
    root.mkdir()
    (root / "index.html").write_text("beyond")
    site = f'sites:\n  - hosts: [ files.test ]\n    routes: [ {{ path: /, files: {{ root: "{root}" }} }} ]\n'
    stage.porch.write(more=stage.more + site)
    code, said = stage.ask("reload")
    named = str(root) in said and 'site "files.test"' in said and "porchd upgrade applies it" in said
    stage.check("a root beyond the walls is refused by name", code == 1 and named, said)
    stage.check("and all goes on", stage.serves())
    code, said = stage.ask("upgrade")
    answer = ask(stage.lab, "GET", "https://files.test/", timeout=5)
    stage.check("an upgrade applies it", code == 0 and answer.body == b"beyond", f"{said} {answer}")
    stage.more += site


# -- under load ------------------------------------------------------------------------------------


class Clients:
    """`steady_clients.py`, as a process."""

    def __init__(self, lab):
        self.child = subprocess.Popen(
            [PYTHON, HERE / "steady_clients.py", lab.ca, HOST],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=open(lab.dir / "clients.err", "ab"),
            text=True,
        )

    def tell(self, *words):
        """One line to it, one line from it."""
        self.child.stdin.write(" ".join(map(str, words)) + "\n")
        self.child.stdin.flush()
        return json.loads(self.child.stdout.readline() or "{}")

    def end(self):
        """Ends it; what was seen since the last count."""
        self.child.stdin.write("rest\n")
        self.child.stdin.close()
        self.rest = json.loads(self.child.stdout.readline() or "{}")
        self.child.wait(10)


def counted(title, told):
    """What clients saw, as a row for people."""
    answers, again = sum(told["answers"].values()), sum(told["again"].values())
    return f"{title:34} {answers:8} {again:6} {len(told['failures']):7} {told['slowest']:8} ms"


def upgrades(stage, times):
    porch, check = stage.porch, stage.check
    clients, warden = Clients(stage.lab), stage.warden
    time.sleep(1)
    before, begun, seconds, bad = clients.tell("count"), time.monotonic(), [], []
    clients.tell("polls", 20, 20000)
    clients.tell("upload", 10)
    edges = set(porch.edges())
    for number in range(times):
        at = time.monotonic()
        code, said = stage.ask("upgrade")
        seconds.append(time.monotonic() - at)
        edges |= set(porch.edges())
        if code:
            bad.append(said)
        time.sleep(max(0, begun + 1.2 * (number + 1) - time.monotonic()))
    told = clients.tell("count")
    check(f"{times} upgrades under load come to their end", not bad and len(edges) == times + 1, bad or len(edges))
    check(f"{times} upgrades under load: no request fails", not told["failures"] and told["answers"], told)
    ended = clients.tell("long")
    polls = [one for one in ended if one["what"] == "poll"]
    cut = [one for one in polls if one["status"] != 200 or one["seconds"] < 19.9]
    check("no poll of 20 s is cut", len(polls) == 20 and not cut, cut)
    uploads = [one for one in ended if one["what"] == "upload"]
    whole = [one["status"] == 200 and one["told"] == {"length": 100000} for one in uploads]
    check("an upload of 10 s arrives whole on each protocol", whole == [True, True], uploads)
    gone = eventually(lambda: len(porch.edges()) == 1, 20)
    check("the warden is the same process", stage.warden == warden and porch.process.alive() and title(warden), warden)
    check("the old edges are gone", gone, porch.edges())
    clients.end()
    answers = sum(sum(one["answers"].values()) for one in (before, told, clients.rest))
    written = len(asked_of(porch))
    check("each answer has its line in the access log", written == answers, f"{answers} answers, {written} lines")
    return [
        f"{'':34} {'answers':>8} {'again':>6} {'failed':>7} {'slowest':>8}",
        counted("a second of quiet", before),
        counted(f"{times} upgrades", told),
        f"{'long polls of 20 s':34} {len(polls):8} {'':6} {len(cut):7}",
        f"{'uploads of 10 s':34} {len(uploads):8} {'':6} {whole.count(False):7}",
        f"an upgrade took {told_times(seconds)}",
    ]


def asked_of(porch):
    """The access lines of the requests of `steady_clients.py`."""
    time.sleep(1.5)
    return [line for line in porch.lines() if line["target"] == "/_matrix/client/v3/thing" and line["method"] == "GET"]


def told_times(seconds):
    """Median and worst."""
    return f"{statistics.median(seconds) * 1000:.0f} ms in the median, {max(seconds) * 1000:.0f} ms at the most"


def first_answer(stage, edge):
    """kill -9 of the edge: seconds until a connection made after it has its answer, and connections that had none."""
    os.kill(edge, signal.SIGKILL)
    begun, lost = time.monotonic(), 0
    stage.porch.forget()
    while time.monotonic() < begun + 30:
        try:
            if ask(stage.lab, "GET", BASE + "/_matrix/x", timeout=20).status == 200:
                break
        except OSError:
            lost += 1
    return time.monotonic() - begun, lost


def crashes(stage, times):
    """Between two crashes there is an upgrade, whose warden begins to count anew: the second in a row waits longer."""
    porch, check = stage.porch, stage.check
    clients, warden = Clients(stage.lab), stage.warden
    time.sleep(0.5)
    clients.tell("count")
    seconds, lost, seen, bad = [], 0, [], []
    for _ in range(times):
        took, unanswered = first_answer(stage, porch.edge())
        seconds.append(took)
        lost += unanswered
        time.sleep(0.3)
        seen.append(clients.tell("count"))
        code, said = stage.ask("upgrade")
        if code:
            bad.append(said)
        eventually(lambda: len(porch.edges()) == 1, 10)
        between = clients.tell("count")
        bad += between["failures"]
    clients.end()
    median = statistics.median(seconds)
    # 100 ms on an idle machine: other suites and a fuzzer may run beside this one.
    name = f"{times} crashes: the next connection is answered within half a second in the median"
    check(name, median < 0.5, told_times(seconds))
    check("and no connection that is made after a crash is lost", lost == 0, lost)
    failed = [failure for told in seen for failure in told["failures"]]
    # Seven clients have one request each on its way.
    check("only what was on its way is lost", len(failed) <= 7 * times, len(failed))
    check("nothing fails in the upgrades between", not bad, bad)
    check("the warden is the same process", stage.warden == warden and porch.process.alive(), warden)
    first_answer(stage, porch.edge())
    second, _ = first_answer(stage, porch.edge())
    all_seen = {
        "answers": {"": sum(sum(told["answers"].values()) for told in seen)},
        "again": {"": sum(sum(told["again"].values()) for told in seen)},
        "failures": failed,
        "slowest": max(told["slowest"] for told in seen),
    }
    return [
        counted(f"{times} crashes of the edge", all_seen),
        f"after a crash the next connection had its answer in {told_times(seconds)}",
        "each: " + " ".join(f"{one * 1000:.0f}" for one in seconds),
        f"after a second crash within a minute: {second * 1000:.0f} ms, by the pause between restarts",
    ]


# -- what is refused -------------------------------------------------------------------------------


def refused(stage):
    lab, porch, check = stage.lab, stage.porch, stage.check
    garbage, script = lab.dir / "garbage", lab.dir / "script"
    garbage.write_bytes(os.urandom(4096))
    script.write_text("#!/bin/sh\necho porchd 9.9.9\n")
    edge = porch.edge()
    for name, source in (("/bin/true", "/bin/true"), ("a script", script), ("garbage", garbage), ("no file", None)):
        stage.put(source)
        code, said = stage.ask("upgrade")
        on = porch.edges() == [edge] and stage.serves()
        check(f"an upgrade to {name} is refused and told, and all goes on", code == 1 and "porchd" in said and on, said)
        if source is None:
            shutil.copy2(stage.good, porch.binary)
    stage.put(stage.good)
    whole = porch.file.read_text()
    porch.file.write_text(whole.replace("listeners:", "listners:"))
    code, said = stage.ask("upgrade")
    on = eventually(lambda: porch.edges() == [edge], 5) and stage.serves()
    told = code == 1 and "listners" in said
    check("an upgrade with a broken configuration is refused, all goes on", told and on, said)
    took, _ = first_answer(stage, edge)
    answer = ask(lab, "GET", "https://files.test/", timeout=5)
    seen = f"{took:.2f} s, {answer}"
    check("a crash with a broken configuration: the one in force is served", answer.status == 200, seen)
    porch.file.write_text(whole)
    porch.file.chmod(0o664)
    code, said = stage.ask("reload")
    told = str(porch.file) in said and "chmod go-w" in said
    check("a configuration that others can write is refused at a reload, with the cure", code == 1 and told, said)
    check("and all goes on", stage.serves())
    porch.file.chmod(0o644)
    code, said = stage.ask("reload")
    check("cured, it is taken", code == 0, said)


def orphaned(stage):
    """kill -9 of the warden."""
    porch, check = stage.porch, stage.check
    edges = porch.edges()
    porch.process.kill()
    porch.forget()
    begun = time.monotonic()
    gone = eventually(lambda: not any(map(title, edges)), 15)
    check("the warden is killed: its edge ends by itself", gone, f"{time.monotonic() - begun:.1f} s")
    begun = time.monotonic()
    porch.start()
    check("and another porchd begins", stage.serves(), f"{time.monotonic() - begun:.1f} s")
    porch.process.stop()
    check("a stop ends warden and edge", porch.process.child.returncode == 0, porch.process.child.returncode)


def never_started(stage):
    porch = stage.porch
    whole = porch.file.read_text()
    porch.file.chmod(0o664)
    done = porch.run("run", "-f", porch.file, limit=10)
    told = done.returncode == 1 and str(porch.file) in done.stderr and "chmod go-w" in done.stderr
    stage.check("a configuration that others can write is refused at the start, with the cure", told, done.stderr)
    porch.file.chmod(0o644)
    porch.file.write_text(whole.replace("user: _porchd", "user: nobody-of-this-name"))
    done = porch.run("run", "-f", porch.file, limit=10)
    told = done.returncode == 1 and "useradd --system" in done.stderr and "nobody-of-this-name" in done.stderr
    stage.check("a user that is not there is told with the line that makes it", told, done.stderr)
    porch.file.write_text(whole)
