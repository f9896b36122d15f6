//! Decides which times of a snapshot start a run, are skipped or are missed. Pure.
//!
//! If a time is considered within [`PUNCTUAL`] of its start, [`Overlap`] applies. If it is considered later, no
//! scheduler was running when it came (no process, a suspended machine, a clock set forward), and [`CatchUp`] applies.
//! Times are considered in order, each once.

use std::collections::VecDeque;
use std::time::Duration;

use fleetlogs_model::snapshot::Trigger;
use fleetlogs_model::timestamp;
use time::OffsetDateTime;

use super::rule::{CatchUp, Overlap, Rule};
use super::timetable::{Tick, Timetable};

/// A time that is considered at most this long after its start is not late: longer than the scheduler ever sleeps.
pub const PUNCTUAL: Duration = Duration::from_secs(60);

/// At most this many late times, the latest, have a row each; earlier ones are counted in one row. It also bounds the
/// waiting runs of a snapshot: a cron of every minute has 43,000 times in a month.
pub const MOST_ROWS: usize = 100;

/// Late times longer ago than this are not even counted.
const LONGEST: time::Duration = time::Duration::days(366);

/// If times are considered this far ahead of the clock, that happened while the clock was wrong.
const AHEAD: time::Duration = time::Duration::days(1);

const NOTHING_THERE: &str = "no scheduler was running";

/// Other runs of a snapshot when its time comes: those by timetable and by `--once`. Captures collect a few nodes, and
/// never count as a run of the timetable.
#[derive(Clone, Debug, Default)]
pub struct OtherRuns {
    /// The run that is in progress, as a reason names it.
    pub going_on: Option<String>,
    /// The first run that waits, as a reason names it.
    pub waiting: Option<String>,
    /// How many runs wait.
    pub wait: usize,
}

/// What happens to a time of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It goes into the queue.
    Queued(Trigger),
    /// It is skipped, for this reason.
    Skipped(String),
    /// It is missed, for this reason.
    Missed(String),
}

/// What happens to the times of a snapshot that have come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// One row for each time, in order; a row may stand for several times.
    pub rows: Vec<(Tick, Fate)>,
    /// Up to when times have been considered now.
    pub until: OffsetDateTime,
    /// The clock was set back so far that times count from now on.
    pub anew: bool,
}

/// Decides on the times after `until` that have come by now; none if there is nothing to decide. Before the first start
/// of a snapshot `until` is none: nothing before now is caught up.
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
    /// The times that are not late.
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
        (Overlap::Skip, OtherRuns { going_on: Some(run), .. }) => {
            Fate::Skipped(format!("{run} is still running"))
        }
        (_, OtherRuns { waiting: Some(run), .. }) => Fate::Skipped(format!("{run} is waiting to start")),
        _ => Fate::Queued(Trigger::Cron),
    }
}

/// Rows of the late times. Of those within `catch_up_within`, the latest become runs, as many as the rule says.
fn late(rule: &Rule, come: &PassedTimes, now: OffsetDateTime, others: &mut OtherRuns) -> Vec<(Tick, Fate)> {
    let too_old = come.late.partition_point(|tick| now - tick.begins_at > rule.catch_up_within);
    let made_up_for = come.late.len() - too_old;
    let (runs, why_no_run) = match (rule.catch_up, &others.waiting, come.late.back()) {
        (CatchUp::Once, Some(run), _) => (0, format!("; {run} catches up")),
        (CatchUp::Once, None, Some(latest)) => {
            (made_up_for.min(1), format!("; {} catches up", due_at(latest.due)))
        }
        (CatchUp::Each, ..) => {
            let room = MOST_ROWS.saturating_sub(others.wait);
            (made_up_for.min(room), format!(", and {MOST_ROWS} runs of it are already waiting"))
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
            format!("{NOTHING_THERE}; earlier times missed: {before}, since {}", timestamp::text(first.due))
        }
    };
    (last, Fate::Missed(reason))
}

#[cfg(test)]
mod tests;
