//! What the output can show (width, colours, links), and text laid out for it: measured in columns, wrapped at words.
//!
//! Text is laid out first and coloured afterwards, so escape codes never count as columns.

use std::borrow::Cow;
use std::env;
use std::path::Path;

use console::Term;
use textwrap::{WordSplitter, wrap};
use url::Url;

use crate::width::{columns, cut};

/// Narrower terminals are treated as if they had this width; they are unreadable anyway.
const NARROWEST: usize = 30;

/// What can be shown, and how wide.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// Columns of a line. None if lines may have any length: a pipe, a file, a job log.
    pub width: Option<usize>,
    /// Lines that are visible at once; none if the output is not a terminal.
    pub height: Option<usize>,
    /// Whether colours are shown.
    pub styled: bool,
    /// Whether text may be a link (OSC 8).
    pub links: bool,
}

impl Look {
    /// What stdout can show now.
    #[must_use]
    pub fn of_stdout() -> Self {
        Self::of(&Term::stdout(), supports_hyperlinks::Stream::Stdout)
    }

    /// What stderr can show now.
    #[must_use]
    pub fn of_stderr() -> Self {
        Self::of(&Term::stderr(), supports_hyperlinks::Stream::Stderr)
    }

    fn of(term: &Term, stream: supports_hyperlinks::Stream) -> Self {
        if !term.is_term() {
            return Self::default();
        }
        let (height, width) = term.size_checked().unwrap_or((24, 80));
        let set = |name: &str| env::var_os(name).is_some_and(|value| !value.is_empty());
        let styled = !set("NO_COLOR") && !is_dumb();
        Self {
            // The last column stays free: some terminals wrap as soon as it is written to.
            width: Some(usize::from(width).saturating_sub(1).max(NARROWEST)),
            height: Some(height.into()),
            styled,
            links: styled && supports_hyperlinks::on(stream),
        }
    }

    /// The text in a style.
    pub(crate) fn paint(&self, style: Style, text: &str) -> String {
        match style {
            Style::None => text.to_owned(),
            style if self.styled && !text.is_empty() => format!("\u{1b}[{}m{text}\u{1b}[0m", style.code()),
            _ => text.to_owned(),
        }
    }

    /// The text as a link to a file, if links are supported.
    pub(crate) fn link(&self, file: &Path, text: &str) -> String {
        let url = std::path::absolute(file).ok().and_then(|file| Url::from_file_path(file).ok());
        match url.filter(|_| self.links) {
            Some(url) => format!("\u{1b}]8;;{url}\u{1b}\\{text}\u{1b}]8;;\u{1b}\\"),
            None => text.to_owned(),
        }
    }

    /// The text wrapped at words: the first line begins `indent` columns in, the others `hang`. A word that is wider
    /// than a line is broken.
    pub(crate) fn wrapped(&self, indent: usize, hang: usize, text: &str) -> Vec<String> {
        let (indent, hang) = (" ".repeat(indent), " ".repeat(hang));
        let Some(width) = self.width else { return vec![format!("{indent}{text}")] };
        let options = textwrap::Options::new(width)
            .initial_indent(&indent)
            .subsequent_indent(&hang)
            // Ids and options contain hyphens and must not be split there.
            .word_splitter(WordSplitter::NoHyphenation);
        wrap(text, options).into_iter().map(Cow::into_owned).collect()
    }

    /// A command that can be copied: a long one continues after a backslash, as in a shell. Paths are never split.
    pub(crate) fn command(&self, indent: usize, command: &str) -> Vec<String> {
        // Room for the backslash.
        let room = self.width.unwrap_or(usize::MAX).saturating_sub(indent + 2);
        let mut lines: Vec<String> = vec![];
        for word in command.split(' ') {
            match lines.last_mut() {
                Some(line) if columns(line) + 1 + columns(word) <= room => {
                    line.push(' ');
                    line.push_str(word);
                }
                Some(line) => {
                    line.push_str(" \\");
                    lines.push(format!("  {word}"));
                }
                None => lines.push(word.to_owned()),
            }
        }
        lines.into_iter().map(|line| format!("{:indent$}{line}", "")).collect()
    }

    /// `lead: part, part`, on as many lines as needed. Each begins `indent` columns in, and no part is split.
    pub(crate) fn flow(&self, indent: usize, lead: &str, parts: &[StyledPart]) -> Vec<String> {
        let width = self.width.unwrap_or(usize::MAX);
        // One column stays free for the comma.
        let room = width.saturating_sub(indent + 1);
        let mut lines = vec![];
        let (mut line, mut taken) = (lead.to_owned(), columns(lead));
        let mut glue = if lead.is_empty() { "" } else { ": " };
        for part in parts {
            let text = cut(&part.text, room);
            if taken > 0 && taken + glue.len() + columns(&text) > room {
                lines.push(line + glue.trim_end());
                (line, taken, glue) = (String::new(), 0, "");
            }
            taken += glue.len() + columns(&text);
            line = line + glue + &self.paint(part.style, &text);
            glue = ", ";
        }
        lines.extend((taken > 0).then_some(line));
        lines.into_iter().map(|line| format!("{:indent$}{line}", "")).collect()
    }
}

/// Whether the terminal can neither colour nor move the cursor.
#[must_use]
pub fn is_dumb() -> bool {
    env::var_os("TERM").is_some_and(|term| term == "dumb")
}

/// The styles. They only repeat what the words say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    None,
    Bold,
    Dim,
    Good,
    Warning,
    Bad,
    Blue,
    Violet,
    Active,
    GoodVerdict,
    WarningVerdict,
    BadVerdict,
}

impl Style {
    fn code(self) -> &'static str {
        match self {
            Self::None => "0",
            Self::Bold => "1",
            Self::Dim => "2",
            Self::Good => "32",
            Self::Warning => "33",
            Self::Bad => "31",
            // The bright one: the other is hard to read on black.
            Self::Blue => "94",
            Self::Violet => "35",
            Self::Active => "36",
            Self::GoodVerdict => "1;32",
            Self::WarningVerdict => "1;33",
            Self::BadVerdict => "1;31",
        }
    }
}

/// A part of a line, with its style.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StyledPart {
    pub(crate) text: String,
    pub(crate) style: Style,
}

impl StyledPart {
    pub(crate) fn new(style: Style, text: impl Into<String>) -> Self {
        Self { text: text.into(), style }
    }
}

/// Columns of parts that stand on one line.
pub(crate) fn columns_of(parts: &[StyledPart]) -> usize {
    parts.iter().map(|part| columns(&part.text) + 2).sum::<usize>().saturating_sub(2)
}
