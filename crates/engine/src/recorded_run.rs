//! Opens a recorded run: for every command that looks at a run or resumes it.

use std::sync::Arc;

use fleetlogs_model::event::Recorded;
use fleetlogs_model::ledger::Ledger;
use fleetlogs_model::outcome::Outcome;
use fleetlogs_model::plan::Plan;
use fleetlogs_model::run_store::{
    Journal, JournalError, JournalErrorKind, JournalReader, RunHold, RunMeta, RunStore,
};

use crate::resume::{Contradictions, Outstanding, Replay};
use crate::run_record::RunRecord;

/// What a command needs besides reading a recorded run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunClaim {
    /// Nothing: a process may work on the run meanwhile.
    Watch,
    /// That no process works on the run when it is opened.
    Rest,
    /// That no other process works on the run until it is dropped.
    Hold,
}

/// A run as it is on record.
pub struct RecordedRun {
    /// Its frozen plan.
    pub plan: Arc<Plan>,
    /// What is kept with its journal.
    pub meta: RunMeta,
    /// Its journal.
    pub journal: Box<dyn JournalReader>,
    _hold: Option<RunHold>,
}

impl RecordedRun {
    /// Opens a run for reading.
    ///
    /// # Errors
    /// Plan or journal cannot be read, or do not belong together; or another process works on the run, and `claim` does
    /// not allow that.
    pub async fn open(store: &dyn RunStore, claim: RunClaim) -> Result<Self, JournalError> {
        let stored = store.plan().await?;
        let journal = store.read().await?;
        let hold = match claim {
            RunClaim::Watch => None,
            RunClaim::Rest => {
                drop(store.hold().await?);
                None
            }
            RunClaim::Hold => Some(store.hold().await?),
        };
        let meta = meta_for(&*journal, &stored.digest)?;
        Ok(Self { plan: stored.plan.into(), meta, journal, _hold: hold })
    }

    /// Where the run stands.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub fn ledger(&self) -> Result<Ledger, JournalError> {
        ledger_of(&*self.journal, &self.plan)
    }
}

/// Folds a whole journal into the ledger of its plan.
///
/// # Errors
/// The journal cannot be read.
pub fn ledger_of(journal: &dyn JournalReader, plan: &Plan) -> Result<Ledger, JournalError> {
    let mut ledger = Ledger::new(plan);
    let mut contradictions = Contradictions::default();
    let nodes = plan.nodes.len();
    journal.events_after(0, &mut |recorded| {
        if of_plan(recorded, nodes) {
            contradictions.look_at(recorded, &ledger);
            ledger.apply(recorded);
        }
    })?;
    // What is told of the run is what its journal says last.
    must_not_contradict_itself(plan, &contradictions, true)?;
    Ok(ledger)
}

/// An event of a node that the plan does not have changes nothing.
fn of_plan(recorded: &Recorded, nodes: usize) -> bool {
    let is_of_plan = recorded.node.is_none_or(|node| node.get() < nodes);
    if !is_of_plan {
        tracing::warn!(node = ?recorded.node, "the journal has an event of a node that is not in its plan; it is ignored");
    }
    is_of_plan
}

/// A journal whose checksums fit may still say what cannot have happened: it was changed, or a defect wrote it. No call is
/// sent on the strength of that unless the operator wants it; reports take the last word of each node.
fn must_not_contradict_itself(plan: &Plan, found: &Contradictions, accept: bool) -> Result<(), JournalError> {
    let Some((node, what)) = &found.first else { return Ok(()) };
    let what = format!(
        "the journal contradicts itself {} times; the first time about node `{}`: {what}",
        found.count,
        plan.node(*node).at()
    );
    if accept {
        tracing::warn!("{what}; the last event of each node counts");
        return Ok(());
    }
    Err(JournalError::new(JournalErrorKind::Damaged, what).with_help(
        "nothing was sent; `fleetlogs report` shows what is on record; with `--accept-changes`, the last event of each \
         node counts",
    ))
}

/// A run that this process resumes. No other process can open it meanwhile.
pub struct ResumedRun {
    /// Its frozen plan.
    pub plan: Arc<Plan>,
    /// What is kept with its journal.
    pub meta: RunMeta,
    /// Where it stands.
    pub ledger: Ledger,
    /// What is left to do.
    pub outstanding: Outstanding,
    /// To append to.
    pub journal: Box<dyn Journal>,
    /// The same journal, to read from.
    pub reader: Box<dyn JournalReader>,
}

impl ResumedRun {
    /// Opens a run to work on what is outstanding. Nodes that ended in one of `retry` are outstanding again.
    ///
    /// # Errors
    /// As for [`RecordedRun::open`]; or the run is a copy or its journal contradicts itself, and `accept_copy` is not set.
    pub async fn open(
        store: &dyn RunStore,
        retry: &[Outcome],
        accept_copy: bool,
    ) -> Result<Self, JournalError> {
        let stored = store.plan().await?;
        // Opened for appending first: that keeps every other process out from here on.
        let journal = store.append(accept_copy).await?;
        let reader = store.read().await?;
        let meta = meta_for(&*reader, &stored.digest)?;
        let plan = Arc::new(stored.plan);
        let mut replay = Replay::new(&plan);
        let nodes = plan.nodes.len();
        reader.events_after(0, &mut |recorded| {
            if of_plan(recorded, nodes) {
                replay.apply(recorded);
            }
        })?;
        must_not_contradict_itself(&plan, replay.contradictions(), accept_copy)?;
        let (ledger, outstanding) = replay.finish(&plan, retry);
        Ok(Self { plan, meta, ledger, outstanding, journal, reader })
    }

    /// Whether nothing is left to do, and the last process that worked on the run said so.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub fn is_over(&self) -> Result<bool, JournalError> {
        let ended = || Ok(RunRecord::of(&self.reader.run_events()?).ended_at.is_some());
        if self.outstanding.is_empty() { ended() } else { Ok(false) }
    }
}

/// What is kept with a journal, if it was started with the plan of this digest.
fn meta_for(journal: &dyn JournalReader, plan_digest: &str) -> Result<RunMeta, JournalError> {
    let meta = journal.meta()?;
    if meta.plan_digest != plan_digest {
        let what = "plan.json is not the plan that this journal was started with";
        return Err(JournalError::new(JournalErrorKind::OtherPlan, what));
    }
    Ok(meta)
}

#[cfg(test)]
mod tests {
    use fleetlogs_model::event::Event;
    use fleetlogs_model::failure::{Failure, FailureClass};
    use fleetlogs_model::fingerprint::Fingerprint;
    use fleetlogs_model::ids::NodeIndex;
    use fleetlogs_model::ledger::NodeStatus;
    use fleetlogs_model::transition::NodeEvent;

    use super::*;
    use crate::local_store::LocalRunStore;
    use crate::store_promises::keeps_its_promises;
    use crate::testing::{MemoryRunStore, NOW, plan_of};

    #[tokio::test]
    async fn a_run_directory_keeps_the_promises_of_a_store() {
        let dir = tempfile::tempdir().unwrap();
        keeps_its_promises(&LocalRunStore::new(dir.path().join("runs/one"))).await;
    }

    #[tokio::test]
    async fn a_store_without_files_keeps_the_promises_of_a_store() {
        keeps_its_promises(&MemoryRunStore::default()).await;
    }

    #[tokio::test]
    async fn a_run_is_over_when_nothing_is_left_to_do_and_its_process_said_so() {
        let gone = Failure::new(FailureClass::Gone, "gone");
        let steps = [
            (Some(NodeIndex(0)), Event::UploadFailed { attempt: 0, cause: gone }, false),
            (None, Event::RunEnded { list_calls: 0 }, true),
        ];
        let dir = tempfile::tempdir().unwrap();
        let store = LocalRunStore::new(dir.path().join("run"));
        drop(store.create(&plan_of(1), "fleetlogs.toml").await.unwrap());
        assert!(!ResumedRun::open(&store, &[], false).await.unwrap().is_over().unwrap());
        for (node, event, is_over) in steps {
            let mut run = ResumedRun::open(&store, &[], false).await.unwrap();
            run.journal.append(&[Recorded { at: NOW, node, event }]).unwrap();
            drop(run);
            let run = ResumedRun::open(&store, &[], false).await.unwrap();
            assert!(run.outstanding.is_empty());
            assert_eq!(run.is_over().unwrap(), is_over);
        }
        let run = ResumedRun::open(&store, &[Outcome::Gone], false).await.unwrap();
        assert!(!run.is_over().unwrap(), "a node is to be called again");
    }

    #[tokio::test]
    async fn a_plan_that_is_not_the_journals_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let store = LocalRunStore::new(dir.path().join("run"));
        drop(store.create(&plan_of(1), "fleetlogs.toml").await.unwrap());
        crate::local_store::write_plan(&dir.path().join("run"), "plan.json", &plan_of(2)).unwrap();
        for refused in [
            RecordedRun::open(&store, RunClaim::Watch).await.err(),
            ResumedRun::open(&store, &[], false).await.err(),
        ] {
            assert_eq!(refused.unwrap().kind, JournalErrorKind::OtherPlan);
        }
    }

    /// A journal in memory, as somebody has changed it.
    async fn stored(events: &[(u32, Event)]) -> MemoryRunStore {
        let store = MemoryRunStore::default();
        let mut journal = store.create(&plan_of(2), "fleetlogs.toml").await.unwrap();
        let events: Vec<_> = events
            .iter()
            .map(|(node, event)| Recorded { at: NOW, node: Some(NodeIndex(*node)), event: event.clone() })
            .collect();
        journal.append(&events).unwrap();
        store
    }

    fn requested() -> Event {
        Event::UploadRequested { attempt: 1, client_request_id: uuid::Uuid::nil(), service_ahead_ms: None }
    }

    fn accepted() -> Event {
        Event::UploadAccepted { attempt: 1, directory: "d".into(), files: Some(4), request_id: None }
    }

    #[tokio::test]
    async fn a_journal_that_contradicts_itself_is_reported_and_not_resumed_unless_that_is_accepted() {
        // The intent of the first node was lost.
        let store = stored(&[(0, accepted()), (1, requested())]).await;
        let refused = ResumedRun::open(&store, &[], false).await.err().unwrap();
        assert_eq!(refused.kind, JournalErrorKind::Damaged);
        let told = "contradicts itself 1 times; the first time about node `contoso/Pool/n0`: Accepted cannot follow \
                    Planned: no call is in flight";
        assert!(refused.what.contains(told), "{refused}");
        assert!(refused.help.unwrap().contains("--accept-changes"));

        let read = RecordedRun::open(&store, RunClaim::Watch).await.unwrap().ledger().unwrap();
        assert_eq!(read.status(NodeIndex(0)), NodeStatus::Accepted);
        let accepted = ResumedRun::open(&store, &[], true).await.unwrap();
        assert_eq!(
            accepted.outstanding.awaited.len(),
            1,
            "its files are awaited, and it is not called again"
        );
    }

    #[tokio::test]
    async fn every_pair_that_is_named_impossible_is_a_contradiction_and_no_other() {
        let failure = |class| Failure::new(class, "scripted");
        let (fingerprint, reason) = (Fingerprint::default(), || "scripted".into());
        let all = [
            requested(),
            Event::UploadCancelled { attempt: 1 },
            accepted(),
            Event::UploadAccepted { attempt: 1, directory: "d".into(), files: Some(0), request_id: None },
            Event::UploadWillRetry { attempt: 1, cause: failure(FailureClass::Transient), delay_ms: 0 },
            Event::UploadInDoubt { attempt: 1, cause: failure(FailureClass::InDoubt) },
            Event::UploadAbsent { attempt: 1 },
            Event::UploadAdopted { attempt: 1, directory: "d".into(), others: vec![] },
            Event::UploadFailed { attempt: 1, cause: failure(FailureClass::Gone) },
            Event::UploadFailed { attempt: 1, cause: failure(FailureClass::Refused) },
            Event::FilesVerified { files: 4, bytes: 4, fingerprint: None, proof: None },
            Event::FilesAdopted { files: 4, bytes: 4, fingerprint, reason: reason() },
            Event::FilesIncomplete { files: 4, bytes: 4, reason: reason(), shortfall: None },
            Event::DirectoriesFound { directories: vec![], unsure: false },
            Event::IdentityChanged { now: None },
            Event::NodeSeenAgain { now: Box::default() },
        ];
        let kinds: Vec<_> = all.iter().map(|event| NodeEvent::of(event).unwrap()).collect();
        assert_eq!(kinds, NodeEvent::ALL);
        let mut pairs = 0;
        // Each status by the shortest way there, whether or not that way can be gone.
        for way in all[..13].iter().map(Some).chain([None]) {
            let status = way.map_or(NodeStatus::Planned, |event| NodeStatus::Planned.after(event));
            for event in &all {
                let plan = plan_of(1);
                let mut replay = Replay::new(&plan);
                let apply = |replay: &mut Replay, event: &Event| {
                    replay.apply(&Recorded { at: NOW, node: Some(NodeIndex(0)), event: event.clone() });
                };
                if let Some(event) = way {
                    apply(&mut replay, event);
                }
                let before = replay.contradictions().count;
                apply(&mut replay, event);
                let is_refused = status.refuses(NodeEvent::of(event).unwrap()).is_some();
                assert_eq!(
                    replay.contradictions().count - before,
                    u64::from(is_refused),
                    "{status:?} {event:?}"
                );
                pairs += 1;
            }
        }
        assert_eq!(pairs, 14 * 16);
    }

    #[tokio::test]
    async fn an_event_of_a_node_that_the_plan_does_not_have_is_ignored() {
        let store = stored(&[(0, requested()), (7, requested())]).await;
        let read = RecordedRun::open(&store, RunClaim::Watch).await.unwrap().ledger().unwrap();
        assert_eq!(read.outcomes().total(), 2);
        let resumed = ResumedRun::open(&store, &[], false).await.unwrap();
        assert_eq!((resumed.outstanding.fresh.len(), resumed.outstanding.work.len()), (1, 1));
    }
}
