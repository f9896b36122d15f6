//! Snapshots: which run starts next, when, and how earlier ones ended.
//!
//! A timetable, nodes that entered a watched state, or an alert request a run by a row in the queue ([`state::runs`]).
//! The scheduler takes rows from there, one at a time for each [`Lane`], and a [`Runner`] runs them. Every decision is
//! in the state before it is acted on, so that a killed process leaves nothing undone and nothing is done twice. Design
//! and reasons: docs/design/schedule.md.

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
