//! Time ranges: what they cover together, and which gaps they leave. Pure.

use serde::Serialize;
use time::{Duration, OffsetDateTime};

use crate::window::Window;

/// A time range with both ends; if they are equal, it is a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Interval {
    /// Its first moment.
    #[serde(with = "crate::timestamp")]
    pub from: OffsetDateTime,
    /// Its last moment, never before the first.
    #[serde(with = "crate::timestamp")]
    pub to: OffsetDateTime,
}

impl Interval {
    /// The range between two moments, in either order.
    #[must_use]
    pub fn between(one: OffsetDateTime, other: OffsetDateTime) -> Self {
        Self { from: one.min(other), to: one.max(other) }
    }

    /// Its length; never negative.
    #[must_use]
    pub fn length(self) -> Duration {
        self.to - self.from
    }

    /// Its part within another range.
    #[must_use]
    pub fn within(self, other: Self) -> Option<Self> {
        let (from, to) = (self.from.max(other.from), self.to.min(other.to));
        (from <= to).then_some(Self { from, to })
    }
}

impl From<Window> for Interval {
    fn from(window: Window) -> Self {
        Self::between(window.start, window.end)
    }
}

/// What all ranges cover together: in order, and none touching the next.
#[must_use]
pub fn union(intervals: impl IntoIterator<Item = Interval>) -> Vec<Interval> {
    let mut all: Vec<Interval> = intervals.into_iter().collect();
    all.sort_unstable_by_key(|interval| interval.from);
    let mut merged: Vec<Interval> = Vec::with_capacity(all.len());
    for interval in all {
        match merged.last_mut() {
            Some(last) if interval.from <= last.to => last.to = last.to.max(interval.to),
            _ => merged.push(interval),
        }
    }
    merged
}

/// The gaps that a [`union`] leaves in a window. A gap no longer than `tolerance` does not count; but if nothing of
/// the window is covered, all of it is a gap.
#[must_use]
pub fn holes(window: Interval, covered: &[Interval], tolerance: Duration) -> Vec<Interval> {
    let mut inside = covered.iter().filter_map(|interval| interval.within(window)).peekable();
    if inside.peek().is_none() {
        return vec![window];
    }
    let mut holes = Vec::new();
    let mut open_from = window.from;
    let end = Interval { from: window.to, to: window.to };
    for interval in inside.chain([end]) {
        if interval.from - open_from > tolerance {
            holes.push(Interval { from: open_from, to: interval.from });
        }
        open_from = open_from.max(interval.to);
    }
    holes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use time::macros::datetime;

    use super::*;

    const START: OffsetDateTime = datetime!(2026-11-22 09:00 UTC);
    const TOLERANCE: Duration = Duration::minutes(5);

    fn at(minutes: i64) -> OffsetDateTime {
        START + Duration::minutes(minutes)
    }

    fn interval((from, to): (i64, i64)) -> Interval {
        Interval::between(at(from), at(to))
    }

    fn open(window: (i64, i64), covered: &[(i64, i64)]) -> Vec<(i64, i64)> {
        let covered = union(covered.iter().copied().map(interval));
        let minutes = |moment: OffsetDateTime| (moment - START).whole_minutes();
        holes(interval(window), &covered, TOLERANCE)
            .into_iter()
            .map(|hole| (minutes(hole.from), minutes(hole.to)))
            .collect()
    }

    #[test]
    fn what_files_leave_open_is_named() {
        assert_eq!(open((0, 120), &[(0, 50), (70, 120)]), [(50, 70)]);
        assert_eq!(open((0, 120), &[(30, 60)]), [(0, 30), (60, 120)]);
        assert_eq!(open((0, 120), &[(-60, 40), (30, 180)]), []);
        assert_eq!(open((0, 120), &[]), [(0, 120)]);
    }

    #[test]
    fn a_few_minutes_are_no_hole() {
        assert_eq!(open((0, 120), &[(5, 55), (60, 115)]), []);
        assert_eq!(open((0, 120), &[(6, 55), (61, 114)]), [(0, 6), (55, 61), (114, 120)]);
    }

    #[test]
    fn a_short_window_of_which_nothing_is_covered_is_all_hole() {
        assert_eq!(open((0, 3), &[(-60, -1), (4, 60)]), [(0, 3)]);
        assert_eq!(open((0, 3), &[(1, 1)]), []);
    }

    proptest! {
        #[test]
        fn a_union_holds_each_part_and_nothing_else(parts in prop::collection::vec((-200_i64..200, -200_i64..200), 0..12)) {
            let parts: Vec<Interval> = parts.into_iter().map(interval).collect();
            let merged = union(parts.iter().copied());
            for pair in merged.windows(2) {
                prop_assert!(pair[0].to < pair[1].from, "in order and apart: {pair:?}");
            }
            for part in &parts {
                prop_assert!(merged.iter().any(|whole| part.within(*whole) == Some(*part)));
            }
            for minute in -200..200 {
                let moment = interval((minute, minute));
                let is_in = |all: &[Interval]| all.iter().any(|one| moment.within(*one).is_some());
                prop_assert_eq!(is_in(&merged), is_in(&parts));
            }
        }

        #[test]
        fn the_order_of_the_parts_does_not_matter(parts in prop::collection::vec((-200_i64..200, -200_i64..200), 0..12)) {
            let forward = union(parts.iter().copied().map(interval));
            let backward = union(parts.iter().rev().copied().map(interval));
            prop_assert_eq!(forward, backward);
        }

        #[test]
        fn holes_are_open_inside_the_window_and_longer_than_the_tolerance(
            window in (-100_i64..100, 0_i64..100),
            parts in prop::collection::vec((-200_i64..200, -200_i64..200), 0..12),
        ) {
            let window = interval((window.0, window.0 + window.1));
            let covered = union(parts.into_iter().map(interval));
            let open = holes(window, &covered, TOLERANCE);
            let nothing = covered.iter().all(|part| part.within(window).is_none());
            for hole in &open {
                prop_assert_eq!(hole.within(window), Some(*hole));
                prop_assert!(nothing || hole.length() > TOLERANCE);
                // Only its ends may be covered.
                for part in &covered {
                    prop_assert!(part.within(*hole).is_none_or(|both| both.length().is_zero()));
                }
            }
            // What is neither covered nor in a gap is within the tolerance.
            let known = union(covered.iter().copied().chain(open));
            let rest: Duration = holes(window, &known, Duration::ZERO).iter().map(|rest| rest.length()).sum();
            let parts = i32::try_from(covered.len()).unwrap() + 1;
            prop_assert!(rest <= TOLERANCE * parts);
        }
    }
}
