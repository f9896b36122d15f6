//! A site whose Batch account nobody else reaches: a network namespace, with a simulator and a worker in it.
//!
//! Only loopback addresses are used. In the namespace, `site.py` brings the loopback interface up, and passes connections
//! to the ports of Azurite on through sockets in the file system, which every network reaches. That is the way out that
//! a site has to storage and queues. There is no way in.
//!
//! `unshare -rn` makes the namespace, without privileges. Some machines do not allow it, most containers among them. No
//! package would change that, so the test cannot insist, in CI as little as elsewhere. It says so on stderr, past the
//! harness, and tests/all.sh repeats at its end that this was not tested.
#![cfg(target_os = "linux")]

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpSocket;

use crate::azurite::Azurite;
use crate::scale_out::settings;
use crate::stage::{Run, Server, Sim, assert_manifest_equals_ledger, fleetlogs};
use crate::work_queue::QueueService;

/// A network of its own, from which some ports of this machine are reached.
struct Site {
    network: Server,
    _passages: TempDir,
}

impl Site {
    fn start(ports: &[u16]) -> Self {
        let passages = tempfile::tempdir().unwrap();
        for port in ports {
            pass_on(&passages.path().join(port.to_string()), *port);
        }
        let mut network = Command::new("unshare")
            .args(["-rn", "python3"])
            .arg(script())
            .arg(passages.path())
            .args(ports.iter().map(u16::to_string))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        BufReader::new(network.stdout.take().unwrap()).read_line(&mut said).unwrap();
        assert_eq!(said, "ready\n");
        Self { network: Server(network), _passages: passages }
    }

    /// The same command, run in this network.
    fn inside(&self, command: &Command) -> Command {
        let mut inside = Command::new("nsenter");
        inside
            .args(["--preserve-credentials", "--user", "--net", "--target", &self.network.0.id().to_string()])
            .arg(command.get_program())
            .args(command.get_args())
            .stdin(Stdio::null());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => inside.env(name, value),
                None => inside.env_remove(name),
            };
        }
        inside
    }

    /// What is at a URL, for those who are in this network.
    fn get(&self, url: &str) -> Value {
        let mut get = Command::new("python3");
        get.arg(script()).args(["get", url]);
        let got = self.inside(&get).output().unwrap();
        serde_json::from_slice(&got.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&got.stderr)))
    }
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/e2e/site.py")
}

/// Passes connections to a socket in the file system on to a port, as long as this process lives.
fn pass_on(socket: &Path, port: u16) {
    let listener = UnixListener::bind(socket).unwrap();
    std::thread::spawn(move || {
        for inner in listener.incoming() {
            let inner = inner.unwrap();
            let outer = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
            let (to_inner, to_outer) = (inner.try_clone().unwrap(), outer.try_clone().unwrap());
            copy(inner, to_outer, |outer| outer.shutdown(Shutdown::Write));
            copy(outer, to_inner, |inner: &UnixStream| inner.shutdown(Shutdown::Write));
        }
    });
}

/// Copies until one side is closed. An error is one of those who speak, and they hear of it.
fn copy<W: Write + Send + 'static>(
    mut from: impl std::io::Read + Send + 'static,
    mut to: W,
    end: impl FnOnce(&W) -> std::io::Result<()> + Send + 'static,
) {
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = end(&to);
    });
}

/// Why this machine makes no network for a process.
fn why_no_networks() -> Option<String> {
    let tried = |command: &mut Command| match command.output() {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Some(error.to_string()),
    };
    let failed = |name: &str, why: String| format!("{name}: {why}");
    tried(Command::new("unshare").args(["-rn", "true"]))
        .map(|why| failed("`unshare -rn`", why))
        .or_else(|| tried(Command::new("nsenter").arg("--version")).map(|why| failed("`nsenter`", why)))
}

/// Keeps a port of this network such that nobody answers there.
fn keep_silent(port: u16) -> std::io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
    Ok(socket)
}

const RATE: u64 = 15;

fn fleet(accounts: &[&str]) -> String {
    let account = |name: &&str| {
        format!(
            r#"
            [[account]]
            name = "{name}"
            latency = {{ min = "5ms", max = "60ms" }}
            [[account.pool]]
            id = "Pool_A"
            nodes = 30
            arrival = {{ min = "50ms", max = "500ms" }}
            "#
        )
    };
    accounts.iter().map(account).collect()
}

/// Two networks: this one with two accounts, storage and queues, and that of the site `west` with one account.
struct Stage {
    sim: Sim,
    west: Sim,
    site: Site,
    config: PathBuf,
    /// The port of the account of the site, in this network.
    _nobody: TcpSocket,
    _azurite: Azurite,
    _queues: QueueService,
}

impl Stage {
    fn new() -> Self {
        let (azurite, queues) = (Azurite::start(), QueueService::start());
        azurite.create_container("state");
        let site = Site::start(&[azurite.port, queues.port]);
        let (west, endpoint, nobody) = loop {
            let west = Sim::start_as(&fleet(&["woodgrove"]), |command| site.inside(&command));
            let endpoint = west.ready["accounts"][0]["endpoint"].as_str().unwrap().to_owned();
            let port = endpoint.rsplit(':').next().unwrap().parse().unwrap();
            // Somebody may have the same port here.
            if let Ok(nobody) = keep_silent(port) {
                break (west, endpoint, nobody);
            }
        };
        let sim = Sim::start(&fleet(&["contoso", "fabrikam"]));
        let secret = |name: &str, text: &str| std::fs::write(sim.dir.path().join(name), text).unwrap();
        secret("secret.write", &azurite.sas_of("logs", "w"));
        secret("secret.list", &azurite.sas_of("logs", "rl"));
        secret("secret.journal", &azurite.sas_of("state", "rcwl"));
        secret("secret.queue", &queues.sas_of("work"));
        secret("secret.west", west.ready["accounts"][0]["key"].as_str().unwrap());
        let config = sim.config(&settings(RATE, "", ""));
        let config = std::fs::read_to_string(config)
            .unwrap()
            .replace("\"ready.json.container_url\"", "\"secret.write\"")
            .replace("\"ready.json.verify_url\"", "\"secret.list\"");
        let config = sim.write_config(&format!(
            r#"{config}
            [[account]]
            name = "woodgrove"
            site = "west"
            endpoint = "{endpoint}"
            auth = {{ shared_key = {{ file = "secret.west" }} }}
            "#
        ));
        Self { sim, west, site, config, _nobody: nobody, _azurite: azurite, _queues: queues }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = fleetlogs();
        command.args(arguments).env("FLEETLOGS_CONFIG", &self.config);
        command
    }

    /// The plan of one account, as a machine sees it.
    fn plan(&self, account: &str, run_by: impl FnOnce(Command) -> Command) -> Run {
        let machine = tempfile::tempdir().unwrap();
        let plan = run_by(self.command(&["plan", "--account", account]));
        Run::of(machine.path(), output_on(&machine, plan))
    }

    /// What really happened, in both networks.
    fn ledger(&self) -> Value {
        let ledgers = [self.sim.ledger(), self.site.get(self.west.ready["ledger"].as_str().unwrap())];
        let nodes = ledgers.iter().flat_map(|ledger| ledger["nodes"].as_array().unwrap());
        json!({ "nodes": nodes.collect::<Vec<_>>() })
    }
}

fn output_on(machine: &TempDir, mut command: Command) -> Output {
    command.current_dir(machine.path()).output().unwrap()
}

/// A process on a machine of its own. Its log is there in `log`.
struct Process {
    process: Server,
    machine: TempDir,
}

impl Process {
    fn start(mut command: Command) -> Self {
        let machine = tempfile::tempdir().unwrap();
        let file = |name: &str| std::fs::File::create(machine.path().join(name)).unwrap();
        let process = command
            .current_dir(machine.path())
            .stdin(Stdio::null())
            .stdout(file("out"))
            .stderr(file("log"))
            .spawn()
            .unwrap();
        Self { process: Server(process), machine }
    }

    fn said(&self) -> String {
        std::fs::read_to_string(self.machine.path().join("log")).unwrap()
    }

    /// Waits until it has ended. Returns its exit code, and what it said.
    fn end(mut self) -> (i32, String, TempDir) {
        let status = self.process.0.wait().unwrap();
        let said = self.said();
        assert!(!said.contains("sig="), "a secret is printed");
        (status.code().unwrap_or_else(|| panic!("{status}: {said}")), said, self.machine)
    }

    fn stop(self) -> (i32, String, TempDir) {
        let killed = Command::new("kill").args(["-TERM", &self.process.0.id().to_string()]).status();
        assert!(killed.unwrap().success());
        self.end()
    }
}

#[test]
#[ignore = "needs Azurite in tests/tools; tests/all.sh installs it and runs this"]
fn a_site_that_only_its_worker_reaches_is_part_of_the_run() {
    if let Some(why) = why_no_networks() {
        let said = format!("NOT TESTED: a site in a network of its own; this machine makes none: {why}\n");
        // The harness keeps what `eprintln!` says of tests that pass.
        std::io::stderr().write_all(said.as_bytes()).unwrap();
        return;
    }
    let stage = Stage::new();
    // Neither network reaches the accounts of the other one.
    for (account, run) in [
        ("woodgrove", stage.plan("woodgrove", |command| command)),
        ("contoso", stage.plan("contoso", |command| stage.site.inside(&command))),
    ] {
        assert_eq!(run.code, 5, "{account}: {}{}", run.stdout, run.stderr);
        let why = run.stderr.lines().find(|line| line.starts_with("error: ")).unwrap();
        assert!(
            why.contains(account) && why.contains(": cannot be listed: cannot connect: "),
            "{}",
            run.stderr
        );
    }
    let run = stage.plan("woodgrove", |command| stage.site.inside(&command));
    assert_eq!(run.code, 0, "{}", run.stderr);

    let worker = Process::start(stage.command(&["worker", "-v", "--forever"]));
    let of_site = stage.command(&["worker", "-v", "--forever", "--site", "west"]);
    let worker_of_site = Process::start(stage.site.inside(&of_site));
    let fan_out = Process::start(stage.command(&["fan-out", "--json"]));
    let (code, said, machine) = fan_out.end();
    assert_eq!(code, 0, "{said}");
    let out = std::fs::read_to_string(machine.path().join("out")).unwrap();
    let document: Value = serde_json::from_str(&out).unwrap();
    let dir = machine.path().join(document["run_dir"].as_str().unwrap());
    let read =
        |name: &str| -> Value { serde_json::from_slice(&std::fs::read(dir.join(name)).unwrap()).unwrap() };

    let manifest = read("manifest.json");
    assert_manifest_equals_ledger(&manifest, &stage.ledger());
    assert_eq!(manifest["counts"]["verified"], 90, "{}", manifest["counts"]);
    let nodes = manifest["nodes"].as_array().unwrap().iter();
    assert_eq!(nodes.filter(|node| node["account"] == "woodgrove").count(), 30);
    let planned = read("plan.json");
    let accounts = planned["accounts"].as_array().unwrap().iter();
    let nodes_of: Vec<_> =
        accounts.map(|account| (account["name"].clone(), account["nodes"].clone())).collect();
    assert_eq!(nodes_of, ["contoso", "fabrikam", "woodgrove"].map(|name| (json!(name), json!(30))));

    // Who planned the account of the site, and who worked on what.
    for (worker, planned, done) in [(worker, 0, 2), (worker_of_site, 1, 1)] {
        let (code, said, _) = worker.stop();
        assert_eq!(code, 0, "{said}");
        let times = |text: &str| said.matches(text).count();
        assert_eq!((times("INFO planned "), times("the partition is done")), (planned, done), "{said}");
    }
}
