//! The watchers of a run while it is under way.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use fleetlogs_engine::clock::Clock;
use fleetlogs_model::plan::Plan;
use fleetlogs_report::{EventsFile, PlanningProgress, ProgressClock, ProgressMode};

use crate::error::CliError;
use crate::logging::Logs;

/// The screen, the file of events and the program's own log.
#[derive(Clone)]
pub(crate) struct Watchers {
    /// What a person sees on the screen.
    pub(crate) progress: ProgressView,
    /// Where every event is written as a line of JSON.
    pub(crate) events: Option<PathBuf>,
    pub(crate) logs: Logs,
}

/// What a person sees of a run that is under way; on stderr.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProgressView {
    /// Nothing.
    Hidden,
    /// Bars that are drawn again and again.
    Bars,
    /// A plain line now and then.
    Lines,
}

impl ProgressView {
    pub(crate) fn mode(self) -> ProgressMode {
        match self {
            Self::Hidden => ProgressMode::Silent,
            Self::Bars => ProgressMode::bars_on_stderr(),
            Self::Lines => ProgressMode::plain_on_stderr(),
        }
    }
}

impl Watchers {
    /// Opens the file of `--events`. What cannot be written to is told before anything is on record or sent.
    pub(super) fn open_events(&self, plan: &Arc<Plan>) -> Result<Option<EventsFile>, CliError> {
        let open = |path: &PathBuf| {
            EventsFile::open(path, plan.clone()).map_err(|error| CliError::file(path, &error))
        };
        self.events.as_ref().map(open).transpose()
    }

    /// Shows how planning makes progress.
    pub(super) fn planning(&self) -> PlanningProgress {
        PlanningProgress::new(self.progress.mode(), progress_clock())
    }
}

/// The clock of everything that shows progress.
pub(crate) fn progress_clock() -> ProgressClock {
    ProgressClock::new(Clock::System.now(), Instant::now)
}
