//! Real Blob storage: Azurite. Simulated nodes upload into it with the write-only SAS that they are handed, and the
//! verifier lists it with another SAS that can only read and list.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::stage::{
    Run, Server, Sim, assert_manifest_equals_ledger, fleetlogs, service_sas, signature, wait_for,
};

pub(crate) const ACCOUNT: &str = "fleetlogs";
pub(crate) const KEY: &[u8] = b"plainly fake key of a local emulator";

/// Starts a service of Azurite in memory, `blob` or `queue`, with an account of ours and further options. Returns its port.
pub(crate) fn start_service(service: &str, options: &[&str]) -> (u16, Server, TempDir) {
    let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/tools/node_modules/.bin");
    let program = programs.join(format!("azurite-{service}"));
    assert!(program.exists(), "{} is missing; `bash tests/all.sh` installs it", program.display());
    let dir = tempfile::tempdir().unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let server = Command::new(program)
        .args(["--silent", "--disableTelemetry", "--inMemoryPersistence"])
        .args([&format!("--{service}Host"), "127.0.0.1", &format!("--{service}Port"), &port.to_string()])
        .args(options)
        .current_dir(dir.path())
        .env("AZURITE_ACCOUNTS", format!("{ACCOUNT}:{}", BASE64_STANDARD.encode(KEY)))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_for("Azurite", || TcpStream::connect(("127.0.0.1", port)).ok());
    (port, Server(server), dir)
}

/// Azurite in memory, with an account and a container of ours.
pub(crate) struct Azurite {
    pub(crate) port: u16,
    pub(crate) server: Server,
    _dir: TempDir,
}

impl Azurite {
    /// Runs a simulated fleet whose nodes upload here; everything is collected.
    pub(crate) fn collect(&self, sim: &Sim) -> Run {
        std::fs::write(sim.dir.path().join("secret.write"), self.container_sas("w")).unwrap();
        std::fs::write(sim.dir.path().join("secret.list"), self.container_sas("rl")).unwrap();
        let config = std::fs::read_to_string(sim.config("")).unwrap();
        let config = config
            .replace("\"ready.json.container_url\"", "\"secret.write\"")
            .replace("\"ready.json.verify_url\"", "\"secret.list\"");
        let run = sim.run(&sim.write_config(&config));
        assert_eq!(run.code, 0, "{}", run.stderr);
        run
    }

    pub(crate) fn start() -> Self {
        let azurite = Self::start_with(&[]);
        azurite.create_container("logs");
        azurite
    }

    /// Without a container, and with further options.
    fn start_with(options: &[&str]) -> Self {
        let (port, server, dir) = start_service("blob", options);
        Self { port, server, _dir: dir }
    }

    pub(crate) fn container(&self) -> String {
        format!("{}/logs", self.endpoint())
    }

    /// Of the storage account.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}/{ACCOUNT}", self.port)
    }

    pub(crate) fn container_sas(&self, permissions: &str) -> String {
        self.sas_of("logs", permissions)
    }

    /// The URL of a container with a SAS.
    pub(crate) fn sas_of(&self, container: &str, permissions: &str) -> String {
        let url = format!("{}/{container}", self.endpoint());
        service_sas(KEY, &url, &format!("/blob/{ACCOUNT}/{container}"), permissions)
    }

    /// Ends the lease of a blob at once, as its owner's administrator can. It may have none.
    pub(crate) fn break_lease(&self, blob: &str) {
        let sas = self.container_sas("rcwl");
        let (container, query) = sas.split_once('?').unwrap();
        tokio::runtime::Runtime::new().unwrap().block_on(async {
            let answer = fleetlogs_azure::http_client(1)
                .unwrap()
                .put(format!("{container}/{blob}?comp=lease&{query}"))
                .header("x-ms-version", "2021-12-02")
                .header("x-ms-lease-action", "break")
                .header("x-ms-lease-break-period", "0")
                .header("content-length", 0)
                .send()
                .await
                .unwrap();
            assert!(matches!(answer.status().as_u16(), 202 | 404 | 409), "{answer:?}");
        });
    }

    pub(crate) fn create_container(&self, name: &str) {
        let expiry = "2036-01-01T00:00:00Z";
        let text = format!("{ACCOUNT}\nc\nb\nc\n\n{expiry}\n\nhttps,http\n2021-12-02\n\n");
        let url = format!(
            "{}/{name}?restype=container&sv=2021-12-02&ss=b&srt=c&sp=c&se={expiry}&spr=https,http&sig={}",
            self.endpoint(),
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
        r#"
        [[account]]
        name = "contoso"
        latency = "10ms"
        [[account.pool]]
        id = "Mixed-Case_Pool"
        nodes = 40
        files = 3
        arrival = { min = "100ms", max = "1s" }
        [[account.pool]]
        id = "blocked"
        nodes = 2
        storage_blocked = true
        [[account.fault]]
        kind = "timeout-accepted"
        pool = "Mixed-Case_Pool"
        share = 0.1
        "#,
    );
    std::fs::write(sim.dir.path().join("write"), azurite.container_sas("w")).unwrap();
    std::fs::write(sim.dir.path().join("list"), azurite.container_sas("rl")).unwrap();
    let config = std::fs::read_to_string(sim.config(
        r#"
        [limits]
        rate = 50
        [verify]
        deadline = "15s"
        settle = "5s"
        "#,
    ))
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
    let proved = |node: &&Value| node["files_promised"].is_null() && node["proof"] == "peers";
    assert!(
        manifest["nodes"].as_array().unwrap().iter().any(|node| proved(&node)),
        "a lost answer was found"
    );
}

#[test]
#[ignore = "needs Azurite in tests/tools; tests/all.sh installs it and runs this"]
fn a_container_that_real_storage_does_not_have_is_refused() {
    let azurite = Azurite::start();
    let sim = Sim::start(
        r#"
        [[account]]
        name = "contoso"
        [[account.pool]]
        id = "a"
        nodes = 2
        "#,
    );
    let elsewhere = azurite.container_sas("rl").replace("/logs?", "/absent?");
    std::fs::write(sim.dir.path().join("list"), elsewhere).unwrap();
    let config = std::fs::read_to_string(sim.config("")).unwrap();
    let run = sim.run(&sim.write_config(&config.replace("\"ready.json.verify_url\"", "\"list\"")));
    assert_eq!(run.code, 5, "{}", run.stderr);
    assert!(run.stderr.contains("destination.verify_url"), "{}", run.stderr);
    assert_eq!(sim.upload_calls(), 0);
}

#[test]
#[ignore = "needs Azurite in tests/tools; tests/all.sh installs it and runs this"]
fn real_storage_opens_and_closes_a_share() {
    let azurite = Azurite::start_with(&[]);
    let sim = Sim::start(
        r#"
        [[account]]
        name = "contoso"
        [[account.pool]]
        id = "a"
        nodes = 3
        arrival = "50ms"
        "#,
    );
    let storage = crate::sharing::Storage {
        account: ACCOUNT.to_owned(),
        endpoint: format!("http://127.0.0.1:{}/{ACCOUNT}", azurite.port),
        key: KEY.to_vec(),
    };
    crate::sharing::a_share_comes_and_goes(&sim, &storage);
}

/// A certificate for this machine and the authority that signed it, in a directory of their own.
fn certificates() -> TempDir {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    let mut authority = CertificateParams::new(vec![]).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let server =
        CertificateParams::new(vec!["127.0.0.1".into()]).unwrap().signed_by(&key, &authority).unwrap();
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("authority.pem", authority.pem()),
        ("server.pem", server.pem()),
        ("server.key", key.serialize_pem()),
    ] {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    dir
}

/// A managed identity whose tokens Azurite takes: it looks at audience, issuer and times, not at the signature.
fn identity_endpoint() -> String {
    let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/token", server.local_addr().unwrap());
    std::thread::spawn(move || {
        for connection in server.incoming() {
            let mut connection = connection.unwrap();
            let mut request = [0; 4096];
            let read = connection.read(&mut request).unwrap();
            let line = String::from_utf8_lossy(&request[..read]).into_owned();
            assert!(line.contains("resource=https%3A%2F%2Fstorage.azure.com"), "{line}");
            let now = time::OffsetDateTime::now_utc().unix_timestamp();
            let part = |json: Value| BASE64_URL_SAFE_NO_PAD.encode(json.to_string());
            let claims = json!({
                "aud": "https://storage.azure.com/",
                "iss": "https://sts.windows.net/11111111-1111-1111-1111-111111111111/",
                "tid": "11111111-1111-1111-1111-111111111111",
                "oid": "22222222-2222-2222-2222-222222222222",
                "iat": now - 60, "nbf": now - 60, "exp": now + 3600,
            });
            let token = format!("{}.{}.c2ln", part(json!({ "typ": "JWT", "alg": "RS256" })), part(claims));
            let body = json!({
                "access_token": token,
                "expires_on": (now + 3600).to_string(),
                "resource": "https://storage.azure.com/",
                "token_type": "Bearer",
            })
            .to_string();
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            );
            connection.write_all((head + &body).as_bytes()).unwrap();
        }
    });
    url
}

#[test]
#[ignore = "needs Azurite in tests/tools; tests/all.sh installs it and runs this"]
fn real_storage_takes_the_sas_that_a_user_delegation_key_makes() {
    let certificates = certificates();
    let path = |name: &str| certificates.path().join(name).display().to_string();
    let (certificate, key) = (path("server.pem"), path("server.key"));
    let azurite = Azurite::start_with(&["--oauth", "basic", "--cert", &certificate, "--key", &key]);
    let authority = path("authority.pem");
    let sim = Sim::start_in(
        r#"
        [[account]]
        name = "contoso"
        latency = "20ms"
        [[account.pool]]
        id = "a"
        nodes = 20
        arrival = { min = "100ms", max = "500ms" }
        "#,
        &[("SSL_CERT_FILE", &authority)],
    );
    let account = format!("https://127.0.0.1:{}/{ACCOUNT}", azurite.port);
    let config = crate::credentials::config(
        &sim,
        &format!(
            r#"
            mint = "user-delegation"
            account = "{account}"
            container = "incident-{{run_id}}"
            lifetime = "12s"
            upload_allowance = "4s"
            "#
        ),
        "limits = { rate = 3, concurrency = 2 }",
    );
    let output = fleetlogs()
        .arg("run")
        .arg(config)
        .env("IDENTITY_ENDPOINT", identity_endpoint())
        .env("IDENTITY_HEADER", "fake-header")
        .env("SSL_CERT_FILE", &authority)
        .current_dir(sim.dir.path())
        .output()
        .unwrap();
    let run = Run::of(sim.dir.path(), output);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_manifest_equals_ledger(&run.manifest(), &sim.ledger());
    assert_eq!(run.count("verified"), 20);
    assert_eq!(sim.ledger()["storage"]["put_failures"], 0);
    let destination = run.manifest()["destination"].as_str().unwrap().to_owned();
    assert!(destination.starts_with(&format!("{account}/incident-")), "{destination}");
    let ends: std::collections::BTreeSet<_> = sim.ledger()["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| node["directories"][0]["sas_expires_at"].to_string())
        .collect();
    assert!(ends.len() >= 2, "the SAS was renewed: {ends:?}");
}

#[test]
#[ignore = "needs Azurite in tests/tools; tests/all.sh installs it and runs this"]
fn real_storage_takes_the_sas_and_makes_the_container_that_its_key_signs() {
    let azurite = Azurite::start_with(&[]);
    let sim = Sim::start(
        r#"
        [[account]]
        name = "contoso"
        [[account.pool]]
        id = "a"
        nodes = 5
        arrival = "100ms"
        "#,
    );
    std::fs::write(sim.dir.path().join("secret.storage"), BASE64_STANDARD.encode(KEY)).unwrap();
    let config = crate::credentials::config(
        &sim,
        &format!(
            r#"
            mint = "account-key"
            account = "http://127.0.0.1:{}/{ACCOUNT}"
            container = "incident-{{run_id}}"
            account_key = {{ file = "secret.storage" }}
            start_time = true
            "#,
            azurite.port
        ),
        "",
    );
    let run = sim.run(&config);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(run.count("verified"), 5);
}
