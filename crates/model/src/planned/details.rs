//! Everything known about nodes, as text, in a spool that whoever makes the plan brings along.
//!
//! The accounts of a fleet are listed side by side and write into one spool, each line where the last one ended. A plan
//! knows the order of the lines by stretches of the text, so that no line is ever copied.

use std::io::{self, BufRead, BufReader, Cursor, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::sync::Arc;

use parking_lot::Mutex;

use super::node::PlannedNode;

/// What the text is written to and read from: a temporary file for a large plan, memory for a small one.
pub trait Spool: Read + Write + Seek + Send {}

impl<T: Read + Write + Seek + Send> Spool for T {}

/// Bytes written at a time.
const WRITTEN_AT_ONCE: usize = 64 << 10;

/// Bytes read at a time.
const READ_AT_ONCE: usize = 64 << 10;

/// A line of JSON for each node, in the order of the plan.
#[derive(Clone, Default)]
pub(super) struct Details {
    text: NodeText,
    /// Where the lines are in the text; adjacent ones are one stretch.
    stretches: Vec<Range<u64>>,
}

/// Lines of JSON in the order in which they were written. Clones share them.
#[derive(Clone)]
pub(super) struct NodeText(Arc<Mutex<Text>>);

/// In memory.
impl Default for NodeText {
    fn default() -> Self {
        Self::spooled(Box::new(Cursor::new(vec![])))
    }
}

struct Text {
    file: Box<dyn Spool>,
    /// How much of the file is text; after it there may be the rest of a failed attempt to write.
    written: u64,
    /// The text after that of the file.
    block: Vec<u8>,
}

impl Text {
    fn end(&self) -> u64 {
        self.written + self.block.len() as u64
    }

    fn write_if_full(&mut self) -> io::Result<()> {
        if self.block.len() >= WRITTEN_AT_ONCE {
            self.file.seek(SeekFrom::Start(self.written))?;
            self.file.write_all(&self.block)?;
            self.written = self.end();
            self.block.clear();
        }
        Ok(())
    }

    fn read(&mut self, position: u64, into: &mut [u8]) -> io::Result<usize> {
        if position < self.written {
            let in_file = usize::try_from(self.written - position).unwrap_or(usize::MAX);
            let most = in_file.min(into.len());
            self.file.seek(SeekFrom::Start(position))?;
            return self.file.read(&mut into[..most]);
        }
        let from = usize::try_from(position - self.written).unwrap_or(usize::MAX);
        self.block.get(from..).unwrap_or_default().read(into)
    }
}

impl NodeText {
    pub(super) fn spooled(file: Box<dyn Spool>) -> Self {
        Self(Arc::new(Mutex::new(Text { file, written: 0, block: vec![] })))
    }

    /// Writes a line, and returns where it is.
    pub(super) fn push(&self, node: &PlannedNode) -> io::Result<Range<u64>> {
        let mut text = self.0.lock();
        let (start, begins) = (text.end(), text.block.len());
        if let Err(error) = serde_json::to_writer(&mut text.block, node) {
            text.block.truncate(begins);
            return Err(error.into());
        }
        text.block.push(b'\n');
        let end = text.end();
        text.write_if_full()?;
        Ok(start..end)
    }
}

impl Details {
    pub(super) fn spooled(file: Box<dyn Spool>) -> Self {
        Self { text: NodeText::spooled(file), stretches: vec![] }
    }

    pub(super) fn text(&self) -> &NodeText {
        &self.text
    }

    /// Forgets the lines, and keeps the text.
    pub(super) fn clear(&mut self) {
        self.stretches = vec![];
    }

    /// Whether both have their lines in the same text.
    pub(super) fn share_text(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.text.0, &other.text.0)
    }

    pub(super) fn push(&mut self, node: &PlannedNode) -> io::Result<()> {
        let line = self.text.push(node)?;
        self.add(line);
        Ok(())
    }

    /// Appends a line of the text.
    pub(super) fn add(&mut self, line: Range<u64>) {
        match self.stretches.last_mut() {
            Some(last) if last.end == line.start => last.end = line.end,
            _ => self.stretches.push(line),
        }
    }

    pub(super) fn lines(&self) -> Lines<'_> {
        let at = At { details: self, stretch: 0, passed: 0 };
        Lines { reader: BufReader::with_capacity(READ_AT_ONCE, at), line: vec![] }
    }

    #[cfg(test)]
    pub(super) fn stretches(&self) -> usize {
        self.stretches.len()
    }
}

/// The lines, one after another.
pub(super) struct Lines<'details> {
    reader: BufReader<At<'details>>,
    line: Vec<u8>,
}

impl Lines<'_> {
    pub(super) fn next(&mut self) -> io::Result<Option<&[u8]>> {
        self.line.clear();
        let read = self.reader.read_until(b'\n', &mut self.line)?;
        self.line.pop();
        Ok((read > 0).then_some(&self.line))
    }
}

/// Reads on from a position, independent of other readers.
struct At<'details> {
    details: &'details Details,
    stretch: usize,
    /// How much of the stretch is read.
    passed: u64,
}

impl Read for At<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let Details { text, stretches } = self.details;
        while let Some(stretch) = stretches.get(self.stretch) {
            let position = stretch.start + self.passed;
            let most = usize::try_from(stretch.end - position).unwrap_or(usize::MAX).min(into.len());
            if most == 0 && !into.is_empty() {
                (self.stretch, self.passed) = (self.stretch + 1, 0);
                continue;
            }
            let read = text.0.lock().read(position, &mut into[..most])?;
            if read == 0 && most > 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.passed += read as u64;
            return Ok(read);
        }
        Ok(0)
    }
}
