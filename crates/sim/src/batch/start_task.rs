//! The result of a node's start task.

use time::OffsetDateTime;

use super::filter::FilterValue;
use super::json::Json;
use crate::fleet::{NodeDates, NodeMoment, Pool};
use crate::scenario::NodeState;

/// `startTaskInfo`.
#[derive(Clone, Copy, Debug)]
pub(super) struct StartTaskInfo {
    start: OffsetDateTime,
    /// None while the task runs.
    end: Option<OffsetDateTime>,
    failed: bool,
}

impl StartTaskInfo {
    /// Only some nodes have one: those that booted after the pool was given a start task.
    pub(super) fn of(pool: &Pool, place: u32, node: NodeMoment, dates: NodeDates) -> Option<Self> {
        let failed = node.state == NodeState::StartTaskFailed;
        let running = node.state == NodeState::WaitingForStartTask;
        let up = !node.has_never_booted();
        let has = failed || running || (up && pool.node_roll(place).text("start task").happens(0.5));
        let end = (!running).then(|| dates.booted + time::Duration::milliseconds(4_321));
        has.then_some(Self { start: dates.booted, end, failed })
    }

    fn state(self) -> &'static str {
        if self.end.is_none() { "running" } else { "completed" }
    }

    fn result(self) -> &'static str {
        if self.failed { "failure" } else { "success" }
    }

    /// A task that failed says why; `told` is what it says of any task.
    pub(super) fn write(self, json: &mut Json, name: &str, told: Option<&str>) {
        json.object(name, |json| {
            json.text("state", self.state());
            json.time("startTime", self.start);
            if let Some(end) = self.end {
                json.time("endTime", end);
                json.number("exitCode", u32::from(self.failed));
                json.text("result", self.result());
            }
            if let Some(told) = told {
                json.object("failureInfo", |json| {
                    json.text("category", "usererror");
                    json.text("code", "FailureExitCode");
                    json.text("message", told);
                });
            }
            json.number("retryCount", 0_u32);
        });
    }

    /// The value of a property for a filter.
    pub(super) fn value(self, name: &str) -> Option<FilterValue<'static>> {
        match name {
            "state" => Some(FilterValue::text(self.state())),
            "startTime" => Some(FilterValue::Time(self.start)),
            "endTime" => self.end.map(FilterValue::Time),
            "exitCode" => self.end.map(|_| FilterValue::Number(i64::from(self.failed))),
            "result" => self.end.map(|_| FilterValue::text(self.result())),
            _ => None,
        }
    }
}
