//! The errors that Batch reports for a node or a pool.

use std::borrow::Cow;

use fleetlogs_model::service::NodeError;
use serde::Deserialize;

use super::values::{clean_head, lenient_value};

/// Read in place: most errors are cut or left out.
#[derive(Deserialize)]
pub(super) struct NodeErrorAnswer<'a> {
    #[serde(borrow, default, deserialize_with = "lenient_value")]
    code: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "lenient_value")]
    message: Option<Cow<'a, str>>,
}

/// More errors of one node or pool, and longer texts, say nothing new.
pub(super) const MOST_ERRORS: usize = 10;
const LONGEST_ERROR: usize = 1000;

pub(super) fn node_errors(answers: Vec<NodeErrorAnswer<'_>>) -> Vec<NodeError> {
    let text = |text: Option<Cow<'_, str>>| clean_head(&text.unwrap_or_default(), LONGEST_ERROR);
    let error =
        |answer: NodeErrorAnswer<'_>| NodeError { code: text(answer.code), message: text(answer.message) };
    answers.into_iter().map(error).collect()
}
