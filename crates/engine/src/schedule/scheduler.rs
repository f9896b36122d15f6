//! The scheduler: looks at the clock and at the queue, and has runs begun, one at a time in each lane.
//!
//! It holds nothing that is not in the state, but for which runs go on in this process. Whoever puts rows into the queue
//! (a watcher, a listener) does so by the [`Store`], whose changes wake the scheduler.

use std::sync::Arc;
use std::time::Duration;

use fleetlogs_model::ids::SnapshotName;
use fleetlogs_model::snapshot::{SnapshotRef, Trigger};
use fleetlogs_model::timestamp;
use rusqlite::{Connection, Transaction};
use time::OffsetDateTime;
use tokio::task::{JoinError, JoinSet};
use tracing::{info, warn};

use super::decide::{Decision, Fate, OtherRuns, decide, due_at};
use super::job::{Job, JobEnd};
use super::recovery;
use super::rule::{Lane, Rule};
use super::runner::{Runner, StartRecord};
use super::state::occurrences;
use super::state::runs::{self, PastRun, Status};
use super::state::{StateError, Store, data_version};
use crate::clock::Clock;
use crate::stop::{Stop, StopHandle, StopReason};

/// So long it sleeps at most. Sleep follows a clock that stands still while the machine is suspended, and does not see
/// that the time of day was set, nor that another process put something into the queue.
const LONGEST_SLEEP: Duration = Duration::from_secs(10);

/// Begins the runs of a schedule. There may be one of them for a state at a time.
#[derive(Debug)]
pub struct Scheduler<R> {
    store: Store,
    rules: Vec<Rule>,
    clock: Clock,
    machine: String,
    runner: Arc<R>,
}

/// Runs that go on.
type Runs = JoinSet<(Lane, Result<(), StateError>)>;

impl<R: Runner> Scheduler<R> {
    /// `rules` are those of every snapshot of the config, also of those without a timetable. `machine` tells this machine,
    /// with its disk, from others that share the state; it stays the same when the process is started again.
    #[must_use]
    pub fn new(store: Store, rules: Vec<Rule>, clock: Clock, machine: String, runner: Arc<R>) -> Self {
        Self { store, rules, clock, machine, runner }
    }

    /// Works until it is told to stop: then it begins nothing new, and waits for the runs that go on; the runner is to see
    /// `stop` by itself. A run that was interrupted stays on record as started, and is taken up again by the next process.
    ///
    /// Where the state cannot be changed any more, all runs are told to drain, and the error is returned once they have
    /// ended. [`HomeError::Lost`](fleetlogs_model::home::HomeError::Lost) among them says that another machine owns the
    /// schedule.
    ///
    /// # Cancel safety
    /// To drop it is as to kill the process: the runs end where they are, and the next process takes them up again.
    pub async fn run(self, stop: StopHandle) -> Result<(), StateError> {
        let mut going = JoinSet::new();
        let mut result = self.begin_runs(&stop, &mut going).await;
        if let Err(error) = &result {
            stop.stop(Stop::Drain, StopReason::Schedule(error.to_string()));
        }
        while let Some(ended) = going.join_next().await {
            result = result.and(joined(ended).1);
        }
        result
    }

    /// Runs one snapshot now, whatever its timetable says, and returns how that run ended.
    ///
    /// What an earlier process left of this snapshot comes first. A run that an earlier call of this began, and that did
    /// not end, is taken up again *instead of* a new one: who was killed and is started again gets the same run. A run that
    /// something else began is ended, and then the new one is run. Nothing else of the queue is touched.
    ///
    /// # Cancel safety
    /// As of [`Self::run`].
    pub async fn once(self, snapshot: &SnapshotName) -> Result<JobEnd, StateError> {
        let now = self.clock.now();
        let begun = self
            .store
            .change(|state| recovery::recover_snapshot(state, snapshot, &self.machine, now))
            .await?;
        for row in begun {
            let asked_for = row.snapshot.trigger == Trigger::Once;
            let ended = self.job(row).carry_out().await?;
            if asked_for || ended.interrupted {
                return Ok(ended);
            }
        }
        let now = self.clock.now();
        let row = SnapshotRef { name: snapshot.clone(), trigger: Trigger::Once, due: now };
        let id = self
            .store
            .change(|state| {
                let id = runs::enqueue(state, &row, now)?;
                runs::start_row(state, id, &self.machine, now)?;
                Ok(id)
            })
            .await?;
        self.work(Job { id, snapshot: row, begun: None }).carry_out().await
    }

    async fn begin_runs(&self, stop: &StopHandle, going: &mut Runs) -> Result<(), StateError> {
        let now = self.clock.now();
        let mut begun =
            self.store.change(|state| recovery::recover_all(state, &self.rules, &self.machine, now)).await?;
        let mut changes = self.store.changes();
        let mut busy = Vec::new();
        while stop.level() == Stop::No {
            changes.mark_unchanged();
            let version = self.store.read(data_version).await?;
            self.consider().await?;
            for lane in [Lane::Regular, Lane::Capture] {
                if !busy.contains(&lane)
                    && let Some(row) = self.next(lane, &mut begun).await?
                {
                    busy.push(lane);
                    let work = self.job(row);
                    going.spawn(async move { (lane, work.carry_out().await.map(drop)) });
                }
            }
            let now = self.clock.now();
            let next = self.store.read(|state| next_time(state, &self.rules, now)).await?;
            tokio::select! {
                () = stop.reached(Stop::Drain) => {}
                Some(ended) = going.join_next() => {
                    let (lane, result) = joined(ended);
                    busy.retain(|other| *other != lane);
                    result?;
                }
                _ = changes.changed() => {}
                looked = self.time_comes(now, next, version) => looked?,
            }
        }
        Ok(())
    }

    /// Puts on record what becomes of the times that have come.
    async fn consider(&self) -> Result<(), StateError> {
        let now = self.clock.now();
        // Every change may go to a home that others share, so there is none without a need.
        if self.store.read(|state| decisions(state, &self.rules, now)).await?.is_empty() {
            return Ok(());
        }
        let decisions = self
            .store
            .change(|state| {
                let decisions = decisions(state, &self.rules, now)?;
                for (snapshot, decision) in &decisions {
                    put_on_record(state, snapshot, decision, now)?;
                }
                Ok(decisions)
            })
            .await?;
        for (snapshot, decision) in &decisions {
            log_decision(snapshot, decision);
        }
        Ok(())
    }

    /// The next row to carry out in a lane, which is free: those that an earlier process began come first.
    async fn next(&self, lane: Lane, begun: &mut Vec<PastRun>) -> Result<Option<PastRun>, StateError> {
        if let Some(at) = begun.iter().position(|row| Lane::of(row.snapshot.trigger) == lane) {
            return Ok(Some(begun.remove(at)));
        }
        let now = self.clock.now();
        if self.store.read(|state| runs::next_to_start(state, lane, now)).await?.is_none() {
            return Ok(None);
        }
        self.store.change(|state| runs::take_next(state, lane, &self.machine, now)).await
    }

    /// Waits for a time, or until the clock is found to have been set back, or another process to have changed the state.
    async fn time_comes(
        &self,
        looked_at: OffsetDateTime,
        next: Option<OffsetDateTime>,
        version: i64,
    ) -> Result<(), StateError> {
        loop {
            let now = self.clock.now();
            let left = next.map_or(LONGEST_SLEEP, |next| Duration::try_from(next - now).unwrap_or_default());
            if left.is_zero() || now < looked_at || self.store.read(data_version).await? != version {
                return Ok(());
            }
            tokio::time::sleep(left.min(LONGEST_SLEEP)).await;
        }
    }

    fn job(&self, row: PastRun) -> JobRun<R> {
        self.work(Job { id: row.id, snapshot: row.snapshot, begun: row.dir })
    }

    fn work(&self, job: Job) -> JobRun<R> {
        JobRun { store: self.store.clone(), clock: self.clock, runner: self.runner.clone(), job }
    }
}

/// A job, and what it takes to carry it out.
struct JobRun<R> {
    store: Store,
    clock: Clock,
    runner: Arc<R>,
    job: Job,
}

impl<R: Runner> JobRun<R> {
    /// Has the job run, and puts on record how it ended.
    async fn carry_out(self) -> Result<JobEnd, StateError> {
        let SnapshotRef { name, trigger, due } = &self.job.snapshot;
        let (id, what) = (self.job.id, format!("{name}, {} ({trigger})", due_at(*due)));
        if let Some(dir) = &self.job.begun {
            info!("{what} is taken up again, in `{}`", dir.display());
        } else {
            info!("{what} begins");
        }
        let ended = self.runner.run(self.job, StartRecord::new(self.store.clone(), id)).await;
        if ended.interrupted {
            info!(
                "{what} is interrupted; this machine takes it up again, unless another owns the schedule by then"
            );
            return Ok(ended);
        }
        let now = self.clock.now();
        self.store
            .change(|state| {
                runs::record_end(state, id, &ended, now)?;
                // A run without an outcome sent nothing.
                if ended.outcome.is_none() { occurrences::release(state, id) } else { Ok(()) }
            })
            .await?;
        match (&ended.outcome, &ended.reason) {
            (Some(outcome), None) => info!("{what} ended: {outcome}"),
            (Some(outcome), Some(reason)) => info!("{what} ended: {outcome}: {reason}"),
            (None, reason) => {
                warn!("{what} did not run: {}", reason.as_deref().unwrap_or("no reason is known"));
            }
        }
        Ok(ended)
    }
}

fn joined<T>(ended: Result<T, JoinError>) -> T {
    // Nothing here aborts a task, so it panicked.
    ended.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}

/// What is to become of the times of each snapshot that have come.
fn decisions(
    state: &Connection,
    rules: &[Rule],
    now: OffsetDateTime,
) -> Result<Vec<(SnapshotName, Decision)>, StateError> {
    let (started, queued) = (runs::started_rows(state)?, runs::queued_rows(state)?);
    let mut decisions = Vec::new();
    for rule in rules.iter().filter(|rule| rule.timetable.is_some()) {
        let counts = |row: &&PastRun| {
            row.snapshot.name == rule.name && Lane::of(row.snapshot.trigger) == Lane::Regular
        };
        let others = OtherRuns {
            going_on: started.iter().find(counts).map(PastRun::title),
            waiting: queued.iter().find(counts).map(PastRun::title),
            wait: queued.iter().filter(counts).count(),
        };
        let decision = decide(rule, runs::considered(state, &rule.name)?, now, others);
        decisions.extend(decision.map(|decision| (rule.name.clone(), decision)));
    }
    Ok(decisions)
}

fn put_on_record(
    state: &Transaction<'_>,
    snapshot: &SnapshotName,
    decision: &Decision,
    now: OffsetDateTime,
) -> Result<(), StateError> {
    for (tick, fate) in &decision.rows {
        let trigger = if let Fate::Queued(trigger) = fate { *trigger } else { Trigger::Cron };
        let row = SnapshotRef { name: snapshot.clone(), trigger, due: tick.due };
        let id = runs::enqueue(state, &row, tick.begins_at)?;
        match fate {
            Fate::Queued(_) => {}
            Fate::Skipped(reason) => runs::close_row(state, id, Status::Skipped, reason, now)?,
            Fate::Missed(reason) => runs::close_row(state, id, Status::Missed, reason, now)?,
        }
    }
    if decision.anew {
        runs::bring_forward(state, snapshot, now)?;
    }
    runs::set_considered(state, snapshot, decision.until)
}

fn log_decision(snapshot: &SnapshotName, decision: &Decision) {
    if decision.anew {
        warn!("the clock was more than a day ahead: the times of {snapshot} are counted anew from now on");
    }
    for (tick, fate) in &decision.rows {
        let due = timestamp::text(tick.due);
        match fate {
            Fate::Queued(_) => {}
            Fate::Skipped(reason) => info!("{snapshot} is skipped at {due}: {reason}"),
            Fate::Missed(reason) => info!("{snapshot} was missed at {due}: {reason}"),
        }
    }
}

/// When there is something to do next, as far as the clock tells.
fn next_time(
    state: &Connection,
    rules: &[Rule],
    now: OffsetDateTime,
) -> Result<Option<OffsetDateTime>, StateError> {
    let mut next = runs::next_time(state, now)?;
    for rule in rules {
        let Some(timetable) = &rule.timetable else { continue };
        let until = runs::considered(state, &rule.name)?.unwrap_or(now);
        let tick = timetable.after(until).map(|tick| tick.begins_at);
        next = next.into_iter().chain(tick).min();
    }
    Ok(next)
}

#[cfg(test)]
mod month;
#[cfg(test)]
mod tests;
