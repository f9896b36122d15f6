//! `fleetlogs plan`: makes and shows the plan of a run. Sends no upload.

use std::path::PathBuf;

use clap::Parser;
use fleetlogs_engine::clock::Clock;
use fleetlogs_model::files::dir_of;
use fleetlogs_model::ids::RunId;
use fleetlogs_model::plan::Plan;
use fleetlogs_model::timestamp;
use fleetlogs_report::{Look, PlanView, Uncounted, plan_table, remedies_of_unlisted};
use serde::Serialize;

use crate::args::{Output, Pick};
use crate::config;
use crate::config_arg::ConfigArg;
use crate::destination::Renewal;
use crate::error::CliError;
use crate::error_document::EndOfCommand;
use crate::estimate::estimate;
use crate::exit::Exit;
use crate::fleet::Fleet;
use crate::output::{as_json, planning_progress, print};
use crate::preflight::{self, Findings, Level};
use crate::run::NotListed;
use crate::run_dir::write_plan;
use crate::window_args::WindowArgs;

#[derive(Debug, Parser)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArg,
    #[command(flatten)]
    pub(crate) pick: Pick,
    #[command(flatten)]
    pub(crate) window: WindowArgs,
    /// List every node
    #[arg(long = "nodes", help_heading = "Output")]
    pub(crate) all_nodes: bool,
    /// Save the plan to this file, for `run --plan`
    #[arg(short, long, value_name = "FILE", help_heading = "Output")]
    pub(crate) output: Option<PathBuf>,
}

/// The plan, with what a run of it would take.
#[derive(Serialize)]
struct PlanDocument<'plan> {
    #[serde(flatten)]
    plan: &'plan Plan,
    upload_calls: usize,
    list_calls: u32,
    /// How long the calls take at the highest rate; uploads are not included.
    estimated_seconds: f64,
    sas_expires_at: Option<String>,
    /// What the counts do not cover.
    uncounted: Uncounted,
    not_listed: Vec<NotListed<'plan>>,
    #[serde(flatten)]
    end: EndOfCommand,
}

pub(crate) async fn plan(args: &PlanArgs, output: &Output) -> Result<Exit, CliError> {
    let mut settings = config::load(&args.config.path()?)?;
    settings.narrow(&args.pick)?;
    args.window.apply(&mut settings)?;
    let fleet = Fleet::connect(&settings).await?;
    let run_id = RunId::new(Clock::System.now(), fastrand::u16(..));
    let destination = fleet.destination_of(&run_id, &settings).await?;
    let url = destination.url();
    let planning = fleet.plan(&settings, (&run_id, &url), planning_progress(output));
    let plan = tokio::time::timeout(settings.deadlines.run, planning)
        .await
        .map_err(|_| CliError::planning_too_long())??
        .warned();
    let calls_take = estimate(&plan, &settings.limits);
    let sas_expires_at = destination.access.expires_at();
    // The plan is shown even if a run of it would be refused. The refusals follow it.
    let mut findings = Findings::default();
    preflight::windows(&plan, Some(&settings.window), &mut findings);
    preflight::sas(
        &destination,
        &settings,
        Clock::System.now() + fleet.clock_offset(),
        calls_take,
        &mut findings,
    );
    let sas = if findings.count(Level::Refusal) == 0 { Ok(()) } else { Err(()) };
    if !destination.is_created() {
        preflight::open_store(&fleet.http, &destination, &settings, &mut findings).await;
    }
    let unmatched = fleet.unmatched(&plan);
    if !plan.nodes.is_empty() {
        preflight::patterns(&unmatched, &mut findings);
    }
    fleet.end().await;

    if let Some(path) = &args.output {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        write_plan(dir_of(path), &name, &plan).map_err(|error| CliError::file(path, &error))?;
    }
    let result = match findings.settle() {
        Ok(()) if plan.nodes.is_empty() => Err(CliError::no_node(&plan.left_out, &unmatched)),
        settled => settled.map(|()| if plan.is_whole() { Exit::Complete } else { Exit::Partial }),
    };
    if output.json {
        let document = PlanDocument {
            upload_calls: plan.nodes.len(),
            list_calls: plan
                .accounts
                .iter()
                .fold(0, |calls: u32, account| calls.saturating_add(account.list_calls)),
            estimated_seconds: calls_take.as_secs_f64(),
            sas_expires_at: sas_expires_at.map(timestamp::text),
            uncounted: Uncounted::of(&plan),
            not_listed: NotListed::of(&plan),
            plan: &plan,
            end: match &result {
                // A run would be partial, however well it went.
                Ok(Exit::Partial) => {
                    let what =
                        "an account or a pool could not be listed: a run of this plan would be partial";
                    EndOfCommand::with(Exit::Partial, what, remedies_of_unlisted(&plan))
                }
                result => EndOfCommand::of(result),
            },
        };
        print(&as_json(&document)?)?;
    } else {
        let sas_line = match (sas, sas_expires_at) {
            (Err(()), _) => "the SAS does not suit this plan".to_owned(),
            (Ok(()), _) if destination.access.identity().is_some() => {
                "nodes write with their own identity; there is no SAS".to_owned()
            }
            (Ok(()), Some(at)) if destination.write_renewal() != Renewal::Never => {
                format!(
                    "the container SAS is valid until {} and is renewed during the run",
                    timestamp::text(at)
                )
            }
            (Ok(()), Some(at)) => {
                format!("the container SAS is valid until {}: long enough", timestamp::text(at))
            }
            (Ok(()), None) => "the expiry of the container SAS is in a stored access policy".to_owned(),
        };
        let width = Look::of_stdout().width;
        let view =
            PlanView { width, nodes: args.all_nodes, estimate: Some(calls_take), sas: Some(&sas_line) };
        print(&plan_table(&plan, &view)?)?;
    }
    result
}
