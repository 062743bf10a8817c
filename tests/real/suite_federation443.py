"""Federation by delegation: well-known names `matrix.NAME:443`."""

import federation

LIMIT = 240


def run(lab):
    federation.run(lab, delegated=True)
