//! Simulated fleets, and what their ledger says about the program.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use crate::server::Server;

/// One page of a list.
const NODES_PER_POOL: u32 = 1000;

/// A fleet whose nodes all answer.
#[derive(Clone, Copy)]
pub(crate) struct Fleet {
    pub(crate) accounts: u32,
    /// Of each account; each has a thousand nodes.
    pub(crate) pools: u32,
    /// Of each node. They arrive within a second.
    pub(crate) files: u32,
    /// Of each call.
    pub(crate) latency: &'static str,
}

impl Fleet {
    pub(crate) const fn of_one_account(pools: u32) -> Self {
        Self { accounts: 1, pools, files: 8, latency: "0ms" }
    }

    pub(crate) const fn nodes(&self) -> u32 {
        self.accounts * self.pools * NODES_PER_POOL
    }

    fn scenario(&self) -> String {
        let mut text = String::new();
        for account in 0..self.accounts {
            let _ = writeln!(text, "[[account]]\nname = \"acct{account}\"\nlatency = \"{}\"", self.latency);
            for pool in 0..self.pools {
                let _ = writeln!(
                    text,
                    "[[account.pool]]\nid = \"pool-{pool}\"\nnodes = {NODES_PER_POOL}\nunknown_state = 0\n\
                     files = {}\nfile_size = \"1KiB\"\narrival = \"1s\"",
                    self.files
                );
            }
        }
        text
    }

    /// Serves it. `bench.toml` in the directory of the server is a config with these limits.
    pub(crate) fn serve(&self, limits: &str) -> ServedFleet {
        let server = Server::start(&self.scenario());
        let written = server.config();
        // Its own settings of speed give way to the bench's.
        let accounts = written.find("\n[[account]]").expect("an account");
        let speed = written.find("\n[deadlines]").expect("settings of speed");
        let config = format!("[limits]\n{limits}\n{}{}", &written[..speed], &written[accounts..]);
        std::fs::write(server.dir.path().join("bench.toml"), config).expect("the config");
        ServedFleet { server, nodes: self.nodes() }
    }
}

/// A fleet that is served, and the runs of the program that works with it.
pub(crate) struct ServedFleet {
    pub(crate) server: Server,
    nodes: u32,
}

impl ServedFleet {
    /// The run directory of the only run.
    pub(crate) fn run_dir(&self) -> PathBuf {
        let runs = std::fs::read_dir(self.server.dir.path().join("runs")).expect("runs");
        let [run]: [PathBuf; 1] =
            runs.map(|run| run.expect("a run").path()).collect::<Vec<_>>().try_into().expect("one run");
        run
    }

    pub(crate) fn ledger(&self) -> Ledger {
        let url = self.server.text("/ledger");
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let text = runtime.block_on(async {
            let client = fleetlogs_azure::http_client(1).expect("a client");
            client.get(url).send().await.expect("the ledger").bytes().await.expect("the ledger")
        });
        serde_json::from_slice(&text).expect("JSON")
    }

    /// Fails unless every node was called once, its files are there, and the manifest says the same.
    pub(crate) fn assert_all_collected(&self) {
        let once = self.ledger().nodes.iter().filter(|node| node.accepted == 1).count();
        assert_eq!(u32::try_from(once).ok(), Some(self.nodes), "nodes that accepted one call");
        let counts = member_of(&self.run_dir().join("manifest.json"), "counts");
        let nodes = Value::from(self.nodes);
        assert_eq!((&counts["planned"], &counts["verified"]), (&nodes, &nodes), "nodes in the manifest");
    }
}

/// What really happened, as far as the bench looks at it.
#[derive(Deserialize)]
pub(crate) struct Ledger {
    accounts: Vec<AccountEntry>,
    nodes: Vec<NodeEntry>,
    storage: StorageEntry,
}

#[derive(Deserialize)]
struct AccountEntry {
    list_calls: u32,
    accepted: u32,
}

#[derive(Deserialize)]
struct NodeEntry {
    accepted: u32,
}

#[derive(Deserialize)]
struct StorageEntry {
    list_calls: u32,
}

impl Ledger {
    /// Requests for a page: of anything, to Batch and to storage; and of blobs.
    pub(crate) fn list_calls(&self) -> (u32, u32) {
        let of_batch: u32 = self.accounts.iter().map(|account| account.list_calls).sum();
        (of_batch + self.storage.list_calls, self.storage.list_calls)
    }

    pub(crate) fn accepted(&self) -> u32 {
        self.accounts.iter().map(|account| account.accepted).sum()
    }
}

/// A member of a document that has each on a line of its own. The document may be large.
pub(crate) fn member_of(document: &Path, name: &str) -> Value {
    let file = BufReader::new(std::fs::File::open(document).expect("a document"));
    let begin = format!("\"{name}\": ");
    let line = file.lines().map(|line| line.expect("text")).find(|line| line.starts_with(&begin));
    let line = line.unwrap_or_else(|| panic!("{} has no `{name}`", document.display()));
    serde_json::from_str(line[begin.len()..].trim_end_matches(',')).expect("JSON")
}
