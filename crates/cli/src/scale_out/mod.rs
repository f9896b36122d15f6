//! Runs that several workers share: laid out, worked on partition by partition, and brought together at the end.
//!
//! Here is what the commands `fan-out`, `worker`, `fan-in` and `run --shard` have in common. What a worker is, and how
//! its partitions become one run again, is the engine's (docs/design/scale-out.md).

mod gather;
mod lay_out;
mod partitions;
mod shard;
mod stored_pick;
mod workers;

pub(crate) use gather::{Gathering, gather};
pub(crate) use lay_out::{LaidOutRun, send};
pub(crate) use partitions::Partitions;
pub(crate) use shard::{ShardArgs, run_shard};
pub(crate) use workers::{worker_command, worker_settings};
