//! Reads the text of a config into [`Settings`], table by table.

use std::path::{Path, PathBuf};

use fleetlogs_azure::EntraSettings;
use fleetlogs_engine::settings::{Allowed, Budget, Deadlines, Limits, VerifySettings};
use fleetlogs_model::files::dir_of;
use fleetlogs_model::hex::hex;
use fleetlogs_model::retry::RetryPolicy;
use sha2::{Digest, Sha256};
use toml::de::DeTable;

use super::account::accounts;
use super::defaults::DEFAULTS;
use super::destination::destination;
use super::discover::discover;
use super::entra::entra;
use super::error::ConfigError;
use super::journal::{JournalSettings, journal};
use super::needs::Needs;
use super::notify::notify;
use super::own_container::OwnContainer;
use super::queue_name::check_sites;
use super::reader::{Mistakes, Table, Value};
use super::scale_out::{check_rest as check_scale_out, scale_out};
use super::schedule::schedule;
use super::settings::{Settings, Simulator};
use super::snapshot::{SnapshotSettings, SnapshotWindow, snapshots};
use super::ticket::ticket;
use super::window::{around_sides, window};
use crate::file_kind::FileKind;
use crate::input_file::{InputError, InputText, LONGEST_TEXT, read_stdin, read_text};

/// More syntax errors say nothing new: the first may be the cause of all others, or the file may be no config at all.
const MOST_SYNTAX_ERRORS: usize = 3;

/// Whether a config is named that is to come from stdin.
pub(crate) fn is_stdin(path: &Path) -> bool {
    path == Path::new("-")
}

/// The config as messages name it.
pub(crate) fn config_name(path: &Path) -> PathBuf {
    if is_stdin(path) { "<stdin>".into() } else { path.to_owned() }
}

/// Reads a config file for a command that neither ends a run nor needs the shared state of a schedule.
pub(crate) fn load(path: &Path) -> Result<Settings, ConfigError> {
    load_for(path, Needs::default())
}

/// Reads a config file and everything that it refers to, except secrets that the command does not need.
pub(crate) fn load_for(path: &Path, needs: Needs) -> Result<Settings, ConfigError> {
    let shown = || config_name(path);
    let read_all = if is_stdin(path) { read_stdin(LONGEST_TEXT) } else { read_text(path, LONGEST_TEXT) };
    let InputText { bytes, text } = read_all.map_err(|error| unreadable(path, error))?;
    // Of the file as it is, not of the text in it: `resume` compares files.
    let digest = hex(&Sha256::digest(&*bytes));
    let dir = dir_of(path);
    let mistakes = Mistakes::of(&text);
    let settings = read(&text, digest, dir, needs, &mistakes);
    match (settings, mistakes.into_sorted()) {
        (Some(settings), mistakes) if mistakes.is_empty() => Ok(settings),
        (_, mistakes) => Err(match FileKind::of_head(&bytes) {
            // Its mistakes are those of a config.
            None | Some(FileKind::Config) => ConfigError::Mistakes(shown(), mistakes),
            Some(other) => ConfigError::WrongFile(shown(), other),
        }),
    }
}

/// What a config says of journals: their container, and the credential of Entra that may open it. None if they are on
/// the disk, or if the file cannot be read. The rest of the config may be wrong, and its secrets missing: it is not read.
pub(crate) fn load_journal(path: &Path) -> Result<Option<(JournalSettings, EntraSettings)>, ConfigError> {
    let read = if is_stdin(path) {
        read_stdin(LONGEST_TEXT)
    } else if path.is_file() {
        read_text(path, LONGEST_TEXT)
    } else {
        // A pipe can be read once only, and is for the one who needs all of it.
        return Ok(None);
    };
    let Ok(InputText { text, .. }) = read else { return Ok(None) };
    let defaults = DeTable::parse(DEFAULTS).expect("the built-in config is TOML");
    let (document, _) = DeTable::parse_recoverable(&text);
    let mistakes = Mistakes::of(&text);
    let root = Table::root(document.get_ref(), defaults.get_ref(), &mistakes);
    let dir = dir_of(path);
    let journal = journal(root.table("journal"), dir, true);
    let entra = match &journal {
        Ok(Some(JournalSettings { container: OwnContainer::Minted { key: None, .. }, .. })) => {
            entra(root.table("entra"), dir)
        }
        _ => Some(EntraSettings::default()),
    };
    match (journal, entra) {
        (Ok(journal), Some(entra)) => Ok(journal.map(|journal| (journal, entra))),
        _ => Err(ConfigError::Mistakes(config_name(path), mistakes.into_sorted())),
    }
}

/// Why a file cannot be read as a config: what else it is, if that is known.
fn unreadable(path: &Path, error: InputError) -> ConfigError {
    match FileKind::of(path).filter(|_| !is_stdin(path)) {
        // A config that is too long, or in an encoding of old, has a reason of its own.
        None | Some(FileKind::Config) => ConfigError::Unreadable(config_name(path), error),
        Some(other) => ConfigError::WrongFile(path.into(), other),
    }
}

pub(super) fn read(
    text: &str,
    digest: String,
    dir: &Path,
    needs: Needs,
    mistakes: &Mistakes<'_>,
) -> Option<Settings> {
    let defaults = DeTable::parse(DEFAULTS).expect("the built-in config is TOML");
    let (document, errors) = DeTable::parse_recoverable(text);
    let (told, more) = errors.split_at(errors.len().min(MOST_SYNTAX_ERRORS));
    for (number, error) in told.iter().enumerate() {
        let offset = error.span().map_or(0, |span| span.start);
        let help = match (number + 1 == told.len(), more.len()) {
            (false, _) => None,
            (true, 0) => {
                Some("a config is TOML; other mistakes are listed once the whole file is".to_owned())
            }
            (true, more) => Some(format!(
                "{} not TOML, either: correct these first",
                if more == 1 { "1 more place is".to_owned() } else { format!("{more} more places are") }
            )),
        };
        mistakes.add(offset, "", format!("not TOML: {}", error.message()), help);
    }
    if !errors.is_empty() {
        // Keys that could not be parsed would be reported as missing.
        return None;
    }
    let root = Table::root(document.get_ref(), defaults.get_ref(), mistakes);
    let settings = read_root(&root, digest, dir, needs);
    root.finish();
    settings
}

/// Reads every table before it fails, so that all mistakes are found.
fn read_root(root: &Table<'_>, digest: String, dir: &Path, needs: Needs) -> Option<Settings> {
    let window_table = root.table("window");
    let around_sides = around_sides(&window_table);
    let window = window(window_table);
    let strict = root.get("strict").and_then(|value| value.boolean());
    let limits = limits(root.table("limits"));
    let retry = retry(root.table("retry"));
    let deadlines = deadlines(root.table("deadlines"));
    let budget = budget(root.table("budget"));
    let simulator = root.optional_table("simulator", |table| simulator(table, dir));
    let entra = entra(root.table("entra"), dir);
    let (destination, upload_allowance) = destination(root.table("destination"), dir, root.has("simulator"));
    let (verification, verify) = verify(root.table("verify"), upload_allowance.unwrap_or_default());
    let output_dir = output(root.table("output"));
    let journal = journal(root.table("journal"), dir, needs.journal);
    let scale_out = scale_out(root.table("scale_out"), dir, needs.scale_out);
    check_scale_out(root, deadlines.as_ref().map(|deadlines| deadlines.call));
    let (accounts, shared) = accounts(root, dir);
    let discover = root.optional_table("discover", |table| discover(table, shared));
    let ticket = root.optional_table("ticket", ticket);
    let schedule = schedule(root.table("schedule"), dir, needs);
    let snapshots = snapshots(root);
    let notify = notify(root, dir, needs);
    if verification == Some(false) {
        let since_last =
            |snapshot: &&SnapshotSettings| matches!(snapshot.window, SnapshotWindow::SinceLast { .. });
        for snapshot in snapshots.iter().flatten().filter(since_last) {
            root.wrong(
                format!(
                    "snapshot `{}` continues from verified windows, but `verify.enabled` is false",
                    snapshot.name()
                ),
                "remove `enabled = false`, or give the snapshot a window such as \"6h\"",
            );
        }
    }
    if root.has("simulator") && root.has("account") {
        root.wrong("[simulator] and [[account]] cannot be combined", "remove one of them");
    }
    if root.has("simulator") && root.has("discover") {
        root.wrong("[simulator] and [discover] cannot be combined", "remove one of them");
    }
    if !root.has("simulator") && !root.has("account") && !root.has("discover") {
        root.wrong("there is no Batch account", "add an [[account]] with `name`, `endpoint` and `auth`");
    }
    let (destination, schedule) = (destination?, schedule?);
    if let (Some(destination), Some(lease)) = (&destination, &schedule.lease)
        && destination.takes_from_nodes(&lease.container.key())
    {
        root.table("schedule").table("lease").wrong(
            "the nodes can write to the container of the shared state, and so change what the schedule does",
            "name a container of its own, which only fleetlogs has a SAS or a role for",
        );
        return None;
    }
    let journal = journal.ok()?;
    if let (Some(destination), Some(journal)) = (&destination, &journal)
        && destination.takes_from_nodes(&journal.container.key())
    {
        root.table("journal").wrong(
            "the nodes can write to the container of the journal, and so change what a run has on record",
            "name a container of its own, which only fleetlogs has a SAS or a role for",
        );
        return None;
    }
    let settings = Settings {
        digest,
        window: window?,
        around_sides,
        strict: strict?,
        destination,
        entra: entra?,
        upload_allowance: upload_allowance?,
        limits: limits?,
        retry: retry?,
        deadlines: deadlines?,
        budget: budget?,
        verification: verification?,
        verify: verify?,
        output_dir: output_dir?,
        journal,
        scale_out: scale_out.ok()?,
        accounts: accounts?,
        discover: discover.ok()?,
        simulator: simulator.ok()?,
        ticket: ticket.ok()?,
        schedule,
        snapshots: snapshots?,
        notify: notify?,
    };
    if let Some(scale_out) = &settings.scale_out {
        check_sites(&root.table("scale_out"), &scale_out.queue.name, &settings.sites());
    }
    Some(settings)
}

fn limits(table: Table<'_>) -> Option<Limits> {
    let rate = table.get("rate").and_then(|value| match value.as_str() {
        Some("unlimited") => Some(None),
        Some(text) => {
            value.wrong(
                format!("`{text}` is not a rate"),
                Some("write calls per second, or \"unlimited\"".into()),
            );
            None
        }
        None => value.number(&(0.01..=1_000_000.0)).map(Some),
    });
    let concurrency = table.get("concurrency").and_then(|value| value.whole(&(1..=4096)));
    let in_flight = table.optional("max_uploads_in_flight", |value| value.whole(&(1..=1_000_000)));
    let relist = table.get("relist").and_then(|value| match value.as_str() {
        Some("never") => Some(None),
        _ => value.duration().map(Some),
    });
    table.finish();
    Some(Limits {
        rate: rate?,
        concurrency: concurrency? as usize,
        max_uploads_in_flight: in_flight.ok()?.map(|limit| limit as usize),
        relist: relist?,
    })
}

fn retry(table: Table<'_>) -> Option<RetryPolicy> {
    let attempts = table.get("attempts").and_then(|value| value.whole(&(1..=100)));
    let base_delay = table.get("base_delay").and_then(|value| value.duration());
    let max_delay = table.get("max_delay").and_then(|value| value.duration());
    if let (Some(base), Some(max)) = (base_delay, max_delay)
        && base > max
    {
        table.wrong("`base_delay` is above `max_delay`", "swap them");
    }
    table.finish();
    Some(RetryPolicy { attempts: attempts?, base_delay: base_delay?, max_delay: max_delay? })
}

fn deadlines(table: Table<'_>) -> Option<Deadlines> {
    let [call, node, run] =
        ["call", "node", "run"].map(|key| table.get(key).and_then(|value| value.duration()));
    table.finish();
    Some(Deadlines { call: call?, node: node?, run: run? })
}

fn budget(table: Table<'_>) -> Option<Budget> {
    let [run, account] = ["run", "account"].map(|key| table.optional(key, allowed));
    table.finish();
    Some(Budget { run: run.ok()?, account: account.ok()? })
}

fn allowed(value: &Value<'_>) -> Option<Allowed> {
    let Some(text) = value.as_str() else { return value.whole(&(0..=u32::MAX)).map(Allowed::Nodes) };
    let percent =
        text.strip_suffix('%').and_then(|number| number.trim().parse().ok()).filter(|number| *number <= 100);
    if percent.is_none() {
        let help = "write a number of nodes, or a share of the plan such as \"5%\"";
        value.wrong(format!("`{text}` is not a budget"), Some(help.into()));
    }
    percent.map(Allowed::Percent)
}

fn verify(table: Table<'_>, upload_allowance: std::time::Duration) -> (Option<bool>, Option<VerifySettings>) {
    let enabled = table.get("enabled").and_then(|value| value.boolean());
    let [deadline, settle] =
        ["deadline", "settle"].map(|key| table.get(key).and_then(|value| value.duration()));
    table.finish();
    let settings =
        deadline.zip(settle).map(|(deadline, settle)| VerifySettings { deadline, settle, upload_allowance });
    (enabled, settings)
}

fn output(table: Table<'_>) -> Option<PathBuf> {
    // Relative to the working directory, like the output of other tools, and not to the config.
    let dir = table.get("dir").and_then(|value| {
        let dir = value.string()?;
        if dir.is_empty() {
            value.wrong("the directory name is empty", Some("write \".\" for the current one".into()));
            return None;
        }
        Some(PathBuf::from(dir))
    });
    table.finish();
    dir
}

fn simulator(table: Table<'_>, dir: &Path) -> Option<Simulator> {
    let scenario = table.require("scenario", "\"demo-fleet.toml\"").and_then(|value| {
        let path = dir.join(value.string()?);
        if !path.is_file() {
            let help = "the path is relative to the config";
            value.wrong(format!("there is no file `{}`", path.display()), Some(help.into()));
            return None;
        }
        Some(path)
    });
    table.finish();
    Some(Simulator { scenario: scenario? })
}
