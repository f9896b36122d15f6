//! Everything known about nodes, as text, in a spool that whoever makes the plan brings along.

use std::io::{self, BufRead, BufReader, Cursor, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use super::node::PlannedNode;

/// What the text is written to and read from: a temporary file for a large plan, memory for a small one.
pub trait Spool: Read + Write + Seek + Send {}

impl<T: Read + Write + Seek + Send> Spool for T {}

/// Bytes written at a time.
const WRITTEN_AT_ONCE: usize = 64 << 10;

/// Bytes read at a time.
pub(super) const READ_AT_ONCE: usize = 256 << 10;

/// A line of JSON for each node.
#[derive(Clone)]
pub(super) struct Details(Arc<Mutex<Text>>);

/// In memory.
impl Default for Details {
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

    fn read_exact(&mut self, mut position: u64, mut into: &mut [u8]) -> io::Result<()> {
        while !into.is_empty() {
            match self.read(position, into) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => {
                    position += read as u64;
                    into = &mut into[read..];
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl Details {
    pub(super) fn spooled(file: Box<dyn Spool>) -> Self {
        Self(Arc::new(Mutex::new(Text { file, written: 0, block: vec![] })))
    }

    fn text(&self) -> MutexGuard<'_, Text> {
        self.0.lock()
    }

    /// Where the next line begins.
    pub(super) fn end(&self) -> u64 {
        self.text().end()
    }

    pub(super) fn push(&self, node: &PlannedNode) -> io::Result<()> {
        let mut text = self.text();
        let begins = text.block.len();
        if let Err(error) = serde_json::to_writer(&mut text.block, node) {
            text.block.truncate(begins);
            return Err(error.into());
        }
        text.block.push(b'\n');
        text.write_if_full()
    }

    /// Appends lines of another instance unchanged.
    pub(super) fn copy(&self, other: &Self, stretch: Range<u64>) -> io::Result<()> {
        let (mut text, mut other) = (self.text(), other.text());
        let begins = text.block.len();
        let length = usize::try_from(stretch.end - stretch.start).map_err(io::Error::other)?;
        text.block.resize(begins + length, 0);
        if let Err(error) = other.read_exact(stretch.start, &mut text.block[begins..]) {
            text.block.truncate(begins);
            return Err(error);
        }
        text.write_if_full()
    }

    pub(super) fn lines(&self) -> Lines<'_> {
        let reader = BufReader::with_capacity(READ_AT_ONCE, At { details: self, position: 0 });
        Lines { reader, line: vec![] }
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
    position: u64,
}

impl Read for At<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.details.text().read(self.position, into)?;
        self.position += read as u64;
        Ok(read)
    }
}
