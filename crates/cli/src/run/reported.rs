//! The reports of a run: written from its journal, and what they say for whoever asks.

use std::path::PathBuf;
use std::sync::Arc;

use fleetlogs_engine::run_record::RunRecord;
use fleetlogs_model::files::absolute;
use fleetlogs_model::ledger::Ledger;
use fleetlogs_model::outcome::{OutcomeCounts, RunOutcome};
use fleetlogs_model::plan::Plan;
use fleetlogs_model::run_store::JournalReader;
use fleetlogs_report::{
    Findings, Look, MANIFEST_FILE, PAGE_FILE, RunFacts, Summary, Ticket, TicketDetails, find,
    verdict_sentence, write_reports,
};
use serde::Serialize;

use super::run_end::RunEnd;
use crate::error::CliError;
use crate::exit::Exit;
use crate::run_dir::{as_argument, as_typed};

/// What the reports of a run say, and where they are.
pub(crate) struct Reported {
    dir: PathBuf,
    plan: Arc<Plan>,
    ledger: Ledger,
    facts: RunFacts,
    findings: Findings,
    /// The command that resumes the run, if one can.
    resume: Option<String>,
    /// The run directory as an argument of a command, if a command can resume the run.
    run: Option<String>,
}

impl Reported {
    /// Writes manifest, table, page and summary from the journal. A fleet that ended with its process cannot be
    /// resumed. `unrecorded` is why the run stopped, where the journal could not take that any more.
    pub(crate) fn write(
        dir: PathBuf,
        plan: Arc<Plan>,
        ledger: Ledger,
        journal: &dyn JournalReader,
        can_resume: bool,
        unrecorded: Option<String>,
    ) -> Result<Self, CliError> {
        let mut facts = run_facts(journal, &plan, &ledger)?;
        facts.reason = unrecorded.or(facts.reason);
        let run = can_resume.then(|| as_argument(&dir));
        let resume = resume_command(run.as_deref(), &facts);
        let mut histories = journal.histories()?;
        let findings = write_reports(&dir, &plan, &facts, &ledger, resume.as_deref(), histories.rows()?)?;
        let reported = Self { dir, plan, ledger, facts, findings, resume, run };
        reported.summary().write().map_err(|error| CliError::file(&reported.dir, &error))?;
        reported
            .ticket(TicketDetails::default())
            .write(&reported.dir)
            .map_err(|error| CliError::file(&reported.dir, &error))?;
        Ok(reported)
    }

    /// What the reports that are there already say.
    pub(crate) fn earlier(
        dir: PathBuf,
        plan: Arc<Plan>,
        ledger: Ledger,
        journal: &dyn JournalReader,
    ) -> Result<Self, CliError> {
        let facts = run_facts(journal, &plan, &ledger)?;
        let findings = find(&plan, &facts, &ledger, journal.histories()?.rows()?)?;
        let run = Some(as_argument(&dir));
        let resume = resume_command(run.as_deref(), &facts);
        Ok(Self { dir, plan, ledger, facts, findings, resume, run })
    }

    fn summary(&self) -> Summary<'_> {
        let Self { dir, plan, ledger, facts, findings, resume, run } = self;
        let dir = as_typed(dir);
        Summary { plan, facts, ledger, findings, dir, resume: resume.as_deref(), run: run.as_deref() }
    }

    /// What support is to be told.
    pub(crate) fn ticket<'a>(&'a self, known: TicketDetails<'a>) -> Ticket<'a> {
        let Self { plan, ledger, facts, findings, .. } = self;
        Ticket { plan, facts, ledger, findings, known }
    }

    /// What a person reads at the end of the run.
    pub(crate) fn to_terminal(&self, look: &Look) -> String {
        self.summary().to_terminal(look)
    }

    /// The page for the browser.
    pub(crate) fn page(&self) -> PathBuf {
        self.dir.join(PAGE_FILE)
    }

    /// The frozen plan.
    pub(crate) fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Where the run stands.
    pub(crate) fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// How the run went.
    pub(crate) fn facts(&self) -> &RunFacts {
        &self.facts
    }

    /// What was found in it.
    pub(crate) fn findings(&self) -> &Findings {
        &self.findings
    }

    /// How the run ended.
    pub(crate) fn outcome(&self) -> RunOutcome {
        self.facts.outcome
    }

    /// The same for notifications, and for the counters of runs.
    pub(crate) fn end(&self) -> Result<RunEnd, CliError> {
        let Self { dir, plan, ledger, facts, .. } = self;
        Ok(RunEnd {
            run_id: plan.run_id.clone(),
            // The receiver may work in another directory.
            dir: absolute(dir),
            snapshot: plan.snapshot.clone(),
            outcome: facts.outcome,
            reason: facts.reason.clone(),
            started_at: facts.started_at,
            ended_at: facts.ended_at,
            counts: ledger.outcomes(),
            throttled: ledger.accounts().map(|(name, tally)| (name.clone(), tally.throttled)).collect(),
            summary: verdict_sentence(facts, ledger),
            document: serde_json::to_value(self.document()).map_err(std::io::Error::from)?,
        })
    }

    /// What `--json` prints at the end of the run.
    pub(crate) fn document(&self) -> RunDocument<'_> {
        let counts = self.ledger.outcomes();
        RunDocument {
            schema: "fleetlogs.run/v1",
            run_id: self.plan.run_id.as_str(),
            outcome: self.facts.outcome,
            exit_code: Exit::from(self.facts.outcome) as u8,
            reason: self.facts.reason.as_deref(),
            resume: self.resume.as_deref(),
            counts: PlanCounts { planned: counts.total(), outcomes: counts },
            files: self.findings.files,
            bytes: self.findings.bytes,
            run_dir: self.dir.display().to_string(),
            manifest: self.dir.join(MANIFEST_FILE).display().to_string(),
            report: self.page().display().to_string(),
        }
    }
}

/// The planned nodes, and how many of them ended in each outcome.
#[derive(Serialize)]
struct PlanCounts {
    planned: u64,
    #[serde(flatten)]
    outcomes: OutcomeCounts,
}

/// What `--json` prints at the end of a run.
#[derive(Serialize)]
pub(crate) struct RunDocument<'run> {
    schema: &'static str,
    run_id: &'run str,
    outcome: RunOutcome,
    exit_code: u8,
    reason: Option<&'run str>,
    resume: Option<&'run str>,
    counts: PlanCounts,
    files: u64,
    bytes: u64,
    run_dir: String,
    manifest: String,
    report: String,
}

/// The command that resumes a run that ended early.
fn resume_command(run: Option<&str>, facts: &RunFacts) -> Option<String> {
    run.filter(|_| facts.outcome.is_resumable()).map(|run| format!("fleetlogs resume {run}"))
}

/// Why a run stopped, if its process recorded no end.
const KILLED: &str = "the process ended without ending the run";

/// What the journal says of the run as a whole.
pub(crate) fn run_facts(
    journal: &dyn JournalReader,
    plan: &Plan,
    ledger: &Ledger,
) -> Result<RunFacts, CliError> {
    let record = RunRecord::of(&journal.run_events()?);
    let verdict = RunOutcome::of(&ledger.outcomes(), plan.is_whole(), record.verification);
    // A run without an end was killed. One that stopped early but had everything is not worth resuming.
    let is_killed = record.ended_at.is_none();
    let killed = is_killed.then_some(RunOutcome::Interrupted);
    let given_up = record.account_stopped.then_some(RunOutcome::BudgetSpent);
    let cut_short = killed.or(record.cut_short).or(given_up).filter(|_| verdict != RunOutcome::Complete);
    let outcome = cut_short.unwrap_or(verdict);
    Ok(RunFacts {
        outcome,
        reason: record.stopped.clone().or_else(|| is_killed.then(|| KILLED.to_owned())),
        is_killed: is_killed && record.stopped.is_none(),
        started_at: record.started_at.unwrap_or(plan.created_at),
        ended_at: record.last_at.or(record.ended_at).unwrap_or(plan.created_at),
        verification: record.verification,
        list_calls: record.list_calls,
        seen_again: record.seen_again,
        appeared: record.appeared,
    })
}
