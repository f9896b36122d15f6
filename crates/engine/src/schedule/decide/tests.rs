use fleetlogs_model::ids::SnapshotName;
use time::macros::datetime;

use super::*;

const START: OffsetDateTime = datetime!(2026-11-22 09:30 UTC);

fn rule(cron: &str, overlap: Overlap, catch_up: CatchUp, within: time::Duration) -> Rule {
    let name = SnapshotName::new("hourly");
    let timetable = Timetable::new(&name, cron, "UTC", Duration::ZERO).unwrap();
    Rule { name, timetable: Some(timetable), overlap, catch_up, catch_up_within: within.try_into().unwrap() }
}

fn hourly(overlap: Overlap, catch_up: CatchUp) -> Rule {
    rule("0 * * * *", overlap, catch_up, time::Duration::hours(3))
}

/// The hour of each row, and its fate in a letter: queued for its time or to catch up, skipped, missed.
fn told(decision: &Decision) -> Vec<(u8, char)> {
    let letter = |fate: &Fate| match fate {
        Fate::Queued(Trigger::CatchUp) => 'c',
        Fate::Queued(_) => 'q',
        Fate::Skipped(_) => 's',
        Fate::Missed(_) => 'm',
    };
    decision.rows.iter().map(|(tick, fate)| (tick.due.hour(), letter(fate))).collect()
}

fn after(hours: i64, rule: &Rule, others: OtherRuns) -> Vec<(u8, char)> {
    told(&decide(rule, Some(START), START + time::Duration::hours(hours), others).unwrap())
}

fn going_on() -> OtherRuns {
    OtherRuns { going_on: Some("the run 1".into()), ..OtherRuns::default() }
}

fn waiting() -> OtherRuns {
    OtherRuns { waiting: Some("the run 2".into()), wait: 1, ..OtherRuns::default() }
}

#[test]
fn nothing_before_the_first_start_is_caught_up_with() {
    let first = decide(&hourly(Overlap::Skip, CatchUp::Each), None, START, OtherRuns::default());
    assert_eq!(first, Some(Decision { rows: vec![], until: START, anew: false }));
}

#[test]
fn a_time_that_comes_meets_the_runs_that_go_on_or_wait() {
    let at_ten = datetime!(2026-11-22 10:00:59 UTC);
    let fate =
        |overlap, others| told(&decide(&hourly(overlap, CatchUp::No), Some(START), at_ten, others).unwrap());
    assert_eq!(fate(Overlap::Skip, OtherRuns::default()), [(10, 'q')]);
    assert_eq!(fate(Overlap::Skip, going_on()), [(10, 's')]);
    assert_eq!(fate(Overlap::Skip, waiting()), [(10, 's')]);
    assert_eq!(fate(Overlap::Queue, going_on()), [(10, 'q')]);
    assert_eq!(fate(Overlap::Queue, waiting()), [(10, 's')]);
}

#[test]
fn a_skipped_time_names_the_run_that_is_in_its_way() {
    let at_ten = datetime!(2026-11-22 10:00 UTC);
    let decision = decide(&hourly(Overlap::Skip, CatchUp::No), Some(START), at_ten, going_on()).unwrap();
    assert_eq!(decision.rows[0].1, Fate::Skipped("the run 1 is still running".into()));
}

#[test]
fn times_that_passed_are_caught_up_with_as_the_rule_says() {
    let of = |catch_up| after(5, &hourly(Overlap::Queue, catch_up), OtherRuns::default());
    assert_eq!(of(CatchUp::No), [(10, 'm'), (11, 'm'), (12, 'm'), (13, 'm'), (14, 'm')]);
    assert_eq!(of(CatchUp::Once), [(10, 'm'), (11, 'm'), (12, 'm'), (13, 'm'), (14, 'c')]);
    assert_eq!(of(CatchUp::Each), [(10, 'm'), (11, 'm'), (12, 'c'), (13, 'c'), (14, 'c')]);
}

#[test]
fn a_run_that_waits_makes_up_for_what_was_missed() {
    let rule = hourly(Overlap::Queue, CatchUp::Once);
    assert_eq!(after(2, &rule, waiting()), [(10, 'm'), (11, 'm')]);
    assert_eq!(after(2, &rule, going_on()), [(10, 'm'), (11, 'c')]);
}

#[test]
fn a_month_of_minutes_is_a_hundred_rows_and_one_that_counts_the_rest() {
    let month = time::Duration::days(30);
    for (catch_up, runs) in [(CatchUp::No, 0), (CatchUp::Once, 1), (CatchUp::Each, MOST_ROWS)] {
        let rule = rule("* * * * *", Overlap::Skip, catch_up, month);
        let decision = decide(&rule, Some(START), START + month, OtherRuns::default()).unwrap();
        let told = told(&decision);
        assert_eq!(told.iter().filter(|(_, letter)| *letter == 'c').count(), runs);
        let Fate::Missed(reason) = &decision.rows[0].1 else { panic!("{:?}", decision.rows[0]) };
        let counted = format!(
            "no scheduler was running; earlier times missed: {}, since 2026-11-22T09:31:00.000Z",
            30 * 24 * 60 - told.len()
        );
        // The last two are in time.
        assert_eq!((told.len(), reason.as_str()), (MOST_ROWS + 3, counted.as_str()));
        assert_eq!(decision.until, START + month);
    }
}

#[test]
fn a_hundred_runs_of_a_snapshot_wait_at_most() {
    let rule = rule("0 * * * *", Overlap::Queue, CatchUp::Each, time::Duration::days(30));
    let others = OtherRuns { wait: MOST_ROWS - 2, ..waiting() };
    assert_eq!(after(3, &rule, others), [(10, 'm'), (11, 'c'), (12, 'c')]);
}

#[test]
fn a_clock_that_is_set_back_repeats_nothing() {
    let rule = hourly(Overlap::Skip, CatchUp::Each);
    let until = START + time::Duration::hours(20);
    assert_eq!(decide(&rule, Some(until), START, OtherRuns::default()), None);
}

#[test]
fn a_clock_that_was_years_ahead_does_not_silence_a_snapshot() {
    let rule = hourly(Overlap::Skip, CatchUp::Each);
    let until = START + time::Duration::days(3000);
    let decision = decide(&rule, Some(until), START, OtherRuns::default());
    assert_eq!(decision, Some(Decision { rows: vec![], until: START, anew: true }));
}
