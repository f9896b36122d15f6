//! Azurite, with blobs and queues in memory, and what it logged of the requests to it.

use std::fs::File;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tempfile::TempDir;

use crate::requests::Requests;

const ACCOUNT: &str = "fleetlogs";
const KEY: &[u8] = b"plainly fake key of a local emulator";
const EXPIRY: &str = "2036-01-01T00:00:00Z";
const CONTAINER: &str = "state";

/// In the query of the bench's own requests, which do not count.
const OWN: &str = "by=bench";

/// Both services, with a container.
pub(crate) struct Azurite {
    blob: Service,
    queue: Service,
}

impl Azurite {
    pub(crate) fn start() -> Self {
        let azurite = Self { blob: Service::start("blob"), queue: Service::start("queue") };
        let sas = account_sas("b", "c", "c");
        let url = format!("{}/{CONTAINER}?restype=container&{OWN}&{sas}", azurite.blob.url());
        let created = request(|client| client.put(&url).header("content-length", 0));
        assert_eq!(created.0, 201, "{}", created.1);
        azurite
    }

    /// The URL of the container of the journals with a SAS.
    pub(crate) fn container_url(&self) -> String {
        format!("{}/{CONTAINER}?{}", self.blob.url(), account_sas("b", "co", "rcwl"))
    }

    /// The URL of a queue, which does not exist yet, with a SAS.
    pub(crate) fn queue_url(&self) -> String {
        format!("{}/work?{}", self.queue.url(), account_sas("q", "co", "racup"))
    }

    /// The size of all journals.
    pub(crate) fn journal_bytes(&self) -> f64 {
        let sas = account_sas("b", "co", "rl");
        let url = format!("{}/{CONTAINER}?restype=container&comp=list&{OWN}&{sas}", self.blob.url());
        let (status, list) = request(|client| client.get(&url));
        assert_eq!(status, 200, "{list}");
        let blobs = list.split("<Blob>").skip(1);
        let journals = blobs.filter(|blob| blob.contains("/journal-"));
        let size = |blob: &str| -> f64 {
            let (_, size) = blob.split_once("<Content-Length>").expect("a size");
            size.split('<').next().and_then(|size| size.parse().ok()).expect("a number")
        };
        journals.map(size).sum()
    }

    /// What it was asked for so far.
    pub(crate) fn requests(&self) -> Requests {
        Requests::read(&self.blob.log(), &self.queue.log())
    }
}

struct Service {
    process: Child,
    port: u16,
    dir: TempDir,
}

impl Service {
    fn start(name: &str) -> Self {
        let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/tools/node_modules/.bin");
        let program = programs.join(format!("azurite-{name}"));
        assert!(program.exists(), "{} is missing; `bash tests/all.sh` installs it", program.display());
        let dir = tempfile::tempdir().expect("a directory");
        let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let port = port.expect("a port").port();
        let process = Command::new(program)
            .args(["--disableTelemetry", "--inMemoryPersistence"])
            .args([&format!("--{name}Host"), "127.0.0.1", &format!("--{name}Port"), &port.to_string()])
            .current_dir(dir.path())
            .env("AZURITE_ACCOUNTS", format!("{ACCOUNT}:{}", BASE64_STANDARD.encode(KEY)))
            .stdin(Stdio::null())
            .stdout(File::create(dir.path().join("log")).expect("a file"))
            .stderr(Stdio::null())
            .spawn()
            .expect("Azurite starts");
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { process, port, dir }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}/{ACCOUNT}", self.port)
    }

    /// A line for each request, without those of the bench itself.
    fn log(&self) -> String {
        let log = std::fs::read_to_string(self.dir.path().join("log")).expect("a log");
        let others = log.lines().filter(|line| !line.contains(OWN));
        others.flat_map(|line| [line, "\n"]).collect()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn account_sas(service: &str, types: &str, permissions: &str) -> String {
    let text =
        format!("{ACCOUNT}\n{permissions}\n{service}\n{types}\n\n{EXPIRY}\n\nhttps,http\n2021-12-02\n\n");
    let mut mac = Hmac::<Sha256>::new_from_slice(KEY).expect("any length is one of a key");
    mac.update(text.as_bytes());
    let signature = BASE64_STANDARD.encode(mac.finalize().into_bytes());
    let signature = signature.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
    format!(
        "sv=2021-12-02&ss={service}&srt={types}&sp={permissions}&se={EXPIRY}&spr=https,http&sig={signature}"
    )
}

/// Status and body of the answer.
fn request(build: impl FnOnce(&reqwest::Client) -> reqwest::RequestBuilder) -> (u16, String) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let client = fleetlogs_azure::http_client(1).expect("a client");
        let answer = build(&client).header("x-ms-version", "2021-12-02").send().await.expect("an answer");
        (answer.status().as_u16(), answer.text().await.expect("a body"))
    })
}
