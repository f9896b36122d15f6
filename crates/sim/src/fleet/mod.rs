//! The fleet: accounts, pools and nodes as they are at a given moment.
//!
//! It knows nothing about HTTP. A node costs one byte of memory: its id, its dates and its behaviour follow from the
//! seed.

mod job;
mod life;
mod node_id;
mod pool;

pub(crate) use job::{Job, TaskRun, TaskState};
pub(crate) use life::NodeMoment;
pub(crate) use pool::{NodeDates, Pool, node_address};
