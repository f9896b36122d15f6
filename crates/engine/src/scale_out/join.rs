//! Joins the plans of the partitions to that of the run.

use std::io;

use fleetlogs_model::hex::hex;
use fleetlogs_model::plan::Plan;
use fleetlogs_model::planned::{PlannedNode, PlannedNodes};
use fleetlogs_model::run_store::{JournalError, JournalErrorKind, StoredPlan};
use sha2::{Digest as _, Sha256};

use crate::node_spool::node_spool;

/// The plan of a run in the making.
pub(super) struct Joining {
    plan: Option<Plan>,
    digest: PlanDigests,
}

/// What ties the plans of the partitions to their journals: one hash over theirs.
#[derive(Default)]
pub(super) struct PlanDigests(Sha256);

impl PlanDigests {
    pub(super) fn add(&mut self, digest: &str) {
        self.0.update(digest);
        self.0.update("\n");
    }

    pub(super) fn finish(self) -> String {
        hex(&self.0.finalize())
    }
}

impl Joining {
    pub(super) fn new() -> Self {
        Self { plan: None, digest: PlanDigests::default() }
    }

    /// Adds the plan of the next partition.
    pub(super) fn add(&mut self, stored: StoredPlan) -> Result<(), JournalError> {
        self.digest.add(&stored.digest);
        let part = stored.plan;
        let Some(whole) = &mut self.plan else {
            let nodes = PlannedNodes::spooled(node_spool());
            let mut whole = Plan { nodes, ..part.clone() };
            push_nodes(&mut whole.nodes, &part).map_err(|error| unspooled(&error))?;
            self.plan = Some(whole);
            return Ok(());
        };
        if part.run_id != whole.run_id {
            let what = format!("a partition of run {} has the plan of run {}", whole.run_id, part.run_id);
            return Err(JournalError::new(JournalErrorKind::OtherPlan, what));
        }
        if let Some(twice) = part.accounts.iter().find(|account| whole.account_index(&account.name).is_some())
        {
            let what = format!("account `{}` is in two partitions of run {}", twice.name, whole.run_id);
            return Err(JournalError::new(JournalErrorKind::NoPlan, what));
        }
        push_nodes(&mut whole.nodes, &part).map_err(|error| unspooled(&error))?;
        // Nodes with a time range of their own move the start of their plan's.
        whole.window.start = whole.window.start.min(part.window.start);
        whole.window.end = whole.window.end.max(part.window.end);
        whole.accounts.extend(part.accounts);
        whole.pools.extend(part.pools);
        whole.left_out.extend(part.left_out);
        Ok(())
    }

    pub(super) fn finish(self) -> Result<StoredPlan, JournalError> {
        let none = || JournalError::new(JournalErrorKind::NoPlan, "the run has no partition");
        let mut plan = self.plan.ok_or_else(none)?;
        plan.nodes.shrink();
        Ok(StoredPlan { plan, digest: self.digest.finish() })
    }
}

fn push_nodes(nodes: &mut PlannedNodes, part: &Plan) -> io::Result<()> {
    // The text of a node knows less about its pool than the plan does.
    for (at, node) in part.nodes.iter().zip(part.nodes.details()) {
        nodes.push(&PlannedNode { place: at.place.clone(), ..node? })?;
    }
    Ok(())
}

fn unspooled(error: &io::Error) -> JournalError {
    JournalError::new(
        JournalErrorKind::Failed,
        format!("the plan cannot be kept in a temporary file: {error}"),
    )
}
