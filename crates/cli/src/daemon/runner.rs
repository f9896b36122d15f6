//! Runs the jobs of a schedule: each is the config's run, with what its snapshot has instead.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use fleetlogs_azure::http_client;
use fleetlogs_engine::clock::Clock;
use fleetlogs_engine::recorded_run::RunClaim;
use fleetlogs_engine::schedule::state::{Store, coverage, occurrences, runs};
use fleetlogs_engine::schedule::{Job, JobEnd, Lane, Runner, StartRecord};
use fleetlogs_engine::stop::{Stop, StopHandle, StopReason};
use fleetlogs_engine::window::{NodeWindows, SinceLast};
use fleetlogs_model::ids::SnapshotName;
use fleetlogs_model::outcome::RunOutcome;
use fleetlogs_model::snapshot::SnapshotRef;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::sleep;

use super::machine::machine_id;
use super::metrics::Metrics;
use super::retention::{self, Containers};
use super::snapshots::find_snapshot;
use crate::config::{Settings, SnapshotSettings, SnapshotWindow, WindowSpec};
use crate::error::{CliError, Refusal};
use crate::exit::Exit;
use crate::journal_container::KnownJournals;
use crate::notify::notify_all;
use crate::run::{FinishedRun, OpenedRun, Reported, RunEnd, RunRequest, Watchers, run_to_end};
use crate::run_dir::{RunDir, as_typed};
use crate::run_name::{as_url, run_at_url};
use crate::runs_dir::RunsDir;
use crate::tokens::Tokens;

/// Nodes that were not verified for this long are forgotten: they are gone.
const FORGOTTEN: time::Duration = time::Duration::days(400);

/// Between two attempts to finish a run that has begun, and how many there are before it is left to a person: ten minutes.
const PAUSE: Duration = Duration::from_secs(5);
const ATTEMPTS: u32 = 120;

/// How many runs of a snapshot are remembered, besides those whose directory still exists.
const ROWS: u32 = 5000;

/// Runs jobs in this process. Cheap to clone.
#[derive(Clone)]
pub(super) struct SnapshotRunner(Arc<Shared>);

/// What all runs of a process have in common.
#[derive(Clone)]
pub(super) struct RunnerContext {
    /// The file that the settings came from.
    pub(super) config: PathBuf,
    pub(super) settings: Settings,
    pub(super) watchers: Watchers,
    /// Gets what each run reported, if somebody waits for it.
    pub(super) reports: Option<UnboundedSender<Reported>>,
    /// Path of the state.
    pub(super) state: PathBuf,
    pub(super) metrics: Metrics,
}

struct Shared {
    context: RunnerContext,
    store: Store,
    /// What ends every run.
    stop: StopHandle,
    /// Why the last job did not run, for whoever asked for it.
    error: Mutex<Option<CliError>>,
    /// Those who are being told of the end of a run. The next run does not wait for them.
    telling: Mutex<Vec<JoinHandle<()>>>,
}

impl Runner for SnapshotRunner {
    async fn run(&self, job: Job, begun: StartRecord) -> JobEnd {
        let (this, runtime) = (self.clone(), Handle::current());
        // On a thread of its own: a run that panics is a run that failed, and not the end of the daemon.
        let ended = spawn_blocking(move || runtime.block_on(this.carry_out(&job, begun))).await;
        ended.unwrap_or_else(|_| JobEnd {
            outcome: None,
            exit_code: Exit::Defect as u8,
            reason: Some("a defect in fleetlogs ended the run; the message is on stderr".into()),
            interrupted: false,
        })
    }
}

impl SnapshotRunner {
    pub(super) fn new(context: RunnerContext, store: Store, stop: StopHandle) -> Self {
        Self(Arc::new(Shared { context, store, stop, error: Mutex::default(), telling: Mutex::default() }))
    }

    /// Waits until all are told, or given up.
    pub(super) async fn told(&self) {
        let telling = std::mem::take(&mut *self.0.telling.lock());
        for one in telling {
            // Nobody who is told can make a run fail.
            let _ = one.await;
        }
    }

    /// Tells those who are to hear of the end of a run.
    fn tell(&self, end: RunEnd) {
        let this = self.clone();
        let telling = tokio::spawn(async move {
            let notified = notify_all(&this.0.context.settings.notify, &end, &this.0.stop).await;
            this.0.context.metrics.notified(notified);
        });
        let mut all = self.0.telling.lock();
        all.retain(|one| !one.is_finished());
        all.push(telling);
    }

    /// Why the last job did not run, if it did not.
    pub(super) fn take_error(&self) -> Option<CliError> {
        self.0.error.lock().take()
    }

    /// Runs a job to its end. What refuses to resume a run that has begun, or keeps its reports from being written, may
    /// pass: storage that is busy, or a SAS that is renewed too late. Nobody else comes back to this run, so it is tried
    /// again for a while.
    async fn carry_out(&self, job: &Job, begun: StartRecord) -> JobEnd {
        let (mut job, mut attempts) = (job.clone(), 0);
        loop {
            attempts += 1;
            let error = match self.attempt(&job, begun.clone()).await {
                Ok((end, reported)) => return self.ended(&job.snapshot, reported, end).await,
                Err(error) => error,
            };
            let place = match self.place_to_come_back_to(&job, &error).await {
                Some(place) if attempts < ATTEMPTS && self.0.stop.level() == Stop::No => place,
                _ => return self.failed(&job, error),
            };
            tracing::warn!("`{}` cannot be finished yet: {}", place.display(), error.reason());
            job.begun = Some(place);
            tokio::select! {
                () = sleep(PAUSE) => {}
                () = self.0.stop.reached(Stop::Drain) => {}
            }
        }
    }

    /// Where a run is that has begun and may be finished later, after it failed.
    async fn place_to_come_back_to(&self, job: &Job, error: &CliError) -> Option<PathBuf> {
        let place = match &job.begun {
            Some(place) => place.clone(),
            None => self.0.store.read(|state| runs::find_row(state, job.id)).await.ok()??.dir?,
        };
        // Nobody waits for room on a disk: `fleetlogs resume` writes the reports of a run that is on it.
        let is_unreported = error.exit == Exit::Interrupted && runs::is_url(&place);
        (is_unreported || job.begun.is_some() && error.refuses_run()).then_some(place)
    }

    async fn attempt(&self, job: &Job, begun: StartRecord) -> Result<(RunEnd, Reported), CliError> {
        let stop = StopHandle::default();
        let told = async {
            let by = &self.0.stop;
            for level in [Stop::Drain, Stop::Abort] {
                by.reached(level).await;
                stop.stop(level, by.reason().unwrap_or(StopReason::Signal));
            }
            std::future::pending().await
        };
        let work = async {
            match &job.begun {
                Some(place) => Box::pin(self.resume(place, &job.snapshot, stop.clone())).await,
                None => Box::pin(self.run_anew(job, begun, stop.clone())).await,
            }
        };
        tokio::select! {
            finished = work => finished.and_then(|reported| Ok((reported.end()?, reported))),
            never = told => never,
        }
    }

    async fn run_anew(&self, job: &Job, begun: StartRecord, stop: StopHandle) -> Result<Reported, CliError> {
        let lane = Lane::of(job.snapshot.trigger);
        let Some(snapshot) = find_snapshot(&self.0.context.settings, &job.snapshot.name) else {
            let what = format!("the config has no snapshot `{}`", job.snapshot.name);
            return Err(CliError::usage(Refusal::without_help(what)));
        };
        let mut settings = for_lane(&self.0.context.settings, lane);
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
        let config = &self.0.context.config;
        let request = RunRequest { config, plan: None, snapshot: Some((&job.snapshot, begun)) };
        let FinishedRun { reported, .. } =
            run_to_end(request, &settings, stop, &self.0.context.watchers).await?;
        Ok(reported)
    }

    /// Resumes a run that has begun.
    async fn resume(
        &self,
        place: &Path,
        snapshot: &SnapshotRef,
        stop: StopHandle,
    ) -> Result<Reported, CliError> {
        let (snapshot, lane) = (&snapshot.name, Lane::of(snapshot.trigger));
        let journals = KnownJournals::new(Some(&self.0.context.config));
        // The config may have changed since. Where the logs go must be the same, which is checked.
        let opened = if let Some(url) = place.to_str().and_then(as_url) {
            let runs = RunsDir::at(&self.0.context.settings.output_dir);
            OpenedRun::open_when_free(run_at_url(&url, &runs, &journals)?, &stop).await?
        } else if retention::is_run_of(place, snapshot) {
            OpenedRun::open(RunDir::at(place, &journals)?, &[], true).await?
        } else {
            return Err(other_run(place, snapshot));
        };
        match opened {
            // The state may be shared, and what it says may be wrong.
            opened if !opened.is_of(snapshot) => Err(other_run(place, snapshot)),
            OpenedRun::Unfinished(run) => {
                let settings = for_lane(&self.0.context.settings, lane);
                Ok(run.carry_out(&settings, stop, &self.0.context.watchers).await?.reported)
            }
            OpenedRun::Ended(run) => run.report().await.map_err(|error| CliError::unreported(&error)),
        }
    }

    /// Puts on record what came of a run, and removes what is not kept any more.
    async fn ended(&self, snapshot: &SnapshotRef, reported: Reported, end: RunEnd) -> JobEnd {
        tracing::info!("{} {}", end.summary, as_typed(&end.dir).display());
        let recorded = self
            .0
            .store
            .change(|state| {
                coverage::forget(state, Clock::System.now() - FORGOTTEN)?;
                runs::forget_rows(state, &snapshot.name, ROWS)?;
                coverage::record(state, reported.plan(), reported.ledger())
            })
            .await;
        if let Err(error) = recorded {
            // The next windows begin earlier than they need to.
            tracing::warn!(
                "the windows that {} verified were not recorded in the state of the schedule: {error}",
                end.run_id
            );
        }
        if let Some(snapshot) = find_snapshot(&self.0.context.settings, &snapshot.name) {
            self.retain(snapshot, &end).await;
        }
        let (outcome, reason) = (end.outcome, end.reason.clone());
        let interrupted = outcome == RunOutcome::Interrupted && self.0.stop.level() > Stop::No;
        if !interrupted {
            self.0.context.metrics.run_ended(&end);
            self.tell(end);
        }
        if let Some(reports) = &self.0.context.reports {
            // Nobody waiting any more is no error.
            let _ = reports.send(reported);
        }
        JobEnd {
            outcome: Some(outcome),
            exit_code: Exit::from(outcome) as u8,
            // A run that was told to end and had everything all the same has nothing to explain.
            reason: reason.filter(|_| outcome != RunOutcome::Complete),
            interrupted,
        }
    }

    /// Removes run directories whose retention has ended. Failures are logged and do not count against the run.
    async fn retain(&self, snapshot: &SnapshotSettings, end: &RunEnd) {
        if snapshot.retention.runs.is_none() && snapshot.retention.age.is_none() {
            return;
        }
        if let Err(error) = self.remove_spent(snapshot, end).await {
            tracing::warn!(
                "runs of {} past their retention are not deleted: {}",
                snapshot.name(),
                error.reason()
            );
        }
    }

    async fn remove_spent(&self, snapshot: &SnapshotSettings, end: &RunEnd) -> Result<(), CliError> {
        let Shared { context: RunnerContext { config, settings, state, .. }, store, .. } = &*self.0;
        let (now, here) = (Clock::System.now(), machine_id(state)?);
        let past = store.read(|state| runs::past_rows(state, snapshot.name(), None)).await?;
        let on_disk = |run| retention::PastRun::here(run, &here, &settings.output_dir);
        let mut past: Vec<_> = past.into_iter().filter_map(on_disk).collect();
        // The end of the run is recorded after this, so that a process that is killed here repeats this step.
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
        let journals = KnownJournals::new(Some(config));
        let fold = async |dir: &RunDir| {
            let run = dir.open(RunClaim::Watch).await?;
            let ledger = run.ledger()?;
            store.change(|state| coverage::fold(state, &run.plan, &ledger)).await.map_err(CliError::from)
        };
        let (output_dir, containers) = (&settings.output_dir, containers.as_ref());
        let gone = retention::apply(snapshot, output_dir, &past, now, containers, &journals, fold).await;
        if !gone.is_empty() {
            store.change(|state| runs::record_removed(state, &gone, now)).await?;
        }
        Ok(())
    }

    fn failed(&self, job: &Job, error: CliError) -> JobEnd {
        // What was done of it is on record, and `fleetlogs resume` continues it.
        let has_begun = job.begun.is_some() && error.refuses_run() || error.exit == Exit::Interrupted;
        // What refuses to resume it now may have passed by the time that the next owner does.
        let interrupted = self.0.stop.level() > Stop::No && has_begun;
        let error = if interrupted { error.left_unfinished() } else { error };
        if !interrupted {
            self.0.context.metrics.not_run(&job.snapshot);
        }
        let (exit_code, reason) = (error.exit as u8, Some(error.reason()));
        let outcome = has_begun.then_some(RunOutcome::Interrupted);
        *self.0.error.lock() = Some(error);
        JobEnd { outcome, exit_code, reason, interrupted }
    }
}

/// The state of the schedule names something else than a run of the snapshot.
fn other_run(place: &Path, snapshot: &SnapshotName) -> CliError {
    let what = format!("`{}` is not a run of the snapshot `{snapshot}`", as_typed(place).display());
    let help =
        "the state of the schedule names another directory than that of its run: look who writes to it";
    CliError::not_done(Refusal::new(what, help))
}

/// Leaves of the limits what is for a lane.
fn for_lane(settings: &Settings, lane: Lane) -> Settings {
    let mut settings = settings.clone();
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

/// Replaces settings of the config by those of the snapshot.
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
