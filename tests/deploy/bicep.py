"""The Bicep files, as far as that is possible without the compiler, which is not to be had as a package.

Parsed by tree-sitter. Resources of Container Apps are checked key by key against the types of Microsoft's SDK for Python,
which are made from the same API description; the few others against the tables below. Names that are used are declared, and
the other way round. Modules and the parameter file give what is asked for. Not checked: types of expressions, properties
that the service sets, and whatever Azure alone knows (names, quotas, whether a region has an API version).
"""

import json
import re
import tomllib
import typing
from pathlib import Path

import tree_sitter_bicep
from azure.mgmt.appcontainers import models, types
from tree_sitter import Language, Node, Parser
from typing_extensions import Required, TypedDict, get_type_hints, is_typeddict

from recipe import longest_run, wrong_command, wrong_scaler

PARSER = Parser(Language(tree_sitter_bicep.language()))

# https://learn.microsoft.com/azure/role-based-access-control/built-in-roles, of which only these are given here.
ROLES = {
    "29fe4964-1e60-436b-bd3a-77fd4c178b3c": "Azure Batch Account Contributor",
    "6aaa78f1-f7de-44ca-8722-c64a23943cae": "Azure Batch Data Contributor",
    "7f951dda-4ed3-4680-a7ca-43fe172d538d": "AcrPull",
    "974c5e8b-45b9-4653-ba55-5f855dd0fb88": "Storage Queue Data Contributor",
    "ba92f5b4-2d11-453d-a403-e96b0029c9fe": "Storage Blob Data Contributor",
    "db58b8e5-c6ad-4a2a-8342-4190687cbf4a": "Storage Blob Delegator",
}
GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)

FUNCTIONS = {"empty", "guid", "json", "loadTextContent", "resourceGroup", "subscriptionResourceId", "uriComponent"}
DECORATORS = {"allowed", "description", "maxLength", "minLength", "secure"}


class Identity(TypedDict, total=False):
    name: Required[str]
    location: Required[str]


class Sku(TypedDict, total=False):
    name: Required[typing.Literal["PerGB2018"]]


class WorkspaceProperties(TypedDict, total=False):
    sku: Sku
    retentionInDays: int


class Workspace(TypedDict, total=False):
    name: Required[str]
    location: Required[str]
    properties: WorkspaceProperties


class LogSettings(TypedDict, total=False):
    category: Required[typing.Literal["ContainerAppConsoleLogs", "ContainerAppSystemLogs"]]
    enabled: Required[bool]


class DiagnosticProperties(TypedDict, total=False):
    workspaceId: Required[str]
    logs: Required[list[LogSettings]]


class DiagnosticSettings(TypedDict, total=False):
    name: Required[str]
    properties: Required[DiagnosticProperties]


class AssignmentProperties(TypedDict, total=False):
    principalId: Required[str]
    principalType: Required[typing.Literal["ServicePrincipal"]]
    roleDefinitionId: Required[str]


class RoleAssignment(TypedDict, total=False):
    name: Required[str]
    properties: Required[AssignmentProperties]


class ContainerProperties(TypedDict, total=False):
    publicAccess: Required[typing.Literal["None"]]


class BlobContainer(TypedDict, total=False):
    name: Required[str]
    properties: Required[ContainerProperties]


# The API version of Container Apps is that of the SDK whose types are used.
RESOURCES = {
    "Microsoft.App/jobs@2026-07-01": types.Job,
    "Microsoft.App/managedEnvironments@2026-07-01": types.ManagedEnvironment,
    "Microsoft.Authorization/roleAssignments@2022-04-01": RoleAssignment,
    "Microsoft.Insights/diagnosticSettings@2021-05-01-preview": DiagnosticSettings,
    "Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30": Identity,
    "Microsoft.OperationalInsights/workspaces@2025-07-01": Workspace,
    "Microsoft.Storage/storageAccounts/blobServices/containers@2024-01-01": BlobContainer,
}
# These are there already, and only named.
EXISTING = {
    "Microsoft.Batch/batchAccounts@2024-07-01",
    "Microsoft.ContainerRegistry/registries@2023-07-01",
    "Microsoft.Storage/storageAccounts@2024-01-01",
    "blobServices@2024-01-01",
}
# What Bicep itself reads of a resource.
OF_BICEP = {"dependsOn", "parent", "scope"}
NAMES = {**vars(models), **vars(types)}


def check(recipes: Path) -> list[str]:
    here = recipes / "container-apps"
    files = {path.relative_to(here).as_posix(): File(path) for path in sorted(here.rglob("*.bicep"))}
    wrong = []
    for name, file in files.items():
        wrong += [f"{name}: {line}" for line in file.check(files)]
    for name in ("main", "workers"):
        file = files[f"{name}.bicep"]
        wrong += parameters(here / f"{name}.parameters.json", file)
    return wrong + config(here, files["main.bicep"]) + workers(here, files["workers.bicep"])


class File:
    """One file, and what is wrong with it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.root = PARSER.parse(path.read_bytes()).root_node
        self.params: dict[str, Node] = {}
        for node in self.root.children:
            if node.type == "parameter_declaration":
                self.params[text(named(node, "identifier"))] = node
        self.wrong: list[str] = []

    def check(self, files: dict[str, "File"]) -> list[str]:
        if self.root.has_error:
            broken = next(node for node in walk(self.root) if node.is_error or node.is_missing)
            return [f"line {broken.start_point[0] + 1}: this is no Bicep"]
        self.names()
        for node in walk(self.root):
            match node.type:
                case "resource_declaration":
                    self.resource(node)
                case "module_declaration":
                    self.module(node, files)
                case "string":
                    self.role(node)
        return self.wrong

    def say(self, node: Node, what: str) -> None:
        self.wrong.append(f"line {node.start_point[0] + 1}: {what}")

    def names(self) -> None:
        """What is used is declared, and what is declared is used."""
        declared, used, offered = {}, set(), set()
        for node in walk(self.root):
            first = named(node, "identifier")
            if node.type == "output_declaration":
                offered.add(first.start_byte)
            elif node.type.endswith("_declaration"):
                declared[text(first)] = first
            elif node.type == "for_statement":
                for each in node.named_children:
                    if each.type == "for_loop_parameters":
                        declared.update({text(variable): variable for variable in each.named_children})
                initializer = node.child_by_field_name("initializer")
                if initializer is not None:
                    declared[text(initializer)] = initializer
            elif node.type == "call_expression":
                function = node.child_by_field_name("function")
                known = DECORATORS if node.parent.type == "decorator" else FUNCTIONS
                offered.add(function.start_byte)
                if text(function) not in known:
                    self.say(node, f"there is no function `{text(function)}`")
            elif node.type == "object_property" and node.named_children[0].type == "identifier":
                offered.add(node.named_children[0].start_byte)
        offered |= {node.start_byte for node in declared.values()}
        for node in walk(self.root):
            if node.type in {"identifier", "loop_variable", "loop_enumerator"} and node.start_byte not in offered:
                used.add(text(node))
                if text(node) not in declared:
                    self.say(node, f"`{text(node)}` is not declared")
        for name, node in declared.items():
            stands_alone = node.parent.type == "resource_declaration"
            if name not in used and not stands_alone:
                self.say(node, f"`{name}` is not used")

    def resource(self, node: Node) -> None:
        kind = literal(named(node, "string"))
        body = body_of(node)
        if any(child.type == "existing" for child in node.children):
            if kind not in EXISTING:
                self.say(node, f"`{kind}` is not in the list of resources that are there already")
            return
        if kind not in RESOURCES:
            self.say(node, f"`{kind}` is not in the list of resources")
            return
        self.fits(body, RESOURCES[kind], kind, OF_BICEP)

    def fits(self, node: Node, expected: typing.Any, where: str, beside: set[str] = frozenset()) -> None:
        """Whether a value, as far as it is written down, fits a type."""
        if node.type == "ternary_expression":
            for branch in ("consequence", "alternative"):
                self.fits(node.child_by_field_name(branch), expected, where)
        elif node.type == "object" and is_typeddict(expected):
            self.object(node, expected, where, beside)
        elif node.type == "object" and typing.get_origin(expected) is dict:
            for value in properties(node).values():
                self.fits(value, typing.get_args(expected)[1], where)
        elif node.type == "array" and typing.get_origin(expected) is list:
            for index, value in enumerate(node.named_children):
                self.fits(value, typing.get_args(expected)[0], f"{where}[{index}]")
        elif node.type in {"object", "array"} and expected is not typing.Any:
            self.say(node, f"{where} is no {node.type}")
        elif node.type in {"string", "number", "boolean"}:
            self.scalar(node, expected, where)

    def object(self, node: Node, expected: typing.Any, where: str, beside: set[str]) -> None:
        marked = get_type_hints(expected, localns=NAMES, globalns=NAMES, include_extras=True)
        # Only what is marked: the SDK's classes that build on others count the rest as required, too.
        required = {key for key, hint in marked.items() if typing.get_origin(hint) is Required}
        hints = get_type_hints(expected, localns=NAMES, globalns=NAMES)
        found = properties(node)
        for key, value in found.items():
            if key in hints:
                self.fits(value, hints[key], f"{where}.{key}")
            elif key not in beside:
                self.say(value, f"{where} has no `{key}`")
        for key in sorted(required - found.keys()):
            self.say(node, f"{where} takes a `{key}`")

    def scalar(self, node: Node, expected: typing.Any, where: str) -> None:
        if expected is typing.Any:
            return
        alternatives = typing.get_args(expected) if typing.get_origin(expected) is typing.Union else (expected,)
        words: set[str] = set()
        for each in alternatives:
            if typing.get_origin(each) is typing.Literal:
                words |= set(typing.get_args(each))
            elif isinstance(each, type) and hasattr(each, "__members__"):
                words |= {member.value for member in each}
        kinds = {"string": str, "number": int, "boolean": bool}
        if words:
            if literal(node) is not None and literal(node) not in words:
                self.say(node, f"{where} is one of {', '.join(sorted(words))}")
        elif kinds[node.type] not in alternatives and not (node.type == "number" and float in alternatives):
            self.say(node, f"{where} is no {node.type}")

    def module(self, node: Node, files: dict[str, "File"]) -> None:
        name = literal(named(node, "string"))
        if name not in files:
            self.say(node, f"there is no module `{name}`")
            return
        found = properties(body_of(node))
        for key in found.keys() - {"name", "params", "scope"} - OF_BICEP:
            self.say(node, f"a module has no `{key}`")
        given = properties(found["params"]).keys() if "params" in found else set()
        wrong = wrong_parameters(given, files[name])
        self.wrong += [f"line {node.start_point[0] + 1}: {name}: {line}" for line in wrong]

    def role(self, node: Node) -> None:
        """An id of a role stands beside its name, and is that of this name."""
        guid = literal(node) or ""
        if not GUID.fullmatch(guid):
            return
        key = node.parent.named_children[0] if node.parent.type == "object_property" else None
        name = literal(key) or text(key) if key is not None else None
        if ROLES.get(guid) != name:
            self.say(node, f"`{guid}` is not the role `{name}`")


def parameters(path: Path, main: File) -> list[str]:
    document = json.loads(path.read_text())
    wrong = wrong_parameters(document["parameters"].keys(), main)
    kinds = {str: "string", list: "array", dict: "object", int: "int", bool: "bool"}
    for name, given in document["parameters"].items():
        value = given["value"]
        declared = main.params.get(name)
        if declared is not None and text(named(declared, "type")) != kinds[type(value)]:
            wrong.append(f"`{name}` is no {kinds[type(value)]}")
    return [f"{path.name}: {line}" for line in wrong]


def wrong_parameters(given: typing.Iterable[str], file: File) -> list[str]:
    given = set(given)
    wrong = [f"there is no parameter `{name}`" for name in sorted(given - file.params.keys())]
    for name, node in file.params.items():
        has_default = any(child.type == "=" for child in node.children)
        if name not in given and not has_default:
            wrong.append(f"the parameter `{name}` is missing")
    return wrong


def config(here: Path, main: File) -> list[str]:
    """The job, its parameters and its config say the same."""
    source = (here / "fleetlogs.toml").read_text()
    own = tomllib.loads(source)
    document = json.loads((here / "main.parameters.json").read_text())
    given = {name: each["value"] for name, each in document["parameters"].items()}
    default = {name: literal(node.named_children[-1]) for name, node in main.params.items()}
    logs, state = own["destination"], own["schedule"]["lease"]
    wrong = []
    if {logs["account"], state["account"]} != {given["storageAccount"]}:
        wrong.append("storageAccount is another one than in the config")
    if [logs["container"], state["container"]] != [default["logContainer"], default["stateContainer"]]:
        wrong.append("a container is another one than in the config")
    hosts = [account["endpoint"].split("//")[1].split(".")[0] for account in own["account"]]
    if hosts != [account["name"] for account in given["batchAccounts"]]:
        wrong.append("batchAccounts are others than in the config")
    if not any(literal(node) == "fleetlogs.toml" for node in walk(main.params["config"])):
        wrong.append("the parameter `config` is not the file fleetlogs.toml")
    wrong += jobs(main, source, given)
    return [f"container-apps: {line}" for line in wrong]


def workers(here: Path, file: File) -> list[str]:
    """The same of workers."""
    source = (here / "workers.toml").read_text()
    own = tomllib.loads(source)
    document = json.loads((here / "workers.parameters.json").read_text())
    given = {name: each["value"] for name, each in document["parameters"].items()}
    default = {name: literal(node.named_children[-1]) for name, node in file.params.items()}
    known = {**default, **given}
    logs, state, queue = own["destination"], own["journal"], own["scale_out"]
    wrong = []
    if {logs["account"], state["account"], queue["account"]} != {known["storageAccount"]}:
        wrong.append("storageAccount is another one than in the config")
    if [logs["container"], state["container"]] != [known["logContainer"], known["stateContainer"]]:
        wrong.append("a container is another one than in the config")
    if queue["queue"] != known["queue"]:
        wrong.append("the queue is another one than in the config")
    site = known["site"] or None
    if [each["name"] for each in own["account"] if each.get("site") == site] != [each["name"] for each in known["batchAccounts"]]:
        wrong.append("batchAccounts are others than those of the site in the config")
    if not any(literal(node) == "workers.toml" for node in walk(file.params["config"])):
        wrong.append("the parameter `config` is not the file workers.toml")
    scalers = [node for node in walk(file.root) if node.type == "object_property" and text(node.named_children[0]) == "metadata"]
    if not scalers:
        wrong.append("no queue starts workers")
    for node in scalers:
        found = properties(node.named_children[-1])
        length = literal(found.get("queueLength"))
        name = found.get("queueName")
        if name is None or text(name) != "empty(site) ? queue : '${queue}-${site}'":
            wrong.append("the scaler counts another queue than that of the site")
        account = known.get(text(found["accountName"])) if "accountName" in found else None
        strategy = literal(found.get("queueLengthStrategy")) or "all"
        metadata = {"accountName": account, "queueName": known["queue"], "queueLength": length, "queueLengthStrategy": strategy}
        wrong += wrong_scaler(metadata, source)
    # With a site, the words are the same and `--site`.
    wrong += jobs(file, source, {**known, "site": site or ""})
    return [f"container-apps: {line}" for line in wrong]


def jobs(file: File, source: str, given: dict) -> list[str]:
    """What every job runs, and for how long it may."""
    wrong = []
    for node in walk(file.root):
        if node.type != "object_property":
            continue
        key, value = text(node.named_children[0]), node.named_children[-1]
        if key == "args":
            # Of a choice, the words for the given parameters.
            if value.type == "ternary_expression":
                value = value.child_by_field_name("alternative" if given.get("site") else "consequence")
            words = [literal(word) or given.get(text(word), "") for word in value.named_children]
            wrong += wrong_command(words, source)
        if key == "replicaTimeout" and value.type == "number" and int(text(value)) <= longest_run(source):
            wrong.append("ends a run before its own deadlines do (replicaTimeout)")
        if key == "replicaRetryLimit" and text(value) != "0":
            wrong.append("a partial run is run again (replicaRetryLimit)")
    return wrong


def walk(node: Node) -> typing.Iterator[Node]:
    yield node
    for child in node.children:
        yield from walk(child)


def named(node: Node, kind: str) -> Node | None:
    """The first child of a kind."""
    return next((child for child in node.named_children if child.type == kind), None)


def text(node: Node) -> str:
    return node.text.decode()


def literal(node: Node | None) -> str | None:
    """What a string says, if nothing is put into it."""
    if node is None or node.type != "string" or any(child.type == "interpolation" for child in node.named_children):
        return None
    return text(node)[1:-1]


def body_of(node: Node) -> Node:
    """The object of a declaration, also within a loop or behind a condition."""
    return next(each for each in walk(node) if each.type == "object")


def properties(node: Node) -> dict[str, Node]:
    found = {}
    for each in node.named_children:
        if each.type == "object_property" and len(each.named_children) == 2:
            key = each.named_children[0]
            found[literal(key) or text(key)] = each.named_children[1]
    return found
