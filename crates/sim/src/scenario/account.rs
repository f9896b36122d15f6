//! One Batch account of a scenario.

use std::time::Duration;

use serde::Deserialize;

use super::clock::ClockShift;
use super::fault::{ArrivalFault, Fault};
use super::job::JobScenario;
use super::pool::PoolScenario;
use super::values::{Between, RetryAfter, Skew, Span};

/// `[[account]]`: a Batch account on its own port.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AccountScenario {
    pub(crate) name: String,
    /// Base64; derived from the seed if left out.
    pub(crate) key: Option<String>,
    /// Added to the duration of every call.
    #[serde(default = "no_latency")]
    pub(crate) latency: Between<Span>,
    /// Calls served per second, of every kind and from all clients together; further calls are answered with 429.
    /// None: no limit.
    pub(crate) capacity: Option<f64>,
    /// What a 429 for capacity says about waiting; nothing if left out.
    pub(crate) retry_after: Option<RetryAfter>,
    /// How the capacity changes as time passes.
    #[serde(default)]
    pub(crate) capacity_change: Vec<CapacityChange>,
    /// How clients may authenticate.
    #[serde(default = "every_auth_mode")]
    pub(crate) auth: Vec<AuthMode>,
    /// The largest page of pools or nodes; `maxresults` can only lower it.
    #[serde(default = "largest_page")]
    pub(crate) page_size: u32,
    /// By how much the account's clock is wrong: it sets the Date header, and the Shared Key check uses it.
    #[serde(default)]
    pub(crate) clock_skew: Skew,
    #[serde(default, rename = "clock_shift")]
    pub(crate) clock_shifts: Vec<ClockShift>,
    /// Ids of pools and jobs may be any text, as a broken or hostile service would send it.
    #[serde(default)]
    pub(crate) any_ids: bool,
    /// The subscription that contains the account.
    #[serde(default = "some_subscription")]
    pub(crate) subscription: String,
    /// Whose subscription contains the machines.
    #[serde(default)]
    pub(crate) pool_allocation_mode: PoolAllocationMode,
    #[serde(default, rename = "pool")]
    pub(crate) pools: Vec<PoolScenario>,
    #[serde(default, rename = "job")]
    pub(crate) jobs: Vec<JobScenario>,
    #[serde(default, rename = "fault")]
    pub(crate) faults: Vec<Fault>,
    #[serde(default, rename = "arrival_fault")]
    pub(crate) arrival_faults: Vec<ArrivalFault>,
}

/// `[[account.capacity_change]]`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CapacityChange {
    /// When, counted from the start of the simulator.
    pub(crate) at: Span,
    pub(crate) capacity: f64,
}

/// A way to authenticate.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum AuthMode {
    SharedKey,
    Entra,
}

/// Whose subscription contains the machines of an account, spelled as the service spells it.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
pub(crate) enum PoolAllocationMode {
    #[default]
    BatchService,
    /// Shared Key is then refused, whatever `auth` says.
    UserSubscription,
}

impl AccountScenario {
    /// Whether clients may authenticate in this way.
    pub(crate) fn accepts(&self, mode: AuthMode) -> bool {
        let refused =
            mode == AuthMode::SharedKey && self.pool_allocation_mode == PoolAllocationMode::UserSubscription;
        self.auth.contains(&mode) && !refused
    }
}

fn some_subscription() -> String {
    "00000000-0000-0000-0000-000000000001".to_owned()
}

fn no_latency() -> Between<Span> {
    Between::always(Span(Duration::ZERO))
}

fn every_auth_mode() -> Vec<AuthMode> {
    vec![AuthMode::SharedKey, AuthMode::Entra]
}

fn largest_page() -> u32 {
    1000
}
