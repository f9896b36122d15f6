//! What crosses a boundary in fleetlogs: ids, the frozen plan, events, failures, the ledger folded from the events,
//! and the traits through which the engine sees the outside. No network and no runtime. It opens no files of its
//! own; what several crates need to write theirs is here: owner-only options ([`files`]) and files written completely
//! or not at all ([`whole_file`]).

pub mod access;
pub mod count;
pub mod duration;
pub mod event;
pub mod event_sink;
mod event_text;
pub mod evidence;
pub mod failure;
pub mod files;
pub mod fingerprint;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod hashed;
pub mod hex;
pub mod history;
pub mod home;
pub mod ids;
pub mod interval;
pub mod inventory;
pub mod json_stream;
pub mod json_value_end;
pub mod known_cause;
pub mod ledger;
pub mod listing;
pub mod node_facts;
pub mod outcome;
pub mod partition_state;
pub mod plan;
pub mod planned;
pub mod retry;
pub mod run_store;
pub mod sas;
pub mod schema;
pub mod scrub;
pub mod secret;
pub mod service;
pub mod shell_word;
pub mod snapshot;
pub mod stop_cause;
pub mod timestamp;
pub mod transition;
pub mod whole_file;
pub mod window;
pub mod work_queue;
