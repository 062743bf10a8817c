"""A real Synapse on the loopback, as `README.md` ("The home side") tells people to set it up."""

import hashlib
import hmac
import json
import os
import subprocess
import urllib.error
import urllib.request

from lab import CACHE, wait_until

PYTHON = CACHE / "synapse" / "bin" / "python"

# Tests go faster than people: every limit that counts requests is out of the way.
OPEN = {"per_second": 1000, "burst_count": 10000}


class Synapse:
    """One homeserver with its data in the suite's folder; `inside` starts it on another host."""

    def __init__(self, lab, name, port, address="127.0.0.1", inside=(), **settings):
        self.lab, self.name, self.port, self.address, self.inside = lab, name, port, address, inside
        self.url = f"http://{address}:{port}"
        self.dir = lab.dir / ("synapse-" + name)
        self.dir.mkdir()
        self.process = None
        self.config = self.dir / "homeserver.yaml"
        # JSON is YAML.
        self.config.write_text(json.dumps({**self._settings(), **settings}, indent=1))
        (self.dir / "log.yaml").write_text(json.dumps(self._logging()))

    def _settings(self):
        return {
            "server_name": self.name,
            "public_baseurl": f"https://matrix.{self.name}/",
            "listeners": [
                {
                    "port": self.port,
                    "bind_addresses": [self.address],
                    "type": "http",
                    "tls": False,
                    "x_forwarded": True,
                    "resources": [{"names": ["client", "federation"], "compress": False}],
                }
            ],
            "database": {"name": "sqlite3", "args": {"database": str(self.dir / "homeserver.db")}},
            "media_store_path": str(self.dir / "media"),
            "signing_key_path": str(self.dir / "signing.key"),
            "log_config": str(self.dir / "log.yaml"),
            "pid_file": str(self.dir / "pid"),
            "registration_shared_secret": "shared",
            "macaroon_secret_key": "macaroon",
            "form_secret": "form",
            "enable_registration": True,
            "enable_registration_without_verification": True,
            "report_stats": False,
            "trusted_key_servers": [],
            "suppress_key_server_warning": True,
            "federation_custom_ca_list": [str(self.lab.ca)],
            # The names of the suite live on the loopback.
            "ip_range_blacklist": [],
            "federation_ip_range_blacklist": [],
            "allow_public_rooms_over_federation": True,
            "max_upload_size": "60M",
            "rc_message": OPEN,
            "rc_registration": OPEN,
            "rc_joins_per_room": OPEN,
            "rc_media_create": OPEN,
            "rc_room_creation": OPEN,
            "rc_login": {"address": OPEN, "account": OPEN, "failed_attempts": OPEN},
            "rc_joins": {"local": OPEN, "remote": OPEN},
            "rc_invites": {"per_room": OPEN, "per_user": OPEN, "per_issuer": OPEN},
        }

    def _logging(self):
        return {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"line": {"format": "%(asctime)s %(name)s %(levelname)s %(message)s"}},
            "handlers": {
                "file": {
                    "class": "logging.FileHandler",
                    "filename": str(self.dir / "synapse.log"),
                    "formatter": "line",
                }
            },
            "root": {"level": "INFO", "handlers": ["file"]},
        }

    def start(self):
        """Starts it and waits until it says that it is healthy."""
        self.begin()
        wait_until(self.healthy, 120, f"Synapse of {self.name} is healthy", self.process)
        return self

    def begin(self):
        """Starts it without waiting."""
        if not (self.dir / "signing.key").exists():
            subprocess.run(
                [PYTHON, "-m", "synapse.app.homeserver", "--generate-keys", "-c", str(self.config)],
                check=True,
                cwd=self.dir,
                stdout=subprocess.DEVNULL,
            )
        env = {name: value for name, value in os.environ.items() if not name.startswith("SSL_CERT")}
        self.process = self.lab.spawn(
            [*self.inside, PYTHON, "-m", "synapse.app.homeserver", "-c", self.config],
            f"synapse-{self.name}.out",
            env=env,
            cwd=self.dir,
        )

    def healthy(self):
        """Whether /health answers, asked directly."""
        try:
            with urllib.request.urlopen(self.url + "/health", timeout=2) as answer:
                return answer.status == 200
        except OSError:
            return False

    def stop(self):
        """Stops it the way a service manager does."""
        self.process.stop()

    def admin(self, token, path):
        """The admin API, asked directly, past the edge."""
        request = urllib.request.Request(self.url + path, headers={"Authorization": "Bearer " + token})
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            return {"status": error.code, **json.load(error)}

    def administrator(self, name):
        """Registers an administrator by the shared secret, asked directly; returns the token."""
        url = self.url + "/_synapse/admin/v1/register"
        with urllib.request.urlopen(url, timeout=20) as answer:
            nonce = json.load(answer)["nonce"]
        proof = hmac.new(b"shared", "\0".join([nonce, name, "secret", "admin"]).encode(), hashlib.sha1).hexdigest()
        wish = {"nonce": nonce, "username": name, "password": "secret", "admin": True, "mac": proof}
        with urllib.request.urlopen(url, json.dumps(wish).encode(), timeout=20) as answer:
            return json.load(answer)["access_token"]

    def errors(self):
        """Its log lines of level ERROR."""
        return [
            line for line in (self.dir / "synapse.log").read_text(errors="replace").splitlines() if " ERROR " in line
        ]
