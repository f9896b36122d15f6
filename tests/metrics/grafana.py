"""The dashboard against the model of Grafana's own SDK, which is made from Grafana's schema.

There is no Grafana to import it: it is in no package registry. The model knows every key of a dashboard, of its variables
and of the options of each kind of panel, and the kinds of their values.
"""

import enum
import types
import typing

from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as model

import json

plugins.register_default_plugins()


def check(dashboard: dict) -> list[str]:
    read = model.Dashboard.from_json(dashboard)
    written = json.loads(JSONEncoder().encode(read))
    wrong = unknown(dashboard, written, "dashboard") + kinds(read, "dashboard")
    ids = [panel["id"] for panel in dashboard["panels"]]
    if len(set(ids)) < len(ids):
        wrong.append("two panels have the same id")
    taken: dict[tuple[int, int], str] = {}
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                if x > 23 or (x, y) in taken:
                    wrong.append(f"{panel['title']} has no place of its own")
                    break
                taken[x, y] = panel["title"]
            else:
                continue
            break
    return wrong


def unknown(given: typing.Any, written: typing.Any, where: str) -> list[str]:
    """What the model has dropped or changed."""
    if isinstance(given, dict) and isinstance(written, dict):
        wrong = [f"{where} has no `{key}`" for key in given.keys() - written.keys()]
        return wrong + [line for key in given.keys() & written.keys() for line in unknown(given[key], written[key], f"{where}.{key}")]
    if isinstance(given, list) and isinstance(written, list) and len(given) == len(written):
        return [line for index, pair in enumerate(zip(given, written)) for line in unknown(*pair, f"{where}[{index}]")]
    return [] if given == written else [f"{where} is read as {written!r}"]


def kinds(read: typing.Any, where: str) -> list[str]:
    """What is of another kind than the model says."""
    if isinstance(read, list):
        return [line for index, each in enumerate(read) for line in kinds(each, f"{where}[{index}]")]
    if isinstance(read, dict):
        return [line for key, each in read.items() for line in kinds(each, f"{where}.{key}")]
    if not type(read).__module__.startswith("grafana_foundation_sdk") or isinstance(read, enum.Enum):
        return []
    wrong = []
    for name, hint in typing.get_type_hints(type(read)).items():
        value = getattr(read, name, None)
        if value is not None and not fits(value, hint):
            wrong.append(f"{where}.{name} is {value!r}, which is no {hint}")
        wrong += kinds(value, f"{where}.{name}")
    return wrong


def fits(value: typing.Any, hint: typing.Any) -> bool:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in {typing.Union, types.UnionType}:
        return any(fits(value, each) for each in arguments)
    if origin is typing.Literal:
        return value in arguments
    if origin is list:
        return isinstance(value, list) and all(fits(each, arguments[0]) for each in value)
    if origin is dict:
        return isinstance(value, dict) and all(fits(each, arguments[1]) for each in value.values())
    if hint in {typing.Any, object} or not isinstance(hint, type):
        return True
    if issubclass(hint, enum.Enum):
        return isinstance(value, hint) or value in {member.value for member in hint}
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, hint)
