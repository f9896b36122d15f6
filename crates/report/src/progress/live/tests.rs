//! Progress as it is seen.

use fleetlogs_model::failure::FailureClass;
use fleetlogs_model::ids::{AccountName, NodeIndex};
use fleetlogs_model::planned::PlannedNode;
use indicatif::InMemoryTerm;

use super::*;
use crate::testing::{
    START, SharedBuffer, accepted, failure, incomplete, plan_of, planned, requested, retried, verified,
};

/// A run whose time and events the test makes.
pub(super) struct Stage {
    plan: Arc<Plan>,
    ledger: Ledger,
    pub(super) progress: Progress,
    now: Arc<Mutex<Instant>>,
    seconds: u64,
}

impl Stage {
    pub(super) fn new(mode: ProgressMode, accounts: &[(&str, u32)]) -> Self {
        let nodes = accounts.iter().flat_map(|(account, nodes)| {
            (0..*nodes).map(move |node| planned(account, "pool", &format!("tvm-{node}")))
        });
        Self::of(mode, nodes.collect())
    }

    pub(super) fn of(mode: ProgressMode, nodes: Vec<PlannedNode>) -> Self {
        let plan = Arc::new(plan_of(nodes));
        let ledger = Ledger::new(&plan);
        let now = Arc::new(Mutex::new(Instant::now()));
        let clock = ProgressClock::new(START, {
            let now = now.clone();
            move || *now.lock()
        });
        let progress = Progress::new(mode, clock, plan.clone(), &ledger, true);
        Self { plan, ledger, progress, now, seconds: 0 }
    }

    pub(super) fn second(&mut self, seconds: u64) -> &mut Self {
        *self.now.lock() += Duration::from_secs(seconds - self.seconds);
        self.seconds = seconds;
        self.progress.tick();
        self
    }

    pub(super) fn hear(&mut self, nodes: std::ops::Range<u32>, event: &Event) -> &mut Self {
        let events: Vec<_> = nodes.map(|node| (Some(NodeIndex(node)), event.clone())).collect();
        self.group(events)
    }

    pub(super) fn tell(&mut self, event: Event) -> &mut Self {
        self.group(vec![(None, event)])
    }

    fn group(&mut self, events: Vec<(Option<NodeIndex>, Event)>) -> &mut Self {
        let at = START + Duration::from_secs(self.seconds);
        let recorded = |(node, event)| Recorded { at, node, event };
        let group: Vec<Recorded> = events.into_iter().map(recorded).collect();
        for event in &group {
            self.ledger.apply(event);
        }
        self.progress.hear(&group, &self.ledger);
        self
    }
}

pub(super) fn started() -> Event {
    Event::RunStarted {
        tool_version: "0.1.0".into(),
        verification: true,
        arrival_deadline_ms: Some(600_000),
        unverified: None,
        simulated: false,
    }
}

pub(super) fn throttled(account: &str) -> Event {
    Event::AccountThrottled { account: AccountName::new(account), millirate: 75_000, pause_ms: Some(2_000) }
}

/// Bars on a terminal of so many columns, which is fed by the test.
fn bars(terminal: &InMemoryTerm, width: usize) -> ProgressMode {
    let look = Look { width: Some(width), height: Some(24), ..Look::default() };
    let terminal = terminal.clone();
    ProgressMode::Bars(Box::new(move || Box::new(terminal.clone())), Box::new(move || look))
}

pub(super) fn busy() -> Event {
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
    stage.second(65).tell(Event::RunDraining { reason: "SIGINT".into(), outcome: None, cause: None });
    stage.second(66).hear(300..380, &verified(4, 40));
    stage.progress.finish();

    insta::assert_snapshot!(buffer.text(), @"
    09:30:09 contoso: throttled, down to 75.0/s; pausing for 2s, as the service asked
    09:30:11 run 20261122T093000Z-4f2a: 300 of 710 nodes done (42%), 300 verified, 80 awaited, 14.3/s, ETA 8s
    09:30:11 contoso: 300 of 700 nodes done, 300 verified, throttled ×12, 75/s at most
    09:30:31 run 20261122T093000Z-4f2a: 300 of 710 nodes done (42%), 300 verified, 1 account stopped, 80 awaited
    09:30:31 fabrikam: 0 of 10 nodes done, stopped
    09:31:00 fabrikam: stopped: 403 AuthenticationFailed: the role is missing
    09:31:01 contoso: throttled, down to 75.0/s; pausing for 2s, as the service asked
    09:31:01 run 20261122T093000Z-4f2a: 300 of 710 nodes done (42%), 300 verified, 1 account stopped, 80 awaited
    09:31:05 run 20261122T093000Z-4f2a: 300 of 710 nodes done (42%), 300 verified, 1 account stopped, 380 awaited, 60.0/s
    09:31:06 run 20261122T093000Z-4f2a: 380 of 710 nodes done (53%), 380 verified, 1 account stopped, 300 awaited, 60.0/s
    ");
}

#[test]
fn the_wait_for_files_is_announced_once_it_lasts() {
    let buffer = SharedBuffer::default();
    let mut stage = Stage::new(ProgressMode::Plain(Box::new(buffer.clone())), &[("contoso", 4)]);
    stage.tell(started()).second(1).hear(0..4, &requested(1)).second(3).hear(0..4, &accepted(1, "d", 4));
    stage.second(4).second(5).second(9).hear(0..4, &verified(4, 40)).second(10).second(11);
    stage.progress.finish();

    insta::assert_snapshot!(buffer.text(), @"
    09:30:05 run 20261122T093000Z-4f2a: 0 of 4 nodes done (0%), 4 awaited, 0.8/s, at most 9m 58s
    09:30:05 all calls are answered; waiting for the files of 4 nodes
    09:30:11 run 20261122T093000Z-4f2a: 4 of 4 nodes done (100%), 4 verified
    ");
}

/// Between two of them, every call is answered.
#[test]
fn nodes_that_are_retried_one_by_one_make_no_line_each() {
    let buffer = SharedBuffer::default();
    let mut stage = Stage::new(ProgressMode::Plain(Box::new(buffer.clone())), &[("contoso", 8)]);
    stage.tell(started()).hear(0..8, &requested(1)).hear(0..8, &accepted(1, "d", 4));
    stage.hear(0..8, &incomplete(0, 4));
    for node in 0..8 {
        stage.hear(node..node + 1, &requested(2)).hear(node..node + 1, &accepted(2, "d", 4));
    }
    stage.second(1).second(2).second(3).hear(0..8, &verified(4, 40));
    stage.progress.finish();
    insta::assert_snapshot!(buffer.text(), @"
    09:30:02 run 20261122T093000Z-4f2a: 0 of 8 nodes done (0%), 8 awaited, 8.0/s, at most 9m 58s
    09:30:02 all calls are answered; waiting for the files of 8 nodes
    09:30:03 run 20261122T093000Z-4f2a: 8 of 8 nodes done (100%), 8 verified, 5.3/s
    ");
}

#[test]
fn a_terminal_shows_a_bar_per_account_and_a_total() {
    let terminal = InMemoryTerm::new(24, 110);
    let mut stage = Stage::new(bars(&terminal, 110), &[("contoso", 700), ("fabrikam", 10)]);
    for second in 1..=4 {
        let first = u32::try_from(second - 1).unwrap() * 100;
        stage.second(second).hear(first..first + 100, &requested(1));
    }
    stage.hear(0..380, &accepted(1, "d", 4)).hear(0..350, &verified(4, 40));
    stage.hear(380..392, &busy()).tell(throttled("contoso")).second(5);
    insta::assert_snapshot!(terminal.contents(), @"
    contoso: throttled, down to 75.0/s; pausing for 2s, as the service asked
    total    ━━━━━━━━━━━━━━╸───────────────  350/710    80.0/s  ETA 4s
             5s calling nodes: 350 verified, 30 awaited, 8 in flight, 12 waiting, 310 not called
    contoso  ━━━━━━━━━━━━━━━───────────────  350/700    80.0/s  throttled ×12, pauses 1s
    fabrikam ──────────────────────────────     0/10
    ");

    stage.progress.finish();
    stage.second(6).hear(350..380, &verified(4, 40));
    let notice = "contoso: throttled, down to 75.0/s; pausing for 2s, as the service asked";
    assert_eq!(terminal.contents(), notice, "the bars are gone, the line stays");
}

#[test]
fn more_accounts_than_bars_share_the_last_one() {
    let terminal = InMemoryTerm::new(24, 110);
    let names: Vec<String> = (1..=12).map(|number| format!("account-{number:02}")).collect();
    let accounts: Vec<(&str, u32)> = names.iter().map(String::as_str).zip((1..=12).map(|n| n * 10)).collect();
    let mut stage = Stage::new(bars(&terminal, 110), &accounts);
    stage.second(1);

    let contents = terminal.contents();
    assert_eq!(contents.lines().count(), 2 + 8 + 1, "{contents}");
    let last = contents.lines().last().unwrap();
    assert!(last.starts_with("4 more accounts") && last.ends_with("0/100"), "{contents}");
    assert!(!contents.contains("account-04"), "the smallest share: {contents}");
    assert_eq!(stage.plan.accounts.len(), 12);

    // Of the smallest, one is in trouble now, and is seen.
    stage.second(7).tell(throttled("account-02")).second(9).second(15);
    let contents = terminal.contents();
    assert!(contents.contains("\naccount-02 "), "{contents}");
    assert!(contents.starts_with("account-02: throttled, down to 75.0/s; pausing for 2s"), "{contents}");
}

#[test]
fn a_narrow_terminal_has_the_notes_below_and_no_line_is_too_wide() {
    let terminal = InMemoryTerm::new(24, 80);
    let mut stage = Stage::new(bars(&terminal, 79), &[("contoso", 70_000), ("fabrikam-production-weu", 10)]);
    stage.tell(started()).second(1).hear(0..400, &requested(1)).hear(0..380, &accepted(1, "d", 4));
    stage.hear(0..350, &verified(4, 40)).hear(380..392, &busy()).tell(throttled("contoso")).second(3);
    stage.hear(350..360, &incomplete(3, 4)).second(5);
    insta::assert_snapshot!(terminal.contents(), @"
    contoso: throttled, down to 75.0/s; pausing for 2s, as the service asked
    total               ─────────────────     360/70,010    80.0/s  ETA 6m 07s
                        5s calling nodes: 350 verified, 10 incomplete, 20 awaited,
                        8 in flight, 12 waiting, 69,610 not called
    contoso             ─────────────────     360/70,000    80.0/s
                        throttled ×12, 75/s at most, 10 incomplete
    fabrikam-…ction-weu ─────────────────           0/10
    ");
}

#[test]
fn a_blocked_pool_is_told_once_for_all_its_nodes() {
    let terminal = InMemoryTerm::new(24, 100);
    let mut stage = Stage::new(bars(&terminal, 99), &[("contoso", 212), ("fabrikam", 4)]);
    stage.second(1).hear(0..216, &requested(1)).hear(0..216, &accepted(1, "d", 4));
    stage.hear(212..215, &verified(4, 40)).second(2);
    for first in [0, 100, 200] {
        stage.hear(first..(first + 100).min(212), &incomplete(0, 4));
    }
    stage.hear(215..216, &incomplete(0, 4)).second(4).second(5);
    stage.progress.finish();
    let contents = terminal.contents();
    assert_eq!(contents.trim(), "storage blocked from pool pool: 212 nodes of contoso so far");
}

#[test]
fn a_hundred_accounts_that_pause_or_stop_make_one_line_each() {
    let buffer = SharedBuffer::default();
    let names: Vec<String> = (0..100).map(|number| format!("account-{number:02}")).collect();
    let accounts: Vec<(&str, u32)> = names.iter().map(|name| (name.as_str(), 3)).collect();
    let mut stage = Stage::new(ProgressMode::Plain(Box::new(buffer.clone())), &accounts);
    stage.second(1);
    for name in &names {
        stage.tell(throttled(name)).tell(throttled(name));
    }
    stage.second(2).second(4);
    let refused = failure(FailureClass::Auth, 403, "AuthenticationFailed", "the role is missing");
    for name in &names[..3] {
        stage
            .tell(Event::AccountStopped { account: AccountName::new(name.as_str()), cause: refused.clone() });
    }
    stage.second(6);
    insta::assert_snapshot!(buffer.text(), @"
    09:30:02 account-00, account-01, account-02 and 97 more: throttled; pausing for up to 2s, as the service asked
    09:30:06 account-00, account-01, account-02: stopped: 403 AuthenticationFailed: the role is missing
    ");
}

#[test]
fn who_looks_on_sees_rates_by_the_time_of_the_events_and_the_troubles() {
    let nodes =
        (0..400).map(|node| planned("contoso", if node < 300 { "a" } else { "b" }, &format!("tvm-{node}")));
    let plan = Arc::new(plan_of(nodes.collect()));
    let mut ledger = Ledger::new(&plan);
    let start = Instant::now() + Duration::from_secs(4_000);
    let clock = ProgressClock::new(START + Duration::from_secs(100), move || start);
    let progress = Progress::new(ProgressMode::Silent, clock, plan.clone(), &ledger, true);
    let hear = |ledger: &mut Ledger, second: u32, nodes: std::ops::Range<u32>, event: Event| {
        for node in nodes {
            let at = START + Duration::from_secs(second.into());
            let recorded = Recorded { at, node: Some(NodeIndex(node)), event: event.clone() };
            ledger.apply(&recorded);
            progress.catch_up(&recorded, ledger);
        }
    };
    progress.catch_up(&Recorded { at: START, node: None, event: started() }, &ledger);
    // Ten calls a second, up to now.
    for second in 60..100 {
        hear(&mut ledger, second, (second - 60) * 10..(second - 59) * 10, requested(1));
    }
    hear(&mut ledger, 99, 0..380, accepted(1, "d", 4));
    hear(&mut ledger, 99, 0..200, verified(4, 40));
    hear(&mut ledger, 99, 300..312, incomplete(0, 4));
    hear(&mut ledger, 99, 200..202, incomplete(0, 4));
    let refused = failure(FailureClass::Refused, 409, "NodeNotReady", "it is not");
    hear(&mut ledger, 99, 380..384, Event::UploadFailed { attempt: 1, cause: refused });
    // One of them is called again: it is no trouble any more.
    hear(&mut ledger, 100, 380..381, requested(2));
    progress.caught_up(&ledger);
    progress.set_title("run 20261122T093000Z-4f2a running".into());
    let look = Look { width: Some(79), ..Look::default() };
    insta::assert_snapshot!(progress.picture(&look).join("\n"), @"
    run 20261122T093000Z-4f2a running
    contoso ━━━━━━━━━━━━━━━━──────────────  217/400    10.0/s  ETA 3s
            1m 40s calling nodes: 200 verified, 14 incomplete, 3 failed,
            166 awaited, 17 in flight
      incomplete  storage blocked from pool b: 12 nodes
      failed      409 NodeNotReady: it is not: 3 nodes in pool b
      incomplete  no file arrived: 2 nodes in pool a
    ");
}

#[test]
fn a_resumed_run_does_not_count_old_calls_as_speed() {
    let buffer = SharedBuffer::default();
    let nodes = (0..10).map(|node| planned("contoso", "pool", &format!("tvm-{node}")));
    let plan = Arc::new(plan_of(nodes.collect()));
    let mut ledger = Ledger::new(&plan);
    for node in 0..9 {
        ledger.apply(&Recorded { at: START, node: Some(NodeIndex(node)), event: requested(1) });
    }
    let start = Instant::now();
    let seconds = Arc::new(Mutex::new(0));
    let clock = ProgressClock::new(START, {
        let seconds = seconds.clone();
        move || start + Duration::from_secs(*seconds.lock())
    });
    let mode = ProgressMode::Plain(Box::new(buffer.clone()));
    let mut progress = Progress::new(mode, clock, plan.clone(), &ledger, true);
    *seconds.lock() = 10;
    let tenth = Recorded { at: START, node: Some(NodeIndex(9)), event: requested(1) };
    ledger.apply(&tenth);
    progress.hear(&[tenth], &ledger);
    progress.finish();

    assert_eq!(buffer.text(), "09:30:10 run 20261122T093000Z-4f2a: 0 of 10 nodes done (0%), 0.1/s\n");
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

#[test]
fn a_pool_from_which_nothing_comes_is_named_while_the_run_goes_on() {
    let buffer = SharedBuffer::default();
    let nodes = (0..60).map(|node| {
        let pool = if node < 40 { "render" } else { "isolated" };
        planned("contoso", pool, &format!("tvm-{node}"))
    });
    let mut stage = Stage::of(ProgressMode::Plain(Box::new(buffer.clone())), nodes.collect());
    stage.tell(started()).second(1).hear(0..60, &requested(1)).hear(0..60, &accepted(1, "d", 4));
    stage.second(4).hear(0..30, &verified(4, 40));
    // Not yet: slow pools exist.
    stage.second(14);
    assert!(!buffer.text().contains("isolated"), "{}", buffer.text());
    for second in [17, 18, 30, 60] {
        stage.second(second);
    }
    let named: Vec<_> =
        buffer.text().lines().filter(|line| line.contains("isolated")).map(str::to_owned).collect();
    insta::assert_snapshot!(named.join("\n"), @"09:30:17 contoso/isolated: nothing complete has arrived 16s after the first of 20 accepted calls, while other nodes took 3s at most: check the storage account's firewall and private endpoint for this pool");
    // It is not told again at its deadline.
    stage.second(601).hear(40..60, &incomplete(0, 4)).second(603);
    stage.progress.finish();
    assert_eq!(buffer.text().matches("isolated").count(), 1, "{}", buffer.text());
}

#[test]
fn a_stop_says_how_long_it_takes_and_counts_down() {
    let buffer = SharedBuffer::default();
    let mut stage = Stage::new(ProgressMode::Plain(Box::new(buffer.clone())), &[("contoso", 400)]);
    stage.tell(started()).second(1).hear(0..22, &requested(1)).hear(0..10, &accepted(1, "d", 4)).second(2);
    stage.progress.drain(StopNotice {
        reason: "stopped by a signal",
        patience: Some(Duration::from_secs(30)),
        resume: Some("fleetlogs resume runs/20261122T093000Z-4f2a"),
    });
    stage.second(3).hear(10..22, &accepted(1, "d", 4)).second(14).second(25).second(50);
    stage.progress.finish();
    insta::assert_snapshot!(buffer.text(), @"
    09:30:02 stopped by a signal: waiting for 12 calls in flight, then at most 30s for files; nothing is lost
    09:30:02 resume later: fleetlogs resume runs/20261122T093000Z-4f2a
    09:30:03 run 20261122T093000Z-4f2a: 0 of 400 nodes done (0%), 10 awaited, 7.3/s
    09:30:14 run 20261122T093000Z-4f2a: 0 of 400 nodes done (0%), 22 awaited, at most 19s
    09:30:25 run 20261122T093000Z-4f2a: 0 of 400 nodes done (0%), 22 awaited, at most 8s
    09:30:50 run 20261122T093000Z-4f2a: 0 of 400 nodes done (0%), 22 awaited
    ");
}
