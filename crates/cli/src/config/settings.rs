//! The settings: the whole config.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use fleetlogs_azure::EntraSettings;
use fleetlogs_engine::settings::{Budget, Deadlines, Limits, RunSettings, VerifySettings};
use fleetlogs_model::retry::RetryPolicy;

use super::account::AccountSettings;
use super::destination::DestinationSettings;
use super::discover::DiscoverSettings;
use super::journal::JournalSettings;
use super::notify::NotifySettings;
use super::scale_out::ScaleOutSettings;
use super::schedule::ScheduleSettings;
use super::snapshot::SnapshotSettings;
use super::ticket::TicketSettings;
use super::window::WindowSpec;

/// The config, checked and complete.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// SHA-256 of the config file, in hex.
    pub(crate) digest: String,
    pub(crate) window: WindowSpec,
    /// How long the window of `--around` is before and after its moment.
    pub(crate) around_sides: (Duration, Duration),
    /// Whether the run is refused if an account or pool cannot be listed.
    pub(crate) strict: bool,
    /// None only if a simulator brings its own container.
    pub(crate) destination: Option<DestinationSettings>,
    /// How to authenticate with Entra, for Batch and for storage.
    pub(crate) entra: EntraSettings,
    pub(crate) upload_allowance: Duration,
    pub(crate) limits: Limits,
    pub(crate) retry: RetryPolicy,
    pub(crate) deadlines: Deadlines,
    pub(crate) budget: Budget,
    pub(crate) verification: bool,
    pub(crate) verify: VerifySettings,
    /// Where run directories go.
    pub(crate) output_dir: PathBuf,
    /// Where the journals of runs are; none if they are in the run directories, and for commands that make no run.
    pub(crate) journal: Option<JournalSettings>,
    /// The queues of workers; none if there are none, and for commands that do not use them.
    pub(crate) scale_out: Option<ScaleOutSettings>,
    pub(crate) accounts: Vec<AccountSettings>,
    pub(crate) discover: Option<DiscoverSettings>,
    pub(crate) simulator: Option<Simulator>,
    pub(crate) ticket: Option<TicketSettings>,
    pub(crate) schedule: ScheduleSettings,
    pub(crate) snapshots: Vec<SnapshotSettings>,
    /// The receivers that are notified when a run ends; empty for commands that end no run.
    pub(crate) notify: Vec<NotifySettings>,
}

impl Settings {
    /// The sites of all accounts, each once; none is that of accounts without a site.
    pub(crate) fn sites(&self) -> BTreeSet<Option<String>> {
        let of_found = self.discover.iter().map(|discover| discover.shared.site.clone());
        self.accounts.iter().map(|account| account.site.clone()).chain(of_found).collect()
    }

    /// How long a partition is kept from others after its worker died.
    pub(crate) fn partition_lease(&self) -> Duration {
        let of_workers = self.scale_out.as_ref().map(|scale_out| scale_out.lease);
        let of_runs = self.journal.as_ref().map(|journal| journal.lease);
        of_workers.or(of_runs).unwrap_or(Duration::from_secs(60))
    }

    /// The numbers that steer a run.
    pub(crate) fn for_run(&self) -> RunSettings {
        RunSettings {
            limits: self.limits.clone(),
            retry: self.retry.clone(),
            deadlines: self.deadlines.clone(),
            budget: self.budget,
            verify: self.verify.clone(),
        }
    }
}

/// A simulated fleet instead of accounts.
#[derive(Clone, Debug)]
pub(crate) struct Simulator {
    pub(crate) scenario: PathBuf,
}
