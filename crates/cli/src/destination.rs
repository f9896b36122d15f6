//! The container of one run, and the credentials that reach it, renewed during the run.

use std::time::Duration;

use fleetlogs_azure::{AzureLogStore, Client, ContainerGrant, StorageAccount, StorageAuth};
use fleetlogs_engine::access::{AccessRenewal, keep_fresh};
use fleetlogs_engine::clock::Clock;
use fleetlogs_engine::sas_guard::{list_problems, write_problems};
use fleetlogs_model::access::WriteAccess;
use fleetlogs_model::failure::{Failure, FailureClass};
use fleetlogs_model::ids::RunId;
use fleetlogs_model::sas::SasUrl;
use time::OffsetDateTime;
use url::Url;

use crate::config::{DestinationSettings, GivenSas, Minting, Place, Source, WriteSettings};
use crate::error::{CliError, Refusal, help_for_signing};
use crate::tokens::Tokens;

/// A SAS to list with is renewed this long before it expires: a listing may take a minute.
const LISTING_TAKES: Duration = Duration::from_secs(60);

/// Lifetime of a SAS to list with if the nodes do not write with a created SAS.
const LISTING_LIFETIME: Duration = Duration::from_secs(3600);

/// The container of one run.
pub(crate) struct Destination {
    /// The right that the nodes write with.
    pub(crate) access: WriteAccess,
    /// The SAS to list the container with. None if no credential can list it.
    pub(crate) listing: Option<SasUrl>,
    /// Whether that is another credential than that of the nodes.
    pub(crate) lists_apart: bool,
    /// The keys of the credentials in the config.
    pub(crate) names: CredentialKeys,
    write_source: Option<SasSource>,
    list_source: Option<SasSource>,
    /// The storage account, the container to create in it, and the run that it is for.
    to_create: Option<(StorageAccount, String, RunId)>,
}

/// The keys of the credentials in the config.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CredentialKeys {
    pub(crate) write: &'static str,
    pub(crate) list: &'static str,
}

/// Where the next SAS comes from.
enum SasSource {
    /// Somebody puts it where the first one was read.
    Given {
        source: Source,
        /// The container that it must be for.
        container: String,
        /// Whether the nodes write with it; otherwise the container is listed with it.
        writes: bool,
        /// Whether the signature of the first SAS had the usual length.
        whole: bool,
    },
    /// fleetlogs creates it.
    Minted {
        storage: StorageAccount,
        container: String,
        permissions: &'static str,
        lifetime: Duration,
        with_start: bool,
    },
}

/// How a SAS is renewed during a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Renewal {
    /// It is not renewed.
    Never,
    /// Somebody puts a newer one where the first one was read.
    Given,
    /// fleetlogs creates the next one.
    Minted,
}

impl From<Option<&SasSource>> for Renewal {
    fn from(source: Option<&SasSource>) -> Self {
        match source {
            None => Self::Never,
            Some(SasSource::Given { .. }) => Self::Given,
            Some(SasSource::Minted { .. }) => Self::Minted,
        }
    }
}

impl SasSource {
    async fn renew(&self) -> Result<SasUrl, Failure> {
        match self {
            Self::Given { source, container, writes, whole } => {
                let (source, container) = (source.clone(), container.clone());
                // A command may be slow.
                let read =
                    tokio::task::spawn_blocking(move || GivenSas::read_again(&source, &container)).await;
                let read = read.unwrap_or_else(|_| Err("reading it did not finish".into()));
                let fit = read.and_then(|sas| fit(sas, *writes, *whole));
                fit.map_err(|message| Failure::new(FailureClass::Config, message))
            }
            Self::Minted { storage, container, permissions, lifetime, with_start } => {
                let (lifetime, with_start) = (*lifetime, *with_start);
                storage.grant(ContainerGrant { container, permissions, lifetime, with_start }).await
            }
        }
    }

    fn given(given: &GivenSas, writes: bool) -> Option<Self> {
        let (container, whole) = (given.sas.without_query(), given.sas.has_whole_signature());
        given.source.clone().map(|source| Self::Given { source, container, writes, whole })
    }
}

/// Refuses a new SAS that is worse than the one in use: a mistake in rotating it must not end the run.
fn fit(sas: SasUrl, writes: bool, whole: bool) -> Result<SasUrl, String> {
    let now = Clock::System.now();
    let problems = if writes { write_problems(&sas, now, now) } else { list_problems(&sas, now, now) };
    if let Some(problem) = problems.first() {
        return Err(format!("the new SAS: {problem}"));
    }
    if whole && !sas.has_whole_signature() {
        return Err("the signature of the new SAS is cut off".into());
    }
    if sas.expires_at.is_none() && !sas.stored_policy {
        return Err("the new SAS does not say when it expires".into());
    }
    Ok(sas)
}

impl Destination {
    /// Obtains the credentials for a run. Creates nothing in storage.
    pub(crate) async fn of_run(
        settings: &DestinationSettings,
        http: &Client,
        tokens: &Tokens,
        run: &RunId,
        verification: bool,
    ) -> Result<Self, CliError> {
        let verify = settings.verify.as_ref();
        let mut destination = match &settings.write {
            WriteSettings::Given(given) => {
                let sas = given.current().await;
                Self {
                    access: WriteAccess::Sas(sas.clone()),
                    listing: Some(sas),
                    lists_apart: verify.is_some(),
                    names: CredentialKeys { write: "container_url", list: "container_url" },
                    write_source: SasSource::given(given, true),
                    list_source: SasSource::given(given, false),
                    to_create: None,
                }
            }
            WriteSettings::Minted(place, minting) => {
                let lists = verification && verify.is_none();
                Self::minted(place, minting, http, tokens, run, lists).await?
            }
            WriteSettings::Identity { place, resource_id } => {
                let storage = storage(http, tokens, place, None)?;
                let container = place.container(run);
                let url = storage.container_url(&container);
                let url = Url::parse(&url).expect("a container of a known endpoint has a URL");
                let access =
                    WriteAccess::Identity { container: url, resource_id: resource_id.as_str().into() };
                let list_source = SasSource::Minted {
                    storage: storage.clone(),
                    container: container.clone(),
                    permissions: "rl",
                    lifetime: LISTING_LIFETIME,
                    with_start: false,
                };
                let listing = match verify {
                    None if verification => {
                        Some(list_source.renew().await.map_err(|failure| not_minted(&failure, place))?)
                    }
                    _ => None,
                };
                Self {
                    access,
                    listing,
                    lists_apart: true,
                    names: CredentialKeys { write: "identity", list: "identity" },
                    write_source: None,
                    list_source: Some(list_source),
                    to_create: place.is_per_run().then(|| (storage, container, run.clone())),
                }
            }
        };
        if let Some(given) = verify {
            destination.names.list = "verify_url";
            destination.list_source = SasSource::given(given, false);
            destination.listing = Some(given.current().await);
        }
        Ok(destination)
    }

    async fn minted(
        place: &Place,
        minting: &Minting,
        http: &Client,
        tokens: &Tokens,
        run: &RunId,
        lists: bool,
    ) -> Result<Self, CliError> {
        let storage = storage(http, tokens, place, Some(minting))?;
        let container = place.container(run);
        let source = |permissions| SasSource::Minted {
            storage: storage.clone(),
            container: container.clone(),
            permissions,
            lifetime: minting.lifetime,
            with_start: minting.with_start,
        };
        // Each gets only the permissions that it needs.
        let (write, list) = (source("w"), source("rl"));
        let refused = |failure: Failure| not_minted(&failure, place);
        Ok(Self {
            access: WriteAccess::Sas(write.renew().await.map_err(refused)?),
            listing: if lists { Some(list.renew().await.map_err(refused)?) } else { None },
            lists_apart: true,
            names: CredentialKeys { write: "mint", list: "mint" },
            write_source: Some(write),
            list_source: Some(list),
            to_create: place.is_per_run().then(|| (storage.clone(), container.clone(), run.clone())),
        })
    }

    /// The container's URL, without a credential.
    pub(crate) fn url(&self) -> String {
        self.access.without_query()
    }

    /// Whether the run creates its own container.
    pub(crate) fn is_created(&self) -> bool {
        self.to_create.is_some()
    }

    /// How the SAS of the nodes is renewed during the run.
    pub(crate) fn write_renewal(&self) -> Renewal {
        Renewal::from(self.write_source.as_ref())
    }

    /// How the SAS to list with is renewed during the run.
    pub(crate) fn list_renewal(&self) -> Renewal {
        Renewal::from(self.list_source.as_ref())
    }

    /// A SAS to test writing with. If fleetlogs creates it, it can also delete what it wrote. None with an identity.
    pub(crate) async fn probing(&self) -> Result<Option<SasUrl>, Failure> {
        let Some(SasSource::Minted { storage, container, with_start, .. }) = &self.write_source else {
            return Ok(self.access.sas().cloned());
        };
        let (lifetime, with_start) = (Duration::from_secs(600), *with_start);
        storage.grant(ContainerGrant { container, permissions: "wd", lifetime, with_start }).await.map(Some)
    }

    /// Creates the container, if each run has its own.
    pub(crate) async fn create(&self) -> Result<(), CliError> {
        let Some((storage, name, run)) = &self.to_create else { return Ok(()) };
        let made = storage.create_container(name, run).await.map_err(|failure| {
            let what = format!("`{name}` cannot be created in `{}`: {failure}", storage.name());
            let help = "give the identity the role Storage Blob Data Contributor on the storage account, or name an \
                        existing container";
            let help = help_for_signing(&failure, help);
            CliError::refused([Refusal::new(what, help).about("destination.container")])
        })?;
        if made {
            tracing::info!(container = name, "created");
        }
        Ok(())
    }

    /// Renews the credentials that can be renewed. Never returns.
    pub(crate) async fn keep_fresh(
        &self,
        spare: Duration,
        now: impl Fn() -> OffsetDateTime,
        replace: AccessRenewal,
        store: Option<&AzureLogStore>,
    ) -> ! {
        let write = async {
            let (Some(source), WriteAccess::Sas(first)) = (&self.write_source, &self.access) else {
                std::future::pending().await
            };
            let named = format!("the SAS of `destination.{}`", self.names.write);
            keep_fresh(&named, first, spare, &now, async || source.renew().await, |sas| replace.with(sas))
                .await
        };
        let list = async {
            match store {
                Some(store) => self.keep_listing(&now, store).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            never = write => never,
            never = list => never,
        }
    }

    /// Renews the SAS that the container is listed and read with, if it can be renewed. Never returns.
    pub(crate) async fn keep_listing(&self, now: impl Fn() -> OffsetDateTime, store: &AzureLogStore) -> ! {
        let (Some(source), Some(first)) = (&self.list_source, &self.listing) else {
            std::future::pending().await
        };
        let named = format!("the SAS of `destination.{}` that lists the container", self.names.list);
        let publish = |sas: SasUrl| {
            if store.replace(&sas).is_err() {
                tracing::warn!("{named} cannot be used; the old one stays in use");
            }
        };
        keep_fresh(&named, first, LISTING_TAKES, &now, async || source.renew().await, publish).await;
    }
}

/// The storage account of a place.
pub(crate) fn storage(
    http: &Client,
    tokens: &Tokens,
    place: &Place,
    minting: Option<&Minting>,
) -> Result<StorageAccount, CliError> {
    let auth = match minting.and_then(|minting| minting.key.clone()) {
        Some(key) => StorageAuth::Key(key),
        None => StorageAuth::Entra(tokens.of(place.cloud, place.cloud.storage_resource())?),
    };
    StorageAccount::new(http.clone(), place.endpoint.clone(), auth).map_err(|error| {
        let help =
            "write the storage account's name, such as \"contosologs\", or the URL of its blob endpoint";
        CliError::refused([Refusal::new(error.to_string(), help).about("destination.account")])
    })
}

fn not_minted(failure: &Failure, place: &Place) -> CliError {
    let what = format!("no SAS can be created for `{}`: {failure}", place.endpoint);
    let help = if failure.class.is_passing() {
        "check `destination.account`, DNS, proxy and the storage firewall, and whether Entra can be reached"
    } else {
        "give the identity the role Storage Blob Delegator on the account and Storage Blob Data Contributor on the \
         container; `fleetlogs check` shows which credential is used"
    };
    let help = help_for_signing(failure, help);
    CliError::refused([Refusal::new(what, help).about("destination.mint")])
}
