//! What holds at the end of the month.

use fleetlogs_model::interval::{holes, union};

use super::*;
use crate::schedule::decide::PUNCTUAL;

/// Checks that
///
/// - each time of each timetable has exactly one row, or is counted in the row of a later one;
/// - each row has come to an end, and a run that ended has one directory that ended;
/// - a time that came while a process was there was run or skipped, and one that did not by the rule of catch-up;
/// - the windows of the runs that verified everything leave no gap.
///
/// That no runs overlap, and that a run is resumed in its directory, is checked while it happens.
pub(super) fn month(seen: &Seen, state: &Connection, start: OffsetDateTime) -> Result<String, StateError> {
    let mut counts: HashMap<&str, u32> = HashMap::new();
    for rule in rules() {
        let mut rows = runs::past_rows(state, &rule.name, None)?;
        rows.reverse();
        for row in &rows {
            *counts.entry(row.status.as_str()).or_default() += 1;
            ended(seen, row);
        }
        rows.retain(|row| Lane::of(row.snapshot.trigger) == Lane::Regular);
        if let Some(timetable) = &rule.timetable {
            let until = runs::considered(state, &rule.name)?.unwrap();
            each_time_once(&rows, timetable, start, until);
            catch_up(seen, &rule, &rows, until);
            no_hole(seen, &rule.name, start);
        }
    }
    let caught_up: u32 =
        state.query_row("SELECT count(*) FROM run WHERE cause = 'catch-up'", [], |row| row.get(0))?;
    let folded: u32 =
        state.query_row("SELECT count(*) FROM run WHERE reason LIKE '%before it%'", [], |row| row.get(0))?;
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_unstable();
    Ok(format!(
        "{} processes, {counts:?}, {caught_up} caught up, {folded} folded, {} resumed",
        seen.lives.len(),
        seen.resumed
    ))
}

fn ended(seen: &Seen, row: &PastRun) {
    let of_it = |dir: &&Dir| dir.snapshot == row.snapshot && dir.ended;
    let ends = seen.dirs.values().filter(of_it).count();
    match row.status {
        Status::Ended => {
            assert_eq!(ends, 1, "{row:#?}");
            let dir = &seen.dirs[row.dir.as_ref().unwrap()];
            assert!(
                dir.ended && dir.snapshot == row.snapshot && Some(dir.outcome) == row.outcome,
                "{row:#?}"
            );
        }
        Status::Skipped | Status::Missed => assert!(ends == 0 && row.reason.is_some(), "{row:#?}"),
        Status::Queued | Status::Started | Status::Lost => panic!("{row:#?}"),
    }
}

fn each_time_once(rows: &[PastRun], timetable: &Timetable, start: OffsetDateTime, until: OffsetDateTime) {
    let mut times = std::iter::successors(timetable.after(start), |tick| timetable.after(tick.due))
        .map(|tick| tick.due)
        .take_while(|due| *due <= until);
    for row in rows {
        let (before, from) = row.reason.as_deref().and_then(folded).unwrap_or((0, row.snapshot.due));
        let counted: Vec<_> = times.by_ref().take(before).collect();
        assert!(counted.first().is_none_or(|first| *first == from), "{row:#?}");
        assert_eq!(times.next(), Some(row.snapshot.due), "{row:#?}");
    }
    assert_eq!(times.next(), None);
}

/// Of "earlier times missed: 12, since 2026-03-29T01:00:00.000Z": how many, and since when.
fn folded(reason: &str) -> Option<(usize, OffsetDateTime)> {
    let (count, rest) = reason.split_once("earlier times missed: ")?.1.split_once(", since ")?;
    let from = crate::schedule::state::stored_time(rest).ok()?;
    Some((count.parse().ok()?, from))
}

/// For each process: what it found when it began, and what it did about that.
fn catch_up(seen: &Seen, rule: &Rule, rows: &[PastRun], until: OffsetDateTime) {
    for (at, (began, before)) in seen.lives.iter().enumerate() {
        let Some(before) = before.get(&rule.name) else { continue };
        let after = seen.lives.get(at + 1).map_or(until, |(_, after)| after[&rule.name]);
        let of_it: Vec<_> =
            rows.iter().filter(|row| row.snapshot.due > *before && row.snapshot.due <= after).collect();
        let (late, punctual): (Vec<_>, Vec<_>) =
            of_it.into_iter().partition(|row| *began - row.begins_at > PUNCTUAL);
        for row in punctual {
            // A moment passes between the start of a process and its first look.
            let close = (*began - row.begins_at - PUNCTUAL).abs() < time::Duration::SECOND;
            assert!(
                close || row.snapshot.trigger == Trigger::Cron && row.status != Status::Missed,
                "{row:#?}"
            );
        }
        late_ones(rule, *began, &late);
    }
}

fn late_ones(rule: &Rule, began: OffsetDateTime, late: &[&PastRun]) {
    let caught_up: Vec<_> = late.iter().filter(|row| row.snapshot.trigger == Trigger::CatchUp).collect();
    let fits = |row: &PastRun| began - row.begins_at <= rule.catch_up_within;
    for row in late {
        assert!(row.snapshot.trigger == Trigger::CatchUp || row.status == Status::Missed, "{row:#?}");
        assert!(row.snapshot.trigger != Trigger::CatchUp || fits(row), "{row:#?}");
    }
    let latest = late.last().filter(|row| fits(row));
    match rule.catch_up {
        CatchUp::No => assert!(caught_up.is_empty(), "{caught_up:#?}"),
        CatchUp::Each => {
            assert_eq!(caught_up.len(), late.iter().filter(|row| fits(row)).count(), "{late:#?}");
        }
        CatchUp::Once => match (latest, caught_up.as_slice()) {
            (None, []) => {}
            (Some(latest), [one]) => assert_eq!(latest.id, one.id),
            (Some(latest), []) => {
                assert!(latest.reason.as_deref().unwrap().ends_with("catches up"), "{latest:#?}");
            }
            _ => panic!("{late:#?}"),
        },
    }
}

/// Each run covers from where the last verified one ended to its own plan.
fn no_hole(seen: &Seen, snapshot: &SnapshotName, start: OffsetDateTime) {
    let verified: Vec<_> = seen
        .dirs
        .values()
        .filter(|dir| dir.snapshot.name == *snapshot && dir.ended && dir.outcome == RunOutcome::Complete)
        .map(|dir| dir.window)
        .collect();
    let until = verified.iter().map(|window| window.to).max().unwrap();
    let whole = Interval { from: start, to: until };
    assert_eq!(holes(whole, &union(verified), time::Duration::ZERO), [], "{snapshot}");
}
