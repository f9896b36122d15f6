//! Notifies webhooks and programs of the end of a run, side by side.
//!
//! A notification that fails is a warning in the log and never changes how the run ends. None takes longer than its
//! `timeout`.

mod chat;
mod command;
mod delivery;
mod message;
mod slack;
mod teams;
mod webhook;

pub(crate) use self::delivery::{NotifyCounts, notify_all};
