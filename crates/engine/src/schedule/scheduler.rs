//! The scheduler: watches the clock and the queue, and starts runs, one at a time in each lane.
//!
//! Everything that it knows is in the state, except which runs are in progress in this process. The watcher and the
//! listener put rows into the queue by the [`Store`], whose changes wake the scheduler.

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

/// Longest sleep. Sleep follows a clock that stands still while the machine is suspended, and does not notice that the
/// time of day was set, or that another process put something into the queue.
const LONGEST_SLEEP: Duration = Duration::from_secs(10);

/// Starts the runs of a schedule. Only one scheduler may work on a state at a time.
#[derive(Debug)]
pub struct Scheduler<R> {
    store: Store,
    rules: Vec<Rule>,
    clock: Clock,
    machine: String,
    runner: Arc<R>,
}

/// Runs in progress.
type Runs = JoinSet<(Lane, Result<(), StateError>)>;

impl<R: Runner> Scheduler<R> {
    /// `rules` has every snapshot of the config, also those without a timetable. `machine` distinguishes this machine,
    /// with its disk, from others that share the state; it stays the same when the process restarts.
    #[must_use]
    pub fn new(store: Store, rules: Vec<Rule>, clock: Clock, machine: String, runner: Arc<R>) -> Self {
        Self { store, rules, clock, machine, runner }
    }

    /// Works until it is told to stop. Then it starts nothing new and waits for the runs in progress; the runner has to
    /// watch `stop` itself. A run that was interrupted stays recorded as started, and the next process resumes it.
    ///
    /// If the state can no longer be changed, all runs are told to drain, and the error is returned once they have
    /// ended. [`HomeError::Lost`](fleetlogs_model::home::HomeError::Lost) among them says that another machine owns the
    /// schedule.
    ///
    /// # Cancel safety
    /// Dropping it is like killing the process: the runs end where they are, and the next process resumes them.
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
    /// What an earlier process left of this snapshot comes first. If an earlier call of this function started a run
    /// that did not end, that run is resumed *instead of* a new one: a killed process that is restarted continues the
    /// same run. A run that something else started is finished first, and then the new one runs. The rest of the queue
    /// stays as it is.
    ///
    /// # Cancel safety
    /// As for [`Self::run`].
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

    /// Records what happens to the times that have come.
    async fn consider(&self) -> Result<(), StateError> {
        let now = self.clock.now();
        // Every change may have to be published to a shared home, so nothing is changed without need.
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

    /// The next row to run in a lane, which is free: rows that an earlier process started come first.
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

    /// Waits for a time, or until the clock was set back or another process changed the state.
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

/// A job, and what is needed to run it.
struct JobRun<R> {
    store: Store,
    clock: Clock,
    runner: Arc<R>,
    job: Job,
}

impl<R: Runner> JobRun<R> {
    /// Runs the job, and records how it ended.
    async fn carry_out(self) -> Result<JobEnd, StateError> {
        let SnapshotRef { name, trigger, due } = &self.job.snapshot;
        let (id, what) = (self.job.id, format!("{name}, {} ({trigger})", due_at(*due)));
        if let Some(dir) = &self.job.begun {
            info!("{what} resumes in `{}`", dir.display());
        } else {
            info!("{what} starts");
        }
        let ended = self.runner.run(self.job, StartRecord::new(self.store.clone(), id)).await;
        if ended.interrupted {
            info!("{what} is interrupted; this machine resumes it, unless another owns the schedule by then");
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
                warn!("{what} did not run: {}", reason.as_deref().unwrap_or("no known reason"));
            }
        }
        Ok(ended)
    }
}

fn joined<T>(ended: Result<T, JoinError>) -> T {
    // Nothing here aborts a task, so it panicked.
    ended.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}

/// Decides on the times of each snapshot that have come.
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
        warn!("the clock was more than a day ahead: the times of {snapshot} count from now on");
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

/// When something is due next, by the clock.
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
