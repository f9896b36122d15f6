//! `fleetlogs schedule`: starts runs automatically. Design and reasons: docs/design/schedule.md.

use clap::Parser;
use fleetlogs_sim::Simulator;

use super::schedule_list::list;
use crate::args::Output;
use crate::completion;
use crate::config::{self, Needs, Settings, config_name};
use crate::config_arg::ConfigArg;
use crate::daemon::{OnceListener, require_snapshot, run_once, serve};
use crate::error::{CliError, Refusal};
use crate::exit::Exit;
use crate::logging::Logs;
use crate::output::{print_end, say, watchers};
use crate::run::{ProgressView, Reported, Watchers};
use crate::simulated_fleet;

#[derive(Debug, Parser)]
pub(crate) struct ScheduleArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArg,
    /// Run this snapshot once, now, and end: for cron, systemd timers and other schedulers
    #[arg(long, value_name = "NAME", add = completion::snapshots())]
    pub(crate) once: Option<String>,
    /// Show when each snapshot runs next and how its last run ended
    #[arg(long, conflicts_with = "once")]
    pub(crate) list: bool,
}

impl ScheduleArgs {
    /// Whether it runs until it is told to stop.
    pub(crate) fn is_daemon(&self) -> bool {
        self.once.is_none() && !self.list
    }
}

pub(crate) async fn schedule(args: &ScheduleArgs, output: &Output, logs: &Logs) -> Result<Exit, CliError> {
    let config = args.config.path()?;
    let settings = config::load_for(&config, if args.list { Needs::LIST } else { Needs::SCHEDULE })?;
    if settings.snapshots.is_empty() {
        let what = format!("`{}` has no snapshot", config_name(&config).display());
        let help = "add a [[snapshot]] with `name` and `cron`; docs/guide/snapshots.md has examples";
        return Err(CliError::usage(Refusal::new(what, help)));
    }
    if args.list {
        return list(&settings, output).await;
    }
    let (settings, simulator) = with_simulator(settings).await?;
    let talk = |text: &str| {
        if !output.quiet {
            say(text);
        }
    };
    let ended = if let Some(name) = &args.once {
        let name = require_snapshot(&settings, name)?.name().clone();
        let on_end = |reported: &Reported| print_end(reported, output);
        let listener = OnceListener { say: &talk, on_end: &on_end };
        run_once(&config, settings, &name, watchers(output, logs), &listener).await
    } else {
        // Its runs show nothing on the screen; what they do is in the log.
        let watchers = Watchers { progress: ProgressView::Hidden, ..watchers(output, logs) };
        let interrupted = serve(&config, settings, watchers).await;
        interrupted.map(|interrupted| if interrupted { Exit::Interrupted } else { Exit::Complete })
    };
    if let Some(simulator) = simulator {
        simulator.shutdown().await;
    }
    ended
}

/// A simulated fleet lives as long as the schedule, and not as long as a run.
async fn with_simulator(mut settings: Settings) -> Result<(Settings, Option<Simulator>), CliError> {
    let Some(simulator) = settings.simulator.take() else { return Ok((settings, None)) };
    let simulator = simulated_fleet::start_simulator(&simulator.scenario).await?;
    let (accounts, container) = simulated_fleet::simulated(&simulator);
    settings.accounts = accounts;
    settings.destination = settings.destination.take().or(container);
    Ok((settings, Some(simulator)))
}
