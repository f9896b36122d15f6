"""The manifests: by the OpenAPI schemas of Kubernetes, strictly, and what these do not say: that the parts fit together."""

from pathlib import Path

import kubernetes_validate
import yaml

from keda import wrong_object
from recipe import longest_run, snapshots, wrong_command, wrong_scaler

VERSION = "1.37"


def check(recipes: Path) -> list[str]:
    objects = []
    wrong = []
    for path in sorted((recipes / "kubernetes").glob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text()):
            objects.append(document)
            if document["apiVersion"].startswith("keda.sh/"):
                wrong += [f"{path.name}: {line}" for line in wrong_object(document, VERSION)]
                continue
            try:
                kubernetes_validate.validate(document, VERSION, strict=True)
            except kubernetes_validate.ValidationError as error:
                where = ".".join(str(part) for part in error.path)
                wrong.append(f"{path.name}: {document.get('kind')}: {where}: {error.message}")
            except kubernetes_validate.SchemaNotFoundError:
                wrong.append(f"{path.name}: there is no schema of {document['kind']} {document['apiVersion']}")
    if wrong:
        return wrong
    by_kind = {kind: [each for each in objects if each["kind"] == kind] for kind in {each["kind"] for each in objects}}
    names = {(each["kind"], each["metadata"]["name"]) for each in objects}
    configs = {each["metadata"]["name"]: each["data"]["fleetlogs.toml"] for each in by_kind["ConfigMap"]}
    config = configs["fleetlogs"]
    wrong += namespaces(objects)
    for reader in by_kind.get("Pod", []):
        wrong += rights(reader["spec"]) + claims_exist(reader["spec"], names)
    for cron in by_kind.get("CronJob", []):
        wrong += cron_job(cron, config)
        wrong += pod(cron["spec"]["jobTemplate"]["spec"]["template"], [], names, config)
    for daemon in by_kind.get("StatefulSet", []):
        wrong += stateful_set(daemon)
        claims = [claim["metadata"]["name"] for claim in daemon["spec"]["volumeClaimTemplates"]]
        wrong += pod(daemon["spec"]["template"], claims, names, config)
    workers = configs["fleetlogs-workers"]
    for job in by_kind.get("Job", []):
        wrong += indexed_job(job["spec"], workers)
        wrong += pod(job["spec"]["template"], [], names, workers)
    for scaled in by_kind.get("ScaledJob", []):
        wrong += scaled_job(scaled["spec"], names, workers)
        wrong += pod(scaled["spec"]["jobTargetRef"]["template"], [], names, workers)
    for kind in ("CronJob", "StatefulSet", "Job", "ScaledJob"):
        if not by_kind.get(kind):
            wrong.append(f"the {kind} is missing")
    return wrong


def namespaces(objects: list[dict]) -> list[str]:
    wrong = []
    for each in objects:
        home = each["metadata"].get("namespace")
        if each["kind"] != "Namespace" and home != "fleetlogs":
            wrong.append(f"{each['kind']} {each['metadata']['name']} is in the namespace {home}")
    return wrong


def cron_job(cron: dict, config: str) -> list[str]:
    spec, job = cron["spec"], cron["spec"]["jobTemplate"]["spec"]
    wrong = []
    if spec.get("concurrencyPolicy") != "Forbid":
        wrong.append("CronJob: two runs may go on at once")
    if "timeZone" not in spec or "startingDeadlineSeconds" not in spec:
        wrong.append("CronJob: says no time zone, or not how late it may begin")
    if job.get("activeDeadlineSeconds", 0) <= longest_run(config):
        wrong.append("CronJob: ends a run before its own deadlines do (activeDeadlineSeconds)")
    words = job["template"]["spec"]["containers"][0]["args"]
    snapshot = snapshots(config).get(words[-1], {})
    if snapshot.get("cron") != spec["schedule"]:
        wrong.append(f"CronJob: its schedule is {spec['schedule']!r}, the config's {snapshot.get('cron')!r}")
    return wrong + failure_policy(job)


def indexed_job(spec: dict, config: str) -> list[str]:
    wrong = []
    container = spec["template"]["spec"]["containers"][0]
    env = {each["name"]: each for each in container.get("env", [])}
    if spec.get("completionMode") != "Indexed" or "JOB_COMPLETION_INDEX" in env:
        wrong.append("Job: Kubernetes does not number its pods")
    if env.get("JOB_COMPLETIONS", {}).get("value") != str(spec["completions"]):
        wrong.append("Job: its pods take it for another number of shards (JOB_COMPLETIONS)")
    uid = {"fieldRef": {"fieldPath": "metadata.labels['batch.kubernetes.io/controller-uid']"}}
    if env.get("FLEETLOGS_SHARD_KEY", {}).get("valueFrom") != uid:
        wrong.append("Job: its pods have no key in common that no other Job has (FLEETLOGS_SHARD_KEY)")
    if spec.get("parallelism") != spec["completions"]:
        wrong.append("Job: some shards wait for others")
    if spec.get("activeDeadlineSeconds", 0) <= 2 * longest_run(config):
        wrong.append("Job: ends a run before its own deadlines do (activeDeadlineSeconds)")
    if "backoffLimitPerIndex" not in spec:
        wrong.append("Job: a failing shard ends the others (backoffLimitPerIndex)")
    return wrong + failure_policy(spec, "FailIndex")


def scaled_job(spec: dict, names: set[tuple[str, str]], config: str) -> list[str]:
    wrong = []
    job = spec["jobTargetRef"]
    if job.get("activeDeadlineSeconds", 0) <= longest_run(config):
        wrong.append("ScaledJob: ends a partition before its own deadlines do (activeDeadlineSeconds)")
    if job.get("backoffLimit") != 0 or job["template"]["spec"].get("restartPolicy") != "Never":
        wrong.append("ScaledJob: runs a worker again, though its message does that")
    for trigger in spec["triggers"]:
        wrong += [f"ScaledJob: {line}" for line in wrong_scaler(trigger["metadata"], config)]
        if ("TriggerAuthentication", trigger.get("authenticationRef", {}).get("name")) not in names:
            wrong.append("ScaledJob: there is no such TriggerAuthentication")
    return wrong


def failure_policy(job: dict, fails: str = "FailJob") -> list[str]:
    """The schemas do not know which words there are, and which go together."""
    wrong = []
    containers = {container["name"] for container in job["template"]["spec"]["containers"]}
    refused: set[int] = set()
    for rule in job.get("podFailurePolicy", {}).get("rules", []):
        if rule["action"] not in {"FailJob", "FailIndex", "Ignore", "Count"}:
            wrong.append(f"CronJob: there is no action {rule['action']}")
        codes = rule.get("onExitCodes")
        if ("onPodConditions" in rule) == (codes is not None):
            wrong.append("CronJob: a rule has exactly one of onExitCodes and onPodConditions")
        if codes:
            if codes["operator"] != "In" or codes.get("containerName") not in containers:
                wrong.append("CronJob: a rule is for no container, or not for the codes that it lists")
            if rule["action"] == fails:
                refused |= set(codes["values"])
    # Another try helps after 6; after 5 only if nothing else starts it: a CronJob has its next time.
    if refused != {1, 2, 3, 4, 7, 8} | ({5} if fails == "FailJob" else set()):
        wrong.append(f"CronJob: not tried again after {sorted(refused)}")
    if job["template"]["spec"].get("restartPolicy") != "Never":
        wrong.append("CronJob: a podFailurePolicy takes restartPolicy: Never")
    return wrong


def stateful_set(daemon: dict) -> list[str]:
    spec = daemon["spec"]
    labels = spec["template"]["metadata"]["labels"]
    wrong = []
    if not spec["selector"]["matchLabels"].items() <= labels.items():
        wrong.append("StatefulSet: its selector does not fit its pods")
    ports = {port["name"] for port in spec["template"]["spec"]["containers"][0]["ports"]}
    for probe in ("startupProbe", "livenessProbe"):
        target = spec["template"]["spec"]["containers"][0][probe]["httpGet"]
        if target["path"] != "/healthz" or target["port"] not in ports:
            wrong.append(f"StatefulSet: the {probe} asks {target}")
    return wrong


def pod(template: dict, claims: list[str], names: set[tuple[str, str]], config: str) -> list[str]:
    spec = template["spec"]
    wrong = rights(spec) + claims_exist(spec, names)
    if template["metadata"]["labels"].get("azure.workload.identity/use") != "true":
        wrong.append("pod: has no token of a workload identity")
    if ("ServiceAccount", spec.get("serviceAccountName")) not in names:
        wrong.append("pod: there is no such service account")
    volumes = set(claims) | {volume["name"] for volume in spec["volumes"]}
    for volume in spec["volumes"]:
        if "configMap" in volume and ("ConfigMap", volume["configMap"]["name"]) not in names:
            wrong.append("pod: there is no such ConfigMap")
    for container in spec["containers"]:
        wrong += [f"pod: {line}" for line in wrong_command(container["args"], config)]
        mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
        if set(mounts) != {"/etc/fleetlogs", "/var/lib/fleetlogs", "/tmp"} or not set(mounts.values()) <= volumes:
            wrong.append(f"pod: mounts {mounts} of {sorted(volumes)}")
    return wrong


def claims_exist(spec: dict, names: set[tuple[str, str]]) -> list[str]:
    claims = [volume.get("persistentVolumeClaim", {}).get("claimName") for volume in spec["volumes"]]
    return [f"pod: there is no claim {claim}" for claim in claims if claim and ("PersistentVolumeClaim", claim) not in names]


def rights(spec: dict) -> list[str]:
    """What the namespace enforces (the restricted Pod Security Standard), and a limit of memory."""
    wrong = []
    security = spec.get("securityContext", {})
    if not security.get("runAsNonRoot") or security.get("seccompProfile", {}).get("type") != "RuntimeDefault":
        wrong.append("pod: may run as root, or without seccomp")
    if spec.get("automountServiceAccountToken") is not False:
        wrong.append("pod: has a token of the cluster, which it does not use")
    for container in spec["containers"]:
        own = container.get("securityContext", {})
        if (
            own.get("allowPrivilegeEscalation") is not False
            or not own.get("readOnlyRootFilesystem")
            or own.get("capabilities", {}).get("drop") != ["ALL"]
        ):
            wrong.append("pod: the container has more rights than it needs")
        if "memory" not in container["resources"].get("limits", {}):
            wrong.append("pod: the container has no limit of memory")
    return wrong
