"""matrix-js-sdk in node: the library below Element, from discovery to an encrypted message."""

from homeserver import Synapse
from lab import node, wait_until
from porch import Porch
from talk import User

LIMIT = 240


def run(lab):
    lab.names({"a.test": ["127.0.0.2"]})
    home = Synapse(lab, "a.test", 8008)
    home.begin()
    porch = Porch(lab, "a.test", 8008, ["127.0.0.2"], well_known="matrix.a.test:443").start()
    wait_until(home.healthy, 120, "Synapse is healthy", home.process)
    for name in ("carol", "dave"):
        person = User(lab, "https://matrix.a.test", name, "pw")
        wait_until(lambda: person.register()[1].status == 200, 20, f"{name} is registered")
    node(lab, "js_client.mjs", "a.test", "carol", "dave", "pw", limit=150)
    lab.check("no ERROR in Synapse's log", not home.errors(), home.errors()[:1])
    lab.check("no panic in porchd's log", "panicked" not in porch.said())
