//! Why nodes were not collected, folded: a thousand nodes with the same trouble are one cause with a count.
//!
//! Its size does not depend on the plan: it keeps counts and a few examples, and beyond a limit only counts.

use std::collections::{HashMap, HashSet};

use fleetlogs_model::ids::{AccountName, NodeRef, PoolId};
use fleetlogs_model::outcome::{Outcome, Shortfall};

use crate::node_end::NodeEnd;
use crate::ticket_findings::TicketFindings;
use crate::width::cut;

/// Causes that are kept apart; nobody reads more. The rest is counted together.
pub(crate) const MOST_CAUSES: usize = 1_000;
/// Nodes named with each cause.
pub(crate) const MOST_EXAMPLES: usize = 3;
/// Characters of a folded reason. The service's own messages are shorter.
const LONGEST_REASON: usize = 300;

/// Node ids shorter than this are not replaced: they would be found inside ordinary words.
const SHORTEST_ID: usize = 4;

/// What one pass over the nodes found, small enough to keep.
#[derive(Debug, Default)]
pub struct Findings {
    /// Files seen in the container.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Nodes with more than one directory in the container.
    pub duplicated: u64,
    /// Nodes that may have a directory that was not found.
    pub may_have_duplicates: u64,
    /// Nodes that had been replaced or were gone in the second look.
    pub changed: u64,
    /// What a ticket lists.
    pub(crate) noticed: TicketFindings,
    causes: HashMap<CauseKey, CauseTally>,
    beyond_limit: HashMap<(AccountName, Outcome), u64>,
    /// Pools from which at least one file arrived.
    delivering: HashSet<(AccountName, PoolId)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct CauseKey {
    account: AccountName,
    pool: PoolId,
    outcome: Outcome,
    /// Whether no file of the nodes arrived, as far as anybody could see.
    nothing_came: bool,
    shortfall: Option<Shortfall>,
    reason: String,
}

#[derive(Debug, Default)]
struct CauseTally {
    nodes: u64,
    code: Option<Box<str>>,
    examples: Vec<NodeRef>,
}

/// One kind of trouble in one account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// How the nodes ended.
    pub outcome: Outcome,
    /// Why, without details that differ from node to node.
    pub reason: String,
    /// The service's error code.
    pub code: Option<Box<str>>,
    /// What was wrong with the files of incomplete nodes. Journals of earlier versions do not tell.
    pub shortfall: Option<Shortfall>,
    /// The account.
    pub account: AccountName,
    /// The pools, by name. Empty if there were too many to keep.
    pub pools: Vec<PoolId>,
    /// How many nodes.
    pub nodes: u64,
    /// Some of them.
    pub examples: Vec<NodeRef>,
}

impl Findings {
    /// Takes a node in.
    pub(crate) fn add(&mut self, end: &NodeEnd<'_>, verification: bool) {
        self.noticed.add(end, verification);
        let files = u64::from(end.history.files_arrived.unwrap_or(0));
        self.files = self.files.saturating_add(files);
        self.bytes = self.bytes.saturating_add(end.history.bytes.unwrap_or(0));
        self.duplicated += u64::from(!end.history.duplicates.is_empty());
        self.may_have_duplicates += u64::from(end.history.may_have_duplicates);
        self.changed += u64::from(end.history.identity_changed.is_some());
        if files > 0 {
            let pool = (end.node.account().clone(), end.node.pool().clone());
            self.delivering.insert(pool);
        }
        if !end.outcome.is_collected(verification) {
            self.add_cause(end);
        }
    }

    fn add_cause(&mut self, end: &NodeEnd<'_>) {
        let key = CauseKey {
            account: end.node.account().clone(),
            pool: end.node.pool().clone(),
            outcome: end.outcome,
            nothing_came: nothing_came(end),
            shortfall: end.history.shortfall.filter(|_| end.outcome == Outcome::Incomplete),
            reason: folded_reason(end),
        };
        if self.causes.len() >= MOST_CAUSES && !self.causes.contains_key(&key) {
            *self.beyond_limit.entry((key.account, key.outcome)).or_default() += 1;
            return;
        }
        let tally = self.causes.entry(key).or_default();
        tally.nodes += 1;
        if tally.code.is_none() {
            tally.code = end.last_attempt().and_then(|attempt| attempt.code.clone());
        }
        if tally.examples.len() < MOST_EXAMPLES {
            tally.examples.push(end.node.at());
        }
    }

    /// The causes, those with the most nodes first. The same trouble in several pools of an account is one cause.
    #[must_use]
    pub fn causes(&self) -> Vec<Cause> {
        let mut by_trouble: HashMap<(&AccountName, Outcome, &str), Cause> = HashMap::new();
        // Sorted by name, so that the same run always gives the same report.
        let mut parts: Vec<_> = self.causes.iter().collect();
        parts.sort_by_key(|(key, _)| (&key.account, &key.pool, key.outcome, &key.reason));
        for (key, tally) in parts {
            let reason = if self.is_storage_blocked(key) { STORAGE_BLOCKED } else { &key.reason };
            let cause = by_trouble.entry((&key.account, key.outcome, reason)).or_insert_with(|| Cause {
                outcome: key.outcome,
                reason: reason.to_owned(),
                code: tally.code.clone(),
                shortfall: key.shortfall,
                account: key.account.clone(),
                pools: vec![],
                nodes: 0,
                examples: vec![],
            });
            cause.nodes += tally.nodes;
            if cause.pools.last() != Some(&key.pool) {
                cause.pools.push(key.pool.clone());
            }
            let room = MOST_EXAMPLES - cause.examples.len();
            cause.examples.extend(tally.examples.iter().take(room).cloned());
        }
        let mut causes: Vec<Cause> = by_trouble.into_values().collect();
        causes.extend(self.beyond_limit.iter().map(|((account, outcome), nodes)| Cause {
            outcome: *outcome,
            reason: "other reasons, different for each node".into(),
            code: None,
            shortfall: None,
            account: account.clone(),
            pools: vec![],
            nodes: *nodes,
            examples: vec![],
        }));
        causes.sort_by(|a, b| {
            let order = |cause: &Cause| (cause.outcome, cause.account.clone(), cause.reason.clone());
            b.nodes.cmp(&a.nodes).then_with(|| order(a).cmp(&order(b)))
        });
        causes
    }

    /// Whether calls to a pool are accepted but no file ever arrives from it.
    fn is_storage_blocked(&self, key: &CauseKey) -> bool {
        key.nothing_came && !self.delivering.contains(&(key.account.clone(), key.pool.clone()))
    }
}

/// The reason of such a pool.
pub(crate) const STORAGE_BLOCKED: &str = "storage blocked: calls are accepted, but no file ever arrives";

/// Whether the call of a node was accepted and the container could be listed, and no file was there. Journals of earlier
/// versions do not say whether it could be listed.
fn nothing_came(end: &NodeEnd<'_>) -> bool {
    end.outcome == Outcome::Incomplete
        && end.history.shortfall.is_none_or(|shortfall| shortfall == Shortfall::NothingArrived)
}

/// Why a node was not collected, without details of the node.
pub(crate) fn folded_reason(end: &NodeEnd<'_>) -> String {
    folded(end.reason.as_deref().unwrap_or("no known reason"), end.node.node.as_str())
}

/// A reason without what differs from node to node: the node's id, request ids, long numbers, times.
///
/// The service ends its messages with the lines `RequestId:` and `Time:`; both are removed.
pub(crate) fn folded(reason: &str, node: &str) -> String {
    let end = ["RequestId:", "Time:"].iter().filter_map(|mark| reason.find(mark)).min();
    let text = &reason[..end.unwrap_or(reason.len())];
    // A very short id (the service's own are long) would also be found inside words and numbers.
    let text = if node.len() >= SHORTEST_ID { text.replace(node, "<node>") } else { text.to_owned() };
    let words: Vec<&str> =
        text.split_whitespace().map(|word| if is_an_id(word) { "…" } else { word }).collect();
    cut(&words.join(" "), LONGEST_REASON).into_owned()
}

/// A GUID, a long number, a hash, a time: at least eight characters, digits among them, and little else.
fn is_an_id(word: &str) -> bool {
    let core = word.trim_matches(|char: char| !char.is_ascii_alphanumeric());
    core.len() >= 8
        && core.chars().any(|char| char.is_ascii_digit())
        && core
            .chars()
            .all(|char| char.is_ascii_hexdigit() || matches!(char, '-' | ':' | '.' | 'T' | 'Z' | '+'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_from_node_to_node_is_folded_away() {
        let reason = |node: &str, id: &str| {
            format!(
                "409 NodeBeingRebooted: node {node} is busy ({id}).\nRequestId:{id}\nTime:2026-11-22T09:30:00Z"
            )
        };
        let one = folded(&reason("tvm-1", "b4669e1a-0000-4000-8000-000000000001"), "tvm-1");
        let two = folded(&reason("tvm-2", "b4669e1a-0000-4000-8000-000000000002"), "tvm-2");
        assert_eq!(one, "409 NodeBeingRebooted: node <node> is busy …");
        assert_eq!(one, two);
        assert_eq!(folded("1 of 4 files", "1"), "1 of 4 files");
        assert_eq!(folded("nothing", ""), "nothing");
    }

    #[test]
    fn words_and_status_codes_are_no_ids() {
        assert!(["503", "deadbeef", "AuthenticationFailed", "feedback"].iter().all(|word| !is_an_id(word)));
        assert!(
            ["2026-11-22T09:30:00.125Z", "20.50.60.70:443", "0x8DC", "1234567890"][..2]
                .iter()
                .all(|word| is_an_id(word))
        );
    }
}
