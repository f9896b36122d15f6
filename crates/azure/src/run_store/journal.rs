//! The journal that this process appends to: append blobs, each written under a lease.
//!
//! Every process begins a blob of its own. Whoever had the run before may still create or append to the blob that it
//! knows of; it cannot get past one that it does not know of. A block is a group of events. Each block names the position
//! that it belongs at, so that a block that is sent twice is there once.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use azure_core::Bytes;
use fleetlogs_model::event::Recorded;
use fleetlogs_model::failure::Failure;
use fleetlogs_model::run_store::{Journal, JournalError, JournalErrorKind, Tenure};
use tokio::time::{Instant, sleep};

use super::blobs::{RunBlobs, patiently};
use super::errors;
use super::line::{read_line, write_line};
use super::runtime::wait_for;
use super::tenure::{Kept, KeptLeases, Leases};
use crate::own_blobs::{LeaseAnswer, lost_its_lease};

/// Blocks in a blob before the next one is begun. Storage allows 50,000.
pub(super) const BLOCKS: u32 = 40_000;

/// How long a block may take to become durable. Until then calls wait for it; after that the journal has failed.
const PATIENCE: Duration = Duration::from_secs(5 * 60);

/// Between two attempts to append a block.
const PAUSE: Duration = Duration::from_secs(1);

/// How long events wait for others. An account with 20 calls per second has 60 events per second: some 7 in a block.
const LINGER: Duration = Duration::from_millis(100);

/// Metadata of a blob of the journal: the id of the leases of the process that began it.
const HOLDER: &str = "holder";

/// The end of a blob that is searched for its last line. Most lines have some hundred bytes.
const TAIL: u64 = 64 << 10;

/// The name of a blob of the journal, counted from 1.
pub(super) fn journal_blob(number: u32) -> String {
    format!("journal-{number:04}.jsonl")
}

/// The number of the last blob of the journal; 0 if there is none.
pub(super) async fn last_blob(blobs: &RunBlobs) -> Result<u32, Failure> {
    let mut number = 0;
    loop {
        let next = journal_blob(number + 1);
        if patiently(|| blobs.facts(&next)).await?.is_none() {
            return Ok(number);
        }
        number += 1;
    }
}

/// The journal of a run, under the leases of this process.
pub(super) struct BlobJournal {
    /// None after a failure.
    writer: Option<Writer>,
    kept: KeptLeases,
}

struct Writer {
    blobs: Arc<RunBlobs>,
    leases: Arc<Leases>,
    /// Of the current blob.
    number: u32,
    /// Its size.
    position: u64,
    /// How many blocks it has.
    blocks: u32,
    most_blocks: u32,
    /// Number of the last event.
    seq: u64,
}

impl BlobJournal {
    /// Begins the journal of a new run.
    pub(super) async fn create(
        blobs: Arc<RunBlobs>,
        kept: KeptLeases,
        most_blocks: u32,
    ) -> Result<Self, JournalError> {
        let (leases, number) = (kept.leases.clone(), 1);
        let mut writer = Writer { blobs, leases, number, position: 0, blocks: 0, most_blocks, seq: 0 };
        if !writer.begin_blob(number).await? {
            let what = format!("`{}` in Blob storage already has a journal", writer.blobs.dir);
            return Err(JournalError::new(JournalErrorKind::Unsuitable, what));
        }
        Ok(Self { writer: Some(writer), kept })
    }

    /// Continues the journal of another process. With `may_begin`, there need not be one yet.
    pub(super) async fn resume(
        blobs: Arc<RunBlobs>,
        kept: KeptLeases,
        most_blocks: u32,
        may_begin: bool,
    ) -> Result<Self, JournalError> {
        let leases = kept.leases.clone();
        let failed = |failure| errors::failed(&blobs, &failure);
        let mut number = last_blob(&blobs).await.map_err(failed)?;
        if number == 0 {
            return if may_begin {
                Self::create(blobs, kept, most_blocks).await
            } else {
                Err(errors::missing(&blobs))
            };
        }
        let mut writer =
            Writer { blobs: blobs.clone(), leases, number, position: 0, blocks: 0, most_blocks, seq: 0 };
        loop {
            let last = journal_blob(number);
            // From here on nobody else appends to it, and it can be read to its end.
            writer.leases.extend_to(&last).await.map_err(failed)?;
            writer.seq = last_seq(&blobs, number).await?;
            let is_begun = writer.begin_blob(number + 1).await?;
            writer.leases.leave(&last).await;
            number += 1;
            if is_begun {
                return Ok(Self { writer: Some(writer), kept });
            }
            // The other process had just begun it.
        }
    }
}

impl Writer {
    /// Begins a blob, for this process only; false if another process has begun it.
    async fn begin_blob(&mut self, number: u32) -> Result<bool, JournalError> {
        let name = journal_blob(number);
        let failed = |failure| errors::failed(&self.blobs, &failure);
        let metadata = [(HOLDER, self.leases.id())];
        if !patiently(|| self.blobs.create_log(&name, &metadata)).await.map_err(failed)? {
            // An attempt whose answer was lost?
            let facts = patiently(|| self.blobs.facts(&name)).await.map_err(failed)?;
            let holder = facts.as_ref().and_then(|facts| facts.metadata.get(HOLDER));
            if holder.map(String::as_str) != Some(self.leases.id()) {
                return Ok(false);
            }
        }
        if self.leases.extend_to(&name).await.map_err(failed)? != LeaseAnswer::Ours {
            return Err(errors::taken_over(&self.blobs));
        }
        (self.number, self.position, self.blocks) = (number, 0, 0);
        Ok(true)
    }

    async fn roll_over(&mut self) -> Result<(), JournalError> {
        let full = journal_blob(self.number);
        if !self.begin_blob(self.number + 1).await? {
            return Err(errors::taken_over(&self.blobs));
        }
        self.leases.leave(&full).await;
        Ok(())
    }

    /// Makes a block durable.
    async fn append(&mut self, block: Bytes) -> Result<(), JournalError> {
        if self.blocks >= self.most_blocks {
            self.roll_over().await?;
        }
        let begun = Instant::now();
        // Whether storage may have the block already.
        let mut is_unclear = false;
        loop {
            let failure = match self.attempt(&block, &mut is_unclear).await {
                Ok(true) => break,
                Ok(false) => return Err(errors::taken_over(&self.blobs)),
                Err(failure) => failure,
            };
            if failure.code.as_deref() == Some("BlockCountExceedsLimit") {
                self.roll_over().await?;
                continue;
            }
            if lost_its_lease(&failure) {
                // It may only be over because storage could not be reached for so long.
                match self.leases.renew().await {
                    Ok(Kept::Yes) => {}
                    Ok(Kept::Lost) => return Err(errors::taken_over(&self.blobs)),
                    Err(failure) if failure.class.is_passing() => {}
                    Err(failure) => return Err(errors::failed(&self.blobs, &failure)),
                }
            } else if !failure.class.is_passing() {
                return Err(errors::failed(&self.blobs, &failure));
            }
            if begun.elapsed() > PATIENCE {
                return Err(errors::failed(&self.blobs, &failure));
            }
            tracing::debug!(%failure, "a block of the journal is sent again");
            sleep(failure.retry_after().unwrap_or_default().clamp(PAUSE, PAUSE * 10)).await;
        }
        self.position += block.len() as u64;
        self.blocks += 1;
        Ok(())
    }

    /// Sends the block, after a look whether an earlier attempt brought it there. False if something else is in its
    /// place.
    async fn attempt(&self, block: &Bytes, is_unclear: &mut bool) -> Result<bool, Failure> {
        let name = journal_blob(self.number);
        if *is_unclear {
            // One byte more than the block: nothing may follow it.
            let there = self.blobs.range(&name, self.position, block.len() + 1).await?;
            match there {
                Some(there) if there.is_empty() => *is_unclear = false,
                there => return Ok(there.is_some_and(|there| there == block[..])),
            }
        }
        let sent = self.blobs.append(&name, self.leases.id(), self.position, block.clone()).await;
        let Err(failure) = sent else { return Ok(true) };
        let is_refused = failure.status.is_some_and(|status| (400..500).contains(&status) && status != 408);
        if failure.code.as_deref() == Some("AppendPositionConditionNotMet") {
            // An earlier attempt may have arrived late.
            let there = self.blobs.range(&name, self.position, block.len() + 1).await;
            *is_unclear = there.is_err();
            return there.map(|there| there.is_some_and(|there| there == block[..]));
        }
        *is_unclear |= !is_refused && failure.class != fleetlogs_model::failure::FailureClass::NotSent;
        Err(failure)
    }
}

impl Journal for BlobJournal {
    fn append(&mut self, events: &[Recorded]) -> Result<(), JournalError> {
        let failed = |what: &str| JournalError::new(JournalErrorKind::Failed, what);
        let mut writer = self.writer.take().ok_or_else(|| failed("the journal has failed before"))?;
        let mut block = Vec::new();
        for event in events {
            writer.seq += 1;
            write_line(writer.seq, event, &mut block)
                .map_err(|error| failed(&format!("an event cannot be written: {error}")))?;
        }
        let appended = wait_for(self.kept.runtime(), async move {
            let appended = writer.append(block.into()).await;
            (writer, appended)
        });
        let (writer, appended) = appended.ok_or_else(|| failed("the process ends"))?;
        appended?;
        self.writer = Some(writer);
        Ok(())
    }

    fn linger(&self) -> Duration {
        LINGER
    }

    fn tenure(&self) -> Option<Arc<dyn Tenure>> {
        Some(self.kept.leases.clone())
    }
}

impl fmt::Debug for BlobJournal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlobJournal({:?})", self.kept)
    }
}

/// The last line that has its end, in the end of a blob, or in a whole one; none if no line begins and ends in there.
pub(super) fn last_whole_line(tail: &[u8], is_whole: bool) -> Option<&[u8]> {
    let end = tail.iter().rposition(|byte| *byte == b'\n').unwrap_or_default();
    let lines = &tail[..end];
    let begins = lines.iter().rposition(|byte| *byte == b'\n').map(|at| at + 1);
    begins.or((is_whole && end > 0).then_some(0)).map(|begins| &lines[begins..])
}

/// The number of the last event in the first `number` blobs. An unfinished line at the end of a blob does not count.
async fn last_seq(blobs: &RunBlobs, mut number: u32) -> Result<u64, JournalError> {
    let failed = |failure| errors::failed(blobs, &failure);
    while number > 0 {
        let name = journal_blob(number);
        let facts = patiently(|| blobs.facts(&name)).await.map_err(failed)?;
        let size = facts.ok_or_else(|| errors::damaged(blobs, &name, "it is missing"))?.size;
        let mut length = TAIL.min(size);
        while length > 0 {
            let wanted = usize::try_from(length).unwrap_or(usize::MAX);
            let tail = patiently(|| blobs.range(&name, size - length, wanted)).await.map_err(failed)?;
            match last_whole_line(&tail.unwrap_or_default(), length == size) {
                Some(line) => {
                    return read_line(line)
                        .map(|line| line.seq)
                        .map_err(|what| errors::damaged(blobs, &name, &format!("its last line: {what}")));
                }
                None if length == size => break,
                None => length = (length * 16).min(size),
            }
        }
        number -= 1;
    }
    Ok(0)
}
