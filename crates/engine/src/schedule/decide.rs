//! What becomes of the times of a snapshot: which are begun, skipped or missed. Pure.
//!
//! A time that is looked at within [`PUNCTUAL`] of the moment when it was to begin is subject to [`Overlap`]. One that is
//! looked at later passed while nothing was there to begin it (no process, a suspended machine, a clock set forward), and
//! is subject to [`CatchUp`]. Times are looked at in their order, each once.

use std::collections::VecDeque;
use std::time::Duration;

use fleetlogs_model::snapshot::Trigger;
use fleetlogs_model::timestamp;
use time::OffsetDateTime;

use super::rule::{CatchUp, Overlap, Rule};
use super::timetable::{Tick, Timetable};

/// A time that is looked at so long after it was to begin is not late: twice as long as the scheduler ever sleeps.
pub const PUNCTUAL: Duration = Duration::from_secs(60);

/// So many late times have a row each, the latest; those before them are counted in one row. Also, so many runs of a
/// snapshot wait at most: a cron of every minute after a month is 43,000 times.
pub const MOST_ROWS: usize = 100;

/// Late times longer ago than this are not even counted.
const LONGEST: time::Duration = time::Duration::days(366);

/// What is considered that is so long ahead of the clock was considered while the clock was wrong.
const AHEAD: time::Duration = time::Duration::days(1);

const NOTHING_THERE: &str = "nothing was there to begin it";

/// Runs of a snapshot that a time of it meets: those by timetable and by `--once`. Captures are of a few nodes, and never
/// stand for a time of the timetable.
#[derive(Clone, Debug, Default)]
pub struct OtherRuns {
    /// The run that goes on, as a reason names it.
    pub going_on: Option<String>,
    /// The first that waits, as a reason names it.
    pub waiting: Option<String>,
    /// How many wait.
    pub wait: usize,
}

/// What becomes of a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It goes into the queue.
    Queued(Trigger),
    /// It is skipped, for this reason.
    Skipped(String),
    /// It is missed, for this reason.
    Missed(String),
}

/// What becomes of the times of a snapshot that have come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// One row for each, in their order; one may stand for more.
    pub rows: Vec<(Tick, Fate)>,
    /// Up to when times are considered from now on.
    pub until: OffsetDateTime,
    /// The clock was set back so far that times are counted anew.
    pub anew: bool,
}

/// Decides on the times after `until` that have come by now; none where there is nothing to decide. Before the first start
/// of a snapshot `until` is none: nothing before now is caught up with.
#[must_use]
pub fn decide(
    rule: &Rule,
    until: Option<OffsetDateTime>,
    now: OffsetDateTime,
    mut others: OtherRuns,
) -> Option<Decision> {
    let timetable = rule.timetable.as_ref()?;
    let Some(until) = until else { return Some(Decision { rows: Vec::new(), until: now, anew: false }) };
    if until - now > AHEAD {
        return Some(Decision { rows: Vec::new(), until: now, anew: true });
    }
    let come = PassedTimes::by(timetable, until, now);
    let until = come.punctual.last().or(come.late.back())?.due;
    let mut rows = late(rule, &come, now, &mut others);
    for tick in come.punctual {
        let fate = punctual(rule.overlap, &others);
        if matches!(fate, Fate::Queued(_)) {
            others.add(tick);
        }
        rows.push((tick, fate));
    }
    Some(Decision { rows, until, anew: false })
}

impl OtherRuns {
    fn add(&mut self, tick: Tick) {
        self.waiting.get_or_insert_with(|| due_at(tick.due));
        self.wait += 1;
    }
}

/// How a reason names a run that has no id yet.
pub(super) fn due_at(due: OffsetDateTime) -> String {
    format!("the run due at {}", timestamp::text(due))
}

/// The times that have come.
struct PassedTimes {
    /// Late times that have no row each: how many, the first and the last.
    folded: Option<(usize, Tick, Tick)>,
    /// The latest of the late times.
    late: VecDeque<Tick>,
    /// Those that are in time.
    punctual: Vec<Tick>,
}

impl PassedTimes {
    fn by(timetable: &Timetable, until: OffsetDateTime, now: OffsetDateTime) -> Self {
        let mut come = Self { folded: None, late: VecDeque::new(), punctual: Vec::new() };
        let mut next = timetable.after(until.max(now - LONGEST));
        while let Some(tick) = next.filter(|tick| tick.begins_at <= now) {
            if now - tick.begins_at <= PUNCTUAL {
                come.punctual.push(tick);
            } else {
                come.late.push_back(tick);
            }
            if come.late.len() > MOST_ROWS
                && let Some(oldest) = come.late.pop_front()
            {
                let (count, first, _) = come.folded.unwrap_or((0, oldest, oldest));
                come.folded = Some((count + 1, first, oldest));
            }
            next = timetable.after(tick.due);
        }
        come
    }
}

fn punctual(overlap: Overlap, others: &OtherRuns) -> Fate {
    match (overlap, others) {
        (Overlap::Skip, OtherRuns { going_on: Some(run), .. }) => Fate::Skipped(format!("{run} is going on")),
        (_, OtherRuns { waiting: Some(run), .. }) => Fate::Skipped(format!("{run} waits to begin")),
        _ => Fate::Queued(Trigger::Cron),
    }
}

/// Rows of the late times: of those within `catch_up_within`, the last so many become runs, as the rule says.
fn late(rule: &Rule, come: &PassedTimes, now: OffsetDateTime, others: &mut OtherRuns) -> Vec<(Tick, Fate)> {
    let too_old = come.late.partition_point(|tick| now - tick.begins_at > rule.catch_up_within);
    let made_up_for = come.late.len() - too_old;
    let (runs, why_no_run) = match (rule.catch_up, &others.waiting, come.late.back()) {
        (CatchUp::Once, Some(run), _) => (0, format!("; {run} makes up for it")),
        (CatchUp::Once, None, Some(latest)) => {
            (made_up_for.min(1), format!("; {} makes up for it", due_at(latest.due)))
        }
        (CatchUp::Each, ..) => {
            let room = MOST_ROWS.saturating_sub(others.wait);
            (made_up_for.min(room), format!(", and {MOST_ROWS} runs of it wait already"))
        }
        (CatchUp::No, ..) | (CatchUp::Once, None, None) => (0, String::new()),
    };
    let mut rows: Vec<_> = come.folded.map(folded).into_iter().collect();
    for (index, tick) in come.late.iter().enumerate() {
        let fate = if index >= come.late.len() - runs {
            others.add(*tick);
            Fate::Queued(Trigger::CatchUp)
        } else if index < too_old && rule.catch_up != CatchUp::No {
            Fate::Missed(format!("{NOTHING_THERE}, longer ago than `catch_up_within`"))
        } else {
            Fate::Missed(format!("{NOTHING_THERE}{why_no_run}"))
        };
        rows.push((*tick, fate));
    }
    rows
}

fn folded((count, first, last): (usize, Tick, Tick)) -> (Tick, Fate) {
    let reason = match count - 1 {
        0 => NOTHING_THERE.to_owned(),
        before => {
            format!("{NOTHING_THERE}, nor the {before} before it, from {} on", timestamp::text(first.due))
        }
    };
    (last, Fate::Missed(reason))
}

#[cfg(test)]
mod tests;
