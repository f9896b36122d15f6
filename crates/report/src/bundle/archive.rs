//! The zip file under construction: entries in one directory, with the checksum of each.
//!
//! The same entries give the same bytes: times are those of the run, permissions are fixed, and nothing
//! identifies the machine.

use std::io::{self, Read, Seek, SeekFrom, Write};

use fleetlogs_model::hex::hex;
use fleetlogs_model::scrub::{HIDDEN, hide};
use fleetlogs_model::timestamp::in_utc;
use sha2::{Digest, Sha256};
use tempfile::SpooledTempFile;
use time::OffsetDateTime;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, System, ZipWriter};

use super::name::DistinctPaths;
use super::own_files::SUMS_FILE;
use super::scrub::{self, CopyError};

/// Size up to which the checksums are kept in memory; a bundle with logs can have many.
const SUMS_IN_MEMORY: usize = 1 << 20;

/// Size from which an entry is written so that it may grow beyond 4 GiB.
const LARGE: u64 = 3 << 30;

/// The bundle itself could not be written. No part of it is left behind.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// For example, because the disk is full.
    #[error("cannot write the bundle: {0}")]
    Write(#[source] io::Error),
}

/// The zip file.
pub(super) struct Archive<W: Write + Seek> {
    zip: ZipWriter<W>,
    /// Directory that everything is in.
    top: String,
    modified: DateTime,
    sums: SpooledTempFile,
    entries: u64,
    paths: DistinctPaths,
}

/// An entry that was added.
pub(super) struct AddedEntry {
    /// Its name in the bundle: another one than it was to have if that was taken or held a secret.
    pub(super) name: String,
    /// SHA-256 of the entry as it is in the bundle, in hex.
    pub(super) sha256: String,
    pub(super) bytes: u64,
    /// Texts that looked like secrets and were left out.
    pub(super) removed: u64,
    /// Why it was not copied to its end, if it was not.
    pub(super) cut: Option<io::Error>,
}

impl<W: Write + Seek> Archive<W> {
    pub(super) fn begin(target: W, top: String, at: OffsetDateTime) -> Self {
        let sums = SpooledTempFile::new(SUMS_IN_MEMORY);
        Self {
            zip: ZipWriter::new(target),
            top,
            modified: zip_time(at),
            sums,
            entries: 0,
            paths: DistinctPaths::default(),
        }
    }

    /// Adds an entry, without what looks like a secret. `size` is the length of the source, as far as it is known.
    pub(super) fn add(
        &mut self,
        name: &str,
        size: u64,
        source: impl Read,
    ) -> Result<AddedEntry, BundleError> {
        let name = &self.start(name, size)?;
        let mut entry = Entry { zip: &mut self.zip, digest: Sha256::new(), bytes: 0 };
        let (removed, cut) = match scrub::copy(source, &mut entry) {
            Ok(removed) => (removed, None),
            Err(CopyError::Source(error)) => (0, Some(error)),
            Err(CopyError::Target(error)) => return Err(BundleError::Write(error)),
        };
        let (sha256, bytes) = (hex(&entry.digest.finalize()), entry.bytes);
        self.note(&sha256, name)?;
        Ok(AddedEntry { name: name.clone(), sha256, bytes, removed, cut })
    }

    /// Adds an entry as it is, secrets and all.
    pub(super) fn add_verbatim(&mut self, name: &str, content: &[u8]) -> Result<(), BundleError> {
        let name = &self.start(name, content.len() as u64)?;
        self.zip.write_all(content).map_err(BundleError::Write)?;
        self.note(&hex(&Sha256::digest(content)), name)
    }

    /// Adds the checksums of all entries, and ends. Returns the number of entries.
    pub(super) fn finish(mut self) -> Result<(W, u64), BundleError> {
        self.sums.seek(SeekFrom::Start(0)).map_err(BundleError::Write)?;
        self.start(SUMS_FILE, 0)?;
        io::copy(&mut self.sums, &mut self.zip).map_err(BundleError::Write)?;
        let target = self.zip.finish().map_err(io::Error::from).map_err(BundleError::Write)?;
        Ok((target, self.entries))
    }

    /// Starts an entry. Returns its name.
    fn start(&mut self, name: &str, size: u64) -> Result<String, BundleError> {
        let name = self.paths.distinct(&hide(name).replace(HIDDEN, "%-redacted"));
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Deflated)
            .last_modified_time(self.modified)
            .unix_permissions(0o644)
            .system(System::Unix)
            .large_file(size >= LARGE);
        self.entries += 1;
        let path = format!("{}/{name}", self.top);
        self.zip.start_file(path, options).map_err(io::Error::from).map_err(BundleError::Write)?;
        Ok(name)
    }

    fn note(&mut self, sha256: &str, name: &str) -> Result<(), BundleError> {
        writeln!(self.sums, "{sha256}  {name}").map_err(BundleError::Write)
    }
}

/// Counts and hashes what goes into an entry.
struct Entry<'a, W: Write + Seek> {
    zip: &'a mut ZipWriter<W>,
    digest: Sha256,
    bytes: u64,
}

impl<W: Write + Seek> Write for Entry<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.zip.write(bytes)?;
        self.digest.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.zip.flush()
    }
}

/// In UTC, because zip files have no time zone. Times that they cannot represent become their earliest one.
fn zip_time(at: OffsetDateTime) -> DateTime {
    let at = in_utc(at);
    let year = u16::try_from(at.year()).unwrap_or(0);
    DateTime::from_date_and_time(year, at.month().into(), at.day(), at.hour(), at.minute(), at.second())
        .unwrap_or_default()
}
