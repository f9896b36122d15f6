use std::sync::Arc;

use fleetlogs_engine::node_spool::node_spool;
use fleetlogs_model::event::{Event, Recorded};
use fleetlogs_model::ids::{AccountName, NodeId, NodeIndex, PoolId};
use fleetlogs_model::plan::{PLAN_SCHEMA, Plan, PlannedAccount};
use fleetlogs_model::planned::{PlannedNode, PlannedNodes, PlannedPool};
use fleetlogs_model::run_store::Journal;
use fleetlogs_model::window::Window;
use time::OffsetDateTime;
use time::macros::datetime;

use super::*;
use crate::run::Reported;

const START: OffsetDateTime = datetime!(2026-11-22 09:30:00 UTC);

/// A directory of runs.
struct Runs(tempfile::TempDir);

impl Runs {
    fn dir(&self, id: &str) -> PathBuf {
        self.0.path().join(id)
    }

    /// A run of two nodes in one account, and another account that could not be listed. Its journal has these events.
    async fn begun(&self, id: &str, events: &[(i64, Option<u32>, Event)]) -> Box<dyn Journal> {
        let pool = Arc::new(PlannedPool::bare(AccountName::new("contoso"), PoolId::new("pool")));
        let mut nodes = PlannedNodes::spooled(node_spool());
        for node in ["n0", "n1"] {
            nodes.push(&PlannedNode::bare(pool.clone(), NodeId::new(node))).unwrap();
        }
        let account = |name: &str, nodes, unlisted: Option<&str>| PlannedAccount {
            name: AccountName::new(name),
            endpoint: String::new(),
            api_version: String::new(),
            pools: u32::from(nodes > 0),
            nodes,
            list_calls: 0,
            unlisted: unlisted.map(String::from),
            missing: None,
        };
        let plan = Plan {
            schema: PLAN_SCHEMA.into(),
            run_id: id.parse().unwrap(),
            tool_version: "0.0.0".into(),
            created_at: START,
            config_digest: String::new(),
            snapshot: None,
            window: Window { start: START - time::Duration::hours(2), end: START },
            destination: "https://logs.blob.core.windows.net/logs".into(),
            accounts: vec![account("contoso", 2, None), account("fabrikam", 0, Some("403"))],
            pools: vec![pool],
            nodes,
            left_out: vec![],
        };
        let mut journal =
            RunDir::on_disk(self.dir(id)).store.create(&plan, "/srv/fleetlogs.toml").await.unwrap();
        let events: Vec<_> = events
            .iter()
            .map(|(second, node, event)| Recorded {
                at: START + time::Duration::seconds(*second),
                node: node.map(NodeIndex),
                event: event.clone(),
            })
            .collect();
        journal.append(&events).unwrap();
        journal
    }

    async fn report(&self, id: &str) {
        let dir = RunDir::on_disk(self.dir(id));
        let run = dir.open(RunClaim::Watch).await.unwrap();
        let ledger = run.ledger().unwrap();
        Reported::write(dir.path, run.plan, ledger, &*run.journal, None).unwrap();
    }

    /// Lists the runs when so many are at work. A process that another test starts has all locks of this one, too, from
    /// its fork to its exec.
    async fn list(&self, running: usize) -> Vec<ListedRun> {
        let (place, journals) = (RunsDir::at(self.0.path()), KnownJournals::new(None));
        for _ in 0..10_000 {
            let all = AllRuns::find(&place, &journals).await.unwrap();
            let listed = all.listed(&place, &journals, usize::MAX).await;
            if listed.iter().filter(|run| run.state == ListedState::Running).count() == running {
                return listed;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        panic!("never were {running} runs at work");
    }
}

fn started() -> (i64, Option<u32>, Event) {
    (
        0,
        None,
        Event::RunStarted {
            tool_version: "0.0.0".into(),
            verification: false,
            arrival_deadline_ms: None,
            unverified: None,
            simulated: false,
        },
    )
}

fn accepted(node: u32) -> (i64, Option<u32>, Event) {
    let event = Event::UploadAccepted { attempt: 1, directory: "d".into(), files: Some(2), request_id: None };
    (1, Some(node), event)
}

fn ended() -> (i64, Option<u32>, Event) {
    (130, None, Event::RunEnded { list_calls: 0 })
}

#[tokio::test]
async fn every_kind_of_run_is_listed_as_what_it_is() {
    let runs = Runs(tempfile::tempdir().unwrap());
    let at_work = runs.begun("20261122T100000Z-0005", &[started(), accepted(0)]).await;
    drop(runs.begun("20261122T100000Z-0004", &[started(), accepted(0), accepted(1), ended()]).await);
    runs.report("20261122T100000Z-0004").await;
    // It has ended, and could not write its reports.
    drop(runs.begun("20261122T100000Z-0003", &[started(), accepted(1), ended()]).await);
    drop(runs.begun("20261122T100000Z-0002", &[started(), accepted(0)]).await);
    let stopped = Event::RunDraining {
        reason: "a signal".into(),
        outcome: Some(fleetlogs_model::outcome::RunOutcome::Interrupted),
        cause: None,
    };
    drop(runs.begun("20261122T100000Z-0001", &[started(), (2, None, stopped), ended()]).await);
    runs.report("20261122T100000Z-0001").await;
    drop(runs.begun("20261121T100000Z-0003", &[started(), ended()]).await);
    std::fs::write(runs.dir("20261121T100000Z-0003").join("run.db"), "no database, but long enough").unwrap();
    std::fs::create_dir(runs.dir("20261121T100000Z-0002")).unwrap();
    std::fs::create_dir(runs.dir("20261121T100000Z-0001")).unwrap();
    std::fs::write(runs.dir("20261121T100000Z-0001").join(PLAN_FILE), "no plan").unwrap();
    std::fs::write(runs.dir("schedule.db"), "").unwrap();

    let list = runs.list(1).await;
    let told: Vec<_> = list
        .iter()
        .map(|run| {
            let json = serde_json::to_value(run).unwrap();
            let tell =
                |member: &str| json[member].to_string().replace(runs.0.path().to_str().unwrap(), "DIR");
            let members =
                ["run_id", "state", "outcome", "ended_at", "config", "accounts_not_listed", "latest", "why"];
            let counts = [&json["counts"]["planned"], &json["counts"]["accepted"]].map(ToString::to_string);
            format!("{} {}", members.map(tell).join(" "), counts.join(" "))
        })
        .collect();
    insta::assert_snapshot!(told.join("\n"), @r#"
    "20261122T100000Z-0005" "running" null null "/srv/fleetlogs.toml" 1 true null 2 1
    "20261122T100000Z-0004" "ended" "partial" "2026-11-22T09:32:10.000Z" "/srv/fleetlogs.toml" 1 false null 2 2
    "20261122T100000Z-0003" "ended" "partial" "2026-11-22T09:32:10.000Z" "/srv/fleetlogs.toml" 1 false null 2 1
    "20261122T100000Z-0002" "interrupted" "interrupted" "2026-11-22T09:30:00.000Z" "/srv/fleetlogs.toml" 1 false null 2 1
    "20261122T100000Z-0001" "stopped" "interrupted" "2026-11-22T09:32:10.000Z" "/srv/fleetlogs.toml" 1 false null 2 0
    "20261121T100000Z-0003" "unreadable" null null null null false "the journal `DIR/20261121T100000Z-0003/run.db` is damaged: file is not a database" null null
    "20261121T100000Z-0002" "unreadable" null null null null false "it has no plan.json" null null
    "20261121T100000Z-0001" "unreadable" null null null null false "the plan `DIR/20261121T100000Z-0001/plan.json` cannot be used: not a plan: expected an object" null null
    "#);
    assert!(list[0].bytes_on_disk > 4096);
    drop(at_work);
}

#[tokio::test]
async fn a_run_that_went_on_after_its_reports_is_read_from_its_journal() {
    let runs = Runs(tempfile::tempdir().unwrap());
    let id = "20261122T100000Z-0001";
    drop(runs.begun(id, &[started(), accepted(0), accepted(1), ended()]).await);
    runs.report(id).await;
    let manifest = runs.dir(id).join(MANIFEST_FILE);
    // Its manifest is believed while nothing was recorded since, whatever it says.
    let text = std::fs::read_to_string(&manifest).unwrap();
    let other = text.replace(r#""accepted":2"#, r#""accepted":77"#);
    assert_ne!(other, text);
    std::fs::write(&manifest, other).unwrap();
    let accepted_of = |run: &ListedRun| serde_json::to_value(run).unwrap()["counts"]["accepted"].clone();
    assert_eq!(accepted_of(&runs.list(0).await[0]), 77);
    // A later process recorded something, and was killed.
    let past = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
    std::fs::File::options().write(true).open(&manifest).unwrap().set_modified(past).unwrap();
    let listed = &runs.list(0).await[0];
    assert_eq!(accepted_of(listed), 2);
    assert_eq!(listed.state, ListedState::Ended);
}
