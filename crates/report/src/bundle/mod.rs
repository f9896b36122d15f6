//! The escalation bundle: one zip file that answers the questions of a support engineer who has nothing else.
//!
//! It is written in steps. If a step fails, that is noted in the bundle and the other steps continue. It is made from
//! the files of a run directory, the journal and the plan, without the network. [`check_bundle`] checks a finished
//! bundle.

mod archive;
mod check;
mod contents;
mod logs;
mod name;
mod node_lines;
mod notes;
mod own_files;
mod readme;
mod scrub;
mod steps;
mod survey;

pub use self::archive::BundleError;
pub use self::check::{CheckedBundle, check_bundle};
pub use self::contents::{Bundle, ExtraFile, FinishedBundle};
pub use self::logs::{DownloadedLogs, LogFile, log_files};
pub use self::name::{DistinctPaths, blob_path, logs_dir};
pub use self::node_lines::{NodeDirectory, node_directories};
pub use self::notes::Notes;

#[cfg(test)]
mod tests;
