//! What went wrong while a bundle was made. The notes are in the bundle, and the command prints them.

use std::fmt::Write as _;

use crate::text::{counted, for_markdown};

/// Notes that are kept; further ones are only counted.
const MOST: usize = 200;

/// What is missing in a bundle, or different from what it should be, and why.
#[derive(Clone, Debug, Default)]
pub struct Notes {
    lines: Vec<String>,
    more: u64,
}

impl Notes {
    /// Adds a note: a sentence without its full stop. Names in it may be untrusted.
    pub fn add(&mut self, note: impl Into<String>) {
        if self.lines.len() < MOST {
            self.lines.push(note.into());
        } else {
            self.more += 1;
        }
    }

    /// Whether nothing went wrong.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Every note that is kept, then how many more there are.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        let more = (self.more > 0).then(|| format!("and {}", counted(self.more, "more note")));
        self.lines.iter().cloned().chain(more)
    }

    /// The text of `NOTES.md`.
    pub(super) fn markdown(&self) -> String {
        let mut text =
            String::from("# Notes\n\nThis bundle is incomplete. What is missing or different, and why:\n\n");
        self.list(&mut text, MOST);
        text
    }

    /// The first few of them, as a list.
    pub(super) fn list(&self, out: &mut String, most: usize) {
        for line in self.lines.iter().take(most) {
            let _ = writeln!(out, "- {}", for_markdown(line));
        }
        let hidden = self.more + self.lines.len().saturating_sub(most) as u64;
        if hidden > 0 {
            let _ = writeln!(out, "- and {}", counted(hidden, "more note"));
        }
    }
}
