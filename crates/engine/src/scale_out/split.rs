//! Splits the plan of a run into its partitions: one for each Batch account, because the rate of calls to an account
//! has one owner.

use std::collections::HashMap;
use std::io;
use std::iter::Peekable;
use std::sync::Arc;

use fleetlogs_model::ids::AccountName;
use fleetlogs_model::plan::{LeftOut, Plan, PlannedAccount};
use fleetlogs_model::planned::{NodeAt, PlannedNode, PlannedNodes, PlannedPool};

use crate::node_spool::node_spool;

/// The plans of the partitions, in the order of the accounts. An account without nodes has one, too: the run would lack
/// what is known about it.
#[must_use]
pub fn split_plan(plan: &Plan) -> PartitionPlans<'_> {
    let mut pools: HashMap<&AccountName, Vec<Arc<PlannedPool>>> = HashMap::new();
    for pool in &plan.pools {
        pools.entry(&pool.account).or_default().push(pool.clone());
    }
    let mut left_out: HashMap<&AccountName, Vec<&LeftOut>> = HashMap::new();
    for left in &plan.left_out {
        left_out.entry(&left.account).or_default().push(left);
    }
    let nodes: NodesWithDetails<'_> = Box::new(plan.nodes.iter().zip(plan.nodes.details()));
    PartitionPlans { plan, accounts: plan.accounts.iter(), nodes: nodes.peekable(), pools, left_out }
}

type NodesWithDetails<'plan> =
    Box<dyn Iterator<Item = (NodeAt<'plan>, io::Result<PlannedNode>)> + Send + 'plan>;

/// See [`split_plan`]. A plan whose nodes cannot be read, or are not in the order of its accounts, ends with an error.
pub struct PartitionPlans<'plan> {
    plan: &'plan Plan,
    accounts: std::slice::Iter<'plan, PlannedAccount>,
    nodes: Peekable<NodesWithDetails<'plan>>,
    pools: HashMap<&'plan AccountName, Vec<Arc<PlannedPool>>>,
    left_out: HashMap<&'plan AccountName, Vec<&'plan LeftOut>>,
}

impl PartitionPlans<'_> {
    fn partition(&mut self, account: &PlannedAccount) -> io::Result<Plan> {
        let mut nodes = PlannedNodes::spooled(node_spool());
        while let Some((at, node)) = self.nodes.next_if(|(at, _)| *at.account() == account.name) {
            nodes.push(&PlannedNode { place: at.place.clone(), ..node? })?;
        }
        nodes.shrink();
        if nodes.len() != account.nodes as usize {
            let what = format!(
                "the plan has {} nodes of account `{}` in one place, and should have {}",
                nodes.len(),
                account.name,
                account.nodes
            );
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        Ok(Plan {
            accounts: vec![account.clone()],
            pools: self.pools.remove(&account.name).unwrap_or_default(),
            nodes,
            left_out: self.left_out.remove(&account.name).unwrap_or_default().into_iter().cloned().collect(),
            ..self.plan.head()
        })
    }
}

impl Iterator for PartitionPlans<'_> {
    type Item = io::Result<Plan>;

    fn next(&mut self) -> Option<io::Result<Plan>> {
        let account = self.accounts.next()?;
        Some(self.partition(account))
    }
}
