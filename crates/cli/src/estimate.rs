//! How long the calls of a run will take.

use std::time::Duration;

use fleetlogs_engine::settings::Limits;
use fleetlogs_model::plan::Plan;

/// How long the calls of a plan will take: the slowest account decides. With an unlimited rate, a call is assumed to
/// last 100 ms.
pub(crate) fn estimate(plan: &Plan, limits: &Limits) -> Duration {
    let largest = plan.accounts.iter().map(|account| account.nodes).max().unwrap_or(0);
    estimate_calls(largest as usize, limits)
}

/// How long this many calls to one account will take.
pub(crate) fn estimate_calls(calls: usize, limits: &Limits) -> Duration {
    #[expect(clippy::cast_precision_loss, reason = "both are far below 2^52")]
    let (calls, concurrency) = (calls as f64, limits.concurrency as f64);
    Duration::from_secs_f64(calls / limits.rate.unwrap_or(f64::INFINITY).min(concurrency / 0.1))
}
