//! The runs of a series, read one after another.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use fleetlogs_model::ids::{AccountName, PoolId, RunId, SnapshotName};
use fleetlogs_model::interval::Interval;
use fleetlogs_model::outcome::Outcome;
use fleetlogs_model::plan::LeftOutReason;
use fleetlogs_model::snapshot::Trigger;
use time::{Duration, OffsetDateTime};

use super::check::check;
use super::manifest::{AccountText, LeftOutText, ManifestListener, NodeText, RunHead, read_nodes};
use super::node::{Ending, Miss, MissReason, SeriesNode};

/// The runs of a series, read one after another.
#[derive(Debug)]
pub struct History {
    pub(super) snapshot: SnapshotName,
    /// When the series began, if that is known.
    pub(super) began: Option<OffsetDateTime>,
    /// Maximum length of a time window, if there was one.
    longest: Option<Duration>,
    /// Until when the record of removed runs reaches.
    pub(super) kept_until: Option<OffsetDateTime>,
    pub(super) runs: Vec<ReadRun>,
    pub(super) unread: Vec<UnreadRun>,
    pub(super) accounts: BTreeMap<AccountName, BTreeMap<PoolId, SeriesPool>>,
    reasons: Reasons,
}

/// A run that was read.
#[derive(Debug)]
pub(super) struct ReadRun {
    pub(super) id: RunId,
    pub(super) window: Interval,
    /// Whether it covered the whole selection, so that a node that is not in it did not exist.
    pub(super) is_whole: bool,
    /// The accounts of its plan, and whether each could be listed.
    pub(super) accounts: BTreeMap<AccountName, bool>,
}

/// A run whose manifest cannot be read.
#[derive(Clone, Debug, serde::Serialize)]
pub(super) struct UnreadRun {
    pub(super) run_id: String,
    pub(super) why: String,
    /// Whether it ended; then it may have covered something.
    #[serde(skip)]
    pub(super) is_over: bool,
}

impl UnreadRun {
    /// When it was planned, according to its id.
    pub(super) fn planned_at(&self) -> Option<OffsetDateTime> {
        let format = time::macros::format_description!("[year][month][day]T[hour][minute][second]Z");
        let stamp = self.run_id.split('-').next()?;
        time::PrimitiveDateTime::parse(stamp, format).ok().map(time::PrimitiveDateTime::assume_utc)
    }
}

#[derive(Debug, Default)]
pub(super) struct SeriesPool {
    /// Runs that could not list it.
    pub(super) unlisted: Vec<usize>,
    pub(super) nodes: BTreeMap<Box<str>, Vec<SeriesNode>>,
}

/// Equal texts share their memory.
#[derive(Debug, Default)]
struct Reasons(std::collections::HashSet<Arc<str>>);

impl Reasons {
    fn share(&mut self, text: Box<str>) -> Arc<str> {
        if let Some(known) = self.0.get(&*text) {
            return known.clone();
        }
        let text: Arc<str> = text.into();
        self.0.insert(text.clone());
        text
    }
}

impl History {
    /// A series that began at this time, if that is recorded. `longest` is the limit of its time windows.
    #[must_use]
    pub fn new(
        snapshot: SnapshotName,
        began: Option<OffsetDateTime>,
        longest: Option<std::time::Duration>,
    ) -> Self {
        Self {
            snapshot,
            began,
            longest: longest.and_then(|longest| longest.try_into().ok()),
            kept_until: None,
            runs: vec![],
            unread: vec![],
            accounts: BTreeMap::new(),
            reasons: Reasons::default(),
        }
    }

    /// Adds a time range of a node that a removed run covered with verified files, or for which the node had no logs.
    /// To be called before any run is added.
    pub fn add_folded(
        &mut self,
        (account, pool, node): (&str, &str, &str),
        allocated: Option<OffsetDateTime>,
        outcome: Outcome,
        stretch: Interval,
    ) {
        let began = self.began.unwrap_or(stretch.from);
        self.kept_until = self.kept_until.max(Some(stretch.to));
        let record = self.record(&AccountName::new(account), &PoolId::new(pool), node.into(), allocated);
        record.answered(outcome, stretch, began, None);
        record.until = record.until.max(Some(stretch.to));
    }

    /// Adds a run that cannot be read or does not exist. If no readable run is later, nothing proves the time up to
    /// it. A run that is not over (`is_over`) was only interrupted and will still request that time.
    pub fn add_unread(&mut self, run: &str, why: impl Into<String>, is_over: bool) {
        self.unread.push(UnreadRun { run_id: run.into(), why: why.into(), is_over });
    }

    /// Adds the manifest of a run. Runs must be added in the order of their ids. A manifest that cannot be read to
    /// its end, or is not consistent, is listed as unread and proves nothing.
    pub fn add_run(&mut self, manifest: &Path, head: &RunHead) {
        if let Err(error) = check(manifest) {
            self.add_unread(head.run_id.as_str(), error.to_string(), true);
            return;
        }
        if self.runs.is_empty() {
            // The recorded beginning may be later than the runs, if the state was lost and created again.
            let first = head.window.from;
            self.began = Some(self.began.map_or(first, |began| began.min(first)));
        }
        let trigger = head.snapshot.as_ref().map(|snapshot| snapshot.trigger);
        // Runs started by a state or an alert cover only some nodes.
        let is_whole = !matches!(trigger, Some(Trigger::State | Trigger::Alert));
        let accounts = BTreeMap::new();
        self.runs.push(ReadRun { id: head.run_id.clone(), window: head.window, is_whole, accounts });
        if let Err(error) = read_nodes(manifest, self) {
            // It changed after it was checked.
            self.add_unread(head.run_id.as_str(), error.to_string(), true);
            if let Some(run) = self.runs.last_mut() {
                run.is_whole = false;
            }
        }
    }

    fn record(
        &mut self,
        account: &AccountName,
        pool: &PoolId,
        node: Box<str>,
        allocated: Option<OffsetDateTime>,
    ) -> &mut SeriesNode {
        let known = self.pool(account, pool).nodes.entry(node).or_default();
        if let Some(at) = known.iter().position(|record| record.allocated == allocated) {
            return &mut known[at];
        }
        known.reserve_exact(1);
        known.push(SeriesNode::new(allocated));
        let last = known.len() - 1;
        &mut known[last]
    }

    fn pool(&mut self, account: &AccountName, pool: &PoolId) -> &mut SeriesPool {
        self.accounts.entry(account.clone()).or_default().entry(pool.clone()).or_default()
    }

    /// The run that is being read: its number, its time window, and when the series began.
    fn reading(&self) -> (usize, Interval, OffsetDateTime) {
        let last = self.runs.len() - 1;
        let window = self.runs[last].window;
        (last, window, self.began.unwrap_or(window.from))
    }
}

impl ManifestListener for History {
    fn account(&mut self, account: AccountText) {
        let is_listed = !account.is_unlisted();
        if let Some(run) = self.runs.last_mut() {
            run.accounts.insert(account.name, is_listed);
        }
    }

    fn node(&mut self, node: NodeText) {
        let (run, of_run, began) = self.reading();
        let window = node.window.map_or(of_run, Interval::from);
        let longest = self.longest;
        let (is_replaced, is_another, has_left) = (node.is_replaced(), node.is_another(), node.has_left());
        let answered = node.outcome.is_collected(true) && !is_another;
        let changed =
            || "it rebooted or was replaced in the meantime: its files may be from before that".into();
        let reason = node.reason.filter(|_| !answered).or_else(|| is_another.then(changed));
        let reason = reason.map(|reason| self.reasons.share(reason));
        let record = self.record(&node.account, &node.pool, node.node, node.allocation_time);
        record.sighted(run, of_run.to);
        if answered {
            record.answered(node.outcome, window, began, longest);
            return;
        }
        record.missed(Miss {
            stretch: window,
            run: Some(run),
            why: Some(MissReason::Ended(node.outcome)),
            reason,
            cut: false,
        });
        let is_gone = has_left || node.outcome == Outcome::Gone;
        record.ending = if is_replaced { Some(Ending::Replaced) } else { is_gone.then_some(Ending::Gone) };
    }

    fn left_out(&mut self, left: LeftOutText) {
        use LeftOutReason as Reason;
        let (run, of_run, began) = self.reading();
        let allocated = left.allocation_time();
        let LeftOutText { account, pool, node, reason, .. } = left;
        let Some(node) = node else {
            let pool = self.pool(&account, &pool);
            match reason {
                Reason::PoolNotListed => pool.unlisted.push(run),
                Reason::PoolNotSelected | Reason::NoTaskOfJob => {
                    let all = pool.nodes.values_mut().flatten().filter(|record| record.seen != Some(run));
                    all.for_each(|record| record.ending = Some(Ending::NotSelected(reason)));
                }
                _ => {}
            }
            return;
        };
        match reason {
            // They are in the plan with another spelling, or no longer exist.
            Reason::ListedTwice | Reason::JobNodeGone => {}
            Reason::Preempted | Reason::Deallocated => {
                let record = self.record(&account, &pool, node, allocated);
                record.sighted(run, of_run.to);
                if reason == Reason::Preempted {
                    record.ending = Some(Ending::Preempted);
                } else {
                    let from = record.covered_to().unwrap_or_else(|| record.owes_from(began));
                    let stretch = Interval { from: from.min(of_run.to), to: of_run.to };
                    let why = Some(MissReason::LeftOut(reason));
                    record.missed(Miss { stretch, run: Some(run), why, reason: None, cut: false });
                }
            }
            // Without an agent a node writes no logs, so it owes none.
            Reason::NoAgentYet => {
                if let Some(record) = self.latest(&account, &pool, &node) {
                    record.seen = Some(run);
                    record.ending = None;
                }
            }
            _ => {
                if let Some(record) = self.latest(&account, &pool, &node)
                    && record.seen != Some(run)
                {
                    record.ending = Some(Ending::NotSelected(reason));
                }
            }
        }
    }
}

impl History {
    /// The latest node with an id, because the list of skipped nodes does not say when they were allocated.
    fn latest(&mut self, account: &AccountName, pool: &PoolId, node: &str) -> Option<&mut SeriesNode> {
        let known = self.accounts.get_mut(account)?.get_mut(pool)?.nodes.get_mut(node)?;
        known.iter_mut().max_by_key(|record| (record.seen, record.allocated))
    }
}

#[cfg(test)]
mod tests;
