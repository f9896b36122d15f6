//! `fleetlogs schedule`: runs that begin by themselves. Design and reasons: docs/design/schedule.md.

mod daemon;
mod list;
mod lock;
mod once;
mod runner;
mod watching;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Parser;
use fleetlogs_azure::http_client;
use fleetlogs_engine::schedule::state::{StateError, Store};
use fleetlogs_model::home::StateHome;
use fleetlogs_model::ids::SnapshotName;
use fleetlogs_sim::Simulator;

use crate::args::Output;
use crate::config::{self, Needs, Settings, SnapshotSettings};
use crate::error::{CliError, Refusal};
use crate::exit::Exit;
use crate::lease::{self, Access};
use crate::logging::Logs;
use crate::simulated_fleet;
use crate::tokens::Tokens;

#[derive(Debug, Parser)]
pub(crate) struct ScheduleArgs {
    /// The config file, with one snapshot or more
    pub(crate) config: PathBuf,
    /// Run this snapshot now and end: for cron, systemd timers and other schedulers
    #[arg(long, value_name = "NAME")]
    pub(crate) once: Option<String>,
    /// Show when each snapshot runs next, and how it went last
    #[arg(long, conflicts_with = "once")]
    pub(crate) list: bool,
}

impl ScheduleArgs {
    /// Whether it goes on until it is told to end.
    pub(crate) fn is_daemon(&self) -> bool {
        self.once.is_none() && !self.list
    }
}

pub(crate) async fn schedule(args: &ScheduleArgs, output: &Output, logs: &Logs) -> Result<Exit, CliError> {
    let mut settings = config::load_for(&args.config, if args.list { Needs::LIST } else { Needs::SCHEDULE })?;
    if settings.snapshots.is_empty() {
        let what = format!("`{}` has no snapshot", args.config.display());
        let help = "add a [[snapshot]] with `name` and `cron`; docs/guide/snapshots.md shows some";
        return Err(CliError::usage(Refusal::new(what, help)));
    }
    if args.list {
        return list::list(&settings, output).await;
    }
    let simulator = hold_simulator(&mut settings).await?;
    let ended = match &args.once {
        Some(name) => {
            let name = known(&settings, name)?.name().clone();
            once::once(&args.config, settings, &name, output, logs).await
        }
        None => daemon::daemon(&args.config, settings, output, logs).await,
    };
    if let Some(simulator) = simulator {
        simulator.shutdown().await;
    }
    ended
}

/// The snapshot of a name.
pub(crate) fn known<'a>(settings: &'a Settings, name: &str) -> Result<&'a SnapshotSettings, CliError> {
    of(settings, &SnapshotName::new(name)).ok_or_else(|| {
        let names: Vec<_> = settings.snapshots.iter().map(|snapshot| snapshot.name().as_str()).collect();
        let what = format!("the config has no snapshot `{name}`");
        CliError::usage(Refusal::new(what, format!("it has: {}", names.join(", "))))
    })
}

/// Where the state of the schedule is.
pub(crate) fn state_path(settings: &Settings) -> PathBuf {
    settings.schedule.state.clone().unwrap_or_else(|| settings.output_dir.join("schedule.db"))
}

/// Where the state lives that several machines share; none where it lives on this machine alone.
pub(crate) fn home_of(settings: &Settings) -> Result<Option<Arc<dyn StateHome>>, CliError> {
    home_for(settings, Access::Own)
}

fn home_for(settings: &Settings, access: Access) -> Result<Option<Arc<dyn StateHome>>, CliError> {
    let Some(lease) = &settings.schedule.lease else { return Ok(None) };
    let http = http_client(2)?;
    let tokens = Tokens::new(http.clone(), settings.entra.clone());
    lease::home(lease, access, &http, &tokens).map(Some)
}

/// The state as it is, to be looked at; none where no schedule has been at work yet.
pub(crate) async fn state_of(settings: &Settings) -> Result<Option<Store>, CliError> {
    let Some(home) = home_for(settings, Access::Look)? else {
        return Ok(Store::look_in(&state_path(settings))?);
    };
    match home.read().await {
        Ok(Some(fetched)) => Ok(Some(Store::look_at(&fetched)?)),
        Ok(None) => Ok(None),
        Err(error) => Err(StateError::Home(error).into()),
    }
}

/// A simulated fleet lives as long as the schedule, and not as long as a run.
async fn hold_simulator(settings: &mut Settings) -> Result<Option<Simulator>, CliError> {
    let Some(simulator) = settings.simulator.take() else { return Ok(None) };
    let simulator = simulated_fleet::start_simulator(&simulator.scenario).await?;
    let (accounts, container) = simulated_fleet::simulated(&simulator);
    settings.accounts = accounts;
    settings.destination = settings.destination.take().or(container);
    Ok(Some(simulator))
}

/// The settings of a snapshot's name; the state may know names that the config has no more.
fn of<'a>(settings: &'a Settings, name: &SnapshotName) -> Option<&'a SnapshotSettings> {
    settings.snapshots.iter().find(|snapshot| snapshot.name() == name)
}

/// Makes the directory that a file is to be in.
fn make_room_for(path: &Path) -> Result<(), CliError> {
    match path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
        Some(dir) => std::fs::create_dir_all(dir).map_err(|error| CliError::file(dir, &error)),
        None => Ok(()),
    }
}
