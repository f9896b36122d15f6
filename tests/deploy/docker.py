"""The Dockerfile: by hadolint, and what that does not know: what is copied is there, and the last stage is bare."""

import json
import re
import subprocess
import sys
from pathlib import Path

from recipe import ROOT, wrong_command

HADOLINT = Path(sys.executable).parent / "hadolint"


def check(recipes: Path) -> list[str]:
    here = recipes / "docker"
    dockerfile = here / "Dockerfile"
    run = subprocess.run(
        [str(HADOLINT), "--no-color", "--failure-threshold", "style", str(dockerfile)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )
    wrong = [line for line in run.stdout.splitlines() if line.strip()]
    if run.returncode and not wrong:
        wrong.append(f"hadolint ended with {run.returncode}")
    lines = dockerfile.read_text().replace("\\\n", " ").splitlines()
    instructions = [line.split(maxsplit=1) for line in lines if line.strip() and not line.startswith("#")]
    return wrong + copied(instructions, here) + last_stage(instructions)


def copied(instructions: list[list[str]], here: Path) -> list[str]:
    """Everything that is copied from the repository is in it, and let through by the ignore file."""
    allowed = {line[1:] for line in (here / "Dockerfile.dockerignore").read_text().splitlines() if line.startswith("!")}
    wrong = []
    sources = [
        source
        for word, rest in instructions
        if word == "COPY" and "--from=" not in rest
        for source in rest.split()[:-1]
    ]
    for file in built_in():
        if not any(file == source or file.startswith(f"{source}/") for source in sources):
            wrong.append(f"Dockerfile: does not copy {file}, which is built into the program")
    for source in sources:
        if not (ROOT / source).exists():
            wrong.append(f"Dockerfile: there is no {source} to copy")
        if source not in allowed:
            wrong.append(f"Dockerfile.dockerignore: keeps {source} from the build")
    return wrong


def built_in() -> list[str]:
    """Files outside of the sources that the program is made of."""
    found = set()
    for path in (ROOT / "crates").glob("*/src/**/*.rs"):
        for name in re.findall(r'include_(?:str|bytes)!\(\s*"([^"]+)"', path.read_text()):
            found.add((path.parent / name).resolve().relative_to(ROOT).as_posix())
    return sorted(found)


def last_stage(instructions: list[list[str]]) -> list[str]:
    begin = max(index for index, (word, _) in enumerate(instructions) if word == "FROM")
    stage: dict[str, str] = {}
    for word, rest in instructions[begin:]:
        stage[word] = rest
    wrong = []
    if stage["FROM"] != "scratch":
        wrong.append("Dockerfile: the last stage is not FROM scratch")
    user = stage.get("USER", "0").split(":")
    if not all(part.isdecimal() and int(part) >= 1000 for part in user):
        wrong.append("Dockerfile: USER is not the number of an ordinary user, so that runAsNonRoot refuses it")
    if words(stage, "ENTRYPOINT") != ["/usr/bin/fleetlogs"]:
        wrong.append("Dockerfile: the ENTRYPOINT is not the program alone")
    wrong += [f"Dockerfile: {line}" for line in wrong_command(words(stage, "CMD"), "")]
    if "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt" not in stage.get("ENV", ""):
        wrong.append("Dockerfile: SSL_CERT_FILE does not say where the authorities are")
    if set(words(stage, "VOLUME")) != {"/var/lib/fleetlogs", "/tmp"}:
        wrong.append("Dockerfile: the volumes are not those that a read-only root file system takes")
    return wrong


def words(stage: dict[str, str], instruction: str) -> list[str]:
    """What an instruction lists; none where it is written for a shell, which the image does not have."""
    text = stage.get(instruction, "[]")
    return json.loads(text) if text.startswith("[") else []
