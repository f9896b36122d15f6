//! What the daemons leave, kept before retention removes it; and what nobody needs any more, removed as the operator's
//! lifecycle rule would.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use time::OffsetDateTime;

use super::ground::Ground;

/// Manifests of all runs, by the machine that wrote them. A link keeps one that is replaced or removed.
pub(super) struct Archive {
    dir: PathBuf,
    /// The file that was kept last, of each run and machine.
    kept: BTreeMap<String, u64>,
}

impl Archive {
    pub(super) fn new(dir: PathBuf) -> Self {
        std::fs::create_dir(&dir).unwrap();
        Self { dir, kept: BTreeMap::new() }
    }

    /// Keeps what is new of a machine.
    pub(super) fn keep(&mut self, machine: usize, dir: &Path) {
        for run in run_dirs(dir) {
            let name = format!("{}.{machine}.json", run.file_name().unwrap().to_string_lossy());
            let manifest = run.join("manifest.json");
            let Ok(inode) = std::fs::metadata(&manifest).map(|file| file.ino()) else { continue };
            if self.kept.get(&name) == Some(&inode) {
                continue;
            }
            let (link, place) = (self.dir.join("new"), self.dir.join(&name));
            let _ = std::fs::remove_file(&link);
            // It may be replaced or removed at this moment.
            if std::fs::hard_link(&manifest, &link).is_ok() {
                let inode = std::fs::metadata(&link).unwrap().ino();
                std::fs::rename(&link, place).unwrap();
                self.kept.insert(name, inode);
            }
        }
    }

    /// How many runs have left a manifest.
    pub(super) fn runs(&self) -> usize {
        self.kept.keys().map(|name| name.split('.').next()).collect::<BTreeSet<_>>().len()
    }

    /// The last manifest of each run.
    pub(super) fn manifests(&self) -> BTreeMap<String, Value> {
        let mut all: BTreeMap<String, Value> = BTreeMap::new();
        for name in self.kept.keys() {
            let manifest: Value =
                serde_json::from_slice(&std::fs::read(self.dir.join(name)).unwrap()).unwrap();
            let run = manifest["run_id"].as_str().unwrap().to_owned();
            // A machine that took the run over wrote the later one.
            let is_older =
                all.get(&run).is_some_and(|kept| kept["ended_at"].as_str() > manifest["ended_at"].as_str());
            if !is_older {
                all.insert(run, manifest);
            }
        }
        all
    }
}

/// The run directories of a machine.
pub(super) fn run_dirs(machine: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(machine.join("runs")).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir() && !is_hidden(path)).collect()
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'))
}

/// What is in the container beside the logs, after the rule of the storage account was applied: a journal goes when no
/// machine has a directory of its run any more, and some time has passed.
pub(super) fn tidy(ground: &Ground, after: Duration) -> u64 {
    let now = OffsetDateTime::now_utc();
    let dirs: BTreeSet<_> = ground
        .machines
        .iter()
        .flat_map(|machine| run_dirs(&machine.dir))
        .map(|dir| dir.file_name().unwrap().to_string_lossy().into_owned())
        .collect();
    let mut bytes = 0;
    for blob in ground.blobs() {
        let run =
            blob.name.strip_prefix("fleetlogs/").and_then(|name| name.split_once('/')).map(|(run, _)| run);
        let is_over = run.is_some_and(|run| !dirs.contains(run)) && now - blob.modified > after;
        if is_over {
            ground.delete(&blob.name);
        } else {
            bytes += blob.bytes;
        }
    }
    bytes
}
