//! The container of a run on record, opened with the credential that a config has for reading.

use fleetlogs_azure::{AzureLogStore, http_client};
use fleetlogs_engine::clock::Clock;
use fleetlogs_engine::revisit::StorageRetry;
use fleetlogs_model::failure::{Failure, FailureClass};
use fleetlogs_model::known_cause::Asked;
use fleetlogs_model::plan::Plan;
use fleetlogs_model::retry::RetryPolicy;
use fleetlogs_model::service::LogStore;

use crate::config::Settings;
use crate::destination::Destination;
use crate::error::{CliError, Refusal, help_for};
use crate::preflight::{self, Findings};
use crate::tokens::Tokens;

/// What is done with the container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// It is listed.
    List,
    /// Its blobs are read, too; what for.
    Blobs(&'static str),
}

const MAY_READ: &str = "set `destination.verify_url` to a SAS with the permissions `r` and `l`";

/// Few attempts: a container that does not exist will not appear.
const AT_FIRST: RetryPolicy = RetryPolicy {
    attempts: 3,
    base_delay: std::time::Duration::from_secs(1),
    max_delay: std::time::Duration::from_secs(2),
};

/// Opens the container of a run. Nothing is sent to it: the credential is judged by its text.
pub(crate) async fn open_container(
    plan: &Plan,
    settings: &Settings,
    reading: Reading,
    calls_at_once: usize,
) -> Result<(Destination, AzureLogStore), CliError> {
    let named = match &settings.destination {
        Some(named) if settings.simulator.is_none() => named,
        _ => return Err(CliError::simulator_gone()),
    };
    let http = http_client(calls_at_once)?;
    let tokens = Tokens::new(http.clone(), settings.entra.clone());
    let destination = Destination::of_run(named, &http, &tokens, &plan.run_id, true).await;
    let destination = destination.map_err(CliError::without_run)?;
    let config = destination.url();
    if config != plan.destination {
        return Err(CliError::other_container(&plan.destination, &config));
    }
    let about = format!("destination.{}", destination.names.list);
    let mut findings = Findings::default();
    preflight::listing(&destination, Clock::System.now(), &mut findings);
    let Some(listing) = &destination.listing else {
        let refusal = Refusal::new("the container cannot be listed", MAY_READ);
        return Err(CliError::not_done(refusal.about(about)));
    };
    if let Reading::Blobs(what_for) = reading
        && listing.grants('r') == Some(false)
    {
        findings.refuse(
            &about,
            format!("its SAS lacks the permission `r`, which {what_for} needs"),
            MAY_READ,
        );
    }
    let last = |url: &str| url.rsplit('/').next().unwrap_or_default().to_owned();
    if last(&config) != last(&listing.without_query()) {
        let said = format!("it is for another container than that of the run: {}", listing.without_query());
        findings.refuse(&about, said, format!("create one for {config}"));
    }
    findings.settle().map_err(CliError::without_run)?;
    let store = AzureLogStore::new(http, listing)
        .map_err(|error| CliError::not_done(Refusal::new(error.to_string(), "check the URL").about(about)))?;
    Ok((destination, store))
}

/// Lists the container once, to prove that this works. `command` is what a person repeats later.
pub(crate) async fn prove_listing(store: &impl LogStore, command: &str) -> Result<(), CliError> {
    let retry = StorageRetry::new(&AT_FIRST, fastrand::Rng::new());
    let listed = retry.call(|| store.list("fleetlogs-preflight/", None)).await;
    listed.map(|_| ()).map_err(|failure| unreachable_container(&failure, command))
}

/// The container cannot be listed.
pub(crate) fn unreachable_container(failure: &Failure, command: &str) -> CliError {
    let help = container_help(failure, command);
    CliError::not_done(Refusal::new(format!("the container cannot be listed: {failure}"), help))
}

/// What to do about a container that cannot be listed or read.
pub(crate) fn container_help(failure: &Failure, command: &str) -> String {
    let otherwise = match failure.class {
        FailureClass::Auth => {
            "check that the SAS or identity is still valid and may read and list (`r` and `l`), and that the storage \
             firewall allows this machine; pass a config with another credential as `--config FILE`"
        }
        FailureClass::Gone => {
            "the container is gone, and its files with it: find out who deleted it, and whether it can be restored"
        }
        _ => "",
    };
    match help_for(Asked::Storage, failure, otherwise) {
        "" => format!(
            "check that storage is up, DNS, proxy and the storage firewall; then run `{command}` again: earlier results \
             stay as they are"
        ),
        help => help.to_owned(),
    }
}
