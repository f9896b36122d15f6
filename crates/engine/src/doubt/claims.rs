//! Which directories are known to be whose: those that were in the container before the first call, and those of calls
//! that were accepted or adopted. None of them is that of another call in doubt.

use std::collections::{BTreeMap, HashSet};

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
/// million; in a tree, because a hash table has room for twice as many when it has just grown.
#[derive(Debug, Default)]
pub(crate) struct Claims(Mutex<BTreeMap<u64, NodeIndex>>);

impl Claims {
    /// Those that are known from earlier processes.
    pub(crate) fn of(directories: &[(NodeIndex, Box<str>)]) -> Self {
        let claims = Self::default();
        for (node, directory) in directories {
            claims.claim(directory, *node);
        }
        claims
    }

    /// A node was given this directory.
    pub(crate) fn claim(&self, directory: &str, node: NodeIndex) {
        self.0.lock().entry(directory_key(directory)).or_insert(node);
    }

    /// The same for a directory that names the node. Returns whether no other node that it names was given it before.
    pub(crate) fn claim_own(
        &self,
        directory: &str,
        node: NodeIndex,
        names: impl Fn(NodeIndex) -> bool,
    ) -> bool {
        let mut claims = self.0.lock();
        let owner = claims.entry(directory_key(directory)).or_insert(node);
        if *owner != node && !names(*owner) {
            *owner = node;
        }
        *owner == node
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_belongs_to_the_first_node_that_it_names() {
        let claims = Claims::default();
        let (one, two, foreign) = (NodeIndex(1), NodeIndex(2), NodeIndex(3));
        let names = |node| node != foreign;
        claims.claim("a/p/n/id", foreign);
        assert!(
            claims.claim_own("a/p/n/id", one, names),
            "the other was given a directory that is not its own"
        );
        assert!(claims.claim_own("A/p/n/id/", one, names));
        assert!(!claims.claim_own("a/p/n/id", two, names));
        assert_eq!(claims.owner("a/p/n/id"), Some(one));
    }
}
