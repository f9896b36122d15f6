//! `fleetlogs history`: which time ranges of each node the verified files of a series cover, and every gap.
//!
//! The result is computed from the manifests of the runs and from the record of removed runs, not from the state of the
//! scheduler. A node owes logs from its allocation (or the beginning of the series) to the last run that saw it. Memory
//! grows with the nodes of the series, not with its runs.

mod check;
mod manifest;
mod node;
mod runs;
mod series;
mod summary;
mod terminal;

pub use self::manifest::{HistoryError, RunHead, read_head};
pub use self::runs::History;
pub use self::series::{Series, Verdict};
pub use self::summary::{RunSummary, read_summary};
