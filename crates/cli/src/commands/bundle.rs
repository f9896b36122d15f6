//! `fleetlogs bundle`: creates the escalation bundle of a run in one file, or checks such a file.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Parser;
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

use crate::args::{Output, sas_lifetime};
use crate::config;
use crate::error::{CliError, Refusal};
use crate::error_document::EndOfCommand;
use crate::exit::Exit;
use crate::input_file::refuse_device;
use crate::log_download::{CALLS_AT_ONCE, PlaceError, fetch_logs, keep_logs};
use crate::output::{as_json, download_progress, print, print_only_copy, say};
use crate::run::Reported;
use crate::run_container::{Reading, open_container};
use crate::run_dir::{RunDir, digest};
use crate::run_name::RunArg;
use crate::share::{self, Entry, Share};
use crate::text::counted;

#[derive(Debug, Parser)]
pub(crate) struct BundleArgs {
    /// The run: its id or the beginning of it, `latest`, its directory, or its URL in Blob storage
    #[arg(required_unless_present = "check", conflicts_with = "check")]
    pub(crate) run: Option<OsString>,
    /// Look for runs in this directory instead of `output.dir` of the config
    #[arg(long, value_name = "DIR", conflicts_with = "check")]
    pub(crate) runs_dir: Option<PathBuf>,
    /// Write to this file [default: fleetlogs-RUN_ID.zip in this directory]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Overwrite the file if it exists
    #[arg(long)]
    pub(crate) force: bool,
    /// Download the logs from the container into the bundle
    #[arg(long)]
    pub(crate) with_logs: bool,
    /// Create a SAS that can read and list the run's container for this long, and print it once
    #[arg(long, value_name = "TIME", value_parser = sas_lifetime)]
    pub(crate) share: Option<Duration>,
    /// Also put that SAS into the bundle, in a file of its own
    #[arg(long, requires = "share")]
    pub(crate) with_sas: bool,
    /// Use this config file for `--with-logs` and `--share` instead of the one that the run was started with
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Check this bundle instead of creating one
    #[arg(long, value_name = "FILE", conflicts_with_all = ["output", "force", "with_logs", "share", "config"])]
    pub(crate) check: Option<PathBuf>,
    /// Require this SHA-256 of the checked bundle: hex, as printed when the bundle was created
    #[arg(long, value_name = "HEX", requires = "check")]
    pub(crate) sha256: Option<String>,
}

pub(crate) async fn bundle(args: &BundleArgs, output: &Output) -> Result<Exit, CliError> {
    match (&args.check, &args.run) {
        (Some(file), _) => check_file(file, args.sha256.as_deref(), output),
        (None, Some(run)) => {
            let run = RunArg { run: run.clone(), runs_dir: args.runs_dir.clone() };
            create_bundle(run.find(args.config.as_deref()).await?, args, output).await
        }
        (None, None) => Ok(Exit::Usage),
    }
}

async fn create_bundle(dir: RunDir, args: &BundleArgs, output: &Output) -> Result<Exit, CliError> {
    // Checked before the journal is opened, which may touch its files.
    let stale = is_stale(&dir).await?;
    // Held: two of these would fetch the same logs into the same files.
    let recorded = dir.open(RunClaim::Hold).await?;
    dir.keep_here(&recorded.plan)?;
    let run = &*dir.path;
    let target = match &args.output {
        Some(file) => file.clone(),
        None => PathBuf::from(format!("{}.zip", Bundle::name(&recorded.plan))),
    };
    check_target(&target, &dir.path, args.force)?;
    let ledger = recorded.ledger()?;
    let RecordedRun { plan, meta, journal, .. } = &recorded;
    let reported = if stale {
        Reported::write(dir.path.clone(), plan.clone(), ledger, &**journal, None)?
    } else {
        Reported::earlier(dir.path.clone(), plan.clone(), ledger, &**journal)?
    };
    let mut notes = Notes::default();
    let config = match dir.config(meta, args.config.as_deref()) {
        Err(error) if args.with_logs || args.share.is_some() => return Err(error),
        config => config.unwrap_or_default(),
    };
    let logs =
        if args.with_logs { download_logs(&dir.path, plan, &config, output, &mut notes).await } else { None };
    let shared = match args.share {
        Some(lifetime) => match share(&dir, plan, &config, lifetime).await {
            Ok(shared) => Some(shared),
            Err(why) => {
                notes.add(format!("no SAS was created: {why}"));
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
    made?.print(shared.as_ref().map(|shared| (shared, run)), output)
}

/// Refuses a target that would overwrite anything but an earlier bundle, before anything is downloaded.
fn check_target(target: &Path, run: &Path, force: bool) -> Result<(), CliError> {
    let failed = |error| CliError::file(target, &error);
    let refused = |what: &str| {
        let what = format!("`{}` {what}, so no bundle is written there", target.display());
        Err(CliError::usage(Refusal::new(what, "name another file with `--output`")))
    };
    match target.symlink_metadata() {
        Ok(found) if !found.is_file() => return refused("exists and is not a regular file"),
        Ok(_) if !force => {
            let what = format!("`{}` already exists", target.display());
            let help = "name another file with `--output`, or overwrite it with `--force`";
            return Err(CliError::usage(Refusal::new(what, help)));
        }
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let dir = dir_of(target).canonicalize().map_err(failed)?;
    if dir.starts_with(run.canonicalize().map_err(failed)?) {
        return refused("is inside the run directory");
    }
    Ok(())
}

/// A SAS was created, but nobody received it: how to revoke it.
fn lost(Share { entry, .. }: &Share, run: &Path) -> Refusal {
    match &entry.policy {
        Some(policy) => Refusal::new(
            format!("the new SAS is lost, and its policy `{policy}` is still in the container"),
            format!("delete the policy with `fleetlogs unshare {}`", run.display()),
        ),
        None => Refusal::new(
            format!("the new SAS is lost; it is valid until {}", timestamp::text(entry.expires_at)),
            "a SAS created with Entra cannot be revoked on its own; `az storage account revoke-delegation-keys` revokes all of them",
        ),
    }
}

/// Creates a SAS for the recipient of the bundle.
async fn share(dir: &RunDir, plan: &Plan, config: &Path, lifetime: Duration) -> Result<Share, String> {
    let settings = config::load(config).map_err(|error| in_one_line(&error.into()))?;
    share::share(dir, plan, &settings, lifetime).await.map_err(|error| in_one_line(&error))
}

/// The one file of a bundle that holds a secret.
fn access_file(Share { url, entry }: &Share) -> ExtraFile {
    let until = timestamp::text(entry.expires_at);
    ExtraFile {
        name: "ACCESS-SAS.txt",
        about: "**a secret**: a SAS that can read and list the container. Everyone who has this file can read the logs",
        content: format!("{}\n\nIt is valid until {until}, unless it is revoked earlier.\n", url.expose()),
    }
}

/// Whether the reports are missing, or something was recorded after them.
async fn is_stale(dir: &RunDir) -> Result<bool, CliError> {
    let recorded = dir.store.changed_at().await?;
    let written = |name: &str| std::fs::metadata(dir.path.join(name)).and_then(|file| file.modified()).ok();
    let reports = [MANIFEST_FILE, NODES_FILE, SUMMARY_FILE, PAGE_FILE, TICKET_FILE].map(written);
    Ok(reports.iter().any(|report| report.is_none() || *report < recorded))
}

/// Downloads the logs into the run directory. If a log cannot be downloaded, a note says so, and the bundle is created
/// without it.
async fn download_logs(
    dir: &Path,
    plan: &Plan,
    config: &Path,
    output: &Output,
    notes: &mut Notes,
) -> Option<DownloadedLogs> {
    let opened = async {
        let settings = config::load(config)?;
        open_container(plan, &settings, Reading::Blobs("`--with-logs`"), CALLS_AT_ONCE).await
    };
    let (destination, store) = match opened.await {
        Ok(opened) => opened,
        Err(why) => {
            notes.add(format!("no log was downloaded: {}", in_one_line(&why)));
            return noted(keep_logs(dir, notes), notes);
        }
    };
    let progress = download_progress(output);
    let fetched = tokio::select! {
        fetched = fetch_logs(&store, dir, &progress, notes) => fetched,
        never = destination.keep_listing(|| Clock::System.now(), &store) => never,
    };
    progress.finish();
    noted(fetched.map(Some), notes)
}

fn noted(taken: Result<Option<DownloadedLogs>, PlaceError>, notes: &mut Notes) -> Option<DownloadedLogs> {
    match taken {
        Ok(taken) => taken,
        Err(error) => {
            notes.add(format!("the logs could not be written to the run directory: {error}"));
            None
        }
    }
}

/// What is wrong and what to do, in one line.
fn in_one_line(error: &CliError) -> String {
    let line = |refusal: &Refusal| match &refusal.help {
        Some(help) => format!("{refusal}; help: {help}"),
        None => refusal.to_string(),
    };
    error.refusals.iter().map(line).collect::<Vec<_>>().join("; ")
}

fn write(contents: Bundle<'_>, target: &Path) -> Result<BundleFile, CliError> {
    let failed = |error| CliError::file(target, &error);
    let run_id = contents.plan.run_id.to_string();
    let name = target.file_name().and_then(|name| name.to_str()).ok_or_else(|| {
        failed(io::Error::new(io::ErrorKind::InvalidInput, "this is not the name of a file"))
    })?;
    let file = WholeFile::create(dir_of(target), name).map_err(failed)?;
    let FinishedBundle { target: file, entries, notes } = contents.write(file)?;
    file.commit().map_err(failed)?;
    let (sha256, bytes) = File::open(target).and_then(digest).map_err(failed)?;
    Ok(BundleFile { run_id, path: target.into(), sha256, bytes, entries, notes })
}

/// A bundle that was written.
struct BundleFile {
    run_id: String,
    path: PathBuf,
    sha256: String,
    bytes: u64,
    entries: u64,
    notes: Notes,
}

impl BundleFile {
    /// Prints one line in the form of sha256sum, and the SAS on a line of its own; or a document. Notes go to stderr.
    fn print(&self, shared: Option<(&Share, &Path)>, output: &Output) -> Result<Exit, CliError> {
        let exit = if self.notes.is_empty() { Exit::Complete } else { Exit::Partial };
        let notes: Vec<String> = self.notes.lines().collect();
        let text = if output.json {
            let document = BundleDocument {
                schema: "fleetlogs.bundle/v1",
                run_id: &self.run_id,
                bundle: self.path.display().to_string(),
                sha256: &self.sha256,
                bytes: self.bytes,
                entries: self.entries,
                share: shared.map(|(share, _)| ShareMember { url: share.url.expose(), share: &share.entry }),
                notes: &notes,
                end: EndOfCommand::with(exit, "the bundle is incomplete", [CREATE_AGAIN.to_owned()]),
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
            say(&format!("the bundle is incomplete, and its README says so. {CREATE_AGAIN}\n"));
        }
        Ok(exit)
    }
}

/// What to do about an incomplete bundle.
const CREATE_AGAIN: &str = "Once the causes are fixed, create it again with `--force`";

/// Prints the only copy of a SAS. Unlike for other data, a closed pipe is an error.
fn hand_over(text: &str, share: &Share, run: &Path) -> Result<(), CliError> {
    print_only_copy(text).map_err(|error| {
        let lost = lost(share, run);
        let what = format!("stdout cannot be written to: {error}; {}", lost.what);
        CliError::not_done(Refusal { what, ..lost })
    })
}

#[derive(Serialize)]
struct BundleDocument<'a> {
    schema: &'static str,
    run_id: &'a str,
    bundle: String,
    sha256: &'a str,
    bytes: u64,
    entries: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    share: Option<ShareMember<'a>>,
    notes: &'a [String],
    #[serde(flatten)]
    end: EndOfCommand,
}

#[derive(Serialize)]
struct ShareMember<'a> {
    url: &'a str,
    #[serde(flatten)]
    share: &'a Entry,
}

fn check_file(file: &Path, sha256: Option<&str>, output: &Output) -> Result<Exit, CliError> {
    refuse_device(file).map_err(|error| CliError::input(file, &error))?;
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
            end: EndOfCommand::with(exit, "the bundle is not sound", [GET_ANOTHER.to_owned()]),
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
        print(&format!("sound: {}, SHA-256 {}\n", counted(checked.entries, "file"), checked.sha256))?;
        if sha256.is_none() && !output.quiet {
            say(
                "the bundle is consistent; to prove that it is the original, pass the SHA-256 that was printed with it \
                 as `--sha256`\n",
            );
        }
    }
    Ok(exit)
}

/// What to do about a bundle that is not sound.
const GET_ANOTHER: &str = "copy the bundle again, or create it again with `fleetlogs bundle RUN`";

#[derive(Serialize)]
struct CheckDocument<'a> {
    schema: &'static str,
    sound: bool,
    sha256: &'a str,
    entries: u64,
    problems: &'a [String],
    more_problems: u64,
    #[serde(flatten)]
    end: EndOfCommand,
}
