//! The planner at scale: a generated fleet, each of whose nodes stands in the plan once, in its order and at its price.
//!
//! What has to become of a node is the generator's to say, and the ids are read from the simulator by the test itself.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::path::Path;
use std::sync::LazyLock;

use serde::Deserialize;
use serde_json::Value;

use crate::generated_fleet::{Account, Fleet, Pool, SELECTION};
use crate::stage::{Run, Sim, fleetlogs};

/// In the order in which nodes are asked.
const PRIORITIES: [&str; 6] = ["leaving", "pool-shrinking", "spot", "has-errors", "ordinary", "out-of-reach"];

/// What is read of a plan.
#[derive(Deserialize)]
struct Plan {
    accounts: Vec<Listed>,
    nodes: Vec<Entry>,
    left_out: Vec<Entry>,
}

#[derive(Deserialize)]
struct Listed {
    name: String,
    pools: usize,
    nodes: u32,
    list_calls: u64,
    unlisted: Option<String>,
}

/// A planned node has a priority; a node or pool that is left out has a reason.
#[derive(Deserialize)]
struct Entry {
    account: String,
    pool: String,
    node: Option<String>,
    priority: Option<String>,
    reason: Option<String>,
}

impl Plan {
    /// Makes it with the program, in a directory where secrets are looked for.
    fn of(sim: &Sim, settings: &str) -> (Self, Run) {
        let dir = sim.dir.path().join("runs/plan");
        std::fs::create_dir_all(&dir).unwrap();
        // A hundred and twenty thousand nodes take a busy machine a while, and how long is not the claim.
        let deadlines = "deadlines = { call = \"2s\", node = \"30s\", run = \"1h\" }\n";
        let config = sim.config(&format!("{deadlines}{settings}{SELECTION}"));
        let mut command = fleetlogs();
        command.arg("plan").arg(config).arg("-o").arg(dir.join("plan.json")).current_dir(sim.dir.path());
        let run = Run::of(sim.dir.path(), command.output().unwrap());
        assert!([0, 3].contains(&run.code), "exit code {}: {}", run.code, run.stderr);
        let plan: Self = serde_json::from_str(&run.file("plan.json")).unwrap();
        let is_whole = plan.accounts.iter().all(|account| account.unlisted.is_none());
        // A run without one of the accounts would be partial, and the plan says so beforehand.
        assert_eq!(run.code, if is_whole { 0 } else { 3 }, "{}", run.stderr);
        (plan, run)
    }

    /// Each entry once, with what becomes of it.
    fn entries(&self) -> impl Iterator<Item = (&Entry, &str)> {
        let planned = self.nodes.iter().map(|node| (node, node.priority.as_deref().unwrap()));
        planned.chain(self.left_out.iter().map(|left| (left, left.reason.as_deref().unwrap())))
    }

    /// All that must not differ from run to run, in the order of the plan. Ids are cut short for whoever reads it.
    fn text(&self, wanted: impl Fn(&str) -> bool) -> String {
        let mut text = String::new();
        for account in self.accounts.iter().filter(|account| wanted(&account.name)) {
            let Listed { name, pools, nodes, list_calls, .. } = account;
            writeln!(text, "account {name} pools={pools} nodes={nodes} list-calls={list_calls}").unwrap();
        }
        let short = |id: &str| format!("{}{}", &id[6..14], &id[id.len() - 2..]);
        for (Entry { account, pool, node, priority, .. }, verdict) in self.entries() {
            let kind = if priority.is_some() { "planned" } else { "left-out" };
            let node = node.as_deref().map_or("-".to_owned(), short);
            if wanted(account) {
                writeln!(text, "{kind} {account} {pool} {node} {verdict}").unwrap();
            }
        }
        text
    }
}

/// Two texts are the same, or the first line where they part is shown.
fn assert_same(what: &str, expected: &str, found: &str) {
    let (mut old, mut new) = (expected.lines(), found.lines());
    for number in 1.. {
        let (old, new) = (old.next(), new.next());
        assert!(old == new, "{what}: line {number} was {old:?}, and is {new:?}");
        if old.is_none() {
            return;
        }
    }
}

/// List calls that the simulator saw, by account.
fn list_calls(sim: &Sim) -> BTreeMap<String, u64> {
    let ledger = sim.ledger();
    let calls = |account: &Value| {
        (account["name"].as_str().unwrap().to_owned(), account["list_calls"].as_u64().unwrap())
    };
    ledger["accounts"].as_array().unwrap().iter().map(calls).collect()
}

/// Reads a list of the simulator to its end: the members, and how many pages they came on.
async fn read_list(client: &reqwest::Client, token: &str, list: String) -> (Vec<Value>, u64) {
    let (mut members, mut pages, mut next) = (Vec::new(), 0, Some(list));
    while let Some(url) = next {
        let page: Value = client.get(url).bearer_auth(token).send().await.unwrap().json().await.unwrap();
        members.extend(page["value"].as_array().unwrap().iter().cloned());
        pages += 1;
        next = page["odata.nextLink"].as_str().map(str::to_owned);
    }
    (members, pages)
}

/// A fleet, the plan of it, what the simulator saw of the planning, and what the test itself reads there.
struct Made {
    fleet: Fleet,
    plan: Plan,
    called: BTreeMap<String, u64>,
    /// By account, pool and node in lower case (empty for a whole pool): what has to become of it.
    verdicts: HashMap<(String, String, String), &'static str>,
    /// By account: the pages of its lists.
    pages: BTreeMap<String, u64>,
}

impl Made {
    fn of(fleet: Fleet) -> Self {
        let sim = Sim::start(&fleet.scenario(&[]));
        let (plan, _) = Plan::of(&sim, "");
        let called = list_calls(&sim);
        let mut made = Self { fleet, plan, called, verdicts: HashMap::new(), pages: BTreeMap::new() };
        tokio::runtime::Runtime::new().unwrap().block_on(made.read(&sim));
        made
    }

    async fn read(&mut self, sim: &Sim) {
        let client = fleetlogs_azure::http_client(1).unwrap();
        let identity = sim.ready["ledger"].as_str().unwrap().replace("/_sim/ledger", "/_sim/identity");
        let identity = format!("{identity}?api-version=2019-08-01&resource=https://batch.core.windows.net/");
        let token = client.get(identity).header("X-IDENTITY-HEADER", "fake").send().await.unwrap();
        let token: Value = token.json().await.unwrap();
        let token = token["access_token"].as_str().unwrap();
        let query = "api-version=2024-07-01.20.0&$select=id,state";
        for (account, ready) in self.fleet.accounts.iter().zip(sim.ready["accounts"].as_array().unwrap()) {
            let base = format!("{}/pools", ready["endpoint"].as_str().unwrap());
            let (there, mut pages) = read_list(&client, token, format!("{base}?{query}")).await;
            assert_eq!(there.len(), account.pools.len());
            for pool in &account.pools {
                let mut found = vec![(String::new(), "pool-not-selected")];
                if pool.wanted {
                    let list = format!("{base}/{}/nodes?{query}", pool.id);
                    let (nodes, of_nodes) = read_list(&client, token, list).await;
                    pages += of_nodes;
                    let verdict = |node: &Value| {
                        let id = node["id"].as_str().unwrap().to_lowercase();
                        let verdict = pool.verdict(node["state"].as_str().unwrap(), id.ends_with("_p"));
                        (id, verdict)
                    };
                    found = nodes.iter().map(verdict).collect();
                }
                let mut counts = BTreeMap::new();
                for (id, verdict) in found {
                    *counts.entry(verdict).or_default() += 1;
                    self.verdicts.insert((account.name.clone(), pool.id.clone(), id), verdict);
                }
                assert_eq!(counts, pool.verdicts(), "not as generated: {} {}", account.name, pool.id);
            }
            self.pages.insert(account.name.clone(), pages);
        }
    }
}

/// A tenth of what the service would have per page and pool: as many pages as 120,000 nodes have there.
const LARGE_NODES: u32 = 12_000;

fn large_fleet() -> Fleet {
    Fleet::generate(2026, 40, LARGE_NODES, (15, 300, 100))
}

static LARGE: LazyLock<Made> = LazyLock::new(|| Made::of(large_fleet()));
static SMALL: LazyLock<Made> = LazyLock::new(|| Made::of(Fleet::generate(11, 3, 60, (6, 12, 8))));

#[test]
fn accounts_that_are_sick_are_named_and_cost_the_others_nothing() {
    let (refusing, silent) = ("fleet07", "fleet22");
    let faults = [
        (
            refusing,
            r#"
            kind = "code"
            status = 403
            code = "AuthorizationFailure"
            "#,
        ),
        // Longer than fleetlogs waits for the first answer of an account.
        (
            silent,
            r#"
            kind = "silent"
            delay = "10m"
            "#,
        ),
    ];
    let sim = Sim::start(&large_fleet().scenario(&faults));
    let (plan, run) = Plan::of(&sim, "");
    let mut called = LARGE.called.clone();
    for (name, why) in [(refusing, "403 AuthorizationFailure"), (silent, "no answer at all within 30 s")] {
        let listed = plan.accounts.iter().find(|account| account.name == name).unwrap();
        let reason = listed.unlisted.as_deref().unwrap_or("none");
        assert!(reason.contains(why), "{name}: {reason}");
        assert!(run.stderr.contains(&format!("account `{name}`")), "{}", run.stderr);
        assert_eq!((listed.pools, listed.nodes), (0, 0), "{name}");
        called.insert(name.to_owned(), 1);
    }
    let others = |name: &str| name != refusing && name != silent;
    assert_same("the plan of the others", &LARGE.plan.text(others), &plan.text(others));
    assert_eq!(plan.text(|name| !others(name)).lines().count(), 2, "of the sick only the accounts are there");
    assert_eq!(list_calls(&sim), called);
}

#[test]
fn every_node_stands_in_the_plan_once_for_what_it_is() {
    let sizes = LARGE.fleet.accounts.iter().flat_map(|account| &account.pools).filter(|pool| pool.wanted);
    let sizes: Vec<u32> = sizes.map(|pool| pool.nodes).collect();
    assert_eq!(sizes.iter().sum::<u32>(), LARGE_NODES);
    assert!(sizes.contains(&0) && sizes.contains(&100) && sizes.iter().any(|size| *size > 200));
    let kinds: BTreeSet<_> = LARGE.verdicts.values().collect();
    assert_eq!(kinds.len(), PRIORITIES.len() + 4, "something of everything: {kinds:?}");
    for made in [&*LARGE, &*SMALL] {
        let mut missing = made.verdicts.clone();
        let mut counts: BTreeMap<&str, BTreeMap<&str, u32>> = BTreeMap::new();
        let mut ranks: BTreeMap<&str, usize> = BTreeMap::new();
        for (Entry { account, pool, node, priority, .. }, found) in made.plan.entries() {
            let node = node.as_deref().unwrap_or_default().to_lowercase();
            let at = format!("{account} {pool} {node}");
            let expected = missing.remove(&(account.clone(), pool.clone(), node));
            assert_eq!(expected, Some(found), "{at} (None: it stands twice, or is nowhere)");
            *counts.entry(account).or_default().entry(found).or_default() += 1;
            if priority.is_some() {
                let rank = PRIORITIES.iter().position(|priority| *priority == found).unwrap();
                let before = ranks.insert(account, rank).unwrap_or(0);
                assert!(
                    before <= rank,
                    "{at} is {found}, and comes after a node that is {}",
                    PRIORITIES[before]
                );
            }
        }
        assert!(missing.is_empty(), "{} are missing, such as {:?}", missing.len(), missing.iter().next());

        assert_eq!(made.plan.accounts.len(), made.fleet.accounts.len());
        for (listed, account) in made.plan.accounts.iter().zip(&made.fleet.accounts) {
            let name = account.name.as_str();
            let mut expected: BTreeMap<&str, u32> = BTreeMap::new();
            for (verdict, count) in account.pools.iter().flat_map(Pool::verdicts) {
                *expected.entry(verdict).or_default() += count;
            }
            let planned = PRIORITIES.iter().filter_map(|priority| expected.get(priority)).sum();
            assert_eq!(counts.remove(name).unwrap_or_default(), expected, "{name}");
            let wanted = account.pools.iter().filter(|pool| pool.wanted).count();
            let found = (listed.name.as_str(), listed.pools, listed.nodes, &listed.unlisted);
            assert_eq!(found, (name, wanted, planned, &None));
        }
    }
}

#[test]
fn lists_are_called_for_once_per_page_and_no_more() {
    let pages = |members: u32, account: &Account| u64::from(members.div_ceil(account.page).max(1));
    for made in [&*LARGE, &*SMALL] {
        for (account, listed) in made.fleet.accounts.iter().zip(&made.plan.accounts) {
            let (name, called) = (&account.name, made.called[&account.name]);
            assert_eq!((called, listed.list_calls), (made.pages[name], called), "{name}");
            let mut least = pages(u32::try_from(account.pools.len()).unwrap(), account);
            let mut most = least;
            for pool in account.pools.iter().filter(|pool| pool.wanted) {
                least += pages(pool.nodes, account);
                // A pool that is being resized may have an empty page before each of its pages.
                let twice = 1 + u64::from(pool.squeeze.starts_with("shrinking"));
                most += twice * pages(pool.nodes, account);
            }
            assert!((least..=most).contains(&called), "{name}: {called} calls for {least} to {most} pages");
        }
    }
}

#[test]
fn the_plan_of_a_small_fleet_is_the_one_on_record() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/e2e/golden/small_fleet.txt");
    let text = SMALL.plan.text(|_| true);
    if std::env::var("FLEETLOGS_RENEW_GOLDEN").is_ok_and(|renew| renew == "1") {
        std::fs::write(&path, &text).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    let help = "the plan of the small fleet is not tests/e2e/golden/small_fleet.txt; where it should not be, run this \
        test with FLEETLOGS_RENEW_GOLDEN=1, and see what git says has changed";
    assert_same(help, &golden, &text);
}

#[test]
fn the_same_fleet_has_the_same_plan_again() {
    let sim = Sim::start(&large_fleet().scenario(&[]));
    let again = Plan::of(&sim, "").0.text(|_| true);
    assert_same("the plan of a second run", &LARGE.plan.text(|_| true), &again);
}
