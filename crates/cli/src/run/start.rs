//! A new run: planned, recorded, and carried out.

use fleetlogs_engine::resume::Outstanding;
use fleetlogs_engine::stop::{Stop, StopHandle};
use fleetlogs_model::ledger::Ledger;

use super::carry_out::{FinishedRun, OpenRun, carry_out};
use super::prepare::prepare_new;
use super::request::RunRequest;
use super::watchers::Watchers;
use crate::config::Settings;
use crate::error::CliError;
use crate::run_dir::{RunDir, recorded_config};

/// Plans a run, and carries it out until it has ended and is reported.
pub(crate) async fn run_to_end(
    request: RunRequest<'_>,
    settings: &Settings,
    stop: StopHandle,
    watchers: &Watchers,
) -> Result<FinishedRun, CliError> {
    let prepared = tokio::select! {
        prepared = prepare_new(&request, settings, watchers) => prepared?,
        () = stop.reached(Stop::Drain) => return Err(CliError::stopped_early()),
        () = tokio::time::sleep(settings.deadlines.run) => return Err(CliError::planning_too_long()),
    };
    let plan = &prepared.plan;
    let events = watchers.open_events(plan)?;
    let dir = RunDir::of_new(settings, request.config, &plan.run_id)?;
    let journal = dir.store.create(plan, &recorded_config(request.config)).await?;
    dir.keep_here(plan)?;
    let log = watchers.logs.keep_in(dir.log_file()?);
    tracing::info!(run_id = %plan.run_id, nodes = plan.nodes.len(), "planned");
    if let Some((_, start_record)) = request.snapshot {
        // From here on the run can be resumed, and nothing is sent before that is known.
        start_record.record(plan, &dir.place()).await?;
    }
    let (ledger, outstanding) = (Ledger::new(plan), Outstanding::all(plan));
    let open = OpenRun { dir, journal, ledger, outstanding, stop, log, events };
    Box::pin(carry_out(prepared, open, settings, watchers)).await
}
