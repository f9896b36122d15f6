//! The program's own log: to stderr for people, and whole into `log.jsonl` of the run directory.
//!
//! Only fleetlogs' own lines are taken in, at every level: libraries print URLs, and a URL can hold a signature.

use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;

use fleetlogs_report::{Look, Progress};
use parking_lot::{Mutex, MutexGuard};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry};

use crate::args::{LogFormat, Output};

/// Where log lines go beside stderr, once it is known.
#[derive(Clone, Default)]
pub(crate) struct Logs {
    file: LogFile,
    screen: Screen,
}

impl Logs {
    /// From now on until the result is dropped, the log is kept in a file; in the first one with what was said before. Runs
    /// that go on side by side have each other's lines in their files.
    pub(crate) fn keep_in(&self, mut file: File) -> LogGuard {
        let mut target = self.file.target();
        if let Some(early) = target.early.take() {
            // A log line that cannot be written is no reason to stop a run.
            let _ = file.write_all(&early);
        }
        target.last += 1;
        let number = target.last;
        target.files.push((number, file));
        LogGuard { log: self.file.clone(), number }
    }

    /// While bars are on the screen, log lines are written around them.
    pub(crate) fn share_screen(&self, progress: Option<Progress>) {
        *self.screen.0.lock() = progress;
    }
}

/// Starts logging. Called once. A daemon has nothing else to tell with what it does.
pub(crate) fn start(output: &Output, is_daemon: bool) -> Logs {
    let logs = Logs::default();
    let level = match (output.quiet, output.verbose) {
        (true, _) => LevelFilter::ERROR,
        (false, 0) if is_daemon => LevelFilter::INFO,
        (false, 0) => LevelFilter::WARN,
        (false, 1) => LevelFilter::DEBUG,
        (false, _) => LevelFilter::TRACE,
    };
    // A line for every call is for those who ask for it.
    let kept = if output.verbose == 0 { LevelFilter::INFO } else { level };
    let own = |level: LevelFilter| Targets::new().with_target("fleetlogs", level);
    let screen = tracing_subscriber::fmt::layer().with_writer(logs.screen.clone()).with_target(false);
    let screen: Box<dyn Layer<Registry> + Send + Sync> = match output.log_format {
        // The journal of systemd has times of its own.
        LogFormat::Text if is_daemon && std::env::var_os("JOURNAL_STREAM").is_none() => {
            screen.with_ansi(colours()).with_filter(own(level)).boxed()
        }
        LogFormat::Text => screen.without_time().with_ansi(colours()).with_filter(own(level)).boxed(),
        LogFormat::Json => screen.json().flatten_event(true).with_filter(own(level)).boxed(),
    };
    let file = tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_writer(logs.file.clone())
        .with_filter(own(kept));
    tracing_subscriber::registry().with(screen).with(file).init();
    logs
}

/// Whether stderr takes colours.
pub(crate) fn colours() -> bool {
    Look::of_stderr().styled
}

/// stderr, around the bars.
#[derive(Clone, Default)]
struct Screen(Arc<Mutex<Option<Progress>>>);

impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let progress = self.0.lock().clone();
        match progress {
            Some(progress) => progress.suspend(|| io::stderr().write(bytes)),
            None => io::stderr().write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

impl<'a> MakeWriter<'a> for Screen {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// A file that the log is kept in, for as long as this lives.
#[must_use]
pub(crate) struct LogGuard {
    log: LogFile,
    number: u64,
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        self.log.target().files.retain(|(number, _)| *number != self.number);
    }
}

/// The files, or what is to go there once there is one.
#[derive(Clone, Default)]
struct LogFile(Arc<Mutex<Target>>);

impl LogFile {
    fn target(&self) -> MutexGuard<'_, Target> {
        self.0.lock()
    }
}

struct Target {
    /// What was said before there was a file.
    early: Option<Vec<u8>>,
    files: Vec<(u64, File)>,
    /// Number of the file that was opened last.
    last: u64,
}

impl Default for Target {
    fn default() -> Self {
        Self { early: Some(Vec::new()), files: Vec::new(), last: 0 }
    }
}

/// What is kept before there is a file, at most: a command that never has one must not fill the memory.
const EARLY_BYTES: usize = 1 << 20;

impl Write for LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut target = self.target();
        if let Some(early) = target.early.as_mut().filter(|early| early.len() < EARLY_BYTES) {
            early.extend_from_slice(bytes);
        }
        for (_, file) in &mut target.files {
            // A disk that is full must not keep the line from the other files.
            let _ = file.write_all(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LogFile {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
