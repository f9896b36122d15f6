"""The official Azure SDKs for Python, those of Batch and of Blob Storage, as clients of the simulator.

    python check.py READY.json

READY.json is what the simulator writes once it serves. The SDKs know nothing of the simulator, so where the two
disagree, the simulator is wrong. What the SDKs were told is compared with the ledger, which knows what really happened.
Prints a line per check; exits 1 if any of them failed.
"""

import datetime
import json
import sys
import time
import urllib.error
import urllib.request

from azure.batch import BatchClient
from azure.batch.models import UploadBatchServiceLogsOptions
from azure.core import MatchConditions
from azure.core.credentials import AzureNamedKeyCredential
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.storage.blob import AccessPolicy, BlobBlock, BlobServiceClient, ContainerSasPermissions
from azure.storage.blob import generate_blob_sas, generate_container_sas

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


def sorted_lists(batch, account, nodes):
    """The service sorts its lists by id."""
    name = account["name"]
    pools = [pool.id.lower() for pool in batch.list_pools()]
    check(f"{name}: pools are sorted", pools == sorted(pools), pools)
    check(f"{name}: jobs are sorted", (ids := [job.id.lower() for job in batch.list_jobs()]) == sorted(ids), ids)
    for pool in {pool for pool, _ in nodes}:
        ids = [node.id for where, node in nodes if where == pool]
        check(f"{name}/{pool}: nodes are sorted", ids == sorted(ids))


def single(batch, account, pool):
    """A pool by itself: it exists, it has a tag, and it is read under conditions."""
    name = account["name"]
    try:
        there = batch.pool_exists("no-such-pool")
    except ResourceNotFoundError:
        # This version of the SDK raises what it promises to return.
        there = False
    check(f"{name}/{pool}: exists", batch.pool_exists(pool) and not there)
    found = batch.get_pool(pool)
    ticks = int(found.etag, 16) - 621355968000000000
    # Python knows microseconds, and the tag knows a tenth of them. A time as a float has neither.
    epoch = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
    modified = (found.last_modified - epoch) // datetime.timedelta(microseconds=1) * 10
    check(f"{name}/{pool}: the tag is the time of the change", 0 <= ticks - modified < 10, f"{ticks} and {modified}")
    asked = [
        ({"etag": found.etag, "match_condition": MatchConditions.IfNotModified}, None),
        ({"etag": found.etag, "match_condition": MatchConditions.IfModified}, 304),
        ({"etag": "0x1", "match_condition": MatchConditions.IfNotModified}, 412),
        ({"etag": "0x1", "match_condition": MatchConditions.IfModified}, None),
    ]
    for condition, expected in asked:
        try:
            batch.get_pool(pool, **condition)
            got = None
        except HttpResponseError as error:
            got = error.status_code
        check(f"{name}/{pool}: read under {condition}", got == expected, got)
    ignored = list(batch.list_pools(params={"also": "this"}))
    check(f"{name}: unknown parameters are ignored", ignored and all(pool.vm_size for pool in ignored))


def times(batch, ready, account, pool, node):
    """What other clients send: an offset from UTC, nine digits; and an end before the start."""
    name = account["name"]
    options = {"containerUrl": ready["container_url"], "startTime": "2025-02-05T12:06:22.351894814-08:00"}
    try:
        told = batch.upload_node_logs(pool, node, options)
        check(f"{name}: a time with an offset and nine digits is taken", bool(told.virtual_directory_name))
    except HttpResponseError as error:
        check(f"{name}: a time with an offset and nine digits is taken", False, error)
    try:
        batch.upload_node_logs(pool, node, options | {"endTime": "2025-01-01T00:00:00Z"})
        check(f"{name}: an end before the start is refused", False, "it was not")
    except HttpResponseError as error:
        values = {value["key"]: value["value"] for value in json.loads(error.response.text())["values"]}
        check(f"{name}: an end before the start is refused", error.status_code == 400, error)
        check(f"{name}: the value that was sent comes back", values["PropertyValue"] == "2025-01-01T00:00:00Z", values)


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


def storage(ready):
    """The SDK of storage: policies, letters and headers of a SAS, blobs in blocks, many deletions in one request."""
    account, key = ready["storage"]["account"], ready["storage"]["key"]
    service = BlobServiceClient(
        ready["storage"]["endpoint"],
        {"account_name": account, "account_key": key},
        max_single_put_size=1000,
        max_block_size=1000,
        retry_total=0,
    )
    container = service.create_container("sdk-logs")
    expiry = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=1)

    content = bytes(range(256)) * 20
    blob = container.get_blob_client("a/large.bin")
    blob.upload_blob(content)
    check("storage: a blob in blocks comes back whole", blob.download_blob().readall() == content)
    committed, waiting = blob.get_block_list("all")
    check("storage: its blocks are listed", (len(committed), len(waiting)) == (6, 0), (committed, waiting))
    blob.stage_block("b" * len(committed[0].id), b"more")
    blob.commit_block_list([BlobBlock(committed[0].id), BlobBlock("b" * len(committed[0].id))])
    check("storage: blocks are put together anew", blob.download_blob().readall() == content[:1000] + b"more")
    try:
        blob.commit_block_list([BlobBlock("x" * 8)])
        check("storage: an unknown block is refused", False, "it was not")
    except HttpResponseError as error:
        check("storage: an unknown block is refused", error.error_code == "InvalidBlockList", error)

    def reads(sas, name="a/large.bin"):
        try:
            url = f"{container.url}/{name}?{sas}"
            with urllib.request.urlopen(urllib.request.Request(url, method="HEAD")) as answer:
                return answer.headers
        except urllib.error.HTTPError as error:
            return error.code

    letters = ContainerSasPermissions.from_string("rwdltfm")
    sas = generate_container_sas(account, "sdk-logs", account_key=key, permission=letters, expiry=expiry)
    check("storage: a SAS with filter by tags opens", not isinstance(reads(sas), int), f"{letters}: {reads(sas)}")
    shown = 'attachment; filename="x.log"'
    asked = {"content_type": "text/x-log", "content_disposition": shown, "cache_control": "no-store"}
    sas = generate_blob_sas(account, "sdk-logs", "a/large.bin", account_key=key, permission="r", expiry=expiry, **asked)
    headers = reads(sas)
    names = ("Content-Type", "Content-Disposition", "Cache-Control")
    given = headers if isinstance(headers, int) else [headers[name] for name in names]
    check("storage: a SAS gives an answer its headers", given == list(asked.values()), given)

    policy = AccessPolicy(permission="rl", expiry=expiry)
    container.set_container_access_policy({"support": policy})
    sas = generate_container_sas(account, "sdk-logs", account_key=key, policy_id="support")
    check("storage: a SAS under a policy opens", not isinstance(reads(sas), int), reads(sas))
    container.set_container_access_policy({})
    left = container.get_container_access_policy()["signed_identifiers"]
    check("storage: without policies, it does not", reads(sas) == 403 and not left, f"{reads(sas)}, {left}")

    for number in range(3):
        container.upload_blob(f"old/{number} %.log", b"x")
    container.delete_blobs(*[f"old/{number} %.log" for number in range(3)])
    left = [blob.name for blob in container.list_blobs()]
    check("storage: many blobs are deleted in one request", left == ["a/large.bin"], left)
    answers = list(container.delete_blobs("a/large.bin", "no-such-blob", raise_on_any_failure=False))
    check("storage: each has its own answer", [answer.status_code for answer in answers] == [202, 404], answers)


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
            sorted_lists(batch, account, nodes)
            single(batch, account, nodes[0][0])
            promised += upload(batch, ready, account, nodes)
            idle = next((pool, node.id) for pool, node in nodes if node.state == "idle")
            times(batch, ready, account, *idle)
        refused(batch, account)
    arrived(ready, promised)
    storage(ready)
    print(f"{failures} failed")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
