//! The log of the program: to stderr for people, and to `log.jsonl` in the run directory.
//!
//! Only lines of fleetlogs itself are logged, at every level: libraries log URLs, and a URL can hold a signature.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;

use fleetlogs_model::scrub;
use fleetlogs_report::{Look, Progress};
use parking_lot::{Mutex, MutexGuard};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry};

use crate::args::{LogFormat, Output};
use crate::log_line::{JsonLine, PersonLine, text_fields};

/// Where log lines go besides stderr.
#[derive(Clone, Default)]
pub(crate) struct Logs {
    file: LogFile,
    screen: Screen,
}

impl Logs {
    /// Also writes the log to a file until the guard is dropped. The first file begins with the lines logged before it
    /// was opened. Runs that work side by side have each other's lines in their files.
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

    /// Sets the progress bars that log lines must be written around.
    pub(crate) fn share_screen(&self, progress: Option<Progress>) {
        *self.screen.0.lock() = progress;
    }
}

/// Starts logging. Call it once. A daemon logs more, because the log is its only output.
pub(crate) fn start(output: &Output, is_daemon: bool) -> Logs {
    let logs = Logs::default();
    let level = match (output.quiet, output.verbose) {
        (true, _) => LevelFilter::ERROR,
        (false, 0) if is_daemon => LevelFilter::INFO,
        (false, 0) => LevelFilter::WARN,
        (false, 1) => LevelFilter::INFO,
        (false, 2) => LevelFilter::DEBUG,
        (false, _) => LevelFilter::TRACE,
    };
    // Events of note are always kept, lines for every call only with `-vv`.
    let kept = level.max(LevelFilter::INFO);
    let own = |level: LevelFilter| Targets::new().with_target("fleetlogs", level);
    let layer = || tracing_subscriber::fmt::layer().with_writer(logs.screen.clone());
    let screen = || layer().with_target(false).fmt_fields(text_fields());
    let screen: Box<dyn Layer<Registry> + Send + Sync> = match output.log_format {
        // The journal of systemd adds times itself.
        LogFormat::Text if is_daemon && std::env::var_os("JOURNAL_STREAM").is_none() => {
            screen().with_ansi(colours()).with_filter(own(level)).boxed()
        }
        LogFormat::Text if is_daemon => {
            screen().without_time().with_ansi(colours()).with_filter(own(level)).boxed()
        }
        LogFormat::Text => {
            // With `-v` there is a line for each event, and it matters when it happened.
            let line = PersonLine { timed: output.verbose > 0 };
            layer().event_format(line).with_filter(own(level)).boxed()
        }
        LogFormat::Json => layer().event_format(JsonLine).with_filter(own(level)).boxed(),
    };
    let file = tracing_subscriber::fmt::layer()
        .event_format(JsonLine)
        .with_writer(logs.file.clone())
        .with_filter(own(kept));
    tracing_subscriber::registry().with(screen).with(file).init();
    logs
}

/// Whether stderr shows colours.
pub(crate) fn colours() -> bool {
    Look::of_stderr().styled
}

/// A log line, which arrives in one piece, without secrets, whatever was logged.
fn without_secrets(line: &[u8]) -> Cow<'_, [u8]> {
    match String::from_utf8_lossy(line) {
        Cow::Borrowed(text) => match scrub::hide(text) {
            Cow::Borrowed(_) => Cow::Borrowed(line),
            Cow::Owned(shown) => Cow::Owned(shown.into_bytes()),
        },
        Cow::Owned(text) => Cow::Owned(scrub::hide(&text).into_owned().into_bytes()),
    }
}

/// stderr; lines are written around the progress bars.
#[derive(Clone, Default)]
struct Screen(Arc<Mutex<Option<Progress>>>);

impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let progress = self.0.lock().clone();
        let line = without_secrets(bytes);
        match progress {
            Some(progress) => progress.suspend(|| io::stderr().write_all(&line))?,
            None => io::stderr().write_all(&line)?,
        }
        Ok(bytes.len())
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

/// Writes the log to a file until it is dropped.
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

/// The log files, or the lines for the first one.
#[derive(Clone, Default)]
struct LogFile(Arc<Mutex<Target>>);

impl LogFile {
    fn target(&self) -> MutexGuard<'_, Target> {
        self.0.lock()
    }
}

struct Target {
    /// The lines logged before the first file was opened.
    early: Option<Vec<u8>>,
    files: Vec<(u64, File)>,
    /// The number of the file that was opened last.
    last: u64,
}

impl Default for Target {
    fn default() -> Self {
        Self { early: Some(Vec::new()), files: Vec::new(), last: 0 }
    }
}

/// The most bytes kept before there is a file: a command that never opens one must not fill the memory.
const EARLY_BYTES: usize = 1 << 20;

impl Write for LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let line = without_secrets(bytes);
        let mut target = self.target();
        if let Some(early) = target.early.as_mut().filter(|early| early.len() < EARLY_BYTES) {
            early.extend_from_slice(&line);
        }
        for (_, file) in &mut target.files {
            // A full disk must not keep the line from the other files.
            let _ = file.write_all(&line);
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
