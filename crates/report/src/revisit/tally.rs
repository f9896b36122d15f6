//! What a verification found, counted by pool, with a few examples.

use std::collections::BTreeMap;

use fleetlogs_model::ids::{AccountName, PoolId};
use fleetlogs_model::interval::Interval;
use fleetlogs_model::inventory::{Covers, FileStatus, Standing};
use fleetlogs_model::outcome::{Outcome, RunOutcome};

use super::finding::NodeFinding;

/// Files that are listed on the terminal.
const MOST_NAMED: usize = 10;

/// A pool of an account.
pub(super) type PoolPlace = (AccountName, PoolId);

/// The counts.
#[derive(Debug, Default)]
pub(super) struct RevisitTally {
    /// Nodes and missing files of each pool, by standing.
    pub(super) by_pool: BTreeMap<(Standing, PoolPlace), (u64, u64)>,
    /// Nodes that were never verified, by outcome; and how many of them have files nevertheless.
    pub(super) uncollected: BTreeMap<Outcome, (u64, u64)>,
    /// Files that exist now.
    pub(super) files: u64,
    /// Their bytes.
    pub(super) bytes: u64,
    /// Some of the changed files: node, file and status.
    pub(super) named: Vec<(String, Box<str>, FileStatus)>,
    /// Number of changed files.
    pub(super) not_as_they_were: u64,
    covers: BTreeMap<Covers, u64>,
    /// The longest gap of each pool.
    pub(super) holes: BTreeMap<PoolPlace, PoolGaps>,
    /// Range reads made.
    pub(super) reads: u64,
}

/// The gaps of a pool.
#[derive(Clone, Debug)]
pub(super) struct PoolGaps {
    /// Nodes with a gap.
    pub(super) nodes: u64,
    pub(super) longest: Interval,
    /// A node with the longest gap.
    pub(super) node: Box<str>,
}

impl RevisitTally {
    pub(super) fn add(&mut self, looked_at: NodeFinding<'_>) {
        let NodeFinding { node, outcome, look, coverage, .. } = looked_at;
        let place = (node.account().clone(), node.pool().clone());
        let (nodes, missing) = self.by_pool.entry((look.standing, place.clone())).or_default();
        *nodes += 1;
        *missing += u64::from(look.files_missing);
        if look.standing == Standing::NotCollected {
            let (nodes, with_files) = self.uncollected.entry(outcome).or_default();
            *nodes += 1;
            *with_files += u64::from(look.files_now > 0);
        }
        self.files += u64::from(look.files_now);
        self.bytes = self.bytes.saturating_add(look.bytes_now);
        for file in look.files.iter().filter(|file| file.status != FileStatus::Present) {
            self.not_as_they_were += 1;
            if self.named.len() < MOST_NAMED {
                self.named.push((node.at().to_string(), file.file.clone(), file.status));
            }
        }
        let Some(coverage) = coverage else { return };
        *self.covers.entry(coverage.covers).or_default() += 1;
        self.reads = self.reads.saturating_add(coverage.reads);
        // A node without files is already reported.
        let of_files = coverage.holes.iter().filter(|_| coverage.files > 0);
        let Some(longest) = of_files.copied().max_by_key(|hole| hole.length()) else { return };
        let fresh = || PoolGaps { nodes: 0, longest, node: node.id().into() };
        let holes = self.holes.entry(place).or_insert_with(fresh);
        holes.nodes += 1;
        if longest.length() > holes.longest.length() {
            (holes.longest, holes.node) = (longest, node.id().into());
        }
    }

    pub(super) fn nodes(&self, standing: Standing) -> u64 {
        let of = |((one, _), (nodes, _)): (&(Standing, PoolPlace), &(u64, u64))| {
            if *one == standing { *nodes } else { 0 }
        };
        self.by_pool.iter().map(of).sum()
    }

    pub(super) fn planned(&self) -> u64 {
        self.by_pool.values().map(|(nodes, _)| nodes).sum()
    }

    /// Nodes of which the run verified files.
    pub(super) fn collected(&self) -> u64 {
        self.planned() - self.nodes(Standing::NotCollected)
    }

    pub(super) fn covers(&self, covers: Covers) -> u64 {
        self.covers.get(&covers).copied().unwrap_or(0)
    }

    pub(super) fn outcome(&self) -> RunOutcome {
        if self.collected() > 0 && self.nodes(Standing::Intact) == self.collected() {
            RunOutcome::Complete
        } else if self.files == 0 {
            RunOutcome::NothingCollected
        } else {
            RunOutcome::Partial
        }
    }

    pub(super) fn standings_by_name(&self) -> BTreeMap<&'static str, u64> {
        let counts = Standing::ALL.map(|standing| (standing.as_str(), self.nodes(standing)));
        counts.into_iter().chain([("planned", self.planned())]).collect()
    }

    pub(super) fn covers_by_name(&self) -> BTreeMap<&'static str, u64> {
        Covers::ALL.map(|covers| (covers.as_str(), self.covers(covers))).into()
    }
}
