//! Deliveries that are still to be made, ordered by time.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use time::OffsetDateTime;
use tokio::sync::Notify;

use super::target::UploadTarget;
use crate::clock::micros;
use crate::ledger::NodeKey;
use crate::roll::Roll;
use crate::scenario::{ArrivalFault, ArrivalFaultKind, PoolScenario};

/// An accepted upload, as far as its files are concerned.
#[derive(Debug)]
pub(crate) struct Upload {
    pub(crate) account: u16,
    pub(crate) node: NodeKey,
    /// Index of the directory among the node's directories in the ledger.
    pub(crate) directory: usize,
    pub(crate) name: String,
    pub(crate) files: u32,
    /// Start of the requested window, and its end if the call named one.
    pub(crate) window: (OffsetDateTime, Option<OffsetDateTime>),
    pub(crate) roll: Roll,
    pub(crate) target: Arc<UploadTarget>,
}

/// One write of one file.
#[derive(Debug)]
pub(crate) struct Delivery {
    due: Duration,
    pub(super) upload: Arc<Upload>,
    pub(super) file: u32,
    pub(super) step: DeliveryStep,
}

/// What is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DeliveryStep {
    Whole,
    /// The first half; the other half follows later.
    Half,
    /// The whole file, over the half that is there.
    Rest,
    /// A file of another writer.
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

/// Deliveries that are still to be made.
#[derive(Debug, Default)]
pub(crate) struct Deliveries {
    heap: Mutex<BinaryHeap<Reverse<Delivery>>>,
    pub(super) changed: Notify,
}

impl Deliveries {
    /// Plans the files of `upload`, which comes from `pool`; files that a fault holds back are not planned.
    pub(crate) fn plan(&self, faults: &[ArrivalFault], pool: &PoolScenario, upload: Upload, now: Duration) {
        let fault = faults.iter().enumerate().find(|(index, fault)| {
            let roll = upload.roll.text("arrival fault").number(*index as u64);
            fault.pool.as_ref().is_none_or(|id| *id == pool.id)
                && fault.nodes.is_none_or(|nodes| nodes.contains(upload.node.place))
                && roll.happens(fault.share)
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
                Some(ArrivalFaultKind::Late) => plan(due + delay, DeliveryStep::Whole),
                Some(ArrivalFaultKind::Rewrite) => {
                    plan(due, DeliveryStep::Half);
                    plan(due + delay, DeliveryStep::Rest);
                }
                Some(ArrivalFaultKind::Foreign) => {
                    plan(due, DeliveryStep::Whole);
                    plan(due, DeliveryStep::Stranger);
                }
                _ => plan(due, DeliveryStep::Whole),
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

    pub(super) fn pop_due(&self, now: Duration) -> Result<Delivery, Option<Duration>> {
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
