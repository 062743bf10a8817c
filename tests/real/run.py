#!/usr/bin/env python3
"""Real things around porchd: Synapse, federation, clients, a browser, an ACME CA.

    tests/real/run.py [SUITE ...]      default: all but those that take longer: faults, tunnel60,
                                       wireguard180 and processes20

Needs root, and what `install.sh` installs. The binary is $PORCHD, else target/release/porchd, else
target/debug/porchd. Each suite has network, mount and process namespaces of its own and a folder
target/real/SUITE, kept when it fails; `shown` in it, texts for people, is always kept. Prints PASS and FAIL
lines, and seconds per suite.
"""

import argparse
import importlib
import os
import pathlib
import re
import shutil
import stat
import subprocess
import sys
import time
import traceback

HERE = pathlib.Path(__file__).resolve().parent
TOP = HERE.parent.parent
SUITES = ["synapse", "outage", "federation443", "federation8448", "js", "browser", "acme", "acme_faults", "metrics"]
SUITES += ["park", "tunnel", "homeaddress", "floods", "wireguard", "processes"]
# Run only when they are named.
LONGER = ["faults", "tunnel60", "wireguard180", "processes20"]


def binary():
    """Where porchd is."""
    named = os.environ.get("PORCHD")
    for path in [pathlib.Path(named)] if named else [TOP / "target/release/porchd", TOP / "target/debug/porchd"]:
        if os.access(path, os.X_OK):
            return path.resolve()
    sys.exit("no porchd: run `cargo build` first, or name it with PORCHD=PATH")


def is_exchangeable(folder):
    """Whether others than root could put something else in this folder's place: a clone in somebody's home, say."""
    for place in [folder, *folder.parents]:
        found = place.stat()
        if found.st_uid != 0 or (found.st_mode & 0o022 and not found.st_mode & stat.S_ISVTX):
            return True
    return False


def inside(suite):
    """One suite, already in its namespaces."""
    sys.path.insert(0, str(HERE))
    from lab import Lab

    folder = TOP / "target" / "real" / suite
    if is_exchangeable(TOP):
        # porchd takes no configuration from there. The same folder is root's all the way at another place.
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(["mount", "--bind", str(folder), "/mnt"], check=True)
        folder = pathlib.Path("/mnt")
    lab = Lab(folder)
    try:
        importlib.import_module("suite_" + suite).run(lab)
    except BaseException as error:
        traceback.print_exc()
        lab.check("the suite ran to its end", False, f"{type(error).__name__}: {error}")
    finally:
        lab.stop_all()
    code = lab.book.close()
    logs = sorted(lab.dir.glob("porchd-*.out"))
    if code and len(logs) > 4:
        print(f"-- {len(logs)} logs of porchd: {lab.dir}/porchd-*.out", flush=True)
    elif code:
        for log in logs:
            print(
                f"-- the end of {log}\n" + "\n".join(log.read_text(errors="replace").splitlines()[-20:]), flush=True
            )
    return code


def limit(suite):
    """Seconds that a suite may take, as its own file says."""
    text = (HERE / f"suite_{suite}.py").read_text()
    return int(re.search(r"^LIMIT = (\d+)$", text, re.M).group(1))


def tidy(folder):
    """Removes all that a suite left but `shown`."""
    for path in folder.iterdir():
        if path.name == "shown":
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    if not any(folder.iterdir()):
        folder.rmdir()


def outside(suite, porchd):
    """Runs one suite in namespaces that end with it: (passed, failed, seconds)."""
    begun, passed, failed, seconds = time.monotonic(), 0, 0, limit(suite)
    print(f"== {suite}", flush=True)
    child = subprocess.Popen(
        [
            "timeout",
            "--signal=KILL",
            str(seconds),
            "unshare",
            "--net",
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
            "--",
            sys.executable,
            str(HERE / "run.py"),
            "--inside",
            suite,
        ],
        stdout=subprocess.PIPE,
        text=True,
        stdin=subprocess.DEVNULL,
        env=dict(os.environ, PORCHD_REAL_BINARY=str(porchd), PYTHONDONTWRITEBYTECODE="1"),
    )
    closed = None
    for line in child.stdout:
        closed = re.fullmatch(r"(\d+) passed, (\d+) failed\n", line) or closed
        passed += line.startswith("PASS ")
        failed += line.startswith("FAIL ")
        # The sum of all suites is told once, at the end.
        if not re.fullmatch(r"\d+ passed, \d+ failed\n", line):
            print(line, end="", flush=True)
    code = child.wait()
    if not closed or (code and not failed):
        failed += 1
        print(f"FAIL {suite} did not come to its end  [exit {code}, limit {seconds} s]", flush=True)
    folder = TOP / "target" / "real" / suite
    if failed:
        print(f"-- kept: {folder}")
    else:
        tidy(folder)
    took = time.monotonic() - begun
    print(f"-- {suite}: {passed} passed, {failed} failed, {took:.0f} s", flush=True)
    return passed, failed, took


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suites", nargs="*", metavar="SUITE", help="one of: " + " ".join(SUITES + LONGER))
    parser.add_argument("--inside", metavar="SUITE", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inside:
        sys.exit(inside(arguments.inside))
    if unknown := set(arguments.suites) - set(SUITES + LONGER):
        parser.error(f"no suite named {', '.join(sorted(unknown))}; there are {', '.join(SUITES + LONGER)}")
    if os.geteuid() != 0:
        sys.exit("these suites make namespaces of their own: run them as root")
    porchd = binary()
    print(f"porchd: {porchd}")
    results = {suite: outside(suite, porchd) for suite in arguments.suites or SUITES}
    print("suite            passed failed seconds")
    for suite, (passed, failed, took) in results.items():
        print(f"{suite:16} {passed:6} {failed:6} {took:7.0f}")
    passed, failed = (sum(result[i] for result in results.values()) for i in (0, 1))
    print(f"{passed} passed, {failed} failed", flush=True)
    sys.exit(1 if failed or not passed else 0)


if __name__ == "__main__":
    main()
