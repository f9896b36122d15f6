//! Turns the events of a run into things people read: the manifest and its tables, the page, the summary for a ticket
//! and for the terminal, progress during the run, and the plan as a table. Works offline, from a journal.

mod advice;
mod bundle;
mod cause;
#[cfg(unix)]
mod event_lines;
mod event_pipe;
mod events_file;
mod fetched;
mod files;
#[cfg(test)]
#[path = "../../../tests/formats/lock.rs"]
mod format_lock;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod history;
mod json_document;
mod log_message;
mod look;
mod manifest;
mod node_end;
mod nodes_csv;
mod outcome_look;
mod page;
mod partition_table;
mod phrase;
mod plan_table;
mod progress;
mod reports;
mod revisit;
mod run_facts;
mod run_list;
mod summary;
#[cfg(test)]
mod testing;
mod text;
mod ticket;
mod ticket_findings;
mod trouble;
mod uncounted;
mod width;

pub use advice::{Advice, Commands, Step, remedies_of_unlisted};
pub use bundle::{
    Bundle, BundleError, CheckedBundle, DistinctPaths, DownloadedLogs, ExtraFile, FinishedBundle, LogFile,
    NodeDirectory, Notes, blob_path, check_bundle, log_files, logs_dir, node_directories,
};
pub use cause::{Cause, Findings};
pub use event_lines::EventLines;
pub use events_file::{EVENT_SCHEMA, EventsFile};
pub use fetched::{FetchFailure, Fetched};
pub use files::{
    COVERAGE_FILE, FILES_FILE, LOGS_FILE, MANIFEST_FILE, NODES_FILE, PAGE_FILE, SUMMARY_FILE, TICKET_FILE,
    VERIFY_FILE,
};
pub use history::{History, HistoryError, RunHead, RunSummary, Series, Verdict, read_head, read_summary};
pub use log_message::{Severity, message_lines};
pub use look::{Look, is_dumb};
pub use manifest::{MANIFEST_SCHEMA, MANIFEST_VERSION};
pub use partition_table::{PartitionRow, partition_counts};
pub use plan_table::{PlanView, plan_table};
pub use progress::{
    DownloadProgress, FileCount, FileProgress, PlanningProgress, Progress, ProgressClock, ProgressMode,
    StopNotice, TimeLeft,
};
pub use reports::{ReportError, find, write_reports};
pub use revisit::{
    EarlierInventory, InventoryError, NodeFinding, RevisitFacts, RevisitReports, RevisitResult,
};
pub use run_facts::RunFacts;
pub use run_list::{ListedCounts, ListedRun, ListedState, run_lines};
pub use summary::{Examples, Summary, verdict_lines, verdict_sentence};
pub use text::{for_terminal, is_unprintable, json_for_terminal, lines_for_terminal, size};
pub use ticket::{Ticket, TicketDetails};
pub use uncounted::Uncounted;
