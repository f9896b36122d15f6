//! What `--json` prints at the end of a run, and what notifications carry.

use fleetlogs_model::ids::{NodeRef, PoolId};
use fleetlogs_model::outcome::{Outcome, OutcomeCounts, RunOutcome, Shortfall};
use fleetlogs_model::plan::Plan;
use fleetlogs_model::timestamp;
use fleetlogs_model::window::Window;
use fleetlogs_report::{Advice, Cause, Step, Uncounted};
use serde::Serialize;

use crate::error_document::EndOfCommand;

/// Causes that the document has; `nodes.csv` has the reason of every node.
const MOST_CAUSES: usize = 50;

/// The document of a run.
#[derive(Serialize)]
pub(crate) struct RunDocument<'run> {
    pub(super) schema: &'static str,
    pub(super) run_id: &'run str,
    pub(super) outcome: RunOutcome,
    /// The verdict, as one sentence.
    pub(super) summary: String,
    pub(super) reason: Option<&'run str>,
    /// The verdict and the steps once more, under the names that every document has.
    #[serde(flatten)]
    pub(super) end: EndOfCommand,
    pub(super) resume: Option<String>,
    pub(super) window: WindowOfRun,
    pub(super) container: &'run str,
    pub(super) counts: PlanCounts,
    /// What the counts do not cover.
    pub(super) uncounted: Uncounted,
    pub(super) not_listed: Vec<NotListed<'run>>,
    pub(super) causes: Vec<CauseRecord>,
    /// Causes beyond those that are listed.
    pub(super) more_causes: usize,
    pub(super) next: Vec<Step>,
    pub(super) files: u64,
    pub(super) bytes: u64,
    pub(super) run_dir: String,
    pub(super) manifest: String,
    pub(super) report: String,
}

/// The planned nodes, and how many of them ended in each outcome.
#[derive(Serialize)]
pub(super) struct PlanCounts {
    planned: u64,
    #[serde(flatten)]
    outcomes: OutcomeCounts,
}

impl From<OutcomeCounts> for PlanCounts {
    fn from(outcomes: OutcomeCounts) -> Self {
        Self { planned: outcomes.total(), outcomes }
    }
}

/// The time range of the logs.
#[derive(Serialize)]
pub(crate) struct WindowOfRun {
    start: String,
    end: String,
}

impl From<Window> for WindowOfRun {
    fn from(window: Window) -> Self {
        Self { start: timestamp::text(window.start), end: timestamp::text(window.end) }
    }
}

/// An account, or pools of it, that could not be listed.
#[derive(Serialize)]
pub(crate) struct NotListed<'a> {
    account: &'a str,
    /// Null if the whole account could not be listed.
    pools: Option<Vec<&'a str>>,
    /// How many nodes it has is not known: always null.
    nodes: Option<u64>,
    reason: &'a str,
}

impl<'a> NotListed<'a> {
    /// All of a plan.
    pub(crate) fn of(plan: &'a Plan) -> Vec<Self> {
        let accounts = plan.accounts.iter().filter_map(|account| {
            let reason = account.unlisted.as_deref().or(account.missing.as_deref())?;
            let pools = plan.unlisted_pools().filter(|left| left.account == account.name);
            let pools = pools.map(|left| left.pool.as_str()).collect();
            let pools = account.unlisted.is_none().then_some(pools);
            Some(Self { account: account.name.as_str(), pools, nodes: None, reason })
        });
        accounts.collect()
    }
}

/// Why nodes of an account were not collected.
#[derive(Serialize)]
pub(super) struct CauseRecord {
    outcome: Outcome,
    reason: String,
    code: Option<Box<str>>,
    shortfall: Option<Shortfall>,
    nodes: u64,
    account: String,
    /// Empty if there were too many to keep.
    pools: Vec<PoolId>,
    /// Some of the nodes.
    examples: Vec<NodeRef>,
    step: Option<Step>,
}

impl CauseRecord {
    fn new(cause: Cause, step: Option<Step>) -> Self {
        let Cause { outcome, reason, code, shortfall, account, pools, nodes, examples } = cause;
        Self { outcome, reason, code, shortfall, nodes, account: account.to_string(), pools, examples, step }
    }
}

/// What a document says of the advice: the steps as lines and as data, causes, and how many causes more there are.
pub(super) fn advised(advice: Advice) -> (Vec<String>, Vec<Step>, Vec<CauseRecord>, usize) {
    let Advice { next, causes, .. } = advice;
    let line = |step: &Step| match step.command() {
        Some(command) => format!("{}: {command}", step.text()),
        None => step.text(),
    };
    let more = causes.len().saturating_sub(MOST_CAUSES);
    let causes = causes.into_iter().take(MOST_CAUSES).map(|(cause, step)| CauseRecord::new(cause, step));
    (next.iter().map(line).collect(), next, causes.collect(), more)
}
