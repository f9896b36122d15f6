//! Where the record of a run is stored: its frozen plan, and the journal of its events.
//!
//! [`RunStore`] is the place of one run in a store. The engine has one that uses a run directory with an SQLite
//! journal, and `fleetlogs-azure` has one in Blob storage. Nothing else knows how a store works: the engine appends to
//! a [`Journal`], and everything that looks at a recorded run reads through a [`JournalReader`].

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::event::Recorded;
use crate::history::NodeHistory;
use crate::ids::NodeIndex;
use crate::plan::Plan;
use time::OffsetDateTime;

/// The result of a call to a store. A store on this machine answers at once; another one may have to call a service.
pub type StoreFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, JournalError>> + Send + 'a>>;

/// The place of one run in a store.
pub trait RunStore: Send + Sync {
    /// Creates a new run: its plan, durably, and an empty journal, which no other process can open while this one
    /// works on it. `config` is the path of the config that the run was started with.
    fn create<'a>(&'a self, plan: &'a Plan, config: &'a str) -> StoreFuture<'a, Box<dyn Journal>>;

    /// Opens the journal of an earlier process to append to it. A record that that process did not finish is dropped,
    /// because it was never promised; damage elsewhere is refused. A copy of a run is refused, too, unless
    /// `accept_copy` is set: the original may still be in use.
    fn append(&self, accept_copy: bool) -> StoreFuture<'_, Box<dyn Journal>>;

    /// The plan as it was frozen.
    fn plan(&self) -> StoreFuture<'_, StoredPlan>;

    /// Opens the journal for reading, also while another process appends to it.
    fn read(&self) -> StoreFuture<'_, Box<dyn JournalReader>>;

    /// Keeps every other process from working on the run until the returned value is dropped. Refused with
    /// [`JournalErrorKind::Busy`] while another process works on it.
    fn hold(&self) -> StoreFuture<'_, RunHold>;

    /// When something was last recorded, as far as the store knows.
    fn changed_at(&self) -> StoreFuture<'_, Option<SystemTime>>;

    /// Whether a process works on the run right now.
    fn is_held(&self) -> StoreFuture<'_, bool>;

    /// Which process works on the run, or was the last to do so, if the store knows.
    fn holder(&self) -> StoreFuture<'_, Option<RunHolder>> {
        Box::pin(std::future::ready(Ok(None)))
    }
}

/// Keeps other processes from working on a run until it is dropped.
pub type RunHold = Box<dyn fmt::Debug + Send>;

/// A plan and the hash that ties a journal to it.
#[derive(Debug)]
pub struct StoredPlan {
    /// The plan.
    pub plan: Plan,
    /// SHA-256 of its text, in hex.
    pub digest: String,
}

/// What is stored with a journal besides its events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunMeta {
    /// SHA-256 of the plan's text, in hex; ties plan and journal together.
    pub plan_digest: String,
    /// Path of the config that the run was started with.
    pub config: String,
    /// The URL of the run if it is shared out to several workers. Its partitions, which are runs of their own, are in `p`
    /// below it.
    pub shared_out_at: Option<String>,
}

/// The process that works on a run, or was the last to do so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunHolder {
    /// `process 123 on host`, for a person who has to find it.
    pub who: String,
    /// When it began.
    pub since: Option<OffsetDateTime>,
    /// Whether it still has the run.
    pub state: HolderState,
}

/// What became of the process that has or had a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HolderState {
    /// It works on the run.
    AtWork,
    /// It gave the run up.
    Left,
    /// It was silent for so long that others may take the run.
    Silent,
}

/// A journal that this process appends to. No other process can open it while this one has it.
pub trait Journal: Send + 'static {
    /// Makes a group of events durable, all or none. It may block: it is called on a thread of its own. After an error
    /// nothing more may be appended.
    ///
    /// # Errors
    /// The events are not durable.
    fn append(&mut self, events: &[Recorded]) -> Result<(), JournalError>;

    /// Whether the store is about to be full. Called after every group.
    fn little_room(&mut self) -> Option<LittleRoom> {
        None
    }

    /// How long an event may wait for others that are appended with it: for a store where each append costs about the
    /// same, in time or money, however many events it has.
    fn linger(&self) -> Duration {
        Duration::ZERO
    }

    /// How long this process may work on the run, if that ends by itself. A run on this machine's disk is held until
    /// the journal is dropped, and needs none.
    fn tenure(&self) -> Option<Arc<dyn Tenure>> {
        None
    }
}

/// The right to work on a run in a store that several machines reach. It ends by itself unless the store renews it, and
/// then another machine may work on the run. So nothing may be sent that could be answered after its end.
pub trait Tenure: fmt::Debug + Send + Sync {
    /// How much longer it certainly lasts; zero if it may have ended.
    fn left(&self) -> Duration;

    /// How long it lasts after it was renewed.
    fn length(&self) -> Duration;
}

/// A journal as far as it is recorded.
pub trait JournalReader: Send {
    /// What is stored with the journal.
    ///
    /// # Errors
    /// The journal cannot be read.
    fn meta(&self) -> Result<RunMeta, JournalError>;

    /// Hands over every event after a sequence number, in order, and returns the last number; 0 is before the first
    /// event. The numbers have no gaps.
    ///
    /// # Errors
    /// An event cannot be read.
    fn events_after(&self, after: u64, hear: &mut dyn FnMut(&Recorded)) -> Result<u64, JournalError>;

    /// The same for the first `most` of them. A store that need not read the others to do so should say how.
    ///
    /// # Errors
    /// An event cannot be read.
    fn some_events_after(
        &self,
        after: u64,
        most: usize,
        hear: &mut dyn FnMut(&Recorded),
    ) -> Result<u64, JournalError> {
        let mut handed = 0;
        self.events_after(after, &mut |recorded| {
            if handed < most {
                handed += 1;
                hear(recorded);
            }
        })?;
        Ok(after + handed as u64)
    }

    /// The events that are about no node, in order.
    ///
    /// # Errors
    /// An event cannot be read.
    fn run_events(&self) -> Result<Vec<Recorded>, JournalError>;

    /// Prepares reading the histories of all nodes that have one.
    ///
    /// # Errors
    /// The journal cannot be read.
    fn histories(&self) -> Result<Box<dyn HistoryQuery + '_>, JournalError>;

    /// Includes what was appended since. A reader that sees the live journal has nothing to do.
    fn refresh(&mut self) -> StoreFuture<'_, ()> {
        Box::pin(std::future::ready(Ok(())))
    }
}

/// A prepared query for the histories of nodes.
pub trait HistoryQuery {
    /// Runs the query. The histories come in plan order, one in memory at a time.
    ///
    /// # Errors
    /// The journal cannot be read.
    fn rows(&mut self) -> Result<HistoryRows<'_>, JournalError>;
}

/// Histories of nodes, in plan order.
pub type HistoryRows<'a> = Box<dyn Iterator<Item = Result<(NodeIndex, NodeHistory), JournalError>> + 'a>;

/// Too little room to continue: the results of further calls could not be recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LittleRoom {
    /// Free bytes.
    pub free: u64,
    /// Bytes reserved for the calls in flight and for the reports.
    pub needed: u64,
}

/// Why the record of a run cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalError {
    /// What it means for the caller.
    pub kind: JournalErrorKind,
    /// What is wrong, for a person.
    pub what: Box<str>,
    /// What the person can do about it.
    pub help: Option<Box<str>>,
}

/// What the failure of a store means for the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JournalErrorKind {
    /// Another process works on the run.
    Busy,
    /// The plan cannot be read, or this version cannot execute it.
    NoPlan,
    /// There is no journal.
    Missing,
    /// The journal is from another version, or not a journal.
    OtherFormat,
    /// The journal was changed by something other than its store. Nothing is written to it.
    Damaged,
    /// The run is a copy of another run.
    Copied,
    /// The plan is not the one that the journal was started with.
    OtherPlan,
    /// The store cannot keep a journal safely there (a network file system, say).
    Unsuitable,
    /// Another process took the run over while this one worked on it. This one can record nothing more.
    TakenOver,
    /// The store failed.
    Failed,
}

impl JournalError {
    /// An error without advice.
    pub fn new(kind: JournalErrorKind, what: impl Into<Box<str>>) -> Self {
        Self { kind, what: what.into(), help: None }
    }

    /// The same, with what to do about it.
    #[must_use]
    pub fn with_help(self, help: impl Into<Box<str>>) -> Self {
        Self { help: Some(help.into()), ..self }
    }
}

impl fmt::Display for JournalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            JournalErrorKind::Failed => write!(f, "the journal failed: {}", self.what),
            JournalErrorKind::Busy
            | JournalErrorKind::NoPlan
            | JournalErrorKind::Missing
            | JournalErrorKind::OtherFormat
            | JournalErrorKind::Damaged
            | JournalErrorKind::Copied
            | JournalErrorKind::OtherPlan
            | JournalErrorKind::Unsuitable
            | JournalErrorKind::TakenOver => f.write_str(&self.what),
        }
    }
}

impl std::error::Error for JournalError {}
