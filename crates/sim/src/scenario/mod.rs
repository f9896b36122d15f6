//! Scenarios: what is simulated, as TOML.
//!
//! This module defines how a scenario is written; the modules that carry it out define what it means.
//! `docs/reference/scenario.md` describes every key; each type here names the table that it reads.
//!
//! An unknown key, a wrong value or a contradiction is an error that names the place. Nothing is guessed: a drill
//! that silently simulates less than it was asked for is worse than none.

mod account;
mod check;
mod clock;
mod document;
mod fault;
mod job;
mod pool;
mod values;

pub(crate) use account::{AccountScenario, AuthMode, CapacityChange, PoolAllocationMode};
pub(crate) use clock::ClockShift;
pub(crate) use document::StorageScenario;
pub use document::{Scenario, ScenarioError};
pub(crate) use fault::{
    ArrivalFault, ArrivalFaultKind, DirectoryForm, EchoPlace, Fault, FaultKind, FloodPart, Operation,
    ReadFault, ReadFaultKind, Spelling, StorageFault, StorageFaultKind, StorageOperation,
};
pub(crate) use job::JobScenario;
pub(crate) use pool::{
    AllocationState, FileContent, Life, NodeError, NodeState, Os, PoolScenario, PoolState,
};
pub(crate) use values::{RetryAfter, Skew};
