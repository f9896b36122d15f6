//! A run that several workers share.
//!
//! Its plan is [split](split_plan) into partitions, one for each Batch account, and each is a run of its own: with its
//! own plan, journal and hold in a store. A [worker](work) takes partitions from a queue and works on them as `run`
//! does. Whoever looks at the run opens its [`MergedRunStore`], which reads like a run of one process.
//!
//! All of this is decided on traits: it knows neither the store nor the queue.

mod join;
mod local_queue;
mod merge;
mod reader;
#[cfg(test)]
mod simulation;
mod split;
mod standing;
mod store;
#[cfg(test)]
mod testing;
mod whole_run;
mod worker;

pub use local_queue::LocalQueue;
pub use split::{PartitionPlans, split_plan};
pub use standing::{PartitionStanding, is_handed_on, is_over};
pub use store::{MergedRunStore, PartitionStore, RunSeed};
pub use worker::{PartitionWork, WorkerEnd, WorkerSettings, work};
