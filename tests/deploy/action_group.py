"""The action group: the Bicep file as bicep.py checks it, and what it calls. terraform.py checks the Terraform file.

There is no package with types of these resources for the API versions used: the tables are from Microsoft's reference.
"""

import json
import typing
from pathlib import Path

import bicep
from recipe import FITTING
from typing_extensions import Required, TypedDict

HOME = FITTING


class WebhookReceiver(TypedDict, total=False):
    name: Required[str]
    serviceUri: Required[str]
    useCommonAlertSchema: bool


class ActionGroupProperties(TypedDict, total=False):
    groupShortName: Required[str]
    enabled: Required[bool]
    webhookReceivers: list[WebhookReceiver]


class ActionGroup(TypedDict, total=False):
    name: Required[str]
    location: Required[typing.Literal["Global"]]
    properties: Required[ActionGroupProperties]


class Criterion(TypedDict, total=False):
    criterionType: Required[typing.Literal["StaticThresholdCriterion"]]
    name: Required[str]
    metricNamespace: str
    metricName: Required[typing.Literal["UnusableNodeCount", "StartTaskFailedNodeCount"]]
    timeAggregation: Required[typing.Literal["Average", "Count", "Maximum", "Minimum", "Total"]]
    operator: Required[typing.Literal["Equals", "GreaterThan", "GreaterThanOrEqual", "LessThan", "LessThanOrEqual"]]
    threshold: Required[float]


# `odata.type` is no name in Python.
Criteria = TypedDict(
    "Criteria",
    {
        "odata.type": Required[typing.Literal["Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria"]],
        "allOf": Required[list[Criterion]],
    },
    total=False,
)


class Action(TypedDict, total=False):
    actionGroupId: Required[str]


class MetricAlertProperties(TypedDict, total=False):
    description: str
    severity: Required[int]
    enabled: Required[bool]
    scopes: Required[list[str]]
    evaluationFrequency: Required[str]
    windowSize: Required[str]
    criteria: Required[Criteria]
    autoMitigate: bool
    actions: list[Action]


class MetricAlert(TypedDict, total=False):
    name: Required[str]
    location: Required[typing.Literal["global"]]
    properties: Required[MetricAlertProperties]


bicep.RESOURCES["Microsoft.Insights/actionGroups@2023-01-01"] = ActionGroup
bicep.RESOURCES["Microsoft.Insights/metricAlerts@2018-03-01"] = MetricAlert

# What the listener reads: docs/guide/alerts.md.
CALLS = {
    "main.bicep": "https://${host}/alerts/${snapshot}?code=${uriComponent(secret)}",
    "main.tf": "https://${var.host}/alerts/${var.snapshot}?code=${urlencode(var.secret)}",
}
SCHEMA = {"main.bicep": "useCommonAlertSchema: true", "main.tf": "use_common_alert_schema = true"}


def check(recipes: Path) -> list[str]:
    here = recipes / "action-group"
    file = bicep.File(here / "main.bicep")
    wrong = [f"main.bicep: {line}" for line in file.check({})]
    document = json.loads((here / "main.parameters.json").read_text())
    # The secret is given on the command line.
    wrong += [f"main.parameters.json: {line}" for line in bicep.wrong_parameters({*document["parameters"], "secret"}, file)]
    for name, calls in CALLS.items():
        text = (here / name).read_text()
        if calls not in text:
            wrong.append(f"{name}: does not call `{calls}`")
        if SCHEMA[name] not in text:
            wrong.append(f"{name}: sends alerts in a schema that the listener does not read")
    if "@secure()\nparam secret" not in (here / "main.bicep").read_text():
        wrong.append("main.bicep: the secret stays in the record of the deployment")
    return [f"action-group: {line}" for line in wrong]
