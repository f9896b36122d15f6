//! `nodes.csv`: a line per planned node, for spreadsheets. It has a part of what the manifest has.

use std::io::Write;

use fleetlogs_model::history::Attempt;
use fleetlogs_model::timestamp;

use crate::node_end::NodeEnd;
use crate::text::for_spreadsheet;

const COLUMNS: [&str; 15] = [
    "account",
    "pool",
    "node",
    "outcome",
    "reason",
    "virtual_directory",
    "files_promised",
    "files_arrived",
    "bytes",
    "attempts",
    "last_status",
    "last_code",
    "request_id",
    "client_request_id",
    "sent_at",
];

/// The table under construction.
pub(crate) struct NodesCsv<W: Write>(csv::Writer<W>);

impl<W: Write> NodesCsv<W> {
    /// Opens the table.
    pub(crate) fn begin(writer: W) -> csv::Result<Self> {
        let mut csv = csv::Writer::from_writer(writer);
        csv.write_record(COLUMNS)?;
        Ok(Self(csv))
    }

    /// Writes a node.
    ///
    /// Cells with text from outside are escaped so that a spreadsheet does not run them as formulas.
    pub(crate) fn node(&mut self, end: &NodeEnd<'_>) -> csv::Result<()> {
        let NodeEnd { node, history, outcome, reason, .. } = end;
        let last = end.last_attempt();
        let cells: [&str; COLUMNS.len()] = [
            &for_spreadsheet(node.account().as_str()),
            &for_spreadsheet(node.pool().as_str()),
            &for_spreadsheet(node.node.as_str()),
            outcome.as_str(),
            &for_spreadsheet(reason.as_deref().unwrap_or_default()),
            &for_spreadsheet(history.directory.as_deref().unwrap_or_default()),
            &known(history.files_promised),
            &known(history.files_arrived),
            &known(history.bytes),
            &history.attempts.len().to_string(),
            &known(last.and_then(|attempt| attempt.status)),
            &for_spreadsheet(last.and_then(|attempt| attempt.code.as_deref()).unwrap_or_default()),
            &for_spreadsheet(last.and_then(|attempt| attempt.request_id.as_deref()).unwrap_or_default()),
            &known(last.map(|attempt| attempt.client_request_id)),
            &last.map(sent_at).unwrap_or_default(),
        ];
        self.0.write_record(cells)
    }

    /// Hands the writer back, with everything in it.
    pub(crate) fn end(self) -> std::io::Result<W> {
        self.0.into_inner().map_err(csv::IntoInnerError::into_error)
    }
}

fn known<T: ToString>(value: Option<T>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

fn sent_at(attempt: &Attempt) -> String {
    timestamp::text(attempt.sent_at)
}
