//! Finds a run on this disk, or in the container where the config has the journals of runs.
//!
//! A path, and the whole id of a run that is here, need no look at the container. `latest` and the beginning of an id
//! mean the runs of both places together.

use std::path::Path;

use fleetlogs_model::ids::RunId;
use url::Url;

use super::{LATEST, begins_with, find_run, holds_a_run, listed, unreadable};
use crate::error::{CliError, Refusal};
use crate::journal_container::{JournalContainer, JournalUse, KnownJournals, no_config_for};
use crate::run_dir::{RunDir, as_typed};
use crate::runs_dir::RunsDir;

pub(super) async fn find_anywhere(
    text: &str,
    path: &Path,
    runs: &RunsDir,
    journals: &KnownJournals,
) -> Result<RunDir, CliError> {
    if let Some(url) = as_url(text) {
        return run_at_url(&url, runs, journals);
    }
    let here = find_run(text, path, runs);
    if let Ok(dir) = &here
        && dir.file_name().is_some_and(|name| name == text)
    {
        return RunDir::at(dir, journals);
    }
    if text.trim().is_empty() || text.contains(['/', '.', std::path::MAIN_SEPARATOR]) {
        return RunDir::at(&here?, journals);
    }
    let Some(container) = journals.of_config()? else { return RunDir::at(&here?, journals) };
    let there = container.runs().await?;
    let on_disk = runs.ids().map_err(|error| unreadable(&runs.path, &error))?;
    match named(text, &on_disk, runs.latest(&on_disk), &there).as_slice() {
        [] => RunDir::at(&here.map_err(|error| also_looked_in(error, &container, &there))?, journals),
        [run] if holds_a_run(&runs.join(run))? => RunDir::at(&runs.join(run), journals),
        [run] if there.contains(run) => container.run(runs.join(run), run, JournalUse::Look),
        // The directory tells why it is no run.
        [_] => RunDir::at(&here?, journals),
        several => Err(ambiguous(text, several, runs, &container)),
    }
}

/// The runs that a text names, newest first, of those on this disk and those in the container.
fn named(text: &str, on_disk: &[RunId], latest_on_disk: Option<&RunId>, there: &[RunId]) -> Vec<RunId> {
    let newest_first = |one: &RunId, other: &RunId| other.as_str().cmp(one.as_str());
    let mut all: Vec<_> = if text == LATEST {
        latest_on_disk.into_iter().chain(there).cloned().collect()
    } else {
        on_disk.iter().chain(there).filter(|id| begins_with(id, text)).cloned().collect()
    };
    all.sort_by(newest_first);
    all.dedup();
    if text == LATEST {
        all.truncate(1);
    }
    all
}

/// A text that is a URL, whatever it is the URL of.
pub(crate) fn as_url(text: &str) -> Option<Url> {
    Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"))
}

/// The run whose record is at a URL.
pub(crate) fn run_at_url(url: &Url, runs: &RunsDir, journals: &KnownJournals) -> Result<RunDir, CliError> {
    let Some((run, partition)) = run_in_url(url) else {
        let what = format!("`{url}` is not the URL of a run: its last part is not a run id");
        let help = "name the directory of the run, such as \
                    https://ACCOUNT.blob.core.windows.net/CONTAINER/fleetlogs/RUN_ID; `fleetlogs runs` lists the runs";
        return Err(CliError::usage(Refusal::new(what, help)));
    };
    let container = journals.of_config()?.ok_or_else(|| no_config_for(url.as_str()))?;
    let Some(dir) = container.dir_of(url) else {
        let what =
            format!("`{url}` is not in the container of the config's [journal]: `{}`", container.url());
        return Err(CliError::usage(Refusal::new(what, "pass the config that the run was started with")));
    };
    // The directory of the run itself has the reports of the whole.
    let path = match partition {
        Some(partition) => runs.path.join(format!("{run}-{partition}")),
        None => runs.join(&run),
    };
    container.run_in(path, dir, JournalUse::Look)
}

/// The run that a URL is of, and its partition if it is the URL of one: `RUN_ID/p/ACCOUNT`.
fn run_in_url(url: &Url) -> Option<(RunId, Option<String>)> {
    let parts: Vec<_> = url.path_segments()?.filter(|part| !part.is_empty()).collect();
    match parts.as_slice() {
        [.., run] if run.parse::<RunId>().is_ok() => Some((run.parse().ok()?, None)),
        [.., run, "p", account] => {
            let is_plain = |letter: char| letter.is_ascii_alphanumeric() || letter == '-' || letter == '_';
            let account = account.chars().map(|letter| if is_plain(letter) { letter } else { '_' });
            Some((run.parse().ok()?, Some(account.collect())))
        }
        _ => None,
    }
}

/// The same error, with the other place where the run was looked for.
fn also_looked_in(mut error: CliError, container: &JournalContainer, there: &[RunId]) -> CliError {
    if let Some(refusal) = error.refusals.first_mut() {
        let url = container.url();
        if there.is_empty() {
            refusal.seen.push(format!("looked in `{url}` ([journal]): it has no run"));
        } else {
            refusal.seen.push(format!("looked in `{url}` ([journal]); the newest runs there:"));
            refusal.seen.extend(listed(there));
        }
    }
    error
}

fn ambiguous(text: &str, candidates: &[RunId], runs: &RunsDir, container: &JournalContainer) -> CliError {
    let (dir, url) = (as_typed(&runs.path).display(), container.url());
    let what = format!("`{text}` is the beginning of {} run ids in `{dir}` and `{url}`", candidates.len());
    let help = "write more of the id, or `latest` for the newest of all runs";
    CliError::usage(Refusal { seen: listed(candidates).collect(), ..Refusal::new(what, help) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_means_the_runs_of_both_places() {
        let ids = |ids: &[&str]| -> Vec<RunId> { ids.iter().map(|id| id.parse().unwrap()).collect() };
        let (old, middle, new) = ("20261129T220000Z-00a1", "20261130T002818Z-5e62", "20261130T010000Z-0000");
        let on_disk = ids(&[middle, old]);
        let there = ids(&[new, middle]);
        let named_by = |text: &str, on_disk: &[RunId], there: &[RunId]| {
            let named = named(text, on_disk, on_disk.first(), there);
            named.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(named_by("latest", &on_disk, &there), [new]);
        assert_eq!(named_by("latest", &there, &on_disk), [new]);
        assert_eq!(named_by("latest", &[], &there), [new]);
        assert_eq!(named_by("latest", &on_disk, &[]), [middle]);
        assert_eq!(named_by("20261130t00", &on_disk, &there), [middle]);
        assert_eq!(named_by("20261130", &on_disk, &there), [new, middle]);
        assert_eq!(named_by("20261129", &on_disk, &there), [old]);
        assert!(named_by("nosuch", &on_disk, &there).is_empty());
    }

    #[test]
    fn a_url_needs_a_run_id_and_a_config_that_opens_it() {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("fleetlogs.toml");
        std::fs::write(
            dir.path().join("sas"),
            "https://logs.blob.core.windows.net/journals?sp=rcwl&sr=c&se=2036-01-01&sig=TOPSECRET",
        )
        .unwrap();
        let runs = RunsDir::at(&dir.path().join("runs"));
        let by = |url: &str, text: &str| {
            std::fs::write(&config, text).unwrap();
            let found = run_at_url(&as_url(url).unwrap(), &runs, &KnownJournals::new(Some(&config)));
            found.map_err(|error| error.describe())
        };
        let journal = "[journal]\ncontainer_url = { file = \"sas\" }\n";
        let url = "https://logs.blob.core.windows.net/journals/fleetlogs/20261130T002818Z-5e62";
        let found = by(url, journal).unwrap();
        assert_eq!(found.path, runs.path.join("20261130T002818Z-5e62"));
        assert_eq!(found.record.unwrap().url, url);
        let partition = by(&format!("{url}/p/contoso"), journal).unwrap();
        assert_eq!(partition.path, runs.path.join("20261130T002818Z-5e62-contoso"));
        assert_eq!(partition.record.unwrap().url, format!("{url}/p/contoso"));
        let told = [
            by("https://logs.blob.core.windows.net/journals/fleetlogs", journal),
            by(&url.replace("/journals/", "/logs/"), journal),
            by(url, ""),
        ];
        let told: Vec<_> = told.into_iter().map(|told| told.err().expect("no run")).collect();
        insta::assert_snapshot!(told.join("\n"), @r"
        error: `https://logs.blob.core.windows.net/journals/fleetlogs` is not the URL of a run: its last part is not a run id
          help: name the directory of the run, such as https://ACCOUNT.blob.core.windows.net/CONTAINER/fleetlogs/RUN_ID; `fleetlogs runs` lists the runs

        error: `https://logs.blob.core.windows.net/logs/fleetlogs/20261130T002818Z-5e62` is not in the container of the config's [journal]: `https://logs.blob.core.windows.net/journals/fleetlogs`
          help: pass the config that the run was started with

        error: the journal of this run is in `https://logs.blob.core.windows.net/journals/fleetlogs/20261130T002818Z-5e62`, and no config opens that container
          help: pass the config that the run was started with: its [journal] names the container
        ");
        assert!(
            as_url("20261130T002818Z-5e62").is_none()
                && as_url("runs/a").is_none()
                && as_url("C:/runs").is_none()
        );
    }
}
