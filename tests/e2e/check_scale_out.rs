//! `check` with workers: it tries out their queues and the container that they share, in real Blob and Queue storage.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use fleetlogs_model::ids::AccountName;
use fleetlogs_model::work_queue::WorkQueue;
use serde_json::Value;

use crate::azurite::{Azurite, KEY};
use crate::stage::{Run, Sim, fleetlogs};
use crate::work_queue::{QueueService, account_sas, item};

const FLEET: &str = "[[account]]\nname = \"contoso\"\n[[account.pool]]\nid = \"a\"\nnodes = 3\n";

const LASTS: &str = "2036-01-01T00:00:00Z";

/// A simulator, storage, and queues.
struct Stage {
    sim: Sim,
    azurite: Azurite,
    queues: QueueService,
}

impl Stage {
    fn new() -> Self {
        Self { sim: Sim::start(FLEET), azurite: Azurite::start(), queues: QueueService::start() }
    }

    fn queue_url(&self, permissions: &str, expiry: &str) -> String {
        format!("{}/work?{}", self.queues.url(), account_sas(permissions, expiry))
    }

    /// What `check` finds of `[journal]` and `[scale_out]`, as `level about: message -> fix`.
    fn check(&self, journal: &str, scale_out: &str) -> (i32, Vec<String>) {
        let secret = |name: &str, text: &str| std::fs::write(self.sim.dir.path().join(name), text).unwrap();
        secret("secret.journal", &self.azurite.container_sas(journal));
        let key = BASE64_STANDARD.encode(KEY);
        secret("secret.storage-key", &key);
        secret("secret.wrong-key", &BASE64_STANDARD.encode([7; 64]));
        let more = format!(
            "[journal]\ncontainer_url = {{ file = \"secret.journal\" }}\n[scale_out]\n{scale_out}\n[defaults]\nsite = \"west\"\n"
        );
        let config = self.sim.config(&more);
        let output = fleetlogs()
            .args(["check", "--json"])
            .arg(&config)
            .current_dir(self.sim.dir.path())
            .output()
            .unwrap();
        let run = Run::of(self.sim.dir.path(), output);
        let shown = format!("{}{}", run.stdout, run.stderr);
        assert!(!shown.contains("sig=") && !shown.contains(&key), "a secret is printed: {shown}");
        let document: Value = serde_json::from_str(&run.stdout).unwrap_or_else(|_| panic!("{shown}"));
        let findings = document["findings"].as_array().unwrap().iter();
        let findings = findings.filter_map(|finding| {
            let text = |name: &str| finding[name].as_str().unwrap_or_default();
            let about = text("about");
            let is_ours = about.starts_with("journal")
                || about == "config" && text("message").contains("scale_out")
                || about.starts_with("scale_out")
                || text("message").contains("cannot be listed:");
            is_ours.then(|| format!("{} {about}: {} -> {}", text("level"), text("message"), text("fix")))
        });
        let findings = findings.map(|finding| finding.replace(&self.azurite.container(), "CONTAINER"));
        (run.code, findings.collect())
    }

    /// The same with a queue that is named by a URL with this SAS.
    fn check_by_sas(&self, permissions: &str, expiry: &str) -> (i32, Vec<String>) {
        let url = self.queue_url(permissions, expiry);
        std::fs::write(self.sim.dir.path().join("secret.queue"), url).unwrap();
        self.check("rcwdl", "queue_url = { file = \"secret.queue\" }")
    }

    fn by_key(&self, key: &str) -> String {
        format!("account = \"{}\"\nqueue = \"work\"\naccount_key = {{ file = \"{key}\" }}", self.queues.url())
    }
}

#[test]
#[ignore = "needs Azurite in tests/tools; tests/all.sh installs it and runs this"]
fn queues_and_container_are_tried_out_and_no_worker_notices() {
    let stage = Stage::new();
    let (code, found) = stage.check_by_sas("racup", LASTS);
    assert_eq!(
        (code, found.as_slice()),
        (
            0,
            [
                "good journal: journals go to `CONTAINER/fleetlogs`, which can be listed -> ".to_owned(),
                "good journal: a blob was created, leased and appended to there, and deleted again -> "
                    .to_owned(),
                "good scale_out: the queue `work-west` of site `west` can be used; it has 0 messages -> "
                    .to_owned(),
            ]
            .as_slice()
        )
    );

    // The same with the key of the account, with messages that are for workers, and one that was given up.
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let queue = stage.queues.queue("work-west");
    runtime.block_on(async {
        for partition in ["contoso", "fabrikam", "poisonous"] {
            queue.send(&item(partition)).await.unwrap();
        }
        for _ in 0..3 {
            let delivery = queue.receive(std::time::Duration::from_secs(1)).await.unwrap().unwrap();
            if delivery.item.partition == AccountName::new("poisonous") {
                queue.bury(&delivery, "no").await.unwrap();
            }
        }
    });
    let (code, found) = stage.check("rcwl", &stage.by_key("secret.storage-key"));
    assert_eq!(code, 0, "{found:?}");
    assert_eq!(
        found[1..3],
        [
            "good journal: a blob was created, leased and appended to there; `CONTAINER/fleetlogs/check.jsonl` stays, because \
         the SAS does not permit deleting it -> ",
            "good scale_out: the queue `work-west` of site `west` can be used; it has 2 messages -> ",
        ]
    );
    assert!(
        found[3].starts_with("warning scale_out: the poison queue of `work-west` has 1 message -> "),
        "{found:?}"
    );
    assert_eq!(runtime.block_on(queue.left()).unwrap(), 2, "nothing stays of the trial");
}

#[test]
#[ignore = "needs Azurite in tests/tools; tests/all.sh installs it and runs this"]
fn what_workers_lack_is_named_with_what_to_do() {
    let stage = Stage::new();
    // A letter of the SAS is missing.
    let (code, found) = stage.check_by_sas("racp", LASTS);
    assert_eq!(code, 5, "{found:?}");
    assert!(found[0].contains("`scale_out.queue_url`: its account SAS lacks `u` in `sp`"), "{found:?}");
    assert!(found[0].ends_with("-> create an account SAS for queues: ss=q, srt=co, sp=racup"), "{found:?}");

    // It has expired, which only storage tells.
    let (code, found) = stage.check_by_sas("racup", "2020-01-01T00:00:00Z");
    assert_eq!(code, 5, "{found:?}");
    assert!(
        found[2].starts_with("refusal scale_out: the queue `work-west` cannot be created or opened: "),
        "{found:?}"
    );

    // The key is another one.
    let (code, found) = stage.check("rcwdl", &stage.by_key("secret.wrong-key"));
    assert_eq!(code, 5, "{found:?}");
    assert!(
        found[2].starts_with("refusal scale_out: the queue `work-west` cannot be created or opened: "),
        "{found:?}"
    );

    // The container takes no writes.
    let (code, found) = stage.check("rl", &stage.by_key("secret.storage-key"));
    assert_eq!(code, 5, "{found:?}");
    assert!(found.iter().any(|found| found.contains("its SAS does not grant write")), "{found:?}");

    // Nobody listens where the queue should be.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let down = stage
        .by_key("secret.storage-key")
        .replace(&stage.queues.url(), &format!("http://127.0.0.1:{port}/fleetlogs"));
    let (code, found) = stage.check("rcwdl", &down);
    assert_eq!(code, 5, "{found:?}");
    let help = "-> check the storage account's name, DNS, proxy and the storage firewall";
    assert!(found[2].starts_with("refusal scale_out: ") && found[2].ends_with(help), "{found:?}");

    // Only workers of its site reach the account.
    std::fs::write(stage.sim.dir.path().join("ready.json.contoso.key"), "d3Jvbmcga2V5").unwrap();
    let (code, found) = stage.check("rcwdl", &stage.by_key("secret.storage-key"));
    assert_eq!(code, 0, "{found:?}");
    let listed = found.iter().find(|found| found.starts_with("warning account `contoso`"));
    let help = "-> workers of site `west` reach it: run `check` on a machine there";
    assert!(listed.is_some_and(|listed| listed.ends_with(help)), "{found:?}");
}
