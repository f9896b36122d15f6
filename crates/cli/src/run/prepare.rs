//! What comes before a run sends anything: connect, plan, check.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fleetlogs_azure::AzureLogStore;
use fleetlogs_engine::clock::Clock;
use fleetlogs_engine::node_spool::node_spool;
use fleetlogs_model::files::refuse_if_open_to_all;
use fleetlogs_model::ids::RunId;
use fleetlogs_model::plan::Plan;

use super::execute::Reached;
use super::request::RunRequest;
use super::watchers::Watchers;
use crate::config::{Settings, WindowSpec};
use crate::destination::Destination;
use crate::error::CliError;
use crate::estimate::{estimate, estimate_calls};
use crate::fleet::Fleet;
use crate::input_file;
use crate::output_dir;
use crate::preflight::{self, Findings};
use crate::unmatched::UnmatchedPattern;

/// A run that may begin: everything that can be known to be wrong beforehand is right.
pub(super) struct PreparedRun {
    pub(super) fleet: Fleet,
    pub(super) plan: Arc<Plan>,
    pub(super) reached: Reached,
}

/// Connects, plans and checks a new run.
pub(super) async fn prepare_new(
    request: &RunRequest<'_>,
    settings: &Settings,
    watchers: &Watchers,
) -> Result<PreparedRun, CliError> {
    let given = request.plan.map(read_plan).transpose()?;
    let run_id = RunId::new(Clock::System.now(), fastrand::u16(..));
    let begun = BegunRun::connect(run_id, settings, request.config).await?;
    let BegunRun { fleet, run_id, destination, .. } = &begun;
    watchers.name_run(run_id, &settings.output_dir.join(run_id.as_str()));
    let plan = match given {
        // Nodes and windows are those of the plan; the destination is that of this config.
        Some(plan) => Plan {
            run_id: run_id.clone(),
            destination: destination.url(),
            config_digest: settings.digest.clone(),
            accounts: plan.accounts.iter().map(|account| fleet.as_called(account)).collect(),
            ..plan
        },
        None => fleet.plan(settings, (run_id, &destination.url()), watchers.planning()).await?.warned(),
    };
    let plan = Plan { snapshot: request.snapshot.as_ref().map(|(snapshot, _)| (*snapshot).clone()), ..plan };
    let services = fleet
        .services(&plan)
        .map_err(|why| CliError::other_plan(request.plan.unwrap_or(Path::new("")), &why))?;
    let unmatched = if request.plan.is_none() { fleet.unmatched(&plan) } else { vec![] };
    if plan.nodes.is_empty() {
        return Err(CliError::no_node(&plan.left_out, &unmatched));
    }
    // The window of a plan made earlier is the plan's own.
    let window = request.plan.is_none().then_some(&settings.window);
    let (fleet, destination, store) = begun.check(settings, &plan, window, &unmatched).await?;
    Ok(PreparedRun { fleet, plan: Arc::new(plan), reached: Reached { destination, services, store } })
}

/// A new run of which nothing is listed yet: the fleet is connected, and the container was looked at.
pub(crate) struct BegunRun {
    pub(crate) fleet: Fleet,
    pub(crate) run_id: RunId,
    pub(crate) destination: Destination,
    store: Option<Arc<AzureLogStore>>,
    findings: Findings,
}

impl BegunRun {
    /// Connects, and checks what can be known to be wrong before anything is listed.
    pub(crate) async fn connect(run_id: RunId, settings: &Settings, config: &Path) -> Result<Self, CliError> {
        let output_dir = &settings.output_dir;
        if output_dir.is_dir() {
            refuse_if_open_to_all(output_dir).map_err(|error| CliError::file(output_dir, &error))?;
        }
        output_dir::try_out(output_dir).map_err(|refusal| CliError::refused([refusal]))?;
        let fleet = Fleet::connect(settings).await?;
        let destination = fleet.destination_of(&run_id, settings).await?;
        // Before anything is listed: a SAS that is no good now will be no better then.
        let mut findings = Findings::default();
        preflight::early(&destination, settings, &mut findings);
        preflight::journal(settings, config, &mut findings).await?;
        let mut store = None;
        if !destination.is_created() {
            store = preflight::open_store(&fleet.http, &destination, settings, &mut findings).await;
        }
        findings.settle()?;
        Ok(Self { fleet, run_id, destination, store, findings })
    }

    /// Checks what can be known once there is a plan, and makes the container if it is one for this run alone. `window` is
    /// that of the config, if the plan was made with it.
    pub(crate) async fn check(
        self,
        settings: &Settings,
        plan: &Plan,
        window: Option<&WindowSpec>,
        unmatched: &[UnmatchedPattern],
    ) -> Result<(Fleet, Destination, Option<Arc<AzureLogStore>>), CliError> {
        let Self { fleet, destination, mut store, mut findings, .. } = self;
        preflight::patterns(unmatched, &mut findings);
        preflight::clocks(&fleet, &mut findings);
        preflight::windows(plan, window, &mut findings);
        preflight::identities(&fleet, &destination, plan, &mut findings).await;
        // By the service's clock, which is what the SAS will be held against.
        let now = Clock::System.now() + fleet.clock_offset();
        let calls_take = estimate(plan, &settings.limits);
        preflight::sas(&destination, settings, now, calls_take, &mut findings);
        preflight::journal_sas(settings, now, calls_take, &mut findings).await;
        findings.settle()?;
        if destination.is_created() {
            // Nothing may stand in the way of the run once the container is made.
            std::fs::create_dir_all(&settings.output_dir)
                .map_err(|error| CliError::file(&settings.output_dir, &error))?;
            destination.create().await?;
            store = preflight::open_store(&fleet.http, &destination, settings, &mut findings).await;
            findings.settle()?;
        }
        Ok((fleet, destination, store))
    }
}

/// A plan made earlier, for a run of its own.
fn read_plan(path: &Path) -> Result<Plan, CliError> {
    if path.is_dir() {
        return Err(CliError::no_plan_file(path));
    }
    let text = input_file::open(path).map_err(|error| CliError::input(path, &error))?;
    Plan::from_json(text, node_spool()).map_err(|error| CliError::plan(path, &error))
}

/// The same checks as before a new run, for what is left of this one.
pub(super) async fn prepare_rest(
    settings: &Settings,
    plan: Arc<Plan>,
    outstanding: usize,
) -> Result<PreparedRun, CliError> {
    let fleet = Fleet::connect(settings).await?;
    let reached = reach(&fleet, settings, &plan, outstanding).await?;
    Ok(PreparedRun { fleet, plan, reached })
}

/// What is needed to call the accounts of a plan, after those checks.
pub(crate) async fn reach(
    fleet: &Fleet,
    settings: &Settings,
    plan: &Plan,
    outstanding: usize,
) -> Result<Reached, CliError> {
    let destination = fleet.destination_of(&plan.run_id, settings).await?;
    let config = destination.url();
    if config != plan.destination {
        return Err(CliError::other_container(&plan.destination, &config));
    }
    let mut findings = Findings::default();
    let calls_take = estimate_calls(outstanding, &settings.limits).min(Duration::from_secs(24 * 3600));
    preflight::sas(&destination, settings, Clock::System.now(), calls_take, &mut findings);
    preflight::journal_sas(settings, Clock::System.now(), calls_take, &mut findings).await;
    let store = preflight::open_store(&fleet.http, &destination, settings, &mut findings).await;
    findings.settle()?;
    let services = fleet.services(plan).map_err(|why| CliError::other_plan(Path::new("plan.json"), &why))?;
    Ok(Reached { destination, services, store })
}
