//! What `fleetlogs fetch` has to say at its end: a document, and the last lines on the terminal.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use fleetlogs_model::duration;
use fleetlogs_model::ids::{AccountName, NodeId, PoolId, RunId};
use serde::Serialize;

use crate::look::{Look, Style};
use crate::progress::FileCount;
use crate::text::{counted, for_terminal, listed, number, size};
use crate::width::shortened;

/// Columns of the labels on the left.
const LABEL: usize = 16;
/// Failures of one reason that are named.
const MOST_NAMED: usize = 3;
/// Reasons that are shown.
const MOST_REASONS: usize = 8;
/// Characters of a name.
const NAME_WIDTH: usize = 60;

/// How a fetch ended; as `--json` prints it.
#[derive(Clone, Debug, Serialize)]
pub struct Fetched {
    /// `fleetlogs.fetch/v1`.
    pub schema: &'static str,
    /// The run.
    pub run_id: RunId,
    /// The directory that has the directories of the accounts.
    pub directory: String,
    /// The file that lists the logs.
    pub list: String,
    /// Nodes that were selected.
    pub nodes: u64,
    /// Of these, nodes that have no directory in the container.
    pub nodes_without_directory: u64,
    /// Files of these nodes that are complete on disk.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Of these files, those that this command downloaded.
    pub downloaded_files: u64,
    /// Their bytes.
    pub downloaded_bytes: u64,
    /// Of the files, those of which storage has no MD5, so that only their size was checked.
    pub files_without_md5: u64,
    /// What could not be downloaded.
    pub failures: Vec<FetchFailure>,
    /// Failures that are not listed.
    pub more_failures: u64,
    /// Why the download ended before its last file; none if it did not.
    pub ended_early: Option<String>,
    /// Nodes whose files are missing for that reason.
    pub nodes_cut_off: u64,
    /// The command that downloads the rest; none if nothing is missing.
    pub next: Option<String>,
    /// What to do before that.
    #[serde(skip)]
    pub help: Option<String>,
    /// How long it took.
    #[serde(skip)]
    pub took: Duration,
    /// The exit code.
    #[serde(skip)]
    pub exit_code: u8,
}

/// A file that could not be downloaded, or all files of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FetchFailure {
    /// Its Batch account.
    pub account: AccountName,
    /// Its pool.
    pub pool: PoolId,
    /// The node.
    pub node: NodeId,
    /// The full name of the blob, verbatim; none if it is about the directory of the node.
    pub blob: Option<String>,
    /// Why.
    pub reason: String,
}

impl FetchFailure {
    /// What could not be downloaded, for a person.
    fn name(&self) -> String {
        let Self { account, pool, node, blob, .. } = self;
        let file = blob.as_deref().and_then(|blob| blob.rsplit('/').next());
        let name =
            format!("{account}/{pool}/{node}{}", file.map(|file| format!(" {file}")).unwrap_or_default());
        shortened(&for_terminal(&name), NAME_WIDTH).into_owned()
    }
}

impl Fetched {
    /// The last lines on the terminal, each ended by a newline.
    #[must_use]
    pub fn to_terminal(&self, look: &Look) -> String {
        let mut lines = Lines { look, lines: vec![] };
        self.verdict(&mut lines);
        if let Some(why) = &self.ended_early {
            let nodes = counted(self.nodes_cut_off, "node");
            lines.labelled("ended early", &format!("{}; files of {nodes} are missing", for_terminal(why)));
        }
        let downloaded = FileCount { files: self.downloaded_files, bytes: self.downloaded_bytes };
        lines.labelled("downloaded", &format!("{}, in {}", amount(downloaded), duration::text(self.took)));
        let files = self.files.saturating_sub(self.downloaded_files);
        if files > 0 {
            let bytes = self.bytes.saturating_sub(self.downloaded_bytes);
            lines.labelled("already there", &amount(FileCount { files, bytes }));
        }
        if self.files_without_md5 > 0 {
            let text = format!("storage has no MD5 of {}", counted(self.files_without_md5, "file"));
            lines.labelled("size only", &text);
        }
        if self.nodes_without_directory > 0 {
            let text = format!(
                "{} of {} have no directory in the container: they were not collected",
                number(self.nodes_without_directory),
                counted(self.nodes, "node")
            );
            lines.labelled("no logs", &text);
        }
        self.failures(&mut lines);
        lines.path("directory", &self.directory);
        lines.path("list", &self.list);
        if let Some(help) = &self.help {
            lines.labelled("next", &for_terminal(help));
        }
        if let Some(command) = &self.next {
            lines.command(command);
        }
        lines.lines.join("\n") + "\n"
    }

    fn verdict(&self, lines: &mut Lines<'_>) {
        let (verdict, style) = match self.exit_code {
            0 => ("COMPLETE", Style::GoodVerdict),
            3 => ("PARTIAL", Style::WarningVerdict),
            4 => ("NOTHING THERE", Style::BadVerdict),
            6 => ("INTERRUPTED", Style::WarningVerdict),
            _ => ("REFUSED", Style::BadVerdict),
        };
        lines.headed(style, verdict, &format!("  {}.", self.sentence()));
    }

    /// What is there now, in a sentence without its full stop.
    #[must_use]
    pub fn sentence(&self) -> String {
        let nodes = self.nodes - self.nodes_without_directory;
        let (files, nodes, size) = (counted(self.files, "file"), counted(nodes, "node"), size(self.bytes));
        match self.failures.len() as u64 + self.more_failures {
            0 if self.exit_code == 0 => format!("all logs of {nodes} are on disk: {files}, {size}"),
            0 => format!("{files} of {nodes} are on disk, {size}"),
            missing => {
                format!("{files} of {nodes} are on disk, {size}; {} could not be fetched", number(missing))
            }
        }
    }

    /// Failures, folded by their reasons, and the most frequent first.
    fn failures(&self, lines: &mut Lines<'_>) {
        let mut reasons: BTreeMap<(bool, &str), Vec<&FetchFailure>> = BTreeMap::new();
        for failure in &self.failures {
            reasons.entry((failure.blob.is_some(), &failure.reason)).or_default().push(failure);
        }
        let mut reasons: Vec<_> = reasons.into_iter().collect();
        reasons.sort_by_key(|(_, failures)| Reverse(failures.len()));
        let hidden = reasons.iter().skip(MOST_REASONS).map(|(_, failures)| failures.len() as u64);
        let hidden = hidden.sum::<u64>() + self.more_failures;
        let mut label = "not fetched";
        for ((is_file, reason), failures) in reasons.into_iter().take(MOST_REASONS) {
            let all = failures.len() as u64;
            let count = counted(all, if is_file { "file" } else { "node" });
            lines.labelled(label, &format!("{count}: {}", for_terminal(reason)));
            let names = failures.iter().map(|failure| failure.name().into());
            lines.below(&listed(names, MOST_NAMED, all));
            label = "";
        }
        if hidden > 0 {
            lines.labelled(label, &format!("and {} more", number(hidden)));
        }
    }
}

/// `12 files, 3.4 MiB`.
fn amount(FileCount { files, bytes }: FileCount) -> String {
    format!("{}, {}", counted(files, "file"), size(bytes))
}

/// The lines while they are written.
struct Lines<'a> {
    look: &'a Look,
    lines: Vec<String>,
}

impl Lines<'_> {
    /// Text behind a head in a style of its own, and wrapped.
    fn headed(&mut self, style: Style, head: &str, text: &str) {
        let hang = if head.starts_with(' ') { LABEL } else { 2 };
        let mut lines = self.look.wrapped(0, hang, &format!("{head}{text}"));
        if let Some(first) = lines.first_mut()
            && let Some(rest) = first.strip_prefix(head)
        {
            *first = format!("{}{rest}", self.look.paint(style, head));
        }
        self.lines.extend(lines);
    }

    fn labelled(&mut self, label: &str, text: &str) {
        self.headed(Style::Dim, &head(label), text);
    }

    /// More about what is above it.
    fn below(&mut self, text: &str) {
        self.lines.extend(self.look.wrapped(LABEL + 2, LABEL + 2, text));
    }

    /// A path; it is never split, so that it can be copied.
    fn path(&mut self, label: &str, path: &str) {
        let label = self.look.paint(Style::Dim, &head(label));
        self.lines.push(format!("{label}{}", for_terminal(path)));
    }

    /// A command that can be copied, on lines of its own.
    fn command(&mut self, command: &str) {
        // A line must not break inside quotes.
        let whole = Look { width: None, ..*self.look };
        let look = if command.contains('\'') { &whole } else { self.look };
        let lines = look.command(LABEL + 2, &for_terminal(command));
        self.lines.extend(lines.into_iter().map(|line| self.look.paint(Style::Bold, &line)));
    }
}

fn head(label: &str) -> String {
    format!("  {label:<width$}", width = LABEL - 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::START;

    fn fetched(exit_code: u8) -> Fetched {
        Fetched {
            schema: "fleetlogs.fetch/v1",
            run_id: RunId::new(START, 0x4f2a),
            directory: "runs/20261122T093000Z-4f2a/logs".into(),
            list: "runs/20261122T093000Z-4f2a/logs.jsonl".into(),
            nodes: 638,
            nodes_without_directory: 0,
            files: 2484,
            bytes: 1_288_490_188,
            downloaded_files: 2484,
            downloaded_bytes: 1_288_490_188,
            files_without_md5: 0,
            failures: vec![],
            more_failures: 0,
            ended_early: None,
            nodes_cut_off: 0,
            next: None,
            help: None,
            took: Duration::from_secs(95),
            exit_code,
        }
    }

    fn failure(node: &str, blob: Option<&str>, reason: &str) -> FetchFailure {
        FetchFailure {
            account: AccountName::new("contoso"),
            pool: PoolId::new("render-eu"),
            node: NodeId::new(node),
            blob: blob.map(Into::into),
            reason: reason.into(),
        }
    }

    #[test]
    fn all_that_there_is_fits_on_four_lines() {
        insta::assert_snapshot!(fetched(0).to_terminal(&Look { width: Some(80), ..Look::default() }), @r"
        COMPLETE  all logs of 638 nodes are on disk: 2,484 files, 1.1 GiB.
          downloaded    2,484 files, 1.1 GiB, in 1m 35s
          directory     runs/20261122T093000Z-4f2a/logs
          list          runs/20261122T093000Z-4f2a/logs.jsonl
        ");
    }

    #[test]
    fn what_is_missing_is_told_by_reason_with_the_command_that_downloads_it() {
        let gone = "404 BlobNotFound: The specified blob does not exist.";
        let partial = Fetched {
            nodes_without_directory: 17,
            downloaded_files: 2000,
            downloaded_bytes: 1_000_000_000,
            files_without_md5: 1,
            failures: vec![
                failure("tvm-1", Some("batch-2f/render-eu/tvm-1/agent.log"), gone),
                failure("tvm-2", Some("batch-2f/render-eu/tvm-2/\u{1b}[31m.log"), gone),
                failure("tvm-3", None, "its directory could not be listed: 503 ServerBusy: Busy."),
                failure("tvm-4", Some("batch-2f/render-eu/tvm-4/a"), gone),
                failure("tvm-5", Some("batch-2f/render-eu/tvm-5/a"), gone),
            ],
            next: Some("fleetlogs fetch runs/20261122T093000Z-4f2a --pool 'render-*'".into()),
            help: Some("download the rest; complete files stay as they are:".into()),
            ..fetched(3)
        };
        insta::assert_snapshot!(partial.to_terminal(&Look { width: Some(80), ..Look::default() }), @r"
        PARTIAL  2,484 files of 621 nodes are on disk, 1.1 GiB; 5 could not be fetched.
          downloaded    2,000 files, 953.6 MiB, in 1m 35s
          already there 484 files, 275.1 MiB
          size only     storage has no MD5 of 1 file
          no logs       17 of 638 nodes have no directory in the container: they were
                        not collected
          not fetched   4 files: 404 BlobNotFound: The specified blob does not exist.
                          contoso/render-eu/tvm-1 agent.log, contoso/render-eu/tvm-2
                          \u{1b}[31m.log, contoso/render-eu/tvm-4 a and 1 more
                        1 node: its directory could not be listed: 503 ServerBusy: Busy.
                          contoso/render-eu/tvm-3
          directory     runs/20261122T093000Z-4f2a/logs
          list          runs/20261122T093000Z-4f2a/logs.jsonl
          next          download the rest; complete files stay as they are:
                          fleetlogs fetch runs/20261122T093000Z-4f2a --pool 'render-*'
        ");
    }
}
