//! The reports of whole runs, as a reader finds them in the run directory.

mod schema;
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::fs;

use fleetlogs_model::event::{Event, Recorded};
use fleetlogs_model::failure::{Failure, FailureClass};
use fleetlogs_model::outcome::{Outcome, RunOutcome, Shortfall};
use fleetlogs_model::stop_cause::{StopCause, Unverified};
use proptest::prelude::*;
use serde_json::Value;
use tempfile::TempDir;

use super::*;
use crate::advice::{Advice, Commands, Step};
use crate::files::SUMMARY_FILE;
use crate::look::Look;
use crate::summary::{Examples, Summary, markdown_step};
use crate::testing::{
    accepted, ended, failure, folded, incomplete, interrupted, plan_of, planned, recorded, requested,
    retried, small_plan, small_run, verified,
};
use crate::ticket::{Ticket, TicketDetails};

const COMMANDS: Commands<'static> =
    Commands { run: Some("runs/20261122T093000Z-4f2a"), config: Some("fleetlogs.toml"), shared_out_at: None };

type Histories = Vec<(NodeIndex, NodeHistory)>;

/// A run directory with reports in it.
struct Reported {
    dir: TempDir,
    plan: Plan,
    facts: RunFacts,
    ledger: Ledger,
    findings: Findings,
}

fn report(plan: Plan, facts: RunFacts, events: &[Recorded]) -> Reported {
    let (ledger, histories) = folded(&plan, events);
    let dir = tempfile::tempdir().unwrap();
    let findings = write(&dir, &plan, &facts, &ledger, histories).unwrap();
    Reported { dir, plan, facts, ledger, findings }
}

fn write(
    dir: &TempDir,
    plan: &Plan,
    facts: &RunFacts,
    ledger: &Ledger,
    histories: Histories,
) -> Result<Findings, ReportError> {
    write_reports(dir.path(), plan, facts, ledger, COMMANDS, histories.into_iter().map(Ok::<_, Infallible>))
}

impl Reported {
    fn text(&self, file: &str) -> String {
        fs::read_to_string(self.dir.path().join(file)).unwrap()
    }

    fn manifest(&self) -> Value {
        serde_json::from_str(&self.text(MANIFEST_FILE)).unwrap()
    }

    fn summary(&self) -> Summary<'_> {
        Summary {
            plan: &self.plan,
            facts: &self.facts,
            ledger: &self.ledger,
            findings: &self.findings,
            dir: Path::new("runs/20261122T093000Z-4f2a"),
            commands: COMMANDS,
        }
    }
}

fn small() -> Reported {
    report(small_plan(), interrupted("SIGINT"), &small_run())
}

#[test]
fn the_manifest_of_a_small_run() {
    insta::assert_snapshot!(small().text(MANIFEST_FILE), @r#"
    {
    "schema": "fleetlogs.manifest/v1",
    "run_id": "20261122T093000Z-4f2a",
    "snapshot": null,
    "outcome": "interrupted",
    "reason": "SIGINT",
    "tool_version": "0.1.0",
    "config_digest": "9f86d081884c7d65",
    "window": {"start":"2026-11-22T07:30:00.000Z","end":"2026-11-22T09:30:00.000Z"},
    "destination": "https://logs.blob.core.windows.net/batch",
    "started_at": "2026-11-22T09:30:00.000Z",
    "ended_at": "2026-11-22T09:32:10.000Z",
    "verification": {"enabled":true,"list_calls":9},
    "counts": {"planned":6,"verified":2,"adopted":0,"accepted":0,"incomplete":2,"empty":0,"in-doubt":0,"failed":0,"gone":1,"not-sent":1},
    "accounts": [
    {"name":"contoso","endpoint":"https://contoso.westeurope.batch.azure.com","outcome":"partial","reason":null,"api_version":"2024-07-01.20.0","planned":4,"counts":{"planned":4,"verified":2,"adopted":0,"accepted":0,"incomplete":2,"empty":0,"in-doubt":0,"failed":0,"gone":0,"not-sent":0},"calls":5,"throttled":1,"pools":2,"list_calls":3},
    {"name":"fabrikam","endpoint":"https://fabrikam.westeurope.batch.azure.com","outcome":"interrupted","reason":"SIGINT","api_version":"2024-07-01.20.0","planned":2,"counts":{"planned":2,"verified":0,"adopted":0,"accepted":0,"incomplete":0,"empty":0,"in-doubt":0,"failed":0,"gone":1,"not-sent":1},"calls":1,"throttled":0,"pools":2,"list_calls":3},
    {"name":"tailspin","endpoint":"https://tailspin.westeurope.batch.azure.com","outcome":"nothing-collected","reason":"403 AuthenticationFailed: the role is missing","api_version":"2024-07-01.20.0","planned":0,"counts":{"planned":0,"verified":0,"adopted":0,"accepted":0,"incomplete":0,"empty":0,"in-doubt":0,"failed":0,"gone":0,"not-sent":0},"calls":0,"throttled":0,"pools":0,"list_calls":1}
    ],
    "pools": [
    {"account":"contoso","pool":"render","os":"batch.node.ubuntu 22.04","vm_size":"standard_d4s_v5","allocation_state":"steady","deleting":false,"shrinking":false,"current_nodes":2,"target_nodes":3,"resize_errors":[{"code":"AccountCoreQuotaReached","message":"the quota of the account is used up"}],"seen_again":true},
    {"account":"contoso","pool":"blocked","deleting":false,"shrinking":false,"current_nodes":0,"seen_again":false},
    {"account":"fabrikam","pool":"web","deleting":false,"shrinking":false,"current_nodes":0,"seen_again":false}
    ],
    "nodes": [
    {"account":"contoso","pool":"render","node":"tvm-1","outcome":"verified","reason":null,"virtual_directory":"batch-2f/render/tvm-1","files_promised":4,"files_arrived":4,"bytes":123456789,"verified_at":"2026-11-22T09:30:40.000Z","proof":"promise","duplicates":[],"may_have_duplicates":false,"priority":"has-errors","state":"starttaskfailed","state_since":"2026-11-22T09:00:00.000Z","allocation_time":"2026-11-21T09:30:00.000Z","last_boot_time":"2026-11-22T08:30:00.000Z","dedicated":true,"scheduling_enabled":true,"os":"batch.node.ubuntu 22.04","agent_version":"1.11.9","image":null,"errors":[{"code":"DiskFull","message":"no space left"}],"start_task":{"state":"completed","result":"failure","exit_code":1},"window":null,"ran":null,"recent_tasks":[{"job":"nightly","task":"frame-7","started":"2026-11-22T09:00:00.000Z","ended":"2026-11-22T09:01:00.000Z","exit_code":137}],"identity_changed":false,"identity_now":null,"seen_again":{},"attempts":[{"attempt":1,"sent_at":"2026-11-22T09:30:01.000Z","client_request_id":"00000000-0000-0000-0000-000000000001","request_id":"service-1","status":429,"code":"TooManyRequests","message":"slow down"},{"attempt":2,"sent_at":"2026-11-22T09:30:04.000Z","client_request_id":"00000000-0000-0000-0000-000000000002","request_id":"service-2","status":200,"code":null,"message":null}]},
    {"account":"contoso","pool":"render","node":"tvm-2","outcome":"verified","reason":"the call's answer was lost; its directory was found in the container","virtual_directory":"batch-2f/render/tvm-2-b","files_promised":null,"files_arrived":3,"bytes":1000,"verified_at":"2026-11-22T09:31:00.000Z","proof":null,"duplicates":["batch-2f/render/tvm-2-a"],"may_have_duplicates":false,"priority":"ordinary","state":"idle","state_since":null,"allocation_time":"2026-11-21T09:30:00.000Z","last_boot_time":null,"dedicated":true,"scheduling_enabled":null,"os":null,"agent_version":null,"image":null,"errors":[],"start_task":null,"window":null,"ran":null,"recent_tasks":[],"identity_changed":false,"identity_now":null,"seen_again":null,"attempts":[{"attempt":1,"sent_at":"2026-11-22T09:30:01.000Z","client_request_id":"00000000-0000-0000-0000-000000000001","request_id":null,"status":null,"code":null,"message":"connection reset"}]},
    {"account":"contoso","pool":"blocked","node":"tvm-1","outcome":"incomplete","reason":"0 of 4 files arrived before the deadline","virtual_directory":"batch-2f/blocked/tvm-1","files_promised":4,"files_arrived":0,"bytes":0,"verified_at":null,"proof":null,"duplicates":[],"may_have_duplicates":false,"priority":"ordinary","state":"idle","state_since":null,"allocation_time":"2026-11-21T09:30:00.000Z","last_boot_time":null,"dedicated":true,"scheduling_enabled":null,"os":null,"agent_version":null,"image":null,"errors":[],"start_task":null,"window":null,"ran":null,"recent_tasks":[],"identity_changed":null,"identity_now":null,"seen_again":null,"attempts":[{"attempt":1,"sent_at":"2026-11-22T09:30:01.000Z","client_request_id":"00000000-0000-0000-0000-000000000001","request_id":"service-1","status":200,"code":null,"message":null}]},
    {"account":"contoso","pool":"blocked","node":"tvm-2","outcome":"incomplete","reason":"0 of 4 files arrived before the deadline","virtual_directory":"batch-2f/blocked/tvm-2","files_promised":4,"files_arrived":0,"bytes":0,"verified_at":null,"proof":null,"duplicates":[],"may_have_duplicates":false,"priority":"ordinary","state":"idle","state_since":null,"allocation_time":"2026-11-21T09:30:00.000Z","last_boot_time":null,"dedicated":true,"scheduling_enabled":null,"os":null,"agent_version":null,"image":null,"errors":[],"start_task":null,"window":null,"ran":null,"recent_tasks":[],"identity_changed":null,"identity_now":null,"seen_again":null,"attempts":[{"attempt":1,"sent_at":"2026-11-22T09:30:02.000Z","client_request_id":"00000000-0000-0000-0000-000000000001","request_id":"service-1","status":200,"code":null,"message":null}]},
    {"account":"fabrikam","pool":"web","node":"tvm-7","outcome":"gone","reason":"404 NodeNotFound: no such node","virtual_directory":null,"files_promised":null,"files_arrived":null,"bytes":null,"verified_at":null,"proof":null,"duplicates":[],"may_have_duplicates":false,"priority":"ordinary","state":"idle","state_since":null,"allocation_time":"2026-11-21T09:30:00.000Z","last_boot_time":null,"dedicated":true,"scheduling_enabled":null,"os":null,"agent_version":null,"image":null,"errors":[],"start_task":null,"window":null,"ran":null,"recent_tasks":[],"identity_changed":null,"identity_now":null,"seen_again":null,"attempts":[{"attempt":1,"sent_at":"2026-11-22T09:30:05.000Z","client_request_id":"00000000-0000-0000-0000-000000000001","request_id":"service-1","status":404,"code":"NodeNotFound","message":"no such node"}]},
    {"account":"fabrikam","pool":"web","node":"tvm-8","outcome":"not-sent","reason":"SIGINT","virtual_directory":null,"files_promised":null,"files_arrived":null,"bytes":null,"verified_at":null,"proof":null,"duplicates":[],"may_have_duplicates":false,"priority":"ordinary","state":"idle","state_since":null,"allocation_time":"2026-11-21T09:30:00.000Z","last_boot_time":null,"dedicated":true,"scheduling_enabled":null,"os":null,"agent_version":null,"image":null,"errors":[],"start_task":null,"window":null,"ran":null,"recent_tasks":[],"identity_changed":null,"identity_now":null,"seen_again":null,"attempts":[]}
    ],
    "left_out": [
    {"account":"contoso","pool":"render","node":"tvm-3","reason":"preempted","evidence":{"state":"preempted","state_since":"2026-11-22T09:29:00.000Z"}},
    {"account":"contoso","pool":"test","node":null,"reason":"pool-not-selected"}
    ],
    "appeared": [
    {"account":"contoso","pool":"render","node":"tvm-9"}
    ]
    }
    "#);
}

#[test]
fn the_table_of_a_small_run() {
    insta::assert_snapshot!(small().text(NODES_FILE), @"
    account,pool,node,outcome,reason,virtual_directory,files_promised,files_arrived,bytes,attempts,last_status,last_code,request_id,client_request_id,sent_at
    contoso,render,tvm-1,verified,,batch-2f/render/tvm-1,4,4,123456789,2,200,,service-2,00000000-0000-0000-0000-000000000002,2026-11-22T09:30:04.000Z
    contoso,render,tvm-2,verified,the call's answer was lost; its directory was found in the container,batch-2f/render/tvm-2-b,,3,1000,1,,,,00000000-0000-0000-0000-000000000001,2026-11-22T09:30:01.000Z
    contoso,blocked,tvm-1,incomplete,0 of 4 files arrived before the deadline,batch-2f/blocked/tvm-1,4,0,0,1,200,,service-1,00000000-0000-0000-0000-000000000001,2026-11-22T09:30:01.000Z
    contoso,blocked,tvm-2,incomplete,0 of 4 files arrived before the deadline,batch-2f/blocked/tvm-2,4,0,0,1,200,,service-1,00000000-0000-0000-0000-000000000001,2026-11-22T09:30:02.000Z
    fabrikam,web,tvm-7,gone,404 NodeNotFound: no such node,,,,,1,404,NodeNotFound,service-1,00000000-0000-0000-0000-000000000001,2026-11-22T09:30:05.000Z
    fabrikam,web,tvm-8,not-sent,SIGINT,,,,,0,,,,,
    ");
}

#[test]
fn the_summary_for_a_ticket() {
    insta::assert_snapshot!(small().summary().to_markdown(), @"
    # fleetlogs run 20261122T093000Z-4f2a: interrupted

    **2 of 6 nodes collected, 4 not; 1 account not listed; 1 node skipped.** The run ended early: SIGINT.

    - Time window of the logs: 2026-11-22 07:30:00 to 2026-11-22 09:30:00 UTC
    - Run: 2026-11-22 09:30:00 to 2026-11-22 09:32:10 UTC (2m 10s), fleetlogs 0.1.0
    - Verification: on, 9 list calls

    ## Accounts

    | account | result | planned | verified | incomplete | gone | not-sent | calls | throttled | reason |
    | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |
    | contoso | partial | 4 | 2 | 2 | 0 | 0 | 5 | 1 |  |
    | fabrikam | interrupted | 2 | 0 | 0 | 1 | 1 | 1 | 0 | SIGINT |
    | tailspin | nothing-collected | ? | ? | ? | ? | ? | 0 | 0 | 403 AuthenticationFailed: the role is missing |

    Skipped: 1 pool-not-selected, 1 preempted; the manifest lists each under `left_out`.

    ## Not collected

    | nodes | outcome | where | cause | for example |
    | ---: | --- | --- | --- | --- |
    | 2 | incomplete | contoso, pool blocked | storage blocked: calls are accepted, but no file ever arrives | tvm-1, tvm-2 |
    | 1 | gone | fabrikam, pool web | 404 NodeNotFound: no such node | tvm-7 |
    | 1 | not-sent | fabrikam, pool web | SIGINT | tvm-8 |

    ## Where the files are

    - 7 files, 117.7 MiB, in https://logs.blob.core.windows.net/batch
    - The whole run on one page, for a browser: `report.html`
    - The directory of each node: `virtual_directory` in `nodes.csv`
    - Every call with its request ids: `manifest.json`, config digest 9f86d081884c7d65
    - 1 node with more than one directory
    - 1 node appeared after the plan was made and not called; `manifest.json` lists them (`appeared`)

    ## What to do next

    - **not-sent**: resume the run: `fleetlogs resume runs/20261122T093000Z-4f2a`
    ");
}

#[test]
fn the_counts_are_those_of_the_nodes_and_add_up_to_the_plan() {
    let reported = small();
    let manifest = reported.manifest();
    let of_outcome = |nodes: &[Value], outcome: &str| {
        nodes.iter().filter(|node| node["outcome"] == outcome).count() as u64
    };
    let nodes = manifest["nodes"].as_array().unwrap();
    let counts = &manifest["counts"];
    assert_eq!(counts["planned"], reported.plan.nodes.len());
    assert_eq!(nodes.len(), reported.plan.nodes.len());
    let mut sum = 0;
    for outcome in Outcome::ALL {
        let in_accounts: u64 = manifest["accounts"]
            .as_array()
            .unwrap()
            .iter()
            .map(|account| account["counts"][outcome.as_str()].as_u64().unwrap())
            .sum();
        assert_eq!(counts[outcome.as_str()], of_outcome(nodes, outcome.as_str()), "{outcome}");
        assert_eq!(counts[outcome.as_str()], in_accounts, "{outcome}");
        sum += in_accounts;
    }
    assert_eq!(counts["planned"], sum);
}

#[test]
fn a_node_that_disagrees_with_the_ledger_is_a_defect_and_the_earlier_report_stays() {
    let reported = small();
    let (ledger, mut histories) = folded(&reported.plan, &small_run());
    let before = reported.text(MANIFEST_FILE);
    // The journal lost the node's last event; the ledger has heard it.
    histories[1].1.status = NodeStatus::Accepted;
    let error = write(&reported.dir, &reported.plan, &reported.facts, &ledger, histories).unwrap_err();

    assert_eq!(
        error.to_string(),
        "defect: node `contoso/render/tvm-2` is Verified in the ledger and Accepted in the journal"
    );
    assert_eq!(reported.text(MANIFEST_FILE), before);
    assert_eq!(fs::read_dir(reported.dir.path()).unwrap().count(), 3, "no temporary file is left");
}

#[test]
fn a_node_that_the_journal_lost_is_a_defect() {
    let plan = small_plan();
    let (ledger, mut histories) = folded(&plan, &small_run());
    histories.remove(2);
    let dir = tempfile::tempdir().unwrap();
    let error = write(&dir, &plan, &interrupted("x"), &ledger, histories).unwrap_err();
    assert!(matches!(error, ReportError::NodeDisagrees { history: NodeStatus::Planned, .. }), "{error}");
}

#[test]
fn counts_that_disagree_are_a_defect() {
    let plan = small_plan();
    let (ledger, _) = folded(&plan, &small_run());
    let mut written: Vec<_> = ledger.accounts().map(|(_, tally)| tally.outcomes()).collect();
    assert!(check_counts(&ledger, &written).is_ok());
    written[1].add(Outcome::Verified);
    let error = check_counts(&ledger, &written).unwrap_err();
    assert!(matches!(error, ReportError::CountsDisagree { account } if account.as_str() == "fabrikam"));
}

#[test]
fn histories_out_of_turn_are_a_defect() {
    let plan = small_plan();
    let (ledger, histories) = folded(&plan, &small_run());
    let dir = tempfile::tempdir().unwrap();
    let write = |histories: Histories| write(&dir, &plan, &interrupted("x"), &ledger, histories).unwrap_err();

    let mut swapped = histories.clone();
    swapped.swap(0, 1);
    // Node 0 is missed at once: node 1 came in its place.
    assert!(matches!(write(swapped), ReportError::NodeDisagrees { .. }));
    let mut twice = histories.clone();
    twice.insert(1, histories[0].clone());
    assert!(matches!(write(twice), ReportError::OutOfTurn(NodeIndex(0))));
    let mut beyond = histories;
    beyond.push((NodeIndex(99), NodeHistory::default()));
    assert!(matches!(write(beyond), ReportError::OutOfTurn(NodeIndex(99))));
}

#[test]
fn a_journal_that_breaks_off_is_an_error_and_leaves_no_manifest() {
    let plan = small_plan();
    let (ledger, histories) = folded(&plan, &small_run());
    let dir = tempfile::tempdir().unwrap();
    let broken = histories.into_iter().take(1).map(Ok).chain([Err("disk I/O error")]);
    let error = write_reports(dir.path(), &plan, &interrupted("x"), &ledger, COMMANDS, broken).unwrap_err();
    assert_eq!(error.to_string(), "cannot read the journal: disk I/O error");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn hostile_names_are_safe_everywhere() {
    let names =
        ["<script>alert(1)</script>", "a|b`c`", "=cmd()|' /C calc'!A0", "line\nbreak", "\u{1b}[2Jtvm"];
    let mut nodes: Vec<_> = names.iter().map(|name| planned("contoso", name, name)).collect();
    nodes.extend(names.iter().map(|name| planned(name, "pool", "tvm-1")));
    let failed = |name: &str| Event::UploadFailed {
        attempt: 1,
        cause: failure(FailureClass::Refused, 409, "=Code|<b>", &format!("no\n{name}")),
    };
    let events: Vec<_> = (0..)
        .zip(names.iter().chain(&names))
        .flat_map(|(node, name)| [recorded(node, 1, requested(1)), recorded(node, 2, failed(name))])
        .collect();
    let facts = RunFacts { reason: Some("<img>|\u{1b}[2J".into()), ..interrupted("") };
    let reported = report(plan_of(nodes), facts, &events);

    // JSON: verbatim, and still JSON.
    let manifest = reported.manifest();
    let written = manifest["nodes"].as_array().unwrap().iter().map(|node| node["node"].as_str().unwrap());
    assert!(written.take(names.len()).eq(names));
    // CSV: every row has every cell, and none is a formula.
    let text = reported.text(NODES_FILE);
    let rows: Vec<_> = csv::Reader::from_reader(text.as_bytes()).into_records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), 2 * names.len());
    assert!(rows.iter().flatten().all(|cell| !cell.starts_with(['=', '+', '-', '@', '\t', '\r'])));
    assert_eq!(&rows[2][2], "'=cmd()|' /C calc'!A0");
    assert_eq!(&rows[0][11], "'=Code|<b>");
    // Markdown: no tag, and every table row has its columns.
    let markdown = reported.summary().to_markdown();
    assert!(
        !markdown.contains("<script") && !markdown.contains("<img") && !markdown.contains("<b>"),
        "{markdown}"
    );
    assert!(!markdown.contains('\u{1b}'));
    let columns = |line: &str| line.replace("\\|", "").matches('|').count();
    for table in markdown.split("\n\n").filter(|part| part.starts_with('|')) {
        let widths: BTreeSet<usize> = table.lines().map(columns).collect();
        assert_eq!(widths.len(), 1, "{table}");
    }
    // Terminal: nothing moves the cursor, and no name starts a line.
    let terminal = reported.summary().to_terminal(&Look::default(), Examples::WhereThereIsRoom);
    assert!(!terminal.contains('\u{1b}'), "{terminal}");
    assert!(!terminal.lines().any(|line| line.starts_with("break")), "{terminal}");
}

#[test]
fn many_causes_do_not_become_a_wall() {
    let plan = plan_of((0..30).map(|node| planned("contoso", &format!("pool-{node}"), "tvm")).collect());
    let events: Vec<_> = (0..30)
        .flat_map(|node| {
            let cause = Failure::new(FailureClass::Refused, format!("trouble of the kind {}", node % 20));
            [recorded(node, 1, requested(1)), recorded(node, 2, Event::UploadFailed { attempt: 1, cause })]
        })
        .collect();
    let reported = report(plan, ended(RunOutcome::NothingCollected), &events);
    let terminal = reported.summary().to_terminal(&Look::default(), Examples::WhereThereIsRoom);

    assert_eq!(terminal.matches("trouble of the kind").count(), 8, "{terminal}");
    assert!(terminal.contains("and 12 more causes (14 nodes) in nodes.csv"), "{terminal}");
    assert_eq!(reported.findings.causes().iter().map(|cause| cause.nodes).sum::<u64>(), 30);
}

#[test]
fn causes_beyond_all_measure_are_still_counted() {
    let plan = plan_of((0..1_500).map(|node| planned("contoso", "pool", &format!("tvm-{node}"))).collect());
    let events: Vec<_> = (0..1_500)
        .flat_map(|node| {
            let cause = Failure::new(FailureClass::Refused, format!("kind{node}x"));
            [recorded(node, 1, requested(1)), recorded(node, 2, Event::UploadFailed { attempt: 1, cause })]
        })
        .collect();
    let reported = report(plan, ended(RunOutcome::NothingCollected), &events);
    let causes = reported.findings.causes();
    assert_eq!(causes.len(), 1_001);
    assert_eq!(causes.iter().map(|cause| cause.nodes).sum::<u64>(), 1_500);
}

#[test]
fn the_summary_is_written_beside_the_manifest() {
    let reported = small();
    Summary { dir: reported.dir.path(), ..reported.summary() }.write().unwrap();
    assert!(reported.text(SUMMARY_FILE).starts_with("# fleetlogs run 20261122T093000Z-4f2a: interrupted\n"));
}

#[test]
fn a_manifest_of_a_hundred_thousand_nodes_is_written_from_a_stream() {
    const NODES: u32 = 100_000;
    let plan = plan_of((0..NODES).map(|node| planned("contoso", "pool", &format!("tvm-{node}"))).collect());
    // Every third node had no event; the histories are made one by one, as a cursor would.
    let events = |node: u32| [recorded(node, 1, requested(1)), recorded(node, 2, accepted(1, "d", 4))];
    let called = || (0..NODES).filter(|node| node % 3 != 0);
    let mut ledger = Ledger::new(&plan);
    for event in called().flat_map(events) {
        ledger.apply(&event);
    }
    let histories = called().map(|node| {
        let mut history = NodeHistory::default();
        for event in events(node) {
            history.apply(&event);
        }
        Ok::<_, Infallible>((NodeIndex(node), history))
    });
    let dir = tempfile::tempdir().unwrap();
    write_reports(dir.path(), &plan, &interrupted("SIGINT"), &ledger, COMMANDS, histories).unwrap();

    let text = fs::read(dir.path().join(MANIFEST_FILE)).unwrap();
    let manifest: Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(manifest["nodes"].as_array().unwrap().len(), NODES as usize);
    assert_eq!(manifest["counts"]["planned"], NODES);
    assert_eq!(manifest["counts"]["not-sent"], NODES.div_ceil(3));
    assert_eq!(manifest["nodes"][0]["reason"], "SIGINT");
}

#[test]
fn an_account_that_was_stopped_speaks_for_its_nodes() {
    let plan = plan_of(vec![planned("contoso", "render", "tvm-1"), planned("contoso", "render", "tvm-2")]);
    let refused = failure(FailureClass::Auth, 403, "AuthenticationFailed", "the role is missing");
    let account = AccountName::new("contoso");
    let events = [
        recorded(0, 1, requested(1)),
        recorded(0, 2, retried(1, refused.clone())),
        Recorded {
            at: crate::testing::at(3),
            node: None,
            event: Event::AccountStopped { account, cause: refused },
        },
    ];
    let manifest = report(plan, ended(RunOutcome::NothingCollected), &events).manifest();
    assert_eq!(manifest["accounts"][0]["reason"], "403 AuthenticationFailed: the role is missing");
    assert_eq!(
        manifest["nodes"][1]["reason"],
        "nothing more was sent to its account: 403 AuthenticationFailed: the role is missing"
    );
}

#[test]
fn a_pool_that_delivers_something_is_not_called_blocked() {
    let plan = plan_of(vec![planned("contoso", "render", "tvm-1"), planned("contoso", "render", "tvm-2")]);
    let run = |files: u32| {
        let events: Vec<_> = [(0, files), (1, 0)]
            .into_iter()
            .flat_map(|(node, files)| {
                [
                    recorded(node, 1, requested(1)),
                    recorded(node, 2, accepted(1, "d", 4)),
                    recorded(node, 3, incomplete(files, 4)),
                ]
            })
            .collect();
        report(plan.clone(), ended(RunOutcome::NothingCollected), &events).findings.causes()
    };
    assert!(run(0)[0].reason.starts_with("storage blocked"), "{:?}", run(0));
    assert_eq!(run(0).len(), 1);
    assert!(run(2).iter().all(|cause| cause.reason.contains("of 4 files")), "{:?}", run(2));
}

/// A node that ended in one of a few ways.
fn ended_as(node: u32, end: u8) -> Vec<Recorded> {
    let refused = |code| failure(FailureClass::Refused, 409, code, "no");
    let shortfall = |shortfall| Event::FilesIncomplete {
        files: 0,
        bytes: 0,
        reason: format!("{shortfall:?}").into(),
        shortfall: Some(shortfall),
    };
    let last = match end {
        0 => return vec![],
        1 => accepted(1, "d", 4),
        2 => Event::UploadFailed { attempt: 1, cause: refused("NodeNotReady") },
        3 => Event::UploadFailed { attempt: 1, cause: refused("TooManyRequests") },
        4 => Event::UploadFailed {
            attempt: 1,
            cause: failure(FailureClass::Gone, 404, "NodeNotFound", "gone"),
        },
        5 => {
            return vec![
                recorded(node, 1, requested(1)),
                recorded(node, 2, accepted(1, "d", 4)),
                recorded(node, 3, shortfall(Shortfall::FilesMissing)),
            ];
        }
        6 => {
            return vec![
                recorded(node, 1, requested(1)),
                recorded(node, 2, accepted(1, "d", 4)),
                recorded(node, 3, shortfall(Shortfall::StillChanging)),
            ];
        }
        _ => {
            return vec![
                recorded(node, 1, requested(1)),
                recorded(node, 2, accepted(1, "d", 4)),
                recorded(node, 3, verified(4, 40)),
            ];
        }
    };
    vec![recorded(node, 1, requested(1)), recorded(node, 2, last)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_report_shows_the_same_steps(
        ends in prop::collection::vec(0_u8..8, 6),
        stop in prop::option::of(prop::sample::select(vec![StopCause::Signal, StopCause::SasEnds, StopCause::BudgetSpent])),
        all_listed in any::<bool>(),
        verification in any::<bool>(),
    ) {
        let mut plan = small_plan();
        if all_listed {
            plan.accounts.pop();
        }
        let outcome = match stop {
            None => RunOutcome::Partial,
            Some(StopCause::BudgetSpent) => RunOutcome::BudgetSpent,
            Some(_) => RunOutcome::Interrupted,
        };
        let reason = stop.map(|stop| format!("{stop:?}"));
        let unverified = (!verification).then_some(Unverified::NotPermitted);
        let facts = RunFacts { stop_cause: stop, reason, verification, unverified, ..ended(outcome) };
        let events: Vec<_> = (0..).zip(&ends).flat_map(|(node, end)| ended_as(node, *end)).collect();
        let reported = report(plan, facts, &events);
        let summary = reported.summary();
        let next = Advice::after(&reported.plan, &reported.facts, &reported.ledger, &reported.findings, COMMANDS).next;

        let terminal = summary.to_terminal(&Look::default(), Examples::WhereThereIsRoom);
        let markdown = summary.to_markdown();
        let known = TicketDetails::default();
        let Reported { plan, facts, ledger, findings, .. } = &reported;
        let ticket = Ticket { plan, facts, ledger, findings, commands: COMMANDS, known }.to_markdown();
        for step in &next {
            let command = step.command().map(|command| format!(":\n            {command}\n")).unwrap_or_default();
            prop_assert!(terminal.contains(&(step.text() + &command)), "{step:?} in {terminal}");
            let line = format!("\n- {}\n", markdown_step(step));
            prop_assert!(markdown.contains(&line), "{line} in {markdown}");
            prop_assert!(ticket.contains(&line), "{line} in {ticket}");
        }
        let steps = |text: &str, head: &str| {
            text.split_once(head).map_or(0, |(_, after)| after.lines().filter(|line| line.starts_with("- ")).count())
        };
        prop_assert_eq!(steps(&markdown, "## What to do next"), next.len());
        prop_assert_eq!(steps(&ticket, "## What we do next"), next.len());
        prop_assert_eq!(terminal.matches("\n            fleetlogs ").count(), next.iter().filter(|step| step.command().is_some()).count());
        let page = reported.text(PAGE_FILE);
        let data = page.split_once("id=\"page-data\">").and_then(|(_, rest)| rest.split_once("</script>")).unwrap().0;
        let data: Value = serde_json::from_str(data).unwrap();
        prop_assert_eq!(&data["next"], &serde_json::to_value(&next).unwrap());
        // A run that is not whole always has something to do, and no command names a run that it does not know.
        prop_assert_eq!(next.is_empty(), RunOutcome::of(&ledger.outcomes(), plan.is_whole(), facts.verification) == RunOutcome::Complete && stop.is_none() && ledger.outcomes().get(Outcome::Accepted) == 0);
        prop_assert!(next.iter().filter_map(Step::command).all(|command| command.contains("runs/20261122") || command.contains("fleetlogs.toml --account")));
    }
}
