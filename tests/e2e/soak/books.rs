//! The books: every manifest, and the schedule's record of its runs, against the ledger of the simulated service. What
//! does not agree is a difference, in words.

use std::collections::{BTreeMap, BTreeSet};

use fleetlogs_engine::schedule::state::runs::{PastRun, Status};
use fleetlogs_model::outcome::RunOutcome;
use fleetlogs_model::snapshot::Trigger;
use serde_json::Value;

/// A node: account, pool and id.
type Key = (String, String, String);

pub(super) struct Books<'a> {
    /// The last manifest of each run.
    pub(super) manifests: &'a BTreeMap<String, Value>,
    pub(super) ledger: &'a Value,
    /// All rows of all snapshots.
    pub(super) rows: &'a [PastRun],
    /// Rows that were promised to senders of alerts.
    pub(super) promised: &'a [i64],
}

/// An upload call on record.
struct Call<'a> {
    run: &'a str,
    node: &'a Value,
    /// Its answer came, was good, and named the directory.
    is_clear: bool,
}

pub(super) fn differences(books: &Books<'_>) -> Vec<String> {
    let mut found = vec![];
    for (run, manifest) in books.manifests {
        sums(run, manifest, &mut found);
    }
    calls(books, &mut found);
    schedule(books, &mut found);
    found
}

fn key_of(node: &Value) -> Key {
    let text = |name: &str| node[name].as_str().unwrap().to_owned();
    (text("account"), text("pool"), text("node"))
}

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value[name].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// A manifest adds up, and has each node once.
fn sums(run: &str, manifest: &Value, found: &mut Vec<String>) {
    let (nodes, counts) = (list(manifest, "nodes"), manifest["counts"].as_object().unwrap());
    let mut outcomes: BTreeMap<&str, u64> = BTreeMap::new();
    let mut keys = BTreeSet::new();
    for node in nodes {
        *outcomes.entry(node["outcome"].as_str().unwrap()).or_default() += 1;
        if !keys.insert(key_of(node)) {
            found.push(format!("{run}: {:?} is there twice", key_of(node)));
        }
    }
    outcomes.insert("planned", nodes.len() as u64);
    for (name, count) in counts {
        let counted = outcomes.get(name.as_str()).copied().unwrap_or(0);
        if count.as_u64() != Some(counted) {
            found.push(format!("{run}: counts.{name} is {count}, and the nodes are {counted}"));
        }
    }
}

/// Every call that the service accepted is on record once, every directory is claimed once and is as it is said to be, and
/// no call is on record that the service did not get, unless nobody knows whether it was sent.
fn calls(books: &Books<'_>, found: &mut Vec<String>) {
    let mut calls: BTreeMap<&str, Call<'_>> = BTreeMap::new();
    // Calls of a node: how many are on record, and how many of them were answered.
    let mut recorded: BTreeMap<Key, (u64, u64)> = BTreeMap::new();
    let mut claims: BTreeMap<(Key, &str), Vec<&str>> = BTreeMap::new();
    for (run, manifest) in books.manifests {
        for node in list(manifest, "nodes") {
            let (key, attempts) = (key_of(node), list(node, "attempts"));
            for attempt in attempts {
                let was_answered = !attempt["status"].is_null();
                let (all, answered) = recorded.entry(key.clone()).or_default();
                *all += 1;
                *answered += u64::from(was_answered);
                let id = attempt["client_request_id"].as_str().expect("an id of ours");
                let is_clear = attempt["status"] == 200 && attempt["message"].is_null();
                if calls.insert(id, Call { run, node, is_clear }).is_some() {
                    found.push(format!("{run}: the call {id} of {key:?} is there twice"));
                }
            }
            let duplicates = list(node, "duplicates");
            if !duplicates.is_empty() {
                found.push(format!("{run}: {key:?} was collected twice: {duplicates:?}"));
            }
            for directory in node["virtual_directory"]
                .as_str()
                .into_iter()
                .chain(duplicates.iter().filter_map(Value::as_str))
            {
                claims.entry((key.clone(), directory)).or_default().push(run);
            }
        }
    }
    let received: BTreeMap<Key, &Value> =
        list(books.ledger, "nodes").iter().map(|node| (key_of(node), node)).collect();
    for (key, (all, answered)) in &recorded {
        let received = received.get(key).map_or(0, |node| node["received"].as_u64().unwrap());
        if received > *all || received < *answered {
            found.push(format!(
                "{key:?}: {all} calls are on record, {answered} answered, and {received} were received"
            ));
        }
    }
    for (key, node) in &received {
        if !recorded.contains_key(key) {
            found.push(format!("{key:?} was called, and no manifest has a call to it"));
        }
        for directory in list(node, "directories") {
            let name = directory["name"].as_str().unwrap();
            let id = directory["client_request_id"].as_str().unwrap_or_default();
            let Some(call) = calls.get(id).filter(|call| key_of(call.node) == *key) else {
                found.push(format!("{key:?}: the accepted call {id} is in no manifest"));
                continue;
            };
            let claimed = claims.remove(&(key.clone(), name)).unwrap_or_default();
            match claimed[..] {
                [run] if run == call.run => is_as_told(call, directory, found),
                [] if may_be_unknown(call, directory) => {}
                _ => found.push(format!(
                    "{}: the directory {name} with {} files is claimed by {claimed:?}; its node is {} ({})",
                    call.run, directory["files_written"], call.node["outcome"], call.node["reason"]
                )),
            }
        }
    }
    found.extend(
        claims.into_iter().map(|((key, name), runs)| format!("{runs:?}: {key:?} has no directory {name}")),
    );
}

/// Whether a run may not know a directory of its own: the answer was lost, and either nothing ever arrived there or the
/// manifest says that it does not know.
fn may_be_unknown(call: &Call<'_>, directory: &Value) -> bool {
    !call.is_clear && (call.node["outcome"] == "in-doubt" || directory["files_written"] == 0)
}

fn is_as_told(call: &Call<'_>, directory: &Value, found: &mut Vec<String>) {
    let node = call.node;
    let outcome = node["outcome"].as_str().unwrap();
    let is_complete =
        node["files_arrived"] == directory["files_written"] && node["bytes"] == directory["bytes"];
    let is_whole = directory["files_written"].as_u64() >= directory["files_promised"].as_u64();
    let is_promise =
        node["files_promised"].is_null() || node["files_promised"] == directory["files_promised"];
    let is_told = match outcome {
        "verified" => is_complete && is_whole,
        "adopted" => is_complete,
        "incomplete" | "accepted" | "empty" => true,
        _ => false,
    };
    if !is_told || !is_promise {
        found.push(format!(
            "{}: {:?} is {outcome} with {} of {} files, and the service has {} of {}",
            call.run,
            key_of(node),
            node["files_arrived"],
            node["files_promised"],
            directory["files_written"],
            directory["files_promised"]
        ));
    }
}

/// Every run has one row that says how it ended, every row has an end, every minute its row, and every alert its run.
fn schedule(books: &Books<'_>, found: &mut Vec<String>) {
    let mut runs: BTreeMap<&str, Vec<&PastRun>> = BTreeMap::new();
    for row in books.rows {
        if let Some(run) = &row.run_id {
            runs.entry(run.as_str()).or_default().push(row);
        }
        let is_settled = match row.status {
            // A run that began has an outcome; one that did not has a reason.
            Status::Ended if row.run_id.is_some() => row.outcome.is_some(),
            Status::Ended | Status::Skipped | Status::Missed => row.reason.is_some(),
            Status::Queued => row.run_id.is_none(),
            Status::Started | Status::Lost => false,
        };
        if !is_settled {
            found.push(format!(
                "row {}: {} with outcome {:?} and reason {:?}",
                row.id.0,
                row.status.as_str(),
                row.outcome,
                row.reason
            ));
        }
    }
    for (run, rows) in &runs {
        let told = books.manifests.get(*run).map(|manifest| manifest["outcome"].as_str().unwrap());
        let recorded: Vec<_> = rows.iter().map(|row| row.outcome.map(RunOutcome::as_str)).collect();
        if recorded != [told] {
            let reasons: Vec<_> = rows.iter().map(|row| &row.reason).collect();
            found.push(format!(
                "{run}: its manifest says {told:?}, and the schedule {recorded:?} ({reasons:?})"
            ));
        }
    }
    let unknown = books.manifests.keys().filter(|run| !runs.contains_key(run.as_str()));
    found.extend(unknown.map(|run| format!("{run}: the schedule does not know of it")));
    for promised in books.promised {
        let is_kept = books.rows.iter().any(|row| row.id.0 == *promised && row.status == Status::Ended);
        if !is_kept {
            found.push(format!("row {promised} was promised to the sender of an alert, and did not end"));
        }
    }
    let mut minutes: BTreeMap<i64, usize> = BTreeMap::new();
    for row in
        books.rows.iter().filter(|row| matches!(row.snapshot.trigger, Trigger::Cron | Trigger::CatchUp))
    {
        *minutes.entry(row.snapshot.due.unix_timestamp() / 60).or_default() += 1;
    }
    if let (Some((first, _)), Some((last, _))) = (minutes.first_key_value(), minutes.last_key_value()) {
        for minute in *first..=*last {
            let rows = minutes.get(&minute).copied().unwrap_or(0);
            if rows != 1 {
                found.push(format!("the minute {minute} of the timetable has {rows} rows"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use fleetlogs_engine::schedule::JobId;
    use fleetlogs_model::ids::SnapshotName;
    use fleetlogs_model::snapshot::SnapshotRef;
    use serde_json::json;
    use time::OffsetDateTime;

    use super::*;

    const RUN: &str = "20261122T093000Z-4f2a";

    /// Makes something wrong.
    type Wrong = fn(&mut Library);

    /// A run of two nodes: one is verified, and of the other the answer was lost.
    struct Library {
        manifest: Value,
        ledger: Value,
        rows: Vec<PastRun>,
    }

    fn row(id: i64, minute: i64, run: Option<&str>) -> PastRun {
        let due = OffsetDateTime::from_unix_timestamp(1_800_000_000 + minute * 60).unwrap();
        PastRun {
            id: JobId(id),
            snapshot: SnapshotRef { name: SnapshotName::new("minutely"), trigger: Trigger::Cron, due },
            begins_at: due,
            status: Status::Ended,
            machine: None,
            run_id: run.map(|run| run.parse().unwrap()),
            dir: None,
            started_at: Some(due),
            ended_at: Some(due),
            outcome: run.map(|_| RunOutcome::Partial),
            exit_code: Some(3),
            reason: Some("no node".into()),
            removed_at: None,
        }
    }

    impl Library {
        fn new() -> Self {
            let node = |id: &str, outcome: &str, directory: Value, attempt: Value| {
                json!({
                    "account": "contoso", "pool": "a", "node": id, "outcome": outcome, "reason": null,
                    "virtual_directory": directory, "files_promised": 2, "files_arrived": 2, "bytes": 20,
                    "duplicates": [], "attempts": [attempt],
                })
            };
            let nodes = [
                node(
                    "one",
                    "verified",
                    json!("d/one"),
                    json!({ "client_request_id": "c1", "status": 200, "message": null }),
                ),
                node(
                    "two",
                    "in-doubt",
                    Value::Null,
                    json!({ "client_request_id": "c2", "status": null, "message": "lost" }),
                ),
            ];
            let truth = |id: &str, call: &str| {
                json!({
                    "account": "contoso", "pool": "a", "node": id, "received": 1, "directories": [{
                        "name": format!("d/{id}"), "client_request_id": call, "files_promised": 2, "files_written": 2,
                        "bytes": 20,
                    }],
                })
            };
            Self {
                manifest: json!({
                    "run_id": RUN, "outcome": "partial", "counts": { "planned": 2, "verified": 1, "in-doubt": 1 },
                    "nodes": nodes,
                }),
                ledger: json!({ "nodes": [truth("one", "c1"), truth("two", "c2")] }),
                rows: vec![row(1, 0, Some(RUN)), row(2, 1, None)],
            }
        }

        fn differences(self) -> Vec<String> {
            let manifests = BTreeMap::from([(RUN.to_owned(), self.manifest)]);
            differences(&Books {
                manifests: &manifests,
                ledger: &self.ledger,
                rows: &self.rows,
                promised: &[1],
            })
        }
    }

    #[test]
    fn what_was_written_is_what_happened() {
        assert_eq!(Library::new().differences(), Vec::<String>::new());
    }

    #[test]
    fn whatever_is_wrong_in_a_manifest_is_a_difference() {
        let wrongs: [(&str, Wrong); 13] = [
            ("in no manifest", |all| {
                all.manifest["nodes"].as_array_mut().unwrap().remove(0);
                all.manifest["counts"] = json!({ "planned": 1, "in-doubt": 1 });
            }),
            ("counts.verified", |all| {
                all.manifest["counts"]["verified"] = json!(2);
            }),
            ("is there twice", |all| {
                let again = all.manifest["nodes"][0].clone();
                all.manifest["nodes"].as_array_mut().unwrap().push(again);
                all.manifest["counts"] = json!({ "planned": 3, "verified": 2, "in-doubt": 1 });
            }),
            ("in no manifest", |all| {
                all.manifest["nodes"][0]["attempts"][0]["client_request_id"] = json!("other");
            }),
            ("has no directory d/other", |all| {
                all.manifest["nodes"][0]["virtual_directory"] = json!("d/other");
            }),
            ("is claimed by []", |all| {
                all.manifest["nodes"][0]["virtual_directory"] = Value::Null;
            }),
            ("is claimed by []", |all| {
                all.manifest["nodes"][1]["outcome"] = json!("failed");
                all.manifest["counts"] = json!({ "planned": 2, "verified": 1, "failed": 1 });
            }),
            ("collected twice", |all| {
                all.manifest["nodes"][0]["duplicates"] = json!(["d/second"]);
            }),
            ("2 of 2 files, and the service has 1 of 2", |all| {
                all.ledger["nodes"][0]["directories"][0]["files_written"] = json!(1);
            }),
            ("and the service has 2 of 3", |all| {
                all.ledger["nodes"][0]["directories"][0]["files_promised"] = json!(3);
            }),
            ("1 calls are on record, 1 answered, and 2 were received", |all| {
                all.ledger["nodes"][0]["received"] = json!(2);
            }),
            ("1 answered, and 0 were received", |all| {
                all.ledger["nodes"][0]["received"] = json!(0);
            }),
            ("no manifest has a call to it", |all| {
                all.ledger["nodes"][1]["node"] = json!("three");
            }),
        ];
        for (expected, wrong) in wrongs {
            let mut library = Library::new();
            wrong(&mut library);
            let found = library.differences();
            assert!(found.iter().any(|found| found.contains(expected)), "{expected}: {found:?}");
        }
    }

    #[test]
    fn whatever_is_wrong_in_the_schedule_is_a_difference() {
        let wrongs: [(&str, Wrong); 7] = [
            ("the schedule does not know of it", |all| {
                all.rows[0].run_id = None;
            }),
            ("its manifest says Some(\"partial\")", |all| {
                all.rows[0].outcome = Some(RunOutcome::Complete);
            }),
            ("row 1: ended with outcome None", |all| {
                all.rows[0].outcome = None;
            }),
            ("row 1: lost", |all| {
                all.rows[0].status = Status::Lost;
            }),
            ("row 1 was promised", |all| {
                all.rows[0].status = Status::Queued;
            }),
            ("has 2 rows", |all| {
                all.rows.push(row(3, 1, None));
            }),
            ("has 0 rows", |all| {
                all.rows.push(row(3, 3, None));
            }),
        ];
        for (expected, wrong) in wrongs {
            let mut library = Library::new();
            wrong(&mut library);
            let found = library.differences();
            assert!(found.iter().any(|found| found.contains(expected)), "{expected}: {found:?}");
        }
    }
}
