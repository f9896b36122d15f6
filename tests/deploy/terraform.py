"""The Terraform files, as far as that is possible without Terraform, which is in no package registry.

Parsed by python-hcl2. Blocks, keys, required keys and kinds of values are checked against azurerm.json, which azurerm.py
made from the provider's own schema. What is referred to is declared and exported, and what is declared is used. What they
create has the roles and the settings of the Bicep file. Not checked: expressions, and whatever Azure alone knows.
"""

import functools
import json
import re
import tomllib
import typing
from pathlib import Path

import hcl2

from recipe import FITTING, RECIPES, longest_run, wrong_command

HOME = FITTING

KNOWN = json.loads(Path(__file__).with_name("azurerm.json").read_text())
META = {"count", "depends_on", "for_each", "lifecycle", "provider"}


def check(recipes: Path) -> list[str]:
    here = recipes / "terraform"
    wrong = module(here)
    if wrong:
        return wrong
    return wrong + like_bicep(here) + module(recipes / "action-group")


def load(path: Path) -> dict:
    return parsed(path.read_text())


@functools.cache
def parsed(text: str) -> dict:
    """The parser needs a second for a file."""
    return hcl2.loads(text)


def module(here: Path) -> list[str]:
    """What is wrong with all files of a directory."""
    wrong, found = [], {}
    for path in sorted(here.glob("*.tf")):
        try:
            for kind, blocks in load(path).items():
                found.setdefault(kind, []).extend(blocks)
        except Exception as error:  # noqa: BLE001: a parser's error has no common class
            return [f"{path.name}: this is no HCL: {str(error).splitlines()[0]}"]
    declared = {f"var.{name}" for name, _ in labelled(found.get("variable", []))}
    for kind in ("resource", "data"):
        for block in found.get(kind, []):
            ((quoted, named),) = ((key, value) for key, value in block.items() if key != "__is_block__")
            kind_of = quoted.strip('"')
            if kind_of not in KNOWN[kind]:
                wrong.append(f"`{kind_of}` is not in the list of resources")
                continue
            for name, body in labelled([named]):
                declared.add(f"{'data.' if kind == 'data' else ''}{kind_of}.{name}")
                wrong += fits(body, KNOWN[kind][kind_of]["block"], f"{kind_of}.{name}", META)
    text = json.dumps({kind: blocks for kind, blocks in found.items()})
    wrong += references(text, declared)
    for path in sorted(here.glob("*.tfvars")):
        given = {f"var.{key}" for key in load(path) if not key.startswith("__")}
        wrong += [f"{path.name}: there is no variable `{name}`" for name in sorted(given - declared)]
        for name, body in labelled(found.get("variable", [])):
            if "default" not in body and f"var.{name}" not in given:
                wrong.append(f"{path.name}: the variable `{name}` is missing")
    return [f"{here.name}: {line}" for line in wrong]


def labelled(blocks: list[dict]) -> typing.Iterator[tuple[str, dict]]:
    for block in blocks:
        for label, body in block.items():
            if not label.startswith("__"):
                yield label.strip('"'), body


def fits(body: dict, known: dict, where: str, beside: typing.Collection[str] = ()) -> list[str]:
    """Whether the keys and values of a block are those that the provider knows."""
    wrong, present = [], set()
    for key, value in body.items():
        if key.startswith("__") or key in beside:
            continue
        if key == "dynamic":
            for name, dynamic in labelled(value):
                present.add(name)
                wrong += nested(dynamic["content"], known, name, where)
        else:
            present.add(key)
            wrong += nested(value, known, key, where)
    missing = {key for key, entry in known.items() if entry["required"]} - present
    return wrong + [f"{where} takes a `{key}`" for key in sorted(missing)]


def nested(value: typing.Any, known: dict, key: str, where: str) -> list[str]:
    if key not in known:
        return [f"{where} has no `{key}`"]
    entry = known[key]
    if "block" in entry:
        if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
            return [f"{where}.{key} is a block"]
        wrong = [] if entry["many"] or len(value) == 1 else [f"{where}.{key} may be there once"]
        return wrong + [line for each in value for line in fits(each, entry["block"], f"{where}.{key}")]
    kinds = {"string": (str,), "number": (int, float), "bool": (bool,)}
    is_text = isinstance(value, str) and not value.startswith("${")
    is_plain = is_text or isinstance(value, bool | int | float | list | dict)
    if is_plain and entry["kind"] in kinds and (type(value) not in kinds[entry["kind"]]):
        return [f"{where}.{key} is a {entry['kind']}"]
    if is_plain and entry["kind"].startswith("list") and not isinstance(value, list):
        return [f"{where}.{key} is a list"]
    return []


def references(text: str, declared: set[str]) -> list[str]:
    wrong, used = [], set()
    for name in re.findall(r"\bvar\.\w+", text):
        used.add(name)
        if name not in declared:
            wrong.append(f"`{name}` is not declared")
    for of, kind, name, attribute in re.findall(r"(?<![\w.\"])(data\.)?(azurerm_\w+)\.(\w+)(?:\[[^\]]*\])?(?:\.(\w+))?", text):
        used.add(f"{of}{kind}.{name}")
        if f"{of}{kind}.{name}" not in declared:
            wrong.append(f"`{of}{kind}.{name}` is not declared")
        elif attribute and attribute not in KNOWN["data" if of else "resource"][kind]["exports"]:
            wrong.append(f"`{of}{kind}` has no `{attribute}`")
    unused = {name for name in declared if name.startswith(("var.", "data.")) and name not in used}
    return wrong + [f"`{name}` is not used" for name in sorted(unused)]


def like_bicep(here: Path) -> list[str]:
    """Whether it creates what the Bicep file creates."""
    bicep = "".join(path.read_text() for path in [RECIPES / "container-apps" / "main.bicep", *sorted((RECIPES / "container-apps" / "modules").glob("*.bicep"))])
    terraform = "".join(path.read_text() for path in sorted(here.glob("*.tf")))
    wrong = []
    for role in ("Azure Batch Data Contributor", "Azure Batch Account Contributor", "Storage Blob Delegator", "Storage Blob Data Contributor", "AcrPull"):
        if role in bicep and f'"{role}"' not in terraform:
            wrong.append(f"the role `{role}` is not given")
    if (bicep_cron := re.search(r"param cron string = '(.*)'", bicep)[1]) not in terraform:
        wrong.append(f"the default of cron is not `{bicep_cron}`")
    source = (here / "fleetlogs.toml").read_text()
    if tomllib.loads(source) != tomllib.loads((RECIPES / "container-apps" / "fleetlogs.toml").read_text()):
        wrong.append("fleetlogs.toml is another config than that of Container Apps")
    resources = {quoted.strip('"'): body for block in load(here / "main.tf")["resource"] for quoted, named in labelled([block]) for _, body in labelled([named])}
    job = resources["azurerm_container_app_job"]
    if job["replica_timeout_in_seconds"] <= longest_run(source):
        wrong.append("ends a run before its own deadlines do (replica_timeout_in_seconds)")
    if job["replica_retry_limit"] != 0:
        wrong.append("a partial run is run again (replica_retry_limit)")
    (container,) = job["template"][0]["container"]
    snapshot = tomllib.loads(source)["snapshot"][0]["name"]
    words = [word.strip('"').replace("${var.snapshot}", snapshot) for word in container["args"]]
    # The file has the name of its secret.
    secret = job["secret"][0]["name"].strip('"')
    if words[1] != f"/etc/fleetlogs/{secret}" or container["volume_mounts"][0]["path"] != '"/etc/fleetlogs"':
        wrong.append("the job reads another file than the secret")
    wrong += wrong_command([words[0], "/etc/fleetlogs/fleetlogs.toml", *words[2:]], source)
    given = load(here / "fleetlogs.tfvars")
    own = tomllib.loads(source)
    if [account["name"] for account in own["account"]] != [name.strip('"') for name in given["batch_accounts"] if not name.startswith("__")]:
        wrong.append("batch_accounts are others than in the config")
    if own["destination"]["account"] != given["storage_account"].strip('"'):
        wrong.append("storage_account is another one than in the config")
    return [f"{here.name}: {line}" for line in wrong]
