//! Progress during a run: bars on a terminal, a plain line now and then elsewhere. The caller chooses the form.
//!
//! The counts come from the ledger, which is passed with every group of events. So a resumed run starts where the
//! interrupted one ended, and `status`, which reads the journal, shows the same as the run itself.

mod bars;
mod download;
mod eta;
mod live;
mod mode;
mod notices;
mod one_line;
mod picture;
mod plain;
mod planning;
mod tally;
mod troubles;

pub use self::download::{DownloadProgress, FileCount, FileProgress};
pub use self::eta::TimeLeft;
pub use self::live::{Progress, StopNotice};
pub use self::mode::{ProgressClock, ProgressMode};
pub use self::planning::PlanningProgress;
