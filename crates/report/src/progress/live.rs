//! Progress of a run: receives events and shows them.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fleetlogs_model::duration;
use fleetlogs_model::event::{Event, Recorded};
use fleetlogs_model::event_sink::EventSink;
use fleetlogs_model::ledger::Ledger;
use fleetlogs_model::plan::Plan;
use parking_lot::{Mutex, MutexGuard};

use super::bars::Bars;
use super::eta::{Estimator, TimeLeft};
use super::mode::{ProgressClock, ProgressMode};
use super::notices::{Notice, Notices, blocked, silent};
use super::picture;
use super::plain::Plain;
use super::tally::{Board, Numbers, Phase, RATE_OVER};
use super::troubles::Troubles;
use crate::look::{Look, Style};
use crate::partition_table::{PartitionRow, partition_counts, partition_lines};
use crate::text::{counted, for_terminal};

/// Time between two drawings of the bars: ten a second look smooth.
const DRAW_EVERY: Duration = Duration::from_millis(100);

/// Time between two looks for pools that are silent.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Events are not dated back further than this: the clock may have been set.
const OLDEST_EVENT: Duration = Duration::from_secs(3);

/// What to say when a run stops early.
#[derive(Clone, Copy, Debug)]
pub struct StopNotice<'a> {
    /// Why it stops.
    pub reason: &'a str,
    /// How long files are awaited after the last call, at most; none if they are not verified.
    pub patience: Option<Duration>,
    /// The command that resumes the run, if it can be resumed.
    pub resume: Option<&'a str>,
}

/// Progress of a run. Clones show the same progress: one listens to events, another is ticked and finished.
#[derive(Clone)]
pub struct Progress(Arc<Mutex<Live>>);

struct Live {
    board: Board,
    estimator: Estimator,
    troubles: Troubles,
    notices: Notices,
    screen: Screen,
    clock: ProgressClock,
    drawn: Instant,
    /// When pools that are silent were last looked for.
    looked_for_silent: Instant,
    /// When the last event happened.
    heard: Instant,
    /// When counts were last sampled while earlier events were replayed.
    caught_up: Option<Instant>,
    /// Lines above the bars, for `status`; problems are then shown below the bars.
    title: Option<String>,
    /// The partitions of a run that is shared out, below everything else.
    partitions: Vec<PartitionRow>,
}

enum Screen {
    Bars(Bars),
    Plain(Box<Plain>),
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
            ProgressMode::Plain(writer) => {
                Screen::Plain(Box::new(Plain::new(writer, &plan.run_id, &board, now)))
            }
            ProgressMode::Silent => Screen::Silent,
        };
        Self(Arc::new(Mutex::new(Live {
            board,
            estimator: Estimator::new(&plan, ledger, verification, now),
            troubles: Troubles::new(plan, ledger, now),
            notices: Notices::default(),
            screen,
            clock,
            drawn: now,
            looked_for_silent: now,
            heard: now,
            caught_up: None,
            title: None,
            partitions: vec![],
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
        let is_old = live.clock.now().saturating_duration_since(at) > 2 * RATE_OVER;
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
        let _ = live.newly_silent(now);
        live.draw(now);
    }

    /// Sets a line above the bars, for `status`. Problems are shown below the bars from now on.
    pub fn set_title(&self, title: String) {
        self.live().title = Some(title);
    }

    /// Shows the partitions of a run that is shared out, for `status`. Without bars, it is said where their states change.
    pub fn set_partitions(&self, rows: Vec<PartitionRow>) {
        let mut live = self.live();
        let now = live.clock.now();
        let counts = partition_counts(&rows);
        let is_new = partition_counts(&live.partitions) != counts;
        live.partitions = rows;
        if is_new {
            let Live { screen: Screen::Plain(plain), clock, .. } = &mut *live else { return };
            plain.say_all(&[(Style::None, counts)], clock, now);
        }
    }

    /// Upload calls per second of each account over the last seconds, in the order of the plan; none where nothing is sent.
    #[must_use]
    pub fn rates(&self) -> Vec<Option<f64>> {
        let live = self.live();
        let now = live.clock.now();
        live.board.rates(now).collect()
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

    /// How long the run will still take; none if that is not known.
    #[must_use]
    pub fn time_left(&self) -> Option<TimeLeft> {
        let live = self.live();
        live.time_left(live.clock.now())
    }

    /// No new call is sent from now on.
    pub fn drain(&self, StopNotice { reason, patience, resume }: StopNotice<'_>) {
        let mut live = self.live();
        if live.board.phase == Phase::Draining {
            return;
        }
        live.board.drain();
        live.estimator.stopped(patience);
        let now = live.clock.now();
        let Numbers { in_flight, awaited, .. } = live.board.total.now;
        let mut waits = vec![];
        if in_flight > 0 {
            waits.push(format!("for {} in flight", counted(in_flight, "call")));
        }
        if let Some(patience) = patience.filter(|_| in_flight + awaited > 0) {
            waits.push(format!("at most {} for files", duration::text(patience)));
        }
        let waits =
            if waits.is_empty() { String::new() } else { format!(": waiting {}", waits.join(", then ")) };
        let mut text = for_terminal(reason).into_owned() + &waits;
        if resume.is_some() {
            text.push_str("; nothing is lost");
        }
        if let Screen::Bars(bars) = &mut live.screen {
            text.push_str("; press Ctrl-C again to stop at once");
            bars.begin_anew();
        }
        live.draw(now);
        live.say(&[(Style::Warning, text)], now);
        if let Some(resume) = resume {
            let text = format!("resume later: {}", for_terminal(resume));
            live.say(&[(Style::Warning, text)], now);
        }
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
            Screen::Plain(mut plain) => plain.report(board, None, clock, now),
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
            // A group may be a second old for those who look on. The clock may have been set since.
            let at = live.clock.instant(recorded.at);
            let at = at.clamp(now.checked_sub(OLDEST_EVENT).unwrap_or(now), now);
            live.fold(recorded, at);
        }
        live.show(now);
    }
}

impl Live {
    /// What an event changes besides the counts, which come from the ledger.
    fn fold(&mut self, recorded: &Recorded, now: Instant) {
        self.troubles.hear(recorded, now);
        self.estimator.hear(&recorded.event, recorded.node, now);
        match &recorded.event {
            Event::RunStarted { verification, .. } => {
                self.board.start(*verification, self.clock.instant(recorded.at));
            }
            Event::AccountThrottled { account, pause_ms, .. } => {
                let pause = pause_ms.map(Duration::from_millis);
                if let (Some(pause), Some(account)) = (pause, self.board.index(account)) {
                    self.estimator.paused(account, pause, now);
                }
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
        self.tell_silent(now);
        let left = self.time_left(now);
        if let Screen::Plain(plain) = &mut self.screen {
            plain.show(&mut self.board, left, &self.clock, now);
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
        let left = self.time_left(now);
        lines.extend(picture::draw(&mut self.board, left, look, now, self.title.is_some()));
        if self.title.is_some() {
            let one_account = self.board.lines.len() == 1;
            lines.extend(picture::draw_troubles(&self.troubles.folded(), one_account, look));
            if !self.partitions.is_empty() {
                lines.extend(partition_lines(&self.partitions, look));
            }
        }
        lines
    }

    fn time_left(&self, now: Instant) -> Option<TimeLeft> {
        let Self { board, estimator, .. } = self;
        estimator.time_left(board.phase, &board.total.now, board.accounts(), now)
    }

    /// Pools that are silent while others deliver, once.
    fn newly_silent(&mut self, now: Instant) -> Option<Notice> {
        if matches!(self.board.phase, Phase::Draining | Phase::Done | Phase::Ended) {
            return None;
        }
        let seen = self.estimator.settle_seen()?;
        silent(&self.troubles.newly_silent(seen, now), seen)
    }

    fn tell_silent(&mut self, now: Instant) {
        // A look at every pool; not for every group of events.
        if now.saturating_duration_since(self.looked_for_silent) < LOOK_EVERY {
            return;
        }
        self.looked_for_silent = now;
        if let Some(notice) = self.newly_silent(now) {
            self.say(&[notice], now);
        }
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
mod screens;
#[cfg(test)]
mod tests;
