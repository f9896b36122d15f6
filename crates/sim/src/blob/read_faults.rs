//! Faults in reading blobs.

use std::collections::HashMap;

use parking_lot::Mutex;

use crate::scenario::ReadFault;

/// The read faults of the scenario, and how often each blob was read.
pub(super) struct ReadFaults {
    faults: Vec<ReadFault>,
    reads: Mutex<HashMap<(String, String), u32>>,
}

impl ReadFaults {
    pub(super) fn new(faults: Vec<ReadFault>) -> Self {
        Self { faults, reads: Mutex::default() }
    }

    /// Counts a read and returns the fault that applies to it, if any.
    pub(super) fn strike(&self, container: &str, name: &str) -> Option<ReadFault> {
        // Fleets are large, and most scenarios have no such fault: do not count then.
        if self.faults.is_empty() {
            return None;
        }
        let mut reads = self.reads.lock();
        let read = reads.entry((container.to_owned(), name.to_owned())).or_default();
        *read += 1;
        let strikes = |fault: &&ReadFault| *read <= fault.first && name.ends_with(&fault.suffix);
        self.faults.iter().find(strikes).cloned()
    }
}
