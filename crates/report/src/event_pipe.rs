//! A pipe that events are written to. A reader that is missing, or that no longer reads, is not waited for without
//! end: events are a courtesy, and the run goes on without them.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use rustix::io::Errno;

/// How long a reader may take to open the pipe, and to make room in it.
const WAIT: Duration = Duration::from_secs(10);

/// How often it is tried.
const PAUSE: Duration = Duration::from_millis(20);

/// Whether a path is that of a pipe.
pub(crate) fn is_pipe(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_fifo())
}

/// The end of a pipe that is written to.
pub(crate) struct EventPipe {
    pipe: File,
    wait: Duration,
}

impl EventPipe {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Self::open_within(path, WAIT)
    }

    fn open_within(path: &Path, wait: Duration) -> io::Result<Self> {
        let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
        let open = || match OpenOptions::new().write(true).custom_flags(flags).open(path) {
            // Without a reader, a pipe that would have to wait for one does not open.
            Err(error) if Errno::from_io_error(&error) == Some(Errno::NXIO) => Ok(None),
            other => other.map(Some),
        };
        let pipe = in_time(wait, "nobody reads this pipe", open)?;
        Ok(Self { pipe, wait })
    }
}

impl Write for EventPipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let write = || match self.pipe.write(bytes) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
            other => other.map(Some),
        };
        in_time(self.wait, "the pipe is full, and nobody reads it", write)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn in_time<T>(
    wait: Duration,
    otherwise: &str,
    mut attempt: impl FnMut() -> io::Result<Option<T>>,
) -> io::Result<T> {
    let started = Instant::now();
    loop {
        if let Some(done) = attempt()? {
            return Ok(done);
        }
        if started.elapsed() > wait {
            let message = format!("{otherwise} (waited {} seconds)", wait.as_secs());
            return Err(io::Error::new(ErrorKind::TimedOut, message));
        }
        std::thread::sleep(PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    const SHORT: Duration = Duration::from_millis(200);

    fn pipe() -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        (dir, path)
    }

    #[test]
    fn a_pipe_without_a_reader_is_told() {
        let (_dir, path) = pipe();
        assert!(is_pipe(&path) && !is_pipe(&path.with_file_name("other")));
        let error = EventPipe::open_within(&path, SHORT).err().unwrap();
        assert!(error.to_string().starts_with("nobody reads this pipe"), "{error}");
    }

    #[test]
    fn a_reader_gets_all_and_one_that_stops_is_told() {
        let (_dir, path) = pipe();
        let reader = std::thread::spawn({
            let path = path.clone();
            move || {
                let mut file = File::open(path).unwrap();
                let mut text = vec![0; 5];
                file.read_exact(&mut text).unwrap();
                (file, text)
            }
        });
        let mut writer = EventPipe::open_within(&path, WAIT).unwrap();
        writer.write_all(b"event").unwrap();
        let (_kept_open, text) = reader.join().unwrap();
        assert_eq!(text, b"event");
        writer.wait = SHORT;
        let error = writer.write_all(&vec![b'x'; 1 << 20]).unwrap_err();
        assert!(error.to_string().starts_with("the pipe is full"), "{error}");
    }
}
