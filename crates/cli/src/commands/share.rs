//! `fleetlogs share` and `fleetlogs unshare`: give support access to the logs of a run, and revoke it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use fleetlogs_engine::recorded_run::RunClaim;
use fleetlogs_model::plan::Plan;
use fleetlogs_model::timestamp;
use serde::Serialize;

use crate::args::{Output, sas_lifetime};
use crate::config::{self, Settings};
use crate::error::{CliError, Refusal};
use crate::error_document::EndOfCommand;
use crate::exit::Exit;
use crate::output::{as_json, print, print_lines, print_secret, say};
use crate::run_dir::{RunDir, as_argument};
use crate::run_name::RunArg;
use crate::share::{self, Entry, Unshared};

#[derive(Debug, Parser)]
pub(crate) struct ShareArgs {
    #[command(flatten)]
    pub(crate) run: RunArg,
    /// How long the SAS stays valid
    #[arg(long = "for", value_name = "TIME", default_value = "7d", value_parser = sas_lifetime)]
    pub(crate) lifetime: Duration,
    /// Use this config file instead of the one that the run was started with
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

#[derive(Debug, Parser)]
pub(crate) struct UnshareArgs {
    #[command(flatten)]
    pub(crate) run: RunArg,
    /// Use this config file instead of the one that the run was started with
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

/// Prints only the SAS on stdout. It is printed nowhere else and stored nowhere.
pub(crate) async fn share(args: &ShareArgs, output: &Output) -> Result<Exit, CliError> {
    let (dir, plan, settings) = open(&args.run, args.config.as_deref()).await?;
    let run = &*dir.path;
    let share = share::share(&dir, &plan, &settings, args.lifetime).await?;
    if !output.quiet {
        say(&share.describe(run));
    }
    if output.json {
        let document =
            ShareDocument { schema: "fleetlogs.share/v1", url: share.url.expose(), share: &share.entry };
        return hand_out(&as_json(&document)?, run);
    }
    hand_out(&format!("{}\n", share.url.expose()), run)
}

/// Prints a SAS that cannot be printed a second time.
fn hand_out(text: &str, run: &Path) -> Result<Exit, CliError> {
    print_secret(text).map_err(|error| {
        let what = format!("a SAS was created but could not be printed: {}", error.reason());
        let help = format!("nobody has it; revoke it with `fleetlogs unshare {}`", as_argument(run));
        CliError::not_done(Refusal::new(what, help))
    })
}

/// Ends with exit code 3 if a SAS still opens the container.
pub(crate) async fn unshare(args: &UnshareArgs, output: &Output) -> Result<Exit, CliError> {
    let (dir, plan, settings) = open(&args.run, args.config.as_deref()).await?;
    let unshared = share::unshare(&dir, &plan, &settings).await?;
    let exit = if unshared.still_open.is_empty() { Exit::Complete } else { Exit::Partial };
    if output.json {
        let Unshared { removed, left, still_open } = &unshared;
        let end = EndOfCommand::with(exit, "a SAS still opens the container", [CANNOT_REVOKE.to_owned()]);
        let document = UnshareDocument { schema: "fleetlogs.unshare/v1", removed, left, still_open, end };
        print(&as_json(&document)?)?;
    } else if !output.quiet {
        print_lines(&describe(&unshared))?;
    }
    Ok(exit)
}

/// A run, and the config that reaches its container.
async fn open(run: &RunArg, config: Option<&Path>) -> Result<(RunDir, Arc<Plan>, Settings), CliError> {
    let dir = run.find(config).await?;
    let recorded = dir.open(RunClaim::Watch).await?;
    let settings = config::load(&dir.config(&recorded.meta, config)?)?;
    dir.keep_here(&recorded.plan)?;
    Ok((dir, recorded.plan, settings))
}

fn describe(unshared: &Unshared) -> String {
    let Unshared { removed, left, still_open } = unshared;
    let mut text = match removed.as_slice() {
        [] => "the container has no policy of this run\n".to_owned(),
        ids => format!("deleted, and found to be gone: {}\n", ids.join(", ")),
    };
    if !left.is_empty() {
        let _ = writeln!(text, "other policies of the container, unchanged: {}", left.join(", "));
    }
    for Entry { made_at, expires_at, .. } in still_open {
        let (made, ends) = (timestamp::text(*made_at), timestamp::text(*expires_at));
        let _ = writeln!(text, "STILL OPEN until {ends}: the SAS created with Entra at {made}");
    }
    if !still_open.is_empty() {
        let _ = writeln!(text, "  help: {CANNOT_REVOKE}");
    }
    text
}

const CANNOT_REVOKE: &str = "a SAS created with Entra cannot be revoked on its own; `az storage account \
                             revoke-delegation-keys` revokes all SAS of all user delegation keys of the storage account";

/// What `share --json` prints.
#[derive(Serialize)]
struct ShareDocument<'a> {
    schema: &'static str,
    url: &'a str,
    #[serde(flatten)]
    share: &'a Entry,
}

/// What `unshare --json` prints.
#[derive(Serialize)]
struct UnshareDocument<'a> {
    schema: &'static str,
    removed: &'a [String],
    left: &'a [String],
    still_open: &'a [Entry],
    #[serde(flatten)]
    end: EndOfCommand,
}
