//! The manifest: what the run can prove, node by node. Its names are a contract (`docs/schema/manifest.v1.json`).
//!
//! It is written as a stream, head first, and never held in memory. The counts in the head come from the ledger,
//! because the nodes have not been read yet when it is written; the caller checks that both agree.

use std::io::Write;

use fleetlogs_model::event::NodeIdentity;
use fleetlogs_model::evidence::{NodeEvidence, TIMES};
use fleetlogs_model::history::Attempt;
use fleetlogs_model::ids::{AccountName, NodeId, PoolId};
use fleetlogs_model::ledger::{AccountTally, Ledger};
use fleetlogs_model::node_facts::{BetweenFacts, FactMembers, Members, NodeState, RecentTask};
use fleetlogs_model::outcome::{Outcome, OutcomeCounts, Proof, RunOutcome};
use fleetlogs_model::plan::{LeftOut, LeftOutReason, Plan, PlannedAccount};
use fleetlogs_model::planned::{PlannedPool, Priority};
use fleetlogs_model::timestamp;
use fleetlogs_model::window::Window;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::json_document::{JsonDocument, JsonList};
use crate::node_end::NodeEnd;
use crate::run_facts::RunFacts;

/// Version of the manifest's format. Members may be added to v1; a change that an older reader cannot ignore makes it
/// v2.
pub const MANIFEST_VERSION: &str = "fleetlogs.manifest/v1";

/// The JSON Schema of the manifest.
pub const MANIFEST_SCHEMA: &str = include_str!("../../../docs/schema/manifest.v1.json");

/// Writes all that comes before the nodes.
pub(crate) fn write_head<W: Write>(
    document: &mut JsonDocument<W>,
    plan: &Plan,
    facts: &RunFacts,
    ledger: &Ledger,
) -> Result<(), serde_json::Error> {
    document.member("schema", MANIFEST_VERSION)?;
    document.member("run_id", &plan.run_id)?;
    document.member("snapshot", &plan.snapshot)?;
    document.member("outcome", &facts.outcome)?;
    document.member("reason", &facts.reason)?;
    document.member("tool_version", &plan.tool_version)?;
    document.member("config_digest", &plan.config_digest)?;
    document.member("window", &WindowRecord::from(plan.window))?;
    document.member("destination", &plan.destination)?;
    document.member("started_at", &Utc(facts.started_at))?;
    document.member("ended_at", &Utc(facts.ended_at))?;
    let verification = VerificationRecord { enabled: facts.verification, list_calls: facts.list_calls };
    document.member("verification", &verification)?;
    document.member("counts", &Counts(ledger.outcomes()))?;
    let mut accounts = document.list("accounts")?;
    for (account, (_, tally)) in plan.accounts.iter().zip(ledger.accounts()) {
        accounts.item(&AccountRecord::new(account, tally, facts))?;
    }
    accounts.end()?;
    let mut pools = document.list("pools")?;
    for pool in &plan.pools {
        let seen_again = facts.seen_again(&pool.account, &pool.pool);
        pools.item(&PoolRecord { pool, seen_again })?;
    }
    pools.end()
}

/// Writes one node.
pub(crate) fn write_node<W: Write>(
    nodes: &mut JsonList<'_, W>,
    end: &NodeEnd<'_>,
    facts: &RunFacts,
) -> Result<(), serde_json::Error> {
    nodes.item(&NodeRecord::new(end, facts))
}

/// Writes all that comes after the nodes.
pub(crate) fn write_tail<W: Write>(
    document: &mut JsonDocument<W>,
    left_out: &[LeftOut],
    facts: &RunFacts,
) -> Result<(), serde_json::Error> {
    let mut list = document.list("left_out")?;
    for entry in left_out {
        list.item(&LeftOutRecord::from(entry))?;
    }
    list.end()?;
    let mut list = document.list("appeared")?;
    for node in &facts.appeared {
        list.item(node)?;
    }
    list.end()
}

/// How an account ended: judged like a run of its own, except that the end of the run may have cut it short.
pub(crate) fn account_outcome(
    account: &PlannedAccount,
    tally: &AccountTally,
    facts: &RunFacts,
) -> RunOutcome {
    let counts = tally.outcomes();
    let awaited = if facts.verification { counts.get(Outcome::Accepted) } else { 0 };
    let unfinished = awaited + counts.get(Outcome::NotSent) + counts.get(Outcome::InDoubt) > 0;
    match facts.outcome {
        // Either the whole run stopped, or only this account.
        RunOutcome::Interrupted if unfinished && tally.stopped.is_none() => RunOutcome::Interrupted,
        RunOutcome::BudgetSpent if unfinished && (tally.stopped.is_some() || facts.reason.is_some()) => {
            RunOutcome::BudgetSpent
        }
        RunOutcome::Complete
        | RunOutcome::Partial
        | RunOutcome::NothingCollected
        | RunOutcome::Interrupted
        | RunOutcome::BudgetSpent => RunOutcome::of(&counts, account.is_whole(), facts.verification),
    }
}

/// Why an account is not complete, if the reason concerns the whole account.
pub(crate) fn account_reason<'a>(
    account: &'a PlannedAccount,
    tally: &'a AccountTally,
    facts: &'a RunFacts,
) -> Option<&'a str> {
    let of_run = || facts.reason.as_deref().filter(|_| account_outcome(account, tally, facts).is_resumable());
    let unlisted = account.unlisted.as_deref().or(tally.stopped.as_deref());
    unlisted.or(account.missing.as_deref()).or_else(of_run)
}

/// A time as RFC 3339 in UTC, whatever offset it came with.
pub(crate) struct Utc(pub(crate) OffsetDateTime);

impl Serialize for Utc {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        timestamp::serialize(&self.0, serializer)
    }
}

/// `planned` and every outcome, including those that did not occur, so that readers find every member.
struct Counts(OutcomeCounts);

impl Serialize for Counts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1 + Outcome::ALL.len()))?;
        map.serialize_entry("planned", &self.0.total())?;
        for outcome in Outcome::ALL {
            map.serialize_entry(outcome.as_str(), &self.0.get(outcome))?;
        }
        map.end()
    }
}

#[derive(Serialize)]
pub(crate) struct WindowRecord {
    start: Utc,
    end: Utc,
}

/// What a node was in the second look.
#[derive(Serialize)]
pub(crate) struct IdentityRecord<'a> {
    state: Option<&'a NodeState>,
    allocation_time: Option<Utc>,
    last_boot_time: Option<Utc>,
}

impl<'a> From<&'a NodeIdentity> for IdentityRecord<'a> {
    fn from(identity: &'a NodeIdentity) -> Self {
        Self {
            state: identity.state.as_ref(),
            allocation_time: identity.allocation_time.map(Utc),
            last_boot_time: identity.last_boot_time.map(Utc),
        }
    }
}

impl From<Window> for WindowRecord {
    fn from(window: Window) -> Self {
        Self { start: Utc(window.start), end: Utc(window.end) }
    }
}

#[derive(Serialize)]
struct VerificationRecord {
    enabled: bool,
    list_calls: u64,
}

#[derive(Serialize)]
struct AccountRecord<'a> {
    name: &'a AccountName,
    endpoint: &'a str,
    outcome: RunOutcome,
    reason: Option<&'a str>,
    api_version: &'a str,
    planned: u64,
    counts: Counts,
    calls: u64,
    throttled: u64,
    pools: u32,
    list_calls: u32,
}

impl<'a> AccountRecord<'a> {
    fn new(account: &'a PlannedAccount, tally: &'a AccountTally, facts: &'a RunFacts) -> Self {
        Self {
            name: &account.name,
            endpoint: &account.endpoint,
            outcome: account_outcome(account, tally, facts),
            reason: account_reason(account, tally, facts),
            api_version: &account.api_version,
            planned: tally.planned(),
            counts: Counts(tally.outcomes()),
            calls: tally.calls,
            throttled: tally.throttled,
            pools: account.pools,
            list_calls: account.list_calls,
        }
    }
}

/// A pool as the plan has it.
#[derive(Serialize)]
struct PoolRecord<'a> {
    #[serde(flatten)]
    pool: &'a PlannedPool,
    /// Whether its nodes were listed again after the last call was answered.
    seen_again: bool,
}

/// Unlike in the plan, unknown values are written as null: every node has every member.
#[derive(Serialize)]
struct NodeRecord<'a> {
    account: &'a AccountName,
    pool: &'a PoolId,
    node: &'a NodeId,
    outcome: Outcome,
    reason: Option<&'a str>,
    virtual_directory: Option<&'a str>,
    files_promised: Option<u32>,
    files_arrived: Option<u32>,
    bytes: Option<u64>,
    verified_at: Option<Utc>,
    proof: Option<Proof>,
    duplicates: &'a [Box<str>],
    may_have_duplicates: bool,
    priority: Priority,
    #[serde(flatten)]
    facts: FactMembers<'a, NodeBetween<'a>>,
    window: Option<WindowRecord>,
    ran: Option<WindowRecord>,
    recent_tasks: Vec<TaskRecord<'a>>,
    identity_changed: Option<bool>,
    identity_now: Option<IdentityRecord<'a>>,
    seen_again: Option<EvidenceRecord<'a>>,
    attempts: Vec<AttemptRecord<'a>>,
}

impl<'a> NodeRecord<'a> {
    fn new(end: &'a NodeEnd<'a>, facts: &RunFacts) -> Self {
        let NodeEnd { node, history, outcome, reason, .. } = end;
        let evidence = &node.evidence;
        let between = NodeBetween { times: Times::from(evidence), os: node.place.os.as_deref() };
        // Without a directory, the second look does not compare the node.
        let looked = history.directory.is_some() && facts.seen_again(node.account(), node.pool());
        let changed = history.identity_changed.is_some();
        // Without either time there was nothing to compare.
        let looked = looked && (evidence.allocation_time.is_some() || evidence.last_boot_time.is_some());
        Self {
            account: node.account(),
            pool: node.pool(),
            node: &node.node,
            outcome: *outcome,
            reason: reason.as_deref(),
            virtual_directory: history.directory.as_deref(),
            files_promised: history.files_promised,
            files_arrived: history.files_arrived,
            bytes: history.bytes,
            verified_at: history.verified_at.map(Utc),
            proof: history.proof,
            duplicates: &history.duplicates,
            may_have_duplicates: history.may_have_duplicates,
            priority: node.priority,
            facts: FactMembers { facts: &evidence.facts, between, nulls: true },
            window: node.window.as_deref().copied().map(WindowRecord::from),
            ran: node.ran.as_deref().copied().map(WindowRecord::from),
            recent_tasks: evidence.recent_tasks.iter().map(TaskRecord::from).collect(),
            identity_changed: (looked || changed).then_some(changed),
            identity_now: history
                .identity_changed
                .as_deref()
                .and_then(Option::as_ref)
                .map(IdentityRecord::from),
            seen_again: history.seen_again.as_deref().map(EvidenceRecord::from),
            attempts: history.attempts.iter().map(AttemptRecord::new).collect(),
        }
    }
}

/// The times of a node, behind its state.
struct Times([Option<Utc>; 3]);

impl From<&NodeEvidence> for Times {
    fn from(evidence: &NodeEvidence) -> Self {
        Self(
            [evidence.state_since, evidence.allocation_time, evidence.last_boot_time]
                .map(|time| time.map(Utc)),
        )
    }
}

impl BetweenFacts for Times {
    fn after_state<M: SerializeMap>(&self, members: &mut Members<'_, M>) -> Result<(), M::Error> {
        TIMES.into_iter().zip(&self.0).try_for_each(|(name, time)| members.optional(name, time.as_ref()))
    }

    fn after_scheduling<M: SerializeMap>(&self, _: &mut Members<'_, M>) -> Result<(), M::Error> {
        Ok(())
    }
}

/// What a planned node has between its facts.
struct NodeBetween<'a> {
    times: Times,
    os: Option<&'a str>,
}

impl BetweenFacts for NodeBetween<'_> {
    fn after_state<M: SerializeMap>(&self, members: &mut Members<'_, M>) -> Result<(), M::Error> {
        self.times.after_state(members)
    }

    fn after_scheduling<M: SerializeMap>(&self, members: &mut Members<'_, M>) -> Result<(), M::Error> {
        members.optional("os", self.os)
    }
}

#[derive(Serialize)]
struct TaskRecord<'a> {
    job: &'a str,
    task: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    started: Option<Utc>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended: Option<Utc>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_code: Option<i32>,
}

impl<'a> From<&'a RecentTask> for TaskRecord<'a> {
    fn from(task: &'a RecentTask) -> Self {
        Self {
            job: &task.job,
            task: &task.task,
            started: task.started.map(Utc),
            ended: task.ended.map(Utc),
            exit_code: task.exit_code,
        }
    }
}

/// What the service said of a node; members without a value are left out.
#[derive(Serialize)]
pub(crate) struct EvidenceRecord<'a> {
    #[serde(flatten)]
    facts: FactMembers<'a, Times>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    recent_tasks: Vec<TaskRecord<'a>>,
}

impl<'a> From<&'a NodeEvidence> for EvidenceRecord<'a> {
    fn from(evidence: &'a NodeEvidence) -> Self {
        let between = Times::from(evidence);
        Self {
            facts: FactMembers { facts: &evidence.facts, between, nulls: false },
            recent_tasks: evidence.recent_tasks.iter().map(TaskRecord::from).collect(),
        }
    }
}

#[derive(Serialize)]
pub(crate) struct LeftOutRecord<'a> {
    account: &'a AccountName,
    pool: &'a PoolId,
    node: Option<&'a NodeId>,
    reason: LeftOutReason,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    evidence: Option<EvidenceRecord<'a>>,
}

impl<'a> From<&'a LeftOut> for LeftOutRecord<'a> {
    fn from(left: &'a LeftOut) -> Self {
        Self {
            account: &left.account,
            pool: &left.pool,
            node: left.node.as_ref(),
            reason: left.reason,
            cause: left.cause.as_deref(),
            evidence: left.evidence.as_deref().map(EvidenceRecord::from),
        }
    }
}

#[derive(Serialize)]
struct AttemptRecord<'a> {
    attempt: u32,
    sent_at: Utc,
    client_request_id: Uuid,
    request_id: Option<&'a str>,
    status: Option<u16>,
    code: Option<&'a str>,
    message: Option<&'a str>,
}

impl<'a> AttemptRecord<'a> {
    fn new(attempt: &'a Attempt) -> Self {
        Self {
            attempt: attempt.number,
            sent_at: Utc(attempt.sent_at),
            client_request_id: attempt.client_request_id,
            request_id: attempt.request_id.as_deref(),
            status: attempt.status,
            code: attempt.code.as_deref(),
            message: attempt.message.as_deref(),
        }
    }
}
