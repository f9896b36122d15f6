//! The files that deliveries write: their names, their contents, and their entries in the ledger.

use crate::blob::{Content, Log};
use crate::roll::Roll;
use crate::scenario::FileContent;
use crate::world::World;

use super::queue::{Delivery, DeliveryStep};

/// A file ready to be written: its name and its content.
pub(crate) struct LogFile {
    pub(crate) name: String,
    pub(crate) content: Content,
}

impl Delivery {
    pub(super) fn file(&self, world: &World) -> LogFile {
        let upload = &self.upload;
        let account = &world.accounts[usize::from(upload.account)];
        let pool = &account.pools[usize::from(upload.node.pool)].scenario;
        let roll = upload.roll.text("file").number(u64::from(self.file));
        let size = self.size(roll.text("size").between(pool.file_size.min.0, pool.file_size.max.0));
        let name = if self.step == DeliveryStep::Stranger {
            // Some of them are where a list of all uploads of the account includes them.
            let folder =
                if self.file.is_multiple_of(2) { "somebody-else" } else { account.directory.as_str() };
            format!("{folder}/reports/{:016x}.csv", roll.text("stranger").bits())
        } else {
            format!("{}/{}", upload.name, file_name(roll, self.file))
        };
        LogFile { name, content: Content::Log(self.log(pool.content, roll.bits(), size, world)) }
    }

    /// No line is later than the moment when the file was written.
    fn log(&self, content: FileContent, seed: u64, size: u64, world: &World) -> Log {
        let written = world.clock.date_at(world.clock.elapsed());
        let (from, to) = self.upload.window;
        let to = to.unwrap_or(written).min(written);
        match content {
            FileContent::Lines => Log::lines(seed, size, from, to),
            FileContent::Opaque => Log::opaque(seed, size),
            FileContent::Gap => {
                let span = to - from;
                if self.file.is_multiple_of(2) {
                    Log::lines(seed, size, from, from + span * 0.4)
                } else {
                    Log::lines(seed, size, from + span * 0.6, to)
                }
            }
        }
    }

    fn size(&self, whole: u64) -> u64 {
        if self.step == DeliveryStep::Half { whole / 2 } else { whole }
    }

    /// Records the delivery in the ledger. A file of another writer does not count for the node.
    pub(super) fn finish(&self, world: &World, file: &LogFile, put: bool) {
        if !put || self.step == DeliveryStep::Stranger {
            return;
        }
        let size = file.content.len();
        world.accounts[usize::from(self.upload.account)].ledger.node(self.upload.node, |record| {
            let Some(directory) = record.directories.get_mut(self.upload.directory) else { return };
            if self.step == DeliveryStep::Rest {
                directory.bytes += size - size / 2;
            } else {
                directory.files_written += 1;
                directory.bytes += size;
            }
        });
    }
}

/// Plausible but invented: the real names are not documented. Some files are in a subdirectory.
fn file_name(roll: Roll, file: u32) -> String {
    const STEMS: [&str; 6] = ["agent", "heartbeat", "scheduler", "storage", "startup", "update"];
    let stem = STEMS[file as usize % STEMS.len()];
    let folder = if roll.text("folder").happens(0.125) { "archive/" } else { "" };
    format!("{folder}{stem}-{file:03}.{:08x}.log", roll.text("name").bits() >> 32)
}
