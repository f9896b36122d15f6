//! A schedule at work on this machine: its state, its terms of ownership, and the runs that it starts.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use fleetlogs_engine::clock::Clock;
use fleetlogs_engine::schedule::Rule;
use fleetlogs_engine::schedule::overview::overview;
use fleetlogs_engine::schedule::ownership::Ownership;
use fleetlogs_engine::schedule::scheduler::Scheduler;
use fleetlogs_engine::schedule::state::{StateError, Store, runs};
use fleetlogs_engine::stop::{Stop, StopHandle, StopReason};
use fleetlogs_model::files::{dir_of, refuse_if_open_to_all};
use fleetlogs_model::home::StateHome;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::watch;
use tokio::time::sleep;

use super::lease;
use super::listener::Health;
use super::machine::machine_id;
use super::metrics::Metrics;
use super::runner::{RunnerContext, SnapshotRunner};
use super::starting::starting;
use super::state_place::{home_to_own, state_path};
use super::watching::Watching;
use crate::config::{Settings, SnapshotSettings};
use crate::error::{CliError, Refusal};
use crate::run::{Reported, Watchers};
use crate::signals;

/// Between two signs of life.
const BEAT: Duration = Duration::from_secs(10);

/// The pause before the schedule is resumed, after its state could not be changed.
const PAUSE: Duration = Duration::from_secs(5);

/// A schedule at work on this machine: all that the daemon and `--once` have in common.
pub(super) struct ActiveSchedule<'a> {
    pub(super) config: &'a Path,
    pub(super) settings: Settings,
    /// Of its runs.
    watchers: Watchers,
    /// Gets what each run reported, if somebody waits for it.
    pub(super) reports: Option<UnboundedSender<Reported>>,
    pub(super) stop: StopHandle,
    /// The database.
    pub(super) state: PathBuf,
    /// Where it lives, if machines share it.
    pub(super) home: Option<Arc<dyn StateHome>>,
    pub(super) metrics: Metrics,
}

/// The time for which this machine owns the schedule.
pub(super) struct Term {
    pub(super) store: Store,
    /// None where no other machine shares it.
    ownership: Option<Ownership>,
    /// Ends its runs.
    pub(super) end: StopHandle,
}

impl<'a> ActiveSchedule<'a> {
    pub(super) fn new(config: &'a Path, settings: Settings, watchers: Watchers) -> Result<Self, CliError> {
        let stop = StopHandle::default();
        signals::listen(&stop)?;
        let state = state_path(&settings);
        let dir = dir_of(&state);
        std::fs::create_dir_all(dir)
            .and_then(|()| refuse_if_open_to_all(dir))
            .map_err(|error| CliError::file(dir, &error))?;
        let home = home_to_own(&settings)?;
        let metrics = Metrics::new();
        metrics.begin(settings.snapshots.iter().map(SnapshotSettings::name));
        Ok(Self { config, settings, watchers, reports: None, stop, state, home, metrics })
    }

    /// Works until it is told to end. Returns whether a run was interrupted; the next process resumes it.
    pub(super) async fn work(
        &self,
        state: &watch::Sender<Option<Store>>,
        health: &Health,
        listener: Option<SocketAddr>,
    ) -> Result<bool, CliError> {
        let mut has_owned = false;
        loop {
            let term = match self.begin_term(health).await {
                Ok(Some(term)) => term,
                Ok(None) => return Ok(false),
                // What was good enough once may be so again: a SAS that is renewed too late, a firewall that is mended.
                Err(error) if has_owned => {
                    tracing::warn!("{}; trying again", error.reason());
                    tokio::select! {
                        () = sleep(PAUSE) => continue,
                        () = self.stop.reached(Stop::Drain) => return Ok(false),
                    }
                }
                Err(error) => return Err(error),
            };
            has_owned = true;
            self.tell_start(&term, listener).await?;
            state.send_replace(Some(term.store.clone()));
            let runs = self.runs(&term);
            let result = self.serve_term(&term, runs.clone(), health).await;
            state.send_replace(None);
            runs.told().await;
            let interrupted = term.store.read(|state| Ok(!runs::started_rows(state)?.is_empty())).await;
            term.end().await;
            match result {
                Ok(()) if self.stop.level() > Stop::No => return Ok(interrupted?),
                // It drained, as another may own the schedule by now.
                Ok(()) => {
                    tracing::warn!("no run starts until this machine owns the schedule again");
                }
                // Another machine owns the schedule, or storage cannot be reached: this one becomes a standby.
                Err(StateError::Home(error)) => {
                    tracing::warn!("{error}; no run starts until this machine owns the schedule again");
                    if self.stop.level() > Stop::No {
                        return Ok(interrupted?);
                    }
                }
                Err(error) => return Err(error.into()),
            }
            tokio::select! {
                () = sleep(PAUSE) => {}
                () = self.stop.reached(Stop::Drain) => return Ok(false),
            }
        }
    }

    /// Waits until this machine owns the schedule; none where it is told to end before.
    pub(super) async fn begin_term(&self, health: &Health) -> Result<Option<Term>, CliError> {
        let Some(home) = &self.home else {
            let store = Store::open(&self.state, None)?;
            return Ok(Some(Term { store, ownership: None, end: StopHandle::default() }));
        };
        let owned = tokio::select! {
            owned = Ownership::acquire(home.clone(), Clock::System, &self.stop, fastrand::Rng::new()) => owned,
            never = beat(health) => never,
        };
        let owned = owned.map_err(|failure| match &self.settings.schedule.lease {
            Some(settings) => lease::refused(settings, &failure),
            None => StateError::Home(failure.into()).into(),
        })?;
        let Some((ownership, fetched)) = owned else { return Ok(None) };
        let store = match Store::open(&self.state, Some((ownership.home(), fetched))) {
            Ok(store) => store,
            Err(error) => {
                // Another, perhaps of another version, may be able to use it.
                ownership.release().await;
                return Err(error.into());
            }
        };
        Ok(Some(Term { store, ownership: Some(ownership), end: StopHandle::default() }))
    }

    /// Says what there is and what happens next.
    async fn tell_start(&self, term: &Term, listener: Option<SocketAddr>) -> Result<(), CliError> {
        let (rules, now) = (self.rules(), Clock::System.now());
        let views = term.store.read(|state| overview(state, &rules, now)).await?;
        tracing::info!("{}", starting(&self.settings.snapshots, &views, listener));
        Ok(())
    }

    async fn serve_term(&self, term: &Term, runs: SnapshotRunner, health: &Health) -> Result<(), StateError> {
        let machine = machine_id(&self.state)?;
        let scheduler =
            Scheduler::new(term.store.clone(), self.rules(), Clock::System, machine, Arc::new(runs));
        let watching = Watching::new(&self.settings, &term.store, &self.metrics);
        tokio::select! {
            result = scheduler.run(term.end.clone()) => result,
            never = self.end_runs(term) => never,
            never = beat(health) => never,
            never = self.tell_next(&term.store) => never,
            never = watching.watch(&term.end) => never,
        }
    }

    /// The runs of a term.
    pub(super) fn runs(&self, term: &Term) -> SnapshotRunner {
        let context = RunnerContext {
            config: self.config.to_owned(),
            settings: self.settings.clone(),
            watchers: self.watchers.clone(),
            reports: self.reports.clone(),
            state: self.state.clone(),
            metrics: self.metrics.clone(),
        };
        SnapshotRunner::new(context, term.store.clone(), term.end.clone())
    }

    pub(super) fn rules(&self) -> Vec<Rule> {
        self.settings.snapshots.iter().map(|snapshot| snapshot.rule.clone()).collect()
    }

    /// Ends the runs of a term when the process is told to end, or the schedule is another machine's. Never ends.
    pub(super) async fn end_runs<T>(&self, term: &Term) -> T {
        let lost = async {
            match &term.ownership {
                Some(ownership) => ownership.lost().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.stop.reached(Stop::Drain) => {
                term.end.stop(Stop::Drain, self.stop.reason().unwrap_or(StopReason::Signal));
            }
            () = lost => {
                term.end.stop(Stop::Drain, StopReason::OwnershipLost);
            }
        }
        self.stop.reached(Stop::Abort).await;
        term.end.stop(Stop::Abort, StopReason::Signal);
        std::future::pending().await
    }

    /// Keeps the metric of the next times up to date. Never ends.
    async fn tell_next<T>(&self, store: &Store) -> T {
        let rules = self.rules();
        let mut changes = store.changes();
        loop {
            let now = Clock::System.now();
            if let Ok(views) = store.read(|state| overview(state, &rules, now)).await {
                for view in views {
                    self.metrics.next_run(&view.name, view.next.map(|tick| tick.begins_at));
                }
            }
            tokio::select! {
                _ = changes.changed() => {}
                () = sleep(Duration::from_secs(60)) => {}
            }
        }
    }
}

impl Term {
    /// Another machine need not wait.
    pub(super) async fn end(self) {
        if let Some(ownership) = self.ownership {
            ownership.release().await;
        }
    }
}

/// Says that the daemon is alive, for as long as it is polled.
async fn beat<T>(health: &Health) -> T {
    loop {
        health.beat();
        sleep(BEAT).await;
    }
}

pub(super) fn busy(process: Option<u32>) -> CliError {
    let process = process.map(|id| format!(" (process {id})")).unwrap_or_default();
    CliError::not_done(Refusal::new(
        format!("another process{process} works on this schedule"),
        "end it first; `fleetlogs schedule CONFIG --list` shows what it does",
    ))
}
