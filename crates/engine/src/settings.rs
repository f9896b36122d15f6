//! The numbers that steer a run, as the config means them.

use std::time::Duration;

/// Limits that hold for each Batch account on its own.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Upload calls per second, at most; none for no ceiling.
    pub rate: Option<f64>,
    /// Upload calls in flight, at most.
    pub concurrency: usize,
    /// Uploads accepted whose files have not arrived yet, at most, over all accounts; none for no limit.
    pub max_uploads_in_flight: Option<usize>,
}

/// When to try again.
#[derive(Clone, Debug)]
pub struct RetryPolicy {
    /// Calls for one node, at most. Calls that were throttled do not count: they say nothing about the node.
    pub attempts: u32,
    /// Longest first delay; it doubles with each attempt.
    pub base_delay: Duration,
    /// Longest delay.
    pub max_delay: Duration,
}

/// When to give up.
#[derive(Clone, Debug)]
pub struct Deadlines {
    /// One call, from connecting to the last byte of the answer.
    pub call: Duration,
    /// One node, from its first call. Time spent waiting for an in-doubt call to show up does not count.
    pub node: Duration,
    /// The whole run, from its start.
    pub run: Duration,
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
