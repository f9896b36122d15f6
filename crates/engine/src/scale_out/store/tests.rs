use std::collections::BTreeMap;

use fleetlogs_model::event::{Event, Recorded};
use fleetlogs_model::failure::{Failure, FailureClass};
use fleetlogs_model::history::NodeHistory;
use fleetlogs_model::ids::{AccountName, NodeId, NodeIndex, PoolId};
use fleetlogs_model::ledger::{Ledger, NodeStatus};
use fleetlogs_model::outcome::RunOutcome;
use fleetlogs_model::plan::{LeftOut, LeftOutReason};
use fleetlogs_model::planned::PlannedPool;
use fleetlogs_model::run_store::{HolderState, RunHolder};
use fleetlogs_model::stop_cause::StopCause;
use fleetlogs_model::window::Window;
use futures::FutureExt as _;
use time::Duration;
use uuid::Uuid;

use super::*;
use crate::local_store::LocalRunStore;
use crate::recorded_run::{RecordedRun, RunClaim};
use crate::run_record::RunRecord;
use crate::scale_out::split_plan;
use crate::scale_out::testing::seed_of;
use crate::testing::{MemoryRunStore, NOW, plan_over};

fn part_store(name: AccountName, store: impl RunStore + 'static) -> PartitionStore {
    PartitionStore { name, site: None, store: Box::new(store) }
}

/// A store that a worker has as well.
#[derive(Clone, Default)]
struct OtherStore {
    store: std::sync::Arc<MemoryRunStore>,
    lacks_journal: bool,
}

impl RunStore for OtherStore {
    fn create<'a>(&'a self, plan: &'a Plan, config: &'a str) -> StoreFuture<'a, Box<dyn Journal>> {
        self.store.create(plan, config)
    }
    fn append(&self, accept_copy: bool) -> StoreFuture<'_, Box<dyn Journal>> {
        self.store.append(accept_copy)
    }
    fn plan(&self) -> StoreFuture<'_, StoredPlan> {
        self.store.plan()
    }
    fn read(&self) -> StoreFuture<'_, Box<dyn JournalReader>> {
        if self.lacks_journal {
            let missing = JournalError::new(JournalErrorKind::Missing, "there is no run.json");
            return Box::pin(std::future::ready(Err(missing)));
        }
        self.store.read()
    }
    fn hold(&self) -> StoreFuture<'_, RunHold> {
        match self.store.plan().now_or_never() {
            Some(Err(missing)) => Box::pin(std::future::ready(Err(missing))),
            _ => self.store.hold(),
        }
    }
    fn changed_at(&self) -> StoreFuture<'_, Option<SystemTime>> {
        self.store.changed_at()
    }
    fn is_held(&self) -> StoreFuture<'_, bool> {
        self.store.is_held()
    }
}

/// Partitions in memory; the test writes their journals.
struct Parts {
    plan: Plan,
    journals: Vec<Box<dyn Journal>>,
    merged: MergedRunStore,
}

impl Parts {
    async fn of(accounts: &[(&str, u32)]) -> Self {
        let plan = plan_over(accounts);
        let (mut journals, mut stores) = (vec![], vec![]);
        for part in split_plan(&plan) {
            let part = part.unwrap();
            let store = MemoryRunStore::default();
            journals.push(store.create(&part, "fleetlogs.toml").await.unwrap());
            stores.push(part_store(part.accounts[0].name.clone(), store));
        }
        let merged = MergedRunStore::new(seed_of(&plan), stores);
        Self { plan, journals, merged }
    }

    /// Something happens in a partition, so many seconds after the start.
    fn put(&mut self, partition: usize, seconds: i64, event: Event) {
        let at = NOW + Duration::seconds(seconds);
        self.journals[partition].append(&[Recorded { at, node: None, event }]).unwrap();
    }

    fn put_at(&mut self, partition: usize, seconds: i64, node: u32, event: Event) {
        let recorded = Recorded { at: NOW + Duration::seconds(seconds), node: Some(NodeIndex(node)), event };
        self.journals[partition].append(&[recorded]).unwrap();
    }

    async fn record(&self) -> RunRecord {
        let run = RecordedRun::open(&self.merged, RunClaim::Watch).await.unwrap();
        let record = RunRecord::of(&run.journal.run_events().unwrap());
        // The same from the stream of all events.
        let mut events = vec![];
        run.journal.events_after(0, &mut |recorded| events.push(recorded.clone())).unwrap();
        events.retain(|recorded| recorded.node.is_none());
        assert_eq!(format!("{:?}", RunRecord::of(&events)), format!("{record:?}"));
        record
    }
}

fn started() -> Event {
    Event::RunStarted {
        tool_version: String::new(),
        verification: true,
        arrival_deadline_ms: None,
        unverified: None,
        simulated: false,
    }
}

fn draining(reason: &str, cause: StopCause) -> Event {
    let outcome = Some(RunOutcome::Interrupted);
    Event::RunDraining { reason: reason.into(), outcome, cause: Some(cause) }
}

fn account_stopped(account: &str) -> Event {
    let cause = Failure::new(FailureClass::Auth, "no");
    Event::AccountStopped { account: AccountName::new(account), cause }
}

fn requested(attempt: u32) -> Event {
    Event::UploadRequested { attempt, client_request_id: Uuid::nil(), service_ahead_ms: None }
}

fn accepted(directory: &str) -> Event {
    Event::UploadAccepted { attempt: 1, directory: directory.into(), files: Some(2), request_id: None }
}

fn ended(list_calls: u64) -> Event {
    Event::RunEnded { list_calls }
}

#[tokio::test]
async fn a_plan_that_is_split_and_joined_is_the_same_text() {
    let mut plan = plan_over(&[("contoso", 3), ("empty", 0), ("fabrikam", 2)]);
    plan.accounts[1].unlisted = Some("403: no".into());
    let mut nodes: Vec<_> = plan.nodes.details().map(Result::unwrap).collect();
    nodes[4].window = Some(Window { start: NOW - Duration::hours(1), end: NOW }.into());
    let full = PlannedPool {
        os: Some("batch.node.ubuntu 22.04".into()),
        vm_size: Some("standard_d2s_v3".into()),
        current_nodes: 3,
        ..PlannedPool::bare(AccountName::new("contoso"), PoolId::new("Pool"))
    };
    let full = std::sync::Arc::new(full);
    for node in &mut nodes[..3] {
        node.place = full.clone();
    }
    plan.pools[0] = full;
    plan.nodes = nodes.into_iter().collect();
    plan.left_out = ["contoso", "empty"]
        .map(|account| LeftOut {
            account: AccountName::new(account),
            pool: PoolId::new("Pool"),
            node: Some(NodeId::new("x")),
            reason: LeftOutReason::Preempted,
            cause: None,
            evidence: None,
        })
        .into();
    let dir = tempfile::tempdir().unwrap();
    let mut stores = vec![];
    for part in split_plan(&plan) {
        let part = part.unwrap();
        let name = part.accounts[0].name.clone();
        let store = LocalRunStore::new(dir.path().join(name.as_str()));
        drop(store.create(&part, "fleetlogs.toml").await.unwrap());
        stores.push(part_store(name, store));
    }
    let merged = MergedRunStore::new(seed_of(&plan), stores);
    let run = RecordedRun::open(&merged, RunClaim::Rest).await.unwrap();
    assert_eq!(serde_json::to_string(&*run.plan).unwrap(), serde_json::to_string(&plan).unwrap());
    assert_eq!(
        run.plan.node(NodeIndex(0)).place,
        plan.node(NodeIndex(0)).place,
        "all that is known of a pool"
    );
    assert_eq!(run.meta.config, "fleetlogs.toml");
}

#[tokio::test]
async fn the_plan_of_another_run_or_of_the_same_account_is_no_partition() {
    let store = |plan: Plan| async move {
        let store = MemoryRunStore::default();
        drop(store.create(&plan, "").await.unwrap());
        part_store(plan.accounts[0].name.clone(), store)
    };
    let first = || plan_over(&[("contoso", 1)]);
    let other_run =
        Plan { run_id: fleetlogs_model::ids::RunId::new(NOW, 9), ..plan_over(&[("fabrikam", 1)]) };
    for (second, kind) in [(first(), JournalErrorKind::NoPlan), (other_run, JournalErrorKind::OtherPlan)] {
        let merged = MergedRunStore::new(seed_of(&first()), vec![store(first()).await, store(second).await]);
        assert_eq!(merged.plan().await.unwrap_err().kind, kind);
    }
    assert_eq!(
        MergedRunStore::new(seed_of(&first()), vec![]).plan().await.unwrap_err().kind,
        JournalErrorKind::NoPlan
    );
}

#[tokio::test]
async fn events_come_by_time_with_the_nodes_of_the_whole_plan_also_later_on() {
    let mut parts = Parts::of(&[("contoso", 2), ("empty", 0), ("fabrikam", 2)]).await;
    parts.put(2, 1, started());
    parts.put(0, 2, started());
    parts.put_at(0, 3, 1, requested(1));
    parts.put_at(2, 4, 0, requested(1));
    // Its clock was set back: the order of the journal stays.
    parts.put_at(0, 1, 1, accepted("a"));
    let mut run = RecordedRun::open(&parts.merged, RunClaim::Watch).await.unwrap();
    let mut ledger = Ledger::new(&run.plan);
    let seen = |run: &RecordedRun, after: u64, ledger: &mut Ledger| {
        let mut nodes = vec![];
        let last = run.journal.events_after(after, &mut |recorded| {
            ledger.apply(recorded);
            nodes.push(recorded.node.map(|node| node.0));
        });
        (last, nodes)
    };
    let (last, nodes) = seen(&run, 0, &mut ledger);
    assert_eq!(nodes, [None, Some(1), Some(1), Some(2)]);
    assert_eq!(last, Ok(4));
    // The second is older than what was read already: it is not lost.
    parts.put_at(0, 9, 0, requested(1));
    parts.put_at(2, 2, 1, requested(1));
    run.journal.refresh().await.unwrap();
    let (last, nodes) = seen(&run, 4, &mut ledger);
    assert_eq!((last, nodes), (Ok(6), vec![Some(3), Some(0)]));
    assert_eq!((ledger.count(NodeStatus::Requested), ledger.count(NodeStatus::Accepted)), (3, 1));
    assert_eq!(seen(&run, 6, &mut ledger), (Ok(6), vec![]));
    assert!(run.journal.events_after(5, &mut |_| {}).is_err(), "no such number was handed out");
    let rows: BTreeMap<NodeIndex, NodeHistory> =
        run.journal.histories().unwrap().rows().unwrap().map(Result::unwrap).collect();
    assert_eq!(rows.keys().map(|node| node.0).collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert_eq!(rows[&NodeIndex(1)].directory.as_deref(), Some("a"));
}

#[tokio::test]
async fn an_event_about_a_node_that_its_partition_does_not_have_is_damage() {
    let mut parts = Parts::of(&[("contoso", 1), ("fabrikam", 1)]).await;
    parts.put_at(0, 1, 1, requested(1));
    let run = RecordedRun::open(&parts.merged, RunClaim::Watch).await.unwrap();
    let error = run.journal.events_after(0, &mut |_| {}).unwrap_err();
    assert_eq!(error.kind, JournalErrorKind::Damaged);
    assert!(error.what.contains("partition contoso"), "{error}");
}

#[tokio::test]
async fn the_run_ends_with_its_last_partition_and_counts_all_list_calls() {
    let mut parts = Parts::of(&[("contoso", 1), ("empty", 0), ("fabrikam", 1)]).await;
    parts.put(0, 1, started());
    parts.put(0, 5, ended(10));
    let record = parts.record().await;
    assert_eq!((record.started_at, record.ended_at), (Some(NOW + Duration::seconds(1)), None));
    // Another process was killed here, and a third one came.
    parts.put(2, 6, started());
    parts.put(2, 20, started());
    parts.put(2, 30, ended(5));
    let record = parts.record().await;
    assert_eq!((record.ended_at, record.list_calls), (Some(NOW + Duration::seconds(30)), 15));
    // It is resumed, in one partition.
    parts.put(0, 40, started());
    assert_eq!(parts.record().await.ended_at, None);
    parts.put(0, 41, ended(1));
    assert_eq!(parts.record().await.list_calls, 16);
}

#[tokio::test]
async fn a_start_takes_back_what_was_said_of_its_own_partition_only() {
    let mut parts = Parts::of(&[("contoso", 1), ("fabrikam", 1)]).await;
    parts.put(0, 1, started());
    parts.put(0, 2, account_stopped("contoso"));
    parts.put(0, 3, draining("no more", StopCause::BudgetSpent));
    parts.put(1, 4, started());
    parts.put(1, 5, account_stopped("fabrikam"));
    parts.put(1, 6, draining("a signal", StopCause::Signal));
    let record = parts.record().await;
    assert_eq!(
        record.stopped.as_deref(),
        Some("2 of 2 partitions stopped early: contoso: no more; fabrikam: a signal")
    );
    assert_eq!((record.stop_cause, record.cut_short), (None, Some(RunOutcome::Interrupted)));
    assert!(record.account_stopped);

    parts.put(1, 7, started());
    let record = parts.record().await;
    assert_eq!(record.stopped.as_deref(), Some("partition contoso: no more"));
    assert_eq!(record.stop_cause, Some(StopCause::BudgetSpent));
    assert!(record.account_stopped, "contoso's still is");
    let run = RecordedRun::open(&parts.merged, RunClaim::Watch).await.unwrap();
    let ledger = run.ledger().unwrap();
    let stopped: Vec<_> = ledger.accounts().map(|(_, tally)| tally.stopped.is_some()).collect();
    assert_eq!(stopped, [true, false]);

    parts.put(0, 8, started());
    let record = parts.record().await;
    assert_eq!((record.stopped, record.stop_cause, record.cut_short), (None, None, None));
    assert!(!record.account_stopped);
}

#[tokio::test]
async fn a_run_with_partitions_is_held_as_a_whole_and_resumed_by_workers_only() {
    let mut parts = Parts::of(&[("contoso", 1), ("fabrikam", 1)]).await;
    assert!(parts.merged.is_held().await.unwrap());
    let busy = parts.merged.hold().await.unwrap_err();
    assert_eq!(
        (busy.kind, &*busy.what),
        (JournalErrorKind::Busy, "partition contoso: another process works on this run")
    );
    parts.journals.clear();
    let hold = parts.merged.hold().await.unwrap();
    assert!(parts.merged.is_held().await.unwrap());
    drop(hold);
    assert!(!parts.merged.is_held().await.unwrap());
    for refused in [parts.merged.append(false).await.err(), parts.merged.create(&parts.plan, "").await.err()]
    {
        assert_eq!(refused.unwrap().kind, JournalErrorKind::Unsuitable);
    }
}

#[tokio::test]
async fn a_partition_without_a_plan_is_an_account_that_is_not_listed_until_it_is_planned() {
    let plan = plan_over(&[("contoso", 2), ("private", 3)]);
    let parts: Vec<_> = split_plan(&plan).map(Result::unwrap).collect();
    let stores = [OtherStore::default(), OtherStore::default()];
    let of = |at: usize, site: Option<&str>| PartitionStore {
        site: site.map(str::to_owned),
        ..part_store(parts[at].accounts[0].name.clone(), stores[at].clone())
    };
    let seed = RunSeed { url: Some("https://a/b".into()), ..seed_of(&plan) };
    let merged = MergedRunStore::new(seed, vec![of(0, None), of(1, Some("west"))]);

    // Neither of them is planned.
    let run = RecordedRun::open(&merged, RunClaim::Rest).await.unwrap();
    let unlisted: Vec<_> =
        run.plan.accounts.iter().map(|account| account.unlisted.clone().unwrap()).collect();
    assert_eq!(
        unlisted,
        ["not planned yet: no worker has begun it", "not planned yet: no worker of site `west` has begun it"]
    );
    assert_eq!((&run.plan.run_id, run.plan.window, run.plan.nodes.len()), (&plan.run_id, plan.window, 0));
    assert_eq!(
        (&*run.meta.config, run.meta.shared_out_at.as_deref()),
        ("fleetlogs.toml", Some("https://a/b"))
    );
    assert!(!merged.is_held().await.unwrap());
    drop(merged.hold().await.unwrap());
    let states: Vec<_> = merged.standings().iter().map(|standing| standing.state(0, None)).collect();
    assert_eq!(states, [fleetlogs_model::partition_state::PartitionState::NotPlanned; 2]);

    let mut journal = stores[0].create(&parts[0], "fleetlogs.toml").await.unwrap();
    for event in [started(), ended(1)] {
        journal.append(&[Recorded { at: NOW, node: None, event }]).unwrap();
    }
    // What is read next belongs to the plan that was read before.
    let earlier = merged.read().await.unwrap();
    assert_eq!(earlier.meta().unwrap().plan_digest, run.meta.plan_digest);
    assert_eq!(earlier.events_after(0, &mut |_| {}), Ok(0));
    let run = RecordedRun::open(&merged, RunClaim::Watch).await.unwrap();
    assert_eq!((run.plan.nodes.len(), run.plan.is_whole()), (2, false));
    let record = RunRecord::of(&run.journal.run_events().unwrap());
    assert!(record.started_at.is_some());
    assert_eq!(record.ended_at, None, "a process has to come for the other one");
    drop(journal);

    let mut journal = stores[1].create(&parts[1], "fleetlogs.toml").await.unwrap();
    journal.append(&[Recorded { at: NOW, node: Some(NodeIndex(2)), event: requested(1) }]).unwrap();
    let run = RecordedRun::open(&merged, RunClaim::Watch).await.unwrap();
    assert_eq!(serde_json::to_string(&*run.plan).unwrap(), serde_json::to_string(&plan).unwrap());
    assert_eq!(run.ledger().unwrap().status(NodeIndex(4)), NodeStatus::Requested);
    drop(journal);
}

#[tokio::test]
async fn a_partition_whose_plan_cannot_be_read_is_no_unplanned_one() {
    let dir = tempfile::tempdir().unwrap();
    let plan = plan_over(&[("contoso", 1)]);
    let store = LocalRunStore::new(dir.path().join("run"));
    drop(store.create(&plan, "fleetlogs.toml").await.unwrap());
    std::fs::write(dir.path().join("run/plan.json"), "{").unwrap();
    let merged = MergedRunStore::new(seed_of(&plan), vec![part_store(AccountName::new("contoso"), store)]);
    let error = merged.plan().await.unwrap_err();
    assert_eq!(error.kind, JournalErrorKind::NoPlan);
    assert!(error.what.starts_with("partition contoso: "), "{error}");
}

#[tokio::test]
async fn a_plan_whose_journal_is_not_there_yet_counts_with_an_empty_one() {
    let plan = plan_over(&[("contoso", 2)]);
    let store = OtherStore { lacks_journal: true, ..OtherStore::default() };
    drop(store.create(&plan, "fleetlogs.toml").await.unwrap());
    let parts = vec![part_store(AccountName::new("contoso"), store)];
    let run = RecordedRun::open(&MergedRunStore::new(seed_of(&plan), parts), RunClaim::Rest).await.unwrap();
    assert_eq!(run.plan.nodes.len(), 2);
    assert_eq!(run.ledger().unwrap().count(NodeStatus::Planned), 2);
}

#[tokio::test]
async fn a_partition_stands_where_its_journal_and_its_holder_say() {
    use fleetlogs_model::partition_state::PartitionState as State;
    use fleetlogs_model::partition_state::PartitionState::{Done, GivenUp, Silent, Waiting};
    let mut parts =
        Parts::of(&[("none", 1), ("at-work", 1), ("signal", 1), ("poison", 1), ("done", 1), ("empty", 0)])
            .await;
    for partition in 1..5 {
        parts.put(partition, 1, started());
    }
    parts.put(2, 2, draining("stopped by a signal", StopCause::Signal));
    parts.put(2, 3, ended(1));
    parts.put(3, 2, Event::RunDraining { reason: "given up".into(), outcome: None, cause: None });
    parts.put(3, 3, ended(0));
    parts.put(4, 3, ended(1));
    assert!(parts.merged.standings().is_empty(), "nobody has read it");
    let run = RecordedRun::open(&parts.merged, RunClaim::Watch).await.unwrap();
    run.ledger().unwrap();

    let holder = |state| RunHolder { who: "process 1".into(), since: None, state };
    let states = |holder: Option<RunHolder>| -> Vec<_> {
        parts.merged.standings().iter().map(|standing| standing.state(1, holder.as_ref())).collect()
    };
    assert_eq!(states(None), [Waiting, Waiting, Waiting, GivenUp, Done, Done]);
    assert_eq!(states(Some(holder(HolderState::Left))), states(None));
    assert_eq!(states(Some(holder(HolderState::Silent))), [Silent, Silent, Waiting, GivenUp, Done, Done]);
    assert_eq!(states(Some(holder(HolderState::AtWork))), [State::AtWork; 6]);
    let told_to_stop = &parts.merged.standings()[2];
    assert_eq!(told_to_stop.state(0, None), Done, "it had done everything");
    assert!(!told_to_stop.is_over(1) && told_to_stop.is_over(0));
    let stopped: Vec<_> =
        parts.merged.standings().into_iter().filter_map(|standing| standing.stopped).collect();
    let expected = [("stopped by a signal".into(), Some(StopCause::Signal)), ("given up".into(), None)];
    assert_eq!(stopped, expected);
}
