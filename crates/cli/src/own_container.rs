//! Opens a container that fleetlogs keeps records of its own in: the state of a schedule, or the journals of runs.

use std::sync::Arc;
use std::time::Duration;

use fleetlogs_azure::{Client, ContainerGrant, SasSource, StorageAccount, StorageAuth};
use fleetlogs_model::failure::{Failure, FailureClass};

use crate::config::{GivenSas, OwnContainer, Place};
use crate::error::{CliError, Refusal, help_for_signing};
use crate::tokens::Tokens;

/// Lifetime of a SAS that is created for the container; the next one is created in time.
const SAS_LIFETIME: Duration = Duration::from_secs(3600);

/// What a container holds, as far as opening it goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Contents {
    /// The table of the config that names the container.
    pub(crate) table: &'static str,
    /// Every permission that it takes: letter and name, in the order in which a SAS lists them.
    pub(crate) permissions: &'static [(char, &'static str)],
}

impl Contents {
    fn letters(&self) -> String {
        self.permissions.iter().map(|(letter, _)| letter).collect()
    }

    fn names(&self) -> String {
        let names: Vec<_> = self.permissions.iter().map(|(_, name)| *name).collect();
        listed(&names)
    }

    /// How to make a SAS that is good for it.
    fn how_to_create(&self) -> String {
        format!("create one for the container that grants {}: sp={}", self.names(), self.letters())
    }

    /// Why the container cannot be used, and what to do.
    pub(crate) fn refused(
        &self,
        what: impl Into<String>,
        container: &OwnContainer,
        failure: &Failure,
    ) -> CliError {
        let help = match (failure.class, container) {
            (class, _) if class.is_passing() => {
                "check the storage account's name, DNS, proxy and the storage firewall".to_owned()
            }
            (FailureClass::Gone, _) => {
                "create the container first; fleetlogs creates only the blobs in it".to_owned()
            }
            (_, OwnContainer::Given(_)) => format!(
                "use a SAS for the container that grants {} (sp={}) and has not expired",
                self.names(),
                self.letters()
            ),
            (_, OwnContainer::Minted { key: Some(_), .. }) => {
                format!("check `{}.account_key`, and whether the storage account allows Shared Key", self.table)
            }
            (_, OwnContainer::Minted { .. }) => {
                "give the identity the role Storage Blob Delegator on the account and Storage Blob Data Contributor on \
                 the container"
                    .to_owned()
            }
        };
        let help = match help_for_signing(failure, "") {
            "" => help,
            known => known.to_owned(),
        };
        CliError::refused([Refusal::new(format!("{}: {failure}", what.into()), help).about(self.table)])
    }
}

/// The source of SAS for a container. Sends nothing yet. `needed` are the permissions without which the command cannot
/// work.
pub(crate) fn sas_source(
    container: &OwnContainer,
    contents: Contents,
    needed: &[char],
    http: &Client,
    tokens: &Tokens,
) -> Result<SasSource, CliError> {
    match container {
        OwnContainer::Given(given) => given_sas(given, contents, needed),
        OwnContainer::Minted { place, key } => {
            let auth = match key {
                Some(key) => StorageAuth::Key(key.clone()),
                None => StorageAuth::Entra(tokens.of(place.cloud, place.cloud.storage_resource())?),
            };
            minted_sas(place, contents, http, auth)
        }
    }
}

/// A SAS that somebody created. It is read again each time that one is needed.
fn given_sas(given: &GivenSas, contents: Contents, needed: &[char]) -> Result<SasSource, CliError> {
    let key = format!("{}.container_url", contents.table);
    let missing: Vec<_> = contents
        .permissions
        .iter()
        .filter(|(letter, _)| needed.contains(letter) && given.sas.grants(*letter) == Some(false))
        .map(|(_, name)| *name)
        .collect();
    if !missing.is_empty() {
        let what = format!("its SAS does not grant {}", listed(&missing));
        return Err(CliError::refused([Refusal::new(what, contents.how_to_create()).about(key)]));
    }
    if !given.sas.is_for_blobs() || !given.sas.is_for_level('o') {
        let what = "its account SAS does not open blobs";
        return Err(CliError::refused([Refusal::new(what, contents.how_to_create()).about(key)]));
    }
    let GivenSas { sas, source, .. } = given.clone();
    let container = sas.without_query();
    Ok(Arc::new(move || {
        let (sas, source, container, key) = (sas.clone(), source.clone(), container.clone(), key.clone());
        Box::pin(async move {
            let Some(source) = source else { return Ok(sas) };
            // A command may be slow.
            let read = tokio::task::spawn_blocking(move || GivenSas::read_again(&source, &container)).await;
            let read = read.unwrap_or_else(|_| Err("reading it did not finish".into()));
            read.map_err(|message| Failure::new(FailureClass::Config, format!("`{key}`: {message}")))
        })
    }))
}

fn minted_sas(
    place: &Place,
    contents: Contents,
    http: &Client,
    auth: StorageAuth,
) -> Result<SasSource, CliError> {
    let storage = StorageAccount::new(http.clone(), place.endpoint.clone(), auth).map_err(|error| {
        let help =
            "write the storage account's name, such as \"contosologs\", or the URL of its blob endpoint";
        let about = format!("{}.account", contents.table);
        CliError::refused([Refusal::new(error.to_string(), help).about(about)])
    })?;
    let (container, permissions) = (place.container_as_written().to_owned(), contents.letters());
    Ok(Arc::new(move || {
        let (storage, container, permissions) = (storage.clone(), container.clone(), permissions.clone());
        Box::pin(async move {
            let grant = ContainerGrant {
                container: &container,
                permissions: &permissions,
                lifetime: SAS_LIFETIME,
                with_start: false,
            };
            storage.grant(grant).await
        })
    }))
}

/// `read, create and write`.
fn listed(names: &[&str]) -> String {
    match names.split_last() {
        Some((last, [])) => (*last).to_owned(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use fleetlogs_model::sas::SasUrl;

    use super::*;

    const CONTENTS: Contents =
        Contents { table: "schedule.lease", permissions: &[('r', "read"), ('c', "create"), ('w', "write")] };

    fn given(permissions: &str) -> GivenSas {
        let url = format!(
            "https://logs.blob.core.windows.net/state?sp={permissions}&sr=c&se=2036-01-01&sig=TOPSECRET"
        );
        GivenSas::just_read(SasUrl::parse(&url).unwrap(), None)
    }

    #[tokio::test]
    async fn a_sas_must_grant_what_is_needed() {
        let Err(error) = given_sas(&given("cl"), CONTENTS, &['r', 'w']) else { panic!("taken") };
        assert_eq!(
            error.describe().lines().next(),
            Some("error: schedule.lease.container_url: its SAS does not grant read and write")
        );
        let source = given_sas(&given("rcw"), CONTENTS, &['r', 'w']).unwrap();
        assert!(source().await.unwrap().grants('w') == Some(true));
        // Whoever only looks need not write.
        assert!(given_sas(&given("r"), CONTENTS, &['r']).is_ok());
        let Err(error) = given_sas(&given("cw"), CONTENTS, &['r']) else { panic!("taken") };
        assert!(error.describe().contains("does not grant read\n"), "{}", error.describe());
    }

    #[test]
    fn a_refusal_says_what_to_do_and_no_secret() {
        let container = OwnContainer::Given(given("rcw"));
        for (class, help) in [
            (FailureClass::Gone, "create the container first"),
            (FailureClass::Auth, "grants read, create and write (sp=rcw)"),
            (FailureClass::NotSent, "DNS"),
        ] {
            let text = CONTENTS.refused("no", &container, &Failure::new(class, "no")).describe();
            assert!(text.contains(help) && !text.contains("TOPSECRET"), "{text}");
        }
    }
}
