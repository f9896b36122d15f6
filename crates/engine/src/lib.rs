//! All decisions of fleetlogs: what to plan, when to send, when to retry, when to give up, what counts as arrived; and
//! the journal that these rest on. It knows the outside only through `BatchService` and `LogStore`.

/// A place where a test may end the process, as a power cut would: `FAILPOINTS="before-commit=5*off->return"` ends it
/// at the sixth time. Nothing in a normal build.
macro_rules! crash_point {
    ($name:literal) => {
        #[cfg(feature = "failpoints")]
        fail::fail_point!($name, |_| std::process::abort());
    };
}

// The promises of a store name this crate as other crates do.
#[cfg(test)]
extern crate self as fleetlogs_engine;

pub mod access;
pub mod clock;
mod clock_jump;
pub mod collect;
mod directory_name;
pub mod doubt;
pub mod event_log;
pub mod execute;
#[cfg(test)]
#[path = "../../../tests/formats/lock.rs"]
mod format_lock;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod intent;
pub mod jobs;
pub mod local_store;
pub mod node_spool;
pub mod pace;
pub mod plan;
#[cfg(test)]
mod properties;
mod queue;
pub mod recorded_run;
pub mod resume;
pub mod retry;
pub mod revisit;
mod roster;
pub mod run;
pub mod run_record;
pub mod sas_guard;
pub mod scale_out;
pub mod schedule;
pub mod second_look;
pub mod select;
pub mod settings;
#[cfg(test)]
mod simulation;
pub mod stop;
#[cfg(test)]
mod store_promises;
pub mod sweep;
pub mod tenure_guard;
#[cfg(test)]
mod testing;
#[cfg(any(test, feature = "transitions"))]
mod transitions;
pub mod verify;
pub mod window;
