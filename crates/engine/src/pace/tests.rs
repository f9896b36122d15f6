use std::cell::{Cell, RefCell};

use futures::future::join_all;
use tokio::time::sleep;

use super::controller::SLOWEST;
use super::*;

const ROUND_TRIP: Duration = Duration::from_millis(50);

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn pacer(ceiling: Option<f64>) -> Pacer {
    Pacer::new(ceiling, fastrand::Rng::with_seed(7))
}

/// An account that takes a limited number of calls per second and does not say how many. A tenth of a second can be
/// saved up.
struct Account {
    capacity: Cell<f64>,
    saved: Cell<f64>,
    filled: Cell<Instant>,
    retry_after: Option<Duration>,
    round_trip: Duration,
    /// How late calls arrive, on average.
    late: Duration,
    /// Share of the calls that it refuses for no reason of the rate.
    refuses: f64,
    random: RefCell<fastrand::Rng>,
}

impl Account {
    fn bearing(capacity: f64) -> Self {
        Self {
            capacity: Cell::new(capacity),
            saved: Cell::new(capacity / 10.0),
            filled: Cell::new(Instant::now()),
            retry_after: None,
            round_trip: ROUND_TRIP,
            late: Duration::ZERO,
            refuses: 0.0,
            random: RefCell::new(fastrand::Rng::with_seed(3)),
        }
    }

    fn serves(&self) -> bool {
        let gained = self.filled.replace(Instant::now()).elapsed().as_secs_f64() * self.capacity.get();
        let saved = (self.saved.get() + gained).min((self.capacity.get() / 10.0).max(1.0));
        let serves = saved >= 1.0;
        self.saved.set(if serves { saved - 1.0 } else { saved });
        serves
    }
}

/// What a stretch of time saw.
#[derive(Debug, Default)]
struct Seen {
    served: f64,
    throttled: f64,
    /// When the pace was cut.
    cuts: Vec<Instant>,
}

impl Seen {
    /// Calls served, as a share of what could have been.
    fn used(&self, capacity: f64, length: Duration) -> f64 {
        self.served / (capacity * length.as_secs_f64())
    }

    fn refused(&self) -> f64 {
        self.throttled / (self.served + self.throttled)
    }
}

/// Calls the account from `concurrency` workers for `length`.
async fn drive(pacer: &Pacer, account: &Account, concurrency: usize, length: Duration) -> Seen {
    let end = Instant::now() + length;
    let seen = RefCell::new(Seen::default());
    let worker = async || {
        while Instant::now() < end && tokio::time::timeout_at(end, pacer.turn()).await.is_ok() {
            let sent_at = Instant::now();
            if !account.late.is_zero() {
                let drawn = account.random.borrow_mut().f64();
                sleep(account.late.mul_f64(-(1.0 - drawn).ln())).await;
            }
            let serves = account.serves() && account.random.borrow_mut().f64() >= account.refuses;
            let jitter = account.random.borrow_mut().f64();
            sleep(account.round_trip.mul_f64(0.8 + 0.4 * jitter)).await;
            if serves {
                seen.borrow_mut().served += 1.0;
                pacer.answered_well(sent_at);
            } else {
                seen.borrow_mut().throttled += 1.0;
                if pacer.throttled(sent_at, account.retry_after).is_some() {
                    seen.borrow_mut().cuts.push(Instant::now());
                }
            }
        }
    };
    join_all((0..concurrency).map(|_| worker())).await;
    seen.into_inner()
}

/// Sends as fast as the pacer lets it, each answered well, for `length`; returns the calls.
async fn calls_within(pacer: &Pacer, length: Duration) -> u32 {
    let end = Instant::now() + length;
    let mut calls = 0;
    while tokio::time::timeout_at(end, pacer.turn()).await.is_ok() {
        calls += 1;
        pacer.answered_well(Instant::now());
    }
    calls
}

#[tokio::test(start_paused = true)]
async fn it_starts_at_a_quarter_and_reaches_the_ceiling_within_a_few_round_trips() {
    let pacer = pacer(Some(200.0));
    assert_eq!(pacer.rate(), Some(50.0));
    calls_within(&pacer, ROUND_TRIP * 5).await;
    assert_eq!(pacer.rate(), Some(200.0));
}

#[tokio::test(start_paused = true)]
async fn the_ceiling_holds_and_is_used() {
    let pacer = pacer(Some(200.0));
    calls_within(&pacer, Duration::from_secs(1)).await;
    let calls = calls_within(&pacer, Duration::from_secs(10)).await;
    assert!((1990..=2004).contains(&calls), "{calls} calls in 10 s at 200/s");
}

#[tokio::test(start_paused = true)]
async fn calls_that_were_in_flight_together_cut_the_rate_once() {
    let pacer = pacer(Some(200.0));
    calls_within(&pacer, Duration::from_secs(1)).await;
    let sent_at = Instant::now();
    tokio::time::advance(ROUND_TRIP).await;
    assert_eq!(pacer.throttled(sent_at, None), Some(Slowdown { rate: 100.0, pause: None }));
    assert_eq!(pacer.throttled(sent_at, None), None);
    tokio::time::advance(ROUND_TRIP).await;
    let later = Instant::now();
    assert!(pacer.throttled(later, None).is_some_and(|slowdown| slowdown.rate <= 70.0), "{:?}", pacer.rate());
}

#[tokio::test(start_paused = true)]
async fn retry_after_pauses_the_account_for_just_that_long() {
    let pacer = pacer(Some(200.0));
    pacer.throttled(Instant::now(), Some(Duration::from_secs(7)));
    let before = Instant::now();
    pacer.turn().await;
    assert_eq!(before.elapsed().as_secs(), 7);
}

#[tokio::test(start_paused = true)]
async fn a_single_refusal_at_the_start_costs_a_moment() {
    let pacer = pacer(Some(100.0));
    calls_within(&pacer, Duration::from_secs(1)).await;
    pacer.throttled(Instant::now() + Duration::from_millis(1), None);
    assert_eq!(pacer.rate(), Some(50.0));
    calls_within(&pacer, Duration::from_secs(1)).await;
    assert_eq!(pacer.rate(), Some(100.0));
}

#[tokio::test(start_paused = true)]
async fn below_a_level_that_is_too_much_it_stays_a_while() {
    let (pacer, account) = (pacer(Some(FAR_ABOVE)), Account::bearing(160.0));
    drive(&pacer, &account, 64, seconds(30)).await;
    // Until the next climb is refused, and the dip after it is over.
    while drive(&pacer, &account, 64, seconds(1)).await.cuts.is_empty() {}
    drive(&pacer, &account, 64, seconds(1)).await;
    let rate = pacer.rate().unwrap();
    assert!((136.0..=158.0).contains(&rate), "{rate}");
    drive(&pacer, &account, 64, seconds(3)).await;
    assert_eq!(pacer.rate(), Some(rate));
}

#[tokio::test(start_paused = true)]
async fn without_a_ceiling_nothing_waits_until_the_service_says_so() {
    let pacer = pacer(None);
    let before = Instant::now();
    for _ in 0..500 {
        pacer.turn().await;
    }
    assert_eq!(before.elapsed(), Duration::ZERO);
    tokio::time::advance(Duration::from_millis(500)).await;
    let slowdown = pacer.throttled(Instant::now(), None).unwrap();
    assert!((400.0..=600.0).contains(&slowdown.rate), "half of 1000/s, not {}", slowdown.rate);
}

#[tokio::test(start_paused = true)]
async fn throttling_does_not_raise_a_pace_whose_ceiling_is_very_low() {
    let pacer = pacer(Some(0.2));
    tokio::time::advance(Duration::from_secs(1)).await;
    pacer.throttled(Instant::now(), None);
    assert_eq!(pacer.rate(), Some(0.2));
}

#[tokio::test(start_paused = true)]
async fn a_change_of_pace_lets_no_call_through_at_once() {
    let pacer = pacer(Some(1.0));
    let before = Instant::now();
    for _ in 0..3 {
        pacer.turn().await;
        let sent_at = Instant::now();
        tokio::time::advance(Duration::from_millis(1)).await;
        pacer.throttled(sent_at, None);
    }
    assert_eq!(before.elapsed().as_secs(), 4, "three calls at one in two seconds");
}

#[tokio::test(start_paused = true)]
async fn the_pace_never_stops_for_good() {
    let pacer = pacer(Some(1.0));
    for _ in 0..50 {
        tokio::time::advance(Duration::from_secs(1)).await;
        pacer.throttled(Instant::now(), None);
    }
    assert_eq!(pacer.rate(), Some(SLOWEST));
}

#[tokio::test(start_paused = true)]
async fn calls_that_a_stall_held_back_do_not_go_out_together() {
    let pacer = pacer(Some(100.0));
    calls_within(&pacer, seconds(1)).await;
    assert_eq!(pacer.rate(), Some(100.0));
    let began = Instant::now();
    for _ in 0..50 {
        pacer.turn().await;
    }
    // All of them were held back until now.
    let stalled = Instant::now();
    let mut out = Vec::new();
    for _ in 0..50 {
        pacer.gate().await;
        out.push(Instant::now());
    }
    assert!(stalled - began >= Duration::from_millis(490));
    for second in out.windows(12) {
        assert!(
            second[11] - second[0] >= Duration::from_millis(90),
            "twelve calls within a tenth of a second"
        );
    }
}

/// A ceiling far above what the account bears: nothing but its answers can hold the pace.
const FAR_ABOVE: f64 = 1000.0;

#[tokio::test(start_paused = true)]
async fn it_finds_a_hidden_capacity_and_stays_a_little_below() {
    for (capacity, ceiling, round_trip) in [
        (160.0, FAR_ABOVE, 5),
        (160.0, FAR_ABOVE, 50),
        (160.0, FAR_ABOVE, 200),
        (60.0, FAR_ABOVE, 50),
        (40.0, 50.0, 50),
        (40.0, 50.0, 1000),
    ] {
        let pacer = pacer(Some(ceiling));
        let round_trip = Duration::from_millis(round_trip);
        let account = Account { round_trip, ..Account::bearing(capacity) };
        drive(&pacer, &account, 64, seconds(10)).await;
        let seen = drive(&pacer, &account, 64, seconds(60)).await;
        let used = seen.used(capacity, seconds(60));
        assert!(used >= 0.85, "{used} of {capacity}/s at {round_trip:?}: {seen:?}");
        assert!(seen.refused() <= 0.01, "{} of {capacity}/s at {round_trip:?}", seen.refused());
    }
}

#[tokio::test(start_paused = true)]
async fn it_follows_a_capacity_that_halves_and_one_that_doubles() {
    let pacer = pacer(Some(FAR_ABOVE));
    let account = Account::bearing(160.0);
    drive(&pacer, &account, 64, seconds(20)).await;

    account.capacity.set(80.0);
    let fall = drive(&pacer, &account, 64, seconds(5)).await;
    assert!(fall.refused() <= 0.06, "{fall:?}");
    let seen = drive(&pacer, &account, 64, seconds(60)).await;
    assert!(seen.used(80.0, seconds(60)) >= 0.85 && seen.refused() <= 0.01, "{seen:?}");

    account.capacity.set(160.0);
    drive(&pacer, &account, 64, seconds(30)).await;
    let seen = drive(&pacer, &account, 64, seconds(60)).await;
    assert!(seen.used(160.0, seconds(60)) >= 0.85 && seen.refused() <= 0.01, "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn the_start_costs_few_calls_however_far_the_ceiling_is() {
    let pacer = pacer(Some(FAR_ABOVE));
    let account = Account::bearing(60.0);
    let seen = drive(&pacer, &account, 64, seconds(10)).await;
    // What goes out at the first doublings is on its way before the first answer comes.
    assert!(seen.throttled <= 64.0 && seen.cuts.len() <= 8, "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn a_storm_is_cut_each_round_trip_and_an_outage_is_not_taken_for_a_capacity() {
    for round_trip in [20, 1000] {
        let pacer = pacer(Some(FAR_ABOVE));
        let round_trip = Duration::from_millis(round_trip);
        let account = Account { round_trip, ..Account::bearing(160.0) };
        drive(&pacer, &account, 256, seconds(20)).await;

        account.capacity.set(0.0);
        let storm = drive(&pacer, &account, 256, round_trip * 8).await;
        let spared = pacer.rate().unwrap() <= 25.0 && (storm.throttled <= 12.0 || round_trip >= seconds(1));
        assert!(spared, "{:?} after {storm:?}", pacer.rate());
        drive(&pacer, &account, 256, seconds(20)).await;
        assert_eq!(pacer.rate(), Some(SLOWEST), "a call now and then finds out that it is over");

        account.capacity.set(160.0);
        drive(&pacer, &account, 256, seconds(25)).await;
        let seen = drive(&pacer, &account, 256, seconds(30)).await;
        assert!(seen.used(160.0, seconds(30)) >= 0.80, "{seen:?} at {round_trip:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_pause_it_goes_on_at_half_and_is_soon_where_it_was() {
    let pacer = pacer(Some(FAR_ABOVE));
    let mut account = Account::bearing(160.0);
    drive(&pacer, &account, 64, seconds(20)).await;
    account.retry_after = Some(seconds(5));
    let mut length = Duration::ZERO;
    while drive(&pacer, &account, 64, seconds(1)).await.cuts.is_empty() {
        length += seconds(1);
        assert!(length < seconds(30), "nothing was tried beyond the plateau");
    }
    account.retry_after = None;
    // The pause began within the last second.
    let paused = drive(&pacer, &account, 64, seconds(4)).await;
    assert!(paused.served + paused.throttled < 1.0, "called within a pause: {paused:?}");
    let first = drive(&pacer, &account, 64, seconds(1)).await;
    assert!(first.served <= 110.0, "a burst after the pause: {first:?}");
    drive(&pacer, &account, 64, seconds(2)).await;
    let seen = drive(&pacer, &account, 64, seconds(20)).await;
    assert!(seen.used(160.0, seconds(20)) >= 0.85, "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn accounts_that_began_together_do_not_try_more_together() {
    let run = async |seed| {
        let pacer = Pacer::new(Some(FAR_ABOVE), fastrand::Rng::with_seed(seed));
        let account = Account::bearing(160.0);
        let seen = drive(&pacer, &account, 64, seconds(180)).await;
        seen.cuts
    };
    let (one, other) = tokio::join!(run(1), run(2));
    let late =
        |cuts: &[Instant]| cuts.iter().copied().filter(|at| *at > one[0] + seconds(20)).collect::<Vec<_>>();
    let (one_late, other_late) = (late(&one), late(&other));
    assert!(one_late.len() >= 5 && other_late.len() >= 5, "{} and {}", one_late.len(), other_late.len());
    let near = |at: &Instant| {
        other_late.iter().any(|other| other.duration_since(*at).max(at.duration_since(*other)) < seconds(1))
    };
    let together = one_late.iter().filter(|at| near(at)).count();
    assert!(together * 2 < one_late.len(), "{together} of {} cuts within a second", one_late.len());
}

#[tokio::test(start_paused = true)]
async fn without_a_ceiling_it_finds_a_hidden_capacity_too() {
    let pacer = pacer(None);
    let account = Account::bearing(160.0);
    drive(&pacer, &account, 32, seconds(20)).await;
    let seen = drive(&pacer, &account, 32, seconds(60)).await;
    assert!(seen.used(160.0, seconds(60)) >= 0.85 && seen.refused() <= 0.01, "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn a_rate_that_the_calls_in_flight_do_not_use_is_neither_raised_nor_taken_for_a_level() {
    let pacer = pacer(Some(FAR_ABOVE));
    // Four calls of 50 ms make 80 a second.
    let account = Account::bearing(500.0);
    drive(&pacer, &account, 4, seconds(10)).await;
    assert_eq!(pacer.rate(), Some(250.0));
    let slowdown = pacer.throttled(Instant::now() + Duration::from_millis(1), None).unwrap();
    assert!((30.0..=50.0).contains(&slowdown.rate), "half of 80/s, not {}", slowdown.rate);
}

/// What an account with a ceiling of 200/s that refuses a share of the calls for no reason served in 40 s, for several
/// dice, as a share of what it could have.
async fn served_in_noise(share: f64, capacity: f64, retry_after: Option<Duration>) -> Vec<(f64, Seen)> {
    let mut runs = Vec::new();
    for seed in 0..9 {
        let pacer = pacer(Some(200.0));
        let random = RefCell::new(fastrand::Rng::with_seed(seed));
        let account = Account {
            refuses: share,
            random,
            retry_after,
            round_trip: Duration::from_millis(20),
            ..Account::bearing(capacity)
        };
        let seen = drive(&pacer, &account, 64, seconds(40)).await;
        runs.push((seen.used(capacity.min(200.0) * (1.0 - share), seconds(40)), seen));
    }
    runs.sort_by(|(one, _), (other, _)| one.total_cmp(other));
    runs
}

#[tokio::test(start_paused = true)]
async fn refusals_that_have_nothing_to_do_with_the_rate_cost_little() {
    for (share, least, median) in [(0.01, 0.50, 0.93), (0.05, 0.30, 0.85), (0.10, 0.05, 0.70)] {
        let runs = served_in_noise(share, 1e6, None).await;
        let used: Vec<_> = runs.iter().map(|(used, _)| *used).collect();
        assert!(used[0] >= least && used[4] >= median, "with {share} refused: {used:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn noise_does_not_hide_a_capacity() {
    let runs = served_in_noise(0.05, 100.0, None).await;
    let used: Vec<_> = runs.iter().map(|(used, _)| *used).collect();
    assert!(used[0] >= 0.50 && used[4] >= 0.80, "{used:?}");
    let beyond: Vec<_> = runs.iter().map(|(_, seen)| seen.refused() - 0.05).collect();
    assert!(beyond.iter().sum::<f64>() / 9.0 <= 0.02, "{beyond:?}");
}

#[tokio::test(start_paused = true)]
async fn a_pause_that_is_asked_for_at_random_is_kept_until_it_is_known_to_be_at_random() {
    let pacer = pacer(Some(200.0));
    calls_within(&pacer, seconds(1)).await;
    let mut pauses = 0;
    for number in 0..4000 {
        pacer.turn().await;
        let sent_at = Instant::now();
        if number % 20 == 7 {
            pacer.throttled(sent_at, Some(seconds(1)));
            let before = Instant::now();
            pacer.gate().await;
            pauses += u32::from(before.elapsed() >= seconds(1));
        } else {
            pacer.answered_well(sent_at);
        }
    }
    assert!((2..=20).contains(&pauses), "{pauses} pauses for 200 refusals");
    let runs = served_in_noise(0.05, 1e6, Some(seconds(1))).await;
    let used: Vec<_> = runs.iter().map(|(used, _)| *used).collect();
    assert!(used[4] >= 0.6, "{used:?}");
}

#[tokio::test(start_paused = true)]
async fn no_call_passes_the_gate_within_a_pause() {
    let pacer = pacer(Some(200.0));
    pacer.turn().await;
    pacer.throttled(Instant::now(), Some(seconds(3)));
    let before = Instant::now();
    pacer.gate().await;
    assert_eq!(before.elapsed().as_secs(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_capacity_of_a_few_calls_is_used() {
    for late in [0, 3] {
        let pacer = pacer(Some(200.0));
        let account = Account { late: Duration::from_millis(late), ..Account::bearing(5.0) };
        let seen = drive(&pacer, &account, 64, seconds(120)).await;
        let used = seen.used(5.0, seconds(120));
        assert!(used >= 0.84 && seen.refused() <= 0.045, "{late} ms: {used} of 5/s, {seen:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_goes_ahead_takes_a_turn_from_the_line() {
    let pacer = pacer(Some(5.0));
    // Nobody else waits.
    pacer.turn_ahead().await;
    let turns = Cell::new(0_u32);
    let line = async {
        let worker = async || {
            while turns.get() < 200 {
                pacer.turn().await;
                turns.set(turns.get() + 1);
                pacer.answered_well(Instant::now());
            }
        };
        join_all((0..64).map(|_| worker())).await;
    };
    let ahead = async {
        for _ in 0..10 {
            sleep(seconds(2)).await;
            let waited = Instant::now();
            pacer.turn_ahead().await;
            assert!(waited.elapsed() <= Duration::from_millis(410), "{:?}", waited.elapsed());
        }
        // One that no longer waits takes nothing.
        let dropped = tokio::time::timeout(Duration::ZERO, pacer.turn_ahead()).await;
        assert!(dropped.is_err());
    };
    let began = Instant::now();
    tokio::join!(line, ahead);
    let calls = f64::from(turns.get() + 10);
    assert!(calls <= 5.0 * began.elapsed().as_secs_f64() + 1.5, "{calls} in {:?}", began.elapsed());
    assert!(calls >= 4.9 * (began.elapsed().as_secs_f64() - 2.0), "{calls} in {:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn two_runs_on_one_account_share_it() {
    for seed in 0..4 {
        let account = Account::bearing(200.0);
        let pacers =
            [1, 2].map(|number| Pacer::new(Some(FAR_ABOVE), fastrand::Rng::with_seed(seed * 10 + number)));
        let run = |pacer| drive(pacer, &account, 64, seconds(60));
        let (one, other) = tokio::join!(run(&pacers[0]), run(&pacers[1]));
        let (sum, squares) = (one.served + other.served, one.served.powi(2) + other.served.powi(2));
        let fairness = sum.powi(2) / 2.0 / squares;
        assert!(fairness >= 0.85, "{fairness}: {one:?} and {other:?}");
        assert!(sum >= 0.88 * 200.0 * 60.0, "{one:?} and {other:?}");
    }
}
