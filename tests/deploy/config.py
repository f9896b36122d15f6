"""The configs of the recipes, with what stands in them as a comment, and the command lines: by fleetlogs itself."""

import os
import re
import shlex
import subprocess
import tempfile
from pathlib import Path

import yaml

from recipe import ROOT, SCALE_OUT

GUIDE = ROOT / "docs" / "guide" / "scale-out.md"

# The binary to ask; tests/deploy.sh builds it.
FLEETLOGS = os.environ.get("FLEETLOGS", "target/debug/fleetlogs")


def configs(recipes: Path) -> dict[str, str]:
    """Every config, by where it is from."""
    found = {path.relative_to(recipes).as_posix(): path.read_text() for path in sorted(recipes.rglob("*.toml"))}
    for path in sorted(recipes.rglob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text()):
            if document["kind"] == "ConfigMap":
                for name, text in document["data"].items():
                    found[f"{path.relative_to(recipes)}/{name}"] = text
    return found


def with_comments(config: str) -> str:
    """The config with what is offered in its comments: lines such as `# key = value` and `# [table]`."""
    return re.sub(r"^# (?=\[|[a-z_]+ = )", "", config, flags=re.MULTILINE)


def check(recipes: Path) -> list[str]:
    # What units, manifests, job and image run; the other checks see to it that they run nothing else.
    wrong = misread("schedule fleetlogs.toml") + misread("schedule fleetlogs.toml --once nightly")
    for command, choices in SCALE_OUT.items():
        for choice in choices:
            wrong += misread(" ".join([command, "fleetlogs.toml", *choice]))
    for name, text in configs(recipes).items():
        for way, config in (("", text), (", with what is in its comments", with_comments(text))):
            wrong += [f"{name}{way}: {line}" for line in refused(config)]
    # The guide of scale-out is about what its recipes run.
    for page in [*sorted(recipes.rglob("*.md")), GUIDE]:
        for line in commands(page.read_text()):
            wrong += [f"{page.parent.name}/{page.name}: {each}" for each in misread(line)]
    return wrong


def refused(config: str) -> list[str]:
    """What fleetlogs finds wrong with a config. Credentials are given, none of them real; nothing is asked of Azure."""
    with tempfile.TemporaryDirectory() as directory:
        here = Path(directory)
        (here / "fleetlogs.toml").write_text(config)
        (here / "webhook-url").write_text("https://hooks.contoso.example/1")
        (here / "client-secret").write_text("not a secret, but as long as one")
        nowhere = {"HTTP_PROXY": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9"}
        environment = {"PATH": os.environ["PATH"], "CREDENTIALS_DIRECTORY": directory, **nowhere}
        command = [FLEETLOGS, "schedule", "fleetlogs.toml", "--list"]
        if "[scale_out]" in config:
            command = [FLEETLOGS, "worker", "fleetlogs.toml"]
        elif "[[snapshot]]" not in config:
            command = [FLEETLOGS, "check", "fleetlogs.toml"]
        try:
            run = subprocess.run(command, cwd=here, env=environment, capture_output=True, text=True, check=False, timeout=20)
        except subprocess.TimeoutExpired:
            # It has read its config, and waits for a lease or a queue that it cannot reach.
            return []
    # 5: a lease, a queue or an account that cannot be reached from here.
    return [] if run.returncode in {0, 5} else [f"exit code {run.returncode}: {run.stderr.strip()}"]


def commands(page: str) -> list[str]:
    """The arguments of fleetlogs in the examples and the text of a page, whoever starts it."""
    found = re.findall(r"`fleetlogs ([a-z][^`]*)`", page)
    for block in re.findall(r"^ *```console\n(.*?)```", page, re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            match = re.search(r"(?:^ *(?:sudo )?fleetlogs|/bin/fleetlogs|/fleetlogs:\S+) (?=[a-z])", line)
            if match:
                found.append(line[match.end() :].strip())
    return found


def misread(line: str) -> list[str]:
    """Whether the program knows these words. `--help` at their end: they are read, and nothing is done."""
    run = subprocess.run([FLEETLOGS, *shlex.split(line), "--help"], capture_output=True, text=True, check=False)
    return [f"`fleetlogs {line}`: {run.stderr.splitlines()[0]}"] if run.returncode else []
