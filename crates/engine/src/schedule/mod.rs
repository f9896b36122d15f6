//! Snapshots: which run is to begin next, when, and what came of those before.
//!
//! Whatever asks for a run puts it on record as a row of the queue ([`state::runs`]): a timetable, nodes that entered a
//! state, an alert. The scheduler takes rows from there, one at a time for each [`Lane`], and has a [`Runner`] run them.
//! Every decision is in the state before it is acted on, so that a process that is killed leaves nothing undone and
//! nothing to be done twice. Design and reasons: docs/design/schedule.md.

pub mod decide;
mod job;
pub mod overview;
pub mod ownership;
mod recovery;
mod rule;
mod runner;
pub mod scheduler;
pub mod state;
pub mod timetable;
pub mod watch;

pub use self::job::{Job, JobEnd, JobId};
pub use self::rule::{CatchUp, Lane, Overlap, Rule};
pub use self::runner::{Runner, StartRecord};
pub use self::scheduler::Scheduler;
pub use self::timetable::Timetable;
