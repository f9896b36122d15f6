//! Progress of a run: receives events and shows them.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fleetlogs_model::event::{Event, Recorded};
use fleetlogs_model::event_sink::EventSink;
use fleetlogs_model::ledger::Ledger;
use fleetlogs_model::plan::Plan;
use parking_lot::{Mutex, MutexGuard};

use super::bars::Bars;
use super::mode::{ProgressClock, ProgressMode};
use super::notices::{Notice, Notices, blocked};
use super::picture;
use super::plain::Plain;
use super::tally::{Board, ETA_OVER, Phase};
use super::troubles::Troubles;
use crate::look::{Look, Style};
use crate::text::{counted, for_terminal};

/// Time between two drawings of the bars: ten a second look smooth.
const DRAW_EVERY: Duration = Duration::from_millis(100);

/// Progress of a run. Clones show the same progress: one listens to events, another is ticked and finished.
#[derive(Clone)]
pub struct Progress(Arc<Mutex<Live>>);

struct Live {
    board: Board,
    troubles: Troubles,
    notices: Notices,
    screen: Screen,
    clock: ProgressClock,
    drawn: Instant,
    /// When the last event happened.
    heard: Instant,
    /// When counts were last sampled while earlier events were replayed.
    caught_up: Option<Instant>,
    /// Lines above the bars, for `status`; problems are then shown below the bars.
    title: Option<String>,
}

enum Screen {
    Bars(Bars),
    Plain(Plain),
    Silent,
}

impl Progress {
    /// Starts from what the ledger already counts. With `verification` off, a node is done once it is accepted.
    #[must_use]
    pub fn new(
        mode: ProgressMode,
        clock: ProgressClock,
        plan: Arc<Plan>,
        ledger: &Ledger,
        verification: bool,
    ) -> Self {
        let now = clock.now();
        let board = Board::new(&plan, ledger, verification, now);
        let screen = match mode {
            ProgressMode::Bars(target, look) => Screen::Bars(Bars::new(target, look)),
            ProgressMode::Plain(writer) => Screen::Plain(Plain::new(writer, &board, now)),
            ProgressMode::Silent => Screen::Silent,
        };
        Self(Arc::new(Mutex::new(Live {
            board,
            troubles: Troubles::new(plan),
            notices: Notices::default(),
            screen,
            clock,
            drawn: now,
            heard: now,
            caught_up: None,
            title: None,
        })))
    }

    /// Replays an earlier event, which changes counts but prints no line; the ledger already counts it. Rates use the
    /// time at which the event happened.
    pub fn catch_up(&self, recorded: &Recorded, ledger: &Ledger) {
        let mut live = self.live();
        let at = live.clock.instant(recorded.at);
        live.fold(recorded, at);
        live.notices = Notices::default();
        live.heard = at;
        // Old counts are useless; those of the last seconds give a rate.
        let is_old = live.clock.now().saturating_duration_since(at) > 2 * ETA_OVER;
        let is_next = |last: Instant| at.saturating_duration_since(last) >= DRAW_EVERY;
        if !is_old && live.caught_up.is_none_or(is_next) {
            if live.caught_up.replace(at).is_none() {
                live.board.forget_samples();
            }
            live.board.take(ledger);
            live.board.sample(at);
        }
    }

    /// All earlier events have been replayed.
    pub fn caught_up(&self, ledger: &Ledger) {
        let mut live = self.live();
        live.board.take(ledger);
        let now = live.clock.now();
        live.board.sample(now);
        let _ = live.troubles.newly_blocked();
        live.draw(now);
    }

    /// Sets a line above the bars, for `status`. Problems are shown below the bars from now on.
    pub fn set_title(&self, title: String) {
        self.live().title = Some(title);
    }

    /// No process works on the run any more.
    pub fn ended(&self) {
        self.live().board.end();
    }

    /// The bars as text.
    #[must_use]
    pub fn picture(&self, look: &Look) -> Vec<String> {
        let mut live = self.live();
        let now = match live.board.phase {
            Phase::Ended => live.heard,
            _ => live.clock.now(),
        };
        live.picture(look, now)
    }

    /// Updates times and rates. To be called about once a second, even if nothing happens.
    pub fn tick(&self) {
        let mut live = self.live();
        let now = live.clock.now();
        live.show(now);
    }

    /// No new call is sent from now on, for this reason.
    pub fn drain(&self, reason: &str) {
        let mut live = self.live();
        if live.board.phase == Phase::Draining {
            return;
        }
        live.board.drain();
        let now = live.clock.now();
        let in_flight = counted(live.board.total.now.in_flight, "call");
        let reason = for_terminal(reason);
        let mut text = format!("{reason}: waiting for {in_flight} in flight");
        if let Screen::Bars(bars) = &mut live.screen {
            text.push_str("; press Ctrl-C again to abort");
            bars.begin_anew();
        }
        live.draw(now);
        live.say(&[(Style::Warning, text)], now);
    }

    /// Keeps the bars on the screen. Later events are ignored.
    pub fn leave(&self) {
        let mut live = self.live();
        if let Screen::Bars(bars) = std::mem::replace(&mut live.screen, Screen::Silent) {
            bars.leave();
        }
    }

    /// Removes the bars, or writes the last lines. Later events are ignored.
    pub fn finish(&self) {
        let mut live = self.live();
        let now = live.clock.now();
        live.board.sample(now);
        live.tell_notices(now);
        let Live { board, screen, clock, .. } = &mut *live;
        match std::mem::replace(screen, Screen::Silent) {
            Screen::Bars(bars) => bars.clear(),
            Screen::Plain(mut plain) => plain.report(board, clock, now),
            Screen::Silent => {}
        }
    }

    /// Runs something that writes to the same terminal (for example a log line) while the bars are hidden.
    pub fn suspend<T>(&self, write: impl FnOnce() -> T) -> T {
        // Not under the lock, because the writer may be on the thread that is drawing.
        let bars = match &self.live().screen {
            Screen::Bars(bars) => Some(bars.handle()),
            _ => None,
        };
        match bars {
            Some(bars) => bars.suspend(write),
            None => write(),
        }
    }

    fn live(&self) -> MutexGuard<'_, Live> {
        self.0.lock()
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Progress").finish_non_exhaustive()
    }
}

impl EventSink for Progress {
    fn hear(&mut self, events: &[Recorded], ledger: &Ledger) {
        let mut live = self.live();
        if matches!(live.screen, Screen::Silent) {
            return;
        }
        let now = live.clock.now();
        if let Some(last) = events.last() {
            live.heard = live.clock.instant(last.at);
        }
        live.board.take(ledger);
        for recorded in events {
            live.fold(recorded, now);
        }
        live.show(now);
    }
}

impl Live {
    /// What an event changes besides the counts, which come from the ledger.
    fn fold(&mut self, recorded: &Recorded, now: Instant) {
        self.troubles.hear(recorded);
        match &recorded.event {
            Event::RunStarted { verification, .. } => {
                self.board.start(*verification, self.clock.instant(recorded.at));
            }
            Event::AccountThrottled { account, pause_ms, .. } => {
                let pause = pause_ms.map(Duration::from_millis);
                // If it happens again, the bar shows it.
                let once = matches!(self.screen, Screen::Bars(_));
                if self.board.throttled(account, pause, once, now) {
                    self.notices.throttled(account, pause, now);
                }
            }
            Event::AccountStopped { account, cause } => self.notices.stopped(account, cause, now),
            Event::RunDraining { .. } => self.board.drain(),
            Event::FilesIncomplete { files: 0, .. } => self.notices.wake(now),
            Event::UploadRequested { .. }
            | Event::UploadCancelled { .. }
            | Event::UploadAccepted { .. }
            | Event::UploadWillRetry { .. }
            | Event::UploadInDoubt { .. }
            | Event::UploadAbsent { .. }
            | Event::UploadAdopted { .. }
            | Event::DirectoriesFound { .. }
            | Event::IdentityChanged { .. }
            | Event::NodeSeenAgain { .. }
            | Event::PoolSeenAgain { .. }
            | Event::NodesAppeared { .. }
            | Event::OrderFollowed { .. }
            | Event::UploadFailed { .. }
            | Event::FilesVerified { .. }
            | Event::FilesAdopted { .. }
            | Event::FilesIncomplete { .. }
            | Event::RunEnded { .. } => {}
        }
    }

    fn show(&mut self, now: Instant) {
        self.board.sample(now);
        if self.notices.are_due(now) {
            self.tell_notices(now);
        }
        if let Screen::Plain(plain) = &mut self.screen {
            plain.show(&mut self.board, &self.clock, now);
        } else if now.saturating_duration_since(self.drawn) >= DRAW_EVERY {
            self.drawn = now;
            self.draw(now);
        }
    }

    fn draw(&mut self, now: Instant) {
        let Screen::Bars(bars) = &self.screen else { return };
        let look = bars.look();
        let mut lines = self.picture(&look, now);
        // Lines above the screen cannot be redrawn.
        lines.truncate(look.height.map_or(usize::MAX, |height| height.saturating_sub(1)));
        if let Screen::Bars(bars) = &self.screen {
            bars.draw(&lines);
        }
    }

    fn picture(&mut self, look: &Look, now: Instant) -> Vec<String> {
        let mut lines = self.title.as_ref().map_or_else(Vec::new, |title| look.wrapped(0, 2, title));
        lines.extend(picture::draw(&mut self.board, look, now, self.title.is_some()));
        if self.title.is_some() {
            let one_account = self.board.lines.len() == 1;
            lines.extend(picture::draw_troubles(&self.troubles.folded(), one_account, look));
        }
        lines
    }

    fn tell_notices(&mut self, now: Instant) {
        let board = &self.board;
        let mut notices = self.notices.take(|account| board.line(account)?.now.pace);
        notices.extend(blocked(&self.troubles.newly_blocked(), board.lines.len() == 1));
        // `status` shows them below the bars.
        if self.title.is_none() || matches!(self.screen, Screen::Plain(_)) {
            self.say(&notices, now);
        }
    }

    fn say(&mut self, notices: &[Notice], now: Instant) {
        match &mut self.screen {
            Screen::Bars(bars) => bars.say(notices),
            Screen::Plain(plain) => plain.say_all(notices, &self.clock, now),
            Screen::Silent => {}
        }
    }
}

#[cfg(test)]
mod tests;
