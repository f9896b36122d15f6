//! `fleetlogs report`: writes the reports of a run again from its journal.

use clap::Parser;
use fleetlogs_engine::recorded_run::RunClaim;

use crate::args::Output;
use crate::error::CliError;
use crate::exit::Exit;
use crate::output::print_end;
use crate::run::Reported;
use crate::run_dir::RunDir;
use crate::run_name::RunArg;

#[derive(Debug, Parser)]
pub(crate) struct ReportArgs {
    #[command(flatten)]
    pub(crate) run: RunArg,
}

pub(crate) async fn report(args: &ReportArgs, output: &Output) -> Result<Exit, CliError> {
    let (dir, run) = RunDir::open(&args.run.dir()?, RunClaim::Rest).await?;
    let ledger = run.ledger()?;
    // The command succeeds once the reports are written, whatever they say.
    let reported = Reported::write(dir.path, run.plan, ledger, &*run.journal, true, None)?;
    print_end(&reported, output)?;
    Ok(Exit::Complete)
}
