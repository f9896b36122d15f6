//! Calls, throttled answers and arrivals over the run, counted in time steps, at most 120 whatever the size of the run.

use fleetlogs_model::history::NodeHistory;
use serde::Serialize;
use time::OffsetDateTime;

use crate::run_facts::RunFacts;

/// Most steps of a run; with more, the bars would be too thin.
const MOST_STEPS: i64 = 120;

/// Round lengths of a step, in milliseconds; beyond the last, whole days.
const STEPS: [i64; 17] = [
    1_000, 2_000, 5_000, 10_000, 15_000, 30_000, 60_000, 120_000, 300_000, 600_000, 900_000, 1_800_000,
    3_600_000, 7_200_000, 21_600_000, 43_200_000, 86_400_000,
];

/// What happened in each step, from the run's start.
#[derive(Serialize)]
pub(super) struct Timeline {
    #[serde(skip)]
    start: OffsetDateTime,
    /// How long a step is, in milliseconds.
    step: i64,
    /// Upload calls that were sent.
    calls: Vec<u32>,
    /// Calls, by when they were sent, that were answered with 429 or 503.
    throttled: Vec<u32>,
    /// Nodes whose files had arrived.
    verified: Vec<u32>,
}

impl Timeline {
    pub(super) fn of(facts: &RunFacts) -> Self {
        let length = milliseconds(facts.started_at, facts.ended_at).max(0);
        let day = STEPS[STEPS.len() - 1];
        let step = STEPS.into_iter().find(|step| length / step < MOST_STEPS);
        let step = step.unwrap_or_else(|| day * (length / day / MOST_STEPS + 1));
        let steps = usize::try_from(length / step + 1).unwrap_or(1);
        let (calls, throttled, verified) = (vec![0; steps], vec![0; steps], vec![0; steps]);
        Self { start: facts.started_at, step, calls, throttled, verified }
    }

    /// Counts what happened to a node. Events before or after the run are counted in its first or last step.
    pub(super) fn add(&mut self, history: &NodeHistory) {
        let last = self.calls.len() - 1;
        let (start, step) = (self.start, self.step);
        let place = |at| usize::try_from(milliseconds(start, at) / step).unwrap_or(0).min(last);
        for attempt in &history.attempts {
            let place = place(attempt.sent_at);
            self.calls[place] += 1;
            self.throttled[place] += u32::from(matches!(attempt.status, Some(429 | 503)));
        }
        if let Some(at) = history.verified_at {
            self.verified[place(at)] += 1;
        }
    }
}

/// Milliseconds from one time to another; below zero where the other is earlier.
pub(super) fn milliseconds(from: OffsetDateTime, to: OffsetDateTime) -> i64 {
    i64::try_from((to - from).whole_milliseconds()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use fleetlogs_model::failure::FailureClass;
    use fleetlogs_model::outcome::RunOutcome;

    use super::*;
    use crate::testing::{
        accepted, at, ended, failure, folded, plan_of, planned, recorded, requested, retried, verified,
    };

    #[test]
    fn everything_is_counted_in_the_step_it_happened_in() {
        let busy = failure(FailureClass::Throttled, 429, "TooManyRequests", "slow down");
        let events = [
            recorded(0, 0, requested(1)),
            recorded(0, 1, retried(1, busy)),
            recorded(0, 5, requested(2)),
            recorded(0, 6, accepted(2, "d", 1)),
            recorded(0, 900, verified(1, 10)),
        ];
        let (_, histories) = folded(&plan_of(vec![planned("contoso", "a", "tvm-1")]), &events);
        let mut timeline = Timeline::of(&ended(RunOutcome::Complete));
        timeline.add(&histories[0].1);

        assert_eq!((timeline.step, timeline.calls.len()), (2_000, 66), "130 seconds");
        assert_eq!((timeline.calls[0], timeline.calls[2]), (1, 1));
        assert_eq!((timeline.throttled[0], timeline.throttled[2]), (1, 0));
        assert_eq!(timeline.verified[65], 1, "behind the end of the run");
    }

    #[test]
    fn a_run_of_any_length_has_few_steps() {
        for seconds in [-5, 0, 1, 59, 3_600, 86_400, 40 * 86_400, 4_000 * 86_400] {
            let facts = RunFacts { ended_at: at(seconds), ..ended(RunOutcome::Complete) };
            let timeline = Timeline::of(&facts);
            assert!((1..=120).contains(&timeline.calls.len()), "{seconds} s: {}", timeline.calls.len());
        }
    }
}
