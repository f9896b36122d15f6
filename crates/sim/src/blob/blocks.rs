//! Put Block, Put Block List and Get Block List: blobs that are put together from blocks, as clients upload large files.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use hyper::body::Bytes;
use parking_lot::Mutex;

use super::errors::BlobError;
use super::xml::{elements, escape, only_element, without_declaration};

/// Larger than the list of the most blocks that a blob can have.
pub(super) const LARGEST_LIST: usize = 8 << 20;
const LONGEST_ID: usize = 64;

/// The blocks of all blobs, by container and blob.
#[derive(Debug, Default)]
pub(super) struct Blocks(Mutex<HashMap<(String, String), BlocksOfBlob>>);

#[derive(Debug, Default)]
struct BlocksOfBlob {
    /// By id. They belong to the blob only once a list names them.
    uncommitted: BTreeMap<String, Bytes>,
    /// In their order.
    committed: Vec<(String, Bytes)>,
}

impl Blocks {
    /// Keeps a block until a list names it.
    pub(super) fn put(&self, of: (&str, &str), id: &str, content: Bytes) -> Result<(), BlobError> {
        let decoded = BASE64_STANDARD.decode(id).ok().filter(|id| (1..=LONGEST_ID).contains(&id.len()));
        if decoded.is_none() || content.is_empty() {
            return Err(BlobError::bad_query());
        }
        let mut all = self.0.lock();
        let blocks = all.entry(owned(of)).or_default();
        // All ids of one blob have the same length.
        if blocks.uncommitted.keys().any(|other| other.len() != id.len()) {
            return Err(BlobError::bad_block());
        }
        blocks.uncommitted.insert(id.to_owned(), content);
        Ok(())
    }

    /// The content of a blob as a block list tells it. The blocks then belong to the blob.
    pub(super) fn commit(&self, of: (&str, &str), body: &[u8]) -> Result<Bytes, BlobError> {
        let text = std::str::from_utf8(body).map_err(|_| BlobError::bad_xml())?;
        let list = elements(only_element(without_declaration(text)?, "BlockList")?)?;
        let mut all = self.0.lock();
        let blocks = all.entry(owned(of)).or_default();
        let mut committed = Vec::with_capacity(list.len());
        for (kind, id) in list {
            let id = id.trim();
            let new = blocks.uncommitted.get(id);
            let old = blocks.committed.iter().find(|(other, _)| other == id).map(|(_, content)| content);
            let content = match kind {
                "Latest" => new.or(old),
                "Uncommitted" => new,
                "Committed" => old,
                _ => return Err(BlobError::bad_xml()),
            };
            committed.push((id.to_owned(), content.ok_or(BlobError::bad_block_list())?.clone()));
        }
        let content: Vec<&[u8]> = committed.iter().map(|(_, content)| content.as_ref()).collect();
        let content = Bytes::from(content.concat());
        *blocks = BlocksOfBlob { uncommitted: BTreeMap::new(), committed };
        Ok(content)
    }

    /// Forgets the blocks of a blob that was written in one piece or deleted.
    pub(super) fn forget(&self, of: (&str, &str)) {
        self.0.lock().remove(&owned(of));
    }

    /// The blocks of a blob in XML: `committed`, `uncommitted` or `all`. None if there is not one.
    pub(super) fn list(&self, of: (&str, &str), kind: &str) -> Option<String> {
        let all = self.0.lock();
        let blocks = all.get(&owned(of))?;
        let mut xml = String::from("\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?><BlockList>");
        let mut push = |[open, close]: [&str; 2], blocks: &mut dyn Iterator<Item = (&String, &Bytes)>| {
            xml.push_str(open);
            for (id, content) in blocks {
                xml.push_str("<Block><Name>");
                escape(&mut xml, id);
                let written = write!(xml, "</Name><Size>{}</Size></Block>", content.len());
                debug_assert!(written.is_ok(), "writing to a String does not fail");
            }
            xml.push_str(close);
        };
        if kind != "uncommitted" {
            push(
                ["<CommittedBlocks>", "</CommittedBlocks>"],
                &mut blocks.committed.iter().map(|(id, content)| (id, content)),
            );
        }
        if kind != "committed" {
            push(["<UncommittedBlocks>", "</UncommittedBlocks>"], &mut blocks.uncommitted.iter());
        }
        xml.push_str("</BlockList>");
        Some(xml)
    }
}

fn owned((container, blob): (&str, &str)) -> (String, String) {
    (container.to_owned(), blob.to_owned())
}
