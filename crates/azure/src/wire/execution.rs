//! When a task ran, and how it ended.

use serde::Deserialize;

use super::values::{WireTime, lenient_value};

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ExecutionInfo {
    #[serde(default)]
    pub(super) start_time: WireTime,
    #[serde(default)]
    pub(super) end_time: WireTime,
    #[serde(default, deserialize_with = "lenient_value")]
    pub(super) exit_code: Option<i64>,
}
