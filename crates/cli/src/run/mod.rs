//! A run, from config to reports: what `run`, `resume`, the daemon and the commands that look at a run have in common.
//!
//! Nothing here prints or notifies. Whoever calls decides what a person sees, by the [`Watchers`] it gives, and who
//! hears of the end, from the [`FinishedRun`] it gets.

mod carry_out;
mod document;
mod execute;
mod prepare;
mod reported;
mod request;
mod resume;
mod run_end;
mod run_state;
mod start;
mod watchers;

pub(crate) use carry_out::FinishedRun;
pub(crate) use document::NotListed;
pub(crate) use execute::{Reached, Work, execute};
pub(crate) use prepare::{BegunRun, reach};
pub(crate) use reported::{Reported, run_facts};
pub(crate) use request::RunRequest;
pub(crate) use resume::{EndedRun, OpenedRun};
pub(crate) use run_end::RunEnd;
pub(crate) use run_state::RunState;
pub(crate) use start::run_to_end;
pub(crate) use watchers::{ProgressView, Watchers, progress_clock};
