//! The shared state of a schedule: the blob that `[schedule.lease]` names, for several machines.

use std::sync::Arc;
use std::time::Duration;

use fleetlogs_azure::{BlobStateHome, Client, ContainerGrant, SasSource, StorageAccount, StorageAuth};
use fleetlogs_model::failure::{Failure, FailureClass};
use fleetlogs_model::home::StateHome;

use crate::config::{GivenSas, LeasePlace, LeaseSettings, Place};
use crate::error::{CliError, Refusal, help_for_signing};
use crate::tokens::Tokens;

/// Lifetime of a SAS that is created for the state; the next one is created in time.
const SAS_LIFETIME: Duration = Duration::from_secs(3600);

/// What a command does with the shared state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// It reads it.
    Look,
    /// It reads and changes it, under the lease.
    Own,
}

/// The home of the state. Sends nothing yet.
pub(crate) fn home(
    settings: &LeaseSettings,
    access: Access,
    http: &Client,
    tokens: &Tokens,
) -> Result<Arc<dyn StateHome>, CliError> {
    let source = match &settings.place {
        LeasePlace::Given(given) => given_sas(given, access)?,
        LeasePlace::Minted { place, key } => {
            let auth = match key {
                Some(key) => StorageAuth::Key(key.clone()),
                None => StorageAuth::Entra(tokens.of(place.cloud, place.cloud.storage_resource())?),
            };
            minted_sas(place, http, auth)?
        }
    };
    let (blob, lease) = (settings.blob.clone(), settings.duration);
    Ok(Arc::new(BlobStateHome::new(http.clone(), source, blob, lease)))
}

/// Why the shared state cannot be used, and what to do.
pub(crate) fn refused(settings: &LeaseSettings, failure: &Failure) -> CliError {
    let what = format!("the shared state `{}` cannot be used: {failure}", settings.blob);
    let help = match (failure.class, &settings.place) {
        (class, _) if class.is_passing() => {
            "check the storage account's name, DNS, proxy and the storage firewall"
        }
        (FailureClass::Gone, _) => "create the container first; fleetlogs creates only the blob in it",
        (_, LeasePlace::Given(_)) => {
            "use a SAS for the container that grants read, create and write (sp=rcw) and has not expired"
        }
        (_, LeasePlace::Minted { key: Some(_), .. }) => {
            "check `schedule.lease.account_key`, and whether the storage account allows Shared Key"
        }
        (_, LeasePlace::Minted { .. }) => {
            "give the identity the role Storage Blob Delegator on the account and Storage Blob Data Contributor on the \
             container"
        }
    };
    let help = help_for_signing(failure, help);
    CliError::refused([Refusal::new(what, help).about("schedule.lease")])
}

/// A SAS that somebody created. It is read again each time that one is needed.
fn given_sas(given: &GivenSas, access: Access) -> Result<SasSource, CliError> {
    let missing: Vec<_> = [('r', "read"), ('w', "write")]
        .into_iter()
        .filter(|(letter, _)| *letter == 'r' || access == Access::Own)
        .filter(|(letter, _)| given.sas.grants(*letter) == Some(false))
        .map(|(_, name)| name)
        .collect();
    if !missing.is_empty() {
        let what = format!("its SAS does not grant {}", missing.join(" and "));
        let help = "create one for the container that grants read, create and write: sp=rcw";
        return Err(CliError::refused([Refusal::new(what, help).about("schedule.lease.container_url")]));
    }
    if !given.sas.is_for_blobs() || !given.sas.is_for_level('o') {
        let what = "its account SAS does not open blobs";
        let help = "create one for the container that grants read, create and write: sp=rcw";
        return Err(CliError::refused([Refusal::new(what, help).about("schedule.lease.container_url")]));
    }
    let GivenSas { sas, source } = given.clone();
    let container = sas.without_query();
    Ok(Arc::new(move || {
        let (sas, source, container) = (sas.clone(), source.clone(), container.clone());
        Box::pin(async move {
            let Some(source) = source else { return Ok(sas) };
            // A command may be slow.
            let read = tokio::task::spawn_blocking(move || GivenSas::read_again(&source, &container)).await;
            let read = read.unwrap_or_else(|_| Err("reading it did not finish".into()));
            read.map_err(|message| {
                Failure::new(FailureClass::Config, format!("`schedule.lease.container_url`: {message}"))
            })
        })
    }))
}

fn minted_sas(place: &Place, http: &Client, auth: StorageAuth) -> Result<SasSource, CliError> {
    let storage = StorageAccount::new(http.clone(), place.endpoint.clone(), auth).map_err(|error| {
        let help =
            "write the storage account's name, such as \"contosologs\", or the URL of its blob endpoint";
        CliError::refused([Refusal::new(error.to_string(), help).about("schedule.lease.account")])
    })?;
    let container = place.container_as_written().to_owned();
    Ok(Arc::new(move || {
        let (storage, container) = (storage.clone(), container.clone());
        Box::pin(async move {
            let grant = ContainerGrant {
                container: &container,
                permissions: "rcw",
                lifetime: SAS_LIFETIME,
                with_start: false,
            };
            storage.grant(grant).await
        })
    }))
}

#[cfg(test)]
mod tests {
    use fleetlogs_model::sas::SasUrl;

    use super::*;

    fn given(permissions: &str) -> GivenSas {
        let url = format!(
            "https://logs.blob.core.windows.net/state?sp={permissions}&sr=c&se=2036-01-01&sig=TOPSECRET"
        );
        GivenSas { sas: SasUrl::parse(&url).unwrap(), source: None }
    }

    #[tokio::test]
    async fn a_sas_must_let_us_read_and_write() {
        let Err(error) = given_sas(&given("cl"), Access::Own) else { panic!("taken") };
        assert_eq!(
            error.describe().lines().next(),
            Some("error: schedule.lease.container_url: its SAS does not grant read and write")
        );
        let source = given_sas(&given("rcw"), Access::Own).unwrap();
        assert!(source().await.unwrap().grants('w') == Some(true));
    }

    #[test]
    fn whoever_only_looks_need_not_write() {
        assert!(given_sas(&given("r"), Access::Look).is_ok());
        assert!(given_sas(&given("r"), Access::Own).is_err());
        let Err(error) = given_sas(&given("cw"), Access::Look) else { panic!("taken") };
        assert!(error.describe().contains("does not grant read\n"), "{}", error.describe());
    }

    #[test]
    fn a_refusal_says_what_to_do_and_no_secret() {
        let settings = LeaseSettings {
            place: LeasePlace::Given(given("rcw")),
            blob: "fleetlogs/schedule.db".into(),
            duration: Duration::from_secs(60),
        };
        for (class, help) in [
            (FailureClass::Gone, "create the container first"),
            (FailureClass::Auth, "sp=rcw"),
            (FailureClass::NotSent, "DNS"),
        ] {
            let text = refused(&settings, &Failure::new(class, "no")).describe();
            assert!(text.contains(help) && !text.contains("TOPSECRET"), "{text}");
        }
    }
}
