//! A file that is written completely or not at all.
//!
//! The content goes to a temporary file next to the target; `commit` makes it durable and renames it. Until then, and
//! if the process dies, an earlier file with that name is unchanged.

use std::fs::{self, File};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::files::owner_only;

/// The file being written.
pub struct WholeFile {
    /// None once committed.
    writer: Option<BufWriter<File>>,
    temporary: PathBuf,
    target: PathBuf,
}

impl WholeFile {
    /// Starts a file that only its owner can read.
    ///
    /// The temporary name is fixed, so that the file of a killed process is replaced and such files do not
    /// accumulate; the run's lock keeps a second process away.
    ///
    /// # Errors
    /// The temporary file cannot be replaced or created.
    pub fn create(dir: &Path, name: &str) -> io::Result<Self> {
        let temporary = dir.join(format!(".{name}.tmp"));
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = owner_only().write().create_new().open(&temporary)?;
        let writer = Some(BufWriter::with_capacity(64 * 1024, file));
        Ok(Self { writer, temporary, target: dir.join(name) })
    }

    /// Makes the content durable and gives the file its name. Without this call, the content is discarded.
    ///
    /// # Errors
    /// The content cannot be written or synced, or the file cannot be renamed. An earlier file is then unchanged.
    pub fn commit(mut self) -> io::Result<()> {
        if let Some(writer) = self.writer.take() {
            let file = match writer.into_inner() {
                Ok(file) => file,
                Err(error) => return Err(self.discarded(error.into_error())),
            };
            if let Err(error) = file.sync_all().and_then(|()| fs::rename(&self.temporary, &self.target)) {
                return Err(self.discarded(error));
            }
        }
        self.target.parent().map_or(Ok(()), sync_directory)
    }

    fn discarded(&self, error: io::Error) -> io::Error {
        let _ = fs::remove_file(&self.temporary);
        error
    }
}

/// Makes a rename in a directory, or a new entry of it, durable.
///
/// # Errors
/// The directory cannot be opened or synced.
pub fn sync_directory(dir: &Path) -> io::Result<()> {
    // On other systems a directory cannot be opened as a file, and nothing more can be done for the rename.
    if cfg!(unix) { File::open(dir)?.sync_all() } else { Ok(()) }
}

/// Writes a file completely or not at all; see [`WholeFile`].
///
/// # Errors
/// As for [`WholeFile::create`] and [`WholeFile::commit`].
pub fn write_whole(dir: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    let mut file = WholeFile::create(dir, name)?;
    file.write_all(content)?;
    file.commit()
}

impl Write for WholeFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.writer {
            Some(writer) => writer.write(bytes),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        // The buffer's own is much cheaper for small pieces than a loop of `write`.
        self.writer.as_mut().map_or(Err(io::ErrorKind::BrokenPipe.into()), |writer| writer.write_all(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.as_mut().map_or(Ok(()), Write::flush)
    }
}

impl Seek for WholeFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.writer.as_mut().map_or(Err(io::ErrorKind::BrokenPipe.into()), |writer| writer.seek(to))
    }
}

impl Drop for WholeFile {
    fn drop(&mut self) {
        if self.writer.take().is_some() {
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names_in(dir: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_given_up_halfway_leaves_the_earlier_one() {
        let dir = tempfile::tempdir().unwrap();
        let write = |text: &str| {
            let mut file = WholeFile::create(dir.path(), "report").unwrap();
            file.write_all(text.as_bytes()).unwrap();
            file
        };
        write("first").commit().unwrap();
        drop(write("second, given up"));

        assert_eq!(names_in(dir.path()), ["report"]);
        assert_eq!(fs::read_to_string(dir.path().join("report")).unwrap(), "first");
    }

    #[test]
    fn what_a_killed_process_left_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(".report.tmp"), "much longer rubbish").unwrap();
        let mut file = WholeFile::create(dir.path(), "report").unwrap();
        file.write_all(b"good").unwrap();
        file.commit().unwrap();

        assert_eq!(names_in(dir.path()), ["report"]);
        assert_eq!(fs::read_to_string(dir.path().join("report")).unwrap(), "good");
    }

    #[cfg(unix)]
    #[test]
    fn only_the_owner_can_read_it() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        WholeFile::create(dir.path(), "report").unwrap().commit().unwrap();
        let mode = fs::metadata(dir.path().join("report")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
