//! A worker: takes partitions from a queue, one after another or several at a time, and works on each as `run` does.
//!
//! The hold on a partition's record is what makes a worker its only owner; the queue only says who may try. A message
//! is hidden while its partition is at work, and deleted when nothing remains to be done. A worker that dies leaves a
//! message that shows again. If that happens again and again without any progress, the partition kills its workers:
//! its message is moved to the poison queue, and the other partitions go on.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fleetlogs_model::count::counted;
use fleetlogs_model::event::{Event, Recorded};
use fleetlogs_model::event_sink::EventSink;
use fleetlogs_model::failure::{Failure, FailureClass};
use fleetlogs_model::ledger::Ledger;
use fleetlogs_model::outcome::RunOutcome;
use fleetlogs_model::run_store::{JournalError, JournalErrorKind, RunStore};
use fleetlogs_model::work_queue::{Delivery, QueueError, WorkItem, WorkQueue};
use futures::future::join_all;
use tokio::sync::{Mutex, Notify, RwLock, RwLockReadGuard, RwLockWriteGuard};
use tokio::time::sleep;

use super::standing::{is_handed_on, is_unplanned};
use crate::clock::Clock;
use crate::recorded_run::ResumedRun;
use crate::stop::{Stop, StopHandle, StopReason};

/// How a worker works.
#[derive(Clone, Debug)]
pub struct WorkerSettings {
    /// Partitions at the same time.
    pub at_once: usize,
    /// How long a message stays hidden after the worker last said that it is at work.
    pub hidden: Duration,
    /// How often it says so.
    pub heartbeat: Duration,
    /// Deliveries of a partition that may fail; then it is moved to the poison queue.
    pub failures: u32,
    /// Pause before the queue is asked again when there was nothing to be seen.
    pub idle: Duration,
    /// Whether the worker waits for more when the queue is empty.
    pub forever: bool,
}

/// What a worker can do with a partition.
pub trait PartitionWork: Send + Sync {
    /// Where the record of a partition is.
    fn store(&self, item: &WorkItem) -> Box<dyn RunStore>;

    /// Makes the plan of a partition that has none yet, and the empty record of it. If another worker was faster, its plan
    /// stands. With a reason why the partition is given up, nothing is listed: the plan says that the account could not be.
    fn plan(&self, item: &WorkItem, given_up: Option<&str>) -> impl Future<Output = Result<(), Failure>>;

    /// Works on a partition until nothing is left to do, or `stop` ends it, and puts the end on record. `listener` is
    /// to hear what happens. Fails if the work could not begin, with the reason: of [`FailureClass::Config`] if this worker
    /// is not set up for the run.
    fn carry_out(
        &self,
        item: &WorkItem,
        run: ResumedRun,
        listener: Box<dyn EventSink>,
        stop: StopHandle,
    ) -> impl Future<Output = Result<(), Failure>>;
}

/// What a worker did: deliveries by how they ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkerEnd {
    /// Partitions of which nothing is left to do.
    pub done: u64,
    /// Another worker was at work on the partition.
    pub busy: u64,
    /// Partitions that this worker left to others.
    pub handed_back: u64,
    /// The work could not begin or go on.
    pub failed: u64,
    /// Deliveries of partitions of runs that this worker is not set up for.
    pub refused: u64,
    /// Partitions that were moved to the poison queue, with the reason.
    pub buried: Vec<(WorkItem, String)>,
}

impl WorkerEnd {
    fn add(&mut self, item: WorkItem, end: PartitionEnd) {
        match end {
            PartitionEnd::Done => self.done += 1,
            PartitionEnd::Busy => self.busy += 1,
            PartitionEnd::HandedBack => self.handed_back += 1,
            PartitionEnd::Failed(_) => self.failed += 1,
            PartitionEnd::Refused(_) => self.refused += 1,
            PartitionEnd::Buried(reason) => self.buried.push((item, reason)),
        }
    }
}

/// How a delivery ended.
#[derive(Clone, Debug, PartialEq, Eq)]
enum PartitionEnd {
    /// Nothing is left to do, or a reason is on record why the rest is not done.
    Done,
    /// Another worker is at work on it.
    Busy,
    /// This worker stopped; another one goes on.
    HandedBack,
    /// The work could not begin or go on. The message shows again.
    Failed(String),
    /// This worker is not set up for the run, and another one may be. That is no failure of the partition.
    Refused(String),
    /// It was moved to the poison queue, with this reason.
    Buried(String),
}

/// Takes partitions from a queue until it is empty, hidden messages included, or until `stop` asks to drain.
///
/// # Errors
/// The queue refuses to be read. Partitions at work are finished before.
///
/// # Cancel safety
/// When dropped, it is as if the worker had been killed: messages show again, and records are free after a while.
pub async fn work<P: PartitionWork>(
    queue: &dyn WorkQueue,
    partitions: &P,
    settings: &WorkerSettings,
    clock: Clock,
    stop: &StopHandle,
) -> Result<WorkerEnd, Failure> {
    let (turn, alone, end) = (Mutex::new(()), RwLock::new(()), Mutex::default());
    let refused = Mutex::default();
    let worker = Worker { queue, partitions, settings, clock, stop, turn, alone, refused, end };
    let slots = (0..settings.at_once.max(1)).map(|_| worker.slot());
    let ended = join_all(slots).await;
    ended.into_iter().collect::<Result<(), Failure>>()?;
    Ok(worker.end.into_inner())
}

struct Worker<'a, P> {
    queue: &'a dyn WorkQueue,
    partitions: &'a P,
    settings: &'a WorkerSettings,
    clock: Clock,
    stop: &'a StopHandle,
    /// One slot at a time waits for a message: the others would only ask the same.
    turn: Mutex<()>,
    /// Written to while a partition that failed before is at work: if it kills its worker, it must not take others along.
    alone: RwLock<()>,
    /// Partitions that this worker refused. Their messages are for others.
    refused: Mutex<HashSet<WorkItem>>,
    end: Mutex<WorkerEnd>,
}

impl<P: PartitionWork> Worker<'_, P> {
    async fn slot(&self) -> Result<(), Failure> {
        while let Some((delivery, _company)) = self.next().await? {
            let item = delivery.item.clone();
            let end = self.deliver(delivery).await;
            say(&item, &end);
            self.end.lock().await.add(item, end);
        }
        Ok(())
    }

    /// Waits for a message; none if the worker is to end.
    async fn next(&self) -> Result<Option<(Delivery, Company<'_>)>, Failure> {
        let _turn = self.turn.lock().await;
        let mut told = false;
        loop {
            // While a partition is to be alone, nothing is taken.
            let shared = tokio::select! {
                shared = self.alone.read() => shared,
                () = self.stop.reached(Stop::Drain) => return Ok(None),
            };
            if self.stop.level() > Stop::No {
                return Ok(None);
            }
            match self.receive_or_end().await {
                Ok(Next::Work(mut delivery)) if self.is_refused(&delivery.item).await => {
                    self.hand_back(&mut delivery, self.settings.heartbeat).await;
                    if self.is_all_refused().await {
                        return Ok(None);
                    }
                }
                Ok(Next::Work(delivery)) if delivery.failures() == 0 => {
                    return Ok(Some((delivery, Company::Shared(shared))));
                }
                Ok(Next::Work(mut delivery)) => {
                    drop(shared);
                    if let Ok(alone) = self.alone.try_write() {
                        return Ok(Some((delivery, Company::Alone(alone))));
                    }
                    // Later, or another worker.
                    self.hand_back(&mut delivery, self.settings.heartbeat).await;
                    continue;
                }
                Ok(Next::End) => return Ok(None),
                Ok(Next::Nothing) => told = false,
                Err(failure) if failure.class.is_passing() => {
                    if !std::mem::replace(&mut told, true) {
                        tracing::warn!("the queue: {failure}; retrying");
                    }
                }
                Err(failure) => return Err(failure),
            }
            tokio::select! {
                () = sleep(self.settings.idle) => {}
                () = self.stop.reached(Stop::Drain) => {}
            }
        }
    }

    async fn is_refused(&self, item: &WorkItem) -> bool {
        self.refused.lock().await.contains(item)
    }

    /// Whether the worker may end because the queue has nothing but what it refused.
    async fn is_all_refused(&self) -> bool {
        let refused = self.refused.lock().await.len() as u64;
        !self.settings.forever && self.queue.left().await.is_ok_and(|left| left <= refused)
    }

    async fn receive_or_end(&self) -> Result<Next, Failure> {
        let failed = |error| match error {
            QueueError::Failed(failure) => failure,
            error @ QueueError::NotOurs => Failure::new(FailureClass::Transient, error.to_string()),
        };
        if let Some(delivery) = self.queue.receive(self.settings.hidden).await.map_err(failed)? {
            return Ok(Next::Work(delivery));
        }
        // What other workers have is hidden, and shows again if they die.
        let is_over = !self.settings.forever && self.queue.left().await.map_err(failed)? == 0;
        Ok(if is_over { Next::End } else { Next::Nothing })
    }

    /// Lets a message show again after a time. The delivery is no failure of its partition.
    async fn hand_back(&self, delivery: &mut Delivery, after: Duration) {
        delivery.excuse_one();
        let handed = self.queue.hide(delivery, after).await;
        not_taken_back(delivery, handed);
    }

    async fn deliver(&self, mut delivery: Delivery) -> PartitionEnd {
        let store = self.partitions.store(&delivery.item);
        if delivery.failures() >= self.settings.failures {
            return self.bury(delivery, &*store).await;
        }
        let progress = Progressed::default();
        let end = {
            let delivery = Mutex::new(&mut delivery);
            let over = Notify::new();
            let working = async {
                let end = self.carry_out(&delivery, &*store, &progress).await;
                over.notify_one();
                end
            };
            let heartbeat = self.beat(&delivery, &progress, &over);
            tokio::join!(working, heartbeat).0
        };
        if progress.is_made() {
            delivery.excuse_all();
        }
        // Whatever fails from here on, the message shows again, and the next worker sees in the record what is left.
        match &end {
            PartitionEnd::Done => {
                let deleted = self.queue.delete(&delivery).await;
                not_taken_back(&delivery, deleted);
            }
            PartitionEnd::Busy => self.hand_back(&mut delivery, self.settings.heartbeat).await,
            PartitionEnd::HandedBack => self.hand_back(&mut delivery, Duration::ZERO).await,
            PartitionEnd::Refused(_) => {
                self.refused.lock().await.insert(delivery.item.clone());
                self.hand_back(&mut delivery, self.settings.heartbeat).await;
            }
            PartitionEnd::Failed(why) => {
                delivery.fail(why);
                let handed = self.queue.hide(&mut delivery, self.settings.heartbeat).await;
                not_taken_back(&delivery, handed);
            }
            PartitionEnd::Buried(_) => {}
        }
        end
    }

    /// Says again and again that the worker is at work, until it no longer is. A call under way is not dropped: it may
    /// have changed the receipt.
    async fn beat(&self, delivery: &Mutex<&mut Delivery>, progress: &Progressed, over: &Notify) {
        loop {
            tokio::select! {
                () = over.notified() => return,
                () = sleep(self.settings.heartbeat) => {}
            }
            let mut delivery = delivery.lock().await;
            if progress.is_made() {
                delivery.excuse_all();
            }
            if let Err(error) = self.queue.hide(&mut delivery, self.settings.hidden).await {
                // The hold on the record keeps others out. One that gets the message now finds it busy.
                tracing::debug!(partition = %delivery.item.partition, %error, "the message could not be kept hidden");
            }
        }
    }

    async fn carry_out(
        &self,
        delivery: &Mutex<&mut Delivery>,
        store: &dyn RunStore,
        progress: &Progressed,
    ) -> PartitionEnd {
        let item = delivery.lock().await.item.clone();
        let run = match self.open(&item, store).await {
            Ok(run) => run,
            Err(end) => return end,
        };
        match run.is_over() {
            Ok(false) => {}
            Ok(true) => return PartitionEnd::Done,
            Err(error) => return unopened(&error),
        }
        let stop = StopHandle::default();
        let listener = Box::new(progress.clone());
        let working = self.partitions.carry_out(&item, run, listener, stop.clone());
        let ended = tokio::select! {
            ended = working => ended,
            never = self.pass_on(&stop) => never,
        };
        match (ended, stop.reason()) {
            (Err(failure), _) => unbegun(&failure),
            (Ok(()), None) => PartitionEnd::Done,
            (Ok(()), Some(reason)) => ended_early(&reason),
        }
    }

    /// Opens a partition, which is planned if nobody has done so.
    async fn open(&self, item: &WorkItem, store: &dyn RunStore) -> Result<ResumedRun, PartitionEnd> {
        match ResumedRun::open(store, &[], false).await {
            Err(error) if is_unplanned(&error) => {
                tokio::select! {
                    planned = self.partitions.plan(item, None) => {
                        planned.map_err(|failure| unbegun(&failure))?;
                    }
                    () = self.stop.reached(Stop::Drain) => return Err(PartitionEnd::HandedBack),
                }
                ResumedRun::open(store, &[], false).await.map_err(|error| unopened(&error))
            }
            opened => opened.map_err(|error| unopened(&error)),
        }
    }

    /// Stops a partition when the worker is stopped. Never ends.
    async fn pass_on<T>(&self, partition: &StopHandle) -> T {
        for level in [Stop::Drain, Stop::Abort] {
            self.stop.reached(level).await;
            partition.stop(level, self.stop.reason().unwrap_or(StopReason::Signal));
        }
        std::future::pending().await
    }

    /// Moves a partition that failed too often to the poison queue, and puts the reason on its record.
    async fn bury(&self, mut delivery: Delivery, store: &dyn RunStore) -> PartitionEnd {
        if store.is_held().await.unwrap_or(false) {
            self.hand_back(&mut delivery, self.settings.heartbeat).await;
            return PartitionEnd::Busy;
        }
        let times = counted(delivery.failures(), "time");
        let reason = match &delivery.note {
            Some(note) => {
                format!("given up after it failed {times} without progress; the last error: {note}")
            }
            None => format!("given up after its worker died {times} without progress"),
        };
        // First: opening the record may be what kills a worker.
        if let Err(error) = self.queue.bury(&delivery, &reason).await {
            return PartitionEnd::Failed(error.to_string());
        }
        if let Err(error) = self.record_end(&delivery.item, store, &reason).await {
            tracing::warn!(partition = %delivery.item.partition, "the reason is not on record: {error}");
        }
        PartitionEnd::Buried(reason)
    }

    async fn record_end(
        &self,
        item: &WorkItem,
        store: &dyn RunStore,
        reason: &str,
    ) -> Result<(), JournalError> {
        let at = self.clock.now();
        let recorded = |event| Recorded { at, node: None, event };
        let mut events = vec![recorded(Event::RunEnded { list_calls: 0 })];
        let mut journal = match store.append(false).await {
            // Its plan then says why nothing is planned.
            Err(error) if is_unplanned(&error) => {
                let planned = self.partitions.plan(item, Some(reason)).await;
                planned
                    .map_err(|failure| JournalError::new(JournalErrorKind::Failed, failure.to_string()))?;
                store.append(false).await?
            }
            opened => {
                let outcome = Some(RunOutcome::Interrupted);
                let draining = Event::RunDraining { reason: reason.into(), outcome, cause: None };
                events.insert(0, recorded(draining));
                opened?
            }
        };
        // A journal may block.
        let appended = tokio::task::spawn_blocking(move || journal.append(&events)).await;
        appended.unwrap_or_else(|error| Err(JournalError::new(JournalErrorKind::Failed, error.to_string())))
    }
}

/// What there is to do next.
enum Next {
    Work(Delivery),
    /// Nothing to be seen now.
    Nothing,
    /// The queue is empty.
    End,
}

/// Whether other partitions may be at work beside one. Held until its delivery has ended.
#[expect(dead_code, reason = "they are held, not read")]
enum Company<'worker> {
    Shared(RwLockReadGuard<'worker, ()>),
    Alone(RwLockWriteGuard<'worker, ()>),
}

fn not_taken_back(delivery: &Delivery, answer: Result<(), QueueError>) {
    if let Err(error) = answer {
        tracing::debug!(partition = %delivery.item.partition, %error, "the message was not changed");
    }
}

/// Whether a delivery made progress: an answer about a node is on record that was not there before.
#[derive(Clone, Debug, Default)]
struct Progressed(Arc<AtomicBool>);

impl Progressed {
    fn is_made(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl EventSink for Progressed {
    fn hear(&mut self, events: &[Recorded], _: &Ledger) {
        // Each of these happens to a node a bounded number of times, whoever works on it.
        let is_progress = |event: &Event| {
            matches!(
                event,
                Event::UploadAccepted { .. }
                    | Event::UploadAdopted { .. }
                    | Event::UploadFailed { .. }
                    | Event::FilesVerified { .. }
                    | Event::FilesAdopted { .. }
                    | Event::FilesIncomplete { .. }
            )
        };
        if !self.is_made() && events.iter().any(|recorded| is_progress(&recorded.event)) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}

/// What it means for the message that the work could not begin.
fn unbegun(failure: &Failure) -> PartitionEnd {
    match failure.class {
        FailureClass::Config => PartitionEnd::Refused(failure.to_string()),
        _ => PartitionEnd::Failed(failure.to_string()),
    }
}

/// What it means for the message that a partition cannot be opened.
fn unopened(error: &JournalError) -> PartitionEnd {
    match error.kind {
        JournalErrorKind::Busy => PartitionEnd::Busy,
        JournalErrorKind::NoPlan
        | JournalErrorKind::Missing
        | JournalErrorKind::OtherFormat
        | JournalErrorKind::Damaged
        | JournalErrorKind::Copied
        | JournalErrorKind::OtherPlan
        | JournalErrorKind::Unsuitable
        | JournalErrorKind::TakenOver
        | JournalErrorKind::Failed => PartitionEnd::Failed(error.to_string()),
    }
}

/// What it means for the message that a partition was stopped before its end; `is_handed_on` says the same of what is
/// on record. Most reasons hold for every other worker
/// as well, and are on record.
fn ended_early(reason: &StopReason) -> PartitionEnd {
    match reason {
        _ if !is_handed_on(reason.cause()) => PartitionEnd::Done,
        StopReason::Journal { .. } | StopReason::LittleRoom(_) | StopReason::ShortTenure { .. } => {
            PartitionEnd::Failed(reason.to_string())
        }
        _ => PartitionEnd::HandedBack,
    }
}

fn say(item: &WorkItem, end: &PartitionEnd) {
    let (run, partition) = (&item.run, &item.partition);
    match end {
        PartitionEnd::Done => tracing::info!(%run, %partition, "the partition is done"),
        PartitionEnd::Busy => tracing::debug!(%run, %partition, "another worker has the partition"),
        PartitionEnd::HandedBack => tracing::info!(%run, %partition, "the partition is handed back"),
        PartitionEnd::Failed(why) => tracing::warn!(%run, %partition, "the partition failed: {why}"),
        PartitionEnd::Refused(why) => {
            tracing::error!(%run, %partition, "the partition is left to other workers: {why}");
        }
        PartitionEnd::Buried(why) => tracing::error!(%run, %partition, "the partition is {why}"),
    }
}

#[cfg(test)]
mod tests;
