//! Which directories are known to be whose: those that were in the container before the first call, and those of calls
//! that were accepted or adopted. None of them is that of another call in doubt.

use std::collections::{HashMap, HashSet};

use fleetlogs_model::ids::NodeIndex;
use parking_lot::Mutex;

/// A directory in eight bytes, in whatever spelling: the service may answer with another than blobs have.
pub(crate) fn directory_key(directory: &str) -> u64 {
    // FNV-1a.
    directory.trim_end_matches('/').bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        let byte = if byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The directories of accepted and adopted calls, by the node that had each of them first. Hashes, because there may be a
/// million.
#[derive(Debug, Default)]
pub(crate) struct Claims(Mutex<HashMap<u64, NodeIndex>>);

impl Claims {
    /// A node was given this directory. Returns whether no other node was given it before.
    pub(crate) fn claim(&self, directory: &str, node: NodeIndex) -> bool {
        *self.0.lock().entry(directory_key(directory)).or_insert(node) == node
    }

    pub(crate) fn owner(&self, directory: &str) -> Option<NodeIndex> {
        self.0.lock().get(&directory_key(directory)).copied()
    }
}

/// Directories that a listing of the container showed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shown {
    pub(crate) directories: HashSet<u64>,
    /// Whether it showed all.
    pub(crate) is_whole: bool,
}

impl Shown {
    pub(crate) fn has(&self, directory: &str) -> bool {
        self.directories.contains(&directory_key(directory))
    }
}
