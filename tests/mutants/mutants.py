"""Mutation tests of the engine: does a test fail if the code is wrong?

cargo-mutants lists the mutants. All of them are built at once, each behind a switch (switches.py), and each is run against
the tests that reach it, the quick ones of its module first. That takes half an hour on two cores, where a build for each
mutant takes a day.

Called by `just mutants`. Everything is below target/mutants and is kept, so a run that was stopped continues.
"""

import collections
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import switches

PACKAGE = "fleetlogs-engine"
FOLDER = Path("crates/engine")
ROOT = Path(__file__).resolve().parents[2]
WORK = ROOT / "target/mutants"
TREE = WORK / "tree"
HERE = Path(__file__).parent
TICKS = os.sysconf("SC_CLK_TCK")
PAGES = 1_500_000_000 // os.sysconf("SC_PAGE_SIZE")


def kept(name: str, make):
    """What is in a file, or is made and stored there."""
    file = WORK / name
    if not file.exists():
        store(name, make())
    return json.loads(file.read_text())


def store(name: str, value) -> None:
    (WORK / f"{name}.new").write_text(json.dumps(value))
    (WORK / f"{name}.new").rename(WORK / name)


def listed() -> list[dict]:
    """The mutants; which modules they are of is in .cargo/mutants.toml."""
    command = ["cargo", "mutants", "--list", "--json", "--package", PACKAGE]
    found = json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout)
    return [mutant | {"number": number} for number, mutant in enumerate(found)]


def build(mutants: list[dict]) -> dict:
    """Builds the tests with a switch for each mutant. Returns where they are, and which mutants have none and why."""
    none = {}
    while True:
        copy_tree()
        impossible = switches.put_in(TREE, FOLDER, mutants, set(none))
        refused = switches.refused(TREE, PACKAGE)
        if not refused:
            break
        print(f"{len(refused)} mutants do not compile", flush=True)
        none |= {number: f"does not compile: {why}" for number, why in refused.items()}
    command = ["cargo", "test", "--locked", "--package", PACKAGE, "--lib", "--no-run", "--message-format=json"]
    lines = subprocess.run(command, cwd=TREE, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    tests = [message["executable"] for message in map(json.loads, lines) if message.get("executable")]
    return {"tests": tests[-1], "none": none | impossible}


def copy_tree() -> None:
    """The sources as they are, without what git ignores. The target directory stays."""
    names = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    for name in subprocess.run(names, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0"):
        source, copy = ROOT / name, TREE / name
        if name and source.is_file() and not (copy.exists() and copy.read_bytes() == source.read_bytes()):
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, copy)


def processor_time(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def run(tests: str, names: list[str], environment: dict[str, str], seconds: float) -> tuple[str, float]:
    """Runs tests until one fails. Returns what came of it, and the time of the processor, which has a limit: how long it
    takes is no measure on a busy machine. A mutant that sleeps forever, or fills the memory, is ended, too."""
    process = subprocess.Popen(
        [tests, "--exact", "--include-ignored", "--test-threads=2", *names],
        cwd=TREE / FOLDER, env=os.environ | environment | {"RUST_BACKTRACE": "0"},
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True,
    )
    said, used, moved, result = b"", 0.0, time.monotonic(), ""
    while not result:
        if select.select([process.stdout], [], [], 1)[0]:
            chunk = os.read(process.stdout.fileno(), 1 << 16)
            said += chunk
            if failed := re.search(rb"test (\S+)[^\n]*\.\.\. FAILED", said):
                result = f"caught by {failed[1].decode()}"
            elif not chunk:
                result = "passed" if process.wait() == 0 else "caught by a crash"
        if process.poll() is None:
            now = processor_time(process.pid)
            if now > used + 0.05:
                used, moved = now, time.monotonic()
            memory = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
            if used > seconds or time.monotonic() > moved + 90 or memory > PAGES:
                result = "caught by its time"
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()
    return result, used


def reached(tests: str) -> dict:
    """Which mutants each test reaches, and what it costs."""
    listing = subprocess.run([tests, "--list", "--format=terse"], check=True, capture_output=True, text=True).stdout
    found = {}
    for name in re.findall(r"^(.*): test$", listing, re.MULTILINE):
        seen = WORK / "seen"
        seen.unlink(missing_ok=True)
        began = time.monotonic()
        result, used = run(tests, [name], {"MUTANT_RECORD": str(seen)}, 3600)
        if result != "passed":
            sys.exit(f"{name} does not pass without a mutant: {result}")
        numbers = sorted({int(number) for number in seen.read_text().split()}) if seen.exists() else []
        if numbers:
            cost = max(used, min(time.monotonic() - began, 1))
            found[name] = {"cost": cost, "mutants": numbers}
    return found


def judge(mutant: dict, tests: str, reach: dict) -> str:
    costs = {name: test["cost"] for name, test in reach.items() if mutant["number"] in test["mutants"]}
    module = Path(mutant["file"]).relative_to(FOLDER / "src").parts[0].removesuffix(".rs") + "::"
    quick = {name for name in costs if costs[name] <= 1}
    own = {name for name in quick if name.startswith(module)}
    slow = sorted(costs.keys() - quick, key=costs.get)
    for group in [sorted(own), sorted(quick - own), *([name] for name in slow)]:
        limit = 8 + 5 * sum(costs[name] for name in group)
        result = run(tests, group, {"MUTANT": str(mutant["number"])}, limit)[0] if group else "passed"
        if result != "passed":
            return result
    return "survived" if costs else "not reached"


def name_of(mutant: dict) -> str:
    """Without its place, which changes with every edit above it."""
    return f"{mutant['file']}: {mutant['name'].split(': ', 1)[1]}"


def main() -> None:
    WORK.mkdir(parents=True, exist_ok=True)
    mutants = kept("mutants.json", listed)
    built = kept("built.json", lambda: build(mutants))
    reach = kept("reach.json", lambda: reached(built["tests"]))
    results = kept("results.json", dict)
    for mutant in mutants:
        number = str(mutant["number"])
        if number not in results and number not in built["none"]:
            results[number] = judge(mutant, built["tests"], reach)
            store("results.json", results)
            if not results[number].startswith("caught"):
                print(f"{results[number]}: {mutant['name']}", flush=True)

    explained = collections.Counter()
    for line in (HERE / "survivors.txt").read_text().splitlines():
        if line.startswith("crates/"):
            explained[line] += 1
    alive = [mutant for mutant in mutants if not results.get(str(mutant["number"]), "caught").startswith("caught")]
    unexplained = [mutant["name"] for mutant in alive if not explained[name_of(mutant)]]
    caught = len(results) - len(alive)
    print(f"{len(mutants)} mutants: {len(built['none'])} without a switch, {caught} caught, "
          f"{len(alive) - len(unexplained)} explained in survivors.txt, {len(unexplained)} not")
    for name in unexplained:
        print(f"  {name}")
    sys.exit(bool(unexplained))


if __name__ == "__main__":
    main()
