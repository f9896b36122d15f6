//! `fleetlogs report`: writes the reports of a run again from its journal.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Parser;
use fleetlogs_engine::recorded_run::RunClaim;
use fleetlogs_model::files::absolute;

use crate::args::Output;
use crate::error::CliError;
use crate::exit::Exit;
use crate::output::{print_end, say};
use crate::run::Reported;
use crate::run_name::RunArg;

#[derive(Debug, Parser)]
#[expect(clippy::doc_markdown, reason = "the help of a terminal")]
pub(crate) struct ReportArgs {
    #[command(flatten)]
    pub(crate) run: RunArg,
    /// Open the report page in the browser
    #[arg(long)]
    pub(crate) open: bool,
    /// Look for runs as this config says [default: fleetlogs.toml, else $FLEETLOGS_CONFIG]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

pub(crate) async fn report(args: &ReportArgs, output: &Output) -> Result<Exit, CliError> {
    let dir = args.run.find(args.config.as_deref()).await?;
    let run = dir.open(RunClaim::Rest).await?;
    dir.keep_here(&run.plan)?;
    let ledger = run.ledger()?;
    // The command succeeds once the reports are written, whatever they say.
    let reported = Reported::write(dir.path, run.plan, ledger, &*run.journal, None)?;
    print_end(&reported, output)?;
    if args.open {
        open_page(&reported.page()).await;
    }
    Ok(Exit::Complete)
}

/// After this time, the program that opens the page counts as started.
const LAUNCH: Duration = Duration::from_secs(2);

/// Opens a page with the program that the desktop has for it. Where there is none, the path is enough of an answer.
async fn open_page(page: &Path) {
    let page = absolute(page);
    let path = page.clone();
    let opened = if has_desktop() {
        tokio::task::spawn_blocking(move || open::that_detached_with_timeout(path, LAUNCH)).await
    } else {
        Ok(Err(std::io::Error::other("this session has no desktop")))
    };
    let why = match opened {
        Ok(Ok(())) => return,
        Ok(Err(error)) => error.to_string(),
        Err(error) => error.to_string(),
    };
    say(&format!(
        "the page could not be opened in a browser: {why}\n  help: open it yourself: {}\n",
        page.display()
    ));
}

/// Whether a browser has a place to open. Without one, the launcher might start a browser for terminals.
fn has_desktop() -> bool {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    !cfg!(all(unix, not(target_os = "macos")))
        || ["DISPLAY", "WAYLAND_DISPLAY", "WSL_DISTRO_NAME"].into_iter().any(is_set)
}
