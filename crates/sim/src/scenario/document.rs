//! The scenario as a whole, and what can be wrong with it.

use serde::Deserialize;

use super::account::AccountScenario;
use super::clock::ClockShift;
use super::fault::{ReadFault, StorageFault};
use super::values::{Skew, Span};

/// A whole simulated fleet: accounts, pools, nodes, faults, and the storage account their logs go to.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Decides every roll of the dice, every key and every node id. The same seed gives the same fleet.
    #[serde(default = "default_seed")]
    pub(crate) seed: u64,
    /// By how much all clocks are wrong, those of the accounts and that of storage.
    #[serde(default)]
    pub(crate) clock_skew: Skew,
    /// How all of them jump together.
    #[serde(default, rename = "clock_shift")]
    pub(crate) clock_shifts: Vec<ClockShift>,
    #[serde(default)]
    pub(crate) storage: StorageScenario,
    #[serde(default)]
    pub(crate) identity: IdentityScenario,
    #[serde(default, rename = "account")]
    pub(crate) accounts: Vec<AccountScenario>,
}

/// The simulated Blob service.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct StorageScenario {
    /// Name of the storage account.
    pub(crate) account: String,
    /// The container that exists from the start.
    pub(crate) container: String,
    /// Names of further storage accounts that Azure Resource Manager lists. Nothing is behind them.
    pub(crate) others: Vec<String>,
    /// Account key in Base64; derived from the seed if left out.
    pub(crate) key: Option<String>,
    /// How long the two SAS URLs of the ready document are valid.
    pub(crate) sas_lifetime: Span,
    /// User delegation keys are refused, as if the caller lacked the role.
    pub(crate) refuse_delegation_key: bool,
    /// Creating containers is refused, as if the caller lacked the role.
    pub(crate) refuse_create: bool,
    /// User delegation keys expire this long after they are issued, even if the client asked for longer.
    pub(crate) delegation_key_lifetime: Option<Span>,
    /// How long a new stored access policy takes to become effective.
    pub(crate) policy_delay: Span,
    /// Logs of nodes have a Content-MD5, like blobs that are uploaded in one piece.
    pub(crate) content_md5: bool,
    /// By how much the clock of storage is wrong: it sets the Date header and the times of blobs, and SAS are checked
    /// by it.
    pub(crate) clock_skew: Skew,
    #[serde(rename = "clock_shift")]
    pub(crate) clock_shifts: Vec<ClockShift>,
    #[serde(rename = "fault")]
    pub(crate) faults: Vec<StorageFault>,
    #[serde(rename = "read_fault")]
    pub(crate) read_faults: Vec<ReadFault>,
}

impl Default for StorageScenario {
    fn default() -> Self {
        Self {
            account: "simlogs".to_owned(),
            container: "batch-logs".to_owned(),
            others: vec![],
            key: None,
            sas_lifetime: Span(std::time::Duration::from_secs(6 * 3600)),
            refuse_delegation_key: false,
            refuse_create: false,
            delegation_key_lifetime: None,
            policy_delay: Span(std::time::Duration::ZERO),
            content_md5: false,
            clock_skew: Skew::default(),
            clock_shifts: vec![],
            faults: vec![],
            read_faults: vec![],
        }
    }
}

/// The simulated token service.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct IdentityScenario {
    /// How long a token is valid; a short lifetime makes a client renew it in the middle of a run.
    pub(crate) token_lifetime: Span,
}

impl Default for IdentityScenario {
    fn default() -> Self {
        Self { token_lifetime: Span(std::time::Duration::from_secs(3600)) }
    }
}

fn default_seed() -> u64 {
    7
}

/// Why a text is not a valid scenario.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// Not TOML, an unknown key, or a value of the wrong kind. The message gives line, column and key.
    #[error("{0}")]
    Syntax(#[from] toml::de::Error),
    /// Every line is well-formed, but the scenario contradicts itself. The message gives the key.
    #[error("{key}: {problem}")]
    Meaning {
        /// The key with its path: `account[0].pool[1].nodes`.
        key: String,
        /// What is wrong there.
        problem: String,
    },
}

impl Scenario {
    /// Reads and checks a scenario.
    pub fn from_toml(text: &str) -> Result<Self, ScenarioError> {
        let scenario: Self = toml::from_str(text)?;
        scenario.check()?;
        Ok(scenario)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        Scenario::from_toml(text).expect_err("the scenario is wrong").to_string()
    }

    fn pool(lines: &str) -> String {
        format!("[[account]]\nname = \"contoso\"\n[[account.pool]]\nid = \"p\"\n{lines}")
    }

    #[test]
    fn the_smallest_scenario_is_one_account() {
        let scenario = Scenario::from_toml("[[account]]\nname = \"contoso\"").expect("valid");

        assert_eq!(scenario.seed, 7);
        assert_eq!(scenario.storage.container, "batch-logs");
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line() {
        let text = error(&pool("node = 3"));

        assert!(text.contains("line 5") && text.contains("`node`") && text.contains("nodes"), "{text}");
    }

    #[test]
    fn a_bad_value_is_named_with_its_line() {
        for (line, part) in [
            ("arrival = \"soon\"", "duration"),
            ("file_size = \"4 apples\"", "size"),
            ("files = { min = 3, max = 2 }", "larger"),
            ("files = { min = 3, most = 2 }", "most"),
            ("states = { idling = 1.0 }", "idling"),
            ("os = \"plan9\"", "plan9"),
            ("image = \"ubuntu\"", "publisher:offer:sku:version"),
        ] {
            let text = error(&pool(line));

            assert!(text.contains("line 5") && text.contains(part), "{line}: {text}");
        }
    }

    #[test]
    fn what_contradicts_itself_is_named_with_its_key() {
        for (text, key) in [
            (String::new(), "account"),
            (pool("spot = 9"), "account[0].pool[0].spot"),
            (pool("nodes = 2\nscheduling_disabled = 3"), "account[0].pool[0].scheduling_disabled"),
            (pool("nodes = 2\nshrinking = 3"), "account[0].pool[0].shrinking"),
            (pool("resize_error = \"\""), "account[0].pool[0].resize_error"),
            (pool("[[account.job]]\nid = \"j\"\npool = \"q\""), "account[0].job[0].pool"),
            (pool("[[account.job]]\nid = \"j\"\npool = \"p\"\nnodes = 2"), "account[0].job[0].nodes"),
            (pool("[[account.job]]\nid = \"j\"\npool = \"p\"\ninstances = 2"), "account[0].job[0].instances"),
            (pool("[[account.job]]\nid = \"j\"\npool = \"p\"\ngone = 2"), "account[0].job[0].gone"),
            (
                "[[account]]\nname = \"contoso\"\nsubscription = \"mine\"".to_owned(),
                "account[0].subscription",
            ),
            (
                "[[account]]\nname = \"contoso\"\nauth = [\"shared-key\"]\n\
                 pool_allocation_mode = \"UserSubscription\""
                    .to_owned(),
                "account[0].auth",
            ),
            (
                pool("[[account.job]]\nid = \"j\"\npool = \"p\"\nstarted = \"11years\""),
                "account[0].job[0].started",
            ),
            (pool("identities = [\"logs\"]"), "account[0].pool[0].identities[0]"),
            ("[storage]\ncontainer = \"-logs\"".to_owned(), "storage.container"),
            ("[storage]\ndelegation_key_lifetime = \"10ms\"".to_owned(), "storage.delegation_key_lifetime"),
            (pool("states = { idle = 0.7, running = 0.7 }"), "account[0].pool[0].states"),
            (
                pool("[[account.pool.life]]\nat = \"1s\"\nbecomes = \"gone\"\nshare = 0.1\nnodes = 1"),
                "life[0]",
            ),
            (pool("[[account.pool.life]]\nat = \"1s\"\nbecomes = \"gone\"\nevery = \"9s\""), "life[0].every"),
            (
                pool(
                    "[[account.pool.life]]\nat = \"1s\"\nbecomes = \"unusable\"\nrecovers_after = \"9s\"\nevery = \"9s\"",
                ),
                "life[0].every",
            ),
            (
                pool(
                    "[[account.pool.life]]\nat = \"1s\"\nbecomes = \"unusable\"\nback_after = \"9s\"\ngone_after = \"9s\"",
                ),
                "life[0]: only one",
            ),
            (pool("[[account.pool.life]]\nat = \"1s\"\nbecomes = \"unusable\"\ntimes = 3"), "life[0].times"),
            (pool("[[account.fault]]\nkind = \"code\""), "account[0].fault[0].code"),
            (pool("[[account.fault]]\nkind = \"flood\""), "account[0].fault[0].size"),
            (pool("[[account.fault]]\nkind = \"directory\""), "account[0].fault[0].directory"),
            (pool("[[account.fault]]\nkind = \"promise\""), "account[0].fault[0].files"),
            (pool("[[account.clock_shift]]\nby = \"1h\""), "account[0].clock_shift[0]"),
            (
                "[[clock_shift]]\nby = \"1h\"\nat = \"1s\"\nafter_uploads = 3\n[[account]]\nname = \"contoso\"".to_owned(),
                "clock_shift[0]",
            ),
            (
                "[[storage.fault]]\nkind = \"twice\"\non = \"read\"\n[[account]]\nname = \"contoso\"".to_owned(),
                "storage.fault[0].on",
            ),
            (pool("[[account.fault]]\nkind = \"throttle\"\nshare = 3.0"), "account[0].fault[0].share"),
            (pool("[[account.fault]]\nkind = \"throttle\"\npool = \"q\""), "account[0].fault[0].pool"),
            (pool("[[account.pool]]\nid = \"P\""), "account[0].pool[1].id"),
            ("[[account]]\nname = \"Contoso!\"".to_owned(), "account[0].name"),
            ("[[account]]\nname = \"contoso\"\nkey = \"***\"".to_owned(), "account[0].key"),
        ] {
            let message = error(&text);

            assert!(message.contains(key), "{key} in {message}");
        }
    }
}
