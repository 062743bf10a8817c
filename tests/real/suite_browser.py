"""Headless Chromium: a page served by porchd's files route uses the homeserver on another origin.

A browser shows a script nothing without CORS, not even the status: this is where an edge's own answers
have to be right.
"""

import base64
import hashlib
import os
import shutil
import subprocess

from homeserver import Synapse
from lab import node, wait_until
from porch import Porch
from talk import User

LIMIT = 180

SITE = """\
sites:
  - hosts: [ web.a.test ]
    routes:
      - {{ path: /, files: {{ root: {root} }} }}
"""


def run(lab):
    www = lab.dir / "www"
    www.mkdir()
    (www / "index.html").write_text(
        "<!doctype html><meta charset=utf-8><title>on the porch</title><script src=/app.js></script>\n"
    )
    (www / "app.js").write_text("window.loaded = true;\n")
    lab.names({"a.test": ["127.0.0.2"]})
    # Below 12.5 MiB Synapse answers 413 itself; above its largest body it only resets the connection.
    home = Synapse(lab, "a.test", 8008, max_upload_size="1M")
    home.begin()
    porch = Porch(
        lab,
        "a.test",
        8008,
        ["127.0.0.2"],
        well_known="matrix.a.test:443",
        names=["web.a.test"],
        more=SITE.format(root=www),
        # What a page can read at last is looked at here, not how long it waits.
        upstream="    park: { client: 2s }\n",
    ).start()
    wait_until(home.healthy, 120, "Synapse is healthy", home.process)
    uploader = User(lab, "https://matrix.a.test", "erin")
    wait_until(lambda: uploader.register()[1].status == 200, 20, "erin is registered")
    browse(lab, porch, "up", uploader.token)
    home.stop()
    browse(lab, porch, "down")
    lab.check("no panic in porchd's log", "panicked" not in porch.said())


def browse(lab, porch, home, *token):
    """One run of the browser; `home` is up, then with a token, or down."""
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or "chromium"
    node(lab, "browser.mjs", chromium, lab.dir / ("profile-" + home), key_pin(porch.cert), home, *token, limit=75)


def key_pin(certificate):
    """SHA-256 of the certificate's public key, as Chromium wants it."""
    public = subprocess.run(
        ["openssl", "x509", "-in", certificate, "-noout", "-pubkey"], check=True, capture_output=True
    ).stdout
    der = subprocess.run(
        ["openssl", "pkey", "-pubin", "-outform", "der"], input=public, check=True, capture_output=True
    ).stdout
    return base64.b64encode(hashlib.sha256(der).digest()).decode()
