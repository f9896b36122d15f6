//! The table `[window]`: the time window of the logs to collect.

use std::time::Duration;

use fleetlogs_engine::window::{Anchor, NodeWindows, SinceAnchor};
use fleetlogs_model::window::Window;
use time::OffsetDateTime;

use super::reader::{Table, Value};

/// A time window, before the plan fixes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum WindowSpec {
    /// This long, up to the time of the plan.
    Last(Duration),
    /// From one time to another, or up to the time of the plan.
    From(OffsetDateTime, Option<OffsetDateTime>),
    /// A window of its own for each node, up to the time of the plan.
    Since(NodeWindows),
}

impl WindowSpec {
    /// The window for a plan made now.
    pub(crate) fn freeze(&self, now: OffsetDateTime) -> Window {
        match *self {
            Self::Last(length) => Window { start: now - length, end: now },
            Self::From(start, end) => Window { start, end: end.unwrap_or(now) },
            Self::Since(ref windows) => windows.least(now),
        }
    }
}

pub(super) fn window(table: Table<'_>) -> Option<WindowSpec> {
    // The default has the form `last`, and must not mix with another form in the file.
    let form = |keys: &[&str]| keys.iter().any(|key| table.has(key));
    let (last, range, around) =
        (form(&["last"]), form(&["start", "end"]), form(&["around", "before", "after"]));
    if form(&["since", "margin", "longest"]) {
        return since(table, range || around);
    }
    let spec = match (last, range, around) {
        (_, false, false) => table.get("last").and_then(|value| value.duration()).map(WindowSpec::Last),
        (false, true, false) => {
            let start = table.require("start", "2026-11-22T08:00:00Z").and_then(|value| value.moment());
            let end = table.optional("end", Value::moment);
            match (start, end) {
                (Some(start), Ok(Some(end))) if end <= start => {
                    table.wrong("`end` is not after `start`", "swap them");
                    None
                }
                (Some(start), Ok(end)) => Some(WindowSpec::From(start, end)),
                _ => None,
            }
        }
        (false, false, true) => {
            let side = |key| match table.get(key) {
                Some(value) => value.duration(),
                None => Some(Duration::from_secs(30 * 60)),
            };
            let moment = table.require("around", "2026-11-22T09:00:00Z").and_then(|value| value.moment());
            match (moment, side("before"), side("after")) {
                (Some(moment), Some(before), Some(after)) => {
                    Some(WindowSpec::From(moment - before, Some(moment + after)))
                }
                _ => None,
            }
        }
        _ => {
            table.wrong(
                "the window has more than one form",
                "keep `last`, or `start`/`end`, or `around` with `before`/`after`",
            );
            None
        }
    };
    table.allow(&["last", "start", "end", "around", "before", "after", "since", "margin", "longest"]);
    table.finish();
    spec
}

/// A window of its own for each node.
fn since(table: Table<'_>, other_form: bool) -> Option<WindowSpec> {
    let anchor = table.require("since", "\"boot\"").and_then(|value| match value.string()? {
        "boot" => Some(Anchor::Boot),
        "allocation" => Some(Anchor::Allocation),
        "state" => Some(Anchor::State),
        "task" => Some(Anchor::Task),
        other => {
            let help = "use `boot`, `allocation`, `state` or `task`";
            value.wrong(format!("a window cannot begin at `{other}`"), Some(help.into()));
            None
        }
    });
    let length = |key, otherwise| match table.get(key) {
        Some(value) => value.duration(),
        None => Some(Duration::from_secs(otherwise)),
    };
    let (margin, longest) = (length("margin", 10 * 60), length("longest", 24 * 3600));
    if longest.is_some_and(|longest| longest < Duration::from_secs(60)) {
        table.wrong("`longest` is less than a minute", "the service accepts windows of a minute or more");
        return None;
    }
    let otherwise = table.get("last").and_then(|value| value.duration());
    if other_form {
        table.wrong(
            "the window has more than one form",
            "keep `start`/`end`, or `around` with `before`/`after`, or `since` with `margin`, `longest` and `last`",
        );
    }
    table.allow(&["start", "end", "around", "before", "after"]);
    table.finish();
    let (anchor, margin, longest, otherwise) = (anchor?, margin?, longest?, otherwise?);
    let windows = NodeWindows::Anchor(SinceAnchor { anchor, margin, longest, otherwise });
    (!other_form).then_some(WindowSpec::Since(windows))
}
