//! Deliveries: the files that nodes upload after a call was accepted.
//!
//! One task keeps all of them in a heap ordered by time; a task or a timer per file would be half a million of them
//! for a large fleet.

mod foreign;
mod target;

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use time::OffsetDateTime;
use tokio::sync::{Notify, mpsc};

use crate::blob::{Authority, Condition, Content, Log};
use crate::fleet::node_address;
use crate::ledger::NodeKey;
use crate::roll::Roll;
use crate::scenario::{ArrivalFault, ArrivalFaultKind, FileContent, NodeState};
use crate::world::World;

pub(crate) use foreign::upload_to_others;
pub(crate) use target::{Access, Place, Target, Targets};

/// An accepted upload, as far as its files are concerned.
#[derive(Debug)]
pub(crate) struct Upload {
    pub(crate) account: u16,
    pub(crate) node: NodeKey,
    /// Which of the directories of the node in the ledger.
    pub(crate) directory: usize,
    pub(crate) name: String,
    pub(crate) files: u32,
    /// From when to when logs were asked for; the end where one was named.
    pub(crate) window: (OffsetDateTime, Option<OffsetDateTime>),
    pub(crate) roll: Roll,
    pub(crate) target: Arc<Target>,
}

/// One write of one file.
#[derive(Debug)]
pub(crate) struct Delivery {
    due: Duration,
    pub(crate) upload: Arc<Upload>,
    file: u32,
    step: Step,
}

/// What is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Whole,
    /// The first half, which the other half follows.
    Half,
    /// The whole, over the half that is there.
    Rest,
    /// A file of somebody else.
    Stranger,
}

impl PartialEq for Delivery {
    fn eq(&self, other: &Self) -> bool {
        self.due == other.due
    }
}

impl Eq for Delivery {}

impl PartialOrd for Delivery {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Delivery {
    fn cmp(&self, other: &Self) -> Ordering {
        self.due.cmp(&other.due)
    }
}

/// A file ready to be written: its name, and what is in it.
pub(crate) struct File {
    pub(crate) name: String,
    pub(crate) content: Content,
}

/// Deliveries that are still to come.
#[derive(Debug, Default)]
pub(crate) struct Deliveries {
    heap: Mutex<BinaryHeap<Reverse<Delivery>>>,
    changed: Notify,
}

impl Deliveries {
    /// Plans the files of `upload`; those that a fault holds back are not planned.
    pub(crate) fn plan(&self, world: &World, upload: Upload, now: Duration) {
        let account = &world.accounts[usize::from(upload.account)];
        let pool = &account.pools[usize::from(upload.node.pool)].scenario;
        let fault = account.scenario.arrival_faults.iter().enumerate().find(|(index, fault)| {
            let roll = upload.roll.text("arrival fault").number(*index as u64);
            fault.pool.as_ref().is_none_or(|id| *id == pool.id) && roll.happens(fault.share)
        });
        let fault: Option<&ArrivalFault> = fault.map(|(_, fault)| fault);
        let kind = fault.map(|fault| fault.kind);
        let delay = fault.map_or(Duration::ZERO, |fault| fault.delay.0);
        if kind == Some(ArrivalFaultKind::Never) {
            return;
        }
        let upload = Arc::new(upload);
        let files = upload.files - u32::from(kind == Some(ArrivalFaultKind::Short)).min(upload.files);
        let mut planned = Vec::with_capacity(files as usize);
        for file in 0..files {
            let wait = upload
                .roll
                .text("arrival")
                .number(u64::from(file))
                .between(micros(pool.arrival.min.0), micros(pool.arrival.max.0));
            let due = now + Duration::from_micros(wait);
            let mut plan =
                |due, step| planned.push(Delivery { due, upload: Arc::clone(&upload), file, step });
            match kind {
                Some(ArrivalFaultKind::Late) => plan(due + delay, Step::Whole),
                Some(ArrivalFaultKind::Rewrite) => {
                    plan(due, Step::Half);
                    plan(due + delay, Step::Rest);
                }
                Some(ArrivalFaultKind::Foreign) => {
                    plan(due, Step::Whole);
                    plan(due, Step::Stranger);
                }
                _ => plan(due, Step::Whole),
            }
        }
        let mut heap = self.heap.lock();
        let earliest = heap.peek().map(|Reverse(delivery)| delivery.due);
        let news = planned.iter().any(|delivery| earliest.is_none_or(|due| delivery.due < due));
        heap.extend(planned.into_iter().map(Reverse));
        drop(heap);
        if news {
            self.changed.notify_one();
        }
    }

    fn pop_due(&self, now: Duration) -> Result<Delivery, Option<Duration>> {
        let mut heap = self.heap.lock();
        match heap.peek() {
            Some(Reverse(next)) if next.due <= now => match heap.pop() {
                Some(Reverse(delivery)) => Ok(delivery),
                None => Err(None),
            },
            Some(Reverse(next)) => Err(Some(next.due.saturating_sub(now))),
            None => Err(None),
        }
    }
}

/// Makes the deliveries when they are due, for ever.
pub(crate) async fn deliver(world: Arc<World>, others: mpsc::UnboundedSender<(Delivery, File)>) {
    /// Deliveries in a row before other tasks get a turn.
    const BATCH: usize = 256;
    loop {
        let mut left = BATCH;
        let wait = loop {
            match world.deliveries.pop_due(world.clock.elapsed()) {
                Ok(delivery) => make(&world, delivery, &others),
                Err(wait) => break wait,
            }
            left -= 1;
            if left == 0 {
                tokio::task::yield_now().await;
                left = BATCH;
            }
        };
        let until_due = tokio::time::sleep(wait.unwrap_or(Duration::from_secs(3600)));
        tokio::select! {
            () = until_due => {}
            () = world.deliveries.changed.notified() => {}
        }
    }
}

fn make(world: &World, delivery: Delivery, others: &mpsc::UnboundedSender<(Delivery, File)>) {
    let upload = &delivery.upload;
    let account = &world.accounts[usize::from(upload.account)];
    let pool = &account.pools[usize::from(upload.node.pool)];
    let now = world.clock.elapsed();
    let node = pool.node(upload.node.place, now).filter(|_| pool.is_there(now));
    let machine_is_gone =
        node.is_none_or(|node| matches!(node.state, NodeState::Preempted | NodeState::Deallocated));
    if machine_is_gone {
        // What a node did not upload while it lived is lost with it.
        return;
    }
    let file = delivery.file(world);
    match &upload.target.place {
        Place::Here { container } => {
            // Without a socket: the files of a hundred thousand nodes would cost the machine more than the program
            // under test does. Authorization and storing are the very functions that the HTTP handler calls.
            let authority = upload.target.access.authority(node_address(upload.node.place).into());
            let put = put_here(world, authority, container, &file);
            delivery.finish(world, &file, put);
        }
        Place::Elsewhere { .. } => {
            // Fails only when the simulator stops, and then nobody waits for the file.
            let _: Result<(), _> = others.send((delivery, file));
        }
    }
}

fn put_here(world: &World, authority: Authority<'_>, container: &str, file: &File) -> bool {
    let content_type = Arc::clone(&world.log_type);
    world
        .store
        .put(authority, container, &file.name, file.content.clone(), content_type, Condition::None)
        .is_ok()
}

impl Delivery {
    fn file(&self, world: &World) -> File {
        let upload = &self.upload;
        let account = &world.accounts[usize::from(upload.account)];
        let pool = &account.pools[usize::from(upload.node.pool)].scenario;
        let roll = upload.roll.text("file").number(u64::from(self.file));
        let size = self.size(roll.text("size").between(pool.file_size.min.0, pool.file_size.max.0));
        let name = if self.step == Step::Stranger {
            // Some of them lie where a list of all uploads of the account meets them.
            let folder =
                if self.file.is_multiple_of(2) { "somebody-else" } else { account.directory.as_str() };
            format!("{folder}/reports/{:016x}.csv", roll.text("stranger").bits())
        } else {
            format!("{}/{}", upload.name, file_name(roll, self.file))
        };
        File { name, content: Content::Log(self.log(pool.content, roll.bits(), size, world)) }
    }

    /// No line is of a time that was not yet when the file was written.
    fn log(&self, content: FileContent, seed: u64, size: u64, world: &World) -> Log {
        let written = world.clock.date_at(world.clock.elapsed());
        let (from, to) = self.upload.window;
        let to = to.unwrap_or(written).min(written);
        match content {
            FileContent::Lines => Log::lines(seed, size, from, to),
            FileContent::Opaque => Log::opaque(seed, size),
            FileContent::Gap => {
                let span = to - from;
                if self.file.is_multiple_of(2) {
                    Log::lines(seed, size, from, from + span * 0.4)
                } else {
                    Log::lines(seed, size, from + span * 0.6, to)
                }
            }
        }
    }

    fn size(&self, whole: u64) -> u64 {
        if self.step == Step::Half { whole / 2 } else { whole }
    }

    /// Writes the delivery into the ledger. A stranger's file is no business of the node.
    pub(crate) fn finish(&self, world: &World, file: &File, put: bool) {
        if !put || self.step == Step::Stranger {
            return;
        }
        let size = file.content.len();
        world.accounts[usize::from(self.upload.account)].ledger.node(self.upload.node, |record| {
            let Some(directory) = record.directories.get_mut(self.upload.directory) else { return };
            if self.step == Step::Rest {
                directory.bytes += size - size / 2;
            } else {
                directory.files_written += 1;
                directory.bytes += size;
            }
        });
    }
}

/// Plausible, and of no meaning: nothing is documented about the real names. Some lie deeper than others.
fn file_name(roll: Roll, file: u32) -> String {
    const STEMS: [&str; 6] = ["agent", "heartbeat", "scheduler", "storage", "startup", "update"];
    let stem = STEMS[file as usize % STEMS.len()];
    let folder = if roll.text("folder").happens(0.125) { "archive/" } else { "" };
    format!("{folder}{stem}-{file:03}.{:08x}.log", roll.text("name").bits() >> 32)
}

pub(crate) fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}
