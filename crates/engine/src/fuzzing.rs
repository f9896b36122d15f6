//! What fuzzing calls here: cron expressions and names of time zones. It panics where their reader breaks a promise.
//!
//! How it is run, and what it promises: docs/design/fuzzing.md.

use std::time::Duration;

use fleetlogs_model::ids::SnapshotName;
use time::OffsetDateTime;
use time::macros::datetime;

use crate::schedule::timetable::{Timetable, local};

#[cfg(test)]
#[path = "../../../tests/fuzz/short.rs"]
mod short;

/// A name, and a function that panics where a promise is broken.
pub type FuzzTarget = (&'static str, fn(&[u8]));

/// The names of the targets, which are also those of their corpora.
pub const TARGETS: [FuzzTarget; 1] = [("cron", cron)];

/// An ordinary moment, and some around the changes of clocks.
const MOMENTS: [OffsetDateTime; 4] = [
    datetime!(2026-11-22 09:30:00 UTC),
    datetime!(2026-03-29 00:59:59 UTC),
    datetime!(2026-10-25 00:30:00 UTC),
    datetime!(2028-02-29 23:59:59 UTC),
];

/// An expression, and in the next line a time zone. The times of a timetable come in order, none is left out on the way
/// back, and no delay reaches the next.
fn cron(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (expression, zone) = text.split_once('\n').unwrap_or((text, "Europe/Berlin"));
    let _ = local(MOMENTS[0], zone);
    let jitter = Duration::from_secs(data.len() as u64 * 60);
    let timetable = match Timetable::new(&SnapshotName::new("nightly"), expression, zone, jitter) {
        Ok(timetable) => timetable,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    for moment in MOMENTS {
        let Some(next) = timetable.after(moment) else { continue };
        assert!(moment < next.due && next.due <= next.begins_at, "{moment}: {next:?}");
        if let Some(second) = timetable.after(next.due) {
            assert!(next.due < second.due && next.begins_at < second.due, "{next:?} {second:?}");
        }
        let Some(last) = timetable.before(moment) else { continue };
        assert!(last.due <= moment, "{moment}: {last:?}");
        assert_eq!(timetable.after(last.due).map(|tick| tick.due), Some(next.due), "{moment}: {last:?}");
    }
}
