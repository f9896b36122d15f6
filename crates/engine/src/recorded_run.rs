//! Opens a recorded run: for every command that looks at a run or resumes it.

use std::sync::Arc;

use fleetlogs_model::ledger::Ledger;
use fleetlogs_model::outcome::Outcome;
use fleetlogs_model::plan::Plan;
use fleetlogs_model::run_store::{
    Journal, JournalError, JournalErrorKind, JournalReader, RunHold, RunMeta, RunStore,
};

use crate::resume::{Outstanding, Replay};
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
    journal.events_after(0, &mut |recorded| ledger.apply(recorded))?;
    Ok(ledger)
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
    /// As for [`RecordedRun::open`]; or the run is a copy, and `accept_copy` is not set.
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
        reader.events_after(0, &mut |recorded| replay.apply(recorded))?;
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
    use fleetlogs_model::event::{Event, Recorded};
    use fleetlogs_model::failure::{Failure, FailureClass};
    use fleetlogs_model::ids::NodeIndex;

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
}
