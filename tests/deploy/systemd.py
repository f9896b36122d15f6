"""The units: systemd reads every key, and the sandbox is as tight as it says."""

import re
import subprocess
import tempfile
from pathlib import Path

from recipe import longest_run, wrong_command

BINARY = "/usr/local/bin/fleetlogs"

# In tenths of a point, of ten. What is left is the network and the root directory of the host, which is read-only.
EXPOSURE = 12


def check(recipes: Path) -> list[str]:
    here = recipes / "systemd"
    config = (here / "fleetlogs.toml").read_text()
    wrong = []
    with tempfile.TemporaryDirectory() as directory:
        copies = Path(directory)
        for unit in sorted([*here.glob("*.service"), *here.glob("*.timer")]):
            text = unit.read_text()
            # The program need not be installed to check the unit, and a template is checked as one of its instances.
            instance = unit.name.replace("@.", "@nightly.")
            (copies / unit.name).write_text(text.replace(BINARY, "/bin/true"))
            (copies / instance).write_text(text.replace(BINARY, "/bin/true"))
            wrong += [f"{unit.name}: {line}" for line in commands(text, config)]
        for unit in sorted(copies.iterdir()):
            if "@." not in unit.name:
                wrong += verify(unit)
            if unit.suffix == ".service":
                wrong += security(unit)
    return wrong


def commands(unit: str, config: str) -> list[str]:
    wrong = []
    for command in re.findall(r"^ExecStart=(.*)$", unit, re.MULTILINE):
        program, *words = command.replace("%i", "nightly").split()
        if program != BINARY:
            wrong.append(f"starts `{program}`")
        wrong += wrong_command(words, config)
    timeout = re.search(r"^TimeoutStartSec=(\d+)h$", unit, re.MULTILINE)
    if "Type=oneshot" in unit and (timeout is None or int(timeout[1]) * 3600 <= longest_run(config)):
        wrong.append("ends a run before its own deadlines do (TimeoutStartSec)")
    prevented = re.search(r"^RestartPreventExitStatus=(.*)$", unit, re.MULTILINE)
    codes = set(prevented[1].split()) if prevented else set()
    # Another try helps a run after 6 only; the daemon, which begins no run again, after all but a defect and its config.
    if "[Service]" in unit and codes != (set("1234578") if "Type=oneshot" in unit else {"1", "2"}):
        wrong.append(f"is not started again after {' '.join(sorted(codes))} (RestartPreventExitStatus)")
    return wrong


def verify(unit: Path) -> list[str]:
    """systemd only warns of a key that it does not know, so that any word is a mistake."""
    run = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )
    if run.returncode or run.stdout.strip():
        return [f"{unit.name}: systemd-analyze verify ended with {run.returncode}: {run.stdout.strip()}"]
    return []


def security(unit: Path) -> list[str]:
    run = subprocess.run(
        ["systemd-analyze", "security", "--no-pager", "--offline=true", f"--threshold={EXPOSURE}", str(unit)],
        capture_output=True, text=True, check=False,
    )
    if run.returncode:
        last = (run.stdout.strip() or run.stderr.strip()).splitlines()[-1]
        return [f"{unit.name}: more exposed than {EXPOSURE / 10}: {last}"]
    return []
