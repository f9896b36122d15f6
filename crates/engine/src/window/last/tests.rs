use std::time::Duration;

use fleetlogs_model::planned::PlannedNode;
use fleetlogs_model::window::Window;

use super::*;
use crate::testing::{NOW, plan_of};

const HOUR: Duration = Duration::from_secs(3600);
const MARGIN: Duration = Duration::from_secs(600);

fn since(reached: VerifiedUntil) -> SinceLast {
    SinceLast { margin: MARGIN, longest: HOUR * 48, otherwise: HOUR * 2, reached: reached.into() }
}

/// A series that began two days ago and verified node `n0`, as allocated then, up to an hour ago.
fn known() -> VerifiedUntil {
    let mut reached = VerifiedUntil::since(Some(NOW - HOUR * 48));
    reached.insert(("contoso", "Pool", "n0"), Some(NOW - HOUR * 100), NOW - HOUR);
    reached
}

fn node(allocated: Option<OffsetDateTime>) -> PlannedNode {
    let mut node = plan_of(1).nodes.details().next().unwrap().unwrap();
    node.evidence.allocation_time = allocated;
    node
}

fn length(since: &SinceLast, allocated: Option<OffsetDateTime>) -> time::Duration {
    let Window { start, end } = since.of(&node(allocated), NOW);
    assert_eq!(end, NOW);
    end - start
}

#[test]
fn a_known_node_goes_on_a_little_before_its_last_verified_end() {
    assert_eq!(length(&since(known()), Some(NOW - HOUR * 100)), HOUR + MARGIN);
}

#[test]
fn an_id_that_is_used_again_is_another_node() {
    let since = since(known());
    assert_eq!(length(&since, Some(NOW - HOUR * 3)), HOUR * 3 + MARGIN, "since its own allocation");
    assert_eq!(length(&since, None), HOUR * 48, "since the series began");
}

#[test]
fn what_was_before_the_series_is_not_asked_for() {
    let since = since(VerifiedUntil::since(Some(NOW - HOUR * 5)));
    assert_eq!(length(&since, Some(NOW - HOUR * 100)), HOUR * 5);
}

#[test]
fn the_first_run_of_a_series_has_the_window_of_the_config() {
    let since = since(VerifiedUntil::default());
    assert_eq!(length(&since, Some(NOW - HOUR)), HOUR * 2);
    assert_eq!(since.least(NOW), Window { start: NOW - HOUR * 2, end: NOW });
}

#[test]
fn no_window_is_longer_than_allowed_or_too_short_for_the_service() {
    let mut since = since(known());
    since.longest = HOUR / 2;
    assert_eq!(length(&since, Some(NOW - HOUR * 100)), HOUR / 2);
    assert_eq!(length(&since, Some(NOW + HOUR)), SHORTEST, "by a clock that is ahead");
    since.reached = Arc::default();
    assert_eq!(since.least(NOW).start, NOW - HOUR / 2, "the series begins where its first windows do");
}

#[test]
fn times_are_told_apart_as_the_state_writes_them() {
    let allocated = NOW - HOUR * 100 + Duration::from_micros(1900);
    let mut reached = known();
    reached.insert(("contoso", "Pool", "n0"), Some(allocated), NOW - HOUR * 2);
    let text = fleetlogs_model::timestamp::text(allocated);
    let read = OffsetDateTime::parse(&text, &time::format_description::well_known::Rfc3339).unwrap();
    assert_eq!(length(&since(reached.clone()), Some(read)), HOUR * 2 + MARGIN);
    assert_eq!(
        length(&since(reached), Some(NOW - HOUR * 100)),
        HOUR + MARGIN,
        "the other one is still known"
    );
}
