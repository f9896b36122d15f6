//! One kind of trouble over all accounts that have it, as the terminal shows it: the cause, the number of nodes, the
//! place.

use std::borrow::Cow;
use std::collections::BTreeMap;

use fleetlogs_model::ids::{AccountName, NodeRef, PoolId};
use fleetlogs_model::outcome::Outcome;

use crate::cause::{Cause, MOST_EXAMPLES, STORAGE_BLOCKED};
use crate::look::Look;
use crate::text::{counted, for_terminal, number};
use crate::width::{cut, shortened};

/// Accounts or pools that are named with a trouble; more are counted.
const MOST_NAMES: usize = 3;
/// Columns of the name of an account or pool; the service allows 24 and 64 characters.
const NAME_WIDTH: usize = 40;
/// Node ids are not shortened below this.
const NARROWEST_NODE: usize = 12;

/// One kind of trouble.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    pub(crate) outcome: Outcome,
    pub(crate) nodes: u64,
    reason: String,
    accounts: Vec<AccountName>,
    /// Empty if there were too many to keep.
    pools: Vec<PoolId>,
    examples: Vec<NodeRef>,
}

impl Trouble {
    /// Folds causes, which are per account, over the accounts. Those with the most nodes come first.
    pub(crate) fn fold(causes: &[Cause]) -> Vec<Self> {
        let mut found: BTreeMap<(Outcome, &str), Self> = BTreeMap::new();
        for cause in causes {
            let trouble = found.entry((cause.outcome, &cause.reason)).or_insert_with(|| Self {
                outcome: cause.outcome,
                nodes: 0,
                reason: cause.reason.clone(),
                accounts: vec![],
                pools: vec![],
                examples: vec![],
            });
            trouble.nodes += cause.nodes;
            if !trouble.accounts.contains(&cause.account) {
                trouble.accounts.push(cause.account.clone());
            }
            trouble.pools.extend(cause.pools.iter().cloned());
            let room = MOST_EXAMPLES - trouble.examples.len();
            trouble.examples.extend(cause.examples.iter().take(room).cloned());
        }
        let mut troubles: Vec<_> = found.into_values().collect();
        troubles.sort_by_key(|trouble| std::cmp::Reverse(trouble.nodes));
        troubles
    }

    /// `storage blocked from pool render: 212 nodes of contoso`. If the run has only one account, it is not named.
    pub(crate) fn headline(&self, one_account: bool) -> String {
        let nodes = counted(self.nodes, "node");
        let of = if one_account { String::new() } else { format!(" of {}", self.whose()) };
        if self.reason == STORAGE_BLOCKED {
            return format!("storage blocked from {}: {nodes}{of}", self.which_pools());
        }
        let reason = for_terminal(&self.reason);
        let reason = reason.trim_end_matches(['.', ':']);
        match self.pools.len() {
            0 => format!("{reason}: {nodes}{of}"),
            _ => format!("{reason}: {nodes} in {}{of}", self.which_pools()),
        }
    }

    fn which_pools(&self) -> String {
        match &self.pools[..] {
            [pool] => format!("pool {}", name(pool.as_str())),
            few if few.len() <= MOST_NAMES => {
                let names: Vec<_> = few.iter().map(|pool| name(pool.as_str())).collect();
                format!("pools {}", names.join(", "))
            }
            many => counted(many.len() as u64, "pool"),
        }
    }

    fn whose(&self) -> String {
        match &self.accounts[..] {
            [account] => name(account.as_str()).into_owned(),
            many => counted(many.len() as u64, "account"),
        }
    }

    /// `tvm-1, tvm-2, tvm-3 and 209 more`, on one line: ids are long, and shortened in the middle.
    pub(crate) fn examples(&self, look: &Look, indent: usize) -> Option<String> {
        let shown = self.examples.len();
        let more = match self.nodes - shown as u64 {
            0 => String::new(),
            more => format!(" and {} more", number(more)),
        };
        let room = look.width.unwrap_or(usize::MAX).saturating_sub(indent + more.len());
        let each = (room / shown.max(1)).saturating_sub(2).max(NARROWEST_NODE);
        // A node id is unique in its pool only, but the line above names the pools.
        let ids =
            self.examples.iter().map(|at| shortened(&for_terminal(at.node.as_str()), each).into_owned());
        let names: Vec<String> = ids.collect();
        (shown > 0).then(|| cut(&(names.join(", ") + &more), room + more.len()).into_owned())
    }
}

/// The name of an account or pool, made safe and shortened.
pub(crate) fn name(name: &str) -> Cow<'_, str> {
    Cow::Owned(shortened(&for_terminal(name), NAME_WIDTH).into_owned())
}

/// `a, b and 3 more`.
pub(crate) fn names<'a>(all: impl ExactSizeIterator<Item = &'a AccountName>) -> String {
    let count = all.len() as u64;
    crate::text::listed(all.map(|account| name(account.as_str())), MOST_NAMES, count)
}
