//! Carries out what is outstanding in a run: `engine::collect` with the real services, and the reports after it.

use std::sync::Arc;
use std::time::Duration;

use fleetlogs_engine::access::Access;
use fleetlogs_engine::clock::Clock;
use fleetlogs_engine::collect::{Collection, ProcessFacts, collect};
use fleetlogs_engine::event_log::{LogMode, Written};
use fleetlogs_engine::recorded_run::ledger_of;
use fleetlogs_engine::resume::Outstanding;
use fleetlogs_engine::stop::{Stop, StopHandle, StopReason};
use fleetlogs_engine::verify::patience_once_stopped;
use fleetlogs_model::event_sink::EventSink;
use fleetlogs_model::ledger::Ledger;
use fleetlogs_model::plan::Plan;
use fleetlogs_model::run_store::{Journal, JournalError};
use fleetlogs_model::service::UploadOrder;
use fleetlogs_model::stop_cause::Unverified;
use fleetlogs_report::{EventLines, EventsFile, Progress, StopNotice};

use super::prepare::PreparedRun;
use super::reported::Reported;
use super::watchers::{Watchers, progress_clock};
use crate::config::Settings;
use crate::error::CliError;
use crate::logging::LogGuard;
use crate::open_files::calls_of_each;
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
    let PreparedRun { fleet, destination, plan, services, store } = prepared;
    let OpenRun { dir, journal, ledger, outstanding, stop, log, events } = open;
    let mode = watchers.progress.mode();
    let progress = Progress::new(mode, progress_clock(), plan.clone(), &ledger, store.is_some());
    watchers.logs.share_screen(Some(progress.clone()));
    let mut listeners: Vec<Box<dyn EventSink>> =
        vec![Box::new(progress.clone()), Box::new(EventLines::new(plan.clone()))];
    if let Some(events) = events {
        listeners.push(Box::new(events));
    }
    let order = UploadOrder { window: plan.window, access: Arc::new(destination.access.clone()) };
    let (access, replace) = Access::new(order);
    let mut run_settings = settings.for_run();
    let called = services.iter().flatten().count();
    run_settings.limits.concurrency = calls_of_each(run_settings.limits.concurrency, called);
    let process = ProcessFacts {
        tool_version: env!("CARGO_PKG_VERSION").into(),
        unverified: Some(if settings.verification {
            Unverified::NotPermitted
        } else {
            Unverified::SwitchedOff
        }),
        simulated: fleet.is_simulated(),
    };
    let collection = Collection {
        plan: plan.clone(),
        ledger,
        outstanding,
        journal,
        listeners,
        log_mode: LogMode::Thread,
        services: services.clone(),
        store: store.clone(),
        access,
        settings: run_settings,
        process,
        clock: Clock::System,
        stop: stop.clone(),
        random: fastrand::Rng::new(),
    };
    let patience = store.is_some().then(|| patience_once_stopped(settings.for_run().verify.deadline));
    // A fleet that ends with this process cannot be asked again.
    let can_resume = !fleet.is_simulated();
    let resume = can_resume.then(|| format!("fleetlogs resume {}", as_argument(&dir.path)));
    // A SAS is held against the service's clock.
    let now = || {
        let ahead = services.iter().flatten().filter_map(|service| service.clock_offset()).max();
        Clock::System.now() + ahead.unwrap_or_default()
    };
    let Written { ledger, journal } = tokio::select! {
        written = collect(collection) => written,
        never = destination.keep_fresh(settings.upload_allowance, now, replace, store.as_deref()) => never,
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
