"""KEDA's objects, of which there is no schema to install: the keys that its documentation lists
(https://keda.sh/docs/latest/reference/scaledjob-spec/ and /concepts/authentication/), and nothing else.
"""

import jsonschema
import kubernetes_validate

METADATA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["name", "namespace"],
    "properties": {"name": {"type": "string"}, "namespace": {"type": "string"}},
}
TEXTS = {"type": "string"}
COUNT = {"type": "integer", "minimum": 0}


def table(required: list[str], **properties: dict) -> dict:
    return {"type": "object", "additionalProperties": False, "required": required, "properties": properties}


def of_kind(kind: str, spec: dict) -> dict:
    return table(
        ["apiVersion", "kind", "metadata", "spec"],
        apiVersion={"const": "keda.sh/v1alpha1"},
        kind={"const": kind},
        metadata=METADATA,
        spec=spec,
    )


AZURE_QUEUE = table(
    ["queueName", "accountName"],
    queueName=TEXTS,
    accountName=TEXTS,
    queueLength={"type": "string", "pattern": "^[1-9][0-9]*$"},
    queueLengthStrategy={"enum": ["all", "visibleonly"]},
    activationQueueLength={"type": "string", "pattern": "^[0-9]+$"},
    cloud={"enum": ["AzurePublicCloud", "AzureUSGovernmentCloud", "AzureChinaCloud", "Private"]},
)

SCHEMAS = {
    "TriggerAuthentication": of_kind(
        "TriggerAuthentication",
        table(
            ["podIdentity"],
            podIdentity=table(["provider"], provider={"const": "azure-workload"}, identityId=TEXTS),
        ),
    ),
    "ScaledJob": of_kind(
        "ScaledJob",
        table(
            ["jobTargetRef", "triggers"],
            # By the schema of a Job.
            jobTargetRef={"type": "object"},
            pollingInterval=COUNT,
            successfulJobsHistoryLimit=COUNT,
            failedJobsHistoryLimit=COUNT,
            minReplicaCount=COUNT,
            maxReplicaCount=COUNT,
            scalingStrategy=table([], strategy={"enum": ["default", "custom", "accurate", "eager"]}),
            triggers={
                "type": "array",
                "minItems": 1,
                "items": table(
                    ["type", "metadata"],
                    type={"const": "azure-queue"},
                    metadata=AZURE_QUEUE,
                    authenticationRef=table(["name"], name=TEXTS),
                ),
            },
        ),
    ),
}


def wrong_object(document: dict, version: str) -> list[str]:
    """What is wrong with an object, by its schema."""
    schema = SCHEMAS.get(document["kind"])
    if schema is None:
        return [f"there is no schema of {document['kind']} {document['apiVersion']}"]
    wrong = []
    for error in jsonschema.Draft202012Validator(schema).iter_errors(document):
        where = ".".join(str(part) for part in error.path)
        wrong.append(f"{document['kind']}: {where}: {error.message}")
    if not wrong and document["kind"] == "ScaledJob":
        job = {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": document["metadata"],
            "spec": document["spec"]["jobTargetRef"],
        }
        try:
            kubernetes_validate.validate(job, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            where = ".".join(str(part) for part in error.path)
            wrong.append(f"ScaledJob: jobTargetRef: {where}: {error.message}")
    return wrong
