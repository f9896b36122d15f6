//! The data of the page: a row for each node, then the tables that rows refer to. The page's script (`script/base.js`)
//! depends on the order of the members: change both together.
//!
//! Times are milliseconds since the start of the run, because these are short.

use std::collections::HashMap;
use std::io::{self, Write};

use fleetlogs_model::history::{Attempt, NodeHistory};
use fleetlogs_model::ids::{AccountIndex, PoolId};
use fleetlogs_model::ledger::Ledger;
use fleetlogs_model::node_facts::{BetweenFacts, FactMembers, Members, NodeState, RecentTask};
use fleetlogs_model::outcome::{Outcome, OutcomeCounts};
use fleetlogs_model::plan::{LeftOut, PlannedAccount};
use fleetlogs_model::planned::{PlannedNode, Priority};
use serde::Serialize;
use serde::ser::{SerializeMap, SerializeTuple};
use time::OffsetDateTime;
use uuid::Uuid;

use super::service_trouble::ServiceTrouble;
use super::tables::{Table, write_json};
use super::timeline::{Timeline, milliseconds};
use crate::advice::Advice;
use crate::cause::{Cause, STORAGE_BLOCKED, folded_reason};
use crate::manifest::{EvidenceRecord, IdentityRecord, WindowRecord};
use crate::node_end::NodeEnd;
use crate::outcome_look::urgency_of;
use crate::run_facts::RunFacts;
use crate::summary::Summary;
use crate::uncounted::Uncounted;

/// Skipped nodes and pools that are listed. There may be more than planned nodes; the manifest has all of them.
pub(super) const MOST_LEFT_OUT: usize = 2_000;

/// What the page's script reads, under construction.
pub(super) struct PageData {
    start: OffsetDateTime,
    verification: bool,
    /// How many rows may still be written: of collected nodes, and of others.
    room: (u64, u64),
    rows: u64,
    /// The text of the row that is written.
    row: Vec<u8>,
    texts: Table,
    evidence: Table,
    pools: Vec<Pool>,
    pool_places: HashMap<(AccountIndex, PoolId), u32>,
    timeline: Timeline,
    trouble: ServiceTrouble,
}

struct Pool {
    account: AccountIndex,
    id: PoolId,
    counts: OutcomeCounts,
}

/// A node. Missing members are null.
#[derive(Serialize)]
struct Row<'a>(
    // Place of its pool.
    u32,
    // Its id.
    &'a str,
    // Place of its outcome in `Outcome::ALL`.
    u8,
    // Its reason, and the reason of the cause it belongs to: places of texts.
    Option<u32>,
    Option<u32>,
    // Its directory.
    Option<&'a str>,
    // Files promised and arrived, bytes, and when they had all arrived.
    Option<u32>,
    Option<u32>,
    Option<u64>,
    Option<i64>,
    Vec<AttemptRow<'a>>,
    // Place of what it has in common with many others, and since when: state, allocation, boot.
    u32,
    [Option<i64>; 3],
    // What few nodes have.
    Option<RareFacts<'a>>,
);

/// Number, when it was sent, both request ids, status, and the places of code and message.
#[derive(Serialize)]
struct AttemptRow<'a>(u32, i64, Uuid, Option<&'a str>, Option<u16>, Option<u32>, Option<u32>);

/// Place of the job's id, task, start, end, exit code.
#[derive(Serialize)]
struct TaskRow<'a>(u32, &'a str, Option<i64>, Option<i64>, Option<i32>);

/// What many nodes have in common, between their facts.
struct RowFacts<'a> {
    priority: Priority,
    os: Option<&'a str>,
}

impl BetweenFacts for RowFacts<'_> {
    fn after_state<M: SerializeMap>(&self, members: &mut Members<'_, M>) -> Result<(), M::Error> {
        members.optional("priority", Some(&self.priority))
    }

    fn after_scheduling<M: SerializeMap>(&self, members: &mut Members<'_, M>) -> Result<(), M::Error> {
        members.optional("os", self.os)
    }
}

fn row_facts(node: &PlannedNode) -> FactMembers<'_, RowFacts<'_>> {
    let between = RowFacts { priority: node.priority, os: node.place.os.as_deref() };
    FactMembers { facts: &node.evidence.facts, between, nulls: false }
}

/// What few nodes have; with names, because it is rare.
#[derive(Serialize)]
struct RareFacts<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tasks: Vec<TaskRow<'a>>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    duplicates: &'a [Box<str>],
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    may_have_duplicates: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    window: Option<WindowRecord>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ran: Option<WindowRecord>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    identity_changed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    identity_now: Option<IdentityRecord<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seen_again: Option<EvidenceRecord<'a>>,
}

impl<'a> RareFacts<'a> {
    fn of(node: &'a PlannedNode, history: &'a NodeHistory, tasks: Vec<TaskRow<'a>>) -> Option<Self> {
        let more = Self {
            tasks,
            duplicates: &history.duplicates,
            may_have_duplicates: history.may_have_duplicates,
            window: node.window.as_deref().copied().map(WindowRecord::from),
            ran: node.ran.as_deref().copied().map(WindowRecord::from),
            identity_changed: history.identity_changed.is_some(),
            identity_now: history
                .identity_changed
                .as_deref()
                .and_then(Option::as_ref)
                .map(IdentityRecord::from),
            seen_again: history.seen_again.as_deref().map(EvidenceRecord::from),
        };
        let is_rare = !more.tasks.is_empty()
            || !more.duplicates.is_empty()
            || more.may_have_duplicates
            || more.window.is_some()
            || more.ran.is_some()
            || more.identity_changed
            || more.seen_again.is_some();
        is_rare.then_some(more)
    }
}

impl PageData {
    /// Opens the list of rows. The ledger says in advance how many nodes were not collected.
    pub(super) fn begin(
        out: &mut impl Write,
        facts: &RunFacts,
        ledger: &Ledger,
        most_rows: u64,
    ) -> io::Result<Self> {
        let counts = ledger.outcomes();
        let missing = counts.total() - counts.collected(facts.verification);
        let room = (most_rows.saturating_sub(missing), most_rows);
        out.write_all(b"<script type=\"application/json\" id=\"node-data\">[")?;
        Ok(Self {
            start: facts.started_at,
            verification: facts.verification,
            room,
            rows: 0,
            row: vec![],
            texts: Table::default(),
            evidence: Table::default(),
            pools: vec![],
            pool_places: HashMap::new(),
            timeline: Timeline::of(facts),
            trouble: ServiceTrouble::default(),
        })
    }

    /// Counts a node, and writes its row if there is room.
    pub(super) fn node(&mut self, out: &mut impl Write, end: &NodeEnd<'_>) -> io::Result<()> {
        let pool = self.pool(end);
        self.pools[pool as usize].counts.add(end.outcome);
        self.timeline.add(end.history);
        let collected = end.outcome.is_collected(self.verification);
        let trouble = self.trouble.add(&end.node.evidence.facts, collected);
        let room = if collected { &mut self.room.0 } else { &mut self.room.1 };
        if *room == 0 {
            return Ok(());
        }
        *room -= 1;
        self.rows += 1;
        let row = self.row(end, pool, collected, trouble)?;
        self.row.clear();
        self.row.extend_from_slice(if self.rows == 1 { b"\n" } else { b",\n" });
        write_json(&mut self.row, &row)?;
        out.write_all(&self.row)
    }

    /// Rows so far.
    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    fn pool(&mut self, end: &NodeEnd<'_>) -> u32 {
        let key = (end.account, end.node.pool().clone());
        *self.pool_places.entry(key).or_insert_with_key(|(account, id)| {
            self.pools.push(Pool { account: *account, id: id.clone(), counts: OutcomeCounts::default() });
            u32::try_from(self.pools.len() - 1).unwrap_or(u32::MAX)
        })
    }

    fn row<'a>(
        &mut self,
        end: &'a NodeEnd<'a>,
        pool: u32,
        collected: bool,
        trouble: Option<u32>,
    ) -> io::Result<Row<'a>> {
        let (node, history) = (end.node, end.history);
        let folded = (!collected).then(|| folded_reason(end));
        let attempts =
            history.attempts.iter().map(|attempt| self.attempt(attempt)).collect::<io::Result<_>>()?;
        let tasks =
            node.evidence.recent_tasks.iter().map(|task| self.task(task)).collect::<io::Result<_>>()?;
        let evidence = &node.evidence;
        let shared = self.evidence.place(&row_facts(node))?;
        self.trouble.note(shared, trouble);
        let since = [evidence.state_since, evidence.allocation_time, evidence.last_boot_time];
        Ok(Row(
            pool,
            node.node.as_str(),
            end.outcome as u8,
            self.texts.place_of(end.reason.as_deref())?,
            self.texts.place_of(folded.as_deref())?,
            history.directory.as_deref(),
            history.files_promised,
            history.files_arrived,
            history.bytes,
            history.verified_at.map(|at| self.since_start(at)),
            attempts,
            shared,
            since.map(|at| at.map(|at| self.since_start(at))),
            RareFacts::of(node, history, tasks),
        ))
    }

    fn attempt<'a>(&mut self, attempt: &'a Attempt) -> io::Result<AttemptRow<'a>> {
        Ok(AttemptRow(
            attempt.number,
            self.since_start(attempt.sent_at),
            attempt.client_request_id,
            attempt.request_id.as_deref(),
            attempt.status,
            self.texts.place_of(attempt.code.as_deref())?,
            self.texts.place_of(attempt.message.as_deref())?,
        ))
    }

    fn task<'a>(&mut self, task: &'a RecentTask) -> io::Result<TaskRow<'a>> {
        let job = self.texts.place(&*task.job)?;
        let at = |time: Option<OffsetDateTime>| time.map(|at| self.since_start(at));
        Ok(TaskRow(job, &task.task, at(task.started), at(task.ended), task.exit_code))
    }

    fn since_start(&self, at: OffsetDateTime) -> i64 {
        milliseconds(self.start, at)
    }

    /// Closes the list of rows, and writes what they refer to. Returns what the service reported on the nodes.
    pub(super) fn end(mut self, out: &mut impl Write, summary: &Summary<'_>) -> io::Result<ServiceTrouble> {
        out.write_all(b"]</script>\n<script type=\"application/json\" id=\"page-data\">{")?;
        let Advice { next, causes, .. } = summary.advice();
        let steps: Vec<_> = causes.iter().map(|(_, step)| step).collect();
        let causes: Vec<_> =
            causes.iter().map(|(cause, _)| self.cause(cause, summary)).collect::<io::Result<_>>()?;
        let left_out: Vec<_> =
            summary.plan.left_out.iter().take(MOST_LEFT_OUT).map(LeftOutRow::from).collect();
        let accounts: Vec<_> = summary.plan.accounts.iter().map(|account| account.name.as_str()).collect();
        let unlisted: Vec<_> = summary.plan.accounts.iter().map(UnlistedRow::of).collect();
        member(out, "run_id", summary.plan.run_id.as_str())?;
        member(out, "start", &(summary.facts.started_at.unix_timestamp_nanos() / 1_000_000))?;
        member(out, "destination", &summary.plan.destination)?;
        member(out, "verification", &self.verification)?;
        member(out, "nodes", &summary.ledger.outcomes().total())?;
        member(out, "outcomes", &Outcome::ALL)?;
        member(out, "urgency", &Outcome::ALL.map(urgency_of))?;
        member(out, "collected", &Outcome::ALL.map(|outcome| outcome.is_collected(self.verification)))?;
        member(out, "accounts", &accounts)?;
        member(out, "unlisted", &unlisted)?;
        member(out, "pools", &self.pools)?;
        member(out, "timeline", &self.timeline)?;
        member(out, "causes", &causes)?;
        member(out, "steps", &steps)?;
        member(out, "next", &next)?;
        member(out, "uncounted", &Uncounted::of(summary.plan))?;
        member(out, "left_out", &left_out)?;
        member(out, "trouble", &self.trouble.names())?;
        member(out, "trouble_of_evidence", self.trouble.of_evidence())?;
        out.write_all(b"\n\"evidence\":")?;
        self.evidence.write(out)?;
        out.write_all(b",\n\"texts\":")?;
        self.texts.write(out)?;
        out.write_all(b"}</script>")?;
        Ok(self.trouble)
    }

    /// Which rows belong to a cause; none if that cannot be decided from the rows.
    fn cause(&mut self, cause: &Cause, summary: &Summary<'_>) -> io::Result<Option<CauseRow>> {
        let account = summary.plan.accounts.iter().position(|account| account.name == cause.account);
        let Some(account) = account.filter(|_| !cause.pools.is_empty()) else { return Ok(None) };
        let key = AccountIndex(u16::try_from(account).unwrap_or(u16::MAX));
        let places =
            cause.pools.iter().filter_map(|pool| self.pool_places.get(&(key, pool.clone())).copied());
        let pools = places.collect();
        // In a blocked pool, all incomplete nodes belong to this cause, whatever their own reasons say.
        let reason = (cause.reason != STORAGE_BLOCKED).then_some(cause.reason.as_str());
        Ok(Some(CauseRow(cause.outcome as u8, pools, self.texts.place_of(reason)?)))
    }
}

/// Places of the outcome, of the pools and of the folded reason; any reason where that is null.
#[derive(Serialize)]
struct CauseRow(u8, Vec<u32>, Option<u32>);

/// Why an account could not be listed, and whether it could in part; null if all of it could.
#[derive(Serialize)]
struct UnlistedRow<'a>(&'a str, bool);

impl<'a> UnlistedRow<'a> {
    fn of(account: &'a PlannedAccount) -> Option<Self> {
        let missing = || account.missing.as_deref().map(|why| Self(why, true));
        account.unlisted.as_deref().map(|why| Self(why, false)).or_else(missing)
    }
}

/// Account, pool, node, reason, the cause in words, and the state the node was in.
#[derive(Serialize)]
struct LeftOutRow<'a>(&'a str, &'a str, Option<&'a str>, &'a str, Option<&'a str>, Option<&'a NodeState>);

impl<'a> From<&'a LeftOut> for LeftOutRow<'a> {
    fn from(left: &'a LeftOut) -> Self {
        Self(
            left.account.as_str(),
            left.pool.as_str(),
            left.node.as_ref().map(fleetlogs_model::ids::NodeId::as_str),
            left.reason.as_str(),
            left.cause.as_deref(),
            left.evidence.as_ref().and_then(|evidence| evidence.facts.state.as_ref()),
        )
    }
}

impl Serialize for Pool {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let counts: Vec<u64> = Outcome::ALL.iter().map(|outcome| self.counts.get(*outcome)).collect();
        let mut row = serializer.serialize_tuple(3)?;
        row.serialize_element(&self.account.0)?;
        row.serialize_element(self.id.as_str())?;
        row.serialize_element(&counts)?;
        row.end()
    }
}

/// Writes a member of an object, with a comma after it.
fn member(out: &mut impl Write, name: &str, value: &(impl Serialize + ?Sized)) -> io::Result<()> {
    write!(out, "\n\"{name}\":")?;
    write_json(out, value)?;
    out.write_all(b",")
}
