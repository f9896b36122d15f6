//! Everything that the ports of one simulator share.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, OnceLock};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use parking_lot::Mutex;

use crate::batch::{AccountFaults, Bucket};
use crate::blob::BlobStore;
use crate::clock::{Clock, WrongClock, iso_millis, iso_seconds};
use crate::delivery::{Deliveries, UploadTargets};
use crate::echo::Heard;
use crate::fleet::{Job, Pool};
use crate::identity::TokenService;
use crate::ledger::{AccountLedger, DirectoryEntry, LedgerSnapshot, LeftEntry, NodeEntry, StorageEntry};
use crate::ready::Ready;
use crate::roll::Roll;
use crate::scenario::{AccountScenario, JobScenario, Scenario};
use crate::signing_key::SigningKey;
use crate::support::Support;

/// The simulated world.
pub(crate) struct World {
    pub(crate) clock: Arc<Clock>,
    pub(crate) accounts: Vec<Account>,
    pub(crate) store: BlobStore,
    /// The names of the storage accounts that Azure Resource Manager lists.
    pub(crate) storage_accounts: Vec<String>,
    pub(crate) storage_address: SocketAddr,
    pub(crate) tokens: TokenService,
    pub(crate) support: Support,
    pub(crate) deliveries: Deliveries,
    pub(crate) targets: UploadTargets,
    /// Content type of simulated logs, shared by all of them.
    pub(crate) log_type: Arc<str>,
    pub(crate) ready: OnceLock<Ready>,
}

/// One Batch account.
pub(crate) struct Account {
    pub(crate) index: u16,
    pub(crate) scenario: AccountScenario,
    pub(crate) key: SigningKey,
    /// The key in Base64, as the operator has it.
    pub(crate) key_text: String,
    pub(crate) roll: Roll,
    /// First segment of upload directories: name, hyphen, 16 hex digits.
    pub(crate) directory: String,
    pub(crate) pools: Vec<Pool>,
    /// Pools by id in lower case: Batch keeps the case of ids, but compares them without it.
    pub(crate) pool_places: HashMap<String, u16>,
    pub(crate) jobs: Vec<Job>,
    pub(crate) ledger: Arc<AccountLedger>,
    pub(crate) bucket: Mutex<Bucket>,
    pub(crate) faults: AccountFaults,
    pub(crate) clock: WrongClock,
    /// What clients sent, for faults that repeat it.
    pub(crate) heard: Mutex<Heard>,
}

/// The key from the scenario, or else one derived from the seed. 64 bytes, like the real keys.
pub(crate) fn account_key(seed: Roll, given: Option<&str>) -> Option<(SigningKey, String)> {
    let bytes = match given {
        Some(text) => BASE64_STANDARD.decode(text).ok()?,
        None => (0..8).flat_map(|word| seed.text("key").number(word).bits().to_le_bytes()).collect(),
    };
    Some((SigningKey::new(&bytes)?, BASE64_STANDARD.encode(&bytes)))
}

impl Account {
    pub(crate) fn new(index: u16, scenario: &AccountScenario, seed: Roll) -> Option<Self> {
        /// The last tick of the year 9999; the service counts backwards from it.
        const LAST_TICK: u64 = 3_155_378_975_999_999_999;
        /// 2024-01-01, in ticks of 100 ns since year 1; simulated accounts were created in the two years after it.
        const YEAR_2024: u64 = 638_396_640_000_000_000;
        const TWO_YEARS: u64 = 2 * 365 * 86_400 * 10_000_000;

        let roll = seed.text(&scenario.name);
        let (key, key_text) = account_key(roll, scenario.key.as_deref())?;
        let made = YEAR_2024 + roll.text("made").between(0, TWO_YEARS);
        // The service sorts its lists by id.
        let mut scenario = scenario.clone();
        scenario.pools.sort_by_key(|pool| pool.id.to_ascii_lowercase());
        scenario.jobs.sort_by_key(|job| job.id.to_ascii_lowercase());
        let scenario = &scenario;
        let pools: Vec<Pool> = scenario
            .pools
            .iter()
            .map(|pool| {
                let jobs = scenario.jobs.iter().filter(|job| job.pool == pool.id);
                // Machines are older than the jobs that ran on them.
                let oldest = jobs.map(|job| job.started.0).max().unwrap_or_default();
                Pool::new(pool.clone(), roll, oldest)
            })
            .collect();
        let job = |job: &JobScenario| {
            let (place, pool) = (0_u16..).zip(&pools).find(|(_, pool)| pool.scenario.id == job.pool)?;
            Some(Job::new(job, place, pool.scenario.nodes, roll))
        };
        Some(Self {
            index,
            key,
            key_text,
            roll,
            directory: format!("{}-{:016X}", scenario.name, LAST_TICK - made),
            pool_places: (0_u16..).zip(&pools).map(|(place, pool)| (pool.lower_id.clone(), place)).collect(),
            jobs: scenario.jobs.iter().filter_map(job).collect(),
            pools,
            ledger: Arc::new(AccountLedger::new(scenario.latency.max.0)),
            bucket: Mutex::new(Bucket::new(scenario)),
            faults: AccountFaults::new(scenario, roll),
            clock: WrongClock::new(scenario.clock_skew, &scenario.clock_shifts),
            heard: Mutex::default(),
            scenario: scenario.clone(),
        })
    }

    /// A pool and its position, by id.
    pub(crate) fn pool(&self, id: &str) -> Option<(u16, &Pool)> {
        let place = *self.pool_places.get(&id.to_ascii_lowercase())?;
        Some((place, self.pools.get(usize::from(place))?))
    }

    /// The first directory that was given to a node of the pool at this position, going by the positions of the nodes.
    pub(crate) fn first_directory(&self, pool: u16) -> Option<String> {
        let mut first = None;
        self.ledger.each_node(|key, record| {
            if key.pool == pool
                && let Some(directory) = record.directories.first()
                && first.is_none_or(|(place, _)| key.place < place)
            {
                first = Some((key.place, directory.request_id));
            }
        });
        first.map(|(place, id)| self.directory_name(&self.pools[usize::from(pool)], place, id))
    }

    /// The `virtualDirectoryName` of an upload.
    pub(crate) fn directory_name(&self, pool: &Pool, place: u32, request_id: uuid::Uuid) -> String {
        let mut name = String::with_capacity(self.directory.len() + pool.lower_id.len() + 112);
        name.push_str(&self.directory);
        name.push('/');
        name.push_str(&pool.lower_id);
        name.push('/');
        pool.names.push(&mut name, place);
        name.push('/');
        name.push_str(request_id.hyphenated().encode_lower(&mut uuid::Uuid::encode_buffer()));
        name
    }
}

impl World {
    pub(crate) fn new(scenario: &Scenario, storage_address: SocketAddr) -> Option<Self> {
        let seed = Roll::new(scenario.seed);
        let storage = &scenario.storage;
        let accounts = (0_u16..)
            .zip(&scenario.accounts)
            .map(|(index, account)| Account::new(index, account, seed))
            .collect::<Option<Vec<_>>>()?;
        let (storage_key, _) = account_key(seed.text("storage"), storage.key.as_deref())?;
        let (token_key, _) = account_key(seed.text("tokens"), None)?;
        let clock = Arc::new(Clock::start(scenario));
        Some(Self {
            accounts,
            storage_accounts: std::iter::once(&storage.account).chain(&storage.others).cloned().collect(),
            store: BlobStore::new(storage, storage_key, seed.text("storage"), Arc::clone(&clock)),
            clock,
            storage_address,
            tokens: TokenService::new(token_key, scenario.identity.token_lifetime.0),
            support: Support::default(),
            deliveries: Deliveries::default(),
            targets: UploadTargets::default(),
            log_type: Arc::from("text/plain"),
            ready: OnceLock::new(),
        })
    }

    /// Set before the first connection is accepted.
    pub(crate) fn ready(&self) -> &Ready {
        self.ready.get_or_init(Ready::default)
    }

    pub(crate) fn ledger(&self) -> LedgerSnapshot {
        let mut nodes = Vec::new();
        let now = self.clock.elapsed();
        let left_at = |pool: &Pool, place| {
            pool.left(place, now).map(|since_start| iso_millis(self.clock.date_at(since_start)))
        };
        for account in &self.accounts {
            account.ledger.each_node(|key, record| {
                let pool = &account.pools[usize::from(key.pool)];
                let directories = record.directories.iter().map(|directory| DirectoryEntry {
                    name: account.directory_name(pool, key.place, directory.request_id),
                    request_id: directory.request_id.to_string(),
                    client_request_id: directory.client_request_id.clone(),
                    files_promised: directory.files_promised,
                    files_written: directory.files_written,
                    bytes: directory.bytes,
                    accepted_at: directory.accepted_at,
                    received_at: iso_millis(directory.received_at),
                    access: directory.access,
                    sas_expires_at: directory.sas_expires_at.map(iso_seconds),
                });
                nodes.push(NodeEntry {
                    account: account.scenario.name.clone(),
                    pool: pool.scenario.id.clone(),
                    node: pool.names.id(key.place),
                    received: record.received,
                    accepted: record.directories.len() as u64,
                    left_at: left_at(pool, key.place),
                    directories: directories.collect(),
                });
            });
        }
        let mut left = Vec::new();
        for account in &self.accounts {
            for pool in account.pools.iter().filter(|pool| pool.may_lose_nodes()) {
                left.extend((0..pool.places()).filter_map(|place| {
                    Some(LeftEntry {
                        account: account.scenario.name.clone(),
                        pool: pool.scenario.id.clone(),
                        node: pool.names.id(place),
                        left_at: left_at(pool, place)?,
                    })
                }));
            }
        }
        let storage = &self.store.ledger;
        LedgerSnapshot {
            schema: "fleetlogs.sim-ledger/v1",
            accounts: self.accounts.iter().map(|a| a.ledger.snapshot(&a.scenario.name)).collect(),
            nodes,
            left,
            storage: StorageEntry {
                list_calls: storage.list_calls.load(Relaxed),
                blob_reads: storage.blob_reads.load(Relaxed),
                put_calls: storage.put_calls.load(Relaxed),
                put_failures: storage.put_failures.load(Relaxed),
                blobs: self.store.blobs(),
                credentials_leaked: storage.credentials_leaked.load(Relaxed),
                probes_written: storage.probes_written.load(Relaxed),
                probes_deleted: storage.probes_deleted.load(Relaxed),
                containers_created: storage.containers_created.load(Relaxed),
                delegation_keys: storage.delegation_keys.load(Relaxed),
            },
        }
    }
}
