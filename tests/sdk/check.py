"""The official Azure Batch SDK for Python as a client of the simulator.

    python check.py READY.json

READY.json is what the simulator writes once it serves. The SDK knows nothing of the simulator, so where the two
disagree, the simulator is wrong. What the SDK was told is compared with the ledger, which knows what really happened.
Prints a line per check; exits 1 if any of them failed.
"""

import datetime
import json
import sys
import time
import urllib.request

from azure.batch import BatchClient
from azure.batch.models import UploadBatchServiceLogsOptions
from azure.core.credentials import AzureNamedKeyCredential
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError

failures = 0


def check(claim, good, detail=""):
    """Prints one line, and remembers a failure."""
    global failures
    failures += not good
    print(f"{'ok  ' if good else 'FAIL'} {claim}{'' if good else f': {detail}'}", flush=True)
    return good


def client(account, key=None):
    # No retries: a check must see every answer as it came.
    credential = AzureNamedKeyCredential(account["name"], key or account["key"])
    return BatchClient(account["endpoint"], credential, retry_total=0)


def read_ledger(ready):
    with urllib.request.urlopen(ready["ledger"]) as answer:
        return json.load(answer)


def ledger_nodes(ready, account):
    return {(node["pool"], node["node"]): node for node in read_ledger(ready)["nodes"] if node["account"] == account}


def walk(batch, account):
    """All pools and nodes in small pages. Each must come exactly once, and in agreement with one large page."""
    name = account["name"]
    small = [pool.id for pool in batch.list_pools(max_results=1)]
    large = [pool.id for pool in batch.list_pools()]
    check(f"{name}: pools page by page are the pools of one page", small == large, f"{small} and {large}")
    pages = list(batch.list_pools(max_results=1).by_page())
    check(f"{name}: a page holds what was asked for", all(len(list(page)) <= 1 for page in pages))

    nodes = []
    for pool in large:
        small = [node.id for node in batch.list_nodes(pool, max_results=3)]
        large_nodes = list(batch.list_nodes(pool, service_timeout=30))
        ids = [node.id for node in large_nodes]
        check(f"{name}/{pool}: every node comes exactly once", len(small) == len(set(small)), f"{len(small)} nodes")
        check(f"{name}/{pool}: nodes page by page are the nodes of one page", small == ids)
        nodes += [(pool, node) for node in large_nodes]

    counts = {row.pool_id: row.dedicated.total + row.low_priority.total for row in batch.list_pool_node_counts()}
    listed = {pool: sum(1 for where, _ in nodes if where == pool) for pool in large}
    check(f"{name}: node counts agree with the lists", counts == listed, f"{counts} and {listed}")
    return nodes


def selected(batch, account, pool):
    nodes = list(batch.list_nodes(pool, select=["id", "state"], filter="state eq 'idle'"))
    bare = all(node.id and node.vm_size is None for node in nodes)
    idle = all(node.state == "idle" for node in nodes)
    check(f"{account['name']}/{pool}: select and filter are honoured", bare and idle)


def filtered(batch, account, pool):
    """Filters that the SDK passes on: what they find is what one finds by looking at all nodes."""
    name, nodes = account["name"], list(batch.list_nodes(pool))
    times = sorted(node.allocation_time for node in nodes)
    middle = times[len(times) // 2]
    text = middle.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    # Python knows microseconds, and the service knows a tenth of them: only what is clearly apart is compared.
    clear = {node.id for node in nodes if node.allocation_time < middle}
    found = {node.id for node in batch.list_nodes(pool, filter=f"allocationTime lt DateTime'{text}'")}
    check(f"{name}/{pool}: nodes are found by their age", found == clear, f"{len(found)} and {len(clear)}")
    done = [node for node in nodes if node.start_task_info and node.start_task_info.exit_code == 0]
    found = batch.list_nodes(pool, filter="startTaskInfo/exitCode eq 0 and (state eq 'idle' or state ne 'idle')")
    check(f"{name}/{pool}: nodes are found by their start task", [n.id for n in found] == [n.id for n in done])
    images = [node.virtual_machine_info.image_reference for node in nodes]
    whole = all(n.scheduling_state and n.vm_size for n in nodes) and all(image.exact_version for image in images)
    check(f"{name}/{pool}: nodes tell size, image and scheduling", whole)
    try:
        list(batch.list_nodes(pool, filter="vmSize eq 'x'"))
        check(f"{name}/{pool}: a filter that the list does not know is refused", False, "it was not")
    except HttpResponseError as error:
        check(f"{name}/{pool}: a filter that the list does not know is refused", error.status_code == 400, error)


def jobs(batch, account, nodes):
    """Jobs, tasks and subtasks: each task ran on a node of its pool, or on one that is no longer there."""
    name, there = account["name"], {(pool, node.id) for pool, node in nodes}
    seen = [job.id for job in batch.list_jobs(max_results=1)]
    check(f"{name}: jobs page by page are the jobs of one page", seen == [job.id for job in batch.list_jobs()], seen)
    for job in seen:
        tasks = list(batch.list_tasks(job, max_results=3))
        large = [task.id for task in batch.list_tasks(job)]
        check(f"{name}/{job}: tasks page by page are the tasks of one page", [task.id for task in tasks] == large)
        ran = [task for task in tasks if task.state == "completed"]
        timed = all(t.execution_info.start_time <= t.execution_info.end_time and t.node_info.node_url for t in ran)
        check(f"{name}/{job}: tasks say where and when they ran", timed and all(t.node_info.node_id for t in ran))
        one = batch.get_task(job, large[0])
        same = (one.id, one.node_info) == (large[0], tasks[0].node_info)
        check(f"{name}/{job}: a task by itself is the task of the list", same)
        failed = [task.id for task in ran if task.execution_info.exit_code]
        where = "executionInfo/exitCode ne 0 and state eq 'completed'"
        found = [task.id for task in batch.list_tasks(job, filter=where)]
        check(f"{name}/{job}: failed tasks are found", found == failed, f"{found} and {failed}")
        for task in ran:
            settings = task.multi_instance_settings
            subtasks = list(batch.list_subtasks(job, task.id))
            expected = settings.number_of_instances - 1 if settings else 0
            good = [subtask.id for subtask in subtasks] == list(range(1, expected + 1))
            on = {(subtask.node_info.pool_id, subtask.node_info.node_id) for subtask in subtasks}
            good = good and on <= there and len(on) == expected
            if not good:
                check(f"{name}/{job}/{task.id}: subtasks are on nodes of their own", False, subtasks)
                break
        else:
            check(f"{name}/{job}: subtasks are on nodes of their own", True)
    recent = {task.job_id for _, node in nodes for task in node.recent_tasks or []}
    check(f"{name}: nodes remember the tasks of the jobs", set(seen) <= recent, f"{seen} and {recent}")


def refused(batch, account):
    name = account["name"]
    fake = client(account, "bm90IHRoZSBrZXk=")
    try:
        list(fake.list_pools())
        check(f"{name}: a wrong key is refused", False, "it was not")
    except HttpResponseError as error:
        check(f"{name}: a wrong key is refused", error.status_code == 403, error)
    try:
        list(batch.list_nodes("no-such-pool"))
        check(f"{name}: a pool that is not there is not found", False, "it was")
    except ResourceNotFoundError as error:
        check(f"{name}: a pool that is not there is not found", error.status_code == 404, error)


def upload(batch, ready, account, nodes):
    """One upload per node; what the SDK was told must be in the ledger, no more and no less."""
    name = account["name"]
    before = {key: len(node["directories"]) for key, node in ledger_nodes(ready, name).items()}
    start = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(hours=2)
    told, errors = {}, {}
    for pool, node in nodes:
        options = UploadBatchServiceLogsOptions(container_url=ready["container_url"], start_time=start)
        seen = {}

        def keep(response, seen=seen):
            seen.update(response.http_response.headers)

        try:
            result = batch.upload_node_logs(pool, node.id, options, raw_response_hook=keep)
            told[pool, node.id] = (result.virtual_directory_name, result.number_of_files_uploaded, seen)
        except HttpResponseError as error:
            errors[pool, node.id] = error
    check(f"{name}: uploads are accepted", bool(told), errors)

    after = ledger_nodes(ready, name)
    made = {key: node["directories"][before.get(key, 0) :] for key, node in after.items()}
    answered = {key: [directory["name"] for directory in made.get(key, [])] for key in told}
    expected = {key: [directory] for key, (directory, _, _) in told.items()}
    check(f"{name}: the directories of the answers are those of the ledger", answered == expected)
    promised = all(made[key][0]["files_promised"] == files for key, (_, files, _) in told.items() if made.get(key))
    check(f"{name}: so are the numbers of files", promised)
    last = all(directory.split("/")[-1] == seen["request-id"] for directory, _, seen in told.values())
    check(f"{name}: the last segment is the request id", last)
    middle = all(directory.split("/")[1:3] == [pool.lower(), node] for (pool, node), (directory, _, _) in told.items())
    check(f"{name}: pool in lower case and node are in the middle", middle)
    silent = [key for key in errors if made.get(key)]
    check(f"{name}: what was refused made no directory", not silent, silent)
    return sum(files for _, files, _ in told.values())


def arrived(ready, expected, seconds=20):
    """Waits until most of what was promised is there; unusable nodes may promise and not deliver."""
    deadline = time.monotonic() + seconds
    while True:
        nodes = read_ledger(ready)["nodes"]
        written = sum(directory["files_written"] for node in nodes for directory in node["directories"])
        if written >= expected * 0.8 or time.monotonic() > deadline:
            break
        time.sleep(0.2)
    check("files arrive", written > 0, f"{written} of {expected}")
    with urllib.request.urlopen(f"{ready['verify_url']}&restype=container&comp=list&maxresults=5000") as answer:
        listed = answer.read().count(b"<Blob>")
    check("the container lists them", listed >= min(written, 5000), f"{listed} of {written}")


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        ready = json.load(file)
    promised = 0
    for account in ready["accounts"]:
        batch = client(account)
        nodes = walk(batch, account)
        if nodes:
            selected(batch, account, nodes[0][0])
            filtered(batch, account, nodes[0][0])
            jobs(batch, account, nodes)
            promised += upload(batch, ready, account, nodes)
        refused(batch, account)
    arrived(ready, promised)
    print(f"{failures} failed")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
