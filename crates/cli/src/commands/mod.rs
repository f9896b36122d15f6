//! The commands, a file each.

pub(crate) mod bundle;
pub(crate) mod check;
pub(crate) mod completions;
pub(crate) mod demo;
pub(crate) mod fan_in;
pub(crate) mod fan_out;
pub(crate) mod fetch;
pub(crate) mod history;
pub(crate) mod init;
pub(crate) mod man;
pub(crate) mod plan;
pub(crate) mod report;
pub(crate) mod resume;
pub(crate) mod run;
mod run_told;
pub(crate) mod runs;
pub(crate) mod schedule;
mod schedule_list;
pub(crate) mod schema;
pub(crate) mod share;
pub(crate) mod sim;
pub(crate) mod status;
pub(crate) mod ticket;
pub(crate) mod verify;
pub(crate) mod worker;
