//! `fleetlogs status`: shows the progress of a run, read from its journal while another process writes it.
//!
//! It shows what the run itself shows: the same code, fed with the same events.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use fleetlogs_engine::clock::Clock;
use fleetlogs_engine::recorded_run::{RecordedRun, RunClaim};
use fleetlogs_engine::stop::{Stop, StopHandle};
use fleetlogs_model::event::Recorded;
use fleetlogs_model::event_sink::EventSink;
use fleetlogs_model::ids::AccountName;
use fleetlogs_model::ledger::{AccountTally, Ledger, NodeStatus};
use fleetlogs_model::outcome::OutcomeCounts;
use fleetlogs_model::plan::{Plan, PlannedAccount};
use fleetlogs_model::run_store::JournalReader;
use fleetlogs_model::timestamp;
use fleetlogs_report::{Look, Progress, ProgressMode, RunFacts, TimeLeft, Uncounted, is_dumb, verdict_lines};
use serde::Serialize;

use crate::args::Output;
use crate::error::CliError;
use crate::exit::Exit;
use crate::output::{print, print_json_line, say};
use crate::run::{RunState, progress_clock, run_facts};
use crate::run_dir::RunDir;
use crate::run_name::RunArg;
use crate::shared_run::SharedRun;
use crate::signals;

/// The pause between two updates of `--follow`.
const EVERY: Duration = Duration::from_secs(1);
/// The most events passed on at once with `--follow`. It limits memory, however many events a second has.
const GROUP: usize = 4096;

#[derive(Debug, Parser)]
#[expect(clippy::doc_markdown, reason = "the help of a terminal")]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    pub(crate) run: RunArg,
    /// Update once a second until no process works on the run
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Look for runs as this config says [default: fleetlogs.toml, else $FLEETLOGS_CONFIG]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

pub(crate) async fn status(args: &StatusArgs, output: &Output) -> Result<Exit, CliError> {
    let stop = StopHandle::default();
    if args.follow {
        signals::listen(&stop)?;
    }
    let dir = find(args, output, &stop).await?;
    let shared = dir.shared().await?;
    let RecordedRun { plan, journal, .. } = dir.open(RunClaim::Watch).await?;
    let ledger = Ledger::new(&plan);
    let run = WatchedRun { dir: &dir, shared, journal, plan, ledger, last: 0 };
    if output.json {
        return follow_as_json(run, args.follow, stop).await;
    }
    let mode = match (args.follow && !output.quiet, std::io::stdout().is_terminal() && !is_dumb()) {
        (false, _) => ProgressMode::Silent,
        (true, true) => ProgressMode::bars_on_stdout(),
        (true, false) => ProgressMode::plain_on_stdout(),
    };
    follow_as_text(run, args.follow, mode, stop).await
}

/// The run. A follower waits for one that may still be listing its accounts: `run` has given
/// the command when it began.
async fn find(args: &StatusArgs, output: &Output, stop: &StopHandle) -> Result<RunDir, CliError> {
    let mut found = args.run.find(args.config.as_deref()).await;
    let mut is_said = output.quiet;
    while found.is_err() && args.follow && args.run.may_still_come(Clock::System.now()) {
        if !is_said {
            let run = args.run.run.display();
            say(&format!(
                "run {run} is not on record yet: waiting until its accounts are listed; Ctrl-C ends this\n"
            ));
            is_said = true;
        }
        if is_over(stop).await {
            break;
        }
        found = args.run.find(args.config.as_deref()).await;
        if found.is_ok() && is_over(stop).await {
            // The journal comes a moment after the plan.
            break;
        }
    }
    found
}

/// A run as far as its journal was read.
struct WatchedRun<'dir> {
    dir: &'dir RunDir,
    /// If it is shared out.
    shared: Option<&'dir SharedRun>,
    journal: Box<dyn JournalReader>,
    plan: Arc<Plan>,
    ledger: Ledger,
    /// The number of the last event read.
    last: u64,
}

impl WatchedRun<'_> {
    /// Reads the new events, and returns whether a process works on the run.
    async fn read_on(&mut self, mut hear: impl FnMut(&Recorded, &Ledger)) -> Result<bool, CliError> {
        // Checked before the events are read, so that they include everything that the process wrote while it held the
        // run.
        let held = self.dir.store.is_held().await?;
        self.journal.refresh().await?;
        let Self { ledger, journal, .. } = self;
        self.last = journal.events_after(self.last, &mut |recorded| {
            ledger.apply(recorded);
            hear(recorded, ledger);
        })?;
        Ok(held)
    }

    fn facts(&self) -> Result<RunFacts, CliError> {
        run_facts(&*self.journal, &self.plan, &self.ledger)
    }
}

async fn follow_as_json(mut run: WatchedRun<'_>, follow: bool, stop: StopHandle) -> Result<Exit, CliError> {
    // For the estimate only.
    let progress = Progress::new(ProgressMode::Silent, progress_clock(), run.plan.clone(), &run.ledger, true);
    loop {
        let held = run.read_on(|recorded, ledger| progress.catch_up(recorded, ledger)).await?;
        progress.caught_up(&run.ledger);
        let state = if held { RunState::Running } else { RunState::of_ended(&run.facts()?) };
        let left = progress.time_left().filter(|_| held);
        let document = Document::of(&run.plan, &run.ledger, state, left);
        print_json_line(&document)?;
        if !follow || !held || is_over(&stop).await {
            return Ok(Exit::Complete);
        }
    }
}

async fn follow_as_text(
    mut run: WatchedRun<'_>,
    follow: bool,
    mode: ProgressMode,
    stop: StopHandle,
) -> Result<Exit, CliError> {
    let mut progress = Progress::new(mode, progress_clock(), run.plan.clone(), &run.ledger, true);
    progress.set_title(format!("run {} running", run.plan.run_id));
    let mut held = run.read_on(|recorded, ledger| progress.catch_up(recorded, ledger)).await?;
    progress.caught_up(&run.ledger);
    while follow && held {
        if is_over(&stop).await {
            progress.leave();
            return Ok(Exit::Complete);
        }
        let mut group = Vec::new();
        let held_now = run.read_on(|recorded, ledger| {
            group.push(recorded.clone());
            if group.len() == GROUP {
                progress.hear(&group, ledger);
                group.clear();
            }
        });
        held = held_now.await?;
        progress.hear(&group, &run.ledger);
    }
    progress.finish();

    let look = Look::of_stdout();
    let mut lines = vec![];
    if !held {
        let facts = run.facts()?;
        progress.ended();
        progress.set_title(RunState::of_ended(&facts).title(&run));
        lines = verdict_lines(&look, &run.plan, &facts, &run.ledger);
    }
    lines.extend(progress.picture(&look));
    print(&(lines.join("\n") + "\n"))
}

/// Waits for the next update. Returns whether Ctrl-C came instead; the run itself continues.
async fn is_over(stop: &StopHandle) -> bool {
    tokio::select! {
        () = tokio::time::sleep(EVERY) => false,
        () = stop.reached(Stop::Drain) => true,
    }
}

impl RunState {
    /// `run 20261122T093000Z-1a2b ended`, or the command that resumes the run.
    fn title(self, run: &WatchedRun<'_>) -> String {
        let is_shared = run.shared.is_some();
        let verb = if is_shared { "continue" } else { "resume" };
        let resume = format!("{verb} it with `{}`", run.dir.continued_by(is_shared));
        let state = match self {
            Self::Running => "running".to_owned(),
            Self::Ended => "ended".to_owned(),
            Self::Stopped => format!("stopped early: {resume}"),
            Self::Interrupted => format!("interrupted: {resume}"),
        };
        format!("run {} {state}", run.plan.run_id)
    }
}

/// What `--json` prints; with `--follow` one line a second.
#[derive(Serialize)]
struct Document<'run> {
    schema: &'static str,
    run_id: &'run str,
    at: String,
    state: RunState,
    /// How long the run will still take, in seconds; null if that is not known.
    eta_seconds: Option<u64>,
    /// Whether that is a bound only: files are awaited until their deadline.
    eta_at_most: bool,
    counts: OutcomeCounts,
    /// What the counts do not cover.
    uncounted: Uncounted,
    accounts: Vec<Account<'run>>,
}

#[derive(Serialize)]
struct Account<'run> {
    name: &'run str,
    /// How many nodes; null if the account could not be listed, because then it is not known.
    planned: Option<u64>,
    /// Why it could not be listed.
    unlisted: Option<&'run str>,
    calls: u64,
    throttled: u64,
    in_flight: u64,
    awaited: u64,
    stopped: Option<&'run str>,
    counts: OutcomeCounts,
}

impl<'run> Document<'run> {
    fn of(plan: &'run Plan, ledger: &'run Ledger, state: RunState, left: Option<TimeLeft>) -> Self {
        let account =
            |(planned, (_, tally)): (&'run PlannedAccount, (&'run AccountName, &'run AccountTally))| {
                Account {
                    name: planned.name.as_str(),
                    planned: planned.unlisted.is_none().then(|| tally.planned()),
                    unlisted: planned.unlisted.as_deref(),
                    calls: tally.calls,
                    throttled: tally.throttled,
                    in_flight: tally.count(NodeStatus::Requested),
                    awaited: tally.count(NodeStatus::Accepted),
                    stopped: tally.stopped.as_deref(),
                    counts: tally.outcomes(),
                }
            };
        Self {
            schema: "fleetlogs.status/v1",
            run_id: plan.run_id.as_str(),
            at: timestamp::text(time::OffsetDateTime::now_utc()),
            state,
            eta_seconds: left.map(|left| (left.left + Duration::from_millis(999)).as_secs()),
            eta_at_most: left.is_some_and(|left| left.at_most),
            counts: ledger.outcomes(),
            uncounted: Uncounted::of(plan),
            accounts: plan.accounts.iter().zip(ledger.accounts()).map(account).collect(),
        }
    }
}
