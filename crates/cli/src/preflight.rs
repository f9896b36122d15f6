//! What is checked before the first upload call: that the SAS allows what the run needs for as long as it needs it,
//! and that the container is there and can be listed.

use std::sync::Arc;
use std::time::Duration;

use fleetlogs_azure::AzureLogStore;
use fleetlogs_engine::sas_guard::{SasProblem, list_problems, write_problems};
use fleetlogs_model::failure::{Failure, FailureClass};
use fleetlogs_model::service::LogStore;
use time::OffsetDateTime;

use crate::config::{Destination, Settings};
use crate::error::{CliError, Refusal};
use crate::fleet::Fleet;

/// How often a container that does not answer is asked again.
const TRIES: u32 = 3;

/// Whether the SAS is fit for a run whose calls take `calls_take`.
pub(crate) fn check_sas(
    fleet: &Fleet,
    settings: &Settings,
    now: OffsetDateTime,
    calls_take: Duration,
) -> Result<(), CliError> {
    let Destination { container, verify } = &fleet.destination;
    let needed = now + calls_take + settings.upload_allowance;
    let listed_until = now + calls_take + settings.verify.deadline;
    let of_container = write_problems(container, now, needed);
    // A separate credential for listing was given on purpose, so it must work.
    let of_verify =
        verify.as_ref().filter(|_| settings.verification).map(|sas| list_problems(sas, now, listed_until));
    let named = |key: &'static str| {
        move |problem: SasProblem| Refusal::new(format!("destination.{key}: {problem}"), problem.help())
    };
    let refusals: Vec<_> = of_container
        .into_iter()
        .map(named("container_url"))
        .chain(of_verify.into_iter().flatten().map(named("verify_url")))
        .collect();
    if refusals.is_empty() { Ok(()) } else { Err(CliError::Refused(refusals)) }
}

/// The container to verify in; none where verification is off or not permitted, which is said.
pub(crate) async fn log_store(
    fleet: &Fleet,
    settings: &Settings,
) -> Result<Option<Arc<AzureLogStore>>, CliError> {
    if !settings.verification {
        return Ok(None);
    }
    let listing = fleet.destination.listing();
    let separate = fleet.destination.verify.is_some();
    if !separate && listing.grants('l') == Some(false) {
        cannot_verify("the SAS of `destination.container_url` lacks the permission `l`");
        return Ok(None);
    }
    if fleet.destination.container.without_query() != listing.without_query() {
        tracing::warn!(
            "`destination.verify_url` names another container than `container_url`: {} and {}",
            listing.without_query(),
            fleet.destination.container.without_query()
        );
    }
    let store = AzureLogStore::new(fleet.http.clone(), listing)
        .map_err(|error| refused(&Failure::new(FailureClass::Config, error.to_string()), separate))?;
    let mut tried = 0;
    loop {
        tried += 1;
        let Err(failure) = store.list("fleetlogs-preflight/", None).await else {
            return Ok(Some(Arc::new(store)));
        };
        match failure.class {
            // The SAS is good, only not for this. Any other refusal means that nodes cannot use it either.
            FailureClass::Auth
                if !separate && failure.code.as_deref() == Some("AuthorizationPermissionMismatch") =>
            {
                cannot_verify(&format!(
                    "the container cannot be listed with `destination.container_url`: {failure}"
                ));
                return Ok(None);
            }
            FailureClass::Transient | FailureClass::Throttled | FailureClass::NotSent if tried < TRIES => {
                tokio::time::sleep(Duration::from_secs(u64::from(tried))).await;
            }
            _ => return Err(refused(&failure, separate)),
        }
    }
}

fn cannot_verify(why: &str) {
    tracing::warn!(
        "{why}: nodes will end as `accepted`, and a call whose answer is lost will be repeated blindly. \
         Give a SAS with `r` and `l` as `destination.verify_url` to have both looked up"
    );
}

fn refused(failure: &Failure, separate: bool) -> CliError {
    let key = if separate { "verify_url" } else { "container_url" };
    let help = match failure.class {
        FailureClass::Gone => {
            "create the container, or correct the URL: uploads into a missing container vanish"
        }
        FailureClass::Auth if separate => "make a SAS with the permissions `r` and `l` for `verify_url`",
        FailureClass::Auth => {
            "storage refuses this SAS: check its signature, expiry, IP range and the storage firewall"
        }
        _ => {
            "check the URL, DNS, proxy and the storage firewall, or set `verify.enabled = false` to go without"
        }
    };
    let what = format!("destination.{key}: the container cannot be listed: {failure}");
    CliError::Refused(vec![Refusal::new(what, help)])
}
