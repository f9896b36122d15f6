//! `fleetlogs status`: how a run gets on, read from its journal while another process writes it.

use std::time::Duration;

use fleetlogs_engine::journal::{JournalReader, is_held};
use fleetlogs_model::ledger::{AccountTally, Ledger, NodeStatus};
use fleetlogs_model::outcome::{Outcome, OutcomeCounts, RunOutcome};
use fleetlogs_model::plan::Plan;
use fleetlogs_model::timestamp;
use serde::Serialize;
use std::fmt::Write as _;

use super::print;
use super::report::{KILLED, facts};
use crate::args::{Output, Status};
use crate::error::CliError;
use crate::exit::Exit;
use crate::run_dir::RunDir;

/// Between two looks of `--follow`.
const EVERY: Duration = Duration::from_secs(1);

pub(crate) async fn status(args: &Status, output: &Output) -> Result<Exit, CliError> {
    let (dir, plan) = RunDir::open(&args.run)?;
    let journal = JournalReader::open(&dir.path)?;
    journal.check_plan(&dir.plan_digest)?;
    let mut ledger = Ledger::new(&plan);
    let mut seen = 0;
    loop {
        // Before the events: what a process wrote while it still held the run is then among them.
        let held = is_held(&dir.path)?;
        seen = journal.for_each_event(seen, |recorded| ledger.apply(recorded))?;
        let state = if held { State::Running } else { State::of_ended(&journal, &plan, &ledger)? };
        let text = if output.json {
            let document = Document::of(&plan, &ledger, state);
            serde_json::to_string(&document).map_err(std::io::Error::from)? + "\n"
        } else {
            describe(&plan, &ledger, state)
        };
        print(&text)?;
        if !args.follow || state != State::Running {
            return Ok(Exit::Complete);
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// Whether anybody works on the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    /// A process holds its lock.
    Running,
    /// Its last process ended it, and nothing is outstanding.
    Ended,
    /// Its last process ended it before its end, for a reason on record; it can be resumed.
    Stopped,
    /// Its last process died; it can be resumed.
    Interrupted,
}

impl State {
    /// The state of a run that no process works on.
    fn of_ended(journal: &JournalReader, plan: &Plan, ledger: &Ledger) -> Result<Self, CliError> {
        let facts = facts(journal, plan, ledger)?;
        Ok(match facts.outcome {
            RunOutcome::Interrupted if facts.reason.as_deref() == Some(KILLED) => Self::Interrupted,
            RunOutcome::Interrupted | RunOutcome::BudgetSpent => Self::Stopped,
            RunOutcome::Complete | RunOutcome::Partial | RunOutcome::NothingCollected => Self::Ended,
        })
    }
}

/// What `--json` prints; with `--follow` one line a second.
#[derive(Serialize)]
struct Document<'run> {
    schema: &'static str,
    run_id: &'run str,
    at: String,
    state: State,
    counts: std::collections::BTreeMap<&'static str, u64>,
    accounts: Vec<Account<'run>>,
}

#[derive(Serialize)]
struct Account<'run> {
    name: &'run str,
    planned: u64,
    calls: u64,
    throttled: u64,
    in_flight: u64,
    awaited: u64,
    stopped: Option<&'run str>,
    counts: std::collections::BTreeMap<&'static str, u64>,
}

impl<'run> Document<'run> {
    fn of(plan: &'run Plan, ledger: &'run Ledger, state: State) -> Self {
        let account =
            |(name, tally): (&'run fleetlogs_model::ids::AccountName, &'run AccountTally)| Account {
                name: name.as_str(),
                planned: tally.planned(),
                calls: tally.calls,
                throttled: tally.throttled,
                in_flight: tally.count(NodeStatus::Requested),
                awaited: tally.count(NodeStatus::Accepted),
                stopped: tally.stopped.as_deref(),
                counts: by_outcome(&tally.outcomes()),
            };
        Self {
            schema: "fleetlogs.status/v1",
            run_id: plan.run_id.as_str(),
            at: timestamp::text(time::OffsetDateTime::now_utc()),
            state,
            counts: by_outcome(&ledger.outcomes()),
            accounts: ledger.accounts().map(account).collect(),
        }
    }
}

fn by_outcome(counts: &OutcomeCounts) -> std::collections::BTreeMap<&'static str, u64> {
    Outcome::ALL.iter().map(|outcome| (outcome.as_str(), counts.get(*outcome))).collect()
}

fn describe(plan: &Plan, ledger: &Ledger, state: State) -> String {
    let state = match state {
        State::Running => "running",
        State::Ended => "ended",
        State::Stopped => "stopped before its end: `fleetlogs resume` goes on with it",
        State::Interrupted => "interrupted: `fleetlogs resume` goes on with it",
    };
    let mut text = format!("run {} {state}\n", plan.run_id);
    for (name, tally) in ledger.accounts() {
        let shown = [
            (NodeStatus::Verified, "verified"),
            (NodeStatus::Accepted, "awaited"),
            (NodeStatus::Requested, "in flight"),
            (NodeStatus::Waiting, "waiting"),
            (NodeStatus::InDoubt, "in doubt"),
            (NodeStatus::Empty, "empty"),
            (NodeStatus::Incomplete, "incomplete"),
            (NodeStatus::Failed, "failed"),
            (NodeStatus::Gone, "gone"),
            (NodeStatus::Planned, "not called"),
        ];
        let _ = write!(text, "  {name}: {} planned", tally.planned());
        for (status, label) in shown {
            if tally.count(status) > 0 {
                let _ = write!(text, ", {} {label}", tally.count(status));
            }
        }
        if tally.throttled > 0 {
            let _ = write!(text, "; throttled \u{d7}{}", tally.throttled);
        }
        if let Some(stopped) = &tally.stopped {
            let _ = write!(text, "; stopped: {stopped}");
        }
        text.push('\n');
    }
    text
}
