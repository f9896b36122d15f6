//! The summary of a run: `summary.md` for a ticket, and the last lines on the terminal. Both say
//! the same: the verdict first, then what is missing and why, then where the files are and what to do next.

mod content;
mod markdown;
mod terminal;

pub(crate) use self::content::{NOTHING_TO_DO, counts_line, verdict};
pub use self::content::{Summary, verdict_sentence};
pub(crate) use self::markdown::markdown_step;
pub use self::terminal::{Examples, verdict_lines};
