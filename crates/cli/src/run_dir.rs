//! The run directory, and the store that the record of a run is kept in.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use fleetlogs_engine::local_store::LocalRunStore;
pub(crate) use fleetlogs_engine::local_store::{PLAN_FILE, write_plan};
use fleetlogs_engine::recorded_run::{RecordedRun, RunClaim};
use fleetlogs_model::files::{absolute, create_private_dir, dir_of, owner_only, refuse_if_open_to_all};
use fleetlogs_model::hashed::Hashed;
use fleetlogs_model::ids::RunId;
use fleetlogs_model::plan::Plan;
use fleetlogs_model::run_store::{RunMeta, RunStore};
use fleetlogs_model::shell_word::quoted;

use crate::config::{Settings, is_stdin};
use crate::error::{CliError, Refusal};
use crate::journal_container::{JournalContainer, JournalUse, KnownJournals};
use crate::record_file::{RECORD_FILE, RecordInBlob};
use crate::shared_run::{RunInBlob, SharedRun};
pub(crate) use crate::typed_path::{as_argument, as_typed};

/// A run as a command names it: where its reports are, and where its record is kept.
pub(crate) struct RunDir {
    /// Reports, logs and the program's own log. It may be missing if the record is elsewhere.
    pub(crate) path: PathBuf,
    pub(crate) store: Box<dyn RunStore>,
    /// None if the record is in the directory itself.
    pub(crate) record: Option<RecordInBlob>,
    /// The same store, if the record is in Blob storage.
    pub(crate) in_blob: Option<RunInBlob>,
}

impl RunDir {
    /// The run at a path. The only place that chooses a store for a run on record.
    pub(crate) fn at(path: &Path, journals: &KnownJournals) -> Result<Self, CliError> {
        match recorded_in_blob(path)? {
            Some(record) => journals.run_at(path, &record),
            None => Ok(Self::on_disk(path.to_owned())),
        }
    }

    /// A new run in the directory of all runs, whose record is where the config says.
    pub(crate) fn of_new(settings: &Settings, config: &Path, run: &RunId) -> Result<Self, CliError> {
        let path = settings.output_dir.join(run.as_str());
        match &settings.journal {
            Some(journal) => {
                let container = JournalContainer::new(journal.clone(), settings.entra.clone(), config)?;
                container.run(path, run, JournalUse::Write)
            }
            None => Ok(Self::on_disk(path)),
        }
    }

    /// A run directory that has the record of its run.
    pub(crate) fn on_disk(path: PathBuf) -> Self {
        Self { store: Box::new(LocalRunStore::new(&path)), path, record: None, in_blob: None }
    }

    /// What names the run for processes that come later: the URL of its record, which every machine reaches, or else its
    /// directory.
    pub(crate) fn place(&self) -> PathBuf {
        match &self.record {
            Some(record) => PathBuf::from(&record.url),
            None => absolute(&self.path),
        }
    }

    /// The run as its partitions know it. None if it is not shared out.
    pub(crate) async fn shared(&self) -> Result<Option<&SharedRun>, CliError> {
        match &self.in_blob {
            Some(run) => Ok(run.shared().await?),
            None => Ok(None),
        }
    }

    /// The command that continues the run. Where it left no files, it is named by its URL.
    pub(crate) fn continued_by(&self, is_shared: bool) -> String {
        let command = if is_shared { "fan-in" } else { "resume" };
        let run = match &self.record {
            Some(record) if !self.path.exists() => quoted(&record.url).into_owned(),
            _ => as_argument(&self.path),
        };
        format!("fleetlogs {command} {run}")
    }

    /// Opens the run for reading.
    pub(crate) async fn open(&self, claim: RunClaim) -> Result<RecordedRun, CliError> {
        Ok(RecordedRun::open(&*self.store, claim).await?)
    }

    /// Makes the directory of a run whose record is elsewhere, with a copy of its plan. It may be there already: another
    /// machine has one of its own.
    pub(crate) fn keep_here(&self, plan: &Plan) -> Result<(), CliError> {
        let Some(record) = &self.record else { return Ok(()) };
        let failed = |error: io::Error| CliError::file(&self.path, &error);
        let output_dir = dir_of(&self.path);
        std::fs::create_dir_all(output_dir).map_err(failed)?;
        refuse_if_open_to_all(output_dir).map_err(|error| CliError::file(output_dir, &error))?;
        match recorded_in_blob(&self.path)? {
            Some(there) if there.url == record.url => {}
            None if !self.path.join("run.db").exists() => {
                match create_private_dir(&self.path) {
                    Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(error)),
                    _ => {}
                }
                record.write_in(&self.path).map_err(failed)?;
            }
            Some(_) | None => {
                let what = format!("`{}` is the directory of another run", as_typed(&self.path).display());
                return Err(CliError::usage(Refusal::new(
                    what,
                    "name another directory of runs with `--runs-dir`",
                )));
            }
        }
        // The plan of a run that is shared out grows with each partition that is planned.
        let grows = self.in_blob.as_ref().is_some_and(RunInBlob::is_shared_out);
        if grows || !self.path.join(PLAN_FILE).is_file() {
            write_plan(&self.path, PLAN_FILE, plan).map_err(failed)?;
        }
        Ok(())
    }

    /// The config that was named, or else the one that the run was started with, which is gone if it came from stdin. On
    /// another machine than that of the run, it is the one that opened the record.
    pub(crate) fn config(&self, meta: &RunMeta, named: Option<&Path>) -> Result<PathBuf, CliError> {
        let started_with = Path::new(&meta.config);
        let opened_by = self.record.as_ref().map(|record| Path::new(&record.config));
        let here = match (named, opened_by) {
            (Some(named), _) => return Ok(named.to_owned()),
            (None, Some(opened_by)) if !started_with.is_file() => opened_by,
            (None, _) => started_with,
        };
        if is_stdin(here) {
            let what = "this run was started with a config from stdin, which is kept nowhere";
            let help = "pass the same config again, with `--config FILE` or `--config -`";
            return Err(CliError::usage(Refusal::new(what, help)));
        }
        Ok(here.to_owned())
    }

    /// The program's own log, to be appended to.
    pub(crate) fn log_file(&self) -> Result<File, CliError> {
        let path = self.path.join("log.jsonl");
        owner_only().create().append().open(&path).map_err(|error| CliError::file(path, &error))
    }
}

/// Where the record of the run in a directory is, if that is in Blob storage.
fn recorded_in_blob(dir: &Path) -> Result<Option<RecordInBlob>, CliError> {
    RecordInBlob::read_in(dir).map_err(|error| CliError::file(dir.join(RECORD_FILE), &error))
}

/// A config as a run records it, to be found again from any directory.
pub(crate) fn recorded_config(path: &Path) -> String {
    if is_stdin(path) { path.display().to_string() } else { absolute(path).display().to_string() }
}

/// SHA-256 of a text, in hex, and its length in bytes.
pub(crate) fn digest(mut text: impl io::Read) -> io::Result<(String, u64)> {
    let mut hashed = Hashed::new(io::sink());
    let bytes = io::copy(&mut text, &mut hashed)?;
    Ok((hashed.finish().1, bytes))
}

#[cfg(test)]
mod tests {
    use fleetlogs_engine::node_spool::node_spool;
    use fleetlogs_model::plan::PLAN_SCHEMA;
    use fleetlogs_model::planned::PlannedNodes;
    use fleetlogs_model::window::Window;
    use time::macros::datetime;

    use super::*;

    const URL: &str = "https://logs.blob.core.windows.net/journals/fleetlogs/20261122T100000Z-0001";

    fn plan() -> Plan {
        let start = datetime!(2026-11-22 10:00:00 UTC);
        Plan {
            schema: PLAN_SCHEMA.into(),
            run_id: "20261122T100000Z-0001".parse().unwrap(),
            tool_version: "0.0.0".into(),
            created_at: start,
            config_digest: String::new(),
            snapshot: None,
            window: Window { start: start - time::Duration::hours(2), end: start },
            destination: "https://logs.blob.core.windows.net/logs".into(),
            accounts: vec![],
            pools: vec![],
            nodes: PlannedNodes::spooled(node_spool()),
            left_out: vec![],
        }
    }

    fn in_blob(path: PathBuf, url: &str, config: &str) -> RunDir {
        let record = RecordInBlob { url: url.into(), config: config.into() };
        RunDir { record: Some(record), ..RunDir::on_disk(path) }
    }

    #[test]
    fn a_run_whose_record_is_elsewhere_gets_a_directory_that_says_so() {
        let here = tempfile::tempdir().unwrap();
        let path = here.path().join("runs/20261122T100000Z-0001");
        let dir = in_blob(path.clone(), URL, "/srv/fleetlogs.toml");
        dir.keep_here(&plan()).unwrap();
        assert_eq!(RecordInBlob::read_in(&path).unwrap(), dir.record);
        assert!(path.join(PLAN_FILE).is_file());
        assert_eq!(dir.place(), PathBuf::from(URL));
        // Another command finds it there, and one that was killed halfway left less.
        std::fs::remove_file(path.join(PLAN_FILE)).unwrap();
        dir.keep_here(&plan()).unwrap();
        assert!(path.join(PLAN_FILE).is_file());
        // A directory of another run is left alone.
        for other in [in_blob(path.clone(), "https://logs.blob.core.windows.net/others/x", ""), {
            std::fs::create_dir(here.path().join("on-disk")).unwrap();
            std::fs::write(here.path().join("on-disk/run.db"), "").unwrap();
            in_blob(here.path().join("on-disk"), URL, "")
        }] {
            let refused = other.keep_here(&plan()).unwrap_err().describe();
            assert!(refused.contains("is the directory of another run"), "{refused}");
        }
        // One with its record in it has nothing to be made.
        RunDir::on_disk(here.path().join("absent")).keep_here(&plan()).unwrap();
        assert!(!here.path().join("absent").exists());
    }

    #[test]
    fn the_config_of_a_run_is_the_one_that_is_here() {
        let here = tempfile::tempdir().unwrap();
        let config = here.path().join("fleetlogs.toml");
        std::fs::write(&config, "").unwrap();
        let of = |dir: &RunDir, started_with: &str, named: Option<&Path>| {
            let meta = RunMeta { config: started_with.into(), ..RunMeta::default() };
            dir.config(&meta, named).map(|config| config.display().to_string()).ok()
        };
        let started_with = config.to_str().unwrap();
        let (on_disk, in_blob) =
            (RunDir::on_disk("runs/a".into()), in_blob("runs/a".into(), URL, "/etc/opened.toml"));
        for dir in [&on_disk, &in_blob] {
            assert_eq!(of(dir, started_with, None).as_deref(), Some(started_with));
            assert_eq!(of(dir, started_with, Some(Path::new("c.toml"))).as_deref(), Some("c.toml"));
        }
        assert_eq!(of(&on_disk, "/absent.toml", None).as_deref(), Some("/absent.toml"));
        assert_eq!(of(&in_blob, "/absent.toml", None).as_deref(), Some("/etc/opened.toml"));
        assert_eq!(of(&on_disk, "-", None), None);
        assert_eq!(of(&in_blob, "-", None).as_deref(), Some("/etc/opened.toml"));
    }
}
