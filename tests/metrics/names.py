"""What the dashboard, the rules and the page of metrics say: their expressions, and the names of metrics in them."""

import json
import re
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
DASHBOARD = ROOT / "docs" / "deploy" / "grafana" / "fleetlogs.json"
RULES = ROOT / "docs" / "deploy" / "prometheus" / "fleetlogs.rules.yml"
CONFIG = ROOT / "docs" / "deploy" / "prometheus" / "prometheus.yml"
PAGE = ROOT / "docs" / "reference" / "metrics.md"

NAME = re.compile(r"\bfleetlogs_[a-z_]+")


def dashboard() -> dict:
    return json.loads(DASHBOARD.read_text())


def of_dashboard() -> dict[str, str]:
    """Each expression of the dashboard, by its panel, as Grafana sends it with all jobs and snapshots chosen."""
    known = {"$job": ".*", "$snapshot": ".*", "$__rate_interval": "1m", "$__interval": "1m"}
    found = {}
    for panel in dashboard()["panels"]:
        for target in panel["targets"]:
            expression = target["expr"]
            for name, value in known.items():
                expression = expression.replace(name, value)
            found[f"{panel['title']} ({target['refId']})"] = expression
    return found


def of_rules() -> dict[str, str]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return {rule["alert"]: rule["expr"] for group in groups for rule in group["rules"]}


def of_page() -> set[str]:
    """The names in the table of the page."""
    return {match[1] for match in re.finditer(r"^\| `(fleetlogs_[a-z_]+)", PAGE.read_text(), re.MULTILINE)}


def served(text: str) -> tuple[set[str], dict[str, str]]:
    """The names of the samples of a scrape, and the type of each family."""
    types = {match[1]: match[2] for match in re.finditer(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE)}
    samples = {match[0] for match in re.finditer(r"^fleetlogs_[a-z_]+", text, re.MULTILINE)}
    return samples, types


def classic(text: str) -> str:
    """OpenMetrics in the older text format, which is the only one that `promtool check metrics` reads."""
    _, types = served(text)
    ends = {"counter": "_total", "info": "_info"}
    lines = []
    for line in text.splitlines():
        match = re.match(r"# (HELP|TYPE) (\S+) (.*)", line)
        if match:
            kind, name, rest = match.groups()
            rest = "gauge" if (kind, rest) == ("TYPE", "info") else rest
            line = f"# {kind} {name}{ends.get(types[name], '')} {rest}"
        if line != "# EOF":
            lines.append(line)
    return "\n".join(lines) + "\n"
