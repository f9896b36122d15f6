//! `fleetlogs check`: makes every check that a run makes before its first call, and more. After a problem it continues
//! as far as it can. It sends no upload, and nothing that it creates stays, except the queues of workers.

use std::fmt::Write as _;
use std::io::IsTerminal;
use std::path::Path;

use clap::Parser;
use fleetlogs_engine::clock::Clock;
use fleetlogs_model::files::absolute;
use fleetlogs_model::ids::RunId;
use fleetlogs_report::for_terminal;
use serde::Serialize;

use crate::args::{Output, Pick};
use crate::config::{self, ConfigError, Mistake, Needs, Settings, config_name};
use crate::config_arg::ConfigArg;
use crate::destination::Destination;
use crate::error::CliError;
use crate::error_document::EndOfCommand;
use crate::estimate::estimate;
use crate::exit::Exit;
use crate::fleet::Fleet;
use crate::output::{as_json, planning_progress, print};
use crate::output_dir;
use crate::preflight::{self, Finding, Findings, Level};
use crate::text::counted;
use crate::window_args::WindowArgs;

#[derive(Debug, Parser)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArg,
    /// Write a blob as a node would, and delete it again
    #[arg(long)]
    pub(crate) probe_write: bool,
    #[command(flatten)]
    pub(crate) pick: Pick,
    #[command(flatten)]
    pub(crate) window: WindowArgs,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    /// Whether a run would start.
    ready: bool,
    #[serde(flatten)]
    end: EndOfCommand,
    findings: &'a [Finding],
}

pub(crate) async fn check(args: &CheckArgs, output: &Output) -> Result<Exit, CliError> {
    let mut findings = Findings::default();
    let path = args.config.path()?;
    let config = config_name(&path);
    let config = config.display();
    let mut settings = match config::load(&path) {
        Ok(settings) => settings,
        Err(ConfigError::Mistakes(_, mistakes)) if output.json => {
            refuse_mistakes(mistakes, &path, "see docs/reference/config.md for every key", &mut findings);
            return print_findings(&findings, Exit::Usage, output);
        }
        Err(error) => return Err(error.into()),
    };
    settings.narrow(&args.pick)?;
    args.window.apply(&mut settings)?;
    findings
        .good("config", format!("`{config}` is valid, and the secrets of accounts and storage were found"));
    if !settings.notify.is_empty() {
        check_notify_secrets(&path, &mut findings);
    }
    if !settings.snapshots.is_empty() {
        check_schedule(&path, &mut findings);
    }
    read_scale_out(&path, &mut settings, &mut findings)?;
    check_journal(&path, &mut settings, &mut findings).await?;
    preflight::queues(&settings, &mut findings).await?;
    let nodes = run_checks(args, &settings, output, &mut findings).await?;
    let exit = match (findings.count(Level::Refusal), nodes) {
        (0, _) => Exit::Complete,
        // The empty selection is the only problem.
        (1, Some(0)) => Exit::NoNode,
        _ => Exit::Refused,
    };
    print_findings(&findings, exit, output)
}

/// A run also reads the secrets of `[[notify]]`; this command need not have them.
fn check_notify_secrets(config: &Path, findings: &mut Findings) {
    let Err(ConfigError::Mistakes(_, mistakes)) = config::load_for(config, Needs::RUN) else { return };
    for Mistake { line, key, message, .. } in mistakes {
        let said = format!("{}:{line}: `{key}`: {message}", config_name(config).display());
        findings.warn("config", said, "`run` and `resume` need it: where it is missing, they are refused");
    }
}

/// The schedule reads more; `run` does without.
fn check_schedule(config: &Path, findings: &mut Findings) {
    let Err(ConfigError::Mistakes(_, mistakes)) = config::load_for(config, Needs::LIST) else { return };
    refuse_mistakes(mistakes, config, "`schedule` needs it: where it is missing, it is refused", findings);
}

/// `help` is for a mistake that has no advice of its own.
fn refuse_mistakes(mistakes: Vec<Mistake>, config: &Path, help: &str, findings: &mut Findings) {
    for Mistake { line, key, message, help: own } in mistakes {
        let said = format!("{}:{line}: `{key}`: {message}", config_name(config).display());
        findings.refuse("config", said, own.unwrap_or_else(|| help.into()));
    }
}

/// A run also opens the container of its journal.
async fn check_journal(
    config: &Path,
    settings: &mut Settings,
    findings: &mut Findings,
) -> Result<(), CliError> {
    match config::load_for(config, Needs::JOURNAL) {
        Ok(loaded) => settings.journal = loaded.journal,
        Err(ConfigError::Mistakes(_, mistakes)) => {
            refuse_mistakes(mistakes, config, "see docs/reference/config.md", findings);
        }
        Err(error) => return Err(error.into()),
    }
    preflight::journal(settings, config, findings).await
}

/// Commands with workers also open their queues.
fn read_scale_out(config: &Path, settings: &mut Settings, findings: &mut Findings) -> Result<(), CliError> {
    match config::load_for(config, Needs::SCALE_OUT) {
        Ok(loaded) => settings.scale_out = loaded.scale_out,
        Err(ConfigError::Mistakes(_, mut mistakes)) => {
            // The others are found by those who need them.
            mistakes.retain(|mistake| mistake.key.starts_with("scale_out"));
            refuse_mistakes(mistakes, config, "see docs/reference/config.md", findings);
        }
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

/// Tries `output.dir` out; nothing that is made for that stays.
fn check_output_dir(dir: &Path, findings: &mut Findings) {
    match output_dir::try_out(dir) {
        Ok(()) => findings.good("output.dir", format!("run directories go to `{}`", absolute(dir).display())),
        Err(refusal) => {
            findings.refuse(
                refusal.about.unwrap_or_default(),
                refusal.what,
                refusal.help.unwrap_or_default(),
            );
        }
    }
}

fn print_findings(findings: &Findings, exit: Exit, output: &Output) -> Result<Exit, CliError> {
    if output.json {
        let refusals = findings.all().iter().filter(|finding| finding.level == Level::Refusal);
        let fixes = refusals.filter_map(|finding| finding.fix.clone());
        let document = Document {
            schema: "fleetlogs.check/v1",
            ready: exit == Exit::Complete,
            end: EndOfCommand::with(exit, verdict(findings, exit), fixes),
            findings: findings.all(),
        };
        print(&as_json(&document)?)?;
    } else {
        let colours = crate::logging::colours() && std::io::stdout().is_terminal();
        print(&describe(findings, exit, colours, output.quiet))?;
    }
    Ok(exit)
}

/// What to look at if the selection leaves no node.
const WHY_SKIPPED: &str = "see `pools`, `exclude_pools` and `nodes` of the accounts; `fleetlogs plan` shows why each node \
    is skipped";

/// Makes every check. Returns the number of nodes that a run would call, if a plan could be made.
async fn run_checks(
    args: &CheckArgs,
    settings: &Settings,
    output: &Output,
    findings: &mut Findings,
) -> Result<Option<usize>, CliError> {
    check_output_dir(&settings.output_dir, findings);
    let Some(fleet) = findings.take(Fleet::connect(settings).await)? else { return Ok(None) };
    let run_id = RunId::new(Clock::System.now(), fastrand::u16(..));
    preflight::tokens(&fleet, findings).await;
    let destination = findings.take(fleet.destination_of(&run_id, settings).await)?;
    let url = destination.as_ref().map(Destination::url).unwrap_or_default();
    let planning = fleet.plan(settings, (&run_id, &url), planning_progress(output));
    let listed = match tokio::time::timeout(settings.deadlines.run, planning).await {
        Ok(Ok(listed)) => Some(listed),
        Ok(Err(error)) => {
            preflight::listed_elsewhere(&fleet, error, findings)?;
            None
        }
        Err(_) => findings.take(Err(CliError::planning_too_long()))?,
    };
    preflight::clocks(&fleet, findings);
    if let Some(listed) = &listed {
        preflight::listings(&fleet, listed, findings);
    }
    let plan = listed.map(|listed| listed.plan);
    if let Some(plan) = &plan {
        preflight::windows(plan, Some(&settings.window), findings);
        let unmatched = fleet.unmatched(plan);
        if plan.nodes.is_empty() {
            for refusal in CliError::no_node(&plan.left_out, &unmatched).refusals {
                let fix = if unmatched.is_empty() {
                    WHY_SKIPPED.to_owned()
                } else {
                    let there = refusal.seen.last().cloned();
                    there.into_iter().chain(refusal.help).collect::<Vec<_>>().join("; ")
                };
                findings.refuse("plan", refusal.what, fix);
            }
        } else {
            preflight::patterns(&unmatched, findings);
        }
    }
    if let Some(destination) = &destination {
        let now = Clock::System.now() + fleet.clock_offset();
        let calls_take = plan.as_ref().map(|plan| estimate(plan, &settings.limits)).unwrap_or_default();
        preflight::sas(destination, settings, now, calls_take, findings);
        preflight::journal_sas(settings, now, calls_take, findings).await;
        if destination.is_created() {
            findings.good(
                "destination.container",
                format!("{url} will be created when the run starts, if the credential permits it"),
            );
        } else {
            preflight::open_store(&fleet.http, destination, settings, findings).await;
            if args.probe_write {
                preflight::probe(&fleet.http, destination, findings).await;
            }
        }
        if let Some(plan) = &plan {
            preflight::identities(&fleet, destination, plan, findings).await;
        }
    }
    fleet.end().await;
    Ok(plan.map(|plan| plan.nodes.len()))
}

fn describe(findings: &Findings, exit: Exit, colours: bool, quiet: bool) -> String {
    let mut text = String::new();
    for Finding { level, about, message, fix } in findings.all() {
        let (label, colour) = match level {
            Level::Good if quiet => continue,
            Level::Good => ("ok", 32),
            Level::Warning => ("warning", 33),
            Level::Refusal => ("refused", 31),
        };
        let label = format!("{label:>7}");
        let label = if colours { format!("\u{1b}[1;{colour}m{label}\u{1b}[0m") } else { label };
        let _ = writeln!(text, "{label}  {}: {}", for_terminal(about), for_terminal(message));
        if let Some(fix) = fix {
            let _ = writeln!(text, "         fix: {}", for_terminal(fix));
        }
    }
    let _ = writeln!(text, "{}", verdict(findings, exit));
    text
}

/// Whether a run would start, and what was found.
fn verdict(findings: &Findings, exit: Exit) -> String {
    let (refusals, warnings) = (findings.count(Level::Refusal), findings.count(Level::Warning));
    let verdict = if exit == Exit::Complete { "a run would start" } else { "a run would be refused" };
    format!("{verdict}: {}, {}", counted(refusals, "problem"), counted(warnings, "warning"))
}
