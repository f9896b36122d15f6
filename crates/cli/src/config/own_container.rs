//! A container that fleetlogs keeps records of its own in: the state of a schedule, or the journals of runs.

use std::path::Path;
use std::time::Duration;

use fleetlogs_model::secret::Secret;

use super::destination::{ContainerKey, GivenSas, Place, given, place};
use super::reader::{ListedMistake, Table};
use super::secret;
use super::secret_form::Wanted;

/// A container of fleetlogs' own, and what opens it.
#[derive(Clone, Debug)]
pub(crate) enum OwnContainer {
    /// A URL with a SAS.
    Given(GivenSas),
    /// A SAS that is created when needed, with the account's key or with Entra.
    Minted { place: Place, key: Option<Secret> },
}

impl OwnContainer {
    /// What tells it from other containers.
    pub(crate) fn key(&self) -> ContainerKey {
        match self {
            Self::Given(given) => ContainerKey::of_url(&given.sas.without_query()),
            Self::Minted { place, .. } => place.container_key(),
        }
    }

    /// Its URL, without a SAS.
    pub(crate) fn url(&self) -> String {
        match self {
            Self::Given(given) => given.sas.without_query().trim_end_matches('/').to_owned(),
            Self::Minted { place, .. } => {
                let endpoint = place.endpoint.as_str().trim_end_matches('/');
                format!("{endpoint}/{}", place.container_as_written())
            }
        }
    }
}

/// Reads the keys that name the container and open it; none if the command does not need it. `what` is kept in it.
pub(super) fn own_container(
    table: &Table<'_>,
    dir: &Path,
    needed: bool,
    what: &str,
) -> Result<Option<OwnContainer>, ListedMistake> {
    if let Some(value) = table.get("container_url") {
        for key in ["account", "container", "account_key", "cloud"] {
            if table.has(key) {
                table.wrong(format!("`{key}` cannot be combined with `container_url`"), "keep one of them");
            }
            table.get(key);
        }
        return if needed {
            given(&value, dir).map(|given| Some(OwnContainer::Given(given))).ok_or(ListedMistake)
        } else {
            secret::check(&value).map(|()| None)
        };
    }
    let key = table
        .get("account_key")
        .map_or(Ok(None), |value| secret::read_if(needed, &value, dir, Wanted::StorageKey));
    let place = place(table).ok_or(ListedMistake)?;
    if place.is_per_run() {
        let (what, help) =
            (format!("{what} needs one container for all runs"), "remove `{run_id}` from its name");
        table.wrong(what, help);
        return Err(ListedMistake);
    }
    Ok(Some(OwnContainer::Minted { place, key: key? }).filter(|_| needed))
}

/// Reads the length of a lease, within the limits of Blob storage.
pub(super) fn lease_duration(table: &Table<'_>, key: &'static str) -> Option<Duration> {
    table.get(key).map_or(Some(Duration::from_secs(60)), |value| {
        let duration = value.duration()?;
        if !(15..=60).contains(&duration.as_secs()) || duration.subsec_nanos() > 0 {
            value.wrong(
                "must be 15 to 60 whole seconds, the limits of blob leases",
                Some("the default is \"60s\"".into()),
            );
            return None;
        }
        Some(duration)
    })
}
