//! The reports of a run: written from its journal, and what they say for whoever asks.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use fleetlogs_engine::run_record::RunRecord;
use fleetlogs_engine::scale_out::is_handed_on;
use fleetlogs_model::files::absolute;
use fleetlogs_model::ledger::Ledger;
use fleetlogs_model::outcome::RunOutcome;
use fleetlogs_model::plan::Plan;
use fleetlogs_model::run_store::JournalReader;
use fleetlogs_model::stop_cause::StopCause;
use fleetlogs_report::{
    Advice, Commands, Examples, Findings, Look, MANIFEST_FILE, PAGE_FILE, RunFacts, Summary, Ticket,
    TicketDetails, Uncounted, find, verdict_sentence, write_reports,
};

use super::document::{NotListed, RunDocument, advised};
use super::run_end::RunEnd;
use crate::error::CliError;
use crate::error_document::EndOfCommand;
use crate::run_dir::{as_argument, as_typed};
use crate::typed_path::argument_in;

/// What the reports of a run say, and where they are.
pub(crate) struct Reported {
    dir: PathBuf,
    plan: Arc<Plan>,
    ledger: Ledger,
    facts: RunFacts,
    findings: Findings,
    named: NamedInCommands,
    /// The same in files, which say the same wherever they are written.
    named_in_files: NamedInCommands,
}

/// What commands have to name, as a shell takes it.
struct NamedInCommands {
    /// The run; none if no command can resume it.
    run: Option<String>,
    /// The config that it was started with; none if it is not in a file.
    config: Option<String>,
    /// The URL of a run that is shared out.
    shared_out_at: Option<String>,
}

impl NamedInCommands {
    /// As `argument` spells paths.
    fn of(
        dir: &Path,
        facts: &RunFacts,
        journal: &dyn JournalReader,
        argument: impl Fn(&Path) -> String,
    ) -> Result<Self, CliError> {
        let meta = journal.meta()?;
        let config = PathBuf::from(meta.config);
        Ok(Self {
            // A fleet that ended with its process cannot be asked again.
            run: (!facts.is_simulated).then(|| argument(dir)),
            config: config.is_absolute().then(|| argument(&config)),
            shared_out_at: meta.shared_out_at,
        })
    }

    /// For commands that are typed here.
    fn here(dir: &Path, facts: &RunFacts, journal: &dyn JournalReader) -> Result<Self, CliError> {
        Self::of(dir, facts, journal, as_argument)
    }

    /// For commands that are typed in the directory that the directory of all runs is in.
    fn in_files(dir: &Path, facts: &RunFacts, journal: &dyn JournalReader) -> Result<Self, CliError> {
        let dir = absolute(dir);
        let above = dir.parent().and_then(Path::parent).unwrap_or(&dir);
        Self::of(&dir, facts, journal, |path| argument_in(above, path))
    }

    fn commands(&self) -> Commands<'_> {
        Commands {
            run: self.run.as_deref(),
            config: self.config.as_deref(),
            shared_out_at: self.shared_out_at.as_deref(),
        }
    }
}

impl Reported {
    /// Writes manifest, table, page and summary from the journal. `unrecorded` is why the run stopped, where the journal could not take that any more.
    pub(crate) fn write(
        dir: PathBuf,
        plan: Arc<Plan>,
        ledger: Ledger,
        journal: &dyn JournalReader,
        unrecorded: Option<String>,
    ) -> Result<Self, CliError> {
        let mut facts = run_facts(journal, &plan, &ledger)?;
        if unrecorded.is_some() {
            (facts.reason, facts.stop_cause) = (unrecorded, Some(StopCause::Journal));
        }
        let named = NamedInCommands::here(&dir, &facts, journal)?;
        let named_in_files = NamedInCommands::in_files(&dir, &facts, journal)?;
        let mut histories = journal.histories()?;
        let findings =
            write_reports(&dir, &plan, &facts, &ledger, named_in_files.commands(), histories.rows()?)?;
        let reported = Self { dir, plan, ledger, facts, findings, named, named_in_files };
        reported
            .summary(&reported.named_in_files)
            .write()
            .map_err(|error| CliError::file(&reported.dir, &error))?;
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
        let named = NamedInCommands::here(&dir, &facts, journal)?;
        let named_in_files = NamedInCommands::in_files(&dir, &facts, journal)?;
        Ok(Self { dir, plan, ledger, facts, findings, named, named_in_files })
    }

    fn summary<'a>(&'a self, named: &'a NamedInCommands) -> Summary<'a> {
        let Self { dir, plan, ledger, facts, findings, .. } = self;
        Summary { plan, facts, ledger, findings, dir: as_typed(dir), commands: named.commands() }
    }

    /// What support is to be told.
    pub(crate) fn ticket<'a>(&'a self, known: TicketDetails<'a>) -> Ticket<'a> {
        let Self { plan, ledger, facts, findings, named_in_files, .. } = self;
        Ticket { plan, facts, ledger, findings, commands: named_in_files.commands(), known }
    }

    /// What a person reads at the end of the run.
    pub(crate) fn to_terminal(&self, look: &Look, examples: Examples) -> String {
        self.summary(&self.named).to_terminal(look, examples)
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
            summary: verdict_sentence(plan, facts, ledger),
            document: serde_json::to_value(self.document()).map_err(std::io::Error::from)?,
        })
    }

    /// What `--json` prints at the end of the run.
    pub(crate) fn document(&self) -> RunDocument<'_> {
        let Self { dir, plan, ledger, facts, findings, named, .. } = self;
        let commands = named.commands();
        let (help, next, causes, more_causes) =
            advised(Advice::after(plan, facts, ledger, findings, commands));
        let summary = verdict_sentence(plan, facts, ledger);
        let resume = commands.run.filter(|_| facts.outcome.is_resumable());
        RunDocument {
            schema: "fleetlogs.run/v1",
            run_id: plan.run_id.as_str(),
            outcome: facts.outcome,
            end: EndOfCommand::with(facts.outcome.into(), summary.clone(), help),
            summary,
            reason: facts.reason.as_deref(),
            resume: resume.map(|run| commands.continues(run)),
            window: plan.window.into(),
            container: &plan.destination,
            counts: ledger.outcomes().into(),
            uncounted: Uncounted::of(plan),
            not_listed: NotListed::of(plan),
            causes,
            more_causes,
            next,
            files: findings.files,
            bytes: findings.bytes,
            run_dir: dir.display().to_string(),
            manifest: dir.join(MANIFEST_FILE).display().to_string(),
            report: self.page().display().to_string(),
        }
    }
}

/// Why a run stopped, if its process recorded no end.
const KILLED: &str = "the process ended without ending the run";

/// Why a run that is shared out is not over.
const NOT_OVER: &str = "not all of its partitions are done";

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
    let is_shared = journal.meta()?.shared_out_at.is_some();
    let unended = if is_shared { NOT_OVER } else { KILLED };
    // A worker that is told to stop ends its part of the record, and another one goes on.
    let is_handed_on = is_shared && record.stop_cause.is_some_and(is_handed_on);
    Ok(RunFacts {
        outcome,
        reason: record.stopped.clone().or_else(|| is_killed.then(|| unended.to_owned())),
        stop_cause: record.stop_cause,
        is_killed: is_killed && record.stopped.is_none(),
        is_over: !is_killed && !is_handed_on,
        started_at: record.started_at.unwrap_or(plan.created_at),
        ended_at: record.last_at.or(record.ended_at).unwrap_or(plan.created_at),
        verification: record.verification,
        unverified: record.unverified,
        is_simulated: record.is_simulated,
        list_calls: record.list_calls,
        seen_again: record.seen_again,
        appeared: record.appeared,
    })
}
