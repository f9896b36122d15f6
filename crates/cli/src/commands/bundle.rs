//! `fleetlogs bundle`: the escalation bundle of a run in one file, and the check of such a file.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Parser;
use fleetlogs_azure::{AzureLogStore, http_client};
use fleetlogs_engine::clock::Clock;
use fleetlogs_engine::recorded_run::{RecordedRun, RunClaim};
use fleetlogs_model::files::dir_of;
use fleetlogs_model::plan::Plan;
use fleetlogs_model::timestamp;
use fleetlogs_model::whole_file::WholeFile;
use fleetlogs_report::{
    Bundle, DownloadedLogs, ExtraFile, FinishedBundle, MANIFEST_FILE, NODES_FILE, Notes, PAGE_FILE,
    SUMMARY_FILE, TICKET_FILE, check_bundle, for_terminal,
};
use serde::Serialize;

use super::share::lifetime;
use crate::args::Output;
use crate::config;
use crate::destination::Destination;
use crate::error::{CliError, Refusal};
use crate::exit::Exit;
use crate::log_download::{fetch_logs, keep_logs};
use crate::output::{as_json, print, say};
use crate::run::Reported;
use crate::run_dir::{RunDir, config_of, digest};
use crate::share::{self, Entry, Share};
use crate::tokens::Tokens;

#[derive(Debug, Parser)]
pub(crate) struct BundleArgs {
    /// The run directory
    #[arg(required_unless_present = "check", conflicts_with = "check")]
    pub(crate) run: Option<PathBuf>,
    /// Write to this file; left out: fleetlogs-RUN_ID.zip in this directory
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Overwrite the file if it is there
    #[arg(long)]
    pub(crate) force: bool,
    /// Fetch the logs from the container, and put them in
    #[arg(long)]
    pub(crate) with_logs: bool,
    /// Make a SAS that reads and lists the run's container for so long, and print it once
    #[arg(long, value_name = "TIME", value_parser = lifetime)]
    pub(crate) share: Option<Duration>,
    /// Put that SAS into the bundle, too, in a file of its own
    #[arg(long, requires = "share")]
    pub(crate) with_sas: bool,
    /// The config file for `--with-logs` and `--share`; left out: the one that the run was begun with
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Check this bundle instead of making one
    #[arg(long, value_name = "FILE", conflicts_with_all = ["output", "force", "with_logs", "share", "config"])]
    pub(crate) check: Option<PathBuf>,
    /// SHA-256 that the bundle to check must have, in hex, as it was printed when it was made
    #[arg(long, value_name = "HEX", requires = "check")]
    pub(crate) sha256: Option<String>,
}

pub(crate) async fn bundle(args: &BundleArgs, output: &Output) -> Result<Exit, CliError> {
    match (&args.check, &args.run) {
        (Some(file), _) => check(file, args.sha256.as_deref(), output),
        (None, Some(run)) => make(run, args, output).await,
        (None, None) => Ok(Exit::Usage),
    }
}

async fn make(run: &Path, args: &BundleArgs, output: &Output) -> Result<Exit, CliError> {
    // Before the journal is opened, which may touch its files.
    let stale = is_stale(&RunDir::at(run)).await?;
    // Held: two of these would fetch the same logs into the same files.
    let (dir, recorded) = RunDir::open(run, RunClaim::Hold).await?;
    let target = match &args.output {
        Some(file) => file.clone(),
        None => PathBuf::from(format!("{}.zip", Bundle::name(&recorded.plan))),
    };
    check_target(&target, &dir.path, args.force)?;
    let ledger = recorded.ledger()?;
    let RecordedRun { plan, meta, journal, .. } = &recorded;
    let reported = if stale {
        Reported::write(dir.path.clone(), plan.clone(), ledger, &**journal, true, None)?
    } else {
        Reported::earlier(dir.path.clone(), plan.clone(), ledger, &**journal)?
    };
    let mut notes = Notes::default();
    let config = config_of(meta, args.config.as_deref());
    let logs = if args.with_logs { take_logs(&dir.path, plan, &config, &mut notes).await } else { None };
    let shared = match args.share {
        Some(lifetime) => match share(&dir, plan, &config, lifetime).await {
            Ok(shared) => Some(shared),
            Err(why) => {
                notes.add(format!("no SAS was made: {why}"));
                None
            }
        },
        None => None,
    };
    let extras: Vec<ExtraFile> = shared.iter().filter(|_| args.with_sas).map(access_file).collect();
    let contents = Bundle {
        dir: &dir.path,
        plan,
        facts: reported.facts(),
        ledger: reported.ledger(),
        findings: reported.findings(),
        logs,
        extras: &extras,
        notes,
    };
    let made = write(contents, &target);
    if let (Err(_), Some(share)) = (&made, &shared) {
        say(&lost(share, run).describe());
    }
    made?.tell(shared.as_ref().map(|shared| (shared, run)), output)
}

/// Refuses a target that would take something else than an earlier bundle away, before anything is fetched.
fn check_target(target: &Path, run: &Path, force: bool) -> Result<(), CliError> {
    let failed = |error| CliError::file(target, &error);
    let refused = |what: &str| {
        let what = format!("`{}` {what}, and no bundle is written there", target.display());
        Err(CliError::usage(Refusal::new(what, "name another file with `--output`")))
    };
    match target.symlink_metadata() {
        Ok(found) if !found.is_file() => return refused("is there already, and is no regular file"),
        Ok(_) if !force => {
            let what = format!("`{}` is there already", target.display());
            let help = "name another file with `--output`, or overwrite it with `--force`";
            return Err(CliError::usage(Refusal::new(what, help)));
        }
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let dir = dir_of(target).canonicalize().map_err(failed)?;
    if dir.starts_with(run.canonicalize().map_err(failed)?) {
        return refused("is inside of the run directory");
    }
    Ok(())
}

/// A SAS that was made, and that nobody has got: how it ends.
fn lost(Share { entry, .. }: &Share, run: &Path) -> Refusal {
    match &entry.policy {
        Some(policy) => Refusal::new(
            format!("the SAS that was made is lost, and its policy `{policy}` is in the container still"),
            format!("remove it: `fleetlogs unshare {}`", run.display()),
        ),
        None => Refusal::new(
            format!("the SAS that was made is lost; it works until {}", timestamp::text(entry.expires_at)),
            "a SAS by Entra cannot be taken back on its own; `az storage account revoke-delegation-keys` ends all of them",
        ),
    }
}

/// Makes a SAS for whoever gets the bundle.
async fn share(dir: &RunDir, plan: &Plan, config: &Path, lifetime: Duration) -> Result<Share, String> {
    let settings = config::load(config).map_err(|error| in_one_line(&error.into()))?;
    share::share(dir, plan, &settings, lifetime).await.map_err(|error| in_one_line(&error))
}

/// The one file of a bundle that holds a secret.
fn access_file(Share { url, entry }: &Share) -> ExtraFile {
    let until = timestamp::text(entry.expires_at);
    ExtraFile {
        name: "ACCESS-SAS.txt",
        about: "**a secret**: a SAS that reads and lists the container. Whoever has this file can read the logs",
        content: format!("{}\n\nIt ends {until}, or when it is taken back.\n", url.expose()),
    }
}

/// Whether the reports are missing, or something was put on record after them.
async fn is_stale(dir: &RunDir) -> Result<bool, CliError> {
    let recorded = dir.store.changed_at().await?;
    let written = |name: &str| std::fs::metadata(dir.path.join(name)).and_then(|file| file.modified()).ok();
    let reports = [MANIFEST_FILE, NODES_FILE, SUMMARY_FILE, PAGE_FILE, TICKET_FILE].map(written);
    Ok(reports.iter().any(|report| report.is_none() || *report < recorded))
}

/// Fetches the logs into the run directory. What cannot be had is noted, and the bundle is made without it.
async fn take_logs(dir: &Path, plan: &Plan, config: &Path, notes: &mut Notes) -> Option<DownloadedLogs> {
    let (destination, store) = match connect(plan, config).await {
        Ok(connected) => connected,
        Err(why) => {
            notes.add(format!("no log was fetched: {why}"));
            return kept(keep_logs(dir, notes), notes);
        }
    };
    let fetched = tokio::select! {
        fetched = fetch_logs(&store, dir, notes) => fetched,
        never = destination.keep_listing(|| Clock::System.now(), &store) => never,
    };
    kept(fetched.map(Some), notes)
}

fn kept(taken: io::Result<Option<DownloadedLogs>>, notes: &mut Notes) -> Option<DownloadedLogs> {
    match taken {
        Ok(taken) => taken,
        Err(error) => {
            notes.add(format!("the logs could not be kept in the run directory: {error}"));
            None
        }
    }
}

/// The container of the run, by the credential that the config has for reading.
async fn connect(plan: &Plan, config: &Path) -> Result<(Destination, AzureLogStore), String> {
    let settings = config::load(config).map_err(|error| in_one_line(&error.into()))?;
    let Some(named) = &settings.destination else {
        return Err("the run was on an embedded simulator, which ended with it".into());
    };
    let http = http_client(settings.limits.concurrency).map_err(|error| error.to_string())?;
    let tokens = Tokens::new(http.clone(), settings.entra.clone());
    let destination = Destination::of_run(named, &http, &tokens, &plan.run_id, true)
        .await
        .map_err(|error| in_one_line(&error))?;
    if destination.url() != plan.destination {
        return Err(format!("the config names the container {}", destination.url()));
    }
    let Some(sas) = &destination.listing else {
        return Err("the config has no credential that reads the container".into());
    };
    for (letter, right) in [('r', "read"), ('l', "list")] {
        if sas.grants(letter) == Some(false) {
            let named = destination.names.list;
            return Err(format!(
                "the SAS of `destination.{named}` may not {right}; give one with `rl` as `verify_url`"
            ));
        }
    }
    let store = AzureLogStore::new(http, sas).map_err(|error| error.to_string())?;
    Ok((destination, store))
}

/// What is wrong and what to do about it, in one line.
fn in_one_line(error: &CliError) -> String {
    let line = |refusal: &Refusal| match &refusal.help {
        Some(help) => format!("{refusal}; help: {help}"),
        None => refusal.to_string(),
    };
    error.refusals.iter().map(line).collect::<Vec<_>>().join("; ")
}

fn write(contents: Bundle<'_>, target: &Path) -> Result<Made, CliError> {
    let failed = |error| CliError::file(target, &error);
    let run_id = contents.plan.run_id.to_string();
    let name = target.file_name().and_then(|name| name.to_str()).ok_or_else(|| {
        failed(io::Error::new(io::ErrorKind::InvalidInput, "this is not the name of a file"))
    })?;
    let file = WholeFile::create(dir_of(target), name).map_err(failed)?;
    let FinishedBundle { target: file, entries, notes } = contents.write(file)?;
    file.commit().map_err(failed)?;
    let (sha256, bytes) = File::open(target).and_then(digest).map_err(failed)?;
    Ok(Made { run_id, path: target.into(), sha256, bytes, entries, notes })
}

/// A bundle that is there.
struct Made {
    run_id: String,
    path: PathBuf,
    sha256: String,
    bytes: u64,
    entries: u64,
    notes: Notes,
}

impl Made {
    /// On stdout a line as sha256sum has it, and the SAS on one of its own; or a document. On stderr what is missing.
    fn tell(&self, shared: Option<(&Share, &Path)>, output: &Output) -> Result<Exit, CliError> {
        let exit = if self.notes.is_empty() { Exit::Complete } else { Exit::Partial };
        let notes: Vec<String> = self.notes.lines().collect();
        let text = if output.json {
            let document = MadeDocument {
                schema: "fleetlogs.bundle/v1",
                run_id: &self.run_id,
                bundle: self.path.display().to_string(),
                sha256: &self.sha256,
                bytes: self.bytes,
                entries: self.entries,
                share: shared.map(|(share, _)| Shared { url: share.url.expose(), share: &share.entry }),
                notes: &notes,
                exit_code: exit as u8,
            };
            as_json(&document)?
        } else {
            let url = shared.map(|(share, _)| format!("{}\n", share.url.expose())).unwrap_or_default();
            format!("{}  {}\n{url}", self.sha256, self.path.display())
        };
        match shared {
            Some((share, run)) => hand_over(&text, share, run)?,
            None => _ = print(&text)?,
        }
        if let Some((share, run)) = shared
            && !output.quiet
        {
            say(&share.describe(run));
        }
        for note in &notes {
            say(&format!("warning: {}\n", for_terminal(note)));
        }
        if !notes.is_empty() && !output.quiet {
            say(
                "the bundle is not whole; it says so inside. Once the causes have passed, make it again with `--force`\n",
            );
        }
        Ok(exit)
    }
}

/// Prints the only copy of a SAS. Unlike with other data, a reader that went away is an error.
fn hand_over(text: &str, share: &Share, run: &Path) -> Result<(), CliError> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(|error| {
        let lost = lost(share, run);
        let what = format!("stdout cannot be written: {error}; {}", lost.what);
        CliError::not_done(Refusal { what, ..lost })
    })
}

#[derive(Serialize)]
struct MadeDocument<'a> {
    schema: &'static str,
    run_id: &'a str,
    bundle: String,
    sha256: &'a str,
    bytes: u64,
    entries: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    share: Option<Shared<'a>>,
    notes: &'a [String],
    exit_code: u8,
}

#[derive(Serialize)]
struct Shared<'a> {
    url: &'a str,
    #[serde(flatten)]
    share: &'a Entry,
}

fn check(file: &Path, sha256: Option<&str>, output: &Output) -> Result<Exit, CliError> {
    let checked = check_bundle(file, sha256).map_err(|error| CliError::file(file, &error))?;
    let exit = if checked.is_sound() { Exit::Complete } else { Exit::Partial };
    if output.json {
        let document = CheckDocument {
            schema: "fleetlogs.bundle-check/v1",
            sound: checked.is_sound(),
            sha256: &checked.sha256,
            entries: checked.entries,
            problems: &checked.problems,
            more_problems: checked.more,
        };
        print(&as_json(&document)?)?;
        return Ok(exit);
    }
    for problem in &checked.problems {
        print(&format!("wrong: {}\n", for_terminal(problem)))?;
    }
    if checked.more > 0 {
        print(&format!("and {} more\n", checked.more))?;
    }
    if checked.is_sound() {
        print(&format!("sound: {} files, SHA-256 {}\n", checked.entries, checked.sha256))?;
        if sha256.is_none() && !output.quiet {
            say(
                "it agrees with itself; that it is the one that was made, only its SHA-256 from elsewhere shows (`--sha256`)\n",
            );
        }
    }
    Ok(exit)
}

#[derive(Serialize)]
struct CheckDocument<'a> {
    schema: &'static str,
    sound: bool,
    sha256: &'a str,
    entries: u64,
    problems: &'a [String],
    more_problems: u64,
}
