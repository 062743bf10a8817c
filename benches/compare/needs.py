"""What must be there: programs of the distribution, porchd, and the load tool, which cargo builds."""

import os
import pathlib
import shutil
import subprocess
import sys

TOP = pathlib.Path(__file__).resolve().parents[2]
# Debian package of each program; /usr/sbin is not in everybody's PATH.
PACKAGES = {
    "nginx": "nginx",
    "haproxy": "haproxy",
    "caddy": "caddy",
    "wrk": "wrk",
    "h2load": "nghttp2-client",
    "openssl": "openssl",
    "taskset": "util-linux",
}
# What counting needs, and what it does without.
COUNTS = {"valgrind": "valgrind", "callgrind_control": "valgrind"}
ONLY_LOADS = ("wrk",)
WHERE = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])


def programs(proxies, counts=False):
    """Full paths of what the chosen proxies and the loads need; says what to install and ends otherwise."""
    packages = {name: package for name, package in PACKAGES.items() if not counts or name not in ONLY_LOADS}
    packages |= COUNTS if counts else {}
    wanted = [name for name in packages if name in proxies or name not in ("nginx", "haproxy", "caddy")]
    found = {name: shutil.which(name, path=WHERE) for name in wanted}
    if missing := sorted({packages[name] for name, path in found.items() if not path}):
        sys.exit(f"something is missing; on Debian: apt install {' '.join(missing)}")
    return found


def target():
    """Cargo's folder."""
    return pathlib.Path(os.environ.get("CARGO_TARGET_DIR") or TOP / "target")


def porchd(named):
    """The porchd that is measured: the one named, else the release build, made when it is missing."""
    if named:
        path = pathlib.Path(named).resolve()
        if not os.access(path, os.X_OK):
            sys.exit(f"no program at {path}")
        return path
    path = target() / "release" / "porchd"
    if not path.exists():
        cargo("--bin", "porchd")
    return path.resolve()


def load(named):
    """The load tool, up to date."""
    if named:
        return pathlib.Path(named).resolve()
    cargo("--example", "load")
    return (target() / "release" / "examples" / "load").resolve()


def cargo(*what):
    """Builds; quick when nothing changed."""
    if not shutil.which("cargo"):
        sys.exit("cargo is missing: install Rust, or name the programs with --porchd and --load")
    done = subprocess.run(["cargo", "build", "--release", "--locked", "--quiet", *what], cwd=TOP)
    if done.returncode:
        sys.exit(f"cargo build {' '.join(what)} failed")
