//! RUN: a run as a person names it, found on this machine, or in the container of the config's `[journal]`.
//!
//! RUN is a run id, a unique beginning of one, `latest`, a run directory, a file in one, or the URL of the record of a run
//! in Blob storage. Other text with a `/` or a `.` is a path. Other text is looked up among the runs first, and then taken
//! as a path.

mod anywhere;

use std::ffi::OsString;
use std::fs::Metadata;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use clap::Parser;
use fleetlogs_model::files::{absolute, dir_of};
use fleetlogs_model::ids::RunId;
use time::OffsetDateTime;

use self::anywhere::find_anywhere;
pub(crate) use self::anywhere::{as_url, run_at_url};
use crate::completion;
use crate::error::{CliError, Refusal};
use crate::journal_container::KnownJournals;
use crate::record_file::RECORD_FILE;
use crate::run_dir::{PLAN_FILE, RunDir, as_argument, as_typed};
use crate::runs_dir::RunsDir;

/// The most runs that a message lists.
const MOST_LISTED: usize = 5;

/// How long a run that is not on record is thought to be listing its accounts.
const LONGEST_PLANNING: time::Duration = time::Duration::minutes(10);

/// The run that is meant, whichever it is.
const LATEST: &str = "latest";

#[derive(Clone, Debug, Parser)]
pub(crate) struct RunArg {
    /// The run: its id or the beginning of it, `latest`, its directory, or its URL in Blob storage
    #[arg(value_name = "RUN", add = completion::runs())]
    pub(crate) run: OsString,
    /// Look for runs in this directory instead of `output.dir` of the config
    #[arg(long, value_name = "DIR")]
    pub(crate) runs_dir: Option<PathBuf>,
}

impl RunArg {
    /// The run. If the command names a config, it is looked for in its `output.dir` and in the container of its
    /// `[journal]`.
    pub(crate) async fn find(&self, config: Option<&Path>) -> Result<RunDir, CliError> {
        let (text, runs) = (self.run.to_string_lossy(), self.runs(config));
        find_anywhere(&text, Path::new(&self.run), &runs, &KnownJournals::new(config)).await
    }

    /// Whether this may be a run that is still being planned: a run is on record, and is found, once it has a plan.
    pub(crate) fn may_still_come(&self, now: OffsetDateTime) -> bool {
        let named = self.run.to_str().and_then(|text| text.parse::<RunId>().ok()?.time());
        named.is_some_and(|named| now - named < LONGEST_PLANNING && named - now < LONGEST_PLANNING)
    }

    /// Where the run is looked for.
    pub(crate) fn runs(&self, config: Option<&Path>) -> RunsDir {
        RunsDir::find(self.runs_dir.as_deref(), config)
    }
}

/// The directory of the run that a text names.
fn find_run(text: &str, path: &Path, runs: &RunsDir) -> Result<PathBuf, CliError> {
    if text.trim().is_empty() {
        let what = "the name of the run is empty";
        return Err(CliError::usage(Refusal::new(what, "name a run, or pass `latest`")));
    }
    if !text.contains(['/', '.', std::path::MAIN_SEPARATOR]) {
        match by_name(text, runs)? {
            Named::One(dir) => return Ok(dir),
            Named::Several(candidates) if !path.exists() => return Err(ambiguous(text, &candidates, runs)),
            Named::Several(_) | Named::None => {}
        }
    }
    match by_path(path, runs)? {
        Some(dir) => Ok(dir),
        None => Err(unknown(text, path, runs)),
    }
}

/// What a name stands for among the runs of a directory.
enum Named {
    One(PathBuf),
    /// Newest first.
    Several(Vec<RunId>),
    None,
}

fn by_name(name: &str, runs: &RunsDir) -> Result<Named, CliError> {
    let ids = runs.ids().map_err(|error| unreadable(&runs.path, &error))?;
    if name == LATEST {
        return match (runs.latest(&ids), ids.first()) {
            (Some(latest), _) => Ok(Named::One(runs.join(latest))),
            // There are directories, but no plan can be seen in them: this tells why.
            (None, Some(newest)) => Ok(by_path(&runs.join(newest), runs)?.map_or(Named::None, Named::One)),
            (None, None) => Ok(Named::None),
        };
    }
    // Also a run directory that was renamed.
    let here = runs.path.join(name);
    if ids.iter().any(|id| id.as_str() == name) || here.join(PLAN_FILE).is_file() {
        return Ok(by_path(&here, runs)?.map_or(Named::None, Named::One));
    }
    let candidates: Vec<_> = ids.into_iter().filter(|id| begins_with(id, name)).collect();
    Ok(match candidates.as_slice() {
        [] => Named::None,
        [one] => by_path(&runs.join(one), runs)?.map_or(Named::None, Named::One),
        _ => Named::Several(candidates),
    })
}

fn begins_with(id: &RunId, name: &str) -> bool {
    id.as_str().get(..name.len()).is_some_and(|beginning| beginning.eq_ignore_ascii_case(name))
}

/// The run directory at a path, or that a file is in. None if there is nothing at the path.
fn by_path(path: &Path, runs: &RunsDir) -> Result<Option<PathBuf>, CliError> {
    let found = match path.metadata() {
        // A path through something that is a file.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        found => found.map_err(|error| unreadable(path, &error))?,
    };
    if found.is_dir() {
        // Without a slash at its end.
        let dir: PathBuf = path.components().collect();
        return if holds_a_run(&dir)? { Ok(Some(dir)) } else { Err(no_run_dir(&dir, runs)) };
    }
    let mut above = path.parent();
    while let Some(dir) = above {
        let dir = if dir.as_os_str().is_empty() { dir_of(path) } else { dir };
        // A plan beside a config, as `plan --output` writes it, makes no run.
        let has_record = ["run.db", RECORD_FILE].iter().any(|file| dir.join(file).exists());
        if has_record && holds_a_run(dir)? {
            return Ok(Some(dir.to_owned()));
        }
        above = if dir == Path::new(".") { None } else { dir.parent() };
    }
    Err(no_run_file(path))
}

/// Whether a directory is that of a run: it has a plan or a journal, or says where the journal is.
fn holds_a_run(dir: &Path) -> Result<bool, CliError> {
    for file in [PLAN_FILE, "run.db", RECORD_FILE] {
        match dir.join(file).symlink_metadata() {
            Ok(_) => return Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(unreadable(dir, &error)),
        }
    }
    Ok(false)
}

/// No run has this name, and nothing is at this path.
fn unknown(text: &str, path: &Path, runs: &RunsDir) -> CliError {
    // A path is held against what is beside it.
    let beside = path.parent().filter(|dir| !dir.as_os_str().is_empty() && dir.is_dir());
    let name = path.file_name().map_or(text.into(), |name| name.to_string_lossy());
    let shown = beside.map_or_else(|| runs.clone(), RunsDir::at);
    let ids = shown.ids().unwrap_or_default();
    if text == LATEST {
        let help = "start one with `fleetlogs run`, or name the directory of all runs with `--runs-dir`";
        return CliError::usage(Refusal {
            seen: newest(runs, &ids, true),
            ..Refusal::new("there is no run yet", help)
        });
    }
    let help = match (nearest(&name, &ids), beside) {
        (Some(near), Some(dir)) if near != LATEST => {
            format!("did you mean `{}`?", as_argument(&dir.join(near)))
        }
        (Some(near), _) => format!("did you mean `{near}`?"),
        (None, _) => {
            "RUN is a run id, the beginning of one, `latest`, or a run directory; `fleetlogs runs` lists them"
                .into()
        }
    };
    let seen = newest(&shown, &ids, beside.is_none());
    CliError::usage(Refusal { seen, ..Refusal::new(format!("there is no run `{text}`"), help) })
}

/// Where it was looked, and the newest runs there.
fn newest(runs: &RunsDir, ids: &[RunId], tell_why: bool) -> Vec<String> {
    let dir = as_typed(&runs.path).display();
    let why = if tell_why { format!(" ({})", runs.named_by) } else { String::new() };
    if ids.is_empty() {
        let state = if runs.path.is_dir() { "it has no run" } else { "it does not exist" };
        return vec![format!("looked in `{dir}`{why}: {state}")];
    }
    let mut lines = vec![format!("looked in `{dir}`{why}; the newest runs there:")];
    lines.extend(listed(ids));
    lines
}

/// The first runs, one line each, and how many more there are.
fn listed(ids: &[RunId]) -> impl Iterator<Item = String> {
    let more = ids.len().saturating_sub(MOST_LISTED);
    let more = (more > 0).then(|| format!("  and {more} more"));
    ids.iter().take(MOST_LISTED).map(|id| format!("  {id}")).chain(more)
}

fn ambiguous(text: &str, candidates: &[RunId], runs: &RunsDir) -> CliError {
    let dir = as_typed(&runs.path).display();
    let what = format!("`{text}` is the beginning of {} run ids in `{dir}`", candidates.len());
    let help = "write more of the id, or `latest` for the newest of all runs";
    CliError::usage(Refusal { seen: listed(candidates).collect(), ..Refusal::new(what, help) })
}

/// The run that was probably meant: with a slip in its id, in the beginning of it or in `latest`, or named by the last
/// characters of its id.
fn nearest<'ids>(name: &str, ids: &'ids [RunId]) -> Option<&'ids str> {
    let typed = name.to_lowercase();
    if let Some(id) = ids.iter().find(|id| typed.len() >= 3 && id.as_str().ends_with(&typed)) {
        return Some(id.as_str());
    }
    let off = |other: &str| strsim::damerau_levenshtein(&typed, &other.to_lowercase());
    if off(LATEST) <= 2 || ["last", "newest"].contains(&typed.as_str()) {
        return Some(LATEST);
    }
    // Shorter texts begin too many ids.
    if typed.len() < "20261130".len() {
        return None;
    }
    let beginning = |id: &'ids RunId| id.as_str().get(..typed.len()).unwrap_or(id.as_str());
    let (id, slips) = ids.iter().map(|id| (id, off(beginning(id)))).min_by_key(|(_, slips)| *slips)?;
    (slips <= 3).then_some(id.as_str())
}

/// A directory that no run is in.
fn no_run_dir(dir: &Path, runs: &RunsDir) -> CliError {
    let shown = dir.display();
    let ids = RunsDir::at(dir).ids().unwrap_or_default();
    if !ids.is_empty() {
        let what = format!("`{shown}` is the directory that runs are in, not a run");
        let is_searched = absolute(dir) == absolute(&runs.path);
        let option = if is_searched { String::new() } else { format!(" --runs-dir {}", as_argument(dir)) };
        let help = format!("name one of them, or pass `latest{option}`");
        return CliError::usage(Refusal { seen: listed(&ids).collect(), ..Refusal::new(what, help) });
    }
    let is_empty = std::fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_none());
    let what = if is_empty {
        format!("`{shown}` is an empty directory, not a run directory")
    } else {
        format!("`{shown}` is not the directory of a run: it has no {PLAN_FILE}")
    };
    CliError::usage(Refusal::new(what, "`fleetlogs runs` lists the runs"))
}

/// A file that is in no run directory.
fn no_run_file(path: &Path) -> CliError {
    let shown = path.display();
    let ends = |end: &str| path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case(end));
    let (what, help) = if ends("toml") {
        let help = "name a run, such as `latest`; `fleetlogs runs` lists them".to_owned();
        (format!("`{shown}` is a config, not a run"), help)
    } else if ends("zip") {
        let help =
            format!("`fleetlogs bundle --check {}` checks it; extract it to read it", as_argument(path));
        (format!("`{shown}` is a bundle, not a run"), help)
    } else {
        let help = "name a run, such as `latest`; `fleetlogs runs` lists them".to_owned();
        (format!("`{shown}` is a file that is in no run directory"), help)
    };
    CliError::usage(Refusal::new(what, help))
}

/// A path cannot be looked at.
fn unreadable(path: &Path, error: &io::Error) -> CliError {
    if error.kind() != ErrorKind::PermissionDenied {
        return CliError::file(path, error);
    }
    let shown = as_typed(path).display().to_string();
    // The directory that does not let this user in.
    let above = absolute(path);
    let closed = above.ancestors().find_map(|dir| Some((dir.to_owned(), dir.metadata().ok()?)));
    let (closed, owner) = match &closed {
        Some((dir, found)) => (as_typed(dir).display().to_string(), owner(found)),
        None => (shown.clone(), None),
    };
    no_access(&shown, &closed, owner.as_deref())
}

/// A path below a closed directory, which belongs to another user or to this one.
fn no_access(shown: &str, closed: &str, owner: Option<&str>) -> CliError {
    let Some(owner) = owner else {
        let what = format!("`{shown}` cannot be read: you own it, but its permissions deny access");
        return CliError::usage(Refusal::new(what, format!("allow it with `chmod u+rwx {closed}`")));
    };
    let what = if shown == closed {
        format!("`{shown}` belongs to {owner}, and you have no access to it")
    } else {
        format!("`{shown}` cannot be read: `{closed}` belongs to {owner}, and you have no access to it")
    };
    let help =
        format!("run this as {owner}, or have {owner} create a bundle of the run with `fleetlogs bundle`");
    CliError::usage(Refusal::new(what, help))
}

/// Who owns a directory, if not this user.
#[cfg(unix)]
fn owner(found: &Metadata) -> Option<String> {
    let id = std::os::unix::fs::MetadataExt::uid(found);
    (id != rustix::process::geteuid().as_raw()).then(|| {
        let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        let is_owner = |line: &&str| line.split(':').nth(2) == Some(&id.to_string());
        let name = users.lines().find(is_owner).and_then(|line| line.split(':').next());
        name.map_or_else(|| format!("user {id}"), |name| format!("user `{name}`"))
    })
}

#[cfg(not(unix))]
fn owner(_: &Metadata) -> Option<String> {
    Some("another user".into())
}

#[cfg(test)]
mod tests;
