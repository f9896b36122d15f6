//! Runs the jobs of a schedule: each is the config's run, with what its snapshot has instead.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use fleetlogs_azure::http_client;
use fleetlogs_engine::clock::Clock;
use fleetlogs_engine::journal::JournalReader;
use fleetlogs_engine::schedule::state::{Store, coverage, occurrences, runs};
use fleetlogs_engine::schedule::{Begun, Ended, Job, Lane, Runner};
use fleetlogs_engine::stop::{Stop, StopHandle, StopReason};
use fleetlogs_engine::window::{NodeWindows, SinceLast};
use fleetlogs_model::ledger::Ledger;
use fleetlogs_model::outcome::RunOutcome;
use fleetlogs_model::plan::Plan;
use fleetlogs_model::snapshot::SnapshotRef;
use tokio::runtime::Handle;
use tokio::task::{JoinHandle, spawn_blocking};

use super::daemon::machine;
use super::of;
use crate::args::Output;
use crate::commands::resume::{Opened, TakenUp};
use crate::commands::run::{Finished, Order, begin};
use crate::config::{Settings, SnapshotSettings, SnapshotWindow, WindowSpec};
use crate::error::{CliError, Refusal};
use crate::exit::Exit;
use crate::logging::Logs;
use crate::metrics::Metrics;
use crate::notify;
use crate::retention::{self, Containers};
use crate::run_dir::{RunDir, as_typed};
use crate::run_end::RunEnd;
use crate::tokens::Tokens;

/// What is known of nodes that were not verified for so long is forgotten: they are gone.
const FORGOTTEN: time::Duration = time::Duration::days(400);

/// So many runs of a snapshot are remembered, besides those whose directory is there.
const ROWS: u32 = 5000;

/// Runs jobs in this process. Cheap to clone.
#[derive(Clone)]
pub(super) struct Runs(Arc<Inner>);

/// What all runs of a process have in common.
#[derive(Clone)]
pub(super) struct With {
    /// The file that the settings came from.
    pub(super) config: PathBuf,
    pub(super) settings: Settings,
    pub(super) output: Output,
    pub(super) logs: Logs,
    /// Path of the state.
    pub(super) state: PathBuf,
    pub(super) metrics: Metrics,
}

struct Inner {
    with: With,
    store: Store,
    /// What ends every run.
    stop: StopHandle,
    /// Why the last job did not run, for whoever asked for it.
    error: Mutex<Option<CliError>>,
    /// Those who are being told of the end of a run. The next run does not wait for them.
    telling: Mutex<Vec<JoinHandle<()>>>,
}

impl Runner for Runs {
    async fn run(&self, job: Job, begun: Begun) -> Ended {
        let (this, runtime) = (self.clone(), Handle::current());
        // On a thread of its own: a run that panics is a run that failed, and not the end of the daemon.
        let ended = spawn_blocking(move || runtime.block_on(this.carry_out(&job, begun))).await;
        ended.unwrap_or_else(|_| Ended {
            outcome: None,
            exit_code: Exit::Defect as u8,
            reason: Some("a defect in fleetlogs ended it; its message is on stderr".into()),
            interrupted: false,
        })
    }
}

impl Runs {
    pub(super) fn new(with: With, store: Store, stop: StopHandle) -> Self {
        Self(Arc::new(Inner { with, store, stop, error: Mutex::default(), telling: Mutex::default() }))
    }

    /// Waits until all are told, or given up.
    pub(super) async fn told(&self) {
        let telling = std::mem::take(&mut *self.0.telling.lock().unwrap_or_else(PoisonError::into_inner));
        for one in telling {
            // Nobody who is told can make a run fail.
            let _ = one.await;
        }
    }

    /// Tells those who are to hear of the end of a run.
    fn tell(&self, end: RunEnd) {
        let this = self.clone();
        let telling = tokio::spawn(async move {
            let notified = notify::notify_all(&this.0.with.settings.notify, &end, &this.0.stop).await;
            this.0.with.metrics.notified(notified);
        });
        let mut all = self.0.telling.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|one| !one.is_finished());
        all.push(telling);
    }

    /// Why the last job did not run, if it did not.
    pub(super) fn take_error(&self) -> Option<CliError> {
        self.0.error.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    async fn carry_out(&self, job: &Job, begun: Begun) -> Ended {
        let stop = StopHandle::default();
        let told = async {
            let by = &self.0.stop;
            for level in [Stop::Drain, Stop::Abort] {
                by.reached(level).await;
                stop.stop(level, by.reason().unwrap_or(StopReason::Signal));
            }
            std::future::pending().await
        };
        let finished = tokio::select! {
            finished = self.work(job, begun, stop.clone()) => finished,
            never = told => never,
        };
        match finished {
            Ok(finished) => self.ended(&job.snapshot, finished).await,
            Err(error) => self.failed(&job.snapshot, error),
        }
    }

    async fn work(&self, job: &Job, begun: Begun, stop: StopHandle) -> Result<Finished, CliError> {
        let lane = Lane::of(job.snapshot.trigger);
        if let Some(dir) = &job.begun {
            return self.go_on(dir, lane, stop).await;
        }
        let Some(snapshot) = of(&self.0.with.settings, &job.snapshot.name) else {
            let what = format!("the config has no snapshot `{}`", job.snapshot.name);
            return Err(CliError::usage(Refusal::without_help(what)));
        };
        let mut settings = for_lane(&self.0.with.settings, lane);
        narrow(&mut settings, snapshot, &job.snapshot)?;
        if let SnapshotWindow::SinceLast { margin, longest } = snapshot.window {
            let reached = self.0.store.read(|state| coverage::read(state, snapshot.name())).await?;
            let now = Clock::System.now();
            let otherwise = now - settings.window.freeze(now).start;
            let otherwise = otherwise.try_into().unwrap_or_default();
            let reached = Arc::new(reached);
            settings.window =
                WindowSpec::Since(NodeWindows::Last(SinceLast { margin, longest, otherwise, reached }));
        }
        let occurrences = self.0.store.read(|state| occurrences::of_run(state, job.id)).await?;
        if !occurrences.is_empty() {
            let nodes: Vec<_> = occurrences.into_iter().map(|occurrence| occurrence.node).collect();
            settings.only_nodes(&nodes);
        }
        let order = Order { config: &self.0.with.config, plan: None, snapshot: Some((&job.snapshot, begun)) };
        begin(order, &settings, stop, &self.0.with.output, &self.0.with.logs).await
    }

    /// Goes on with the run that an earlier process began.
    async fn go_on(&self, dir: &Path, lane: Lane, stop: StopHandle) -> Result<Finished, CliError> {
        // The config may have changed since; where the logs go must not have, and that is looked at.
        match TakenUp::open(dir, &[], true)? {
            Opened::Outstanding(run) => {
                run.go(&for_lane(&self.0.with.settings, lane), stop, &self.0.with.output, &self.0.with.logs)
                    .await
            }
            Opened::Ended(run) => run.finish(),
        }
    }

    /// Puts on record what came of a run, and removes what is not kept any more.
    async fn ended(&self, snapshot: &SnapshotRef, finished: Finished) -> Ended {
        let Finished { plan, ledger, end } = finished;
        tracing::info!("{} {}", end.summary, as_typed(&end.dir).display());
        let recorded = self
            .0
            .store
            .change(|state| {
                coverage::forget(state, Clock::System.now() - FORGOTTEN)?;
                runs::forget(state, &snapshot.name, ROWS)?;
                coverage::record(state, &plan, &ledger)
            })
            .await;
        if let Err(error) = recorded {
            // The next windows begin earlier than they need to.
            tracing::warn!("what {} verified is not in the state of the schedule: {error}", end.run_id);
        }
        if let Some(snapshot) = of(&self.0.with.settings, &snapshot.name) {
            self.retain(snapshot, &end).await;
        }
        let (outcome, reason) = (end.outcome, end.reason.clone());
        let interrupted = outcome == RunOutcome::Interrupted && self.0.stop.level() > Stop::No;
        if !interrupted {
            self.0.with.metrics.run_ended(&end);
            self.tell(end);
        }
        Ended {
            outcome: Some(outcome),
            exit_code: Exit::from(outcome) as u8,
            // A run that was told to end and had everything all the same has nothing to explain.
            reason: reason.filter(|_| outcome != RunOutcome::Complete),
            interrupted,
        }
    }

    /// Removes what is not kept any more. What goes wrong is told, and is no fault of the run.
    async fn retain(&self, snapshot: &SnapshotSettings, end: &RunEnd) {
        if snapshot.retention.runs.is_none() && snapshot.retention.age.is_none() {
            return;
        }
        if let Err(error) = self.remove_spent(snapshot, end).await {
            tracing::warn!("runs of {} that are not to be kept stay: {}", snapshot.name(), error.reason());
        }
    }

    async fn remove_spent(&self, snapshot: &SnapshotSettings, end: &RunEnd) -> Result<(), CliError> {
        let Inner { with: With { settings, state, .. }, store, .. } = &*self.0;
        let (now, here) = (Clock::System.now(), machine(state)?);
        let past = store.read(|state| runs::past(state, snapshot.name(), None)).await?;
        let mut past: Vec<_> = past.into_iter().filter_map(|run| on_disk(run, &here)).collect();
        // Its end is put on record after this, so that a process that is killed here comes back to it.
        for run in past.iter_mut().filter(|run| run.run == end.run_id) {
            run.outcome = Some(end.outcome);
        }
        let containers = match &settings.destination {
            Some(destination) if snapshot.retention.containers => {
                let http = http_client(1)?;
                let tokens = Tokens::new(http.clone(), settings.entra.clone());
                Containers::of(destination, &http, &tokens)?
            }
            _ => None,
        };
        let fold = async |dir: &Path| {
            let (plan, ledger) = replay(dir)?;
            store.change(|state| coverage::fold(state, &plan, &ledger)).await.map_err(CliError::from)
        };
        let gone =
            retention::apply(snapshot, &settings.output_dir, &past, now, containers.as_ref(), fold).await;
        if !gone.is_empty() {
            store.change(|state| runs::removed(state, &gone, now)).await?;
        }
        Ok(())
    }

    fn failed(&self, snapshot: &SnapshotRef, error: CliError) -> Ended {
        let interrupted = self.0.stop.level() > Stop::No && error.exit == Exit::Interrupted;
        if !interrupted {
            self.0.with.metrics.not_run(snapshot);
        }
        let (exit_code, reason) = (error.exit as u8, Some(error.reason()));
        *self.0.error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        Ended { outcome: None, exit_code, reason, interrupted }
    }
}

/// A run whose directory is on this machine; one that goes on has no outcome.
fn on_disk(run: runs::PastRun, here: &str) -> Option<retention::PastRun> {
    let is_here = run.machine.as_deref() == Some(here) && run.removed_at.is_none();
    let (id, dir) = run.run_id.zip(run.dir).filter(|_| is_here)?;
    let created = run.started_at.unwrap_or(run.snapshot.due);
    let outcome = run.outcome.filter(|_| run.status == runs::Status::Ended);
    Some(retention::PastRun { run: id, dir, created, outcome })
}

/// What the journal of a run directory says.
fn replay(dir: &Path) -> Result<(Plan, Ledger), CliError> {
    let (dir, plan) = RunDir::open(dir)?;
    let journal = JournalReader::open(&dir.path)?;
    journal.check_plan(&dir.plan_digest)?;
    let mut ledger = Ledger::new(&plan);
    journal.for_each_event(0, |recorded| ledger.apply(recorded))?;
    Ok((plan, ledger))
}

/// Leaves of the limits what is for a lane.
fn for_lane(settings: &Settings, lane: Lane) -> Settings {
    let mut settings = settings.clone();
    // They are told beside the next run.
    settings.notify.clear();
    let captures = settings.snapshots.iter().any(|snapshot| snapshot.watch.is_some());
    let alerts = settings.schedule.listener.as_ref().is_some_and(|listener| listener.secret.is_some());
    if !captures && !alerts {
        return settings;
    }
    let percent = match lane {
        Lane::Capture => settings.schedule.capture_share,
        Lane::Regular => 100 - settings.schedule.capture_share,
    };
    // Rounded down: both together must not be more than the whole. One call at a time is the least.
    let part = |whole: usize| (whole * percent as usize / 100).max(1);
    let limits = &mut settings.limits;
    limits.rate = limits.rate.map(|rate| rate * f64::from(percent) / 100.0);
    limits.concurrency = part(limits.concurrency);
    limits.max_uploads_in_flight = limits.max_uploads_in_flight.map(part);
    settings
}

/// What the snapshot has instead of what the config has.
fn narrow(settings: &mut Settings, snapshot: &SnapshotSettings, run: &SnapshotRef) -> Result<(), CliError> {
    settings.narrow(&snapshot.pick)?;
    match snapshot.window {
        SnapshotWindow::OfConfig | SnapshotWindow::SinceLast { .. } => {}
        SnapshotWindow::Last(length) => {
            settings.window = WindowSpec::From(run.due - length, Some(run.due));
        }
    }
    Ok(())
}
