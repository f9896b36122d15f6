//! Carries out what is outstanding in a run, for a person who watches, and writes the reports after it.

use std::sync::Arc;
use std::time::Duration;

use fleetlogs_engine::event_log::Written;
use fleetlogs_engine::recorded_run::ledger_of;
use fleetlogs_engine::resume::Outstanding;
use fleetlogs_engine::stop::{Stop, StopHandle, StopReason};
use fleetlogs_engine::verify::patience_once_stopped;
use fleetlogs_model::event_sink::EventSink;
use fleetlogs_model::ledger::Ledger;
use fleetlogs_model::plan::Plan;
use fleetlogs_model::run_store::{Journal, JournalError};
use fleetlogs_report::{EventLines, EventsFile, Progress, StopNotice};

use super::execute::{Work, execute};
use super::prepare::PreparedRun;
use super::reported::Reported;
use super::watchers::{Watchers, progress_clock};
use crate::config::Settings;
use crate::error::CliError;
use crate::logging::LogGuard;
use crate::run_dir::{RunDir, as_argument};

/// A run whose journal is open.
pub(super) struct OpenRun {
    pub(super) dir: RunDir,
    pub(super) journal: Box<dyn Journal>,
    /// Where it stands.
    pub(super) ledger: Ledger,
    pub(super) outstanding: Outstanding,
    pub(super) stop: StopHandle,
    /// Keeps the program's log in its directory.
    pub(super) log: LogGuard,
    /// The file of `--events`.
    pub(super) events: Option<EventsFile>,
}

/// A run that has ended and is reported.
pub(crate) struct FinishedRun {
    pub(crate) reported: Reported,
    /// Keeps the program's log in the run directory until those who are to hear of the end have heard.
    pub(crate) log: LogGuard,
}

/// Executes, verifies and reports what is outstanding.
pub(super) async fn carry_out(
    prepared: PreparedRun,
    open: OpenRun,
    settings: &Settings,
    watchers: &Watchers,
) -> Result<FinishedRun, CliError> {
    let PreparedRun { fleet, plan, reached } = prepared;
    let OpenRun { dir, journal, ledger, outstanding, stop, log, events } = open;
    let mode = watchers.progress.mode();
    let verifies = reached.store.is_some();
    let progress = Progress::new(mode, progress_clock(), plan.clone(), &ledger, verifies);
    watchers.logs.share_screen(Some(progress.clone()));
    let mut listeners: Vec<Box<dyn EventSink>> =
        vec![Box::new(progress.clone()), Box::new(EventLines::new(plan.clone()))];
    if let Some(events) = events {
        listeners.push(Box::new(events));
    }
    let work = Work {
        plan: plan.clone(),
        ledger,
        outstanding,
        journal,
        listeners,
        stop: stop.clone(),
        is_simulated: fleet.is_simulated(),
        accounts_at_once: reached.services.iter().flatten().count(),
    };
    let patience = verifies.then(|| patience_once_stopped(settings.for_run().verify.deadline));
    // A fleet that ends with this process cannot be asked again.
    let can_resume = !fleet.is_simulated();
    let resume = can_resume.then(|| format!("fleetlogs resume {}", as_argument(&dir.path)));
    let Written { ledger, journal } = tokio::select! {
        written = execute(&reached, settings, work) => written,
        never = show_progress(&progress, &stop, patience, resume.as_deref()) => never,
    };
    if stop.level() == Stop::Abort {
        // The second Ctrl-C stands in the middle of the bars.
        progress.leave();
    }
    progress.finish();
    watchers.logs.share_screen(None);
    fleet.end().await;
    let reported = report(dir, plan, ledger).await.map_err(|error| CliError::unreported(&error))?;
    tracing::info!(outcome = %reported.outcome(), "reported");
    // Held until all is reported. Whoever is notified may want to work with the run.
    drop(journal);
    Ok(FinishedRun { reported, log })
}

/// Reports what is on record.
async fn report(
    dir: RunDir,
    plan: Arc<Plan>,
    ledger: Result<Ledger, JournalError>,
) -> Result<Reported, CliError> {
    let reader = dir.store.read().await?;
    let (ledger, unrecorded) = match ledger {
        Ok(ledger) => (ledger, None),
        // What is on record is still worth a report.
        Err(error) => {
            tracing::error!("{error}; the report covers what was recorded before");
            (ledger_of(&*reader, &plan)?, Some(StopReason::journal(&error).to_string()))
        }
    };
    Reported::write(dir.path, plan, ledger, &*reader, unrecorded)
}

/// Shows the passing of time, and once why the run drains. Never ends.
async fn show_progress<T>(
    progress: &Progress,
    stop: &StopHandle,
    patience: Option<Duration>,
    resume: Option<&str>,
) -> T {
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    let mut draining = false;
    loop {
        tokio::select! {
            _ = tick.tick() => progress.tick(),
            () = stop.reached(Stop::Drain), if !draining => {
                draining = true;
                if let Some(reason) = stop.reason() {
                    tracing::info!("{reason}; draining: sending no new calls, waiting for calls in flight");
                    progress.drain(StopNotice { reason: &reason.to_string(), patience, resume });
                }
            }
        }
    }
}
