//! Names of the files that reports are written to, in the run directory.

/// The manifest: what the run can prove, node by node.
pub const MANIFEST_FILE: &str = "manifest.json";
/// The plan, frozen before the first call. The command that starts a run writes it.
pub(crate) const PLAN_FILE: &str = "plan.json";
/// A line for each planned node, for spreadsheets.
pub const NODES_FILE: &str = "nodes.csv";
/// The whole run on one page, for a browser.
pub const PAGE_FILE: &str = "report.html";
/// The summary in Markdown.
pub const SUMMARY_FILE: &str = "summary.md";
/// The text of a support request.
pub const TICKET_FILE: &str = "ticket.md";
/// What the last `fleetlogs verify` found, node by node.
pub const VERIFY_FILE: &str = "verify.json";
/// A line for each file that the last `fleetlogs verify` saw.
pub const FILES_FILE: &str = "files.csv";
/// The time ranges that the files cover, where `fleetlogs verify` read them.
pub const COVERAGE_FILE: &str = "coverage.json";
/// The downloaded logs, one JSON object a line.
pub const LOGS_FILE: &str = "logs.jsonl";
