"""Writes azurerm.json: what the Terraform provider for Azure knows of the resources of our recipes.

The provider itself is in no package registry, but its bindings for the Cloud Development Kit for Terraform are, made by
HashiCorp from the provider's own schema. They are large and change no more, so only what is needed is kept:

    pip download --no-deps --only-binary :all: cdktf-cdktf-provider-azurerm
    python3 tests/deploy/azurerm.py cdktf_cdktf_provider_azurerm-*.whl > tests/deploy/azurerm.json
"""

import ast
import json
import re
import sys
import zipfile

RESOURCES = [
    "container_app_environment",
    "container_app_job",
    "log_analytics_workspace",
    "monitor_action_group",
    "monitor_diagnostic_setting",
    "monitor_metric_alert",
    "role_assignment",
    "storage_container",
    "user_assigned_identity",
]
DATA = ["batch_account", "container_registry", "resource_group", "storage_account"]
# Those of Terraform and of the kit.
META = {"connection", "count", "depends_on", "for_each", "lifecycle", "provider", "provisioners", "id"}
KINDS = {"builtins.str": "string", "jsii.Number": "number", "builtins.bool": "bool"}


def main(wheel: str) -> None:
    with zipfile.ZipFile(wheel) as archive:
        metadata = next(name for name in archive.namelist() if name.endswith("dist-info/METADATA"))
        version = re.search(r"hashicorp/azurerm provider version ([\d.]+)", archive.read(metadata).decode())[1]
        known = {"provider": f"hashicorp/azurerm {version}", "resource": {}, "data": {}}
        for name in RESOURCES:
            known["resource"][f"azurerm_{name}"] = described(archive, name)
        for name in DATA:
            known["data"][f"azurerm_{name}"] = described(archive, f"data_azurerm_{name}")
    json.dump(known, sys.stdout, indent=1, sort_keys=True)
    print()


def described(archive: zipfile.ZipFile, module: str) -> dict:
    tree = ast.parse(archive.read(f"cdktf_cdktf_provider_azurerm/{module}/__init__.py"))
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    name = "".join(word.capitalize() for word in module.split("_"))
    properties = {
        each.name
        for each in classes[name].body
        if isinstance(each, ast.FunctionDef) and any(ast.unparse(d) == "builtins.property" for d in each.decorator_list)
    }
    # The kit repeats every input as `X_input`.
    computed = sorted(each for each in properties if not each.endswith("_input"))
    return {"block": block(classes, name), "exports": ["id", *(each for each in computed if each != "id")]}


def block(classes: dict[str, ast.ClassDef], name: str) -> dict:
    init = next(each for each in classes[name].body if isinstance(each, ast.FunctionDef) and each.name == "__init__")
    found = {}
    for argument, default in zip(init.args.kwonlyargs, init.args.kw_defaults):
        if argument.arg in META:
            continue
        written = ast.unparse(argument.annotation)
        of = next((each for each in re.findall(r"'(\w+)'", written) if each in classes), None)
        entry = {"required": default is None}
        if of is not None:
            entry |= {"block": block(classes, of), "many": "Sequence" in written}
        else:
            kind = next(KINDS[each] for each in KINDS if each in written)
            entry["kind"] = f"map({kind})" if "Mapping" in written else f"list({kind})" if "Sequence" in written else kind
        found[argument.arg] = entry
    return found


main(sys.argv[1])
