"""Twenty upgrades and twenty crashes, as in `suite_processes.py`."""

import suite_processes

LIMIT = 300


def run(lab):
    suite_processes.run(lab, 20)
