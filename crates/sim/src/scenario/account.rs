//! One Batch account of a scenario.

use std::time::Duration;

use serde::Deserialize;

use super::values::{Between, RetryAfter, Skew, Span};
use super::{ArrivalFault, Fault, JobScenario, PoolScenario};

/// `[[account]]`: a Batch account on a port of its own.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AccountScenario {
    pub(crate) name: String,
    /// Base64; derived from the seed where it is left out.
    pub(crate) key: Option<String>,
    /// Added to every call.
    #[serde(default = "no_latency")]
    pub(crate) latency: Between<Span>,
    /// Calls per second that are served, of whatever kind and from whomever; what goes beyond is answered 429. None: no
    /// limit.
    pub(crate) capacity: Option<f64>,
    /// What a 429 of the capacity says about waiting; nothing where it is left out.
    pub(crate) retry_after: Option<RetryAfter>,
    /// How the capacity changes as time passes.
    #[serde(default)]
    pub(crate) capacity_change: Vec<CapacityChange>,
    /// Accepted ways to prove who is calling.
    #[serde(default = "every_auth_mode")]
    pub(crate) auth: Vec<AuthMode>,
    /// The largest page of pools or nodes; `maxresults` can only lower it.
    #[serde(default = "largest_page")]
    pub(crate) page_size: u32,
    /// How far the clock of the account is off: the Date header and the Shared Key check follow it.
    #[serde(default)]
    pub(crate) clock_skew: Skew,
    /// The subscription that lists it.
    #[serde(default = "some_subscription")]
    pub(crate) subscription: String,
    /// Whose subscription its machines are in.
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

/// What an account takes as proof.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum AuthMode {
    SharedKey,
    Entra,
}

/// Whose subscription the machines of an account are in, spelled as the service spells it.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
pub(crate) enum PoolAllocationMode {
    #[default]
    BatchService,
    /// Shared Key is refused then, whatever `auth` says.
    UserSubscription,
}

impl AccountScenario {
    /// Whether the account takes this as proof.
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
