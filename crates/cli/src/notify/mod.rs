//! Tells those who are to hear of the end of a run, side by side: webhooks and programs.
//!
//! It never changes how a run ends: whoever cannot be told gets a warning in the log. And it never takes longer than each
//! `timeout` says.

mod command;
mod delivery;
mod message;
mod webhook;

pub(crate) use self::delivery::{Notified, notify_all};
