//! What the pace is worth: how much of an account's hidden capacity a run uses, and what that costs somebody else who
//! works with the same account.
//!
//! `just bench` runs it. The server (`fleetlogs sim`), the run and the bystander (this program) are processes of their
//! own and speak HTTP. The account bears 200 calls per second, of which the bystander uses 40, and only 100 from half a
//! minute on; the ceiling of the run is 1,000. The bystander sends on, whatever becomes of its earlier requests, and
//! repeats what is throttled after a second or after `Retry-After`, as clients do. Its time is that of a request with
//! all its repeats, beside the same without a run.
//!
//! With `--plots` it runs two more scenes, and draws all three into docs/design.

mod server;

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::server::Server;

const ROUNDS: usize = 3;
/// Ceiling of the run, in calls per second.
const CEILING: f64 = 1000.0;
const CONCURRENCY: usize = 64;
/// Requests per second of the bystander.
const BYSTANDER: f64 = 40.0;
/// How long the bystander is watched alone, in seconds.
const ALONE: f64 = 15.0;
/// Until then a run may look for its pace, counted from its first call or from a change.
const WARM_UP: f64 = 10.0;
/// Added to every call.
const LATENCY_MS: u32 = 50;

/// What the account bears.
struct Scene {
    name: &'static str,
    title: &'static str,
    nodes: u32,
    capacity: f64,
    /// When, in seconds from the start of the server, and what it is from then on.
    change: Option<(f64, f64)>,
    retry_after: Option<u32>,
}

const HALVING: Scene = Scene {
    name: "halving",
    title: "The capacity halves",
    nodes: 8_000,
    capacity: 200.0,
    change: Some((32.0, 100.0)),
    retry_after: None,
};

const DOUBLING: Scene = Scene {
    name: "doubling",
    title: "The capacity doubles",
    nodes: 7_000,
    capacity: 100.0,
    change: Some((27.0, 200.0)),
    retry_after: None,
};

const RETRY_AFTER: Scene = Scene {
    name: "retry-after",
    title: "Throttled answers ask for a pause of 3 s",
    nodes: 5_000,
    capacity: 200.0,
    change: None,
    retry_after: Some(3),
};

impl Scene {
    fn scenario(&self) -> String {
        let mut text = format!(
            "[[account]]\nname = \"contoso\"\nlatency = \"{LATENCY_MS}ms\"\ncapacity = {}\n",
            self.capacity
        );
        if let Some(seconds) = self.retry_after {
            let _ = writeln!(text, "retry_after = \"{seconds}s\"");
        }
        if let Some((at, capacity)) = self.change {
            let at = (at * 1000.0).round();
            let _ = writeln!(text, "[[account.capacity_change]]\nat = \"{at}ms\"\ncapacity = {capacity}");
        }
        // A thousand nodes are one page of a list: lists are not what is looked at here.
        for pool in 0..self.nodes / 1000 {
            let _ = writeln!(
                text,
                "[[account.pool]]\nid = \"pool-{pool}\"\nnodes = 1000\nunknown_state = 0\nstorage_blocked = true"
            );
        }
        text
    }

    fn capacity(&self, at: f64) -> f64 {
        self.change.filter(|(from, _)| at >= *from).map_or(self.capacity, |(_, capacity)| capacity)
    }

    /// Calls that were there for us between two times.
    fn left(&self, from: f64, until: f64) -> f64 {
        let changes = self.change.map_or(until, |(at, _)| at.clamp(from, until));
        (self.capacity(from) - BYSTANDER) * (changes - from)
            + (self.capacity(until) - BYSTANDER) * (until - changes)
    }
}

fn main() {
    print_head(&HALVING);
    let mut rounds = Vec::new();
    for number in 1..=ROUNDS {
        let round = Round::of(&HALVING);
        round.print(number);
        rounds.push(round);
    }
    report(&rounds);
    if std::env::args().any(|argument| argument == "--plots") {
        rounds.sort_by(|one, other| one.used.total_cmp(&other.used));
        draw(&HALVING, &rounds[ROUNDS / 2]);
        for scene in [DOUBLING, RETRY_AFTER] {
            print_head(&scene);
            let round = Round::of(&scene);
            round.print(1);
            draw(&scene, &round);
        }
    }
}

/// Prints medians, and writes them and the rounds as JSON.
fn report(rounds: &[Round]) {
    println!("{:>32} {:>9} {:>9} {:>9}", "", "median", "least", "most");
    let mut summary = serde_json::Map::new();
    let figures: Vec<_> = rounds.iter().map(Round::figures).collect();
    for (place, (name, _)) in figures[0].iter().enumerate() {
        let in_order: Vec<f64> = figures.iter().map(|round| round[place].1).collect();
        let mut values = in_order.clone();
        values.sort_by(f64::total_cmp);
        let (least, median, most) = (values[0], values[ROUNDS / 2], values[ROUNDS - 1]);
        println!("{name:>32} {median:>9.4} {least:>9.4} {most:>9.4}");
        let entry = json!({ "median": median, "least": least, "most": most, "rounds": in_order });
        summary.insert((*name).to_owned(), entry);
    }
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pace.json");
    let document = json!({
        "nodes": HALVING.nodes,
        "capacity": [HALVING.capacity, HALVING.change.map(|(_, capacity)| capacity)],
        "bystander_per_second": BYSTANDER,
        "ceiling": CEILING,
        "concurrency": CONCURRENCY,
        "latency_ms": LATENCY_MS,
        "figures": summary,
    });
    std::fs::write(&file, document.to_string()).expect("the result can be written");
    println!("written to {}", file.display());
}

fn draw(scene: &Scene, round: &Round) {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/design");
    let file = docs.join(format!("pace-{}.svg", scene.name));
    std::fs::write(&file, plot(scene, round)).expect("the plot can be written");
    println!("written to {}", file.display());
}

/// The server, and when it began to count time.
fn start_server(scene: &Scene) -> (Server, OffsetDateTime) {
    let server = Server::start(&scene.scenario());
    (server, OffsetDateTime::now_utc())
}

/// A request of the bystander.
#[derive(Clone, Copy)]
struct Request {
    /// Seconds from the start of the server.
    at: f64,
    seconds: f64,
    throttled: u32,
}

/// A client that works with the account, whatever else is going on.
struct Bystander {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<Vec<Request>>,
}

impl Bystander {
    fn start(server: &Server, serves_since: OffsetDateTime) -> Self {
        let endpoint = server.text("/accounts/0/endpoint");
        let identity = server.text("/ledger").replace("ledger", "identity");
        let started = Instant::now();
        let offset = (OffsetDateTime::now_utc() - serves_since).as_seconds_f64();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let client = fleetlogs_azure::http_client(256).expect("a client");
                let url =
                    format!("{identity}?resource=https://batch.core.windows.net/&api-version=2019-08-01");
                let answer = client.get(url).header("X-IDENTITY-HEADER", "x").send().await.expect("a token");
                let token: Value = answer.json().await.expect("JSON");
                let token = format!("Bearer {}", token["access_token"].as_str().expect("a token"));
                let url = format!("{endpoint}/pools/pool-0?api-version=2024-07-01.20.0&$select=id");
                let requests = Arc::new(Mutex::new(Vec::new()));
                let mut random = fastrand::Rng::with_seed(40);
                let mut sending = tokio::task::JoinSet::new();
                let mut next = tokio::time::Instant::now();
                while !stopped.load(Ordering::Relaxed) {
                    tokio::time::sleep_until(next).await;
                    next += Duration::from_secs_f64((0.5 + random.f64()) / BYSTANDER);
                    let (client, url, token) = (client.clone(), url.clone(), token.clone());
                    let requests = requests.clone();
                    sending.spawn(async move {
                        let began = Instant::now();
                        let mut throttled = 0;
                        loop {
                            let answer = client.get(&url).header("Authorization", &token).send().await;
                            let answer = answer.expect("an answer");
                            let status = answer.status();
                            let wait =
                                answer.headers().get("retry-after").and_then(|wait| wait.to_str().ok());
                            let wait = wait.and_then(|wait| wait.parse().ok()).unwrap_or(1);
                            answer.bytes().await.expect("a body");
                            if status == 200 {
                                break;
                            }
                            assert_eq!(status, 429);
                            throttled += 1;
                            tokio::time::sleep(Duration::from_secs(wait)).await;
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

    fn end(self) -> Vec<Request> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the bystander ends")
    }
}

/// Times of a run, in seconds from the start of the server.
#[derive(Default)]
struct Run {
    requested: Vec<f64>,
    /// The last node's first call.
    last_fresh: f64,
    accepted: Vec<f64>,
    throttled: Vec<f64>,
}

impl Run {
    fn of(server: &Server, serves_since: OffsetDateTime) -> Self {
        let written = server.config();
        // Its own settings of speed give way to the bench's.
        let accounts = written.find("\n[[account]]").expect("an account");
        let speed = written.find("\n[deadlines]").expect("settings of speed");
        let written = format!("{}{}", &written[..speed], &written[accounts..]);
        let config = server.dir.path().join("bench.toml");
        let limits = format!("[limits]\nrate = {CEILING:.0}\nconcurrency = {CONCURRENCY}\n");
        std::fs::write(&config, format!("{limits}[verify]\nenabled = false\n{written}")).expect("the config");
        let events = server.dir.path().join("events.jsonl");
        let status = Command::new(env!("CARGO_BIN_EXE_fleetlogs"))
            .arg("run")
            .arg(&config)
            .arg("--quiet")
            .arg("--events")
            .arg(&events)
            .current_dir(server.dir.path())
            .status()
            .expect("the run starts");
        assert!(status.success(), "the run ended with {status}");
        let mut run = Self::default();
        for line in std::fs::read_to_string(events).expect("events").lines() {
            let line: Value = serde_json::from_str(line).expect("JSON");
            let at = line["at"].as_str().expect("a time");
            let at = (OffsetDateTime::parse(at, &Rfc3339).expect("a time") - serves_since).as_seconds_f64();
            match line["event"].as_str() {
                Some("upload-requested") => {
                    run.requested.push(at);
                    if line["attempt"] == 1 {
                        run.last_fresh = run.last_fresh.max(at);
                    }
                }
                Some("upload-accepted") => run.accepted.push(at),
                Some("upload-will-retry") if line["cause"]["class"] == "throttled" => run.throttled.push(at),
                _ => {}
            }
        }
        run
    }
}

struct Round {
    run: Run,
    beside: Vec<Request>,
    alone: Vec<Request>,
    /// When the first call was sent.
    begin: f64,
    /// When the capacity changed, or the end.
    change: f64,
    used_before: f64,
    used_after: f64,
    used: f64,
}

fn within(times: &[f64], from: f64, until: f64) -> f64 {
    number(times.iter().filter(|at| (from..until).contains(*at)).count())
}

#[expect(clippy::cast_precision_loss, reason = "a small number")]
fn number(count: usize) -> f64 {
    count as f64
}

fn mean(requests: &[Request]) -> f64 {
    requests.iter().map(|request| request.seconds).sum::<f64>() / number(requests.len())
}

fn quantile(requests: &[Request], share: f64) -> f64 {
    let mut seconds: Vec<f64> = requests.iter().map(|request| request.seconds).collect();
    seconds.sort_by(f64::total_cmp);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place in a small list")]
    let place = (number(seconds.len() - 1) * share).round() as usize;
    seconds[place]
}

/// Requests that were throttled at least once, as a share.
fn harmed(requests: &[Request]) -> f64 {
    number(requests.iter().filter(|request| request.throttled > 0).count()) / number(requests.len())
}

impl Round {
    fn of(scene: &Scene) -> Self {
        let alone = {
            let (server, serves_since) = start_server(scene);
            let bystander = Bystander::start(&server, serves_since);
            std::thread::sleep(Duration::from_secs_f64(ALONE));
            bystander.end()
        };
        let (server, serves_since) = start_server(scene);
        let bystander = Bystander::start(&server, serves_since);
        std::thread::sleep(Duration::from_secs(1));
        let run = Run::of(&server, serves_since);
        let beside = bystander.end();
        let begin = run.requested.iter().copied().fold(f64::INFINITY, f64::min);
        let end = run.last_fresh;
        let used = |from: f64, until: f64| within(&run.accepted, from, until) / scene.left(from, until);
        let change = scene.change.map_or(end, |(at, _)| at);
        let after = if scene.change.is_some() { used(change + WARM_UP, end) } else { f64::NAN };
        let (used_before, used) = (used(begin + WARM_UP, change), used(begin + WARM_UP, end));
        Self { begin, change, used_before, used_after: after, used, run, beside, alone }
    }

    /// How many requests of the bystander that began between two times were throttled.
    fn harmed_between(&self, from: f64, until: f64) -> f64 {
        let began = |request: &&Request| (from..until).contains(&request.at) && request.throttled > 0;
        number(self.beside.iter().filter(began).count())
    }

    fn throttled(&self) -> f64 {
        number(self.run.throttled.len()) / number(self.run.requested.len())
    }

    fn figures(&self) -> Vec<(&'static str, f64)> {
        let (beside, alone) = (&self.beside, &self.alone);
        vec![
            ("used_before_the_change", self.used_before),
            ("used_after_the_change", self.used_after),
            ("used_whole", self.used),
            ("calls", number(self.run.requested.len())),
            ("throttled", self.throttled()),
            ("bystander_requests", number(beside.len())),
            ("bystander_mean_ms", mean(beside) * 1000.0),
            ("bystander_mean_alone_ms", mean(alone) * 1000.0),
            ("bystander_mean_slowdown", mean(beside) / mean(alone) - 1.0),
            ("bystander_median_slowdown", quantile(beside, 0.5) / quantile(alone, 0.5) - 1.0),
            ("bystander_p99_slowdown", quantile(beside, 0.99) / quantile(alone, 0.99) - 1.0),
            ("bystander_throttled", harmed(beside)),
            ("bystander_throttled_at_start", self.harmed_between(0.0, self.begin + WARM_UP)),
            ("bystander_throttled_at_change", self.harmed_between(self.change, self.change + WARM_UP)),
            ("bystander_throttled_number", number(beside.iter().filter(|one| one.throttled > 0).count())),
            ("bystander_throttled_alone", harmed(alone)),
        ]
    }

    fn print(&self, number: usize) {
        let (beside, alone) = (&self.beside, &self.alone);
        println!(
            "{number:>5} {:>7.3} {:>7.3} {:>7.3} {:>6} {:>10.4} {:>9.2} {:>9.2} {:>8.2}% {:>8.2}% {:>10.4}",
            self.used_before,
            self.used_after,
            self.used,
            self.run.requested.len(),
            self.throttled(),
            mean(alone) * 1000.0,
            mean(beside) * 1000.0,
            (mean(beside) / mean(alone) - 1.0) * 100.0,
            (quantile(beside, 0.5) / quantile(alone, 0.5) - 1.0) * 100.0,
            harmed(beside),
        );
    }
}

fn print_head(scene: &Scene) {
    println!(
        "{}: {} nodes, ceiling {CEILING}/s, capacity {}/s then {:?}, bystander {BYSTANDER}/s, latency {LATENCY_MS} ms",
        scene.title, scene.nodes, scene.capacity, scene.change
    );
    println!(
        "{:>5} {:>7} {:>7} {:>7} {:>6} {:>10} {:>9} {:>9} {:>9} {:>9} {:>10}",
        "round",
        "before",
        "after",
        "whole",
        "calls",
        "throttled",
        "alone ms",
        "beside ms",
        "mean",
        "median",
        "its 429s"
    );
}

/// A picture: calls per second over time, what was there for them, and throttled answers.
fn plot(scene: &Scene, round: &Round) -> String {
    const STEP: f64 = 0.5;
    let (width, height, left, top, bottom) = (760.0, 300.0, 48.0, 40.0, 36.0);
    let run = &round.run;
    let begin = run.requested.iter().copied().fold(f64::INFINITY, f64::min).floor();
    let length = ((run.last_fresh - begin) / 5.0).ceil() * 5.0;
    let most = 250.0;
    let x = |at: f64| left + (at - begin) / length * (width - left - 12.0);
    let y = |rate: f64| height - bottom - rate.min(most) / most * (height - top - bottom);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" role=\"img\" \
         font-family=\"system-ui, sans-serif\" font-size=\"12\">\n<title>{title}: calls per second over time</title>\n\
         <style>text{{fill:#57606a}}.axis{{stroke:#8b949e}}.grid{{stroke:#8b949e;stroke-opacity:.25}}\
         .left{{stroke:#bc4c00}}.ours{{stroke:#0969da}}.refused{{stroke:#cf222e}}polyline,line{{fill:none}}\
         @media (prefers-color-scheme: dark){{text{{fill:#c9d1d9}}.left{{stroke:#f0883e}}.ours{{stroke:#58a6ff}}\
         .refused{{stroke:#ff7b72}}}}</style>\n<text x=\"{left}\" y=\"16\" font-weight=\"600\">{title}</text>\n",
        title = scene.title
    );
    for rate in [0.0, 50.0, 100.0, 150.0, 200.0, 250.0] {
        let at = y(rate);
        let class = if rate == 0.0 { "axis" } else { "grid" };
        let _ = writeln!(
            svg,
            "<line class=\"{class}\" x1=\"{left}\" x2=\"{:.0}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
             <text x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\">{rate}</text>",
            width - 12.0,
            left - 6.0,
            at + 4.0
        );
    }
    let mut seconds = 0.0;
    while seconds <= length {
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.0}\" text-anchor=\"middle\">{seconds} s</text>",
            x(begin + seconds),
            height - bottom + 18.0
        );
        seconds += 10.0;
    }
    let mut ours = String::new();
    let mut at = begin;
    while at + STEP <= run.last_fresh {
        let rate = within(&run.requested, at, at + STEP) / STEP;
        let _ = write!(ours, "{:.1},{:.1} ", x(at + STEP / 2.0), y(rate));
        at += STEP;
    }
    let mut there = String::new();
    let change = scene.change.map_or(begin + length, |(at, _)| at);
    for (at, capacity) in [
        (begin, scene.capacity),
        (change, scene.capacity),
        (change, scene.capacity(change)),
        (begin + length, scene.capacity(begin + length)),
    ] {
        let _ = write!(there, "{:.1},{:.1} ", x(at), y(capacity - BYSTANDER));
    }
    let _ = writeln!(
        svg,
        "<polyline class=\"left\" stroke-width=\"2\" stroke-dasharray=\"6 4\" points=\"{}\"/>\n\
         <polyline class=\"ours\" stroke-width=\"1.5\" points=\"{}\"/>",
        there.trim_end(),
        ours.trim_end()
    );
    for at in &run.throttled {
        let at = x(*at);
        let _ = writeln!(
            svg,
            "<line class=\"refused\" stroke-width=\"1.5\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{:.1}\" y2=\"{:.1}\"/>",
            y(0.0),
            y(0.0) - 10.0
        );
    }
    let mut from = 230.0;
    for (class, text, room) in [
        ("ours", "our calls/s", 105.0),
        ("left", "capacity less the bystander's share", 245.0),
        ("refused", "throttled answer", 0.0),
    ] {
        let from_line = if scene.retry_after.is_some() { from + 60.0 } else { from };
        let _ = writeln!(
            svg,
            "<line class=\"{class}\" stroke-width=\"2\" x1=\"{from_line}\" x2=\"{}\" y1=\"30\" y2=\"30\"/>\
             <text x=\"{}\" y=\"34\">{text}</text>",
            from_line + 18.0,
            from_line + 24.0
        );
        from += room;
    }
    svg.push_str("</svg>\n");
    svg
}
