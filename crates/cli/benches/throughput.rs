//! How fast fleetlogs sends, against a bare reqwest loop on the same server in the same run.
//!
//! `just bench` runs it. The server (`fleetlogs sim`) is a process of its own. Each of seven rounds runs the loop and the
//! program on a fresh server, in turns, so that a noisy machine disturbs both; what is reported are medians of ratios
//! within a round, and how far the rounds were apart. The loop sends the same bodies with a token made beforehand, and
//! neither plans, signs, records nor verifies: it is the limit, not a rival.
//!
//! With `--journal` it compares two runs instead: one with its run directory on disk, one with it in memory, where a
//! sync costs nothing. That is the price of a durable journal.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

const NODES: usize = 50_000;
/// Each of a thousand nodes, which is one page of a list.
const POOLS: usize = NODES / 1000;
const CONCURRENCY: usize = 64;
const ROUNDS: usize = 7;

fn main() {
    let has = |flag: &str| std::env::args().any(|argument| argument == flag);
    if has("--journal") {
        println!("{NODES} nodes, concurrency {CONCURRENCY}, no ceiling: run directory on disk and in memory");
        compare(
            "journal",
            "in memory",
            || whole_run(false, Some(Path::new("/dev/shm"))).calls_per_second,
            || whole_run(false, None),
        );
    } else {
        let verify = has("--verify");
        println!("{NODES} nodes, concurrency {CONCURRENCY}, no ceiling, verification {verify}");
        let name = if verify { "throughput-verified" } else { "throughput" };
        compare(name, "bare loop", bare_loop, || whole_run(verify, None));
    }
}

/// Runs both in turns, prints a table, and writes the same as JSON.
fn compare(name: &str, limit: &str, measure_limit: impl Fn() -> f64, measure: impl Fn() -> Measured) {
    let mut rounds = Vec::new();
    println!(
        "{:>5} {:>10} calls/s {:>12} {:>7} {:>10} {:>12}",
        "round", limit, "run calls/s", "ratio", "run s", "peak MiB"
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
        let ratio = run.calls_per_second / bare;
        println!(
            "{round:>5} {bare:>18.0} {:>12.0} {ratio:>7.2} {:>10.2} {:>12.1}",
            run.calls_per_second, run.seconds, run.peak_mib
        );
        rounds.push(json!({
            "limit_calls_per_second": bare,
            "run_calls_per_second": run.calls_per_second,
            "ratio": ratio,
            "run_seconds": run.seconds,
            "run_peak_mib": run.peak_mib,
        }));
    }
    let mut ratios: Vec<f64> = rounds.iter().filter_map(|round| round["ratio"].as_f64()).collect();
    ratios.sort_by(f64::total_cmp);
    println!(
        "median ratio {:.2} (rounds from {:.2} to {:.2})",
        ratios[ROUNDS / 2],
        ratios[0],
        ratios[ROUNDS - 1]
    );
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.json"));
    let document = json!({ "nodes": NODES, "concurrency": CONCURRENCY, "limit": limit, "rounds": rounds });
    std::fs::write(&file, document.to_string()).expect("the result can be written");
    println!("written to {}", file.display());
}

struct Server {
    child: Child,
    ready: Value,
    dir: tempfile::TempDir,
}

impl Server {
    fn start() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let scenario = dir.path().join("scenario.toml");
        let pools: Vec<_> = (0..POOLS)
            .map(|pool| {
                format!(
                    "[[account.pool]]\nid = \"pool-{pool}\"\nnodes = {}\nunknown_state = 0\n",
                    NODES / POOLS
                )
            })
            .collect();
        std::fs::write(&scenario, format!("[[account]]\nname = \"contoso\"\n{}", pools.concat()))
            .expect("a scenario");
        let ready = dir.path().join("ready.json");
        let child = Command::new(env!("CARGO_BIN_EXE_fleetlogs"))
            .arg("sim")
            .arg(&scenario)
            .arg("--ready")
            .arg(&ready)
            .stderr(Stdio::null())
            .spawn()
            .expect("the simulator starts");
        while !ready.exists() {
            std::thread::sleep(Duration::from_millis(5));
        }
        let document = std::fs::read(&ready).expect("the ready document");
        Self { child, ready: serde_json::from_slice(&document).expect("JSON"), dir }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Calls per second of a loop that does nothing but call.
fn bare_loop() -> f64 {
    let server = Server::start();
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let endpoint = text(&server.ready["accounts"][0]["endpoint"]);
    let identity = text(&server.ready["ledger"]).replace("ledger", "identity");
    let body = json!({
        "containerUrl": server.ready["container_url"],
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
    #[expect(clippy::cast_precision_loss, reason = "a small number")]
    let nodes = NODES as f64;
    nodes / elapsed.as_secs_f64()
}

struct Measured {
    /// From the first call to the last.
    calls_per_second: f64,
    /// The whole process, with planning and reports.
    seconds: f64,
    peak_mib: f64,
}

/// A run whose directory is beside the server's, or in another place.
fn whole_run(verify: bool, place: Option<&Path>) -> Measured {
    let server = Server::start();
    let elsewhere = place.map(|place| tempfile::tempdir_in(place).expect("a directory"));
    let dir = elsewhere.as_ref().unwrap_or(&server.dir).path();
    let written =
        std::fs::read_to_string(server.ready["config"].as_str().expect("a config")).expect("the config");
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
    let mut peak_kib = 0;
    let status = loop {
        if let Ok(status) = std::fs::read_to_string(format!("/proc/{}/status", child.id())) {
            let peak = status.lines().find_map(|line| {
                line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.trim().parse().ok()
            });
            peak_kib = peak_kib.max(peak.unwrap_or(0_u32));
        }
        if let Some(status) = child.try_wait().expect("a child") {
            break status;
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    let seconds = started.elapsed().as_secs_f64();
    assert!(status.success(), "the run ended with {status}");
    // Times of calls from the manifest; the last answer came a round trip after the last call was put on record.
    let run = std::fs::read_dir(dir.join("runs")).expect("runs").next().expect("a run").expect("a run");
    let manifest = std::fs::read(run.path().join("manifest.json")).expect("a manifest");
    let manifest: Value = serde_json::from_slice(&manifest).expect("JSON");
    let format = &time::format_description::well_known::Rfc3339;
    let times: Vec<_> = manifest["nodes"]
        .as_array()
        .expect("nodes")
        .iter()
        .flat_map(|node| node["attempts"].as_array().into_iter().flatten())
        .filter_map(|attempt| time::OffsetDateTime::parse(attempt["sent_at"].as_str()?, format).ok())
        .collect();
    let (first, last) = (times.iter().min().expect("calls"), times.iter().max().expect("calls"));
    let elapsed = Duration::try_from(*last - *first).expect("time goes on");
    Measured { calls_per_second: calls_per_second(elapsed), seconds, peak_mib: f64::from(peak_kib) / 1024.0 }
}
