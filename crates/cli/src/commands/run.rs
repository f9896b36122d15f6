//! `fleetlogs run`: config becomes a plan; the plan is executed; the result is verified; what happened is reported.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use fleetlogs_azure::{AzureBatch, AzureLogStore};
use fleetlogs_engine::access::Access;
use fleetlogs_engine::clock::Clock;
use fleetlogs_engine::collect::{Collection, collect};
use fleetlogs_engine::event_log::{LogMode, Written};
use fleetlogs_engine::journal::{JournalError, JournalReader, RunMeta, SqliteJournal};
use fleetlogs_engine::resume::Outstanding;
use fleetlogs_engine::schedule;
use fleetlogs_engine::stop::{Stop, StopHandle, StopReason};
use fleetlogs_model::event_sink::EventSink;
use fleetlogs_model::ids::RunId;
use fleetlogs_model::ledger::Ledger;
use fleetlogs_model::plan::Plan;
use fleetlogs_model::service::{BatchService, UploadOrder};
use fleetlogs_model::snapshot::SnapshotRef;
use fleetlogs_report::{EventsFile, Progress};

use super::report::Reported;
use crate::args::{Output, Pick};
use crate::config::{self, Needs, Settings};
use crate::destination::Destination;
use crate::error::CliError;
use crate::estimate::estimate;
use crate::exit::Exit;
use crate::fleet::Fleet;
use crate::logging::{LogGuard, Logs};
use crate::notify;
use crate::open_files::calls_of_each;
use crate::output::{planning_progress, progress_clock, progress_mode};
use crate::preflight::{self, Findings};
use crate::run_dir::RunDir;
use crate::run_end::RunEnd;
use crate::signals;

#[derive(Debug, Parser)]
pub(crate) struct RunArgs {
    /// The config file
    pub(crate) config: PathBuf,
    /// Execute exactly this plan (a plan.json) instead of making one
    #[arg(long, value_name = "FILE", conflicts_with_all = ["accounts", "pools", "nodes", "states", "jobs"])]
    pub(crate) plan: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) pick: Pick,
}

pub(crate) async fn run(args: &RunArgs, output: &Output, logs: &Logs) -> Result<Exit, CliError> {
    let mut settings = config::load_for(&args.config, Needs::RUN)?;
    settings.narrow(&args.pick)?;
    let stop = StopHandle::default();
    signals::listen(&stop)?;
    let order = Order { config: &args.config, plan: args.plan.as_deref(), snapshot: None };
    let finished = Box::pin(begin(order, &settings, stop, output, logs)).await?;
    Ok(finished.end.outcome.into())
}

/// What is to be run.
pub(super) struct Order<'a> {
    /// The file that the settings came from; `resume` reads it again.
    pub(super) config: &'a Path,
    /// A plan made earlier.
    pub(super) plan: Option<&'a Path>,
    /// The snapshot that it is a run of, and where it is put on record.
    pub(super) snapshot: Option<(&'a SnapshotRef, schedule::Begun)>,
}

/// How a run ended.
pub(super) struct Finished {
    pub(super) plan: Arc<Plan>,
    pub(super) ledger: Ledger,
    pub(super) end: RunEnd,
}

/// Plans a run, and goes on until it has ended and is reported.
pub(super) async fn begin(
    order: Order<'_>,
    settings: &Settings,
    stop: StopHandle,
    output: &Output,
    logs: &Logs,
) -> Result<Finished, CliError> {
    let prepared = tokio::select! {
        prepared = prepare(&order, settings, output) => prepared?,
        () = stop.reached(Stop::Drain) => return Err(CliError::stopped_early()),
        () = tokio::time::sleep(settings.deadlines.run) => return Err(CliError::planning_too_long()),
    };
    let dir = RunDir::create(&settings.output_dir, &prepared.plan)?;
    let kept = logs.keep_in(dir.log_file()?);
    tracing::info!(run_id = %prepared.plan.run_id, nodes = prepared.plan.nodes.len(), "planned");
    let config = std::path::absolute(order.config).unwrap_or_else(|_| order.config.to_owned());
    let meta = RunMeta { plan_digest: dir.plan_digest.clone(), config: config.display().to_string() };
    let journal = SqliteJournal::create(&dir.path, &prepared.plan, &meta)?;
    if let Some((_, begun)) = order.snapshot {
        // From here on the run can be resumed, and nothing is sent before that is known.
        let path = std::path::absolute(&dir.path).unwrap_or_else(|_| dir.path.clone());
        begun.record(&prepared.plan, &path).await?;
    }
    let begun = Begun {
        ledger: Ledger::new(&prepared.plan),
        outstanding: Outstanding::all(&prepared.plan),
        journal,
        dir,
        stop,
        kept,
    };
    Box::pin(go(prepared, begun, settings, output, logs)).await
}

/// A run whose journal is open.
pub(super) struct Begun {
    pub(super) dir: RunDir,
    pub(super) journal: SqliteJournal,
    /// Where it stands.
    pub(super) ledger: Ledger,
    pub(super) outstanding: Outstanding,
    pub(super) stop: StopHandle,
    /// Keeps the program's log in its directory.
    pub(super) kept: LogGuard,
}

/// Executes, verifies and reports what is outstanding, and tells those who are to hear of its end.
pub(super) async fn go(
    prepared: Prepared,
    begun: Begun,
    settings: &Settings,
    output: &Output,
    logs: &Logs,
) -> Result<Finished, CliError> {
    let Prepared { fleet, destination, plan, services, store } = prepared;
    let Begun { dir, journal, ledger, outstanding, stop, kept: _kept } = begun;
    let progress =
        Progress::new(progress_mode(output), progress_clock(), plan.clone(), &ledger, store.is_some());
    logs.share_screen(Some(progress.clone()));
    let mut listeners: Vec<Box<dyn EventSink>> = vec![Box::new(progress.clone())];
    if let Some(path) = &output.events {
        let events = EventsFile::open(path, plan.clone()).map_err(|error| CliError::file(path, &error))?;
        listeners.push(Box::new(events));
    }
    let order = UploadOrder { window: plan.window, access: Arc::new(destination.access.clone()) };
    let (access, replace) = Access::new(order);
    let mut run_settings = settings.for_run();
    let called = services.iter().flatten().count();
    run_settings.limits.concurrency = calls_of_each(run_settings.limits.concurrency, called);
    let collection = Collection {
        plan: plan.clone(),
        ledger,
        outstanding,
        journal: Box::new(journal),
        listeners,
        log_mode: LogMode::Thread,
        services: services.clone(),
        store: store.clone(),
        access,
        settings: run_settings,
        tool_version: env!("CARGO_PKG_VERSION").into(),
        clock: Clock::System,
        stop: stop.clone(),
        random: fastrand::Rng::new(),
    };
    // A SAS is held against the service's clock.
    let now = || {
        let ahead = services.iter().flatten().filter_map(|service| service.clock_offset()).max();
        Clock::System.now() + ahead.unwrap_or_default()
    };
    let Written { ledger, journal } = tokio::select! {
        written = collect(collection) => written,
        never = destination.keep_fresh(settings.upload_allowance, now, replace, store.as_deref()) => never,
        never = show_progress(&progress, &stop) => never,
    };
    if stop.level() == Stop::Abort {
        // The second Ctrl-C stands in the middle of the bars.
        progress.leave();
    }
    progress.finish();
    logs.share_screen(None);
    fleet.end().await;
    let can_resume = settings.simulator.is_none();
    let unreported = |error: CliError| CliError::unreported(&error);
    let (ledger, end, told) = report(&dir, &plan, ledger, can_resume, output).map_err(unreported)?;
    // It was held until all is reported. Whoever is notified may want to work with the run.
    drop(journal);
    notify::notify_all(&settings.notify, &end, &stop).await;
    told.map_err(unreported)?;
    Ok(Finished { plan, ledger, end })
}

/// What is on record, for people and programs. Beside it, whether that could be printed.
fn report(
    dir: &RunDir,
    plan: &Plan,
    ledger: Result<Ledger, JournalError>,
    can_resume: bool,
    output: &Output,
) -> Result<(Ledger, RunEnd, Result<(), CliError>), CliError> {
    let reader = JournalReader::open(&dir.path)?;
    let (ledger, unrecorded) = match ledger {
        Ok(ledger) => (ledger, None),
        // What is on record is still worth a report.
        Err(error) => {
            tracing::error!("{error}; what was on record before is reported");
            let mut ledger = Ledger::new(plan);
            reader.for_each_event(0, |recorded| ledger.apply(recorded))?;
            (ledger, Some(StopReason::journal(&error).to_string()))
        }
    };
    let reported = Reported::write(&dir.path, plan, &ledger, &reader, can_resume, unrecorded)?;
    let told = reported.tell(output).map(|_| ());
    tracing::info!(outcome = %reported.outcome(), "reported");
    let end = reported.end()?;
    Ok((ledger, end, told))
}

/// A run that may begin: everything that can be known to be wrong beforehand is right.
pub(super) struct Prepared {
    pub(super) fleet: Fleet,
    pub(super) destination: Destination,
    pub(super) plan: Arc<Plan>,
    pub(super) services: Vec<Option<Arc<AzureBatch>>>,
    /// None where arrival is not looked at.
    pub(super) store: Option<Arc<AzureLogStore>>,
}

async fn prepare(order: &Order<'_>, settings: &Settings, output: &Output) -> Result<Prepared, CliError> {
    let given = order.plan.map(read_plan).transpose()?;
    let fleet = Fleet::connect(settings).await?;
    let run_id = RunId::new(Clock::System.now(), fastrand::u16(..));
    let destination = fleet.destination_of(&run_id, settings).await?;
    // Before anything is listed: a SAS that is no good now will be no better then.
    let mut findings = Findings::default();
    preflight::early(&destination, settings, &mut findings);
    let mut store = None;
    if !destination.is_created() {
        store = preflight::open_store(&fleet.http, &destination, settings, &mut findings).await;
    }
    findings.settle()?;
    let plan = match given {
        // Who and which window is the plan's; where to, this config's.
        Some(plan) => Plan {
            run_id: run_id.clone(),
            destination: destination.url(),
            config_digest: settings.digest.clone(),
            accounts: plan.accounts.iter().map(|account| fleet.as_called(account)).collect(),
            ..plan
        },
        None => fleet.plan(settings, (&run_id, &destination.url()), planning_progress(output)).await?,
    };
    let plan = Plan { snapshot: order.snapshot.as_ref().map(|(snapshot, _)| (*snapshot).clone()), ..plan };
    let services = fleet
        .services(&plan)
        .map_err(|why| CliError::other_plan(order.plan.unwrap_or(Path::new("")), &why))?;
    if plan.nodes.is_empty() {
        return Err(CliError::no_node(&plan.left_out));
    }
    preflight::clocks(&fleet, &mut findings);
    preflight::windows(&plan, &mut findings);
    preflight::identities(&fleet, &destination, &plan, &mut findings).await;
    // By the service's clock, which is what the SAS will be held against.
    let now = Clock::System.now() + fleet.clock_offset();
    preflight::sas(&destination, settings, now, estimate(&plan, &settings.limits), &mut findings);
    findings.settle()?;
    if destination.is_created() {
        // Nothing may stand in the way of the run once the container is made.
        std::fs::create_dir_all(&settings.output_dir)
            .map_err(|error| CliError::file(&settings.output_dir, &error))?;
        destination.create().await?;
        store = preflight::open_store(&fleet.http, &destination, settings, &mut findings).await;
        findings.settle()?;
    }
    Ok(Prepared { fleet, destination, plan: Arc::new(plan), services, store })
}

/// A plan made earlier, for a run of its own.
fn read_plan(path: &Path) -> Result<Plan, CliError> {
    let text = std::fs::File::open(path).map_err(|error| CliError::file(path, &error))?;
    Plan::from_json(text).map_err(|error| CliError::plan(path, &error))
}

/// Shows the passing of time, and once why the run drains. Never ends.
async fn show_progress<T>(progress: &Progress, stop: &StopHandle) -> T {
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    let mut draining = false;
    loop {
        tokio::select! {
            _ = tick.tick() => progress.tick(),
            () = stop.reached(Stop::Drain), if !draining => {
                draining = true;
                if let Some(reason) = stop.reason() {
                    tracing::info!("{reason}; no new call is sent, and what is in flight is awaited");
                    progress.drain(&reason.to_string());
                }
            }
        }
    }
}
