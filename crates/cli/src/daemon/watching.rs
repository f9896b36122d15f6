//! Watching for nodes that go bad, beside the scheduler.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use fleetlogs_azure::AzureBatch;
use fleetlogs_engine::clock::Clock;
use fleetlogs_engine::schedule::state::{StateError, Store};
use fleetlogs_engine::schedule::watch::{Watch, WatchCounters, WatchRule, watch};
use fleetlogs_engine::stop::{Stop, StopHandle, StopReason};
use fleetlogs_model::ids::AccountName;
use tokio::time::sleep;

use crate::config::{Settings, SnapshotSettings};
use crate::daemon::metrics::{Metrics, WatchNumbers};
use crate::error::CliError;
use crate::fleet::Fleet;

/// Before accounts are looked for again that could not be found.
const PAUSE: Duration = Duration::from_secs(60);

/// Between two looks at what was counted.
const COUNT: Duration = Duration::from_secs(5);

/// The watcher of a term.
pub(super) struct Watching<'a> {
    settings: &'a Settings,
    store: &'a Store,
    metrics: &'a Metrics,
    counters: Arc<WatchCounters>,
}

impl<'a> Watching<'a> {
    pub(super) fn new(settings: &'a Settings, store: &'a Store, metrics: &'a Metrics) -> Self {
        Self { settings, store, metrics, counters: Arc::default() }
    }

    /// Watches, if the config says so. If the state can no longer be changed, the term is told to end. Never returns.
    pub(super) async fn watch<T>(self, end: &StopHandle) -> T {
        if self.settings.snapshots.iter().any(|snapshot| snapshot.watch.is_some()) {
            let error = tokio::select! {
                error = self.always() => error,
                never = self.count() => never,
            };
            // The scheduler meets the same error, if it was not only ours.
            end.stop(Stop::Drain, StopReason::Schedule(error.to_string()));
        }
        std::future::pending().await
    }

    async fn always(&self) -> StateError {
        let (accounts, rules) = loop {
            match self.prepare().await {
                Ok(prepared) => break prepared,
                Err(error) => {
                    tracing::warn!("nodes cannot be watched: {}; retrying in a minute", error.reason());
                    sleep(PAUSE).await;
                }
            }
        };
        watch(Watch {
            accounts,
            rules,
            store: self.store.clone(),
            clock: Clock::System,
            poll_rate: self.settings.schedule.poll_rate,
            counters: self.counters.clone(),
            random: fastrand::Rng::new(),
        })
        .await
    }

    /// The accounts, and what of them each snapshot watches.
    async fn prepare(&self) -> Result<Prepared, CliError> {
        let fleet = Fleet::connect(self.settings).await?;
        let accounts = fleet.accounts().iter();
        let accounts =
            accounts.map(|account| (account.planned.name.clone(), account.service.clone())).collect();
        let mut rules = Vec::new();
        for snapshot in &self.settings.snapshots {
            rules.extend(rule(self.settings, snapshot).await?);
        }
        Ok((accounts, rules))
    }

    /// Keeps the metrics up to date. Never ends.
    async fn count<T>(&self) -> T {
        let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        loop {
            let counters = &*self.counters;
            self.metrics.watched(&WatchNumbers {
                rounds: count(&counters.rounds),
                list_calls: count(&counters.list_calls),
                failures: count(&counters.failures),
                occurrences: vec![
                    ("claimed", count(&counters.claimed)),
                    ("damped", count(&counters.damped)),
                    ("old", count(&counters.old)),
                ],
            });
            sleep(COUNT).await;
        }
    }
}

type Prepared = (Vec<(AccountName, Arc<AzureBatch>)>, Vec<WatchRule>);

async fn rule(settings: &Settings, snapshot: &SnapshotSettings) -> Result<Option<WatchRule>, CliError> {
    let Some(watch) = &snapshot.watch else { return Ok(None) };
    let mut narrowed = settings.clone();
    narrowed.narrow(&snapshot.pick)?;
    // What is discovered is narrowed there, too.
    let fleet = Fleet::connect(&narrowed).await?;
    let selections = fleet.accounts().iter();
    let selections =
        selections.map(|account| (account.planned.name.clone(), account.selection.clone())).collect();
    Ok(Some(WatchRule {
        snapshot: snapshot.name().clone(),
        states: watch.states.clone(),
        every: watch.every,
        gather: watch.gather,
        quiet: watch.quiet,
        max_age: watch.max_age,
        selections,
    }))
}
