//! Access for support: it reads and lists and nothing else, nobody keeps it, and it can be taken back.

use std::path::Path;
use std::process::{Command, Output};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;
use time::OffsetDateTime;
use time::macros::format_description;

use crate::bundle::{files, unpack};
use crate::stage::{Run, Sim, fleetlogs};

const FLEET: &str = r#"
[[account]]
name = "contoso"
[[account.pool]]
id = "a"
nodes = 3
arrival = "50ms"
"#;

/// A policy of somebody else.
const OTHERS: &str = "<?xml version=\"1.0\" encoding=\"utf-8\"?><SignedIdentifiers><SignedIdentifier><Id>theirs</Id>\
    <AccessPolicy><Expiry>2036-01-01T00:00:00Z</Expiry><Permission>r</Permission></AccessPolicy></SignedIdentifier>\
    </SignedIdentifiers>";

/// A storage account, to which we have the key.
pub(crate) struct Storage {
    pub(crate) account: String,
    /// Of the account; emulators have its name in the path.
    pub(crate) endpoint: String,
    pub(crate) key: Vec<u8>,
}

/// Status and text of an answer.
type Answer = (u16, String);

impl Storage {
    fn of(sim: &Sim) -> Self {
        let text = |name: &str| sim.ready["storage"][name].as_str().unwrap().to_owned();
        let key = BASE64_STANDARD.decode(text("key")).unwrap();
        Self { account: text("account"), endpoint: text("endpoint"), key }
    }

    /// Gets the policies of a container, or sets them if there is a body; signed here, by hand.
    fn acl(&self, container: &str, body: Option<&str>) -> Answer {
        let form = format_description!(
            "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
        );
        let (date, account) = (OffsetDateTime::now_utc().format(form).unwrap(), &self.account);
        let (method, length) = match body {
            Some(body) => ("PUT", body.len().to_string()),
            None => ("GET", String::new()),
        };
        let url = format!("{}/{container}?restype=container&comp=acl", self.endpoint);
        let path = url::Url::parse(&url).unwrap().path().to_owned();
        let text = format!(
            "{method}\n\n\n{length}\n\n\n\n\n\n\n\n\nx-ms-date:{date}\nx-ms-version:2021-12-02\n/{account}{path}\ncomp:acl\n\
             restype:container"
        );
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).unwrap();
        mac.update(text.as_bytes());
        let signature = BASE64_STANDARD.encode(mac.finalize().into_bytes());
        let authorization = format!("SharedKey {account}:{signature}");
        let headers =
            [("x-ms-date", &*date), ("x-ms-version", "2021-12-02"), ("authorization", &authorization)];
        send(method, &url, &headers, body.unwrap_or_default())
    }
}

fn send(method: &str, url: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let client = fleetlogs_azure::http_client(1).unwrap();
        let mut request = client.request(method.parse().unwrap(), url).body(body.to_owned());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    })
}

/// What a container URL with a SAS opens: listing, reading a blob, writing one, deleting one.
fn opens(url: &str) -> [u16; 4] {
    let (container, query) = url.split_once('?').unwrap();
    let (listed, text) = send("GET", &format!("{container}?restype=container&comp=list&{query}"), &[], "");
    let name = text.split_once("<Name>").map_or("absent", |(_, rest)| rest.split('<').next().unwrap());
    let blob = format!("{container}/{name}?{query}");
    let (read, _) = send("GET", &blob, &[], "");
    let new = format!("{container}/new?{query}");
    let (written, _) = send("PUT", &new, &[("x-ms-blob-type", "BlockBlob")], "x");
    let (deleted, _) = send("DELETE", &blob, &[], "");
    [listed, read, written, deleted]
}

/// A command on the newest run, from the simulator's directory.
fn on_run(sim: &Sim, run: &Run, command: &str, more: &[&str]) -> Output {
    let mut program = fleetlogs();
    program.arg(command).arg(run.dir.as_ref().unwrap()).args(more).current_dir(sim.dir.path());
    identified(sim, &mut program).output().unwrap()
}

/// With a managed identity that the simulator plays.
fn identified<'a>(sim: &Sim, command: &'a mut Command) -> &'a mut Command {
    let identity = sim.ready["ledger"].as_str().unwrap().replace("/_sim/ledger", "/_sim/identity");
    command.env("IDENTITY_ENDPOINT", identity).env("IDENTITY_HEADER", "fake-header")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The SAS, alone on stdout, and said nowhere else.
#[track_caller]
fn sas_of(output: &Output, run: &Run) -> String {
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    let url = stdout.strip_suffix('\n').unwrap();
    assert!(url.starts_with("http") && !url.contains('\n'), "{stdout}");
    let signature = url.split_once("sig=").unwrap().1;
    assert!(!stderr.contains("sig=") && !stderr.contains(signature), "{stderr}");
    assert!(!run.everything().contains(signature), "the signature is in the run directory");
    url.to_owned()
}

fn shares(run: &Run) -> Value {
    serde_json::from_str(&run.file("shares.json")).unwrap()
}

/// The account's key makes the SAS.
fn by_key(sim: &Sim, storage: &Storage, container: &str) -> std::path::PathBuf {
    std::fs::write(sim.dir.path().join("secret.storage"), BASE64_STANDARD.encode(&storage.key)).unwrap();
    let destination = format!(
        r#"
        mint = "account-key"
        account = "{}"
        account_key = {{ file = "secret.storage" }}
        container = "{container}"
        "#,
        storage.endpoint
    );
    crate::credentials::config(sim, &destination, "")
}

/// The whole story, on any storage. `refused` is what a SAS without a policy gets.
pub(crate) fn a_share_comes_and_goes(sim: &Sim, storage: &Storage) {
    let run = sim.run(&by_key(sim, storage, "incident-{run_id}"));
    assert_eq!(run.code, 0, "{}", run.stderr);
    let run_id = run.manifest()["run_id"].as_str().unwrap().to_owned();
    let container = format!("incident-{}", run_id.to_lowercase());
    assert_eq!(storage.acl(&container, Some(OTHERS)).0, 200);

    let first = on_run(sim, &run, "share", &["--for", "12h"]);
    let url = sas_of(&first, &run);
    assert!(text(&first.stderr).contains("fleetlogs unshare"), "{}", text(&first.stderr));
    assert!(!text(&first.stderr).contains("warning"), "{}", text(&first.stderr));
    assert_eq!(opens(&url), [200, 200, 403, 403]);
    let second = sas_of(&on_run(sim, &run, "share", &["--for", "1h"]), &run);
    assert_eq!(opens(&second)[..2], [200, 200]);
    let (_, policies) = storage.acl(&container, None);
    let policy = format!("<Id>fleetlogs-{run_id}</Id>");
    assert!(policies.contains(&policy) && policies.contains("<Id>theirs</Id>"), "{policies}");
    let record = shares(&run);
    assert_eq!(record["schema"], "fleetlogs.shares/v1");
    assert_eq!(record["shares"][1]["policy"], format!("fleetlogs-{run_id}-2"));
    assert_eq!(record["shares"][0]["revoked_at"], Value::Null);

    let unshared = on_run(sim, &run, "unshare", &[]);
    let said = text(&unshared.stdout);
    assert!(said.contains(&format!("fleetlogs-{run_id}, fleetlogs-{run_id}-2")), "{said}");
    insta::allow_duplicates! {
        insta::assert_snapshot!(Run::of(sim.dir.path(), unshared).picture(), @r"
        exit code: 0
        ----- stdout -----
        deleted, and found to be gone: fleetlogs-RUN, fleetlogs-RUN-2
        other policies of the container, unchanged: theirs
        ");
    }
    for url in [&url, &second] {
        assert_eq!(opens(url), [403; 4]);
    }
    let (_, policies) = storage.acl(&container, None);
    let left: Vec<_> = policies.matches("<Id>").collect();
    assert!(left.len() == 1 && policies.contains("<Id>theirs</Id>"), "{policies}");
    assert!(
        policies.contains("<Permission>r</Permission>") && policies.contains("2036-01-01T00:00:00"),
        "{policies}"
    );
    assert!(shares(&run)["shares"][0]["revoked_at"].is_string());
    assert!(!run.everything().contains("sig="));

    let again = on_run(sim, &run, "unshare", &[]);
    insta::allow_duplicates! {
        insta::assert_snapshot!(Run::of(sim.dir.path(), again).picture(), @r"
        exit code: 0
        ----- stdout -----
        the container has no policy of this run
        other policies of the container, unchanged: theirs
        ");
    }
}

#[test]
fn a_share_reads_and_lists_until_it_is_taken_back() {
    // As slow as the real service may be, and with some time to spare.
    let sim = Sim::start(&format!(
        r#"
        [storage]
        policy_delay = "2s"
        {FLEET}
        "#
    ));
    a_share_comes_and_goes(&sim, &Storage::of(&sim));
}

#[test]
fn a_bundle_comes_with_a_share_and_holds_it_only_if_asked() {
    let sim = Sim::start(FLEET);
    let run = sim.run(&by_key(&sim, &Storage::of(&sim), "incident-{run_id}"));
    let bundled = |name: &str, more: &[&str]| {
        let zip = sim.dir.path().join(format!("{name}.zip"));
        let made =
            on_run(&sim, &run, "bundle", &[&["--share", "1h", "-o", zip.to_str().unwrap()], more].concat());
        assert_eq!(made.status.code(), Some(0), "{}", text(&made.stderr));
        let stdout = text(&made.stdout);
        let (digest, url) =
            stdout.trim_end().split_once('\n').expect("a line for the file and one for the SAS");
        assert!(digest.ends_with(zip.to_str().unwrap()), "{stdout}");
        assert_eq!(opens(url), [200, 200, 403, 403]);
        let signature = url.split_once("sig=").unwrap().1.to_owned();
        assert!(!text(&made.stderr).contains(&signature) && !run.everything().contains(&signature));
        let to = sim.dir.path().join(name);
        std::fs::create_dir(&to).unwrap();
        let holding = files(&unpack(&zip, &to))
            .into_iter()
            .filter(|(_, content)| String::from_utf8_lossy(content).contains(&signature));
        holding.map(|(name, _)| name).collect::<Vec<_>>()
    };
    assert!(bundled("without", &[]).is_empty());
    assert_eq!(bundled("with", &["--with-sas"]), ["ACCESS-SAS.txt"]);
    let check = on_check(&sim.dir.path().join("with.zip"));
    assert_eq!(check.status.code(), Some(0), "{}", text(&check.stdout));
}

fn on_check(bundle: &Path) -> Output {
    fleetlogs().args(["bundle", "--check"]).arg(bundle).output().unwrap()
}

#[test]
fn a_container_of_many_runs_is_shared_with_a_warning() {
    let sim = Sim::start(FLEET);
    let run = sim.run(&by_key(&sim, &Storage::of(&sim), "batch-logs"));
    let shared = on_run(&sim, &run, "share", &["--json"]);
    assert!(text(&shared.stderr).contains("not for this run alone"), "{}", text(&shared.stderr));
    let document: Value = serde_json::from_slice(&shared.stdout).unwrap();
    assert_eq!(
        (&document["schema"], &document["kind"]),
        (&"fleetlogs.share/v1".into(), &"stored-policy".into())
    );
    assert_eq!(opens(document["url"].as_str().unwrap())[..2], [200, 200]);
    assert_eq!(shares(&run)["shares"][0]["opens_other_runs"], true);
}

#[test]
fn a_share_by_entra_ends_by_itself_and_says_so() {
    let sim = Sim::start(FLEET);
    let destination = format!(
        r#"
        mint = "user-delegation"
        account = "{}"
        container = "incident-{{run_id}}"
        "#,
        Storage::of(&sim).endpoint
    );
    let config = crate::credentials::config(&sim, &destination, "");
    let run = crate::credentials::with_identity(&sim, &["run", config.to_str().unwrap()]);
    assert_eq!(run.code, 0, "{}", run.stderr);

    let long = on_run(&sim, &run, "share", &["--for", "8d"]);
    insta::assert_snapshot!(Run::of(sim.dir.path(), long).picture(), @r#"
    exit code: 2
    ----- stderr -----
    error: a SAS created with Entra is valid for 7 days at most, like its user delegation key
      help: use `--for 7d` or less and share again once it has expired; or use `mint = "account-key"`
    "#);

    let shared = on_run(&sim, &run, "share", &["--for", "7d"]);
    let url = sas_of(&shared, &run);
    assert!(text(&shared.stderr).contains("cannot be revoked on its own"), "{}", text(&shared.stderr));
    assert_eq!(opens(&url), [200, 200, 403, 403]);
    assert_eq!(shares(&run)["shares"][0]["kind"], "user-delegation");

    let unshared = on_run(&sim, &run, "unshare", &[]);
    // Something is open still.
    insta::assert_snapshot!(Run::of(sim.dir.path(), unshared).picture(), @r"
    exit code: 3
    ----- stdout -----
    the container has no policy of this run
    STILL OPEN until TIME: the SAS created with Entra at TIME
      help: a SAS created with Entra cannot be revoked on its own; `az storage account revoke-delegation-keys` revokes all SAS of all user delegation keys of the storage account
    ");
    assert_eq!(opens(&url)[0], 200);
}

#[test]
fn what_cannot_be_shared_says_what_to_do() {
    let sim = Sim::start(FLEET);
    let run = sim.run(&sim.config(""));
    assert_eq!(run.code, 0, "{}", run.stderr);
    let refused = on_run(&sim, &run, "share", &[]);
    insta::assert_snapshot!(Run::of(sim.dir.path(), refused).picture(), @r"
    exit code: 2
    ----- stderr -----
    error: `destination.container_url` is a SAS, and no other SAS can be created from it
      help: pass a config with `mint` for the same container as `--config`, or ask the person who created that SAS for one with `r` and `l` for support (`az storage container generate-sas --permissions rl`)
    ");

    // With the key of that account it can, and only for the run's own container.
    let other = by_key(&sim, &Storage::of(&sim), "other-logs");
    let elsewhere = on_run(&sim, &run, "share", &["--config", other.to_str().unwrap()]);
    insta::assert_snapshot!(Run::of(sim.dir.path(), elsewhere).picture(), @r"
    exit code: 2
    ----- stderr -----
    error: this run collects into `http://127.0.0.1:PORT/simlogs/batch-logs`, but the config names `http://127.0.0.1:PORT/simlogs/other-logs`
      help: name the container that the run was started with
    ");
    let same = by_key(&sim, &Storage::of(&sim), "batch-logs");
    let shared = on_run(&sim, &run, "share", &["--config", same.to_str().unwrap()]);
    assert_eq!(opens(&sas_of(&shared, &run))[..2], [200, 200]);

    std::fs::write(sim.dir.path().join("secret.storage"), "d3Jvbmcga2V5IG9mIHN0b3JhZ2U=").unwrap();
    let wrong = on_run(&sim, &run, "unshare", &["--config", same.to_str().unwrap()]);
    let said = text(&wrong.stderr);
    assert_eq!(wrong.status.code(), Some(5), "{said}");
    assert!(said.contains("AuthenticationFailed") && said.contains("destination.account_key"), "{said}");
    assert!(Path::new(&run.dir.unwrap()).join("shares.json").exists());
}

#[test]
fn a_share_that_nobody_got_is_said_to_be_there() {
    let sim = Sim::start(FLEET);
    let run = sim.run(&by_key(&sim, &Storage::of(&sim), "incident-{run_id}"));
    let mut share = fleetlogs();
    share.arg("share").arg(run.dir.as_ref().unwrap()).current_dir(sim.dir.path());
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let shared = share.stdout(full).output().unwrap();
    insta::assert_snapshot!(Run::of(sim.dir.path(), shared).picture(), @r"
    exit code: 5
    ----- stderr -----
    the SAS can read and list http://127.0.0.1:PORT/simlogs/incident-RUN until TIME; it was tested and works
    to revoke it earlier, delete its policy `fleetlogs-RUN`: `fleetlogs unshare DIR/runs/RUN`
    error: a SAS was created but could not be printed: No space left on device (os error 28)
      help: nobody has it; revoke it with `fleetlogs unshare runs/RUN`
    ");
    let unshared = on_run(&sim, &run, "unshare", &[]);
    insta::assert_snapshot!(Run::of(sim.dir.path(), unshared).picture(), @r"
    exit code: 0
    ----- stdout -----
    deleted, and found to be gone: fleetlogs-RUN
    ");
}
