//! How far this machine's clock is off, and how far it may be.

use std::time::Duration;

use fleetlogs_model::duration;

/// How far a clock may be off with Shared Key (learn.microsoft.com, "Authentication via Shared Key").
pub(crate) const SHARED_KEY_SKEW: time::Duration = time::Duration::minutes(15);

/// How far this machine's clock is off, in words. `service_ahead` is how far the service's clock is ahead.
pub(crate) fn off_by(service_ahead: time::Duration) -> String {
    let side = if service_ahead.is_positive() { "behind" } else { "ahead of" };
    let by = Duration::from_secs(service_ahead.whole_seconds().unsigned_abs());
    format!("{} {side} the service's", duration::text(by))
}
