//! `fleetlogs resume`: goes on with exactly what is outstanding in a run.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fleetlogs_engine::clock::Clock;
use fleetlogs_engine::journal::{JournalReader, SqliteJournal};
use fleetlogs_engine::resume::Replay;
use fleetlogs_engine::stop::{Stop, StopHandle};
use fleetlogs_model::outcome::Outcome;
use fleetlogs_model::plan::Plan;
use fleetlogs_report::MANIFEST_FILE;

use super::report::{Reported, ended};
use super::run::{Begun, Prepared, go};
use super::{config_of, say};
use crate::args::{Output, Resume};
use crate::config::{self, Settings};
use crate::error::CliError;
use crate::exit::Exit;
use crate::fleet::{Fleet, estimate_calls};
use crate::logging::Logs;
use crate::preflight::{self, Findings};
use crate::run_dir::RunDir;
use crate::signals;

pub(crate) async fn resume(args: &Resume, output: &Output, logs: &Logs) -> Result<Exit, CliError> {
    let (dir, plan) = RunDir::open(&args.run)?;
    // Opened for writing first: that keeps every other process out from here on.
    let journal = SqliteJournal::open(&dir.path, args.accept_changes)?;
    let reader = JournalReader::open(&dir.path)?;
    reader.check_plan(&dir.plan_digest)?;
    let mut replay = Replay::new(&plan);
    reader.for_each_event(0, |recorded| replay.apply(recorded))?;
    let retry: Vec<Outcome> = args.retry.iter().map(|retry| (*retry).into()).collect();
    let (ledger, outstanding) = replay.finish(&plan, &retry);
    if outstanding.is_empty() && ended(&reader)? {
        if !dir.path.join(MANIFEST_FILE).exists() {
            // Its process ended between its last record and the reports.
            return Reported::write(&dir.path, &plan, &ledger, &reader, true, None)?
                .tell(output)
                .map(Exit::from);
        }
        let reported = Reported::earlier(&dir.path, &plan, &ledger, &reader)?;
        if output.json {
            return reported.tell(output).map(Exit::from);
        }
        if !output.quiet {
            say(&format!("nothing is outstanding in run {}; its reports stay as they are\n", plan.run_id));
        }
        return Ok(reported.outcome().into());
    }
    let config = config_of(&reader, args.config.as_deref())?;
    let settings = load(&config, &plan, args.accept_changes)?;
    logs.keep_in(dir.log_file()?);
    tracing::info!(run_id = %plan.run_id, outstanding = outstanding.nodes(), "resumed");
    let stop = StopHandle::default();
    signals::listen(&stop)?;
    let prepared = tokio::select! {
        prepared = prepare(&settings, plan, outstanding.nodes()) => prepared?,
        () = stop.reached(Stop::Drain) => return Err(CliError::StoppedEarly),
    };
    Box::pin(go(prepared, Begun { dir, journal, ledger, outstanding, stop }, &settings, output, logs)).await
}

/// The config, if it is the one that the run was begun with.
fn load(path: &Path, plan: &Plan, accept_changes: bool) -> Result<Settings, CliError> {
    let settings = config::load(path)?;
    if settings.simulator.is_some() {
        return Err(CliError::SimulatorGone);
    }
    if settings.digest != plan.config_digest && !accept_changes {
        return Err(CliError::ConfigChanged(path.into()));
    }
    Ok(settings)
}

/// The same checks as before a new run, for what is left of this one.
async fn prepare(settings: &Settings, plan: Plan, outstanding: usize) -> Result<Prepared, CliError> {
    let fleet = Fleet::connect(settings).await?;
    let destination = fleet.destination_of(&plan.run_id, settings).await?;
    let config = destination.url();
    if config != plan.destination {
        return Err(CliError::OtherContainer { run: plan.destination, config });
    }
    let mut findings = Findings::default();
    let calls_take = estimate_calls(outstanding, &settings.limits).min(Duration::from_secs(24 * 3600));
    preflight::sas(&destination, settings, Clock::System.now(), calls_take, &mut findings);
    let store = preflight::open_store(&fleet.http, &destination, settings, &mut findings).await;
    findings.settle()?;
    let services = fleet.services(&plan).map_err(|why| CliError::OtherPlan("plan.json".into(), why))?;
    Ok(Prepared { fleet, destination, plan: Arc::new(plan), services, store })
}
