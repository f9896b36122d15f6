//! Where the details of a plan's nodes are kept while it is in memory: a million nodes have a gigabyte of them.

use fleetlogs_model::planned::Spool;
use tempfile::SpooledTempFile;

/// Text longer than this is moved to a temporary file.
const IN_MEMORY: usize = 2 << 20;

/// An empty spool: memory first, a temporary file as soon as it grows.
#[must_use]
pub fn node_spool() -> Box<dyn Spool> {
    Box::new(SpooledTempFile::new(IN_MEMORY))
}
