//! What a later look at the container found: file by file, and for each node.

use serde::Serialize;
use time::OffsetDateTime;

use crate::interval::Interval;

/// What became of a file since a look first saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FileStatus {
    /// There, as it was.
    Present,
    /// Not there at the first look.
    New,
    /// No longer there; the rest of its line is what was last seen of it.
    Missing,
    /// Smaller than it was.
    Truncated,
    /// Written anew.
    Changed,
}

impl FileStatus {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Present, Self::New, Self::Missing, Self::Truncated, Self::Changed];

    /// As files spell it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Present => "present",
            Self::New => "new",
            Self::Missing => "missing",
            Self::Truncated => "truncated",
            Self::Changed => "changed",
        }
    }
}

/// A file, as a line of the inventory has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InventoryFile {
    /// Its name below its directory, verbatim.
    pub file: Box<str>,
    /// Its size.
    pub bytes: u64,
    /// When it was last written, if storage said.
    pub last_modified: Option<OffsetDateTime>,
    /// What storage tells its versions apart by, without quotes.
    pub etag: Option<Box<str>>,
    /// MD5 of its content in Base64, where storage has one.
    pub content_md5: Option<Box<str>>,
    /// From its first line's time to its last one's, where somebody looked and there are any.
    pub lines: Option<Interval>,
    /// What became of it.
    pub status: FileStatus,
}

/// Whether the files of a node are as the run verified them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// As they were.
    Intact,
    /// More of them, or longer.
    Grown,
    /// As many, but not the same.
    Changed,
    /// Shorter.
    Truncated,
    /// Fewer of them.
    Missing,
    /// The run verified none of this node.
    NotCollected,
}

impl Standing {
    /// All of them, the worst first.
    pub const ALL: [Self; 6] =
        [Self::Missing, Self::Truncated, Self::Changed, Self::Grown, Self::NotCollected, Self::Intact];

    /// As files spell it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Intact => "intact",
            Self::Grown => "grown",
            Self::Changed => "changed",
            Self::Truncated => "truncated",
            Self::Missing => "missing",
            Self::NotCollected => "not-collected",
        }
    }
}

/// What a later look says of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeLook {
    /// Whether its files are as they were.
    pub standing: Standing,
    /// How many files are there now.
    pub files_now: u32,
    /// Their bytes.
    pub bytes_now: u64,
    /// How many files fewer there are than were verified, or that an earlier look saw.
    pub files_missing: u32,
    /// Its files, also those that are no longer there.
    pub files: Vec<InventoryFile>,
}

/// How much of its window the lines of a node cover.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Covers {
    /// All of it, but for stretches within the tolerance.
    Full,
    /// A part of it.
    Partial,
    /// Nothing of it.
    None,
    /// No file tells.
    Unknown,
}

impl Covers {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Full, Self::Partial, Self::None, Self::Unknown];

    /// As files spell it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Partial => "partial",
            Self::None => "none",
            Self::Unknown => "unknown",
        }
    }
}

/// Why it is not known which time a file covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum NoTimes {
    /// It has no bytes.
    Empty,
    /// It begins like a compressed file.
    Compressed,
    /// It is no text.
    Binary,
    /// No line of what was read begins with a time of a known form.
    NoneRecognised,
    /// Its lines are later than its own last change: its clock or its time zone is another one.
    AheadOfItsWriting,
    /// It could not be read.
    Unreadable,
    /// The node has more files than are read of one node.
    NotRead,
}

/// Which part of its window the files of a node cover.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeCoverage {
    /// How much.
    pub covers: Covers,
    /// The window.
    pub window: Interval,
    /// What the lines of its files cover together, also outside of the window.
    pub covered: Vec<Interval>,
    /// What of the window they leave open; empty where nothing is known.
    pub holes: Vec<Interval>,
    /// From the first file's creation to the last one's last change.
    pub written: Option<Interval>,
    /// How many files there are.
    pub files: u32,
    /// Of how many it is not known which time they cover, by reason.
    pub unknown: std::collections::BTreeMap<NoTimes, u32>,
    /// Range reads made.
    pub reads: u64,
}
