//! `fleetlogs schedule CONFIG --once NAME`: one run of a snapshot, for a person or another scheduler.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fleetlogs_engine::clock::Clock;
use fleetlogs_engine::schedule::Overlap;
use fleetlogs_engine::schedule::scheduler::Scheduler;
use fleetlogs_engine::schedule::state::Store;
use fleetlogs_engine::schedule::state::runs::{self, Status};
use fleetlogs_engine::stop::Stop;
use fleetlogs_model::duration;
use fleetlogs_model::home::HomeError;
use fleetlogs_model::ids::SnapshotName;
use fleetlogs_model::snapshot::{SnapshotRef, Trigger};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{Instant, sleep, sleep_until};

use super::active_schedule::{ActiveSchedule, busy};
use super::listener::Health;
use super::lock::{Holder, Lock, Locked};
use super::machine::machine_id;
use super::snapshots::find_snapshot;
use super::state_place::state_of;
use crate::config::Settings;
use crate::error::{CliError, Refusal};
use crate::exit::Exit;
use crate::run::{Reported, Watchers};
use crate::run_dir::as_typed;

/// Between two looks whether it is our turn.
const LOOK: Duration = Duration::from_secs(1);

/// Receives what happens while a snapshot waits for its turn and runs.
pub(crate) struct OnceListener<'a> {
    /// Hears, in a line, what is waited for.
    pub(crate) say: &'a dyn Fn(&str),
    /// Hears how a run of this process ended.
    pub(crate) on_end: &'a dyn Fn(&Reported) -> Result<(), CliError>,
}

/// Runs a snapshot now, or has the daemon of this machine run it, and waits for the end.
pub(crate) async fn run_once(
    config: &Path,
    settings: Settings,
    name: &SnapshotName,
    watchers: Watchers,
    listener: &OnceListener<'_>,
) -> Result<Exit, CliError> {
    let mut schedule = ActiveSchedule::new(config, settings, watchers)?;
    let (reports, ended) = unbounded_channel();
    schedule.reports = Some(reports);
    tokio::select! {
        ended = run(&schedule, name, listener, ended) => ended,
        () = end_early(&schedule) => Err(CliError::stopped_early()),
    }
}

/// Ends a process that waits for its turn. One that runs hears it by itself.
async fn end_early(schedule: &ActiveSchedule<'_>) {
    schedule.stop.reached(Stop::Abort).await;
    // The journal is good at any moment; whoever presses twice does not want to wait for the reports.
    sleep(Duration::from_secs(60)).await;
}

async fn run(
    schedule: &ActiveSchedule<'_>,
    name: &SnapshotName,
    listener: &OnceListener<'_>,
    mut reports: UnboundedReceiver<Reported>,
) -> Result<Exit, CliError> {
    let say = listener.say;
    let deadline = Instant::now() + schedule.settings.deadlines.run;
    let _lock = loop {
        match Lock::take(&schedule.state, Holder::Once)? {
            Locked::Ours(lock) => break lock,
            Locked::Theirs(Holder::Daemon, process) => return ask_daemon(schedule, name, process, say).await,
            Locked::Theirs(Holder::Once, process) => {
                if is_to_skip(schedule, name).await? {
                    return Ok(skip(name, say));
                }
                if Instant::now() >= deadline {
                    return Err(busy(process));
                }
            }
        }
        tokio::select! {
            () = sleep(LOOK) => {}
            () = schedule.stop.reached(Stop::Drain) => return Err(CliError::stopped_early()),
        }
    };
    if let Some(home) = &schedule.home
        && let Err(HomeError::Held) = home.acquire().await
    {
        if is_to_skip(schedule, name).await? {
            return Ok(skip(name, say));
        }
        let longest = duration::text(schedule.settings.deadlines.run);
        say(&format!("another machine owns the schedule; waiting for it, {longest} at most\n"));
    }
    let health = Health::default();
    let term = tokio::select! {
        term = schedule.begin_term(&health) => term?,
        () = sleep_until(deadline) => return Err(busy(None)),
    };
    let Some(term) = term else { return Err(CliError::stopped_early()) };
    let runs = Arc::new(schedule.runs(&term));
    let machine = machine_id(&schedule.state)?;
    let scheduler =
        Scheduler::new(term.store.clone(), schedule.rules(), Clock::System, machine, runs.clone());
    let ended = tokio::select! {
        ended = scheduler.once(name) => ended,
        never = schedule.end_runs(&term) => never,
    };
    let mut printed = Ok(());
    while let Ok(reported) = reports.try_recv() {
        printed = printed.and((listener.on_end)(&reported));
    }
    runs.told().await;
    term.end().await;
    let ended = ended?;
    printed?;
    if let Some(error) = runs.take_error() {
        return Err(error);
    }
    Ok(Exit::of_code(ended.exit_code))
}

/// Whether another run of the snapshot is under way, and this one is to be skipped instead of waiting for it.
async fn is_to_skip(schedule: &ActiveSchedule<'_>, name: &SnapshotName) -> Result<bool, CliError> {
    let skips = find_snapshot(&schedule.settings, name)
        .is_some_and(|snapshot| snapshot.rule.overlap == Overlap::Skip);
    let Some(state) = state_of(&schedule.settings).await?.filter(|_| skips) else { return Ok(false) };
    let started = state.read(runs::started_rows).await?;
    let waiting = state.read(runs::queued_rows).await?;
    Ok(started.iter().chain(&waiting).any(|run| run.snapshot.name == *name))
}

fn skip(name: &SnapshotName, say: &dyn Fn(&str)) -> Exit {
    say(&format!("{name} is skipped: another run of it is under way (`overlap`)\n"));
    Exit::Complete
}

/// Has the daemon of this machine run it, and waits for its end.
async fn ask_daemon(
    schedule: &ActiveSchedule<'_>,
    name: &SnapshotName,
    process: Option<u32>,
    say: &dyn Fn(&str),
) -> Result<Exit, CliError> {
    let store = Store::open(&schedule.state, None)?;
    let now = Clock::System.now();
    let row = SnapshotRef { name: name.clone(), trigger: Trigger::Once, due: now };
    if is_to_skip(schedule, name).await? {
        return Ok(skip(name, say));
    }
    let job = store.change(|state| runs::enqueue(state, &row, now)).await?;
    let process = process.map(|id| format!(" (process {id})")).unwrap_or_default();
    say(&format!("the daemon{process} was asked to run {name}; waiting for the run to end\n"));
    loop {
        let run = store.read(|state| runs::find_row(state, job)).await?;
        if let Some(run) = run.filter(|run| !matches!(run.status, Status::Queued | Status::Started)) {
            if let Some(reason) = &run.reason {
                say(&format!("{name}: {reason}\n"));
            }
            if let Some(dir) = &run.dir {
                say(&format!("{}\n", as_typed(dir).display()));
            }
            return Ok(run.exit_code.map_or(Exit::Complete, Exit::of_code));
        }
        tokio::select! {
            () = sleep(LOOK) => {}
            () = schedule.stop.reached(Stop::Drain) => {
                let help = "the run stays in the queue; `fleetlogs schedule CONFIG --list` shows its progress";
                return Err(CliError::not_done(Refusal::new("stopped waiting for the daemon", help)));
            }
        }
    }
}
