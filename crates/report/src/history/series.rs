//! What the runs of a series prove together, for each node.

use std::borrow::Cow;
use std::sync::Arc;

use fleetlogs_model::ids::{AccountName, PoolId, RunId, SnapshotName};
use fleetlogs_model::interval::Interval;
use fleetlogs_model::timestamp;
use serde::Serialize;
use time::{Duration, OffsetDateTime};

use super::node::{Balance, Ending, Miss, MissReason, SeriesNode, TOLERANCE};
use super::runs::{History, ReadRun, SeriesPool, UnreadRun};

/// A lost run is given as the reason for a gap only if the gap ends at most this long before the run: its time
/// windows ended when it was planned, and consecutive windows overlap.
const NEAR: Duration = Duration::HOUR;

/// What the runs of a series prove together about a time range.
#[derive(Debug, Serialize)]
pub struct Series<'a> {
    pub(super) snapshot: &'a SnapshotName,
    /// When the series, or the requested time range, begins; none without a run.
    #[serde(with = "moment")]
    pub(super) from: Option<OffsetDateTime>,
    /// When the last run was planned, or the requested time range ends.
    #[serde(with = "moment")]
    pub(super) to: Option<OffsetDateTime>,
    /// When the last readable run was planned, if the time range extends beyond it.
    #[serde(with = "moment")]
    pub(super) no_run_after: Option<OffsetDateTime>,
    /// Why nothing is known of the time after it.
    #[serde(skip)]
    pub(super) no_run_why: Cow<'static, str>,
    /// Until when the record of removed runs reaches.
    #[serde(skip)]
    pub(super) kept_until: Option<OffsetDateTime>,
    /// The time range of the whole series, if none of it is in the requested range.
    #[serde(skip)]
    pub(super) elsewhere: Option<Interval>,
    pub(super) runs: RunRange<'a>,
    /// Runs whose manifest cannot be read.
    pub(super) unread: &'a [UnreadRun],
    pub(super) totals: Totals,
    /// By account, pool, node and time.
    pub(super) holes: Vec<Gap<'a>>,
    pub(super) ended: Vec<EndedNode<'a>>,
}

/// The verdict over a time range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// No run was read, or none is in the time range.
    Nothing,
    /// Logs that a node owes are missing, or no readable run covers the end of the time range.
    Gaps,
    /// Nothing is missing.
    Whole,
}

/// The runs that were read.
#[derive(Debug, Serialize)]
pub(super) struct RunRange<'a> {
    pub(super) read: usize,
    pub(super) first: Option<&'a RunId>,
    pub(super) last: Option<&'a RunId>,
}

/// Totals over all nodes.
#[derive(Debug, Default, Serialize)]
pub(super) struct Totals {
    /// Nodes; a node that was allocated again counts again.
    pub(super) nodes: u64,
    pub(super) nodes_with_holes: u64,
    /// Of these `nodes`, those that are gone or no longer selected.
    pub(super) nodes_ended: u64,
    pub(super) owed_seconds: i64,
    pub(super) verified_seconds: i64,
    /// Time for which nodes answered that they have no logs, and which is not verified otherwise.
    pub(super) empty_seconds: i64,
    pub(super) open_seconds: i64,
}

/// A node, with the members that documents have.
#[derive(Clone, Debug, Serialize)]
pub(super) struct NodePlace<'a> {
    pub(super) account: &'a AccountName,
    pub(super) pool: &'a PoolId,
    pub(super) node: &'a str,
    pub(super) allocation_time: Option<String>,
}

/// A time range that a node owes and nothing covers.
#[derive(Debug, Serialize)]
pub(super) struct Gap<'a> {
    #[serde(flatten)]
    pub(super) place: NodePlace<'a>,
    #[serde(flatten)]
    pub(super) stretch: Interval,
    seconds: i64,
    /// In words.
    pub(super) why: String,
    /// The last run that requested it and did not get it.
    run_id: Option<&'a RunId>,
    /// The reason in the words of the service.
    reason: Option<Arc<str>>,
    /// Whether later time windows did not reach back this far.
    cut_by_longest: bool,
}

/// A node that owes no more logs, and the time range before its end of which nothing is known.
#[derive(Debug, Serialize)]
pub(super) struct EndedNode<'a> {
    #[serde(flatten)]
    pub(super) place: NodePlace<'a>,
    /// From its last answer to the run that did not have it.
    #[serde(flatten)]
    pub(super) unknown: Interval,
    pub(super) why: &'static str,
}

impl<'a> Series<'a> {
    pub(super) fn of(history: &'a History, from: Option<OffsetDateTime>, to: Option<OffsetDateTime>) -> Self {
        let first = history.runs.first();
        let last = history.runs.last();
        let read_to = history.read_to();
        let lost_at = history.lost_after().and_then(UnreadRun::planned_at);
        // Runs that cannot be read do not make the series shorter.
        let end = read_to.map(|read_to| lost_at.map_or(read_to, |lost_at| lost_at.max(read_to)));
        let (start, until) = (from.max(history.began), end.map(|end| to.unwrap_or(end)));
        let is_within = start.zip(end.min(until)).is_some_and(|(start, end)| start < end);
        let goes_on = |read_to: &OffsetDateTime| {
            is_within
                && (until.is_some_and(|until| until - *read_to > TOLERANCE)
                    || lost_at.is_some() && until >= lost_at)
        };
        let runs = RunRange {
            read: history.runs.len(),
            first: first.map(|run| &run.id),
            last: last.map(|run| &run.id),
        };
        let mut series = Self {
            snapshot: &history.snapshot,
            from: start,
            to: until,
            no_run_after: read_to.filter(goes_on),
            no_run_why: history.no_run_yet(),
            kept_until: history.kept_until,
            elsewhere: history.began.zip(end).filter(|_| !is_within).map(|(from, to)| Interval { from, to }),
            runs,
            unread: &history.unread,
            totals: Totals::default(),
            holes: vec![],
            ended: vec![],
        };
        let stretch = |owed: Interval| {
            let (from, to) = (owed.from.max(from.unwrap_or(owed.from)), owed.to.min(to.unwrap_or(owed.to)));
            (from <= to).then_some(Interval { from, to })
        };
        for (account, pools) in &history.accounts {
            for (pool, of_pool) in pools {
                for (node, records) in &of_pool.nodes {
                    for record in records {
                        let allocation_time = record.allocated.map(timestamp::text);
                        let place = NodePlace { account, pool, node, allocation_time };
                        series.add(history, &place, of_pool, record, stretch);
                    }
                }
            }
        }
        series
    }

    /// What the runs prove together.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        if self.runs.read == 0 || self.elsewhere.is_some() {
            Verdict::Nothing
        } else if self.holes.is_empty() && self.no_run_after.is_none() {
            Verdict::Whole
        } else {
            Verdict::Gaps
        }
    }

    fn add(
        &mut self,
        history: &'a History,
        place: &NodePlace<'a>,
        pool: &SeriesPool,
        record: &'a SeriesNode,
        within: impl Fn(Interval) -> Option<Interval>,
    ) {
        let Some(mut account) = judge(history, place.account, pool, record) else { return };
        if let (None, Some(owed), Some(_), Some(to)) =
            (&account.ended, &mut account.owed, self.no_run_after, self.to)
        {
            // It existed in the last run and, as far as is known, still does.
            owed.to = owed.to.max(to);
        }
        let Balance { owed, verified, empty, holes } = record.balance(account.owed.and_then(&within));
        self.totals.nodes += 1;
        self.totals.nodes_with_holes += u64::from(!holes.is_empty());
        self.totals.owed_seconds += owed.map_or(0, |owed| owed.length().whole_seconds());
        self.totals.verified_seconds += verified.whole_seconds();
        self.totals.empty_seconds += empty.whole_seconds();
        for (stretch, miss) in holes {
            let miss = miss.or_else(|| account.not_listed.clone());
            let no_run = self.no_run_after.filter(|after| stretch.to - *after > TOLERANCE);
            let no_run = no_run.map(|_| self.no_run_why.clone());
            self.totals.open_seconds += stretch.length().whole_seconds();
            self.holes.push(Gap {
                place: place.clone(),
                stretch,
                seconds: stretch.length().whole_seconds(),
                why: why(history, stretch, miss.as_ref(), no_run),
                run_id: miss.as_ref().and_then(|miss| miss.run).map(|run| &history.runs[run].id),
                reason: miss.as_ref().and_then(|miss| miss.reason.clone()),
                cut_by_longest: miss.is_some_and(|miss| miss.cut),
            });
        }
        if let Some((ending, unknown)) = account.ended {
            self.totals.nodes_ended += 1;
            if let Some(unknown) = within(unknown).filter(|unknown| unknown.length() > TOLERANCE) {
                self.ended.push(EndedNode { place: place.clone(), unknown, why: ending.as_str() });
            }
        }
    }
}

/// What a node owes.
struct Obligation {
    owed: Option<Interval>,
    /// Why it owes no more logs, and the time range of which nothing is known.
    ended: Option<(Ending, Interval)>,
    /// Why the last runs say nothing about it.
    not_listed: Option<Miss>,
}

/// None for a node that never owed anything.
fn judge(
    history: &History,
    account: &AccountName,
    pool: &SeriesPool,
    record: &SeriesNode,
) -> Option<Obligation> {
    let until = record.until?;
    let from = record.owes_from(history.began.unwrap_or(until));
    let later = record.seen.map_or(0, |seen| seen + 1);
    let could_see = |(number, run): &(usize, &ReadRun)| {
        run.is_whole && run.accounts_listed(account) && !pool.unlisted.contains(number)
    };
    let after = || history.runs.iter().enumerate().skip(later);
    let (ending, to) = match (record.ending, after().find(could_see)) {
        // The last run that had the node reported its end.
        (Some(ending @ (Ending::Gone | Ending::Preempted | Ending::Replaced)), _) => (Some(ending), until),
        (ending, Some((_, run))) => (Some(ending.unwrap_or(Ending::NotSeen)), run.window.to),
        // A run of some nodes says nothing about the others; a run that could not list the pool does not know.
        (_, None) => {
            let unknown = after().rfind(|(_, run)| run.is_whole);
            let miss = unknown.map(|(number, run)| Miss {
                stretch: Interval::between(until, run.window.to),
                run: Some(number),
                why: Some(MissReason::NotListed),
                reason: None,
                cut: false,
            });
            let to = miss.as_ref().map_or(until, |miss| miss.stretch.to);
            let owed = (from <= to).then_some(Interval { from, to });
            return Some(Obligation { owed, ended: None, not_listed: miss });
        }
    };
    let last = record.covered_to().unwrap_or(from).max(from);
    let owed = Some(Interval { from, to: last });
    let ended = ending.map(|ending| (ending, Interval::between(last.min(to), to)));
    Some(Obligation { owed, ended, not_listed: None })
}

impl ReadRun {
    /// Whether the run could list the nodes of an account. If any account could not be listed, an account that is not
    /// in the manifest may be missing for that reason.
    fn accounts_listed(&self, account: &AccountName) -> bool {
        self.accounts.get(account).copied().unwrap_or_else(|| self.accounts.values().all(|listed| *listed))
    }
}

impl Ending {
    fn as_str(self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::Preempted => "preempted",
            Self::Replaced => "replaced by another node with its id",
            Self::NotSelected(reason) => reason.as_str(),
            Self::NotSeen => "not seen again",
        }
    }
}

/// The reason for a gap, as far as the manifests say. `no_run` is why no run covers its end.
fn why(history: &History, hole: Interval, miss: Option<&Miss>, no_run: Option<Cow<'static, str>>) -> String {
    let run = |number: Option<usize>| {
        number.map_or(String::new(), |number| format!(" in run {}", history.runs[number].id))
    };
    let mut parts: Vec<Cow<'_, str>> = Vec::new();
    if let Some(Miss { why: Some(why), run: number, reason, .. }) = miss {
        let reason = reason.as_deref().map_or(String::new(), |reason| format!(": {reason}"));
        parts.push(match why {
            MissReason::Ended(outcome) => format!("{outcome}{}{reason}", run(*number)).into(),
            MissReason::LeftOut(left_out) => {
                format!("skipped{} as {}", run(*number), left_out.as_str()).into()
            }
            MissReason::NotListed => format!("its pool could not be listed{}", run(*number)).into(),
        });
    }
    if miss.is_some_and(|miss| miss.cut) {
        parts.push("later time windows are limited to `longest`".into());
    }
    if let Some(no_run) = no_run {
        parts.push(no_run);
    } else if parts.is_empty() {
        let lost = history
            .unread
            .iter()
            .find(|unread| unread.planned_at().is_some_and(|at| hole.from <= at && at <= hole.to + NEAR));
        parts.push(match lost {
            Some(lost) => format!("possibly requested by run {}, which cannot be read", lost.run_id).into(),
            None => "no run requested it".into(),
        });
    }
    parts.join("; ")
}

impl History {
    /// Everything that the runs prove about a time range, by default the whole series. `to` must not be in the future.
    #[must_use]
    pub fn series(&self, from: Option<OffsetDateTime>, to: Option<OffsetDateTime>) -> Series<'_> {
        Series::of(self, from, to)
    }

    /// When the last run that was read was planned.
    fn read_to(&self) -> Option<OffsetDateTime> {
        self.runs.iter().map(|run| run.window.to).max()
    }

    /// The last run that ended and cannot be read, if it is later than all readable runs.
    fn lost_after(&self) -> Option<&UnreadRun> {
        let last = self.runs.iter().map(|run| run.id.as_str()).max().unwrap_or_default();
        let later = |unread: &&UnreadRun| unread.is_over && *unread.run_id > *last;
        self.unread.iter().filter(later).max_by_key(|unread| &unread.run_id)
    }

    /// Why nothing is known of the time after the last run that was read.
    pub(super) fn no_run_yet(&self) -> Cow<'static, str> {
        match self.lost_after() {
            Some(UnreadRun { run_id, .. }) => format!("run {run_id} cannot be read").into(),
            None => "no run has requested it yet".into(),
        }
    }
}

/// An optional time, in the format of the files.
mod moment {
    use fleetlogs_model::timestamp;
    use serde::Serializer;
    use time::OffsetDateTime;

    #[expect(clippy::ref_option, reason = "serde hands the field over so")]
    pub(super) fn serialize<S: Serializer>(
        moment: &Option<OffsetDateTime>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match moment {
            Some(moment) => timestamp::serialize(moment, serializer),
            None => serializer.serialize_none(),
        }
    }
}
