//! How workers are started, and how they work.

use std::time::Duration;

use fleetlogs_engine::scale_out::WorkerSettings;

use crate::config::Settings;

/// Between two looks at a queue in which there is nothing to be seen.
const IDLE: Duration = Duration::from_secs(2);

/// The command that starts a worker of a site.
pub(crate) fn worker_command(site: Option<&str>) -> String {
    site.map_or_else(|| "fleetlogs worker".to_owned(), |site| format!("fleetlogs worker --site {site}"))
}

/// How a worker works. Without `[scale_out]`, with its defaults.
pub(crate) fn worker_settings(settings: &Settings) -> WorkerSettings {
    let scale_out = settings.scale_out.as_ref();
    WorkerSettings {
        at_once: scale_out.map_or(4, |scale_out| scale_out.partitions_at_once),
        hidden: settings.partition_lease(),
        heartbeat: scale_out.map_or(settings.partition_lease() / 4, |scale_out| scale_out.heartbeat),
        failures: scale_out.map_or(5, |scale_out| scale_out.poison_after),
        idle: IDLE,
        forever: false,
    }
}
