//! The escalation bundle: one zip file that answers the questions of a support engineer who has nothing else.
//!
//! It is a list of steps. One that fails is noted inside, and the rest goes on. It is made of the files of a run
//! directory, and of what journal and plan say; nothing is asked of the network. [`check`](check_bundle) reads one
//! again, and says what is wrong with it.

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
pub use self::logs::{DownloadedLogs, LogFile};
pub use self::name::{blob_path, logs_dir};
pub use self::node_lines::{NodeDirectory, node_directories};
pub use self::notes::Notes;

#[cfg(test)]
mod tests;
