//! The watchers of a run while it is under way.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use fleetlogs_engine::clock::Clock;
use fleetlogs_model::files::{absolute, dir_of};
use fleetlogs_model::ids::RunId;
use fleetlogs_model::plan::Plan;
use fleetlogs_report::{EventsFile, Look, PlanningProgress, ProgressClock, ProgressMode};

use crate::error::CliError;
use crate::logging::Logs;
use crate::run_dir::{as_argument, as_typed};
use crate::runs_dir::RunsDir;

/// The screen, the file of events and the program's own log.
#[derive(Clone)]
pub(crate) struct Watchers {
    /// What a person sees on the screen.
    pub(crate) progress: ProgressView,
    /// Where every event is written as a line of JSON.
    pub(crate) events: Option<PathBuf>,
    pub(crate) logs: Logs,
    /// Prints lines for a person.
    pub(crate) say: fn(&str),
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
    /// Says which run this is, where it is, and how to watch it: before it lists anything, because that may take a while.
    pub(crate) fn name_run(&self, run: &RunId, dir: &Path) {
        // The directory of a partition has another name than its run.
        let is_named_by_id = dir.file_name().is_some_and(|name| name == run.as_str());
        let found_by_id =
            is_named_by_id && absolute(&RunsDir::find(None, None).path) == absolute(dir_of(dir));
        let lines = RunLines::new(run, dir, found_by_id);
        match self.progress {
            ProgressView::Hidden => tracing::info!("{}", lines.in_one()),
            ProgressView::Lines => (self.say)(&format!("{}\n", lines.in_one())),
            ProgressView::Bars => (self.say)(&format!("{}\n", lines.within(Look::of_stderr().width))),
        }
    }

    /// Opens the file of `--events`. What cannot be written to is told before anything is on record or sent.
    pub(super) fn open_events(&self, plan: &Arc<Plan>) -> Result<Option<EventsFile>, CliError> {
        let open = |path: &PathBuf| {
            EventsFile::open(path, plan.clone()).map_err(|error| CliError::file(path, &error))
        };
        self.events.as_ref().map(open).transpose()
    }

    /// Shows how planning makes progress.
    pub(crate) fn planning(&self) -> PlanningProgress {
        PlanningProgress::new(self.progress.mode(), progress_clock())
    }
}

/// The first words about a run.
struct RunLines {
    run: String,
    watch: String,
}

impl RunLines {
    fn new(run: &RunId, dir: &Path, found_by_id: bool) -> Self {
        let name = if found_by_id { run.to_string() } else { as_argument(dir) };
        Self {
            run: format!("run {run} in {}", as_typed(dir).display()),
            watch: format!("watch it: fleetlogs status {name} --follow"),
        }
    }

    fn in_one(&self) -> String {
        format!("{}; {}", self.run, self.watch)
    }

    /// In two lines if the screen is narrower: a command is to be copied whole.
    fn within(&self, width: Option<usize>) -> String {
        let one = self.in_one();
        if width.is_none_or(|width| one.chars().count() <= width) {
            one
        } else {
            format!("{}\n{}", self.run, self.watch)
        }
    }
}

/// The clock of everything that shows progress.
pub(crate) fn progress_clock() -> ProgressClock {
    ProgressClock::new(Clock::System.now(), Instant::now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_named_with_a_command_that_finds_it() {
        let run: RunId = "20261130T002818Z-5e62".parse().unwrap();
        let lines =
            |dir: &str, found_by_id| RunLines::new(&run, &Path::new(dir).join(run.as_str()), found_by_id);
        insta::assert_snapshot!(lines("runs", true).in_one(), @"
        run 20261130T002818Z-5e62 in runs/20261130T002818Z-5e62; watch it: fleetlogs status 20261130T002818Z-5e62 --follow
        ");
        insta::assert_snapshot!(lines("of night's", false).in_one(), @r"
        run 20261130T002818Z-5e62 in of night's/20261130T002818Z-5e62; watch it: fleetlogs status 'of night'\''s/20261130T002818Z-5e62' --follow
        ");
        insta::assert_snapshot!(lines("runs", true).within(Some(80)), @r"
        run 20261130T002818Z-5e62 in runs/20261130T002818Z-5e62
        watch it: fleetlogs status 20261130T002818Z-5e62 --follow
        ");
        assert_eq!(lines("runs", true).within(Some(200)), lines("runs", true).in_one());
    }
}
