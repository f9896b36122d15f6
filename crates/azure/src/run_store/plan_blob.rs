//! `plan.json`: the frozen plan as a blob, written once.

use std::io::{self, BufWriter, Read as _, Seek as _, Write as _};

use azure_core::Bytes;
use fleetlogs_model::hashed::Hashed;
use fleetlogs_model::plan::Plan;
use fleetlogs_model::planned::Spool;
use fleetlogs_model::run_store::{JournalError, JournalErrorKind, StoredPlan};
use tempfile::SpooledTempFile;
use uuid::Uuid;

use super::blobs::{PIECE, RunBlobs, patiently};
use super::errors;

const PLAN: &str = "plan.json";

/// Metadata of the blob: SHA-256 of its text, in hex.
const DIGEST: &str = "sha256";

/// Text longer than this is in a temporary file while it is on its way.
const IN_MEMORY: usize = 2 << 20;

/// A place for text on its way: memory first, a temporary file as soon as it grows.
pub(super) fn spool() -> SpooledTempFile {
    SpooledTempFile::new(IN_MEMORY)
}

/// The plan that is there after an attempt to write one.
pub(super) struct WrittenPlan {
    pub(super) digest: String,
    /// It is the one that was to be written: by this attempt, by an earlier one whose answer was lost, or by another
    /// process.
    pub(super) is_ours: bool,
}

/// Writes the plan, completely or not at all, unless there is one.
pub(super) async fn write_plan(blobs: &RunBlobs, plan: &Plan) -> Result<WrittenPlan, JournalError> {
    let failed = |failure| errors::failed(blobs, &failure);
    let (mut text, digest) = text_of(plan).map_err(errors::spool_failed)?;
    let metadata = [(DIGEST, digest.as_str())];
    let first = piece(&mut text).map_err(errors::spool_failed)?;
    let created = if first.len() < PIECE {
        patiently(|| blobs.create(PLAN, first.clone(), &metadata)).await
    } else {
        // Blocks of another process that writes a plan here at the same time have other names.
        let (blocks, mut next, mut count) = (Uuid::new_v4(), first, 0);
        while !next.is_empty() {
            patiently(|| blobs.stage(PLAN, blocks, count, next.clone())).await.map_err(failed)?;
            count += 1;
            next = piece(&mut text).map_err(errors::spool_failed)?;
        }
        patiently(|| blobs.commit(PLAN, blocks, count, &metadata)).await
    };
    if created.map_err(failed)? {
        return Ok(WrittenPlan { digest, is_ours: true });
    }
    let facts = patiently(|| blobs.facts(PLAN)).await.map_err(failed)?;
    let digest_there = facts.and_then(|facts| facts.metadata.get(DIGEST).cloned());
    let there = digest_there.ok_or_else(|| {
        let what = format!("`{}/{PLAN}` in Blob storage was not written by fleetlogs", blobs.dir);
        JournalError::new(JournalErrorKind::Unsuitable, what)
    })?;
    Ok(WrittenPlan { is_ours: there == digest, digest: there })
}

/// Reads the plan.
pub(super) async fn read_plan(blobs: &RunBlobs) -> Result<StoredPlan, JournalError> {
    let (mut text, mut length) = (Hashed::new(spool()), 0);
    loop {
        let part = patiently(|| blobs.range(PLAN, length, PIECE)).await;
        let Some(part) = part.map_err(|failure| errors::failed(blobs, &failure))? else {
            let what = format!("there is no run `{}` in Blob storage: it has no plan.json", blobs.dir);
            return Err(JournalError::new(JournalErrorKind::NoPlan, what));
        };
        text.write_all(&part).map_err(errors::spool_failed)?;
        length += part.len() as u64;
        if part.len() < PIECE {
            break;
        }
    }
    let (mut text, digest) = text.finish();
    text.rewind().map_err(errors::spool_failed)?;
    let details: Box<dyn Spool> = Box::new(spool());
    let plan = Plan::from_json(text, details).map_err(|error| {
        let what = format!("the plan of `{}` in Blob storage cannot be read: {error}", blobs.dir);
        JournalError::new(JournalErrorKind::NoPlan, what)
    })?;
    Ok(StoredPlan { plan, digest })
}

/// The text of a plan, and its SHA-256 in hex.
fn text_of(plan: &Plan) -> io::Result<(SpooledTempFile, String)> {
    let mut text = BufWriter::with_capacity(64 << 10, Hashed::new(spool()));
    serde_json::to_writer(&mut text, plan)?;
    let (mut text, digest) = text.into_inner().map_err(io::IntoInnerError::into_error)?.finish();
    text.rewind()?;
    Ok((text, digest))
}

/// The next piece of a text; empty at its end.
fn piece(text: &mut SpooledTempFile) -> io::Result<Bytes> {
    let mut piece = Vec::new();
    text.take(PIECE as u64).read_to_end(&mut piece)?;
    Ok(piece.into())
}
