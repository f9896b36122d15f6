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
use fleetlogs_report::{
    Look, PartitionRow, Progress, ProgressMode, RunFacts, TimeLeft, Uncounted, is_dumb, verdict_lines,
};
use serde::Serialize;

use crate::args::Output;
use crate::error::CliError;
use crate::exit::Exit;
use crate::output::{print, print_json_line, say};
use crate::partition_watch::PartitionWatch;
use crate::run::{RunState, progress_clock, run_facts};
use crate::run_dir::RunDir;
use crate::run_name::RunArg;
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
    let run = WatchedRun::open(&dir).await?;
    if output.json {
        return follow_as_json(run, args.follow, stop).await;
    }
    let mode = || match (args.follow && !output.quiet, std::io::stdout().is_terminal() && !is_dumb()) {
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
    partitions: Option<PartitionWatch<'dir>>,
    journal: Box<dyn JournalReader>,
    plan: Arc<Plan>,
    ledger: Ledger,
    /// The number of the last event read.
    last: u64,
}

/// Whether there is more to come.
#[derive(Clone, Copy)]
struct Ahead {
    /// A process works on the run.
    held: bool,
    /// It is not over: that, or it is shared out, and a process will come.
    goes_on: bool,
    /// It has to be opened again, because a partition was planned since.
    is_other_plan: bool,
}

impl<'dir> WatchedRun<'dir> {
    async fn open(dir: &'dir RunDir) -> Result<Self, CliError> {
        let partitions = dir.shared().await?.map(PartitionWatch::new);
        let RecordedRun { plan, journal, .. } = dir.open(RunClaim::Watch).await?;
        let ledger = Ledger::new(&plan);
        Ok(Self { dir, partitions, journal, plan, ledger, last: 0 })
    }

    /// The partitions of a run that is shared out.
    fn rows(&self, progress: &Progress) -> Option<Vec<PartitionRow>> {
        Some(self.partitions.as_ref()?.rows(&self.plan, &self.ledger, &progress.rates()))
    }

    /// Reads the new events.
    async fn read_on(&mut self, mut hear: impl FnMut(&Recorded, &Ledger)) -> Result<Ahead, CliError> {
        // Checked before the events are read, so that they include everything that the process wrote while it held the
        // run.
        let held = self.dir.store.is_held().await?;
        self.journal.refresh().await?;
        let Self { ledger, journal, .. } = self;
        self.last = journal.events_after(self.last, &mut |recorded| {
            ledger.apply(recorded);
            hear(recorded, ledger);
        })?;
        let Some(partitions) = &mut self.partitions else {
            return Ok(Ahead { held, goes_on: held, is_other_plan: false });
        };
        let is_other_plan = partitions.look(&self.ledger).await?;
        Ok(Ahead { held, goes_on: held || !partitions.is_over(&self.ledger), is_other_plan })
    }

    fn facts(&self) -> Result<RunFacts, CliError> {
        run_facts(&*self.journal, &self.plan, &self.ledger)
    }
}

async fn follow_as_json(mut run: WatchedRun<'_>, follow: bool, stop: StopHandle) -> Result<Exit, CliError> {
    // For the estimate, and for rates.
    let progress_of = |run: &WatchedRun<'_>| {
        Progress::new(ProgressMode::Silent, progress_clock(), run.plan.clone(), &run.ledger, true)
    };
    let mut progress = progress_of(&run);
    loop {
        let Ahead { held, goes_on, is_other_plan } =
            run.read_on(|recorded, ledger| progress.catch_up(recorded, ledger)).await?;
        if is_other_plan {
            run = WatchedRun::open(run.dir).await?;
            progress = progress_of(&run);
            continue;
        }
        progress.caught_up(&run.ledger);
        let state = match (held, goes_on) {
            (true, _) => RunState::Running,
            (false, true) => RunState::Waiting,
            (false, false) => RunState::of_ended(&run.facts()?),
        };
        let left = progress.time_left().filter(|_| held);
        let document = Document::of(&run.plan, &run.ledger, state, left, run.rows(&progress));
        print_json_line(&document)?;
        if !follow || !goes_on || is_over(&stop).await {
            return Ok(Exit::Complete);
        }
    }
}

async fn follow_as_text(
    mut run: WatchedRun<'_>,
    follow: bool,
    mode: impl Fn() -> ProgressMode,
    stop: StopHandle,
) -> Result<Exit, CliError> {
    let (mut progress, mut ahead) = shown(&mut run, &mode).await?;
    while follow && ahead.goes_on {
        if is_over(&stop).await {
            progress.leave();
            return Ok(Exit::Complete);
        }
        let mut group = Vec::new();
        let read_on = run.read_on(|recorded, ledger| {
            group.push(recorded.clone());
            if group.len() == GROUP {
                progress.hear(&group, ledger);
                group.clear();
            }
        });
        ahead = read_on.await?;
        if ahead.is_other_plan {
            progress.finish();
            run = WatchedRun::open(run.dir).await?;
            (progress, ahead) = shown(&mut run, &mode).await?;
            continue;
        }
        progress.hear(&group, &run.ledger);
        show_partitions(&run, &progress);
    }
    progress.finish();

    let look = Look::of_stdout();
    let mut lines = vec![];
    if !ahead.held && ahead.goes_on {
        progress.set_title(RunState::Waiting.title(&run));
    } else if !ahead.held {
        let facts = run.facts()?;
        progress.ended();
        progress.set_title(RunState::of_ended(&facts).title(&run));
        lines = verdict_lines(&look, &run.plan, &facts, &run.ledger);
    }
    lines.extend(progress.picture(&look));
    print(&(lines.join("\n") + "\n"))
}

/// Reads a run as far as it is on record, and shows it.
async fn shown(
    run: &mut WatchedRun<'_>,
    mode: &impl Fn() -> ProgressMode,
) -> Result<(Progress, Ahead), CliError> {
    loop {
        let progress = Progress::new(mode(), progress_clock(), run.plan.clone(), &run.ledger, true);
        progress.set_title(format!("run {} running", run.plan.run_id));
        let ahead = run.read_on(|recorded, ledger| progress.catch_up(recorded, ledger)).await?;
        if ahead.is_other_plan {
            *run = WatchedRun::open(run.dir).await?;
            continue;
        }
        show_partitions(run, &progress);
        progress.caught_up(&run.ledger);
        return Ok((progress, ahead));
    }
}

fn show_partitions(run: &WatchedRun<'_>, progress: &Progress) {
    if let Some(rows) = run.rows(progress) {
        progress.set_partitions(rows);
    }
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
        let is_shared = run.partitions.is_some();
        let command = run.dir.continued_by(is_shared);
        let state = match self {
            Self::Running => "running".to_owned(),
            Self::Waiting => format!("waits for workers, none is at work now: `{command}` waits for its end"),
            Self::Ended => "ended".to_owned(),
            Self::Stopped | Self::Interrupted if is_shared => "stopped early".to_owned(),
            Self::Stopped => format!("stopped early: resume it with `{command}`"),
            Self::Interrupted => format!("interrupted: resume it with `{command}`"),
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
    /// The partitions of a run that is shared out to workers; null for any other run.
    partitions: Option<Vec<PartitionRow>>,
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
    fn of(
        plan: &'run Plan,
        ledger: &'run Ledger,
        state: RunState,
        left: Option<TimeLeft>,
        partitions: Option<Vec<PartitionRow>>,
    ) -> Self {
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
            partitions,
        }
    }
}
