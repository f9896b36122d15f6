//! The binary against the simulator and other servers, over real HTTP. One file per story.
//!
//! The simulator runs as a process of its own, and what it says of a run (its ledger) is compared with what the run
//! says of itself (its manifest): no test takes the program's own word.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed, and says where")]

mod azurite;
mod bad_credentials;
mod bad_setups;
mod blob_journal;
mod bundle;
mod causes;
mod check_scale_out;
mod clocks;
mod commands;
mod crashes;
mod credentials;
mod demo;
mod disasters;
mod disk;
mod entra;
mod fetching;
mod fleet;
mod foreign_service;
mod generated_fleet;
mod golden_plans;
mod help;
mod history;
mod hostile_texts;
mod init;
mod inputs;
mod json_schema;
mod machine_output;
mod manual;
mod naming;
mod notify;
mod pace;
mod picture;
mod proof;
mod refusals;
mod report_page;
mod resuming;
mod run_store;
mod scale_out;
mod schedule;
mod schemas;
mod sdk;
mod secrets;
mod selection;
mod shared_run;
mod sharing;
mod shells;
mod sites;
mod soak;
mod stage;
mod state_home;
mod stopping;
#[path = "../../crates/engine/src/store_promises.rs"]
mod store_promises;
mod terminal;
mod ticket;
mod upgrades;
mod verify_later;
mod watching;
mod work_queue;
mod wrong_inputs;
