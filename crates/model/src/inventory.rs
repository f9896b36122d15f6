//! What a later look at the container found, for each file and each node.

use serde::Serialize;
use time::OffsetDateTime;

use crate::interval::Interval;

/// What happened to a file since a look first saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FileStatus {
    /// There and unchanged.
    Present,
    /// Not there at the first look.
    New,
    /// Missing now; the rest of its line is what was last known about it.
    Missing,
    /// Smaller than before.
    Truncated,
    /// Overwritten.
    Changed,
}

impl FileStatus {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Present, Self::New, Self::Missing, Self::Truncated, Self::Changed];

    /// The spelling in files.
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

/// A file, as a line of the inventory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InventoryFile {
    /// Its name within its directory, verbatim.
    pub file: Box<str>,
    /// Its size.
    pub bytes: u64,
    /// When it was last written, if storage reported it.
    pub last_modified: Option<OffsetDateTime>,
    /// Its version in storage (`ETag`), without quotes.
    pub etag: Option<Box<str>>,
    /// MD5 of its content in Base64, if storage has one.
    pub content_md5: Option<Box<str>>,
    /// From the time of its first line to the time of its last line, if they were read and have times.
    pub lines: Option<Interval>,
    /// What happened to it.
    pub status: FileStatus,
}

/// Whether the files of a node are still as the run verified them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// Unchanged.
    Intact,
    /// More files, or longer ones.
    Grown,
    /// The same number, but not the same files.
    Changed,
    /// Shorter files.
    Truncated,
    /// Fewer files.
    Missing,
    /// The run verified no files of this node.
    NotCollected,
}

impl Standing {
    /// All of them, the worst first.
    pub const ALL: [Self; 6] =
        [Self::Missing, Self::Truncated, Self::Changed, Self::Grown, Self::NotCollected, Self::Intact];

    /// The spelling in files.
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

/// The result of a later look at a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeLook {
    /// Whether its files are unchanged.
    pub standing: Standing,
    /// Number of files now.
    pub files_now: u32,
    /// Their total size in bytes.
    pub bytes_now: u64,
    /// How many files are missing, compared with the verified ones or with those that an earlier look saw.
    pub files_missing: u32,
    /// Its files, including missing ones.
    pub files: Vec<InventoryFile>,
}

/// How much of its window the lines of a node cover.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Covers {
    /// All of it, except gaps within the tolerance.
    Full,
    /// A part of it.
    Partial,
    /// Nothing of it.
    None,
    /// Unknown: no file has usable times.
    Unknown,
}

impl Covers {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Full, Self::Partial, Self::None, Self::Unknown];

    /// The spelling in files.
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

/// Why the time range of a file is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum NoTimes {
    /// The file is empty.
    Empty,
    /// It begins like a compressed file.
    Compressed,
    /// It is not text.
    Binary,
    /// None of the lines that were read begins with a time in a known format.
    NoneRecognised,
    /// Its lines are later than its last change: they come from another clock or time zone.
    AheadOfItsWriting,
    /// It could not be read.
    Unreadable,
    /// The node has more files than are read for one node.
    NotRead,
}

/// The part of its window that the files of a node cover.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeCoverage {
    /// How much.
    pub covers: Covers,
    /// The window.
    pub window: Interval,
    /// What the lines of its files cover together, including times outside the window.
    pub covered: Vec<Interval>,
    /// The gaps in the window; empty if nothing is known.
    pub holes: Vec<Interval>,
    /// From the creation of the first file to the last change of the last one.
    pub written: Option<Interval>,
    /// Number of files.
    pub files: u32,
    /// Number of files whose time range is unknown, by reason.
    pub unknown: std::collections::BTreeMap<NoTimes, u32>,
    /// Number of range reads.
    pub reads: u64,
}
