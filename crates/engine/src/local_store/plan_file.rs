//! `plan.json`: the frozen plan as a file.

use std::fs::File;
use std::io::{self, BufWriter, Seek as _};
use std::path::Path;

use fleetlogs_model::hashed::Hashed;
use fleetlogs_model::plan::Plan;
use fleetlogs_model::run_store::StoredPlan;
use fleetlogs_model::whole_file::WholeFile;

use super::failure::LocalError;
use crate::node_spool::node_spool;

/// Name of the frozen plan in a run directory.
pub const PLAN_FILE: &str = "plan.json";

/// Bytes of a plan that are hashed and written at a time.
const WRITTEN_AT_ONCE: usize = 64 << 10;

/// Writes a plan whole or not at all, without holding its text in memory. Returns its SHA-256, in hex.
///
/// # Errors
/// The file cannot be written.
pub fn write_plan(dir: &Path, name: &str, plan: &Plan) -> io::Result<String> {
    let hashed = Hashed::new(WholeFile::create(dir, name)?);
    let mut text = BufWriter::with_capacity(WRITTEN_AT_ONCE, hashed);
    serde_json::to_writer(&mut text, plan)?;
    let (file, digest) = text.into_inner().map_err(io::IntoInnerError::into_error)?.finish();
    file.commit()?;
    Ok(digest)
}

pub(super) fn read_plan(dir: &Path) -> Result<StoredPlan, LocalError> {
    let path = dir.join(PLAN_FILE);
    let failed = |error| LocalError::PlanFile(path.clone(), error);
    let mut text = File::open(&path).map_err(failed)?;
    let mut hashed = Hashed::new(io::sink());
    io::copy(&mut text, &mut hashed).map_err(failed)?;
    text.rewind().map_err(failed)?;
    let plan = Plan::from_json(text, node_spool()).map_err(|error| LocalError::Plan(path.clone(), error))?;
    Ok(StoredPlan { plan, digest: hashed.finish().1 })
}
