//! The event log: everything becomes part of a run through it.
//!
//! An event goes to the journal first, then into the ledger, then to every other listener. All of that happens on
//! one thread, which groups what has queued up into one commit. When the journal fails, the run is told to drain:
//! nothing new is sent, and every later event is refused.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use fleetlogs_model::event::{Event, Recorded};
use fleetlogs_model::event_sink::EventSink;
use fleetlogs_model::ids::NodeIndex;
use fleetlogs_model::ledger::Ledger;
use fleetlogs_model::run_store::{Journal, JournalError};
use parking_lot::Mutex;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tokio::task::block_in_place;

use crate::clock::Clock;
use crate::stop::{Stop, StopHandle, StopReason};

/// Events in one commit, at most. It bounds how long the first of them waits for the last.
const GROUP: usize = 1024;

/// A group of at least this many events says that more are on their way.
const BUSY: usize = 8;

/// How long a busy log waits for more events before it commits: a commit costs about as much for one as for many.
const LINGER: Duration = Duration::from_millis(3);

/// The journal failed, so nothing more can be recorded.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the journal cannot be written")]
pub struct NotRecorded;

enum Message {
    Record(Recorded, Option<oneshot::Sender<()>>),
    /// Answered when everything before it is on record.
    Barrier(oneshot::Sender<()>),
}

/// What a log leaves when it has ended.
pub struct Written {
    /// Where the run stands; or why the journal failed.
    pub ledger: Result<Ledger, JournalError>,
    /// Still open, so that no other process resumes the run, and so that it can be read even if nothing can be written.
    pub journal: Box<dyn Journal>,
}

/// A handle to the log; clones share it.
#[derive(Clone)]
pub struct EventLog {
    way: Way,
    clock: Clock,
}

#[derive(Clone)]
enum Way {
    // The queue needs no bound: every worker has at most one result and one awaited intent in it.
    Thread(Sender<Message>),
    Inline(Arc<Mutex<Option<Writer>>>),
}

/// How events reach the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogMode {
    /// The log has its own thread, which groups queued events into one commit. Needs a tokio runtime.
    Thread,
    /// Each event is written by the task that records it. For tests on paused time, which would run ahead while another
    /// thread works.
    Inline,
}

/// The end of a log.
pub struct LogEnd(LogEndWay);

enum LogEndWay {
    Thread(JoinHandle<Written>),
    Inline(Arc<Mutex<Option<Writer>>>),
}

impl EventLog {
    /// Opens a log. `ledger` is where the run stands now; `listeners` hear every event after it is durable.
    #[must_use]
    pub fn open(
        mode: LogMode,
        journal: Box<dyn Journal>,
        ledger: Ledger,
        listeners: Vec<Box<dyn EventSink>>,
        clock: Clock,
        stop: StopHandle,
    ) -> (Self, LogEnd) {
        let writer = Writer { journal, ledger, listeners, stop, failure: None, unrecorded: 0 };
        match mode {
            LogMode::Thread => {
                let (queue, thread) = start_thread(writer);
                (Self { way: Way::Thread(queue), clock }, LogEnd(LogEndWay::Thread(thread)))
            }
            LogMode::Inline => {
                let writer = Arc::new(Mutex::new(Some(writer)));
                let end = LogEnd(LogEndWay::Inline(writer.clone()));
                (Self { way: Way::Inline(writer), clock }, end)
            }
        }
    }

    /// Puts an event on record and returns when it is durable.
    ///
    /// # Cancel safety
    /// When dropped, the event is still recorded.
    pub async fn record(&self, node: Option<NodeIndex>, event: Event) -> Result<(), NotRecorded> {
        let recorded = self.dated(node, event);
        self.through(|done| Message::Record(recorded, Some(done))).await
    }

    /// Puts an event on record without waiting. Whatever is recorded later is durable only with it.
    pub fn note(&self, node: Option<NodeIndex>, event: Event) -> Result<(), NotRecorded> {
        self.send(Message::Record(self.dated(node, event), None))
    }

    /// Returns when everything recorded so far is durable and every listener heard it.
    pub async fn settled(&self) -> Result<(), NotRecorded> {
        self.through(Message::Barrier).await
    }

    /// A mark behind everything recorded so far, for those who note much and must not be far ahead of the log.
    pub(crate) fn mark(&self) -> Result<LogMark, NotRecorded> {
        let (done, durable) = oneshot::channel();
        self.send(Message::Barrier(done))?;
        Ok(LogMark(durable))
    }

    fn dated(&self, node: Option<NodeIndex>, event: Event) -> Recorded {
        Recorded { at: self.clock.now(), node, event }
    }

    async fn through(&self, message: impl FnOnce(oneshot::Sender<()>) -> Message) -> Result<(), NotRecorded> {
        let (done, durable) = oneshot::channel();
        self.send(message(done))?;
        durable.await.map_err(|_| NotRecorded)
    }

    fn send(&self, message: Message) -> Result<(), NotRecorded> {
        match &self.way {
            Way::Thread(queue) => queue.send(message).map_err(|_| NotRecorded),
            Way::Inline(writer) => {
                let mut writer = writer.lock();
                let writer = writer.as_mut().ok_or(NotRecorded)?;
                let done = match message {
                    Message::Record(recorded, done) => {
                        writer.take(&[recorded]).then_some(done).ok_or(NotRecorded)?
                    }
                    Message::Barrier(done) => writer.take(&[]).then_some(Some(done)).ok_or(NotRecorded)?,
                };
                if let Some(done) = done {
                    let _ = done.send(());
                }
                Ok(())
            }
        }
    }
}

/// A place in the log.
#[derive(Debug)]
pub(crate) struct LogMark(oneshot::Receiver<()>);

impl LogMark {
    /// Returns when everything before it is durable and every listener heard it.
    pub(crate) async fn passed(self) -> Result<(), NotRecorded> {
        self.0.await.map_err(|_| NotRecorded)
    }
}

impl LogEnd {
    /// Waits for the thread, which ends when the last [`EventLog`] is dropped. An inline log ends now.
    ///
    /// # Panics
    /// If the journal's thread panicked.
    #[must_use]
    pub fn wait(self) -> Written {
        match self.0 {
            LogEndWay::Thread(thread) => {
                let join = || thread.join().expect("the journal thread does not panic");
                match Handle::try_current().map(|here| here.runtime_flavor()) {
                    // The journal may need the runtime for its last events: tasks of this thread go on elsewhere.
                    Ok(RuntimeFlavor::MultiThread) => block_in_place(join),
                    _ => join(),
                }
            }
            LogEndWay::Inline(writer) => {
                writer.lock().take().expect("only its end takes the writer away").into_written()
            }
        }
    }
}

fn start_thread(writer: Writer) -> (Sender<Message>, JoinHandle<Written>) {
    let (queue, messages) = channel();
    let (durable, mut groups) = unbounded_channel::<Vec<oneshot::Sender<()>>>();
    // A task wakes the waiting tasks: one wake-up across threads for a group instead of one for each.
    tokio::spawn(async move {
        while let Some(group) = groups.recv().await {
            for done in group {
                // The waiting task may have been dropped.
                let _ = done.send(());
            }
        }
    });
    let thread = std::thread::Builder::new()
        .name("journal".into())
        .spawn(move || writer.run(&messages, &durable))
        .expect("a thread can be started");
    (queue, thread)
}

struct Writer {
    journal: Box<dyn Journal>,
    ledger: Ledger,
    listeners: Vec<Box<dyn EventSink>>,
    stop: StopHandle,
    failure: Option<JournalError>,
    /// Calls that were accepted after the journal failed.
    unrecorded: u64,
}

impl Writer {
    fn run(
        mut self,
        messages: &Receiver<Message>,
        durable: &UnboundedSender<Vec<oneshot::Sender<()>>>,
    ) -> Written {
        let mut group = Vec::with_capacity(GROUP);
        let mut waiting = Vec::new();
        let mut busy = false;
        while let Ok(first) = messages.recv() {
            let linger = self.journal.linger().max(if busy { LINGER } else { Duration::ZERO });
            if !linger.is_zero() {
                std::thread::sleep(linger);
            }
            let more = std::iter::from_fn(|| messages.try_recv().ok());
            for message in std::iter::once(first).chain(more).take(GROUP) {
                match message {
                    Message::Record(recorded, done) => {
                        group.push(recorded);
                        waiting.extend(done);
                    }
                    Message::Barrier(done) => waiting.push(done),
                }
            }
            busy = group.len() >= BUSY;
            let waited = std::mem::take(&mut waiting);
            if self.take(&group) && !waited.is_empty() {
                // The runtime may be shutting down, and then nothing waits.
                let _ = durable.send(waited);
            }
            group.clear();
        }
        if self.unrecorded > 0 {
            tracing::warn!(
                calls = self.unrecorded,
                "calls in flight were accepted but could not be recorded; resume finds them in the container"
            );
        }
        self.into_written()
    }

    fn into_written(self) -> Written {
        let ledger = self.failure.map_or(Ok(self.ledger), Err);
        Written { ledger, journal: self.journal }
    }

    /// Journal first, then the ledger, then the others. Returns whether the group is on record.
    fn take(&mut self, group: &[Recorded]) -> bool {
        if self.failure.is_some() {
            let accepted = |recorded: &&Recorded| matches!(recorded.event, Event::UploadAccepted { .. });
            self.unrecorded += group.iter().filter(accepted).count() as u64;
            return false;
        }
        if group.is_empty() {
            return true;
        }
        crash_point!("before-commit");
        if let Err(error) = self.journal.append(group) {
            let reason = StopReason::journal(&error);
            self.stop.stop(Stop::Drain, reason);
            self.failure = Some(error);
            return self.take(group);
        }
        crash_point!("after-commit");
        if let Some(room) = self.journal.little_room() {
            self.stop.stop(Stop::Drain, StopReason::LittleRoom(room));
        }
        for recorded in group {
            self.ledger.apply(recorded);
        }
        for listener in &mut self.listeners {
            listener.hear(group, &self.ledger);
        }
        true
    }
}

/// A listener that keeps all events.
#[cfg(test)]
#[derive(Clone, Default)]
pub(crate) struct Heard(Arc<Mutex<Vec<Recorded>>>);

#[cfg(test)]
impl Heard {
    pub(crate) fn events(&self) -> Vec<Recorded> {
        self.0.lock().clone()
    }
}

#[cfg(test)]
impl EventSink for Heard {
    fn hear(&mut self, events: &[Recorded], _ledger: &Ledger) {
        self.0.lock().extend_from_slice(events);
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::testing::{NOW, VolatileJournal, plan_of};
    use fleetlogs_model::run_store::{JournalErrorKind, LittleRoom};

    struct FullDisk;

    impl Journal for FullDisk {
        fn append(&mut self, _: &[Recorded]) -> Result<(), JournalError> {
            Err(JournalError::new(JournalErrorKind::Failed, "the disk is full"))
        }
    }

    fn requested() -> Event {
        Event::UploadRequested { attempt: 1, client_request_id: Uuid::nil(), service_ahead_ms: None }
    }

    #[tokio::test]
    async fn listeners_hear_only_what_is_on_record_and_in_order() {
        let heard = Heard::default();
        let clock = Clock::Since(NOW, tokio::time::Instant::now());
        let ledger = Ledger::new(&plan_of(2));
        let (log, end) = EventLog::open(
            LogMode::Thread,
            Box::new(VolatileJournal),
            ledger,
            vec![Box::new(heard.clone())],
            clock,
            StopHandle::default(),
        );
        log.note(Some(NodeIndex(1)), requested()).unwrap();
        log.record(Some(NodeIndex(0)), requested()).await.unwrap();
        drop(log);
        let ledger = end.wait().ledger.unwrap();
        let nodes: Vec<_> = heard.events().iter().map(|recorded| recorded.node).collect();
        assert_eq!(nodes, [Some(NodeIndex(1)), Some(NodeIndex(0))]);
        assert_eq!(ledger.count(fleetlogs_model::ledger::NodeStatus::Requested), 2);
    }

    #[tokio::test]
    async fn a_failed_journal_drains_the_run_and_refuses_everything() {
        let stop = StopHandle::default();
        let heard = Heard::default();
        let ledger = Ledger::new(&plan_of(1));
        let (log, end) = EventLog::open(
            LogMode::Thread,
            Box::new(FullDisk),
            ledger,
            vec![Box::new(heard.clone())],
            Clock::System,
            stop.clone(),
        );
        assert!(log.record(Some(NodeIndex(0)), requested()).await.is_err());
        assert!(log.settled().await.is_err());
        assert_eq!(stop.level(), Stop::Drain);
        drop(log);
        assert!(end.wait().ledger.is_err());
        assert!(heard.events().is_empty());
    }

    /// Waits for the test where another journal lingers, and counts the events of each group.
    struct Lingering(Mutex<Receiver<()>>, Sender<usize>);

    impl Journal for Lingering {
        fn append(&mut self, events: &[Recorded]) -> Result<(), JournalError> {
            self.1.send(events.len()).unwrap();
            Ok(())
        }

        fn linger(&self) -> Duration {
            self.0.lock().recv().unwrap();
            Duration::from_nanos(1)
        }
    }

    #[tokio::test]
    async fn events_that_arrive_while_a_journal_lingers_are_appended_together() {
        let (go, lingers) = channel();
        let (sizes, groups) = channel();
        let journal = Box::new(Lingering(Mutex::new(lingers), sizes));
        let (ledger, stop) = (Ledger::new(&plan_of(9)), StopHandle::default());
        let (log, end) = EventLog::open(LogMode::Thread, journal, ledger, vec![], Clock::System, stop);
        for node in 0..5 {
            log.note(Some(NodeIndex(node)), requested()).unwrap();
        }
        go.send(()).unwrap();
        assert_eq!(groups.recv().unwrap(), 5);
        log.note(Some(NodeIndex(5)), requested()).unwrap();
        go.send(()).unwrap();
        drop(log);
        assert!(end.wait().ledger.is_ok());
        assert_eq!(groups.recv().unwrap(), 1);
    }

    #[tokio::test]
    async fn a_mark_is_passed_when_what_came_before_is_on_record() {
        let (go, lingers) = channel();
        let (sizes, groups) = channel();
        let journal = Box::new(Lingering(Mutex::new(lingers), sizes));
        let (ledger, stop) = (Ledger::new(&plan_of(2)), StopHandle::default());
        let (log, end) = EventLog::open(LogMode::Thread, journal, ledger, vec![], Clock::System, stop);
        log.note(Some(NodeIndex(0)), requested()).unwrap();
        log.note(Some(NodeIndex(1)), requested()).unwrap();
        let mut passed = std::pin::pin!(log.mark().unwrap().passed());
        assert!(futures::poll!(passed.as_mut()).is_pending());
        go.send(()).unwrap();
        passed.await.unwrap();
        assert_eq!(groups.recv().unwrap(), 2);
        drop(log);
        assert!(end.wait().ledger.is_ok());
    }

    struct SmallDisk;

    impl Journal for SmallDisk {
        fn append(&mut self, _: &[Recorded]) -> Result<(), JournalError> {
            Ok(())
        }

        fn little_room(&mut self) -> Option<LittleRoom> {
            Some(LittleRoom { free: 3000, needed: 1 << 20 })
        }
    }

    #[tokio::test]
    async fn a_disk_that_is_nearly_full_drains_the_run_and_what_is_in_flight_is_still_recorded() {
        let stop = StopHandle::default();
        let ledger = Ledger::new(&plan_of(2));
        let (log, end) =
            EventLog::open(LogMode::Thread, Box::new(SmallDisk), ledger, vec![], Clock::System, stop.clone());
        log.record(Some(NodeIndex(0)), requested()).await.unwrap();
        assert_eq!(stop.level(), Stop::Drain);
        log.record(Some(NodeIndex(1)), requested()).await.unwrap();
        drop(log);
        assert_eq!(end.wait().ledger.unwrap().count(fleetlogs_model::ledger::NodeStatus::Requested), 2);
        let reason = stop.reason().unwrap().to_string();
        assert!(
            reason.starts_with("only 2 KiB are free") && reason.contains("1024 KiB are reserved"),
            "{reason}"
        );
    }
}
