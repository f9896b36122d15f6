//! One request budget per Batch account: how fast calls may go out, and how the account's answers change that.
//!
//! A limiter for calls per second, a pause where the account asks for one, and a controller that moves the rate:
//! `controller` decides, from what `belief` makes of the answers. The reasons are in docs/design/pace.md.

mod belief;
mod controller;
mod limiter;
mod meter;
mod sent_rates;

use std::collections::VecDeque;
use std::time::Duration;

use fleetlogs_model::retry::LONGEST_RETRY_AFTER;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

use self::controller::Controller;
use self::limiter::Limiter;

/// What changed after a throttled answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Slowdown {
    /// The new rate, in calls per second.
    pub rate: f64,
    /// How long nothing is sent, if the service asked for a pause.
    pub pause: Option<Duration>,
}

/// The budget of one account.
pub struct Pacer {
    /// Only the holder waits for the limiter; the others queue here in order, and no wake-up is wasted.
    turn: tokio::sync::Mutex<()>,
    /// The same for [`Pacer::gate`].
    gate: tokio::sync::Mutex<()>,
    state: Mutex<PacerState>,
}

struct PacerState {
    controller: Controller,
    /// None: as fast as the concurrency allows.
    limits: Option<Limits>,
    paused_until: Option<Instant>,
    /// Calls that get the next turns of those who wait in line.
    ahead: VecDeque<oneshot::Sender<()>>,
}

/// What became of a turn.
enum Turn {
    Taken,
    GivenAway,
}

struct Limits {
    /// In calls per second.
    rate: f64,
    turn: Limiter,
    /// As fast as `turn`, for calls that already had their turn.
    gate: Limiter,
}

impl Pacer {
    /// A budget with a ceiling in calls per second, or without one. `random` spreads the times at which accounts try
    /// more than they know to be good.
    #[must_use]
    pub fn new(ceiling: Option<f64>, random: fastrand::Rng) -> Self {
        let controller = Controller::new(ceiling, random);
        let limits =
            controller.rate().map(|rate| Limits { rate, turn: Limiter::at(rate), gate: Limiter::at(rate) });
        Self {
            turn: tokio::sync::Mutex::new(()),
            gate: tokio::sync::Mutex::new(()),
            state: Mutex::new(PacerState { controller, limits, paused_until: None, ahead: VecDeque::new() }),
        }
    }

    fn state(&self) -> MutexGuard<'_, PacerState> {
        self.state.lock()
    }

    /// Waits until the account may be called once more.
    ///
    /// # Cancel safety
    /// May be dropped at any time; a turn that was not returned is not used up.
    pub async fn turn(&self) {
        let _first_in_line = self.turn.lock().await;
        loop {
            let turn = self.state().try_turn(Instant::now());
            match turn {
                Ok(Turn::Taken) => return,
                Ok(Turn::GivenAway) => {}
                Err(until) => sleep_until(until).await,
            }
        }
    }

    /// The same, before all who already wait in line: for a call that must not wait until all of them had their turn.
    ///
    /// # Cancel safety
    /// As [`Pacer::turn`], but for a turn that was given away just before.
    pub async fn turn_ahead(&self) {
        let (give, given) = oneshot::channel();
        self.state().ahead.push_back(give);
        tokio::select! {
            biased;
            Ok(()) = given => {}
            // Nobody may be waiting.
            () = self.turn() => {}
        }
    }

    /// Waits until a call that had its turn may go out. Between turn and call the intent is recorded, and a disk that
    /// stalls holds several calls back; without this gate they would go out together and exceed the account's ceiling.
    /// No call goes out while the account is to pause, either.
    ///
    /// # Cancel safety
    /// As [`Pacer::turn`].
    pub async fn gate(&self) {
        let _first_in_line = self.gate.lock().await;
        loop {
            let pass = self.state().try_gate(Instant::now());
            let Err(until) = pass else { return };
            sleep_until(until).await;
        }
    }

    /// Until when the account pauses, if it does.
    #[cfg(test)]
    pub(crate) fn pauses_until(&self) -> Option<Instant> {
        self.state().pause_at(Instant::now())
    }

    /// The rate now, in calls per second; none while nothing limits it.
    #[must_use]
    pub fn rate(&self) -> Option<f64> {
        self.state().controller.rate()
    }

    /// The service took a call that was sent at a time.
    pub fn answered_well(&self, sent_at: Instant) {
        self.state().controller.answered_well(Instant::now(), sent_at);
    }

    /// The service throttled a call. Returns what changed; none if an earlier answer of the same round trip already
    /// carried the news, or if the account refuses such a share of its calls whatever the rate.
    pub fn throttled(&self, sent_at: Instant, retry_after: Option<Duration>) -> Option<Slowdown> {
        self.state().throttled(Instant::now(), sent_at, retry_after)
    }
}

impl PacerState {
    /// Until when the account pauses, if it does.
    fn pause_at(&mut self, now: Instant) -> Option<Instant> {
        self.paused_until = self.paused_until.filter(|until| now < *until);
        self.paused_until
    }

    /// Takes a turn, for a call that goes ahead if there is one; or says until when to wait.
    fn try_turn(&mut self, now: Instant) -> Result<Turn, Instant> {
        if let Some(until) = self.pause_at(now) {
            return Err(until);
        }
        self.slow_down();
        if let Some(limits) = &self.limits {
            limits.turn.check(now)?;
        }
        // A higher rate begins with a call: so none of the time before it is lost.
        self.follow(1);
        self.controller.sends(now);
        while let Some(ahead) = self.ahead.pop_front() {
            // It may have been dropped.
            if ahead.send(()).is_ok() {
                return Ok(Turn::GivenAway);
            }
        }
        Ok(Turn::Taken)
    }

    fn try_gate(&mut self, now: Instant) -> Result<(), Instant> {
        if let Some(until) = self.pause_at(now) {
            return Err(until);
        }
        self.slow_down();
        self.limits.as_ref().map_or(Ok(()), |limits| limits.gate.check(now))
    }

    /// Follows the controller at once if it lowered the rate.
    fn slow_down(&mut self) {
        let Some(rate) = self.controller.rate() else { return };
        if self.limits.as_ref().is_none_or(|limits| rate < limits.rate) {
            self.follow(0);
        }
    }

    /// Follows the controller. So many calls that already had their turn may pass the gate at once.
    fn follow(&mut self, underway: u32) {
        let Some(rate) = self.controller.rate() else { return };
        #[expect(clippy::float_cmp, reason = "the same number, if it did not change")]
        if self.limits.as_ref().is_some_and(|limits| limits.rate == rate) {
            return;
        }
        self.limits = Some(Limits {
            rate,
            turn: Limiter::with_saved(rate, 0),
            gate: Limiter::with_saved(rate, underway),
        });
    }

    fn throttled(
        &mut self,
        now: Instant,
        sent_at: Instant,
        retry_after: Option<Duration>,
    ) -> Option<Slowdown> {
        let asked = retry_after.map(|asked| asked.min(LONGEST_RETRY_AFTER));
        let cut = self.controller.refused(now, sent_at, asked);
        // The call itself waits in any case; the account waits if the refusal is about the account.
        let pause = asked.filter(|_| cut.obeys);
        let longer_pause = pause.filter(|pause| self.paused_until.is_none_or(|until| now + *pause > until));
        if let Some(pause) = longer_pause {
            self.paused_until = Some(now + pause);
        }
        if let Some(until) = self.pause_at(now).filter(|_| cut.obeys) {
            self.controller.pauses(until);
        }
        cut.rate.map(|rate| Slowdown { rate, pause: longer_pause })
    }
}

#[cfg(test)]
mod tests;
