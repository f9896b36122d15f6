//! Progress of a run while it goes on: bars on a terminal, a plain line now and then elsewhere.
//!
//! It counts nothing itself: the ledger does, and every group of events brings it along. So a resumed run starts where
//! the interrupted one ended, and whoever reads the journal of a run sees what the run itself shows. Which of the two
//! forms fits, and whether any, is for the caller to say.

mod bars;
mod live;
mod mode;
mod notices;
mod picture;
mod plain;
mod planning;
mod tally;
mod troubles;

pub use self::live::Progress;
pub use self::mode::{ProgressClock, ProgressMode};
pub use self::planning::PlanningProgress;
