//! Real Blob storage: Azurite. Simulated nodes upload into it with the write-only SAS that they are handed, and the
//! verifier lists it with another SAS that can only read and list.

use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use tempfile::TempDir;

use crate::stage::{Server, Sim, assert_manifest_equals_ledger, service_sas, signature, wait_for};

const ACCOUNT: &str = "fleetlogs";
const KEY: &[u8] = b"plainly fake key of a local emulator";

/// Azurite in memory, with an account and a container of ours.
struct Azurite {
    port: u16,
    _server: Server,
    _dir: TempDir,
}

impl Azurite {
    fn start() -> Self {
        let program =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/tools/node_modules/.bin/azurite-blob");
        assert!(program.exists(), "{} is missing; `bash tests/all.sh` installs it", program.display());
        let dir = tempfile::tempdir().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let server = Command::new(program)
            .args(["--silent", "--disableTelemetry", "--inMemoryPersistence", "--blobHost", "127.0.0.1"])
            .args(["--blobPort", &port.to_string()])
            .current_dir(dir.path())
            .env("AZURITE_ACCOUNTS", format!("{ACCOUNT}:{}", BASE64_STANDARD.encode(KEY)))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let azurite = Self { port, _server: Server(server), _dir: dir };
        wait_for("Azurite", || TcpStream::connect(("127.0.0.1", port)).ok());
        azurite.create_container();
        azurite
    }

    fn container(&self) -> String {
        format!("http://127.0.0.1:{}/{ACCOUNT}/logs", self.port)
    }

    fn container_sas(&self, permissions: &str) -> String {
        service_sas(KEY, &self.container(), &format!("/blob/{ACCOUNT}/logs"), permissions)
    }

    fn create_container(&self) {
        let expiry = "2036-01-01T00:00:00Z";
        let text = format!("{ACCOUNT}\nc\nb\nc\n\n{expiry}\n\nhttps,http\n2021-12-02\n\n");
        let url = format!(
            "{}?restype=container&sv=2021-12-02&ss=b&srt=c&sp=c&se={expiry}&spr=https,http&sig={}",
            self.container(),
            signature(KEY, &text)
        );
        tokio::runtime::Runtime::new().unwrap().block_on(async {
            let client = fleetlogs_azure::http_client(1).unwrap();
            let answer = client
                .put(url)
                .header("x-ms-version", "2021-12-02")
                .header("content-length", 0)
                .send()
                .await
                .unwrap();
            assert_eq!(answer.status(), 201, "{}", answer.text().await.unwrap());
        });
    }
}

#[test]
#[ignore = "needs Azurite in tests/tools; tests/all.sh installs it and runs this"]
fn a_fleet_uploads_into_real_blob_storage_and_is_verified_there() {
    let azurite = Azurite::start();
    let sim = Sim::start(
        "[[account]]\nname = \"contoso\"\nlatency = \"10ms\"\n[[account.pool]]\nid = \"Mixed-Case_Pool\"\nnodes = 40\n\
         files = { min = 2, max = 5 }\narrival = { min = \"100ms\", max = \"1s\" }\n\
         [[account.pool]]\nid = \"blocked\"\nnodes = 2\nstorage_blocked = true\n\
         [[account.fault]]\nkind = \"timeout-accepted\"\npool = \"Mixed-Case_Pool\"\nshare = 0.1\n",
    );
    std::fs::write(sim.dir.path().join("write"), azurite.container_sas("w")).unwrap();
    std::fs::write(sim.dir.path().join("list"), azurite.container_sas("rl")).unwrap();
    let config = std::fs::read_to_string(
        sim.config("[limits]\nrate = 50\n[verify]\ndeadline = \"15s\"\nsettle = \"5s\""),
    )
    .unwrap();
    let config = config
        .replace("\"ready.json.container_url\"", "\"write\"")
        .replace("\"ready.json.verify_url\"", "\"list\"");
    let run = sim.run(&sim.write_config(&config));

    assert_eq!(run.code, 3, "{}", run.stderr);
    let (manifest, ledger) = (run.manifest(), sim.ledger());
    assert_manifest_equals_ledger(&manifest, &ledger);
    assert_eq!((run.count("verified"), run.count("incomplete")), (40, 2), "{}", run.stderr);
    assert_eq!(ledger["storage"]["put_failures"], 0);
    assert_eq!(ledger["storage"]["list_calls"], 0, "the simulator's own container was not used");
    assert_eq!(manifest["destination"], azurite.container());
    let adopted =
        |node: &&serde_json::Value| node["files_promised"].is_null() && node["outcome"] == "verified";
    assert!(
        manifest["nodes"].as_array().unwrap().iter().any(|node| adopted(&node)),
        "a lost answer was found"
    );
}

#[test]
#[ignore = "needs Azurite in tests/tools; tests/all.sh installs it and runs this"]
fn a_container_that_real_storage_does_not_have_is_refused() {
    let azurite = Azurite::start();
    let sim = Sim::start("[[account]]\nname = \"contoso\"\n[[account.pool]]\nid = \"a\"\nnodes = 2\n");
    let elsewhere = azurite.container_sas("rl").replace("/logs?", "/absent?");
    std::fs::write(sim.dir.path().join("list"), elsewhere).unwrap();
    let config = std::fs::read_to_string(sim.config("")).unwrap();
    let run = sim.run(&sim.write_config(&config.replace("\"ready.json.verify_url\"", "\"list\"")));
    assert_eq!(run.code, 5, "{}", run.stderr);
    assert!(run.stderr.contains("destination.verify_url"), "{}", run.stderr);
    assert_eq!(sim.upload_calls(), 0);
}
