//! The ways to collect a fleet, and what each took.

use std::fmt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::azurite::Azurite;
use crate::requests::Requests;
use crate::server::{Server, read_json};

pub(crate) const ACCOUNTS: u32 = 4;

/// One page of a list.
const NODES_PER_POOL: u32 = 1_000;

/// A fleet, and how fast it may be called.
#[derive(Clone, Copy)]
pub(crate) struct Scene {
    pub(crate) name: &'static str,
    /// Of each account.
    pub(crate) nodes: u32,
    /// Calls per second to each account; none: any number.
    pub(crate) rate: Option<u32>,
    /// Of each call.
    pub(crate) latency: &'static str,
}

impl Scene {
    pub(crate) const fn all_nodes(&self) -> u32 {
        ACCOUNTS * self.nodes
    }

    fn scenario(&self) -> String {
        let pool = |pool: u32| {
            let nodes = (self.nodes - pool * NODES_PER_POOL).min(NODES_PER_POOL);
            format!(
                "[[account.pool]]\nid = \"pool-{pool}\"\nnodes = {nodes}\nunknown_state = 0\nfiles = 2\n\
                 file_size = \"1KiB\"\narrival = \"200ms\"\n"
            )
        };
        let pools: String = (0..self.nodes.div_ceil(NODES_PER_POOL)).map(pool).collect();
        let account = |account| {
            format!("[[account]]\nname = \"acct{account}\"\nlatency = \"{}\"\n{pools}", self.latency)
        };
        (0..ACCOUNTS).map(account).collect()
    }
}

impl fmt::Display for Scene {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, nodes, rate, latency } = self;
        let rate = rate.map_or_else(|| "any number".to_owned(), |rate| rate.to_string());
        write!(f, "{name}: {ACCOUNTS} accounts of {nodes} nodes, {rate} of calls/s to each, {latency}")
    }
}

/// How a fleet is collected.
#[derive(Clone, Copy)]
pub(crate) enum Way {
    /// `run`, with its journal on disk.
    Disk,
    /// `run`, with its journal in Blob storage.
    Blob,
    /// `fan-out`, with so many workers.
    Workers(u32),
}

pub(crate) const WAYS: [Way; 5] = [Way::Disk, Way::Blob, Way::Workers(1), Way::Workers(2), Way::Workers(3)];

impl Way {
    pub(crate) fn name(self) -> String {
        match self {
            Self::Disk => "run, disk".to_owned(),
            Self::Blob => "run, Blob storage".to_owned(),
            Self::Workers(1) => "1 worker".to_owned(),
            Self::Workers(workers) => format!("{workers} workers"),
        }
    }

    /// The tables that the config of this way needs.
    fn tables(self) -> String {
        let journal = "[journal]\ncontainer_url = { file = \"secret.journal\" }\n";
        match self {
            Self::Disk => String::new(),
            Self::Blob => journal.to_owned(),
            // All accounts can be at work at the same time, and no worker takes more than its part.
            Self::Workers(workers) => format!(
                "{journal}[scale_out]\nqueue_url = {{ file = \"secret.queue\" }}\npartitions_at_once = {}\n",
                ACCOUNTS.div_ceil(workers)
            ),
        }
    }
}

/// What one measurement showed.
pub(crate) struct Measured {
    pub(crate) seconds: f64,
    /// Processor time of all processes of fleetlogs, user and system, in seconds.
    pub(crate) cpu: f64,
    pub(crate) requests: Requests,
    pub(crate) journal_bytes: f64,
}

impl Measured {
    pub(crate) fn of(scene: &Scene, way: Way) -> Self {
        let (server, azurite) = (Server::start(&scene.scenario()), Azurite::start());
        write_config(scene, way, &server, &azurite);
        let cpu_before = cpu_of_children();
        let started = Instant::now();
        let workers = match way {
            Way::Disk | Way::Blob => 0,
            Way::Workers(workers) => workers,
        };
        let workers: Vec<_> =
            (0..workers).map(|_| Process::start(&["worker", "--forever"], &server)).collect();
        let main = Process::start(&[if workers.is_empty() { "run" } else { "fan-out" }], &server);
        let dir = main.end();
        let seconds = started.elapsed().as_secs_f64();
        for worker in workers {
            worker.tell_to_stop();
            worker.end();
        }
        let cpu = cpu_of_children() - cpu_before;
        let measured =
            Self { seconds, cpu, requests: azurite.requests(), journal_bytes: azurite.journal_bytes() };
        assert_all_collected(scene, &server, dir.path());
        measured
    }

    pub(crate) fn to_json(&self) -> Value {
        let requests: serde_json::Map<_, _> =
            self.requests.named().iter().map(|(name, count)| ((*name).to_owned(), json!(count))).collect();
        json!({
            "seconds": self.seconds,
            "cpu_seconds": self.cpu,
            "requests": requests,
            "journal_bytes": self.journal_bytes,
        })
    }
}

/// Writes `bench.toml` beside the config of the server.
fn write_config(scene: &Scene, way: Way, server: &Server, azurite: &Azurite) {
    let write = |name: &str, text: &str| std::fs::write(server.dir.path().join(name), text).expect("a file");
    write("secret.journal", &azurite.container_url());
    write("secret.queue", &azurite.queue_url());
    let written = server.config();
    // Its own settings of speed give way to the bench's.
    let accounts = written.find("\n[[account]]").expect("an account");
    let speed = written.find("\n[deadlines]").expect("settings of speed");
    let rate = scene.rate.map_or_else(|| "\"unlimited\"".to_owned(), |rate| rate.to_string());
    let tables = way.tables();
    let config = format!("[limits]\nrate = {rate}\n{tables}{}{}", &written[..speed], &written[accounts..]);
    write("bench.toml", &config);
}

/// The program on a machine of its own.
struct Process {
    child: Child,
    dir: TempDir,
    command: String,
}

impl Process {
    fn start(arguments: &[&str], server: &Server) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let child = Command::new(env!("CARGO_BIN_EXE_fleetlogs"))
            .args(arguments)
            .arg(server.dir.path().join("bench.toml"))
            .arg("--quiet")
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .spawn()
            .expect("the program starts");
        Self { child, dir, command: arguments.join(" ") }
    }

    fn tell_to_stop(&self) {
        let pid = self.child.id().try_into().ok().and_then(Pid::from_raw).expect("a process");
        kill_process(pid, Signal::TERM).expect("it runs");
    }

    /// Waits until it ends, which it must do well. Returns its directory.
    fn end(mut self) -> TempDir {
        let status = self.child.wait().expect("a child");
        assert!(status.success(), "`fleetlogs {}` ended with {status}", self.command);
        self.dir
    }
}

/// Processor time of all children that ended and were waited for, in seconds: neither the server nor Azurite. Its unit is
/// a hundredth of a second on every Linux there is.
fn cpu_of_children() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("/proc, which only Linux has");
    // The second member, the program's name, may hold spaces.
    let (_, after_name) = stat.rsplit_once(") ").expect("a line of members");
    let ticks = after_name.split(' ').skip(13).take(2).map(|member| member.parse::<u32>().expect("a number"));
    f64::from(ticks.sum::<u32>()) / 100.0
}

/// Fails unless every node was called once, and the only run in a directory says that all are verified.
fn assert_all_collected(scene: &Scene, server: &Server, dir: &Path) {
    let url = server.text("/ledger");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let ledger: Value = runtime.block_on(async {
        let client = fleetlogs_azure::http_client(1).expect("a client");
        client.get(url).send().await.expect("the ledger").json().await.expect("JSON")
    });
    let nodes = ledger["nodes"].as_array().expect("nodes");
    let once = nodes.iter().filter(|node| node["accepted"] == 1).count();
    assert_eq!(u32::try_from(once).ok(), Some(scene.all_nodes()), "nodes that accepted one call");
    let run = std::fs::read_dir(dir.join("runs")).expect("runs").next().expect("a run").expect("a run");
    let counts = &read_json(&run.path().join("manifest.json"))["counts"];
    let all = json!(scene.all_nodes());
    assert_eq!((&counts["planned"], &counts["verified"]), (&all, &all), "nodes in the manifest");
}
