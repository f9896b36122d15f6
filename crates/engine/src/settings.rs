//! The numbers that steer a run, as the config means them.

use std::time::Duration;

use fleetlogs_model::retry::RetryPolicy;

/// Limits that hold for each Batch account on its own.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Upload calls per second, at most; none for no ceiling.
    pub rate: Option<f64>,
    /// Upload calls in flight, at most.
    pub concurrency: usize,
    /// Uploads accepted whose files have not arrived yet, at most, over all accounts; none for no limit.
    pub max_uploads_in_flight: Option<usize>,
    /// Time between two readings of an account's lists, which keep the order of its calls up to date; none for never.
    pub relist: Option<Duration>,
}

/// When to give up.
#[derive(Clone, Debug)]
pub struct Deadlines {
    /// For one call, from connecting to the last byte of the answer.
    pub call: Duration,
    /// For one node, from its first call. Time spent waiting for an in-doubt call to show up does not count.
    pub node: Duration,
    /// For the whole run, from its start.
    pub run: Duration,
}

/// How many nodes may end as `failed` before an account, or the run, is stopped; none for any number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    /// Per run.
    pub run: Option<Allowed>,
    /// Per account.
    pub account: Option<Allowed>,
}

/// A number of failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// This many nodes.
    Nodes(u32),
    /// A share of the plan, in percent.
    Percent(u8),
}

impl Allowed {
    /// The number of nodes out of `planned`. A share is rounded up, so that it never allows less than it says.
    #[must_use]
    pub fn of(self, planned: usize) -> u64 {
        match self {
            Self::Nodes(nodes) => nodes.into(),
            Self::Percent(percent) => (planned as u64 * u64::from(percent)).div_ceil(100),
        }
    }
}

/// How arrival is proved.
#[derive(Clone, Debug)]
pub struct VerifySettings {
    /// How long files may take, counted from the last accepted call.
    pub deadline: Duration,
    /// How long the directory of an in-doubt call may take to show up.
    pub settle: Duration,
    /// How long a node may take to upload after its call.
    pub upload_allowance: Duration,
}

/// All numbers that steer a run.
#[derive(Clone, Debug)]
pub struct RunSettings {
    /// Per account.
    pub limits: Limits,
    /// When to retry.
    pub retry: RetryPolicy,
    /// When to give up.
    pub deadlines: Deadlines,
    /// How many nodes may fail.
    pub budget: Budget,
    /// How arrival is proved.
    pub verify: VerifySettings,
}
