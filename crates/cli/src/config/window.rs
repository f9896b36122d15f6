//! The table `[window]`: the time window of the logs to collect.

use std::time::Duration;

use fleetlogs_engine::clock::Clock;
use fleetlogs_engine::window::{Anchor, NodeWindows, SinceAnchor};
use fleetlogs_model::window::Window;
use time::OffsetDateTime;

use super::reader::{Table, Value};
use super::times::{self, Misread, written};

/// How far an offset from UTC can move a time into the future.
const LARGEST_OFFSET: time::Duration = time::Duration::hours(14);

/// At the turn of a year, the old year is written for the new one: a time within this long before now is meant.
const TURN_OF_YEAR: time::Duration = time::Duration::days(60);

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
            // A window that ends later would claim logs that nobody has written yet.
            Self::From(start, end) => Window { start, end: end.map_or(now, |end| end.min(now)) },
            Self::Since(ref windows) => windows.least(now),
        }
    }

    /// The window from one time to another, or up to the time of the plan.
    pub(crate) fn between(
        start: OffsetDateTime,
        end: Option<OffsetDateTime>,
        now: OffsetDateTime,
    ) -> Result<Self, Misread> {
        if end.is_some_and(|end| end <= start) {
            return Err(Misread::new("`end` is not after `start`", "swap them"));
        }
        if start >= now {
            return Err(in_the_future("`start`", start, now));
        }
        Ok(Self::From(start, end))
    }

    /// The window that starts this long before a time, and ends this long after it.
    pub(crate) fn around(
        moment: OffsetDateTime,
        before: Duration,
        after: Duration,
        now: OffsetDateTime,
    ) -> Result<Self, Misread> {
        if moment - before >= now {
            return Err(in_the_future("`around`", moment, now));
        }
        Ok(Self::From(moment - before, Some(moment + after)))
    }

    /// The end that was written, if the window of a plan ends before it: at the time of the plan.
    pub(crate) fn end_beyond(&self, planned: Window) -> Option<OffsetDateTime> {
        match *self {
            Self::From(start, Some(end)) if start == planned.start && end > planned.end => Some(end),
            _ => None,
        }
    }
}

/// Half an hour on each side of `around`.
pub(crate) const AROUND: Duration = Duration::from_secs(30 * 60);

/// A window of the future: nodes have no logs of it, and the service refuses it.
fn in_the_future(key: &str, moment: OffsetDateTime, now: OffsetDateTime) -> Misread {
    let message = format!("{key} is in the future: it is {} now, by this machine's clock", written(now));
    let mut years = [now.year(), now.year() - 1].into_iter().filter(|year| *year < moment.year());
    let in_year = |year: i32| {
        let other = moment.replace_year(year).ok().filter(|other| *other < now)?;
        (year == now.year() || now - other < TURN_OF_YEAR).then_some(other)
    };
    let help = if moment - now <= LARGEST_OFFSET {
        format!(
            "check the offset from UTC: `Z` is UTC itself; two hours east of it, write {}",
            written(moment).replace('Z', "+02:00")
        )
    } else if let Some(meant) = years.find_map(in_year) {
        format!("did you mean {}? `{}` has passed", meant.year(), written(meant))
    } else {
        "write a time that has passed, or set this machine's clock".into()
    };
    Misread::new(message, help)
}

/// The window, if it can be meant. Otherwise reports why not.
fn or_wrong(table: &Table<'_>, window: Result<WindowSpec, Misread>) -> Option<WindowSpec> {
    window.map_err(|Misread { message, help }| table.wrong(message, help)).ok()
}

/// How long a window around a moment is before and after it, as far as the table says so.
pub(super) fn around_sides(table: &Table<'_>) -> (Duration, Duration) {
    // Whether they are durations is told where the window is read.
    let side = |key| table.get(key).and_then(|value| times::duration(value.as_str()?).ok());
    (side("before").unwrap_or(AROUND), side("after").unwrap_or(AROUND))
}

pub(super) fn window(table: Table<'_>) -> Option<WindowSpec> {
    let now = Clock::System.now();
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
                (Some(start), Ok(end)) => or_wrong(&table, WindowSpec::between(start, end, now)),
                _ => None,
            }
        }
        (false, false, true) => {
            let side = |key| match table.get(key) {
                Some(value) => value.duration(),
                None => Some(AROUND),
            };
            let moment = table.require("around", "2026-11-22T09:00:00Z").and_then(|value| value.moment());
            match (moment, side("before"), side("after")) {
                (Some(moment), Some(before), Some(after)) => {
                    or_wrong(&table, WindowSpec::around(moment, before, after, now))
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

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    const NOW: OffsetDateTime = datetime!(2026-11-30 09:20 UTC);

    fn refused(start: OffsetDateTime) -> String {
        let Misread { message, help } = WindowSpec::between(start, None, NOW).unwrap_err();
        format!("{message} -> {help}")
    }

    #[test]
    fn a_window_of_the_future_is_refused_with_what_may_have_been_meant() {
        let now = "`start` is in the future: it is 2026-11-30T09:20:00Z now, by this machine's clock -> ";
        for (start, help) in [
            (datetime!(2027-11-29 10:00 UTC), "did you mean 2026? `2026-11-29T10:00:00Z` has passed"),
            (datetime!(2062-02-01 10:00 UTC), "did you mean 2026? `2026-02-01T10:00:00Z` has passed"),
            (
                datetime!(2026-11-30 10:00 UTC),
                "check the offset from UTC: `Z` is UTC itself; two hours east of it, write 2026-11-30T10:00:00+02:00",
            ),
            (datetime!(2026-12-24 10:00 UTC), "write a time that has passed, or set this machine's clock"),
            // No such day in 2026.
            (datetime!(2028-02-29 10:00 UTC), "write a time that has passed, or set this machine's clock"),
        ] {
            assert_eq!(refused(start), format!("{now}{help}"), "{start}");
        }
        let january = datetime!(2027-01-02 08:00 UTC);
        let old_year = WindowSpec::between(datetime!(2027-12-30 10:00 UTC), None, january).unwrap_err();
        assert_eq!(old_year.help, "did you mean 2026? `2026-12-30T10:00:00Z` has passed");
        let hour = Duration::from_secs(3600);
        let around = WindowSpec::around(datetime!(2027-11-29 10:00 UTC), hour, hour, NOW).unwrap_err();
        assert!(around.message.starts_with("`around` is in the future: "), "{around:?}");
        assert_eq!(around.help, "did you mean 2026? `2026-11-29T10:00:00Z` has passed");
    }

    #[test]
    fn a_window_ends_when_the_plan_is_made_at_the_latest() {
        let hour = Duration::from_secs(3600);
        let around = WindowSpec::around(NOW, hour, hour, NOW).unwrap();
        let planned = around.freeze(NOW);
        assert_eq!(planned, Window { start: NOW - hour, end: NOW });
        assert_eq!(around.end_beyond(planned), Some(NOW + hour));
        let past = WindowSpec::around(NOW - hour * 2, hour, hour, NOW).unwrap();
        assert_eq!(past.end_beyond(past.freeze(NOW)), None);
        assert_eq!(past.freeze(NOW).end, NOW - hour);
    }
}
