//! Runs that several workers share: laid out, worked on partition by partition, and brought together at the end.
//!
//! Here is what the commands `fan-out`, `worker`, `fan-in` and `run --shard` have in common. What a worker is, and how
//! its partitions become one run again, is the engine's (docs/design/scale-out.md).

mod gather;
mod lay_out;
mod partitions;
mod shard;
mod stored_pick;

pub(crate) use gather::{Gathering, gather};
pub(crate) use lay_out::{LaidOutRun, send};
pub(crate) use partitions::Partitions;
pub(crate) use shard::{ShardArgs, run_shard};

use std::time::Duration;

use fleetlogs_engine::scale_out::WorkerSettings;

use crate::config::Settings;

/// Between two looks at a queue in which there is nothing to be seen.
const IDLE: Duration = Duration::from_secs(2);

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
