"""What GitHub reads: the workflows of CI and of a release, and the forms for issues; against its published schemas, and by
zizmor.

Not checked: what GitHub does with them. No workflow has ever run.
"""

import functools
import re
import subprocess
import sys
from pathlib import Path

import jsonschema
import ruamel.yaml
import yaml
from check_jsonschema.builtin_schemas import get_builtin_schema

from recipe import ROOT

HOME = ROOT / ".github"

SCHEMAS = {
    "workflows/*.yml": "vendor.github-workflows",
    "ISSUE_TEMPLATE/[!c]*.yml": "vendor.github-issue-forms",
    "ISSUE_TEMPLATE/config.yml": "vendor.github-issue-config",
}

# What a release has programs for: the page on installing names them.
TARGETS = {
    "x86_64-unknown-linux-gnu",
    "aarch64-unknown-linux-gnu",
    "x86_64-unknown-linux-musl",
    "aarch64-unknown-linux-musl",
    "aarch64-apple-darwin",
    "x86_64-apple-darwin",
}


@functools.cache
def validator(schema: str) -> jsonschema.protocols.Validator:
    found = get_builtin_schema(schema)
    return jsonschema.validators.validator_for(found)(found)


def check(home: Path) -> list[str]:
    wrong = []
    for pattern, schema in SCHEMAS.items():
        paths = sorted(home.glob(pattern))
        if not paths:
            wrong.append(f"there is no {pattern}")
        for path in paths:
            # YAML 1.2, in which `on` is a word.
            document = ruamel.yaml.YAML(typ="safe", pure=True).load(path)
            error = jsonschema.exceptions.best_match(validator(schema).iter_errors(document))
            if error:
                # Of several forms that it could have, what each lacks.
                messages = [leaf.message for leaf in error.context or [error]]
                wrong.append(f"{path.name}: {error.json_path}: {' / '.join(messages)}")
    return wrong or workflows(home) + forms(home) or audit(home)


def workflows(home: Path) -> list[str]:
    wrong = []
    for path in sorted(home.glob("workflows/*.yml")):
        text = path.read_text()
        for use in re.findall(r"uses: (\S+.*)", text):
            if not re.fullmatch(r"\./\S+|\S+@[0-9a-f]{40} # v[0-9.]+", use):
                wrong.append(f"{path.name}: `{use}` is not pinned by its commit, with its version behind it")
        for script in re.findall(r"\bbash (\S+\.sh)", text):
            if not (ROOT / script).is_file():
                wrong.append(f"{path.name}: there is no {script}")
        toolchains = set(re.findall(r"rust:([0-9.]+)|toolchain install ([0-9.]+)|cargo \+([0-9.]+)", text))
        dockerfile = (ROOT / "docs/deploy/docker/Dockerfile").read_text()
        image = re.search(r"rust:([0-9.]+)", dockerfile).group(1)
        for version in {"".join(groups) for groups in toolchains} - {image}:
            wrong.append(f"{path.name}: Rust {version}, and the image is built with {image}")
        wrong += permissions(path.name, yaml.safe_load(text))
    release = yaml.safe_load((home / "workflows/release.yml").read_text())
    jobs = release["jobs"]
    targets = {entry["target"] for name in ("linux", "macos") for entry in jobs[name]["strategy"]["matrix"]["include"]}
    if targets != TARGETS:
        wrong.append(f"release.yml builds for {sorted(targets ^ TARGETS)}, or does not, unlike this check")
    page = (ROOT / "docs/guide/install.md").read_text()
    wrong += [f"docs/guide/install.md does not name {target}" for target in sorted(targets) if target not in page]
    missing = set(jobs) - {"publish"} - set(jobs["publish"]["needs"])
    if missing:
        wrong.append(f"release.yml publishes without {sorted(missing)}")
    return wrong


def audit(home: Path) -> list[str]:
    # Of the lint's findings, those below are about taste.
    zizmor = Path(sys.executable).with_name("zizmor")
    command = [str(zizmor), "--offline", "--no-progress", "--format", "plain", "--min-severity", "medium", str(home)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    return [run.stdout + run.stderr] if run.returncode else []


def permissions(name: str, workflow: dict) -> list[str]:
    """Nothing may write but what publishes, and that only where a tag was pushed."""
    wrong = []
    if workflow.get("permissions") != {}:
        wrong.append(f"{name}: what is not named has permissions")
    for job, body in workflow["jobs"].items():
        writes = [scope for scope, right in (body.get("permissions") or {}).items() if right != "read"]
        if writes and (job != "publish" or "refs/tags/" not in str(body.get("if"))):
            wrong.append(f"{name}: `{job}` may write {writes}")
    return wrong


def forms(home: Path) -> list[str]:
    """Each form asks for what is needed; what may be shown to everybody is a warning first."""
    wrong = []
    for path in sorted(home.glob("ISSUE_TEMPLATE/[!c]*.yml")):
        fields = yaml.safe_load(path.read_text())["body"]
        required = " ".join(str(field) for field in fields if field.get("validations", {}).get("required"))
        asks_for_log = "log.jsonl" in path.read_text()
        for asked in ["fleetlogs --version"] + ["log.jsonl"] * asks_for_log:
            if asked not in required:
                wrong.append(f"{path.name}: does not require `{asked}`")
        if asks_for_log and "ecrets" not in str(fields[0]):
            wrong.append(f"{path.name}: asks for a log without a word on secrets before")
    if not any("log.jsonl" in path.read_text() for path in home.glob("ISSUE_TEMPLATE/*.yml")):
        wrong.append("no form asks for `log.jsonl`")
    return wrong
