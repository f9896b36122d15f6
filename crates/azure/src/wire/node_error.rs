//! The errors that Batch reports for a node or a pool.

use fleetlogs_model::service::NodeError;
use serde::Deserialize;

#[derive(Deserialize)]
pub(super) struct NodeErrorAnswer {
    code: Option<String>,
    message: Option<String>,
}

/// More errors of one node or pool, and longer texts, say nothing new.
const MOST_ERRORS: usize = 10;
const LONGEST_ERROR: usize = 1000;

pub(super) fn node_errors(answers: Vec<NodeErrorAnswer>) -> Vec<NodeError> {
    let text = |text: Option<String>| {
        let mut text = text.unwrap_or_default();
        if let Some((end, _)) = text.char_indices().nth(LONGEST_ERROR) {
            text.truncate(end);
        }
        text
    };
    let error =
        |answer: NodeErrorAnswer| NodeError { code: text(answer.code), message: text(answer.message) };
    answers.into_iter().take(MOST_ERRORS).map(error).collect()
}
