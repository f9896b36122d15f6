//! The ledger: events folded into one status per node, and counts per account. Pure, and small: one byte per node.

use std::collections::HashSet;

use crate::event::{Event, Recorded};
use crate::failure::FailureClass;
use crate::ids::{AccountIndex, AccountName, NodeIndex};
use crate::outcome::{Outcome, OutcomeCounts};
use crate::plan::Plan;
use crate::transition::NodeEvent;

/// The status of a node in its run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NodeStatus {
    /// No call has been sent yet.
    Planned,
    /// A call is in flight, or was when the process died.
    Requested,
    /// A call failed for a passing reason; another will follow.
    Waiting,
    /// A call's answer was lost.
    InDoubt,
    /// The service accepted the call; the files are awaited.
    Accepted,
    /// The files arrived.
    Verified,
    /// Files arrived, but nothing proves that they are all: how many were promised is not known.
    Adopted,
    /// The service accepted the call, and the node promised no file.
    Empty,
    /// Not all files arrived in time.
    Incomplete,
    /// No call succeeded.
    Failed,
    /// The node no longer exists.
    Gone,
}

impl NodeStatus {
    /// Whether the service accepted a call, so that the node has a directory.
    #[must_use]
    pub fn is_accepted(self) -> bool {
        match self {
            Self::Accepted | Self::Verified | Self::Adopted | Self::Incomplete | Self::Empty => true,
            Self::Planned | Self::Requested | Self::Waiting | Self::InDoubt | Self::Failed | Self::Gone => {
                false
            }
        }
    }

    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Planned,
        Self::Requested,
        Self::Waiting,
        Self::InDoubt,
        Self::Accepted,
        Self::Verified,
        Self::Adopted,
        Self::Empty,
        Self::Incomplete,
        Self::Failed,
        Self::Gone,
    ];

    /// The status after an event of the node. Events about anything else change nothing.
    #[must_use]
    pub fn after(self, event: &Event) -> Self {
        NodeEvent::of(event).map_or(self, |event| match event {
            NodeEvent::Requested => Self::Requested,
            NodeEvent::Cancelled | NodeEvent::WillRetry | NodeEvent::Absent => Self::Waiting,
            NodeEvent::InDoubt => Self::InDoubt,
            NodeEvent::AcceptedEmpty => Self::Empty,
            NodeEvent::Accepted | NodeEvent::Adopted => Self::Accepted,
            NodeEvent::FailedGone => Self::Gone,
            NodeEvent::Failed => Self::Failed,
            NodeEvent::FilesVerified => Self::Verified,
            NodeEvent::FilesAdopted => Self::Adopted,
            NodeEvent::FilesIncomplete => Self::Incomplete,
            NodeEvent::DirectoriesFound | NodeEvent::IdentityChanged | NodeEvent::SeenAgain => self,
        })
    }

    /// The outcome, if the run ended here.
    #[must_use]
    pub fn outcome(self) -> Outcome {
        match self {
            Self::Planned | Self::Waiting => Outcome::NotSent,
            Self::Requested | Self::InDoubt => Outcome::InDoubt,
            Self::Accepted => Outcome::Accepted,
            Self::Verified => Outcome::Verified,
            Self::Adopted => Outcome::Adopted,
            Self::Empty => Outcome::Empty,
            Self::Incomplete => Outcome::Incomplete,
            Self::Failed => Outcome::Failed,
            Self::Gone => Outcome::Gone,
        }
    }
}

/// What has happened to an account so far.
#[derive(Clone, Debug, Default)]
pub struct AccountTally {
    counts: [u64; NodeStatus::ALL.len()],
    /// Upload calls sent.
    pub calls: u64,
    /// Calls answered with a request to slow down.
    pub throttled: u64,
    /// The pace after the last throttling, in calls per second.
    pub rate: Option<f64>,
    /// Why nothing more is sent.
    pub stopped: Option<String>,
}

impl AccountTally {
    /// How many nodes have a status.
    #[must_use]
    pub fn count(&self, status: NodeStatus) -> u64 {
        self.counts[status as usize]
    }

    /// The counts by outcome, if the run ended here.
    #[must_use]
    pub fn outcomes(&self) -> OutcomeCounts {
        let mut counts = OutcomeCounts::default();
        for status in NodeStatus::ALL {
            counts.add_many(status.outcome(), self.count(status));
        }
        counts
    }

    /// Nodes of the plan in this account.
    #[must_use]
    pub fn planned(&self) -> u64 {
        self.counts.iter().sum()
    }
}

/// One status per planned node.
#[derive(Clone, Debug)]
pub struct Ledger {
    status: Vec<NodeStatus>,
    account_of: Vec<AccountIndex>,
    names: Vec<AccountName>,
    accounts: Vec<AccountTally>,
    /// Nodes that were no longer the planned ones at the second look. They are few.
    others: HashSet<NodeIndex>,
}

impl Ledger {
    /// Every node is planned, and nothing has happened yet.
    #[must_use]
    pub fn new(plan: &Plan) -> Self {
        let account_of = plan.accounts_of_nodes();
        let mut accounts = vec![AccountTally::default(); plan.accounts.len()];
        for account in &account_of {
            accounts[account.get()].counts[NodeStatus::Planned as usize] += 1;
        }
        let names = plan.accounts.iter().map(|account| account.name.clone()).collect();
        let status = vec![NodeStatus::Planned; account_of.len()];
        Self { status, account_of, names, accounts, others: HashSet::new() }
    }

    /// Applies an event.
    pub fn apply(&mut self, recorded: &Recorded) {
        match &recorded.event {
            // Resuming a run gives every account a new chance.
            Event::RunStarted { .. } => {
                for tally in &mut self.accounts {
                    tally.stopped = None;
                    tally.rate = None;
                }
            }
            Event::AccountThrottled { account, millirate, .. } => {
                if let Some(tally) = self.tally_mut(account) {
                    #[expect(clippy::cast_precision_loss, reason = "a pace far below 2^52")]
                    let rate = *millirate as f64 / 1000.0;
                    tally.rate = Some(rate);
                }
            }
            Event::AccountStopped { account, cause } => {
                if let Some(tally) = self.tally_mut(account) {
                    tally.stopped = Some(cause.to_string());
                }
            }
            event => {
                // A journal that was changed may name a node that the plan does not have.
                if let Some(node) = recorded.node.filter(|node| node.get() < self.status.len()) {
                    self.apply_to_node(node, event);
                }
            }
        }
    }

    fn apply_to_node(&mut self, node: NodeIndex, event: &Event) {
        let tally = &mut self.accounts[self.account_of[node.get()].get()];
        match event {
            Event::UploadRequested { .. } => tally.calls += 1,
            Event::UploadCancelled { .. } => tally.calls = tally.calls.saturating_sub(1),
            Event::UploadWillRetry { cause, .. } | Event::UploadFailed { cause, .. }
                if cause.class == FailureClass::Throttled =>
            {
                tally.throttled += 1;
            }
            Event::IdentityChanged { .. } => {
                self.others.insert(node);
            }
            // No other event changes a count. `NodeStatus::after`, below, names every event.
            _ => {}
        }
        let status = &mut self.status[node.get()];
        tally.counts[*status as usize] -= 1;
        *status = status.after(event);
        tally.counts[*status as usize] += 1;
    }

    /// Whether the node was no longer the planned one at the second look: its files may belong to another life of the
    /// node.
    #[must_use]
    pub fn is_another(&self, node: NodeIndex) -> bool {
        self.others.contains(&node)
    }

    fn tally_mut(&mut self, name: &AccountName) -> Option<&mut AccountTally> {
        let at = self.names.iter().position(|known| known == name)?;
        self.accounts.get_mut(at)
    }

    /// The status of a node.
    #[must_use]
    pub fn status(&self, node: NodeIndex) -> NodeStatus {
        self.status[node.get()]
    }

    /// The accounts of the plan, in its order, with their counts.
    pub fn accounts(&self) -> impl Iterator<Item = (&AccountName, &AccountTally)> {
        self.names.iter().zip(&self.accounts)
    }

    /// How many nodes have a status, over all accounts.
    #[must_use]
    pub fn count(&self, status: NodeStatus) -> u64 {
        self.accounts.iter().map(|tally| tally.count(status)).sum()
    }

    /// The counts by outcome, if the run ended here. They add up to the plan.
    #[must_use]
    pub fn outcomes(&self) -> OutcomeCounts {
        let mut counts = OutcomeCounts::default();
        for status in NodeStatus::ALL {
            counts.add_many(status.outcome(), self.count(status));
        }
        counts
    }
}
