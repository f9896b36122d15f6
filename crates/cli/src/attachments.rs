//! Files that are attached to a support ticket: the small files of the run, and those that the user names. A file that
//! is too large for support is left out, with a note.

use std::fmt::Write as _;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use fleetlogs_azure::LONGEST_FILE;
use fleetlogs_model::count::counted;
use fleetlogs_report::{MANIFEST_FILE, NODES_FILE, SUMMARY_FILE};
use serde::Serialize;
use serde::ser::{SerializeSeq, Serializer};

use crate::error::{CliError, Refusal};
use crate::input_file::read_file;

/// The files of a ticket, in the order they are sent.
#[derive(Debug)]
pub(crate) struct Attachments(Vec<Attachment>);

#[derive(Debug)]
struct Attachment {
    name: String,
    size: u64,
    content: Result<Vec<u8>, &'static str>,
}

const TOO_LARGE: &str = "left out: support accepts 5 MB per file";
const ABSENT: &str = "left out: it does not exist; `fleetlogs report` writes it";
const EMPTY: &str = "left out: it is empty";

impl Attachments {
    /// Reads the files at once, so that exactly what is shown is sent.
    pub(crate) fn read(run: &Path, more: &[PathBuf]) -> Result<Self, CliError> {
        let mut files: Vec<Attachment> = vec![];
        for name in [SUMMARY_FILE, MANIFEST_FILE, NODES_FILE] {
            files.push(match read(&run.join(name), name) {
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    Attachment { name: name.to_owned(), size: 0, content: Err(ABSENT) }
                }
                file => file.map_err(|error| CliError::file(run.join(name), &error))?,
            });
        }
        for path in more {
            let name = path.file_name().and_then(|name| name.to_str()).filter(|name| name.len() <= 110);
            let Some(name) = name.filter(|name| files.iter().all(|file| file.name != *name)) else {
                let what = format!("`{}` cannot be attached under this name", path.display());
                let help =
                    "rename it: the name must be at most 110 bytes, and unique among the attached files";
                return Err(CliError::usage(Refusal::new(what, help)));
            };
            files.push(read(path, name).map_err(|error| CliError::file(path, &error))?);
        }
        Ok(Self(files))
    }

    /// Whether any file is attached.
    pub(crate) fn is_some(&self) -> bool {
        self.contents().next().is_some()
    }

    /// Names and contents of the attached files.
    pub(crate) fn contents(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.0.iter().filter_map(|file| Some((file.name.as_str(), file.content.as_deref().ok()?)))
    }

    /// `summary.md, nodes.csv`, or `none`.
    pub(crate) fn summed_up(&self) -> String {
        let names: Vec<_> = self.contents().map(|(name, _)| name).collect();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    }

    /// The list of files for the description of the ticket.
    pub(crate) fn described(&self) -> String {
        let mut text = "## Attached\n\n".to_owned();
        for Attachment { name, size, content } in &self.0 {
            let note = content.as_ref().err().copied().unwrap_or("attached");
            let _ = writeln!(text, "- {name}, {}: {note}", counted(*size, "byte"));
        }
        text
    }
}

fn read(path: &Path, name: &str) -> io::Result<Attachment> {
    let size = std::fs::metadata(path)?.len();
    let content = if size > LONGEST_FILE as u64 {
        Err(TOO_LARGE)
    } else {
        let content = read_file(path)?.to_vec();
        if content.is_empty() { Err(EMPTY) } else { Ok(content) }
    };
    Ok(Attachment { name: name.to_owned(), size, content })
}

impl Serialize for Attachments {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Shown<'a> {
            name: &'a str,
            bytes: u64,
            #[serde(skip_serializing_if = "Option::is_none")]
            note: Option<&'static str>,
        }
        let mut list = serializer.serialize_seq(Some(self.0.len()))?;
        for Attachment { name, size, content } in &self.0 {
            list.serialize_element(&Shown { name, bytes: *size, note: content.as_ref().err().copied() })?;
        }
        list.end()
    }
}
