//! The container that the journals of runs are in, as a config names it, and the runs that are there.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use fleetlogs_azure::{
    BlobRunStore, Client, EntraSettings, FailedTrial, SasSource, http_client, recorded_runs, run_of_key,
    try_out_container,
};
use fleetlogs_model::failure::Failure;
use fleetlogs_model::ids::RunId;
use parking_lot::Mutex;
use url::Url;

use crate::config::{self, ContainerKey, JournalSettings, Settings, is_stdin};
use crate::error::{CliError, Refusal};
use crate::found_config::default_config;
use crate::own_container::{Contents, sas_source};
use crate::record_file::RecordInBlob;
use crate::run_dir::{RunDir, recorded_config};
use crate::shared_run::RunInBlob;
use crate::tokens::Tokens;

/// Journals, and what they take.
const JOURNALS: Contents = Contents {
    table: "journal",
    permissions: &[('r', "read"), ('c', "create"), ('w', "write"), ('l', "list")],
};

/// The same, and to delete what was only tried out.
const TRIAL: Contents = Contents {
    permissions: &[('r', "read"), ('c', "create"), ('w', "write"), ('d', "delete"), ('l', "list")],
    ..JOURNALS
};

/// Calls of a command to the container at a time.
const CALLS_AT_ONCE: usize = 8;

/// What a command does with journals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JournalUse {
    /// It reads what is there.
    Look,
    /// It makes runs.
    Write,
}

/// The container that the journals of runs are in.
pub(crate) struct JournalContainer {
    settings: JournalSettings,
    /// The config that names it, as a run records it.
    pub(crate) config: String,
    http: Client,
    tokens: Tokens,
}

impl JournalContainer {
    pub(crate) fn new(
        settings: JournalSettings,
        entra: EntraSettings,
        config: &Path,
    ) -> Result<Self, CliError> {
        let http = http_client(CALLS_AT_ONCE)?;
        let tokens = Tokens::new(http.clone(), entra);
        Ok(Self { settings, config: recorded_config(config), http, tokens })
    }

    /// The container of a config, which must name one.
    pub(crate) fn of_settings(settings: &Settings, config: &Path) -> Result<Self, CliError> {
        let Some(journal) = settings.journal.clone() else {
            let what = "workers share the record of a run, but this config keeps it on the disk";
            return Err(CliError::usage(Refusal::new(what, "name a container in [journal]")));
        };
        Self::new(journal, settings.entra.clone(), config)
    }

    /// The container of a config. None if its journals are on the disk.
    fn of_file(config: &Path) -> Result<Option<Self>, CliError> {
        let found = config::load_journal(config)?;
        found.map(|(settings, entra)| Self::new(settings, entra, config)).transpose()
    }

    /// The directory that runs are in, for messages and as part of a run's URL.
    pub(crate) fn url(&self) -> String {
        format!("{}/{}", self.settings.container.url(), self.settings.prefix)
    }

    /// The directory of a URL in this container. None if the URL is of another container.
    pub(crate) fn dir_of(&self, url: &Url) -> Option<String> {
        let own = Url::parse(&self.settings.container.url()).ok()?;
        let parts = |url: &Url| -> Vec<String> {
            url.path().split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect()
        };
        let (depth, mut named) = (parts(&own).len(), parts(url));
        let dir = named.split_off(named.len().min(depth));
        let mut container = url.clone();
        container.set_path(&named.join("/"));
        container.set_query(None);
        let is_here = ContainerKey::of_url(container.as_str()) == self.settings.container.key();
        (is_here && !dir.is_empty()).then(|| dir.join("/"))
    }

    /// The store of a run, whose directory in the container this is. Sends nothing yet.
    fn store(&self, dir: String, what_for: JournalUse) -> Result<BlobRunStore, CliError> {
        let source = self.source(what_for)?;
        Ok(BlobRunStore::new(self.http.clone(), source, dir, self.settings.lease))
    }

    fn source(&self, what_for: JournalUse) -> Result<SasSource, CliError> {
        let needed: &[char] = match what_for {
            JournalUse::Look => &['r'],
            JournalUse::Write => &['r', 'w', 'l'],
        };
        sas_source(&self.settings.container, JOURNALS, needed, &self.http, &self.tokens)
    }

    /// The run of this id, which has its other files at a path.
    pub(crate) fn run(&self, path: PathBuf, run: &RunId, what_for: JournalUse) -> Result<RunDir, CliError> {
        let dir = format!("{}/{run}", self.settings.prefix);
        self.run_in(path, dir, what_for)
    }

    /// The run in a directory of the container, which has its other files at a path.
    pub(crate) fn run_in(
        &self,
        path: PathBuf,
        dir: String,
        what_for: JournalUse,
    ) -> Result<RunDir, CliError> {
        let url = format!("{}/{dir}", self.settings.container.url());
        let in_blob = RunInBlob::new(self.store(dir, what_for)?, url.clone());
        let record = RecordInBlob { url, config: self.config.clone() };
        let store = Box::new(in_blob.clone());
        Ok(RunDir { path, store, record: Some(record), in_blob: Some(in_blob) })
    }

    /// The records of runs, for a process that works on some of them. A process that dies keeps them for `lease`.
    pub(crate) fn records(&self, lease: Duration) -> Result<RunRecords, CliError> {
        let source = self.source(JournalUse::Write)?;
        let prefix = self.settings.prefix.clone();
        Ok(RunRecords { http: self.http.clone(), source, prefix, lease })
    }

    /// Looks whether runs can be made here, as far as that shows without writing. Returns how many there are.
    pub(crate) async fn prove(&self) -> Result<usize, CliError> {
        drop(self.source(JournalUse::Write)?);
        Ok(self.list().await?.len())
    }

    /// Tries out with a blob of its own whether a run can be recorded here. Returns the URL of the blob if it stays,
    /// because the SAS does not permit deleting it.
    pub(crate) async fn try_out(&self) -> Result<Option<String>, CliError> {
        let source = sas_source(&self.settings.container, TRIAL, &['r', 'w', 'l'], &self.http, &self.tokens)?;
        let tried = try_out_container(&self.http, source, &self.settings.prefix).await;
        let trial = tried.map_err(|FailedTrial { step, failure }| {
            let what = format!("fleetlogs cannot {step} in `{}`", self.url());
            JOURNALS.refused(what, &self.settings.container, &failure)
        })?;
        Ok(trial.left_behind.map(|blob| format!("{}/{blob}", self.settings.container.url())))
    }

    /// The runs that are here, newest first.
    pub(crate) async fn runs(&self) -> Result<Vec<RunId>, CliError> {
        self.list().await.map_err(CliError::without_run)
    }

    async fn list(&self) -> Result<Vec<RunId>, CliError> {
        let source = sas_source(&self.settings.container, JOURNALS, &['r', 'l'], &self.http, &self.tokens)?;
        let runs = recorded_runs(&self.http, &source, &self.settings.prefix).await;
        let runs = runs.map_err(|failure| self.refused(&failure))?;
        Ok(runs.into_iter().map(|run| run.run_id).collect())
    }

    /// The runs of the container cannot be listed.
    fn refused(&self, failure: &Failure) -> CliError {
        let what = format!("the runs in `{}` cannot be listed", self.url());
        JOURNALS.refused(what, &self.settings.container, failure)
    }
}

/// The records of runs in a container, to be worked on.
pub(crate) struct RunRecords {
    http: Client,
    source: SasSource,
    prefix: String,
    lease: Duration,
}

impl RunRecords {
    /// That of a run.
    pub(crate) fn of(&self, run: &RunId) -> BlobRunStore {
        let dir = format!("{}/{run}", self.prefix);
        BlobRunStore::new(self.http.clone(), self.source.clone(), dir, self.lease)
    }

    /// The run that a key stands for; `new_run` if nobody has used the key before.
    pub(crate) async fn run_of_key(&self, key: &str, new_run: &RunId) -> Result<RunId, CliError> {
        Ok(run_of_key(self.http.clone(), self.source.clone(), &self.prefix, key, new_run).await?)
    }
}

/// The containers of the configs that a command may read, each read once.
pub(crate) struct KnownJournals {
    /// The config that the command names.
    named: Option<PathBuf>,
    read: Mutex<HashMap<PathBuf, Option<Arc<JournalContainer>>>>,
}

impl KnownJournals {
    /// Of the config that the command names, if it names one.
    pub(crate) fn new(named: Option<&Path>) -> Self {
        Self { named: named.map(Path::to_owned), read: Mutex::default() }
    }

    /// The container of the config that is named, or else of the one that is found. None if its journals are on the disk.
    pub(crate) fn of_config(&self) -> Result<Option<Arc<JournalContainer>>, CliError> {
        match self.named.clone().or_else(default_config) {
            Some(config) => self.of_file(&config),
            None => Ok(None),
        }
    }

    fn of_file(&self, config: &Path) -> Result<Option<Arc<JournalContainer>>, CliError> {
        let mut read = self.read.lock();
        if let Some(known) = read.get(config) {
            return Ok(known.clone());
        }
        let container = JournalContainer::of_file(config)?.map(Arc::new);
        read.insert(config.to_owned(), container.clone());
        Ok(container)
    }

    /// The run whose record a directory on this disk names. It is opened by the config that the command names, by the one
    /// that is found, or by the one that the directory names.
    pub(crate) fn run_at(&self, path: &Path, record: &RecordInBlob) -> Result<RunDir, CliError> {
        let url = Url::parse(&record.url).ok();
        let recorded = Some(PathBuf::from(&record.config)).filter(|config| !is_stdin(config));
        let mut failed = None;
        for config in self.named.clone().or_else(default_config).into_iter().chain(recorded) {
            match self.of_file(&config) {
                Ok(Some(container)) => {
                    if let Some(dir) = url.as_ref().and_then(|url| container.dir_of(url)) {
                        return container.run_in(path.to_owned(), dir, JournalUse::Look);
                    }
                }
                Ok(None) => {}
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        Err(failed.unwrap_or_else(|| no_config_for(&record.url)))
    }
}

/// No config that may be read opens the container of a record.
pub(crate) fn no_config_for(url: &str) -> CliError {
    let what = format!("the journal of this run is in `{url}`, and no config opens that container");
    let help = "pass the config that the run was started with: its [journal] names the container";
    CliError::usage(Refusal::new(what, help))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(url: &str) -> JournalContainer {
        let sas = format!("{url}?sp=rcwl&sr=c&se=2036-01-01&sig=TOPSECRET");
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("sas"), sas).unwrap();
        let config = dir.path().join("fleetlogs.toml");
        // What else is wrong in the config, or missing, does not matter.
        std::fs::write(
            &config,
            "no = true\n[journal]\ncontainer_url = { file = \"sas\" }\nprefix = \"a/b\"\n",
        )
        .unwrap();
        JournalContainer::of_file(&config).unwrap().unwrap()
    }

    #[test]
    fn a_run_has_a_url_and_is_found_by_it() {
        let run: RunId = "20261130T002818Z-5e62".parse().unwrap();
        for (container, other) in [
            (
                container("https://logs.blob.core.windows.net/journals"),
                "https://logs.blob.core.windows.net/logs",
            ),
            (
                container("http://127.0.0.1:10000/devstoreaccount1/journals"),
                "http://127.0.0.1:10001/devstoreaccount1/journals",
            ),
        ] {
            let run_dir = container.run("runs/one".into(), &run, JournalUse::Write).unwrap();
            let url = run_dir.record.unwrap().url;
            assert!(url.ends_with("/journals/a/b/20261130T002818Z-5e62"), "{url}");
            let dir = container.dir_of(&Url::parse(&url).unwrap());
            assert_eq!(dir.as_deref(), Some("a/b/20261130T002818Z-5e62"));
            // In another directory of the same container.
            let elsewhere = format!("{}/c/{run}/", container.settings.container.url());
            let dir = container.dir_of(&Url::parse(&elsewhere).unwrap());
            assert_eq!(dir.as_deref(), Some("c/20261130T002818Z-5e62"));
            for no_run in [format!("{other}/a/b/{run}"), container.settings.container.url()] {
                assert_eq!(container.dir_of(&Url::parse(&no_run).unwrap()), None, "{no_run}");
            }
        }
    }

    #[test]
    fn a_config_without_the_table_has_its_journals_on_the_disk() {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("fleetlogs.toml");
        for text in ["", "[journal]\nlease = \"30s\"\n", "[[account]\nname ="] {
            std::fs::write(&config, text).unwrap();
            assert!(JournalContainer::of_file(&config).unwrap().is_none(), "{text}");
        }
        std::fs::write(&config, "[journal]\ncontainer_url = { file = \"absent\" }\n").unwrap();
        let Err(error) = JournalContainer::of_file(&config) else { panic!("taken") };
        assert!(error.describe().contains("journal.container_url"), "{}", error.describe());
    }
}
