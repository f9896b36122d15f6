"""A daemon on a simulated fleet, and a Prometheus that scrapes it. Both end with the test."""

import contextlib
import json
import os
import socket
import subprocess
import tempfile
import time
import typing
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import yaml

from names import CONFIG, RULES

# The binaries; tests/metrics.sh builds and unpacks them.
FLEETLOGS = os.environ.get("FLEETLOGS", "target/debug/fleetlogs")
PROMETHEUS = Path(os.environ.get("PROMETHEUS", "/usr/bin"))

# Far away: a test that waits for a fact so long is broken.
PATIENCE = 300

SECRET = "plainly-fake-alert-secret"

# Two nodes are bad from the start, and one call is throttled, so that every metric has something to say.
FLEET = """
[[account]]
name = "contoso"
[[account.pool]]
id = "a"
nodes = 8
arrival = "50ms"
states = { running = 0.75, unusable = 0.25 }
[[account.fault]]
kind = "throttle"
nodes = 0
first = 1
"""

# The snapshot of the rules; it starts by alerts only.
DAEMON = """
[simulator]
scenario = "fleet.toml"
[destination]
upload_allowance = "10m"
[deadlines]
call = "1m"
[verify]
settle = "1s"
[[snapshot]]
name = "nightly"
cron = "0 0 1 1 *"
[[snapshot]]
name = "went-bad"
on_state = ["unusable"]
every = "5s"
[schedule.listener]
address = "127.0.0.1:{port}"
secret = {{ file = "alert-secret" }}
[[notify]]
command = ["true"]
"""


def wait_for(what: str, look: typing.Callable[[], typing.Any]) -> typing.Any:
    """What a look finds, as soon as it finds something."""
    deadline = time.monotonic() + PATIENCE
    seen: typing.Any = None
    while time.monotonic() < deadline:
        try:
            if found := look():
                return found
        except (OSError, urllib.error.HTTPError, ValueError) as error:
            seen = error
        time.sleep(0.2)
    raise AssertionError(f"no {what}: {seen}")


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
        return answer.read().decode()


class Stage:
    """Where both listen, and what can be done there."""

    def __init__(self, daemon: int, prometheus: int) -> None:
        self.daemon = f"http://127.0.0.1:{daemon}"
        self.prometheus = f"http://127.0.0.1:{prometheus}"

    def scrape(self) -> str:
        return get(f"{self.daemon}/metrics")

    def api(self, path: str, **parameters: str) -> typing.Any:
        """The data of an answer of Prometheus. What it finds wrong with a query is a failure; while it starts, it answers 503."""
        query = urllib.parse.urlencode(parameters)
        try:
            return json.loads(get(f"{self.prometheus}/api/v1/{path}?{query}"))["data"]
        except urllib.error.HTTPError as error:
            if error.code >= 500:
                raise
            raise AssertionError(f"{path} {parameters}: {error.read().decode()}") from error

    def query(self, expression: str) -> list:
        return self.api("query", query=expression)["result"]

    def alert(self, number: int) -> None:
        """An alert of Azure Monitor, which starts a run."""
        essentials = {
            "alertId": f"/subscriptions/0/providers/Microsoft.AlertsManagement/alerts/{number}",
            "alertRule": "nodes",
            "monitorCondition": "Fired",
            "firedDateTime": "2026-11-22T09:00:00Z",
        }
        body = {"schemaId": "azureMonitorCommonAlertSchema", "data": {"essentials": essentials}}
        request = urllib.request.Request(f"{self.daemon}/alerts/nightly?code={SECRET}", data=json.dumps(body).encode())
        urllib.request.urlopen(request, timeout=PATIENCE).close()


@contextlib.contextmanager
def process(command: list[str], here: Path) -> typing.Iterator[None]:
    with (here / f"{Path(command[0]).name}.log").open("w") as log:
        running = subprocess.Popen(command, cwd=here, stdout=log, stderr=subprocess.STDOUT)
        try:
            yield
            if running.poll() is not None:
                raise AssertionError((here / f"{Path(command[0]).name}.log").read_text())
        finally:
            running.terminate()
            running.wait()


@contextlib.contextmanager
def stage() -> typing.Iterator[Stage]:
    with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as running:
        here = Path(directory)
        daemon, prometheus = free_port(), free_port()
        (here / "fleet.toml").write_text(FLEET)
        (here / "fleetlogs.toml").write_text(DAEMON.format(port=daemon))
        (here / "alert-secret").write_text(SECRET)
        # The config of the page, in a hurry, and with this daemon.
        config = yaml.safe_load(CONFIG.read_text())
        config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        config["rule_files"] = [str(RULES)]
        config["scrape_configs"][0]["static_configs"][0]["targets"] = [f"127.0.0.1:{daemon}"]
        (here / "prometheus.yml").write_text(yaml.safe_dump(config))
        running.enter_context(process([str(Path(FLEETLOGS).resolve()), "schedule", "fleetlogs.toml"], here))
        arguments = ["--config.file=prometheus.yml", "--storage.tsdb.path=data", f"--web.listen-address=127.0.0.1:{prometheus}"]
        running.enter_context(process([str(PROMETHEUS / "prometheus"), *arguments], here))
        yield Stage(daemon, prometheus)
