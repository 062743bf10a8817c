"""Federation without delegation: well-known is 404, SRV is NODATA, peers come to port 8448 of the server's name."""

import federation

LIMIT = 240


def run(lab):
    federation.run(lab, delegated=False)
