//! Reads the nodes of a `manifest.json` one at a time. Each is on a line of its own, because
//! [`JsonDocument`](crate::json_document::JsonDocument) writes it that way.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use fleetlogs_model::ids::{AccountName, NodeId, PoolId};
use fleetlogs_model::outcome::Outcome;
use serde::Deserialize;

use crate::files::MANIFEST_FILE;
use crate::manifest::MANIFEST_VERSION;

/// A node as the manifest has it, as far as a bundle needs it.
#[derive(Deserialize)]
pub(super) struct NodeRow<'a> {
    #[serde(borrow)]
    pub(super) account: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) pool: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) node: Cow<'a, str>,
    pub(super) outcome: Outcome,
    #[serde(borrow)]
    pub(super) virtual_directory: Option<Cow<'a, str>>,
    pub(super) files_arrived: Option<u64>,
    pub(super) bytes: Option<u64>,
    #[serde(borrow)]
    pub(super) attempts: Vec<AttemptLine<'a>>,
}

/// A call as the manifest has it.
#[derive(Deserialize)]
pub(super) struct AttemptLine<'a> {
    #[serde(borrow)]
    pub(super) sent_at: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) client_request_id: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) request_id: Option<Cow<'a, str>>,
    pub(super) status: Option<u16>,
    #[serde(borrow)]
    pub(super) code: Option<Cow<'a, str>>,
    /// Present if the call failed.
    #[serde(borrow)]
    pub(super) message: Option<Cow<'a, str>>,
}

/// Where a node is in the file, without the comma and the line end.
#[derive(Clone, Copy)]
pub(super) struct LineSpan {
    pub(super) at: u64,
    pub(super) length: u32,
}

/// A manifest, read up to its nodes.
pub(super) struct NodeLines {
    file: BufReader<File>,
    line: Vec<u8>,
    at: u64,
    ended: bool,
}

impl NodeLines {
    pub(super) fn open(manifest: &Path) -> io::Result<Self> {
        let file = BufReader::with_capacity(64 * 1024, File::open(manifest)?);
        let mut lines = Self { file, line: vec![], at: 0, ended: false };
        while lines.next_line()? {
            match lines.text() {
                b"\"nodes\": [" => return Ok(lines),
                b"\"nodes\": []" | b"\"nodes\": []," => {
                    lines.ended = true;
                    return Ok(lines);
                }
                text => refuse_other_version(text)?,
            }
        }
        Err(unusual())
    }

    /// The next node: its place and its text.
    pub(super) fn next(&mut self) -> io::Result<Option<(LineSpan, &[u8])>> {
        if self.ended {
            return Ok(None);
        }
        let at = self.at;
        if !self.next_line()? {
            return Err(unusual());
        }
        if self.text().starts_with(b"]") {
            self.ended = true;
            return Ok(None);
        }
        let text = self.text().strip_suffix(b",").unwrap_or(self.text());
        let length = u32::try_from(text.len()).map_err(|_| unusual())?;
        Ok(Some((LineSpan { at, length }, text)))
    }

    /// The next node, read.
    pub(super) fn next_row(&mut self) -> io::Result<Option<(LineSpan, NodeRow<'_>)>> {
        match self.next()? {
            Some((place, text)) => Ok(Some((place, serde_json::from_slice(text).map_err(|_| unusual())?))),
            None => Ok(None),
        }
    }

    /// Reads a line; false at the end of the file.
    fn next_line(&mut self) -> io::Result<bool> {
        self.line.clear();
        let read = self.file.read_until(b'\n', &mut self.line)?;
        self.at += read as u64;
        Ok(read > 0)
    }

    /// The line without its end.
    fn text(&self) -> &[u8] {
        self.line.strip_suffix(b"\n").unwrap_or(&self.line)
    }
}

/// Refuses a manifest of another version, by the line that names its schema.
fn refuse_other_version(line: &[u8]) -> io::Result<()> {
    let Some(schema) = line.strip_prefix(b"\"schema\": ") else { return Ok(()) };
    let schema: String =
        serde_json::from_slice(schema.strip_suffix(b",").unwrap_or(schema)).map_err(|_| unusual())?;
    if schema == MANIFEST_VERSION {
        return Ok(());
    }
    let what = format!(
        "it has the schema `{schema}`, but this fleetlogs reads `{MANIFEST_VERSION}`; `fleetlogs report RUN` writes it \
         again"
    );
    Err(io::Error::new(io::ErrorKind::InvalidData, what))
}

fn unusual() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "it is not in the form that fleetlogs writes; `fleetlogs report RUN` writes it again",
    )
}

/// A node with a directory in the container.
#[derive(Clone, Debug)]
pub struct NodeDirectory {
    /// Its Batch account.
    pub account: AccountName,
    /// Its pool.
    pub pool: PoolId,
    /// The node.
    pub node: NodeId,
    /// `virtualDirectoryName`, verbatim.
    pub directory: String,
    /// Files that the run found there, and their bytes; none if it did not check.
    pub seen: Option<(u64, u64)>,
    /// Whether it is a second directory of the node.
    pub is_duplicate: bool,
}

/// Every node of a run directory's manifest that has a directory in the container, in plan order.
pub fn node_directories(run_dir: &Path) -> io::Result<impl Iterator<Item = io::Result<NodeDirectory>>> {
    let mut lines = NodeLines::open(&run_dir.join(MANIFEST_FILE))?;
    Ok(std::iter::from_fn(move || {
        loop {
            match lines.next_row() {
                Ok(Some((_, row))) => {
                    if let Some(directory) = row.virtual_directory {
                        return Some(Ok(NodeDirectory {
                            account: AccountName::new(&*row.account),
                            pool: PoolId::new(&*row.pool),
                            node: NodeId::new(&*row.node),
                            directory: directory.into_owned(),
                            seen: row.files_arrived.zip(row.bytes),
                            is_duplicate: false,
                        }));
                    }
                }
                Ok(None) => return None,
                Err(error) => {
                    lines.ended = true;
                    return Some(Err(error));
                }
            }
        }
    }))
}
