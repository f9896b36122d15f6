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
mod readme;
mod scrub;
mod survey;

use std::io;

pub use check::{CheckedBundle, check_bundle};
pub use contents::{Bundle, Bundled, Extra};
pub use logs::{LOGS_FILE, LogFile, LogsTaken};
pub use name::{blob_path, logs_dir};
pub use node_lines::{NodeDirectory, node_directories};
pub use notes::Notes;

/// Name of the list of checksums in a bundle.
const SUMS_FILE: &str = "SHA256SUMS";
/// Name of the page to read first.
const README_FILE: &str = "README.md";
/// Name of the list of what is missing.
const NOTES_FILE: &str = "NOTES.md";
/// Name of the manifest's own checksum.
const MANIFEST_SUM_FILE: &str = "manifest.json.sha256";

/// The bundle itself could not be written. Nothing is left of it.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// The disk is full, say.
    #[error("cannot write the bundle: {0}")]
    Write(#[source] io::Error),
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests;
