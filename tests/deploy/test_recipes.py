"""The recipes of docs/deploy and docs/recipes are right, and what is broken in them is found."""

import shutil
import tempfile
import unittest
from pathlib import Path

import action_group
import bicep
import config
import docker
import kubernetes
import pipelines
import release
import systemd
import terraform
from recipe import FITTING, RECIPES

# A check, a file, what is taken out of it, what is put there instead, and a word of what the check must say.
BROKEN = [
    (systemd, "systemd/fleetlogs-schedule.service", "PrivateMounts=", "PrivateMount=", "Unknown key"),
    (systemd, "systemd/fleetlogs-schedule.service", "Restart=always", "Restart=sometimes", "restart specifier"),
    (systemd, "systemd/fleetlogs-schedule.service", "ProtectHome=yes\n", "ProtectHome=no\n", "more exposed"),
    (systemd, "systemd/fleetlogs-schedule.service", "SystemCallFilter=", "#", "more exposed"),
    (systemd, "systemd/fleetlogs-snapshot@.service", "User=fleetlogs\nDynamicUser=yes\n", "", "more exposed"),
    (systemd, "systemd/fleetlogs-snapshot@.service", "--once %i", "--once weekly", "`weekly`"),
    (systemd, "systemd/fleetlogs-snapshot@.service", "ExitStatus=1 2 3 4", "ExitStatus=1 2 4", "not started again"),
    (systemd, "systemd/fleetlogs-snapshot@.service", "--once %i", "--onze %i", "more than"),
    (systemd, "systemd/fleetlogs-snapshot@.service", "TimeoutStartSec=3h", "TimeoutStartSec=2h", "TimeoutStartSec"),
    (systemd, "systemd/fleetlogs-snapshot@.timer", "*-*-* 02:15:00 UTC", "daily at two", "calendar specification"),
    (docker, "docker/Dockerfile", "USER 65532:65532", "USER fleetlogs", "runAsNonRoot"),
    (docker, "docker/Dockerfile", "USER 65532:65532", "USER root", "DL3002"),
    (docker, "docker/Dockerfile", "1.95.0-bookworm", "latest", "DL3007"),
    (docker, "docker/Dockerfile", " --no-install-recommends", "", "DL3015"),
    (docker, "docker/Dockerfile", "COPY crates crates", "COPY crate crate", "no crate"),
    (docker, "docker/Dockerfile", "COPY docs/schema docs/schema\n", "", "does not copy docs/schema"),
    (docker, "docker/Dockerfile", 'ENTRYPOINT ["/usr/bin/fleetlogs"]', "ENTRYPOINT /usr/bin/fleetlogs", "DL3025"),
    (docker, "docker/Dockerfile", "SSL_CERT_FILE=", "SSL_CERT=", "SSL_CERT_FILE"),
    (docker, "docker/Dockerfile.dockerignore", "!crates\n", "", "keeps crates"),
    (kubernetes, "kubernetes/daemon.yaml", "replicas: 1", "replica: 1", "replica"),
    (kubernetes, "kubernetes/daemon.yaml", "periodSeconds: 5", "periodSecond: 5", "periodSecond"),
    (kubernetes, "kubernetes/daemon.yaml", "replicas: 1", "replicas: one", "replicas"),
    (kubernetes, "kubernetes/daemon.yaml", "app.kubernetes.io/component: daemon\n        azure", "azure", "selector"),
    (kubernetes, "kubernetes/daemon.yaml", "path: /healthz", "path: /health", "/health"),
    (kubernetes, "kubernetes/daemon.yaml", "readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false", "more rights"),
    (kubernetes, "kubernetes/daemon.yaml", "runAsNonRoot: true", "runAsNonRoot: false", "as root"),
    (kubernetes, "kubernetes/cronjob.yaml", "concurrencyPolicy: Forbid", "concurrencyPolicy: Allow", "at once"),
    (kubernetes, "kubernetes/cronjob.yaml", "timeZone:", "timezone:", "timezone"),
    (kubernetes, "kubernetes/cronjob.yaml", "action: FailJob", "action: Fail", "no action"),
    (kubernetes, "kubernetes/cronjob.yaml", "[1, 2, 3, 4, 5, 7, 8]", "[1, 2, 4, 5, 7, 8]", "not tried again"),
    (kubernetes, "kubernetes/cronjob.yaml", "restartPolicy: Never", "restartPolicy: OnFailure", "restartPolicy"),
    (kubernetes, "kubernetes/cronjob.yaml", "--once, nightly", "--once, weekly", "`weekly`"),
    (kubernetes, "kubernetes/cronjob.yaml", "schedule: 15 2", "schedule: 15 3", "schedule"),
    (kubernetes, "kubernetes/cronjob.yaml", "claimName: fleetlogs-nightly", "claimName: fleetlogs", "no claim"),
    (kubernetes, "kubernetes/cronjob.yaml", 'azure.workload.identity/use: "true"', "a: b", "workload identity"),
    (kubernetes, "kubernetes/reader.yaml", "drop: [ALL]", "drop: []", "more rights"),
    (kubernetes, "kubernetes/base.yaml", "kind: ServiceAccount", "kind: ServiceAcount", "there is no schema of ServiceAcount"),
    (bicep, "container-apps/main.bicep", "param image string", "param image string string", "no Bicep"),
    (bicep, "container-apps/main.bicep", "replicaRetryLimit: 0", "retryLimit: 0", "no `retryLimit`"),
    (bicep, "container-apps/main.bicep", "replicaRetryLimit: 0", "replicaRetryLimit: 3", "run again"),
    (bicep, "container-apps/main.bicep", "replicaTimeout: 10800", "replicaTimeout: 1800", "replicaTimeout"),
    (bicep, "container-apps/main.bicep", "replicaTimeout: 10800", "replicaTimeout: '10800'", "no string"),
    (bicep, "container-apps/main.bicep", "      replicaTimeout: 10800\n", "", "takes a `replicaTimeout`"),
    (bicep, "container-apps/main.bicep", "triggerType: 'Schedule'", "triggerType: 'Cron'", "one of"),
    (bicep, "container-apps/main.bicep", "storageType: 'Secret'", "storageType: 'ConfigMap'", "one of"),
    (bicep, "container-apps/main.bicep", "cpu: json('0.5')", "cpu: '0.5'", "no string"),
    (bicep, "container-apps/main.bicep", "jobs@2026-07-01", "job@2026-07-01", "list of resources"),
    (bicep, "container-apps/main.bicep", "jobs@2026-07-01", "jobs@2022-01-01", "list of resources"),
    (bicep, "container-apps/main.bicep", "workspaceId: logs.id", "workspaceId: workspace.id", "not declared"),
    (bicep, "container-apps/main.bicep", "    role: batchRole\n", "", "`role` is missing"),
    (bicep, "container-apps/main.bicep", "    role: batchRole\n", "    roles: batchRole\n", "no parameter `roles`"),
    (bicep, "container-apps/main.bicep", "modules/storage-account.bicep", "modules/storage.bicep", "no module"),
    (bicep, "container-apps/main.bicep", "param logContainer string = 'batch-logs'", "param logContainer string = 'logs'", "container"),
    (bicep, "container-apps/modules/storage-account.bicep", "db58b8e5", "db58b8e6", "is not the role"),
    (bicep, "container-apps/modules/registry.bicep", "7f951dda-4ed3-4680-a7ca-43fe172d538d", "8e3af657-a8ff-443c-a75c-2fe8c4bcb635", "is not the role"),
    (bicep, "container-apps/modules/registry.bicep", "principalType: 'ServicePrincipal'", "principalType: 'Servant'", "one of"),
    (bicep, "container-apps/main.parameters.json", '"snapshot":', '"snapshots":', "no parameter"),
    (bicep, "container-apps/main.parameters.json", '{ "value": "contosologs" }', '{ "value": 1 }', "no int"),
    (kubernetes, "kubernetes/indexed-job.yaml", "completionMode: Indexed", "completionMode: NonIndexed", "number its pods"),
    (kubernetes, "kubernetes/indexed-job.yaml", "completions: 3", "completions: 4", "JOB_COMPLETIONS"),
    (kubernetes, "kubernetes/indexed-job.yaml", "controller-uid']", "job-name']", "FLEETLOGS_SHARD_KEY"),
    (kubernetes, "kubernetes/indexed-job.yaml", "backoffLimitPerIndex: 2", "backoffLimit: 2", "ends the others"),
    (kubernetes, "kubernetes/indexed-job.yaml", "action: FailIndex", "action: FailJob", "not tried again"),
    (kubernetes, "kubernetes/indexed-job.yaml", "[1, 2, 3, 4, 7, 8]", "[1, 2, 3, 4, 6, 7, 8]", "not tried again"),
    (kubernetes, "kubernetes/indexed-job.yaml", "activeDeadlineSeconds: 21600", "activeDeadlineSeconds: 3600", "activeDeadlineSeconds"),
    (kubernetes, "kubernetes/indexed-job.yaml", "[run, /etc", "[resume, /etc", "resume"),
    (kubernetes, "kubernetes/scaled-job.yaml", "type: azure-queue", "type: azure-blob", "azure-queue"),
    (kubernetes, "kubernetes/scaled-job.yaml", "pollingInterval:", "pollInterval:", "pollInterval"),
    (kubernetes, "kubernetes/scaled-job.yaml", "queueName: fleetlogs-work", "queueName: fleetlogs", "another queue"),
    (kubernetes, "kubernetes/scaled-job.yaml", 'queueLength: "4"', 'queueLength: "1"', "partitions at once"),
    (kubernetes, "kubernetes/scaled-job.yaml", "queueLengthStrategy: all", "queueLengthStrategy: visibleonly", "visible messages only"),
    (kubernetes, "kubernetes/scaled-job.yaml", "activeDeadlineSeconds: 21600", "activeDeadlineSeconds: 600", "ends a partition"),
    (kubernetes, "kubernetes/scaled-job.yaml", "backoffLimit: 0", "backoffLimit: 6", "runs a worker again"),
    (kubernetes, "kubernetes/scaled-job.yaml", "backoffLimit: 0", "backoffLimits: 0", "backoffLimits"),
    (kubernetes, "kubernetes/scaled-job.yaml", "provider: azure-workload", "provider: azure", "azure-workload"),
    (kubernetes, "kubernetes/scaled-job.yaml", "        name: fleetlogs-queue\n", "        name: queue\n", "no such TriggerAuthentication"),
    (kubernetes, "kubernetes/scaled-job.yaml", "[worker, /etc/fleetlogs/fleetlogs.toml]", "[worker, /etc/fleetlogs/fleetlogs.toml, --site, east]", "does not have"),
    (kubernetes, "kubernetes/workers.yaml", "[journal] ", "[journals] ", "shares no record"),
    (bicep, "container-apps/workers.bicep", "triggerType: 'Event'", "triggerType: 'Events'", "one of"),
    (bicep, "container-apps/workers.bicep", "maxExecutions: maxWorkers", "maxExecution: maxWorkers", "no `maxExecution`"),
    (bicep, "container-apps/workers.bicep", "queueLength: '4'", "queueLength: '5'", "partitions at once"),
    (bicep, "container-apps/workers.bicep", "queueName: empty(site) ? queue : '${queue}-${site}'", "queueName: queue", "that of the site"),
    (bicep, "container-apps/workers.bicep", "replicaTimeout: 21600", "replicaTimeout: 3600", "replicaTimeout"),
    (bicep, "container-apps/workers.bicep", "            'fan-out'", "            'fan-in'", "fan-in"),
    (bicep, "container-apps/workers.bicep", "param queue string = 'fleetlogs-work'", "param queue string = 'work'", "queue is another"),
    (bicep, "container-apps/modules/work-queues.bicep", "974c5e8b", "974c5e8c", "is not the role"),
    (bicep, "container-apps/workers.parameters.json", '"name": "fabrikam"', '"name": "contoso2"', "batchAccounts"),
    (config, "container-apps/workers.toml", "partitions_at_once = 4", "partitions_at_once = 0", "partitions_at_once"),
    (config, "kubernetes/workers.yaml", 'queue = "fleetlogs-work"', 'queue = "Work"', "not the name of a queue"),
    (config, "container-apps/README.md", "fleetlogs fan-in", "fleetlogs fan-inn", "fan-inn"),
    (config, "systemd/fleetlogs.toml", "keep_runs", "keep_run", "keep_run"),
    (config, "systemd/fleetlogs.toml", "# webhook =", "# web_hook =", "web_hook"),
    (config, "kubernetes/base.yaml", "# [schedule.lease]", "# [schedule.leese]", "leese"),
    (config, "container-apps/fleetlogs.toml", '"since-last"', '"since-lost"', "since-lost"),
    (config, "systemd/README.md", "fleetlogs check", "fleetlogs chek", "chek"),
    (pipelines, "github-actions/fleetlogs.yml", "runs-on:", "run-on:", "'runs-on' is a required"),
    (pipelines, "github-actions/fleetlogs.yml", "id-token: write", "id-token: maybe", "id-token"),
    (pipelines, "github-actions/fleetlogs.yml", 'check --last "$LAST"', "check --last ${{ inputs.last }}", "template-injection"),
    (pipelines, "github-actions/fleetlogs.yml", "permissions: {}", "permissions: write-all", "excessive-permissions"),
    (pipelines, "github-actions/fleetlogs.yml", "timeout-minutes: 60", "timeout-minutes: 30", "timeout"),
    (pipelines, "github-actions/fleetlogs.yml", "            3) echo", "            9) echo", "run that is partial"),
    (pipelines, "github-actions/fleetlogs.yml", ">> \"$GITHUB_STEP_SUMMARY\"", "> /dev/null", "the summary says otherwise"),
    (pipelines, "github-actions/fleetlogs.toml", 'run = "30m"', 'run = "2h"', "outlive the tokens"),
    (pipelines, "azure-devops/azure-pipelines.yml", "inlineScript: |", "inlineSkript: |", "azure-pipelines.yml"),
    (pipelines, "azure-devops/azure-pipelines.yml", 'timeoutInMinutes: "60"', 'timeoutInMinutes: "30"', "timeout"),
    (pipelines, "azure-devops/azure-pipelines.yml", "[ $code -eq 3 ]", "[ $code -ge 3 ]", "nothing-collected, the job ends with 0"),
    (pipelines, "azure-devops/azure-pipelines.yml", "[task.uploadsummary]$PWD/", "[task.uploadsummary]", "the summary says otherwise"),
    (terraform, "terraform/main.tf", "resource \"azurerm_user", "resources \"azurerm_user", "is not declared"),
    (terraform, "terraform/main.tf", "schedule_trigger_config {", "schedule_trigger_config [", "no HCL"),
    (terraform, "terraform/main.tf", "  replica_timeout_in_seconds = 10800\n", "", "takes a `replica_timeout_in_seconds`"),
    (terraform, "terraform/main.tf", "replica_timeout_in_seconds = 10800", "replica_timeout_in_seconds = 1800", "own deadlines"),
    (terraform, "terraform/main.tf", "replica_retry_limit = 0", "replica_retry_limit = 3", "run again"),
    (terraform, "terraform/main.tf", "cron_expression ", "cron ", "no `cron`"),
    (terraform, "terraform/main.tf", "cpu    = 0.5", 'cpu    = "0.5"', "is a number"),
    (terraform, "terraform/main.tf", "job.client_id", "job.client", "no `client`"),
    (terraform, "terraform/main.tf", "azurerm_log_analytics_workspace.logs.id", "azurerm_log_analytics_workspace.log.id", "not declared"),
    (terraform, "terraform/main.tf", '"AcrPull"', '"AcrPush"', "`AcrPull` is not given"),
    (terraform, "terraform/main.tf", "/etc/fleetlogs/config", "/etc/fleetlogs/fleetlogs.toml", "another file"),
    (terraform, "terraform/variables.tf", 'variable "cron"', 'variable "crone"', "not declared"),
    (terraform, "terraform/fleetlogs.tfvars", "registry_resource_group ", "registry_group ", "no variable"),
    (terraform, "terraform/fleetlogs.toml", "batch-state", "state", "another config"),
    (terraform, "action-group/main.tf", "webhook_receiver {", "webhook {", "no `webhook`"),
    (action_group, "action-group/main.bicep", "webhookReceivers:", "webhooks:", "no `webhooks`"),
    (action_group, "action-group/main.bicep", "useCommonAlertSchema: true", "useCommonAlertSchema: false", "does not read"),
    (action_group, "action-group/main.bicep", "@secure()\n", "", "stays in the record"),
    (action_group, "action-group/main.bicep", "metricName: 'UnusableNodeCount'", "metricName: 'UnusableNodes'", "one of"),
    (action_group, "action-group/main.tf", "?code=", "?secret=", "does not call"),
    (action_group, "action-group/main.parameters.json", '"host":', '"hosts":', "no parameter"),
    (release, "workflows/release.yml", "runs-on: ubuntu-24.04", "run-on: ubuntu-24.04", "'runs-on' is a required"),
    (release, "workflows/release.yml", "      contents: write", "      contents: maybe", "maybe"),
    (release, "workflows/release.yml", "    if: startsWith(github.ref, 'refs/tags/v')\n", "", "`publish` may write"),
    (release, "workflows/release.yml", "permissions: {}", "permissions: write-all", "has permissions"),
    (release, "workflows/release.yml", "needs: [notes, test, linux", "needs: [notes, linux", "publishes without ['test']"),
    (release, "workflows/release.yml", "@3d3c42e5aac5ba805825da76410c181273ba90b1 #", "@v7 #", "is not pinned"),
    (release, "workflows/release.yml", "packaging/deb.sh", "packaging/debian.sh", "no packaging/debian.sh"),
    (release, "workflows/release.yml", "target: aarch64-unknown-linux-musl", "target: armv7-unknown-linux-musl", "builds for"),
    (release, "workflows/release.yml", '"$GITHUB_REF_NAME" --repo', '"${{ github.ref_name }}" --repo', "template-injection"),
    (release, "workflows/ci.yml", "rust:1.95.0", "rust:1.96.0", "Rust 1.96.0"),
    (release, "workflows/ci.yml", "tests/all.sh\n", "tests/everything.sh\n", "no tests/everything.sh"),
    (release, "ISSUE_TEMPLATE/bug.yml", "type: dropdown", "type: choice", "choice"),
    (release, "ISSUE_TEMPLATE/bug.yml", "render: json\n    validations:\n      required: true", "render: json", "does not require `log.jsonl`"),
    (release, "ISSUE_TEMPLATE/wish.yml", "`fleetlogs --version`", "Version", "does not require `fleetlogs --version`"),
    (release, "ISSUE_TEMPLATE/service.yml", "Leave out secrets: signatures", "Leave out signatures", "without a word on secrets"),
    (release, "ISSUE_TEMPLATE/config.yml", "blank_issues_enabled: false", "blank_issues_enabled: never", "never"),
]


def home(check) -> Path:
    """The directory that a check is about."""
    return getattr(check, "HOME", RECIPES)


class Recipes(unittest.TestCase):
    def test_every_recipe_is_right(self) -> None:
        for check in (systemd, docker, kubernetes, bicep, config, pipelines, terraform, action_group, release):
            with self.subTest(check.__name__):
                self.assertEqual(check.check(home(check)), [])

    def test_every_recipe_for_what_people_have_is_read_by_fleetlogs(self) -> None:
        self.assertEqual(config.check(FITTING), [])

    def test_what_is_broken_is_found(self) -> None:
        for check, file, old, new, says in BROKEN:
            with self.subTest(file=file, broken=new), tempfile.TemporaryDirectory() as directory:
                copy = Path(directory) / home(check).name
                shutil.copytree(home(check), copy)
                text = (copy / file).read_text()
                self.assertIn(old, text)
                (copy / file).write_text(text.replace(old, new))
                self.assertIn(says, "\n".join(check.check(copy)))


if __name__ == "__main__":
    unittest.main()
