//! The store of a run in Blob storage: a directory of blobs that every machine reaches.
//!
//! `plan.json` is the frozen plan, `run.json` what is stored with the journal. The lease of `owner` decides which process
//! works on the run. `journal-0001.jsonl` and its successors are append blobs with one event per line, written under
//! a lease of the same process. Why it is safe: docs/design/blob-journal.md.

mod blobs;
mod errors;
#[cfg(test)]
mod fake_storage;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzed;
mod journal;
mod line;
mod listing;
mod plan_blob;
mod reader;
mod replay;
mod run_key;
mod runtime;
mod stored_run;
mod tenure;
#[cfg(test)]
mod tests;
mod trial;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fleetlogs_model::failure::Failure;
use fleetlogs_model::plan::Plan;
use fleetlogs_model::run_store::{
    HolderState, Journal, JournalError, JournalErrorKind, JournalReader, RunHold, RunHolder, RunMeta,
    RunStore, StoreFuture, StoredPlan,
};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use self::blobs::{RunBlobs, patiently};
use self::journal::{BLOCKS, BlobJournal, journal_blob, last_blob};
pub use self::listing::{RecordedRunName, recorded_runs};
use self::reader::BlobReader;
pub use self::run_key::{is_run_key, run_of_key};
use self::stored_run::RUN;
pub use self::stored_run::{StoredPartition, StoredRun};
use self::tenure::{KeptLeases, Leases};
pub use self::trial::{BlobTrial, try_out_container};
use crate::own_blobs::LeaseAnswer;
use crate::redact::one_line;
use crate::sas_source::SasSource;

const OWNER: &str = "owner";

/// A run in Blob storage. Clones share their SAS.
#[derive(Clone)]
pub struct BlobRunStore {
    blobs: Arc<RunBlobs>,
    lease: Duration,
    most_blocks: u32,
}

impl BlobRunStore {
    /// The run in the directory `dir` of a container, such as `fleetlogs/20261122T093000Z-4f2a`, which need not be there
    /// yet; sends nothing. `source` is of SAS with read, create, write and list permission. `lease` is 15 to 60 whole
    /// seconds: how long a process that was killed keeps others from the run.
    #[must_use]
    pub fn new(http: reqwest::Client, source: SasSource, dir: String, lease: Duration) -> Self {
        // A few calls fit into a lease.
        Self { blobs: Arc::new(RunBlobs::new(http, source, dir, lease / 4)), lease, most_blocks: BLOCKS }
    }

    /// The same with another number of blocks in a blob of the journal, at least 1.
    #[must_use]
    pub fn rolling_over_at(self, blocks: u32) -> Self {
        Self { most_blocks: blocks.max(1), ..self }
    }

    /// The directory of the run in its container.
    #[must_use]
    pub fn dir(&self) -> &str {
        &self.blobs.dir
    }

    /// A part of the run, which is a run of its own.
    #[must_use]
    pub fn partition(&self, name: &str) -> Self {
        let dir = format!("{}/p/{name}", self.blobs.dir);
        Self { blobs: Arc::new(self.blobs.in_dir(dir)), ..self.clone() }
    }

    /// Becomes the process that works on the run. With `create`, the blob whose lease decides that is made if needed.
    async fn take_over(&self, create: bool, what_for: HeldFor) -> Result<KeptLeases, JournalError> {
        let failed = |failure| errors::failed(&self.blobs, &failure);
        if create {
            patiently(|| self.blobs.create(OWNER, azure_core::Bytes::new(), &[])).await.map_err(failed)?;
        }
        match Leases::take(&self.blobs, OWNER, self.lease).await.map_err(failed)? {
            Ok(leases) => {
                let kept = KeptLeases::keep(leases);
                self.note_holder(kept.leases.id(), what_for).await;
                Ok(kept)
            }
            Err(LeaseAnswer::NoBlob) => Err(errors::missing(&self.blobs)),
            Err(LeaseAnswer::Ours | LeaseAnswer::Theirs) => {
                let note = self.owner_note().await.ok().flatten();
                let holder = note.as_ref().and_then(|note| note.lines().next());
                Err(errors::busy(&self.blobs, holder, self.lease.as_secs()))
            }
        }
    }

    /// Notes this process in `owner`, for people, and for the message that refuses others. It need not be there. Whoever
    /// only looks leaves the one that worked on the run in the line below.
    async fn note_holder(&self, lease: &str, what_for: HeldFor) {
        let mut note = format!("{}, since {}", this_process(), now_text());
        if what_for == HeldFor::Looking {
            let earlier = self.owner_note().await.ok().flatten();
            note += "\n";
            note += earlier.as_deref().and_then(|note| note.split('\n').next_back()).unwrap_or_default();
        }
        if let Err(failure) = self.blobs.write(OWNER, note.into(), Some(lease)).await {
            tracing::debug!(%failure, "the holder of the run is not noted");
        }
    }

    /// The text of `owner`: each line is safe to print. None if nobody was noted, or nobody has begun the run.
    async fn owner_note(&self) -> Result<Option<String>, Failure> {
        let text = patiently(|| self.blobs.range(OWNER, 0, 500)).await?.unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<_> = text.split('\n').map(|line| one_line(line, 200)).collect();
        Ok((!text.is_empty()).then(|| lines.join("\n")))
    }

    async fn find_holder(&self) -> Result<Option<RunHolder>, JournalError> {
        let failed = |failure| errors::failed(&self.blobs, &failure);
        let Some(owner) = patiently(|| self.blobs.facts(OWNER)).await.map_err(failed)? else {
            return Ok(None);
        };
        let note = self.owner_note().await.map_err(failed)?;
        let only_looks = note.as_deref().is_some_and(|note| note.contains('\n'));
        let worked =
            note.as_deref().and_then(|note| note.split('\n').next_back()).filter(|line| !line.is_empty());
        Ok(worked.map(|line| {
            let (who, since) = line.rsplit_once(", since ").unwrap_or((line, ""));
            RunHolder {
                who: who.to_owned(),
                since: OffsetDateTime::parse(since, &Rfc3339).ok(),
                state: match () {
                    () if only_looks => HolderState::Left,
                    () if owner.is_leased => HolderState::AtWork,
                    () if owner.lease_ran_out => HolderState::Silent,
                    () => HolderState::Left,
                },
            }
        }))
    }

    async fn create_run(&self, plan: &Plan, config: &str) -> Result<BlobJournal, JournalError> {
        self.lay_out_for_this_process(plan, config).await?;
        let kept = self.take_over(true, HeldFor::Work).await?;
        BlobJournal::create(self.blobs.clone(), kept, self.most_blocks).await
    }

    async fn resume_run(&self, accept_copy: bool) -> Result<BlobJournal, JournalError> {
        let failed = |failure| errors::failed(&self.blobs, &failure);
        let mut run = self.stored_run().await?;
        if !run.partitions.is_empty() {
            let what =
                format!("`{}` in Blob storage is shared out: workers resume its partitions", self.blobs.dir);
            return Err(JournalError::new(JournalErrorKind::Unsuitable, what));
        }
        let place = self.blobs.place().await.map_err(failed)?;
        if run.place != place && !accept_copy {
            let what = format!(
                "`{place}` in Blob storage is a copy of the run `{}`, and the original may still be at work",
                one_line(&run.place, 1000)
            );
            return Err(JournalError::new(JournalErrorKind::Copied, what));
        }
        let kept = self.take_over(run.awaits_worker, HeldFor::Work).await?;
        let may_begin = run.awaits_worker;
        if run.place != place {
            run.place = place;
            self.blobs.write(RUN, run.text()?, None).await.map_err(failed)?;
        }
        BlobJournal::resume(self.blobs.clone(), kept, self.most_blocks, may_begin).await
    }

    async fn open(&self) -> Result<BlobReader, JournalError> {
        let run = self.stored_run().await?;
        let meta = RunMeta { plan_digest: run.plan_sha256, config: run.config, ..RunMeta::default() };
        BlobReader::open(self.blobs.clone(), meta, run.awaits_worker).await
    }

    async fn keep_out_others(&self) -> Result<KeptLeases, JournalError> {
        match self.take_over(false, HeldFor::Looking).await {
            // Nobody has begun it yet.
            Err(error) if error.kind == JournalErrorKind::Missing => match self.stored_run().await {
                Ok(run) if run.awaits_worker => self.take_over(true, HeldFor::Looking).await,
                _ => Err(error),
            },
            answer => answer,
        }
    }

    /// When the last block was appended.
    async fn appended_at(&self) -> Result<Option<SystemTime>, JournalError> {
        let failed = |failure| errors::failed(&self.blobs, &failure);
        let mut number = last_blob(&self.blobs).await.map_err(failed)?;
        while number > 0 {
            let name = journal_blob(number);
            let facts = patiently(|| self.blobs.facts(&name)).await.map_err(failed)?;
            if let Some(facts) = facts.filter(|facts| facts.size > 0) {
                return Ok(facts.changed_at.map(SystemTime::from));
            }
            number -= 1;
        }
        Ok(None)
    }
}

impl RunStore for BlobRunStore {
    fn create<'a>(&'a self, plan: &'a Plan, config: &'a str) -> StoreFuture<'a, Box<dyn Journal>> {
        Box::pin(async { Ok(Box::new(self.create_run(plan, config).await?) as Box<dyn Journal>) })
    }

    fn append(&self, accept_copy: bool) -> StoreFuture<'_, Box<dyn Journal>> {
        Box::pin(async move { Ok(Box::new(self.resume_run(accept_copy).await?) as Box<dyn Journal>) })
    }

    fn plan(&self) -> StoreFuture<'_, StoredPlan> {
        Box::pin(plan_blob::read_plan(&self.blobs))
    }

    fn read(&self) -> StoreFuture<'_, Box<dyn JournalReader>> {
        Box::pin(async { Ok(Box::new(self.open().await?) as Box<dyn JournalReader>) })
    }

    fn hold(&self) -> StoreFuture<'_, RunHold> {
        Box::pin(async { Ok(Box::new(self.keep_out_others().await?) as RunHold) })
    }

    fn changed_at(&self) -> StoreFuture<'_, Option<SystemTime>> {
        Box::pin(self.appended_at())
    }

    fn is_held(&self) -> StoreFuture<'_, bool> {
        Box::pin(async {
            let owner = patiently(|| self.blobs.facts(OWNER)).await;
            let owner = owner.map_err(|failure| errors::failed(&self.blobs, &failure))?;
            Ok(owner.is_some_and(|owner| owner.is_leased))
        })
    }

    fn holder(&self) -> StoreFuture<'_, Option<RunHolder>> {
        Box::pin(self.find_holder())
    }
}

/// Why a process keeps others from a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HeldFor {
    /// It appends to the journal.
    Work,
    /// It reads.
    Looking,
}

impl fmt::Debug for BlobRunStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlobRunStore({}, <redacted>)", self.blobs.dir)
    }
}

/// This process, for a person who has to find it.
fn this_process() -> String {
    let host = std::env::var("HOSTNAME")
        .ok()
        .or_else(|| std::fs::read_to_string("/proc/sys/kernel/hostname").ok())
        .or_else(|| std::env::var("COMPUTERNAME").ok());
    let host = host.map(|host| one_line(host.trim(), 100)).filter(|host| !host.is_empty());
    let on = host.map(|host| format!(" on {host}")).unwrap_or_default();
    format!("process {}{on}", std::process::id())
}

fn now_text() -> String {
    fleetlogs_model::timestamp::text(OffsetDateTime::now_utc())
}
