//! The run directory: readable by its owner only, with the frozen plan in it before anything is sent.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use fleetlogs_engine::journal::JournalReader;
use fleetlogs_model::plan::Plan;
use fleetlogs_model::whole_file::WholeFile;
use sha2::{Digest, Sha256};

use crate::error::CliError;
use fleetlogs_model::hex::hex;

/// Name of the frozen plan.
pub(crate) const PLAN_FILE: &str = "plan.json";

/// A run directory with a plan in it.
pub(crate) struct RunDir {
    pub(crate) path: PathBuf,
    /// SHA-256 of plan.json, in hex.
    pub(crate) plan_digest: String,
}

impl RunDir {
    /// Makes the directory of a new run and puts the plan there, durably.
    pub(crate) fn create(output_dir: &Path, plan: &Plan) -> Result<Self, CliError> {
        let path = output_dir.join(plan.run_id.as_str());
        let failed = |error| CliError::file(&path, &error);
        std::fs::create_dir_all(output_dir).map_err(failed)?;
        create_private_dir(&path).map_err(failed)?;
        let plan_digest = write_plan(&path, PLAN_FILE, plan).map_err(failed)?;
        // The new directory's own entry must survive a crash, too.
        sync_dir(output_dir).map_err(failed)?;
        Ok(Self { path, plan_digest })
    }

    /// Opens the directory of an earlier run, and reads its plan.
    pub(crate) fn open(path: &Path) -> Result<(Self, Plan), CliError> {
        let file = path.join(PLAN_FILE);
        let failed = |error| CliError::file(&file, &error);
        let mut text = File::open(&file).map_err(failed)?;
        let (plan_digest, _) = digest(&mut text).map_err(failed)?;
        text.rewind().map_err(failed)?;
        let plan = Plan::from_json(text).map_err(|error| CliError::plan(&file, &error))?;
        Ok((Self { path: path.into(), plan_digest }, plan))
    }

    /// The program's own log, to be appended to.
    pub(crate) fn log_file(&self) -> Result<File, CliError> {
        let path = self.path.join("log.jsonl");
        owner_only().create(true).append(true).open(&path).map_err(|error| CliError::file(path, &error))
    }
}

/// Opens files that, where they are made, are readable by their owner only.
pub(crate) fn owner_only() -> OpenOptions {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// The config that was named, or else the one that a run was begun with.
pub(crate) fn config_of(journal: &JournalReader, named: Option<&Path>) -> Result<PathBuf, CliError> {
    Ok(match named {
        Some(config) => config.to_owned(),
        None => journal.meta()?.config.into(),
    })
}

/// A path as a person here types it: relative where it is below the working directory.
pub(crate) fn as_typed(path: &Path) -> &Path {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(here).ok().filter(|below| !below.as_os_str().is_empty()).unwrap_or(path)
}

/// The same as a word of a command: in quotes where a shell would take it for something else.
pub(crate) fn as_argument(path: &Path) -> String {
    let text = as_typed(path).to_string_lossy();
    let plain = |char: char| char.is_alphanumeric() || "/\\_-.:@%+=,".contains(char);
    if text.chars().all(plain) { text.into_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// Writes a file whole or not at all.
pub(crate) fn write_whole(dir: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    let mut file = WholeFile::create(dir, name)?;
    file.write_all(content)?;
    file.commit()
}

/// Writes a plan whole or not at all, without holding its text in memory. Returns its SHA-256, in hex.
pub(crate) fn write_plan(dir: &Path, name: &str, plan: &Plan) -> io::Result<String> {
    let mut text = Hashed { file: BufWriter::new(WholeFile::create(dir, name)?), digest: Sha256::new() };
    serde_json::to_writer(&mut text, plan)?;
    let Hashed { file, digest } = text;
    file.into_inner().map_err(io::IntoInnerError::into_error)?.commit()?;
    Ok(hex(&digest.finalize()))
}

/// SHA-256 of a text, in hex, and its length in bytes.
pub(crate) fn digest(mut text: impl io::Read) -> io::Result<(String, u64)> {
    let mut hashed = Hashed { file: io::sink(), digest: Sha256::new() };
    let bytes = io::copy(&mut text, &mut hashed)?;
    Ok((hex(&hashed.digest.finalize()), bytes))
}

/// A file, and the digest of what went into it.
struct Hashed<W> {
    file: W,
    digest: Sha256,
}

impl<W: io::Write> io::Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.digest.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn create_private_dir(path: &Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(dir)?.sync_all() } else { Ok(()) }
}
