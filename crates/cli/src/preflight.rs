//! The preflight checks, made by `check` and before the first upload call of every run. Each finding says what it is
//! about and what to do.

mod accounts;
mod container;
mod finding;
mod journal;
mod queues;

pub(crate) use self::accounts::{clocks, identities, listed_elsewhere, listings, patterns, tokens, windows};
pub(crate) use self::container::{early, listing, open_store, probe, sas};
pub(crate) use self::finding::{Finding, Findings, Level};
pub(crate) use self::journal::{journal, journal_sas};
pub(crate) use self::queues::queues;
