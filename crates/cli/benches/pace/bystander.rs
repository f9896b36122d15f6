//! Somebody else who works with the account, whatever else is going on.
//!
//! It reads a pool again and again, and sends on whatever becomes of its earlier requests. What is throttled it repeats
//! after a second or after `Retry-After`, as clients do. The time of a request is that with all its repeats.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use time::OffsetDateTime;

use crate::client::{Account, Answer, ServerTexts};
use crate::numbers::number;
use crate::server::Server;

/// How long it is watched without a run, in seconds.
pub(crate) const ALONE: f64 = 15.0;

/// A request of the bystander.
#[derive(Clone, Copy)]
pub(crate) struct Request {
    /// Seconds from the start of the server.
    pub(crate) at: f64,
    pub(crate) seconds: f64,
    pub(crate) throttled: u32,
}

pub(crate) struct Bystander {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<Vec<Request>>,
}

impl Bystander {
    /// Starts it, with so many requests per second.
    pub(crate) fn start(server: &Server, serves_since: OffsetDateTime, rate: f64) -> Self {
        let server = ServerTexts::of(server);
        let started = Instant::now();
        let offset = (OffsetDateTime::now_utc() - serves_since).as_seconds_f64();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let account = Account::of(&server).await;
                let requests = Arc::new(Mutex::new(Vec::new()));
                let mut random = fastrand::Rng::with_seed(40);
                let mut sending = tokio::task::JoinSet::new();
                let mut next = tokio::time::Instant::now();
                while !stopped.load(Ordering::Relaxed) {
                    tokio::time::sleep_until(next).await;
                    next += Duration::from_secs_f64((0.5 + random.f64()) / rate);
                    let (account, requests) = (account.clone(), requests.clone());
                    sending.spawn(async move {
                        let began = Instant::now();
                        let mut throttled = 0;
                        while let Answer::NotNow(wait) = account.get("/pools/pool-0").await {
                            throttled += 1;
                            tokio::time::sleep(Duration::from_secs(wait.unwrap_or(1))).await;
                        }
                        let at = offset + (began - started).as_secs_f64();
                        let request = Request { at, seconds: began.elapsed().as_secs_f64(), throttled };
                        requests.lock().expect("no panic").push(request);
                    });
                }
                sending.join_all().await;
                std::mem::take(&mut *requests.lock().expect("no panic"))
            })
        });
        Self { stop, thread }
    }

    pub(crate) fn end(self) -> Vec<Request> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the bystander ends")
    }
}

pub(crate) fn mean(requests: &[Request]) -> f64 {
    requests.iter().map(|request| request.seconds).sum::<f64>() / number(requests.len())
}

pub(crate) fn quantile(requests: &[Request], share: f64) -> f64 {
    let mut seconds: Vec<f64> = requests.iter().map(|request| request.seconds).collect();
    seconds.sort_by(f64::total_cmp);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place in a small list")]
    let place = (number(seconds.len() - 1) * share).round() as usize;
    seconds[place]
}

/// Requests that were throttled at least once.
pub(crate) fn harmed(requests: &[Request]) -> f64 {
    number(requests.iter().filter(|request| request.throttled > 0).count())
}
