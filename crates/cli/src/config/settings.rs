//! What the config means, as a whole.

use std::path::PathBuf;
use std::time::Duration;

use fleetlogs_azure::EntraSettings;
use fleetlogs_engine::settings::{Budget, Deadlines, Limits, RunSettings, VerifySettings};
use fleetlogs_model::retry::RetryPolicy;

use super::account::AccountSettings;
use super::destination::DestinationSettings;
use super::discover::DiscoverSettings;
use super::notify::NotifySettings;
use super::schedule::ScheduleSettings;
use super::snapshot::SnapshotSettings;
use super::ticket::TicketSettings;
use super::window::WindowSpec;

/// What the config means.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// SHA-256 of the file, in hex.
    pub(crate) digest: String,
    pub(crate) window: WindowSpec,
    /// Whether an account or pool that cannot be listed refuses the run.
    pub(crate) strict: bool,
    /// None only where a simulator brings its own container.
    pub(crate) destination: Option<DestinationSettings>,
    /// How tokens of Entra are got, for Batch and for storage.
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
    pub(crate) accounts: Vec<AccountSettings>,
    pub(crate) discover: Option<DiscoverSettings>,
    pub(crate) simulator: Option<Simulator>,
    pub(crate) ticket: Option<TicketSettings>,
    pub(crate) schedule: ScheduleSettings,
    pub(crate) snapshots: Vec<SnapshotSettings>,
    /// Who hears of the end of a run; nobody where the command ends none.
    pub(crate) notify: Vec<NotifySettings>,
}

impl Settings {
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
