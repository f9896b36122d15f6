"""The pipelines: against the published schemas of GitHub and Azure Pipelines, by zizmor, and by running their scripts.

The scripts run in order, as the services run them, on simulated fleets that end in three ways. Not checked: what the
services do themselves, such as signing in and keeping artifacts. What installs fleetlogs is not run, because it needs a
registry.
"""

import functools
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

from recipe import FITTING, longest_run

HOME = FITTING

FLEETLOGS = os.environ.get("FLEETLOGS", "target/debug/fleetlogs")

GITHUB = "github-actions/fleetlogs.yml"
AZURE = "azure-devops/azure-pipelines.yml"

SCHEMAS = {
    GITHUB: ["--builtin-schema", "vendor.github-workflows"],
    AZURE: ["--builtin-schema", "vendor.azure-pipelines", "--data-transform", "azure-pipelines", "--regex-variant", "nonunicode"],
}

# Actions are named by version, because a hash on a page is old soon; the page says to pin them.
ZIZMOR = "rules: { unpinned-uses: { config: { policies: { '*': ref-pin } } } }\n"

# The deadlines are far away: nothing here waits for one.
CONFIG = """
[simulator]
scenario = "fleet.toml"
[destination]
upload_allowance = "10m"
[deadlines]
call = "1m"
run = "10m"
[verify]
deadline = "5m"
settle = "1s"
"""
FLEET = """
[[account]]
name = "contoso"
[[account.pool]]
id = "a"
nodes = 3
arrival = "50ms"
"""
GONE = '[[account.fault]]\nkind = "code"\nstatus = 404\ncode = "NodeNotFound"\n'
# A fleet, and how its run ends.
ENDS = {"complete": FLEET, "partial": FLEET + GONE + "nodes = 0\n", "nothing-collected": FLEET + GONE}


def check(recipes: Path) -> list[str]:
    wrong = []
    for name, schema in SCHEMAS.items():
        path = recipes / name
        command = [sys.executable, "-m", "check_jsonschema", "--output-format", "TEXT", *schema, str(path)]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        if run.returncode:
            best = [line.strip() for line in run.stdout.splitlines() if re.match(r" +\$\S* ?", line)]
            wrong.append(f"{name}: {' / '.join(line[:300] for line in best) or run.stdout + run.stderr}")
    wrong = wrong or audit(recipes / GITHUB) + times(recipes)
    return wrong or github(recipes / GITHUB) + azure(recipes / AZURE)


def audit(workflow: Path) -> list[str]:
    with tempfile.TemporaryDirectory() as directory:
        config = Path(directory) / "zizmor.yml"
        config.write_text(ZIZMOR)
        # Beside the Python of this environment.
        zizmor = Path(sys.executable).with_name("zizmor")
        command = [str(zizmor), "--offline", "--no-progress", "--no-online-audits", "--persona", "pedantic", "--format", "plain", "--config", str(config), str(workflow)]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
    return [f"{workflow.name}: {run.stdout}{run.stderr}"] if run.returncode else []


def times(recipes: Path) -> list[str]:
    """A job lives longer than its run, and no token of `az` is needed for longer than it lives."""
    wrong = []
    minutes = {
        GITHUB: yaml.safe_load((recipes / GITHUB).read_text())["jobs"]["collect"]["timeout-minutes"],
        AZURE: int(yaml.safe_load((recipes / AZURE).read_text())["jobs"][0]["timeoutInMinutes"]),
    }
    configs = {name: (recipes / name).with_name("fleetlogs.toml").read_text() for name in minutes}
    for name, limit in minutes.items():
        if limit * 60 <= longest_run(configs[name]):
            wrong.append(f"{name}: the job is ended before its own deadlines are over (timeout)")
        if longest_run(configs[name]) > 45 * 60:
            wrong.append(f"{name}: a run may outlive the tokens of `az`, which last an hour")
    if len(set(configs.values())) > 1:
        wrong.append("the configs of the pipelines differ")
    return wrong


class Job:
    """A place where the scripts of a job run, and what they did."""

    def __init__(self, directory: str, fleet: str) -> None:
        self.here = Path(directory)
        (self.here / "fleetlogs.toml").write_text(CONFIG)
        (self.here / "fleet.toml").write_text(fleet)
        (self.here / "bin").mkdir()
        (self.here / "bin" / "fleetlogs").symlink_to(Path(FLEETLOGS).resolve())
        self.said = ""
        self.code = 0

    def run(self, script: str, flags: list[str], environment: dict[str, str]) -> None:
        """Runs a script, whatever came before it. The job fails with the first script that fails."""
        known = {"PATH": f"{self.here / 'bin'}:{os.environ['PATH']}", "HOME": str(self.here)}
        run = subprocess.run(["bash", *flags, "-c", script], cwd=self.here, env=known | environment, capture_output=True, text=True, check=False)
        self.said += run.stdout + run.stderr
        self.code = self.code or run.returncode


def github(workflow: Path) -> list[str]:
    document = yaml.safe_load(workflow.read_text())
    (job,) = document["jobs"].values()
    wrong = []
    for end, fleet in ENDS.items():
        with tempfile.TemporaryDirectory() as directory:
            ran = Job(directory, fleet)
            summary = ran.here / "summary"
            for step in job["steps"]:
                if "run" not in step or step.get("name") == "Install fleetlogs":
                    continue
                if ran.code and "cancelled()" not in step.get("if", ""):
                    continue
                values = {name: text.replace("${{ inputs.last }}", "2h") for name, text in step.get("env", {}).items()}
                ran.run(step["run"], ["-e"], values | {"GITHUB_STEP_SUMMARY": str(summary)})
            told = summary.read_text() if summary.exists() else ""
            bundles = list(ran.here.glob("fleetlogs-*.zip"))
            wrong += [f"{GITHUB}: {line}" for line in ended(end, ran, "::warning", told, bundles)]
    return wrong


def azure(pipeline: Path) -> list[str]:
    document = yaml.safe_load(pipeline.read_text())
    (job,) = document["jobs"]
    wrong = []
    for end, fleet in ENDS.items():
        with tempfile.TemporaryDirectory() as directory, tempfile.TemporaryDirectory() as staging:
            ran = Job(directory, fleet)
            for step in job["steps"]:
                if "inlineScript" not in step.get("inputs", {}) or step["displayName"] == "Install fleetlogs" or ran.code:
                    continue
                known = {"${{ parameters.last }}": "2h", "$(Build.ArtifactStagingDirectory)": staging}
                values = {name: functools.reduce(lambda so_far, each: so_far.replace(*each), known.items(), text) for name, text in step.get("env", {}).items()}
                ran.run(step["inputs"]["inlineScript"], [], values)
            uploaded = re.findall(r"##vso\[task\.uploadsummary\](.*)", ran.said)
            told = "".join(Path(path).read_text() for path in uploaded if Path(path).is_absolute() and Path(path).exists())
            bundles = list(Path(staging).glob("*.zip"))
            wrong += [f"{AZURE}: {line}" for line in ended(end, ran, "##vso[task.complete result=SucceededWithIssues;]", told, bundles)]
    return wrong


def ended(end: str, ran: Job, warning: str, summary: str, bundles: list[Path]) -> list[str]:
    """What is wrong with the end of a job."""
    wrong = []
    if (ran.code == 0) != (end in {"complete", "partial"}):
        wrong.append(f"after a run that is {end}, the job ends with {ran.code}: {ran.said}")
    if (warning in ran.said) != (end == "partial"):
        wrong.append(f"after a run that is {end}, there is a wrong warning or none")
    if not summary.partition("\n")[0].endswith(f": {end}"):
        wrong.append(f"after a run that is {end}, the summary says otherwise: {summary[:300]}")
    if len(bundles) != 1:
        wrong.append(f"after a run that is {end}, there are {len(bundles)} bundles: {ran.said}")
    return wrong
