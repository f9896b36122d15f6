//! The summary of a run: `summary.md` for a ticket, and the last lines on the terminal. Both say
//! the same: the verdict first, then what is missing and why, then where the files are and what to do next.

mod content;
mod markdown;
mod terminal;

pub use self::content::{Summary, verdict_sentence};
pub(crate) use self::content::{counts_line, nothing_missing, verdict};
pub use self::terminal::verdict_lines;
