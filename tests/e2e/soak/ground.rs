//! What the soak happens on: a simulated fleet that has faults all the time, real Blob storage, and two machines that
//! share a schedule, each with a daemon.

use std::fs::{File, OpenOptions};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::azurite::{ACCOUNT, Azurite, KEY};
use crate::stage::{Sim, in_clean_environment, service_sas_until};

/// The snapshots: by the clock, by an alert, and when a node goes bad.
pub(super) const SNAPSHOTS: [&str; 3] = ["minutely", "incident", "went-bad"];

/// Runs of a snapshot that a machine keeps.
pub(super) const KEPT: usize = 6;

const ALERT_SECRET: &str = "plainly-fake-alert-secret";

/// Three accounts with faults of every kind, in which nodes vanish, come back, and go bad again and again.
fn fleet(seed: u64) -> String {
    let account = |name: &str, faults: &str, pools: &str| {
        let fault = |fault: &str| {
            let (kind, more) = fault.split_once(':').unwrap_or((fault, "share=0.02"));
            let more = more.replace(',', "\n").replace('=', " = ");
            format!("[[account.fault]]\nkind = \"{kind}\"\n{more}\n")
        };
        let faults: String = faults.split_whitespace().map(fault).collect();
        format!(
            "[[account]]\nname = \"{name}\"\nlatency = {{ min = \"5ms\", max = \"60ms\" }}\n{pools}\n{faults}"
        )
    };
    let pool = |id: &str, nodes: u32, more: &str| {
        format!(
            "[[account.pool]]\nid = \"{id}\"\nnodes = {nodes}\nunknown_state = 0\nfiles = {{ min = 1, max = 3 }}\n\
             file_size = \"1KiB\"\narrival = {{ min = \"20ms\", max = \"400ms\" }}\n{more}\n"
        )
    };
    let vanishing = "[[account.pool.life]]\nnodes = 2\nat = \"25s\"\nbecomes = \"gone\"\nback_after = \"15s\"\n\
                     every = \"47s\"\n[[account.pool.life]]\nnodes = 1\nat = \"40s\"\nbecomes = \"preempted\"\n\
                     back_after = \"20s\"\nevery = \"61s\"";
    let failing = "[[account.pool.life]]\nnodes = 2\nat = \"10s\"\nbecomes = \"starttaskfailed\"\n\
                   recovers_after = \"12s\"\nevery = \"53s\"";
    let lists = "server-busy:on=\"list-nodes\",share=0.01 drop-before:on=\"list-pools\",share=0.01";
    [
        format!("seed = {seed}\n"),
        account(
            "contoso",
            &format!("throttle:share=0.02,retry_after=\"1s\" internal-error timeout-refused drop-before {lists}"),
            &format!("capacity = 40\nretry_after = \"1s\"\n{}{}", pool("Render", 24, vanishing), pool("encode", 6, failing)),
        ),
        account(
            "fabrikam",
            "timeout-accepted:share=0.01 drop-after:share=0.01 truncated:share=0.005 empty-body:share=0.005 bad-gateway",
            &pool("Blend", 18, ""),
        ),
        account(
            "tailwind",
            "timeout-accepted:share=0.01 slow:share=0.03,delay=\"600ms\" slow:share=0.005,delay=\"4s\" silent:share=0.005,delay=\"3s\" server-busy",
            &pool("Sim", 12, ""),
        ),
        // The container of the logs does not answer well either.
        storage_faults(),
    ]
    .concat()
}

/// Half a minute in which listings fail, every seven minutes.
fn storage_faults() -> String {
    let fault = |n: u32| {
        let (from, until) = (100 + n * 420, 112 + n * 420);
        format!("[[storage.fault]]\nkind = \"server-busy\"\nfrom = \"{from}s\"\nuntil = \"{until}s\"\n")
    };
    (0..24).map(fault).collect()
}

/// A daemon's life: from its start to its end.
#[derive(Clone, Copy)]
pub(super) struct Life {
    /// Position in the order of starts.
    pub(super) number: usize,
    pub(super) machine: usize,
    pub(super) pid: u32,
}

pub(super) struct Machine {
    pub(super) dir: PathBuf,
    config: PathBuf,
    port: u16,
    daemon: Option<Child>,
}

pub(super) struct Ground {
    pub(super) sim: Sim,
    pub(super) azurite: Azurite,
    program: PathBuf,
    pub(super) machines: [Machine; 2],
    /// The daemons that live, for whoever watches them.
    pub(super) living: std::sync::Arc<Mutex<Vec<Life>>>,
    pub(super) started: usize,
    runtime: tokio::runtime::Runtime,
    http: fleetlogs_azure::Client,
    /// Signatures of every SAS that was given out: secrets.
    signatures: Vec<String>,
}

impl Ground {
    pub(super) fn new(seed: u64, sas_lifetime: Duration) -> Self {
        let (sim, azurite) = (Sim::start(&fleet(seed)), Azurite::start());
        let dir = sim.dir.path().to_owned();
        let program = dir.join("fleetlogs");
        std::fs::copy(env!("CARGO_BIN_EXE_fleetlogs"), &program).unwrap();
        std::fs::write(dir.join("secret.alert"), ALERT_SECRET).unwrap();
        std::fs::write(dir.join("secret.storage"), sim.ready["storage"]["key"].as_str().unwrap()).unwrap();
        let machines = ["one", "two"].map(|name| {
            let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            // The machines have the same config, but for the port of the listener: here they are one machine.
            let config = dir.join(format!("{name}.toml"));
            std::fs::write(&config, settings(&sim, port)).unwrap();
            std::fs::create_dir(dir.join(name)).unwrap();
            Machine { dir: dir.join(name), config, port, daemon: None }
        });
        let mut ground = Self {
            sim,
            azurite,
            program,
            machines,
            living: std::sync::Arc::default(),
            started: 0,
            runtime: tokio::runtime::Runtime::new().unwrap(),
            http: fleetlogs_azure::http_client(2).unwrap(),
            signatures: vec![],
        };
        ground.rotate(sas_lifetime);
        ground.start(0);
        ground.owner();
        ground.start(1);
        ground
    }

    pub(super) fn start(&mut self, machine: usize) {
        let place = &mut self.machines[machine];
        let log = OpenOptions::new().create(true).append(true).open(place.dir.join("daemon.log")).unwrap();
        let child = in_clean_environment(&self.program)
            .arg("schedule")
            .arg(&place.config)
            .current_dir(&place.dir)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.living.lock().push(Life { number: self.started, machine, pid: child.id() });
        self.started += 1;
        place.daemon = Some(child);
    }

    /// Sends a signal to a daemon and waits for its end.
    pub(super) fn end(&mut self, machine: usize, signal: &str) -> ExitStatus {
        self.living.lock().retain(|life| life.machine != machine);
        let mut daemon = self.machines[machine].daemon.take().unwrap();
        Command::new("kill").arg(signal).arg(daemon.id().to_string()).status().unwrap();
        daemon.wait().unwrap()
    }

    /// No daemon ends by itself.
    pub(super) fn assert_alive(&mut self) {
        for machine in 0..self.machines.len() {
            if let Some(daemon) = &mut self.machines[machine].daemon
                && let Some(status) = daemon.try_wait().unwrap()
            {
                panic!("the daemon of machine {machine} ended by itself, {status}: {}", self.tail(machine));
            }
        }
    }

    pub(super) fn said(&self, machine: usize) -> String {
        std::fs::read_to_string(self.machines[machine].dir.join("daemon.log")).unwrap()
    }

    fn tail(&self, machine: usize) -> String {
        let said = self.said(machine);
        let lines: Vec<_> = said.lines().rev().take(40).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    /// The machine that owns the schedule, as soon as one does.
    pub(super) fn owner(&mut self) -> usize {
        for _ in 0..600 {
            self.assert_alive();
            let mut machines = 0..self.machines.len();
            let active = machines.find(|machine| {
                let url = format!("http://127.0.0.1:{}/healthz/active", self.machines[*machine].port);
                self.ask(self.http.get(url)).is_some_and(|(status, _)| status == 200)
            });
            if let Some(active) = active {
                return active;
            }
            std::thread::sleep(Duration::from_secs(1));
        }
        panic!("no machine owns the schedule: {}\n---\n{}", self.tail(0), self.tail(1));
    }

    /// Requests a run by an alert. Returns the row of the run that was promised, if the answer came.
    pub(super) fn alert(&self, id: usize) -> Option<i64> {
        let alert = json!({
            "schemaId": "azureMonitorCommonAlertSchema",
            "data": { "essentials": {
                "alertId": format!("alert-{id}"), "alertRule": "soak", "monitorCondition": "Fired",
                "firedDateTime": "2026-11-22T09:00:00.000Z",
            }, "alertContext": {} },
        });
        self.machines.iter().find_map(|machine| {
            let url = format!("http://127.0.0.1:{}/alerts/incident", machine.port);
            let request = self.http.post(url).bearer_auth(ALERT_SECRET).body(alert.to_string());
            let (status, text) = self.ask(request)?;
            let answer: Value = serde_json::from_str(&text).ok()?;
            (status == 202).then(|| answer["run"].as_i64().expect("the number of a run"))
        })
    }

    /// Status and body of an answer; none if no answer comes.
    fn ask(&self, request: reqwest::RequestBuilder) -> Option<(u16, String)> {
        self.runtime.block_on(async {
            let answer = request.timeout(Duration::from_secs(5)).send().await.ok()?;
            Some((answer.status().as_u16(), answer.text().await.ok()?))
        })
    }

    /// The same of storage, which may need long to come back.
    fn ask_storage(&self, request: &reqwest::RequestBuilder) -> (u16, String) {
        let again = || request.try_clone().expect("a request without a stream");
        let mut answers = (0..200).map(|_| {
            let answer = self.ask(again());
            if answer.is_none() {
                std::thread::sleep(Duration::from_secs(1));
            }
            answer
        });
        answers.find_map(|answer| answer).expect("storage came back")
    }

    /// Puts new SAS of the container that the schedule and the journals are in into the place of the old ones, which expire
    /// at their own time.
    pub(super) fn rotate(&mut self, lifetime: Duration) {
        let (url, resource) = (self.azurite.container(), format!("/blob/{ACCOUNT}/logs"));
        for (name, permissions) in [("state", "rcw"), ("journal", "rcwl")] {
            self.give(name, &service_sas_until(KEY, &url, &resource, permissions, after(lifetime)));
        }
    }

    /// A whole file takes the place of the old one.
    fn give(&mut self, name: &str, sas: &str) {
        let (new, place) =
            (self.sim.dir.path().join("secret.new"), self.sim.dir.path().join(format!("secret.{name}")));
        std::fs::write(&new, sas).unwrap();
        std::fs::rename(new, place).unwrap();
        self.signatures.push(sas.rsplit("sig=").next().unwrap().to_owned());
    }

    /// Names of the blobs beside the schedule, with their sizes and times.
    pub(super) fn blobs(&self) -> Vec<Blob> {
        let sas = self.azurite.container_sas("rl");
        let (status, text) = self.ask_storage(&self.http.get(format!("{sas}&restype=container&comp=list")));
        assert_eq!(status, 200, "{text}");
        assert!(!text.contains("<NextMarker>"), "more blobs than fit on a page");
        let of = |blob: &str, tag: &str| {
            blob.split_once(&format!("<{tag}>")).unwrap().1.split('<').next().unwrap().to_owned()
        };
        text.split("<Blob>")
            .skip(1)
            .map(|blob| Blob {
                name: of(blob, "Name"),
                bytes: of(blob, "Content-Length").parse().unwrap(),
                modified: OffsetDateTime::parse(
                    &of(blob, "Last-Modified").replace("GMT", "+0000"),
                    &time::format_description::well_known::Rfc2822,
                )
                .unwrap(),
            })
            .collect()
    }

    /// Deletes a blob, unless a process has a lease on it.
    pub(super) fn delete(&self, blob: &str) {
        let sas = self.azurite.container_sas("d");
        let (container, query) = sas.split_once('?').unwrap();
        let request =
            self.http.delete(format!("{container}/{blob}?{query}")).header("x-ms-version", "2021-12-02");
        let (status, text) = self.ask_storage(&request);
        assert!(matches!(status, 202 | 404 | 412), "{status}: {text}");
    }

    /// The shared state of the schedule.
    pub(super) fn state(&self) -> Vec<u8> {
        let sas = self.azurite.container_sas("r");
        let (container, query) = sas.split_once('?').unwrap();
        let url = format!("{container}/fleetlogs/schedule.db?{query}");
        self.runtime.block_on(async {
            self.http
                .get(url)
                .send()
                .await
                .unwrap()
                .error_for_status()
                .unwrap()
                .bytes()
                .await
                .unwrap()
                .to_vec()
        })
    }

    /// Nobody printed a secret.
    pub(super) fn assert_no_secret_was_told(&self) {
        for machine in 0..self.machines.len() {
            let said = self.said(machine);
            let told = self.signatures.iter().any(|signature| said.contains(signature.as_str()));
            assert!(!told && !said.contains(ALERT_SECRET), "a secret is in the log of machine {machine}");
        }
    }

    /// Ends what is left, so that no run is cut short: the books are closed.
    pub(super) fn close(&mut self) {
        for machine in 0..self.machines.len() {
            let status = self.end(machine, "-TERM");
            // A daemon that has just started does not listen to signals yet.
            let is_young = status.signal() == Some(15);
            assert!(is_young || matches!(status.code(), Some(0 | 6)), "{status}: {}", self.tail(machine));
        }
        self.rotate(Duration::from_secs(24 * 3600));
        // What was cut short is resumed, and whatever starts meanwhile comes to its end as well.
        loop {
            self.start(0);
            self.owner();
            let mut looks = 0;
            while !self.is_at_rest() {
                self.assert_alive();
                looks += 1;
                assert!(looks < 1200, "the schedule never rests: {}", self.tail(0));
                std::thread::sleep(Duration::from_millis(500));
            }
            if self.end(0, "-TERM").code() == Some(0) && self.is_at_rest() {
                return;
            }
        }
    }

    /// Whether no run is in progress, as the schedule tells anybody who asks.
    fn is_at_rest(&self) -> bool {
        let output = in_clean_environment(&self.program)
            .arg("schedule")
            .arg(&self.machines[0].config)
            .args(["--list", "--json"])
            .current_dir(&self.machines[0].dir)
            .output()
            .unwrap();
        let list: Value = serde_json::from_slice(&output.stdout).unwrap();
        list["snapshots"].as_array().unwrap().iter().all(|snapshot| snapshot["running"].is_null())
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        for machine in &mut self.machines {
            if let Some(daemon) = &mut machine.daemon {
                let _ = daemon.kill();
                let _ = daemon.wait();
            }
        }
    }
}

/// A blob of the container with the state and the journals.
pub(super) struct Blob {
    pub(super) name: String,
    pub(super) bytes: u64,
    pub(super) modified: OffsetDateTime,
}

fn after(lifetime: Duration) -> OffsetDateTime {
    OffsetDateTime::now_utc() + lifetime
}

/// The config of a machine. Runs by the clock and captures go on at the same time, so each run has a container of its own
/// (docs/design/in-doubt.md, "Limits").
fn settings(sim: &Sim, port: u16) -> String {
    let dir = sim.dir.path();
    let account = |account: &Value| {
        let (name, endpoint) = (account["name"].as_str().unwrap(), account["endpoint"].as_str().unwrap());
        format!(
            "[[account]]\nname = \"{name}\"\nendpoint = \"{endpoint}\"\n\
             auth = {{ shared_key = {{ file = \"ready.json.{name}.key\" }} }}\n"
        )
    };
    let accounts: String = sim.ready["accounts"].as_array().unwrap().iter().map(account).collect();
    let [minutely, incident, went_bad] = SNAPSHOTS;
    let keep = format!("keep_runs = {KEPT}\nkeep_for = \"5m\"\ndelete_containers = true");
    format!(
        r#"
        [window]
        last = "1h"
        [destination]
        mint = "account-key"
        account = "{storage}"
        container = "incident-{{run_id}}"
        account_key = {{ file = "secret.storage" }}
        lifetime = "2m"
        upload_allowance = "10s"
        [limits]
        rate = 40
        concurrency = 8
        relist = "5s"
        [retry]
        base_delay = "200ms"
        max_delay = "2s"
        [deadlines]
        call = "2s"
        node = "60s"
        run = "10m"
        [verify]
        deadline = "20s"
        settle = "8s"
        [journal]
        container_url = {{ command = ["cat", "{dir}/secret.journal"] }}
        lease = "15s"
        [schedule]
        capture_share = 50
        poll_rate = 20
        [schedule.lease]
        container_url = {{ file = "secret.state" }}
        duration = "15s"
        [schedule.listener]
        address = "127.0.0.1:{port}"
        secret = {{ file = "secret.alert" }}
        {accounts}
        [[snapshot]]
        name = "{minutely}"
        cron = "* * * * *"
        window = "since-last"
        margin = "30s"
        {keep}
        [[snapshot]]
        name = "{incident}"
        window = "30m"
        {keep}
        [[snapshot]]
        name = "{went_bad}"
        window = "10m"
        on_state = ["starttaskfailed"]
        every = "2s"
        gather = "1s"
        quiet = "0s"
        {keep}
        "#,
        dir = dir.display(),
        storage = sim.ready["storage"]["endpoint"].as_str().unwrap(),
    )
}

/// Where the figures of a soak go.
pub(super) fn figures_dir() -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("soak");
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

pub(super) fn figures_file(name: &str) -> File {
    File::create(figures_dir().join(name)).unwrap()
}
