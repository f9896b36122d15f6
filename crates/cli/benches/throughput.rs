//! How fast fleetlogs sends, and what it costs, against a bare reqwest loop on the same server in the same run.
//!
//! `just bench` runs it. The server (`fleetlogs sim`) is a process of its own, and so is the loop: this program, started
//! once more with `--bare-loop`. Each of five rounds runs the loop and the program on a fresh server, in turns, so that a
//! noisy machine disturbs both; what is reported are medians of ratios within a round, and how far the rounds were apart.
//! The loop sends the same bodies with a token made beforehand, and neither plans, signs, records nor verifies: it is the
//! limit, not a rival.
//!
//! Processor time is that of a whole process, user and system, per node: of the loop with its token and its lists, of the
//! run with planning, journal and reports. `calling` is that part of the run's which falls between its first call and its
//! last. It is read from `/proc`, in hundredths of a second.
//!
//! With `--journal` it compares two runs instead: one with its run directory on disk, one with it in memory, where a
//! sync costs nothing. That is the price of a durable journal.

mod server;

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::server::{Server, read_json};

const NODES: usize = 50_000;
/// Each of a thousand nodes, which is one page of a list.
const POOLS: usize = NODES / 1000;
const CONCURRENCY: usize = 64;
const ROUNDS: usize = 5;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, flag, ready] = &arguments[..]
        && flag == "--bare-loop"
    {
        println!("{}", bare_calls_per_second(&read_json(Path::new(ready))));
        return;
    }
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    if has("--journal") {
        println!("{NODES} nodes, concurrency {CONCURRENCY}, no ceiling: run directory on disk and in memory");
        let in_memory = || whole_run(false, Some(Path::new("/dev/shm")));
        compare("journal", "in memory", in_memory, || whole_run(false, None));
    } else {
        let verify = has("--verify");
        println!("{NODES} nodes, concurrency {CONCURRENCY}, no ceiling, verification {verify}");
        let name = if verify { "throughput-verified" } else { "throughput" };
        compare(name, "bare loop", bare_loop, || whole_run(verify, None));
    }
}

/// Runs both in turns, prints a table, and writes the same as JSON.
fn compare(name: &str, limit: &str, measure_limit: impl Fn() -> Measured, measure: impl Fn() -> Measured) {
    let mut rounds = Vec::new();
    println!("{:>14}{limit:^32} | {:^50} |{:^13}", "", "run", "run / limit");
    println!(
        "round {:>12} {:>14} {:>12} | {:>9} {:>12} {:>11} {:>7} {:>7} | {:>6} {:>5}",
        "calls/s",
        "CPU us/node",
        "peak MiB",
        "calls/s",
        "CPU us/node",
        "calling us",
        "whole s",
        "MiB",
        "calls/s",
        "CPU"
    );
    for round in 1..=ROUNDS {
        // Whichever comes second finds a warmer machine, so they take turns.
        let (bare, run) = if round % 2 == 1 {
            let bare = measure_limit();
            (bare, measure())
        } else {
            let run = measure();
            (measure_limit(), run)
        };
        let (ratio, cpu_ratio) = (run.calls_per_second / bare.calls_per_second, run.cpu / bare.cpu);
        println!(
            "{round:>5} {:>12.0} {:>14.1} {:>12.1} | {:>9.0} {:>12.1} {:>11.1} {:>7.2} {:>7.1} | {ratio:>7.2} {cpu_ratio:>5.2}",
            bare.calls_per_second,
            bare.cpu,
            bare.peak_mib,
            run.calls_per_second,
            run.cpu,
            run.calling_cpu,
            run.seconds,
            run.peak_mib
        );
        rounds.push(json!({
            "limit": bare.to_json(),
            "run": run.to_json(),
            "ratio": ratio,
            "cpu_ratio": cpu_ratio,
        }));
    }
    for (what, member) in [("calls/s", "ratio"), ("CPU", "cpu_ratio")] {
        let mut ratios: Vec<f64> = rounds.iter().filter_map(|round| round[member].as_f64()).collect();
        ratios.sort_by(f64::total_cmp);
        let (median, lowest, highest) = (ratios[ROUNDS / 2], ratios[0], ratios[ROUNDS - 1]);
        println!("median ratio of {what} {median:.2} (rounds from {lowest:.2} to {highest:.2})");
    }
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.json"));
    let document = json!({ "nodes": NODES, "concurrency": CONCURRENCY, "limit": limit, "rounds": rounds });
    std::fs::write(&file, document.to_string()).expect("the result can be written");
    println!("written to {}", file.display());
}

struct Measured {
    /// From the first call to the last.
    calls_per_second: f64,
    /// The whole process, with planning and reports.
    seconds: f64,
    /// Of the whole process, in microseconds per node.
    cpu: f64,
    /// The same between the first call and the last.
    calling_cpu: f64,
    peak_mib: f64,
}

impl Measured {
    fn to_json(&self) -> Value {
        json!({
            "calls_per_second": self.calls_per_second,
            "seconds": self.seconds,
            "cpu_us_per_node": self.cpu,
            "calling_cpu_us_per_node": self.calling_cpu,
            "peak_mib": self.peak_mib,
        })
    }
}

/// What a process used until it ended.
struct Used {
    seconds: f64,
    /// Processor time at moments, the last at its end.
    cpu: Vec<(OffsetDateTime, Duration)>,
    peak_mib: f64,
}

impl Used {
    /// Awaits a child and watches what it uses.
    fn until_the_end_of(child: &mut Child, started: Instant) -> Self {
        use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
        let of_child = |file: &str| std::fs::read_to_string(format!("/proc/{}/{file}", child.id()));
        let pid = Pid::from_raw(child.id().try_into().expect("a small number")).expect("a process");
        // It stays to be looked at until it is awaited in earnest.
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let (mut cpu, mut peak_kib) = (Vec::new(), 0);
        loop {
            let ended = waitid(WaitId::Pid(pid), look).expect("a child").is_some();
            let status = of_child("status").unwrap_or_default();
            let peak = status.lines().find_map(|line| {
                line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.trim().parse().ok()
            });
            peak_kib = peak_kib.max(peak.unwrap_or(0_u32));
            cpu.extend(
                of_child("stat").ok().and_then(|stat| Some((OffsetDateTime::now_utc(), cpu_time(&stat)?))),
            );
            if ended {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let seconds = started.elapsed().as_secs_f64();
        let status = child.wait().expect("a child");
        assert!(status.success(), "it ended with {status}");
        Self { seconds, cpu, peak_mib: f64::from(peak_kib) / 1024.0 }
    }

    /// Processor time up to a moment, in microseconds per node.
    fn cpu_at(&self, moment: OffsetDateTime) -> f64 {
        let until = self.cpu.partition_point(|(at, _)| *at <= moment);
        self.cpu[..until].last().map_or(0.0, |(_, used)| used.as_secs_f64() * 1e6 / nodes())
    }

    fn into_measured(
        self,
        calls_per_second: f64,
        calling: Option<(OffsetDateTime, OffsetDateTime)>,
    ) -> Measured {
        let cpu = self.cpu.last().map_or(0.0, |(at, _)| self.cpu_at(*at));
        let calling_cpu = calling.map_or(cpu, |(first, last)| self.cpu_at(last) - self.cpu_at(first));
        Measured { calls_per_second, seconds: self.seconds, cpu, calling_cpu, peak_mib: self.peak_mib }
    }
}

/// User and system time in a line of `/proc/PID/stat`. Its unit is a hundredth of a second on every Linux there is.
fn cpu_time(stat: &str) -> Option<Duration> {
    // The second member, the program's name, may hold spaces.
    let (_, after_name) = stat.rsplit_once(") ")?;
    let mut members = after_name.split(' ').skip(11);
    let ticks = |member: Option<&str>| member?.parse::<u64>().ok();
    let (user, system) = (ticks(members.next())?, ticks(members.next())?);
    Some(Duration::from_millis((user + system) * 10))
}

#[expect(clippy::cast_precision_loss, reason = "a small number")]
fn nodes() -> f64 {
    NODES as f64
}

fn server() -> Server {
    let pools: Vec<_> = (0..POOLS)
        .map(|pool| {
            format!("[[account.pool]]\nid = \"pool-{pool}\"\nnodes = {}\nunknown_state = 0\n", NODES / POOLS)
        })
        .collect();
    Server::start(&format!("[[account]]\nname = \"contoso\"\n{}", pools.concat()))
}

/// A loop that does nothing but call, in a process of its own.
fn bare_loop() -> Measured {
    let server = server();
    let started = Instant::now();
    let mut child = Command::new(std::env::current_exe().expect("this program"))
        .arg("--bare-loop")
        .arg(server.dir.path().join("ready.json"))
        .stdout(Stdio::piped())
        .spawn()
        .expect("the loop starts");
    let used = Used::until_the_end_of(&mut child, started);
    let mut said = String::new();
    child.stdout.take().expect("its output").read_to_string(&mut said).expect("its output");
    used.into_measured(said.trim().parse().expect("a number"), None)
}

/// The loop itself. Returns its calls per second.
fn bare_calls_per_second(ready: &Value) -> f64 {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let endpoint = text(&ready["accounts"][0]["endpoint"]);
    let identity = text(&ready["ledger"]).replace("ledger", "identity");
    let body = json!({
        "containerUrl": ready["container_url"],
        "startTime": "2026-01-01T00:00:00Z",
        "endTime": "2026-01-01T02:00:00Z",
    })
    .to_string();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let client = fleetlogs_azure::http_client(CONCURRENCY).expect("a client");
        let url = format!("{identity}?resource=https://batch.core.windows.net/&api-version=2019-08-01");
        let token: Value = client.get(url).header("X-IDENTITY-HEADER", "x").send().await.expect("a token").json().await.expect("JSON");
        let token = format!("Bearer {}", text(&token["access_token"]));
        let mut urls = Vec::with_capacity(NODES);
        for pool in 0..POOLS {
            let url = format!("{endpoint}/pools/pool-{pool}/nodes?api-version=2024-07-01.20.0&$select=id");
            let page: Value = client.get(url).header("Authorization", &token).send().await.expect("a page").json().await.expect("JSON");
            urls.extend(page["value"].as_array().expect("nodes").iter().map(|node| {
                format!(
                    "{endpoint}/pools/pool-{pool}/nodes/{}/uploadbatchservicelogs?api-version=2024-07-01.20.0&timeout=30",
                    text(&node["id"])
                )
            }));
        }
        assert_eq!(urls.len(), NODES);
        let urls = std::sync::Arc::new(urls);
        let next = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let started = Instant::now();
        let mut workers = tokio::task::JoinSet::new();
        for _ in 0..CONCURRENCY {
            let (client, urls, next, token, body) = (client.clone(), urls.clone(), next.clone(), token.clone(), body.clone());
            workers.spawn(async move {
                while let Some(url) = urls.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
                    let call = client
                        .post(url)
                        .header("Authorization", &token)
                        .header("Content-Type", "application/json; odata=minimalmetadata")
                        .body(body.clone());
                    let answer = call.send().await.expect("an answer");
                    assert_eq!(answer.status(), 200);
                    answer.bytes().await.expect("a body");
                }
            });
        }
        workers.join_all().await;
        calls_per_second(started.elapsed())
    })
}

fn calls_per_second(elapsed: Duration) -> f64 {
    nodes() / elapsed.as_secs_f64()
}

/// A run whose directory is beside the server's, or in another place.
fn whole_run(verify: bool, place: Option<&Path>) -> Measured {
    let server = server();
    let elsewhere = place.map(|place| tempfile::tempdir_in(place).expect("a directory"));
    let dir = elsewhere.as_ref().unwrap_or(&server.dir).path();
    let written = server.config();
    // Its own settings of speed give way to the bench's.
    let accounts = written.find("\n[[account]]").expect("an account");
    let speed = written.find("\n[deadlines]").expect("settings of speed");
    let written = format!("{}{}", &written[..speed], &written[accounts..]);
    let config: PathBuf = server.dir.path().join("bench.toml");
    let text = format!(
        "[limits]\nrate = \"unlimited\"\nconcurrency = {CONCURRENCY}\n[verify]\nenabled = {verify}\n{written}"
    );
    std::fs::write(&config, text).expect("the config");
    let started = Instant::now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_fleetlogs"))
        .arg("run")
        .arg(&config)
        .arg("--quiet")
        .current_dir(dir)
        .spawn()
        .expect("the run starts");
    let used = Used::until_the_end_of(&mut child, started);
    // Times of calls from the manifest; the last answer came a round trip after the last call was put on record.
    let run = std::fs::read_dir(dir.join("runs")).expect("runs").next().expect("a run").expect("a run");
    let manifest = read_json(&run.path().join("manifest.json"));
    let format = &time::format_description::well_known::Rfc3339;
    let times: Vec<_> = manifest["nodes"]
        .as_array()
        .expect("nodes")
        .iter()
        .flat_map(|node| node["attempts"].as_array().into_iter().flatten())
        .filter_map(|attempt| OffsetDateTime::parse(attempt["sent_at"].as_str()?, format).ok())
        .collect();
    let (first, last) = (*times.iter().min().expect("calls"), *times.iter().max().expect("calls"));
    let elapsed = Duration::try_from(last - first).expect("time goes on");
    used.into_measured(calls_per_second(elapsed), Some((first, last)))
}
