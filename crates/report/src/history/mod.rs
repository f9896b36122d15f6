//! `fleetlogs history`: over a series of runs, which minutes of which node are covered by verified files, and which not.
//!
//! The sum rests on the manifests of the runs, and on what was kept of those that were removed; not on what the
//! scheduler remembers. A node owes its logs from its allocation (or the beginning of the series) to the last run that
//! saw it. Memory grows with the nodes of the series, and not with its runs.

mod check;
mod manifest;
mod node;
mod runs;
mod series;
mod terminal;

pub use self::manifest::{HistoryError, RunHead, read_head};
pub use self::runs::History;
pub use self::series::{Series, Verdict};
