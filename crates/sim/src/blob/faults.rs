//! Faults of requests to storage, other than those in reading a blob's content.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::scenario::{StorageFault, StorageOperation};

/// The faults of the scenario, and how many requests each of them might have applied to.
pub(super) struct StorageFaults(Vec<(StorageFault, AtomicU64)>);

impl StorageFaults {
    pub(super) fn new(faults: Vec<StorageFault>) -> Self {
        Self(faults.into_iter().map(|fault| (fault, AtomicU64::new(0))).collect())
    }

    /// Counts a request for `name`, and returns the fault that applies to it, if any.
    pub(super) fn strike(
        &self,
        operation: StorageOperation,
        name: &str,
        now: Duration,
    ) -> Option<StorageFault> {
        let strikes = |(fault, met): &&(StorageFault, AtomicU64)| {
            if fault.on != operation
                || !name.contains(&fault.name)
                || fault.from.is_some_and(|from| now < from.0)
                || fault.until.is_some_and(|until| now >= until.0)
            {
                return false;
            }
            let met = met.fetch_add(1, Relaxed);
            let skip = u64::from(fault.skip);
            met >= skip && fault.first.is_none_or(|first| met < skip + u64::from(first))
        };
        self.0.iter().find(strikes).map(|(fault, _)| fault.clone())
    }
}
