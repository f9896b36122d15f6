//! Lines of the log about events of note: what went wrong or changed, with account, pool and an example node.
//!
//! Ten thousand nodes with the same trouble are five lines: the first, the tenth, the hundredth … and the last. Calls
//! that go well have none.

use std::collections::HashMap;
use std::sync::Arc;

use fleetlogs_model::duration;
use fleetlogs_model::event::{Event, Recorded};
use fleetlogs_model::event_sink::EventSink;
use fleetlogs_model::failure::FailureClass;
use fleetlogs_model::ids::{AccountName, NodeIndex};
use fleetlogs_model::ledger::Ledger;
use fleetlogs_model::plan::Plan;

use crate::cause::folded;
use crate::text::{counted, number};

/// Kinds that are counted apart; nobody reads more.
const MOST_KINDS: usize = 1_000;

/// Writes lines of the log about events of note.
#[derive(Debug)]
pub struct EventLines {
    plan: Arc<Plan>,
    kinds: HashMap<Kind, Count>,
    /// Events of further kinds.
    beyond: u64,
}

/// Events that are counted together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Kind {
    account: String,
    pool: Option<String>,
    what: String,
}

#[derive(Debug)]
struct Count {
    seen: u64,
    told: u64,
    /// The newest, as it is told: what differs between events of a kind.
    detail: String,
}

/// A line.
#[derive(Debug, PartialEq, Eq)]
struct Line {
    account: String,
    pool: Option<String>,
    node: Option<String>,
    text: String,
}

impl EventLines {
    /// Lines about the events of a run.
    #[must_use]
    pub fn new(plan: Arc<Plan>) -> Self {
        Self { plan, kinds: HashMap::new(), beyond: 0 }
    }

    fn take(&mut self, recorded: &Recorded, mut tell: impl FnMut(Line)) {
        let node = recorded.node;
        match &recorded.event {
            Event::AccountThrottled { account, millirate, pause_ms } => {
                #[expect(clippy::cast_precision_loss, reason = "for the eye")]
                let mut detail = format!("{:.1}/s from now on", *millirate as f64 / 1000.0);
                if let Some(pause) = pause_ms {
                    let pause = duration::text(std::time::Duration::from_millis(pause + 999));
                    detail = format!("{detail}; pausing for {pause}, as the service asked");
                }
                self.count(&of_account(account, "throttled"), &detail, None, &mut tell);
            }
            Event::AccountStopped { account, cause } => {
                self.count(&of_account(account, &format!("stopped: {cause}")), "", None, &mut tell);
            }
            Event::NodesAppeared { account, pool, nodes } => {
                let what = "nodes appeared after the plan was made; they are not called";
                let kind = Kind { pool: Some(pool.to_string()), ..of_account(account, what) };
                self.count(&kind, &counted(nodes.len() as u64, "node"), None, &mut tell);
            }
            Event::OrderFollowed { account, raised, lowered } => {
                let detail =
                    format!("{} sooner, {} later", counted(*raised, "node"), number((*lowered).into()));
                self.count(&of_account(account, "calls were reordered"), &detail, None, &mut tell);
            }
            Event::UploadFailed { cause, .. } if cause.class == FailureClass::Gone => {
                self.of_node(node, "the node is gone", &cause.to_string(), &mut tell);
            }
            Event::UploadFailed { attempt, cause } => {
                let what = if *attempt > 1 { "the node failed, no retry is left" } else { "the node failed" };
                self.of_node(node, what, &cause.to_string(), &mut tell);
            }
            // It is told of the account.
            Event::UploadWillRetry { cause, .. } if cause.class == FailureClass::Throttled => {}
            Event::UploadWillRetry { cause, .. } => {
                self.of_node(node, "a call is retried", &cause.to_string(), &mut tell);
            }
            Event::UploadInDoubt { cause, .. } => {
                self.of_node(node, "the answer to a call was lost", &cause.to_string(), &mut tell);
            }
            Event::UploadAbsent { .. } => {
                self.of_node(node, "a call in doubt had not been accepted; it is repeated", "", &mut tell);
            }
            Event::UploadAdopted { .. } => {
                self.of_node(node, "a call in doubt had been accepted", "", &mut tell);
            }
            Event::FilesIncomplete { reason, .. } => {
                self.of_node(node, "the files are incomplete", reason, &mut tell);
            }
            Event::FilesAdopted { reason, .. } => {
                self.of_node(node, "the files are adopted", reason, &mut tell);
            }
            Event::IdentityChanged { now } => {
                let what = match now {
                    Some(_) => "the node rebooted or was replaced since the plan",
                    None => "the node is no longer in its pool",
                };
                self.of_node(node, what, "", &mut tell);
            }
            Event::RunDraining { .. } | Event::RunEnded { .. } => self.tell_the_rest(&mut tell),
            Event::RunStarted { .. }
            | Event::UploadRequested { .. }
            | Event::UploadCancelled { .. }
            | Event::UploadAccepted { .. }
            | Event::DirectoriesFound { .. }
            | Event::NodeSeenAgain { .. }
            | Event::PoolSeenAgain { .. }
            | Event::FilesVerified { .. } => {}
        }
    }

    fn of_node(&mut self, node: Option<NodeIndex>, what: &str, why: &str, tell: &mut impl FnMut(Line)) {
        let Some(index) = node else { return };
        let at = self.plan.node(index);
        let why = if why.is_empty() { String::new() } else { format!(": {}", folded(why, &at.id())) };
        let kind = Kind {
            account: at.account().to_string(),
            pool: Some(at.pool().to_string()),
            what: format!("{what}{why}"),
        };
        let id = at.id().into_owned();
        self.count(&kind, "", Some(id), tell);
    }

    /// Counts an event, and tells of it if it is the first, tenth, hundredth … of its kind.
    fn count(&mut self, kind: &Kind, detail: &str, node: Option<String>, tell: &mut impl FnMut(Line)) {
        if self.kinds.len() >= MOST_KINDS && !self.kinds.contains_key(kind) {
            self.beyond += 1;
            return;
        }
        let count =
            self.kinds.entry(kind.clone()).or_insert(Count { seen: 0, told: 0, detail: String::new() });
        count.seen += 1;
        detail.clone_into(&mut count.detail);
        if count.seen == 1 || count.seen >= count.told * 10 {
            count.told = count.seen;
            tell(Line { node: node.filter(|_| count.seen == 1), ..kind.line(count) });
        }
    }

    /// Tells how often everything happened in the end.
    fn tell_the_rest(&mut self, tell: &mut impl FnMut(Line)) {
        let mut rest: Vec<_> = self.kinds.iter_mut().filter(|(_, count)| count.seen > count.told).collect();
        rest.sort_by_key(|(kind, _)| (&kind.account, &kind.pool, &kind.what));
        for (kind, count) in rest {
            count.told = count.seen;
            tell(kind.line(count));
        }
        if self.beyond > 0 {
            let text = format!("{} of other kinds", counted(std::mem::take(&mut self.beyond), "event"));
            tell(Line { account: String::new(), pool: None, node: None, text });
        }
    }
}

fn of_account(account: &AccountName, what: &str) -> Kind {
    Kind { account: account.to_string(), pool: None, what: what.into() }
}

impl Kind {
    /// `throttled: 75.0/s from now on (10 times so far)`
    fn line(&self, count: &Count) -> Line {
        let mut text = self.what.clone();
        if !count.detail.is_empty() {
            text = format!("{text}: {}", count.detail);
        }
        if count.seen > 1 {
            text = format!("{text} ({} times so far)", number(count.seen));
        }
        Line { account: self.account.clone(), pool: self.pool.clone(), node: None, text }
    }
}

impl EventSink for EventLines {
    fn hear(&mut self, events: &[Recorded], _: &Ledger) {
        for recorded in events {
            self.take(recorded, |Line { account, pool, node, text }| {
                let account = Some(account.as_str()).filter(|account| !account.is_empty());
                tracing::info!(account, pool = pool.as_deref(), node = node.as_deref(), "{text}");
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{START, accepted, failure, plan_of, planned, requested, retried, verified};

    fn lines(nodes: u32, events: impl IntoIterator<Item = (Option<u32>, Event)>) -> Vec<String> {
        let nodes = (0..nodes).map(|node| planned("contoso", "render", &format!("tvmps_{node:05}")));
        let mut lines = EventLines::new(Arc::new(plan_of(nodes.collect())));
        let mut told = vec![];
        for (node, event) in events {
            let recorded = Recorded { at: START, node: node.map(NodeIndex), event };
            lines.take(&recorded, |Line { account, pool, node, text }| {
                let parts = [Some(account), pool, node].into_iter().flatten();
                told.push(format!("{}: {text}", parts.collect::<Vec<_>>().join("/")));
            });
        }
        told
    }

    #[test]
    fn ten_thousand_nodes_with_one_trouble_are_five_lines_and_calls_that_go_well_none() {
        let gone = |node: u32| {
            let text = format!("no node tvmps_{node:05} here\nRequestId:{node}");
            Event::UploadFailed { attempt: 1, cause: failure(FailureClass::Gone, 404, "NodeNotFound", &text) }
        };
        let fine = (0..10_000).flat_map(|node| {
            [requested(1), accepted(1, "d", 4), verified(4, 40)].map(|event| (Some(node), event))
        });
        let ended = (None, Event::RunEnded { list_calls: 7 });
        let events = fine.chain((0..10_000).map(|node| (Some(node), gone(node)))).chain([ended]);
        insta::assert_snapshot!(lines(10_000, events).join("\n"), @"
        contoso/render/tvmps_00000: the node is gone: 404 NodeNotFound: no node <node> here
        contoso/render: the node is gone: 404 NodeNotFound: no node <node> here (10 times so far)
        contoso/render: the node is gone: 404 NodeNotFound: no node <node> here (100 times so far)
        contoso/render: the node is gone: 404 NodeNotFound: no node <node> here (1,000 times so far)
        contoso/render: the node is gone: 404 NodeNotFound: no node <node> here (10,000 times so far)
        ");
    }

    #[test]
    fn each_kind_has_its_line_and_its_count_at_the_end() {
        let throttled = |millirate, pause_ms| Event::AccountThrottled {
            account: AccountName::new("contoso"),
            millirate,
            pause_ms,
        };
        let lost = failure(FailureClass::InDoubt, 500, "OperationTimedOut", "it took too long");
        let busy = failure(FailureClass::Throttled, 429, "TooManyRequests", "slow down");
        let broken = || failure(FailureClass::Transient, 500, "InternalError", "broken");
        let events = [
            (None, throttled(75_000, Some(2_000))),
            (Some(0), retried(1, busy)),
            (None, throttled(33_000, None)),
            (Some(1), retried(1, broken())),
            (Some(1), Event::UploadFailed { attempt: 2, cause: broken() }),
            (Some(2), Event::UploadInDoubt { attempt: 1, cause: lost }),
            (Some(2), Event::UploadAbsent { attempt: 1 }),
            (Some(3), Event::IdentityChanged { now: None }),
            (None, Event::RunEnded { list_calls: 7 }),
        ];
        insta::assert_snapshot!(lines(4, events).join("\n"), @"
        contoso: throttled: 75.0/s from now on; pausing for 2s, as the service asked
        contoso/render/tvmps_00001: a call is retried: 500 InternalError: broken
        contoso/render/tvmps_00001: the node failed, no retry is left: 500 InternalError: broken
        contoso/render/tvmps_00002: the answer to a call was lost: 500 OperationTimedOut: it took too long
        contoso/render/tvmps_00002: a call in doubt had not been accepted; it is repeated
        contoso/render/tvmps_00003: the node is no longer in its pool
        contoso: throttled: 33.0/s from now on (2 times so far)
        ");
    }
}
