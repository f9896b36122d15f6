"""The dashboard and the alert rules are about metrics that a daemon serves, and what is broken in them is found."""

import copy
import re
import subprocess
import tempfile
import typing
import unittest
from pathlib import Path

import grafana
import names
from stage import PROMETHEUS, Stage, stage, wait_for

HERE = Path(__file__).resolve().parent

# Where in the dashboard something else is put, and a word of what the check must say.
BROKEN: list[tuple[tuple, typing.Any, str]] = [
    (("panels", 0, "fieldConfig", "defaults", "units"), "s", "no `units`"),
    (("panels", 0, "options", "colorMode"), "shiny", "color_mode"),
    (("panels", 0, "id"), 2, "same id"),
    (("panels", 1, "gridPos", "x"), 2, "no place"),
    (("panels", 9, "fieldConfig", "defaults", "custom", "drawStyle"), "dots", "draw_style"),
    (("panels", 9, "targets", 0, "format"), "tables", "format"),
    (("graphTooltip",), 7, "graph_tooltip"),
    (("templating", "list", 1, "refresh"), "2", "refresh"),
]


def promtool(*arguments: str, text: str = "") -> subprocess.CompletedProcess:
    command = [str(PROMETHEUS / "promtool"), *arguments]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=False)


class Files(unittest.TestCase):
    def test_rules_and_config_are_valid(self) -> None:
        for command, path in (("rules", names.RULES), ("config", names.CONFIG)):
            checked = promtool("check", command, str(path))
            self.assertEqual(checked.returncode, 0, checked.stdout + checked.stderr)

    def test_every_rule_fires_when_it_should_and_only_then(self) -> None:
        tested = promtool("test", "rules", str(HERE / "rules_test.yml"))
        self.assertEqual(tested.returncode, 0, tested.stdout + tested.stderr)
        text = (HERE / "rules_test.yml").read_text()
        for rule in names.of_rules():
            fires = re.search(rf"alertname: {rule}\n +exp_alerts:", text)
            is_silent = f"alertname: {rule} }}" in text
            self.assertTrue(fires and is_silent, f"{rule}: no test for when it fires, or none for when it is silent")

    def test_a_rule_with_another_limit_is_found(self) -> None:
        rules = names.RULES.read_text()
        with tempfile.TemporaryDirectory() as directory:
            for old, new in (("> 26 * 3600", "> 260 * 3600"), ("== 1)", "== 0)"), (" > 0.05", " > 0.005")):
                self.assertIn(old, rules)
                (Path(directory) / "rules.yml").write_text(rules.replace(old, new))
                test = (HERE / "rules_test.yml").read_text().replace("../../docs/deploy/prometheus/fleetlogs.rules.yml", "rules.yml")
                (Path(directory) / "test.yml").write_text(test)
                self.assertNotEqual(promtool("test", "rules", str(Path(directory) / "test.yml")).returncode, 0, new)

    def test_the_dashboard_is_one_that_grafana_knows(self) -> None:
        self.assertEqual(grafana.check(names.dashboard()), [])

    def test_what_is_broken_in_the_dashboard_is_found(self) -> None:
        for path, value, says in BROKEN:
            with self.subTest(path=path):
                broken = copy.deepcopy(names.dashboard())
                place = broken
                for key in path[:-1]:
                    place = place[key]
                place[path[-1]] = value
                self.assertIn(says, "\n".join(grafana.check(broken)))


class Served(unittest.TestCase):
    """With a daemon that has had two runs, and a Prometheus that has seen both."""

    at: typing.ClassVar[Stage]

    @classmethod
    def setUpClass(cls) -> None:
        cls.at = cls.enterClassContext(stage())
        for number in (1, 2):
            # Seen before the alert, so that the increase by its run is seen, too.
            wait_for("scrape", lambda: cls.at.query("fleetlogs_schedule_owner == 1"))
            cls.at.alert(number)
            runs = f'sum(fleetlogs_runs_total{{snapshot="nightly", outcome="complete"}}) >= {number}'
            wait_for("run", lambda runs=runs: cls.at.query(runs))

    def test_the_daemon_is_scraped_without_errors(self) -> None:
        (target,) = self.at.api("targets")["activeTargets"]
        self.assertEqual((target["health"], target["lastError"]), ("up", ""))

    def test_the_linter_of_prometheus_finds_nothing(self) -> None:
        checked = promtool("check", "metrics", text=names.classic(self.at.scrape()))
        self.assertEqual((checked.returncode, checked.stdout + checked.stderr), (0, ""))

    def test_every_panel_shows_something(self) -> None:
        for panel, expression in names.of_dashboard().items():
            with self.subTest(panel):
                wait_for(f"result of {expression}", lambda expression=expression: self.at.query(expression))

    def test_every_variable_of_the_dashboard_has_a_choice(self) -> None:
        for variable in names.dashboard()["templating"]["list"]:
            if variable["type"] == "query":
                match = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]["query"])
                self.assertTrue(self.at.api(f"label/{match[2]}/values", **{"match[]": match[1]}), variable["name"])

    def test_every_rule_is_evaluated_without_error(self) -> None:
        def evaluated() -> list[dict]:
            rules = [rule for group in self.at.api("rules")["groups"] for rule in group["rules"]]
            return rules if rules and all(rule["health"] != "unknown" for rule in rules) else []

        rules = wait_for("evaluation", evaluated)
        self.assertEqual({rule["name"] for rule in rules}, set(names.of_rules()))
        self.assertEqual([rule for rule in rules if rule["health"] != "ok" or rule.get("lastError")], [])

    def test_every_name_is_served_and_every_family_is_on_the_page(self) -> None:
        samples, types = names.served(self.at.scrape())
        for where, expressions in (("dashboard", names.of_dashboard()), ("rules", names.of_rules())):
            for name, expression in expressions.items():
                # A pattern of names is no name.
                for metric in set(names.NAME.findall(expression)):
                    self.assertIn(metric, samples, f"{where}: {name}")
        ends = {"counter": "_total", "info": "_info"}
        families = {name + ends.get(kind, "") for name, kind in types.items()}
        self.assertEqual(families, names.of_page())


if __name__ == "__main__":
    unittest.main()
