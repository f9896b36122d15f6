//! Starting and stopping a simulator.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::arm::ArmService;
use crate::batch::BatchService;
use crate::blob::{BlobService, container_sas};
use crate::delivery::{deliver, upload_to_others};
use crate::http::{bind, serve};
use crate::ledger::LedgerSnapshot;
use crate::ready::{Ready, ReadyAccount, ReadyEnvironment, ReadyStorage};
use crate::roll::Roll;
use crate::scenario::{AuthMode, Scenario, ScenarioError};
use crate::world::{World, account_key};

/// A running simulator. It stops when it is dropped; [`Simulator::shutdown`] also waits until it has stopped.
pub struct Simulator {
    world: Arc<World>,
    tasks: JoinSet<()>,
}

/// Why a simulator does not start.
#[derive(Debug, thiserror::Error)]
pub enum SimError {
    /// Its keys are in a public document, so only this machine may reach it.
    #[error("the simulator listens on loopback addresses only, and `{0}` is not one")]
    NotLoopback(SocketAddr),
    /// The ports from the given one on go beyond 65535.
    #[error("the simulator needs {ports} ports from `{from}` on, which exceeds 65535")]
    TooManyPorts {
        /// The given port.
        from: u16,
        /// One per account, one for storage and one for Azure Resource Manager.
        ports: usize,
    },
    /// Most likely another process uses the port.
    #[error("cannot listen on `{address}`: {error}")]
    Listen {
        /// The address and port.
        address: SocketAddr,
        /// The error of the operating system.
        error: io::Error,
    },
    /// The scenario contradicts itself, or it was not checked.
    #[error("the scenario cannot be simulated: {0}")]
    Scenario(#[from] ScenarioError),
}

impl Simulator {
    /// Opens one port per Batch account, one for the storage account and one for Azure Resource Manager, and serves
    /// them on the current runtime.
    ///
    /// With port 0 in `listen` the operating system chooses every port; otherwise the ports are the given one and
    /// those after it.
    #[expect(clippy::unused_async, reason = "needs a runtime, and will wait for something sooner or later")]
    pub async fn start(scenario: Scenario, listen: SocketAddr) -> Result<Self, SimError> {
        if !listen.ip().is_loopback() {
            return Err(SimError::NotLoopback(listen));
        }
        let mut ports = Ports { listen, taken: 0, needed: scenario.accounts.len() + 2 };
        let accounts =
            scenario.accounts.iter().map(|_| ports.open()).collect::<Result<Vec<_>, SimError>>()?;
        let (storage, storage_address) = ports.open()?;
        // The last one, so that the other ports stay where they have always been.
        let (arm, arm_address) = ports.open()?;
        let bad_key =
            || ScenarioError::Meaning { key: "key".to_owned(), problem: "cannot be used".to_owned() };
        let world = Arc::new(World::new(&scenario, storage_address).ok_or_else(bad_key)?);
        let addresses: Vec<SocketAddr> = accounts.iter().map(|(_, address)| *address).collect();
        let ready = ready(&scenario, &world, &addresses, arm_address).ok_or_else(bad_key)?;
        world.ready.get_or_init(|| ready);

        let mut tasks = JoinSet::new();
        for (index, (listener, _)) in accounts.into_iter().enumerate() {
            let service = BatchService { world: Arc::clone(&world), account: index };
            tasks.spawn(serve(listener, Arc::new(service)));
        }
        let service = BlobService { world: Arc::clone(&world) };
        tasks.spawn(serve(storage, Arc::new(service)));
        let service = ArmService { world: Arc::clone(&world) };
        tasks.spawn(serve(arm, Arc::new(service)));
        // Unbounded: the accepted uploads bound what waits here, and they are what is simulated.
        let (others, to_others) = mpsc::unbounded_channel();
        tasks.spawn(deliver(Arc::clone(&world), others));
        tasks.spawn(upload_to_others(Arc::clone(&world), to_others));
        Ok(Self { world, tasks })
    }

    /// Addresses, keys and URLs.
    #[must_use]
    pub fn ready(&self) -> &Ready {
        self.world.ready()
    }

    /// What has happened so far; the same as `GET /_sim/ledger`.
    #[must_use]
    pub fn ledger(&self) -> LedgerSnapshot {
        self.world.ledger()
    }

    /// Closes every port and connection, and waits until they are closed.
    pub async fn shutdown(mut self) {
        self.tasks.shutdown().await;
    }
}

impl fmt::Debug for Simulator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Simulator").field("ledger", &self.ready().ledger).finish_non_exhaustive()
    }
}

/// Hands out the listening ports.
struct Ports {
    listen: SocketAddr,
    taken: u16,
    needed: usize,
}

impl Ports {
    fn open(&mut self) -> Result<(TcpListener, SocketAddr), SimError> {
        let mut address = self.listen;
        if address.port() != 0 {
            let too_many = SimError::TooManyPorts { from: address.port(), ports: self.needed };
            address.set_port(address.port().checked_add(self.taken).ok_or(too_many)?);
        }
        self.taken += 1;
        let opened = bind(address).and_then(|listener| {
            let address = listener.local_addr()?;
            Ok((listener, address))
        });
        opened.map_err(|error| SimError::Listen { address, error })
    }
}

/// None if a key cannot be used.
fn ready(
    scenario: &Scenario,
    world: &World,
    addresses: &[SocketAddr],
    arm_address: SocketAddr,
) -> Option<Ready> {
    let store = &world.store;
    let (_, storage_key) =
        account_key(Roll::new(scenario.seed).text("storage"), scenario.storage.key.as_deref())?;
    let endpoint = format!("http://{}/{}", world.storage_address, store.keys.account);
    let name = &scenario.storage.container;
    let container = format!("{endpoint}/{name}");
    let expires = store.now() + scenario.storage.sas_lifetime.0;
    let sas_url = |permissions| {
        let query = container_sas(&store.keys, name, permissions, expires);
        format!("{container}?{query}")
    };
    let accounts = world.accounts.iter().zip(addresses).map(|(account, address)| ReadyAccount {
        name: account.scenario.name.clone(),
        endpoint: format!("http://{address}"),
        key: account.key_text.clone(),
        auth: [(AuthMode::SharedKey, "shared-key"), (AuthMode::Entra, "entra")]
            .into_iter()
            .filter(|(mode, _)| account.scenario.accepts(*mode))
            .map(|(_, name)| name)
            .collect(),
        subscription: account.scenario.subscription.clone(),
    });
    let control = addresses.first().unwrap_or(&world.storage_address);
    let identity = format!("http://{control}/_sim/identity");
    Some(Ready {
        schema: "fleetlogs.sim-ready/v1".to_owned(),
        accounts: accounts.collect(),
        container_url: sas_url("w"),
        verify_url: sas_url("rl"),
        ledger: format!("http://{control}/_sim/ledger"),
        environment: ReadyEnvironment {
            identity_endpoint: identity.clone(),
            identity_header: "simulated".to_owned(),
        },
        identity,
        storage: ReadyStorage { account: store.keys.account.clone(), key: storage_key, endpoint },
        container,
        arm: format!("http://{arm_address}"),
        config: None,
        full_config: None,
    })
}
