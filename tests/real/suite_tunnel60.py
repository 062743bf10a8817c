"""Home is away for a minute, in each of the ways of `suite_tunnel.py`."""

import suite_tunnel

LIMIT = 1200


def run(lab):
    suite_tunnel.run(lab, 60, ["drop", "link", "kill", "move", "restart", "hang"])
