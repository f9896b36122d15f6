//! What `fleetlogs init` writes: the short config, the questions that fill it in, and what Azure knows.

mod draft;
mod find;
mod questions;

pub(crate) use self::draft::ConfigDraft;
pub(crate) use self::find::find;
pub(crate) use self::questions::{Question, ask};
