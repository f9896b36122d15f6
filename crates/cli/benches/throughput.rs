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
//!
//! With `--python-sdk` the loop gives way to what one would write without fleetlogs, `sdk_pool.py`: the official SDK and
//! a pool of threads in one process of Python. It is slow, so both have fewer nodes to call. `tests/all.sh` installs the
//! SDK.
//!
//! After every measurement the server must have seen one call per node, each accepted.

mod server;

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::server::{Server, read_json};

const NODES: usize = 50_000;
/// The SDK needs ten seconds for them.
const SDK_NODES: usize = 5_000;
/// One page of a list.
const NODES_PER_POOL: usize = 1000;
const CONCURRENCY: usize = 64;
const ROUNDS: usize = 5;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, flag, ready, nodes] = &arguments[..]
        && flag == "--bare-loop"
    {
        let nodes = nodes.parse().expect("a number of nodes");
        println!("{}", bare_calls_per_second(&read_json(Path::new(ready)), nodes));
        return;
    }
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    if has("--journal") {
        println!("{NODES} nodes, concurrency {CONCURRENCY}, no ceiling: run directory on disk and in memory");
        let in_memory = || whole_run(NODES, false, Some(Path::new("/dev/shm")));
        compare("journal", "in memory", NODES, in_memory, || whole_run(NODES, false, None));
    } else if has("--python-sdk") {
        let python = python();
        println!("{SDK_NODES} nodes, concurrency {CONCURRENCY}, no ceiling, verification false");
        let sdk_pool = || sdk_pool(&python, SDK_NODES);
        compare("throughput-python-sdk", "Python SDK", SDK_NODES, sdk_pool, || {
            whole_run(SDK_NODES, false, None)
        });
    } else {
        let verify = has("--verify");
        println!("{NODES} nodes, concurrency {CONCURRENCY}, no ceiling, verification {verify}");
        let name = if verify { "throughput-verified" } else { "throughput" };
        compare(name, "bare loop", NODES, || bare_loop(NODES), || whole_run(NODES, verify, None));
    }
}

/// How much calls per second may fall behind the bare loop, and how much more processor time a run may take.
const BARS: [f64; 2] = [0.9, 1.4];

/// Runs both in turns, prints a table, and writes the same as JSON.
fn compare(
    name: &str,
    peer: &str,
    nodes: usize,
    measure_peer: impl Fn() -> Measured,
    measure: impl Fn() -> Measured,
) {
    let mut rounds = Vec::new();
    println!("{:>14}{peer:^32} | {:^50} |{:^15}", "", "run", "ratio");
    println!(
        "round {:>12} {:>14} {:>12} | {:>9} {:>12} {:>11} {:>7} {:>7} | {:>7} {:>6}",
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
        let (other, run) = if round % 2 == 1 {
            let other = measure_peer();
            (other, measure())
        } else {
            let run = measure();
            (measure_peer(), run)
        };
        let (ratio, cpu_ratio) = (run.calls_per_second / other.calls_per_second, run.cpu / other.cpu);
        println!(
            "{round:>5} {:>12.0} {:>14.1} {:>12.1} | {:>9.0} {:>12.1} {:>11.1} {:>7.2} {:>7.1} | {ratio:>7.3} {cpu_ratio:>6.3}",
            other.calls_per_second,
            other.cpu,
            other.peak_mib,
            run.calls_per_second,
            run.cpu,
            run.calling_cpu,
            run.seconds,
            run.peak_mib
        );
        rounds.push(json!({
            "peer": other.to_json(),
            "run": run.to_json(),
            "ratio": ratio,
            "cpu_ratio": cpu_ratio,
        }));
    }
    for (what, member, bar) in [("calls/s", "ratio", BARS[0]), ("CPU", "cpu_ratio", BARS[1])] {
        let mut ratios: Vec<f64> = rounds.iter().filter_map(|round| round[member].as_f64()).collect();
        ratios.sort_by(f64::total_cmp);
        let (median, lowest, highest) = (ratios[ROUNDS / 2], ratios[0], ratios[ROUNDS - 1]);
        let is_met = if member == "ratio" { median >= bar } else { median <= bar };
        let verdict = match (name, is_met) {
            ("throughput", true) => format!("; bar {bar}: met"),
            ("throughput", false) => format!("; bar {bar}: not met"),
            // Bars are for a run that does what the loop does.
            _ => String::new(),
        };
        println!(
            "median of {what}, run / {peer}: {median:.3} (rounds from {lowest:.3} to {highest:.3}){verdict}"
        );
    }
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.json"));
    let document = json!({ "nodes": nodes, "concurrency": CONCURRENCY, "peer": peer, "rounds": rounds });
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
    /// That it called.
    nodes: usize,
    seconds: f64,
    /// Processor time at moments, the last at its end.
    cpu: Vec<(OffsetDateTime, Duration)>,
    peak_mib: f64,
}

impl Used {
    /// Awaits a child and watches what it uses.
    fn until_the_end_of(child: &mut Child, started: Instant, nodes: usize) -> Self {
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
        Self { nodes, seconds, cpu, peak_mib: f64::from(peak_kib) / 1024.0 }
    }

    /// Processor time up to a moment, in microseconds per node.
    fn cpu_at(&self, moment: OffsetDateTime) -> f64 {
        let until = self.cpu.partition_point(|(at, _)| *at <= moment);
        self.cpu[..until].last().map_or(0.0, |(_, used)| used.as_secs_f64() * 1e6 / number(self.nodes))
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
fn number(nodes: usize) -> f64 {
    nodes as f64
}

fn server(nodes: usize) -> Server {
    let pools: Vec<_> = (0..nodes / NODES_PER_POOL)
        .map(|pool| {
            format!("[[account.pool]]\nid = \"pool-{pool}\"\nnodes = {NODES_PER_POOL}\nunknown_state = 0\n")
        })
        .collect();
    Server::start(&format!("[[account]]\nname = \"contoso\"\n{}", pools.concat()))
}

/// Fails unless every node was called once, and every call accepted.
fn assert_all_called(server: &Server, nodes: usize) {
    let url = server.text("/ledger");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let ledger: Value = runtime.block_on(async {
        let client = fleetlogs_azure::http_client(1).expect("a client");
        client.get(url).send().await.expect("the ledger").json().await.expect("JSON")
    });
    let account = &ledger["accounts"][0];
    let once = ledger["nodes"]
        .as_array()
        .expect("nodes")
        .iter()
        .filter(|node| node["directories"].as_array().is_some_and(|directories| directories.len() == 1));
    let seen =
        [account["upload_calls"].as_u64(), account["accepted"].as_u64(), u64::try_from(once.count()).ok()];
    let expected = u64::try_from(nodes).ok();
    assert_eq!(seen, [expected; 3], "calls, accepted calls, and nodes with one");
}

/// A loop that does nothing but call, in a process of its own.
fn bare_loop(nodes: usize) -> Measured {
    let server = server(nodes);
    let started = Instant::now();
    let mut child = Command::new(std::env::current_exe().expect("this program"))
        .arg("--bare-loop")
        .arg(server.dir.path().join("ready.json"))
        .arg(nodes.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the loop starts");
    let used = Used::until_the_end_of(&mut child, started, nodes);
    assert_all_called(&server, nodes);
    used.into_measured(output(&mut child).trim().parse().expect("a number"), None)
}

/// What a child printed until it ended.
fn output(child: &mut Child) -> String {
    let mut said = String::new();
    child.stdout.take().expect("its output").read_to_string(&mut said).expect("its output");
    said
}

/// The Python that has the SDK.
fn python() -> PathBuf {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/tools/venv/bin/python");
    assert!(program.exists(), "{} is missing; `bash tests/all.sh` makes it", program.display());
    program
}

/// The SDK and a pool of threads, in a process of its own.
fn sdk_pool(python: &Path, nodes: usize) -> Measured {
    let server = server(nodes);
    let started = Instant::now();
    let mut child = Command::new(python)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/sdk_pool.py"))
        .arg(server.dir.path().join("ready.json"))
        .arg(CONCURRENCY.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .expect("Python starts");
    let used = Used::until_the_end_of(&mut child, started, nodes);
    assert_all_called(&server, nodes);
    let said: Value = serde_json::from_str(&output(&mut child)).expect("JSON");
    assert_eq!(said["calls"], nodes, "the calls that it says it made");
    used.into_measured(said["calls_per_second"].as_f64().expect("a number"), None)
}

/// The loop itself. Returns its calls per second.
fn bare_calls_per_second(ready: &Value, nodes: usize) -> f64 {
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
        let mut urls = Vec::with_capacity(nodes);
        for pool in 0..nodes / NODES_PER_POOL {
            let url = format!("{endpoint}/pools/pool-{pool}/nodes?api-version=2024-07-01.20.0&$select=id");
            let page: Value = client.get(url).header("Authorization", &token).send().await.expect("a page").json().await.expect("JSON");
            urls.extend(page["value"].as_array().expect("nodes").iter().map(|node| {
                format!(
                    "{endpoint}/pools/pool-{pool}/nodes/{}/uploadbatchservicelogs?api-version=2024-07-01.20.0&timeout=30",
                    text(&node["id"])
                )
            }));
        }
        assert_eq!(urls.len(), nodes);
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
        number(nodes) / started.elapsed().as_secs_f64()
    })
}

/// A run whose directory is beside the server's, or in another place.
fn whole_run(nodes: usize, verify: bool, place: Option<&Path>) -> Measured {
    let server = server(nodes);
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
    let used = Used::until_the_end_of(&mut child, started, nodes);
    assert_all_called(&server, nodes);
    // Times of calls from the manifest; the last answer came a round trip after the last call was recorded.
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
    used.into_measured(number(nodes) / elapsed.as_secs_f64(), Some((first, last)))
}
