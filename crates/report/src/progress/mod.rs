//! Progress of a run while it goes on: bars on a terminal, a plain line now and then elsewhere.
//!
//! It counts nothing itself: the ledger does, and every group of events brings it along. So a resumed run starts where
//! the interrupted one ended. Which of the two forms fits, and whether any, is for the caller to say.

mod bars;
mod plain;
mod planning;
mod tally;

use std::fmt;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use fleetlogs_model::event::{Event, EventSink, Recorded};
use fleetlogs_model::ledger::Ledger;
use fleetlogs_model::plan::Plan;
use indicatif::ProgressDrawTarget;
use time::OffsetDateTime;

pub use self::planning::PlanningProgress;

use self::bars::Bars;
use self::plain::Plain;
use self::tally::Board;

/// Between two drawings of the bars: ten a second look smooth, more is a waste.
const DRAW_EVERY: Duration = Duration::from_millis(100);
/// Redraws per second that the terminal gets at most; each drawing updates several bars.
const REDRAWS: u8 = 10;

/// How progress is shown, and where.
pub enum ProgressMode {
    /// Bars that are redrawn in place. Only for a terminal.
    Bars(ProgressDrawTarget),
    /// A line every ten seconds, and one at once for what is worth it.
    Plain(Box<dyn Write + Send>),
    /// Nothing.
    Silent,
}

impl ProgressMode {
    /// Bars on stderr.
    #[must_use]
    pub fn bars_on_stderr() -> Self {
        Self::Bars(ProgressDrawTarget::stderr_with_hz(REDRAWS))
    }

    /// Lines on stderr.
    #[must_use]
    pub fn plain_on_stderr() -> Self {
        Self::Plain(Box::new(io::stderr()))
    }
}

impl fmt::Debug for ProgressMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bars(_) => "Bars",
            Self::Plain(_) => "Plain",
            Self::Silent => "Silent",
        })
    }
}

/// Where progress has its time from: what the clock on the wall said at the start, and a clock that never jumps.
pub struct ProgressClock {
    started_at: OffsetDateTime,
    started: Instant,
    now: Box<dyn Fn() -> Instant + Send>,
}

impl ProgressClock {
    /// `started_at` is the time of day right now; `now` says how time goes on from here.
    #[must_use]
    pub fn new(started_at: OffsetDateTime, now: impl Fn() -> Instant + Send + 'static) -> Self {
        Self { started_at, started: now(), now: Box::new(now) }
    }

    fn now(&self) -> Instant {
        (self.now)()
    }

    fn time_of_day(&self, now: Instant) -> String {
        let passed = now.saturating_duration_since(self.started);
        crate::text::time_of_day(self.started_at + passed)
    }
}

/// Progress of a run. Clones show the same progress: one listens to events, another is ticked and finished.
#[derive(Clone)]
pub struct Progress(Arc<Mutex<Live>>);

struct Live {
    board: Board,
    screen: Screen,
    clock: ProgressClock,
    drawn: Instant,
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
        plan: &Plan,
        ledger: &Ledger,
        verification: bool,
    ) -> Self {
        let now = clock.now();
        let board = Board::new(plan, ledger, verification, now);
        let screen = match mode {
            ProgressMode::Bars(target) => Screen::Bars(Bars::new(target, &board)),
            ProgressMode::Plain(writer) => Screen::Plain(Plain::new(writer, &board, now)),
            ProgressMode::Silent => Screen::Silent,
        };
        Self(Arc::new(Mutex::new(Live { board, screen, clock, drawn: now })))
    }

    /// Shows that time passes, also when nothing happens. To be called about once a second.
    pub fn tick(&self) {
        let mut live = self.live();
        let now = live.clock.now();
        live.show(now);
    }

    /// Takes the bars away, or writes the last lines. What comes after is ignored.
    pub fn finish(&self) {
        let mut live = self.live();
        let now = live.clock.now();
        let Live { board, screen, clock, .. } = &mut *live;
        board.sample(now);
        match std::mem::replace(screen, Screen::Silent) {
            Screen::Bars(bars) => bars.clear(),
            Screen::Plain(mut plain) => plain.report(board, clock, now),
            Screen::Silent => {}
        }
    }

    /// Runs something that writes to the same terminal (a log line, say) while the bars are out of its way.
    pub fn suspend<T>(&self, write: impl FnOnce() -> T) -> T {
        // Not under the lock, as the writer may well be on the thread that is just drawing.
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
        // A panic while drawing leaves nothing behind that could be wrong later.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
        let now = live.clock.now();
        let Live { board, screen, clock, .. } = &mut *live;
        if matches!(screen, Screen::Silent) {
            return;
        }
        board.take(ledger);
        for recorded in events {
            match &recorded.event {
                Event::AccountThrottled { account, pause_ms, .. } => {
                    let begins = board.throttled(account, now);
                    if let (true, Screen::Plain(plain)) = (begins, &mut *screen) {
                        let pause = pause_ms.map(Duration::from_millis);
                        plain.throttled(board, account, pause, clock, now);
                    }
                }
                Event::AccountStopped { account, cause } => match screen {
                    Screen::Plain(plain) => plain.stopped(account, cause, clock, now),
                    Screen::Bars(bars) => bars.stopped(account, cause),
                    Screen::Silent => {}
                },
                Event::RunDraining { reason, .. } => {
                    board.drain();
                    match screen {
                        Screen::Plain(plain) => plain.draining(reason, clock, now),
                        Screen::Bars(bars) => bars.draining(reason),
                        Screen::Silent => {}
                    }
                }
                _ => {}
            }
        }
        live.show(now);
    }
}

impl Live {
    fn show(&mut self, now: Instant) {
        self.board.sample(now);
        match &mut self.screen {
            Screen::Bars(bars) => {
                if now.saturating_duration_since(self.drawn) >= DRAW_EVERY {
                    self.drawn = now;
                    bars.draw(&self.board, now);
                }
            }
            Screen::Plain(plain) => plain.show(&self.board, &self.clock, now),
            Screen::Silent => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use fleetlogs_model::failure::FailureClass;
    use fleetlogs_model::ids::{AccountName, NodeIndex};
    use indicatif::InMemoryTerm;

    use super::*;
    use crate::testing::{
        START, SharedBuffer, accepted, failure, plan_of, planned, requested, retried, verified,
    };

    /// A run whose time and events the test makes.
    struct Stage {
        plan: Plan,
        ledger: Ledger,
        progress: Progress,
        now: Arc<Mutex<Instant>>,
        seconds: u64,
    }

    impl Stage {
        fn new(mode: ProgressMode, accounts: &[(&str, u32)]) -> Self {
            let nodes = accounts.iter().flat_map(|(account, nodes)| {
                (0..*nodes).map(move |node| planned(account, "pool", &format!("tvm-{node}")))
            });
            let plan = plan_of(nodes.collect());
            let ledger = Ledger::new(&plan);
            let now = Arc::new(Mutex::new(Instant::now()));
            let clock = ProgressClock::new(START, {
                let now = now.clone();
                move || *now.lock().unwrap()
            });
            let progress = Progress::new(mode, clock, &plan, &ledger, true);
            Self { plan, ledger, progress, now, seconds: 0 }
        }

        fn second(&mut self, seconds: u64) -> &mut Self {
            *self.now.lock().unwrap() += Duration::from_secs(seconds - self.seconds);
            self.seconds = seconds;
            self.progress.tick();
            self
        }

        fn hear(&mut self, nodes: std::ops::Range<u32>, event: &Event) -> &mut Self {
            let events: Vec<_> = nodes.map(|node| (Some(NodeIndex(node)), event.clone())).collect();
            self.group(events)
        }

        fn tell(&mut self, event: Event) -> &mut Self {
            self.group(vec![(None, event)])
        }

        fn group(&mut self, events: Vec<(Option<NodeIndex>, Event)>) -> &mut Self {
            let recorded = |(node, event)| Recorded { at: START, node, event };
            let group: Vec<Recorded> = events.into_iter().map(recorded).collect();
            for event in &group {
                self.ledger.apply(event);
            }
            self.progress.hear(&group, &self.ledger);
            self
        }
    }

    fn throttled(account: &str) -> Event {
        Event::AccountThrottled {
            account: AccountName::new(account),
            millirate: 75_000,
            pause_ms: Some(2_000),
        }
    }

    fn busy() -> Event {
        retried(1, failure(FailureClass::Throttled, 429, "TooManyRequests", "slow down"))
    }

    #[test]
    fn elsewhere_than_on_a_terminal_a_plain_line_is_written_now_and_then() {
        let buffer = SharedBuffer::default();
        let mut stage =
            Stage::new(ProgressMode::Plain(Box::new(buffer.clone())), &[("contoso", 700), ("fabrikam", 10)]);
        for second in 1..=4 {
            let first = u32::try_from(second - 1).unwrap() * 100;
            stage.second(second).hear(first..first + 100, &requested(1));
        }
        stage.hear(0..380, &accepted(1, "d", 4)).hear(380..392, &busy());
        stage.tell(throttled("contoso")).tell(throttled("contoso"));
        stage.second(9).hear(0..300, &verified(4, 40)).tell(throttled("contoso"));
        stage.second(11).second(12).second(21).second(31);
        let refused = failure(FailureClass::Auth, 403, "AuthenticationFailed", "the role\nis missing");
        stage.tell(Event::AccountStopped { account: AccountName::new("fabrikam"), cause: refused });
        stage.second(60).tell(throttled("contoso"));
        stage.second(61).hear(400..700, &requested(1)).hear(400..700, &accepted(1, "d", 4));
        stage.second(65).tell(Event::RunDraining { reason: "SIGINT".into(), outcome: None });
        stage.second(66).hear(300..380, &verified(4, 40));
        stage.progress.finish();

        insta::assert_snapshot!(buffer.text(), @r"
        09:30:04 contoso throttled, down to 75.0/s, pauses for 2s
        09:30:11 contoso 380/700 accepted, 300 verified, 14.3/s, throttled ×12, 75/s
        09:30:11 fabrikam 0/10 accepted
        09:30:31 fabrikam stopped: 403 AuthenticationFailed: the role is missing
        09:31:00 contoso throttled, down to 75.0/s, pauses for 2s
        09:31:05 draining, no new call is sent: SIGINT
        09:31:05 contoso 680/700 accepted, 300 verified, 60.0/s, throttled ×12, 75/s
        09:31:06 contoso 680/700 accepted, 380 verified, 60.0/s, throttled ×12, 75/s
        ");
    }

    #[test]
    fn the_wait_for_files_is_announced_at_once() {
        let buffer = SharedBuffer::default();
        let mut stage = Stage::new(ProgressMode::Plain(Box::new(buffer.clone())), &[("contoso", 4)]);
        stage.second(1).hear(0..4, &requested(1)).second(3).hear(0..4, &accepted(1, "d", 4));
        stage.second(9).hear(0..4, &verified(4, 40)).second(15);
        stage.progress.finish();

        insta::assert_snapshot!(buffer.text(), @r"
        09:30:03 contoso 4/4 accepted, 1.3/s
        09:30:03 every call is answered; awaiting the files of 4 nodes
        09:30:09 contoso 4/4 accepted, 4 verified
        ");
    }

    #[test]
    fn a_terminal_shows_a_bar_per_account_and_a_total() {
        let terminal = InMemoryTerm::new(20, 110);
        let target = ProgressDrawTarget::term_like(Box::new(terminal.clone()));
        let mut stage = Stage::new(ProgressMode::Bars(target), &[("contoso", 700), ("fabrikam", 10)]);
        for second in 1..=4 {
            let first = u32::try_from(second - 1).unwrap() * 100;
            stage.second(second).hear(first..first + 100, &requested(1));
        }
        stage.hear(0..380, &accepted(1, "d", 4)).hear(0..350, &verified(4, 40));
        stage.hear(380..392, &busy()).tell(throttled("contoso")).second(5);
        insta::assert_snapshot!(terminal.contents(), @r"
        contoso  ━━━━━━━━━━╸───────── 350/700   80.0/s  ETA 5s      throttled ×12, 75/s  400 sent, 380 accepted, 350 v
        fabrikam ────────────────────    0/10                       0 sent, 0 accepted, 0 verified
        total 350 of 710 done: 350 verified; ETA 6s
        ");

        stage.progress.finish();
        stage.second(6).hear(350..380, &verified(4, 40));
        assert_eq!(terminal.contents(), "");
    }

    #[test]
    fn more_accounts_than_bars_share_the_last_one() {
        let terminal = InMemoryTerm::new(20, 110);
        let target = ProgressDrawTarget::term_like(Box::new(terminal.clone()));
        let names: Vec<String> = (1..=12).map(|number| format!("account-{number:02}")).collect();
        let accounts: Vec<(&str, u32)> =
            names.iter().map(String::as_str).zip((1..=12).map(|n| n * 10)).collect();
        let mut stage = Stage::new(ProgressMode::Bars(target), &accounts);
        stage.second(1);

        let contents = terminal.contents();
        assert_eq!(contents.lines().count(), 8 + 1 + 1, "{contents}");
        assert!(contents.contains("4 more accounts"), "{contents}");
        assert!(contents.contains("0/100 "), "{contents}");
        assert!(!contents.contains("account-04"), "the smallest share: {contents}");
        assert_eq!(stage.plan.accounts.len(), 12);
    }

    #[test]
    fn a_resumed_run_does_not_count_old_calls_as_speed() {
        let buffer = SharedBuffer::default();
        let plan = plan_of((0..10).map(|node| planned("contoso", "pool", &format!("tvm-{node}"))).collect());
        let mut ledger = Ledger::new(&plan);
        for node in 0..9 {
            ledger.apply(&Recorded { at: START, node: Some(NodeIndex(node)), event: requested(1) });
        }
        let start = Instant::now();
        let seconds = Arc::new(Mutex::new(0));
        let clock = ProgressClock::new(START, {
            let seconds = seconds.clone();
            move || start + Duration::from_secs(*seconds.lock().unwrap())
        });
        let mode = ProgressMode::Plain(Box::new(buffer.clone()));
        let mut progress = Progress::new(mode, clock, &plan, &ledger, true);
        *seconds.lock().unwrap() = 10;
        let tenth = Recorded { at: START, node: Some(NodeIndex(9)), event: requested(1) };
        ledger.apply(&tenth);
        progress.hear(&[tenth], &ledger);
        progress.finish();

        assert_eq!(buffer.text(), "09:30:10 contoso 0/10 accepted, 0.1/s\n");
    }

    #[test]
    fn a_name_cannot_move_the_cursor() {
        let buffer = SharedBuffer::default();
        let mut stage = Stage::new(ProgressMode::Plain(Box::new(buffer.clone())), &[("a\u{1b}[2J\nb", 1)]);
        stage.tell(throttled("a\u{1b}[2J\nb")).second(11);
        stage.progress.finish();
        assert!(!buffer.text().contains('\u{1b}'), "{}", buffer.text());
        assert_eq!(buffer.text().lines().count(), 2, "{}", buffer.text());
    }
}
