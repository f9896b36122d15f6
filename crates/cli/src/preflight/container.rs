//! The container and the credentials that reach it.

use std::sync::Arc;
use std::time::Duration;

use fleetlogs_azure::{AzureLogStore, Client, ProbeEnd, probe_write};
use fleetlogs_engine::clock::Clock;
use fleetlogs_engine::sas_guard::{SasProblem, list_problems, write_problems};
use fleetlogs_model::failure::{Failure, FailureClass};
use fleetlogs_model::known_cause::Asked;
use fleetlogs_model::retry::persistently;
use fleetlogs_model::sas::{SasKind, SasUrl};
use fleetlogs_model::service::LogStore;
use fleetlogs_model::timestamp;
use time::OffsetDateTime;
use tokio::time::sleep;

use super::finding::Findings;
use crate::clock_skew::SHARED_KEY_SKEW;
use crate::config::Settings;
use crate::destination::{Destination, Renewal};
use crate::error::{help_for, help_for_signing};

/// How often the container is listed while the failure may pass; the first pause lasts one second, the second two.
const ATTEMPTS: u32 = 3;

/// Whether the two SAS stand in each other's place. Both are refused for what they lack; this is the reason.
fn swapped(destination: &Destination, settings: &Settings, findings: &mut Findings) {
    let listing = destination.listing.as_ref().filter(|_| settings.verification && destination.lists_apart);
    let (Some(write), Some(list)) = (destination.access.sas(), listing) else { return };
    let writes = |sas: &SasUrl| sas.grants('w') == Some(true);
    let lists = |sas: &SasUrl| sas.grants('l') == Some(true);
    if lists(write) && !writes(write) && writes(list) && !lists(list) {
        let (write, list) = (destination.names.write, destination.names.list);
        let said = format!(
            "`{write}` and `{list}` look swapped: `{write}` can list but not write, `{list}` the reverse"
        );
        findings.refuse("destination", said, "swap them");
    }
}

/// Whether the SAS suit a run whose calls take `calls_take`. A SAS that is renewed need only outlive one upload.
pub(crate) fn sas(
    destination: &Destination,
    settings: &Settings,
    now: OffsetDateTime,
    calls_take: Duration,
    findings: &mut Findings,
) {
    swapped(destination, settings, findings);
    let about = format!("destination.{}", destination.names.write);
    let allowance = settings.upload_allowance;
    match destination.access.sas() {
        None => {
            findings.good(&about, "nodes write with their own identity; there is no SAS that could expire");
        }
        Some(sas) => {
            let needed = now + calls_take + allowance;
            let problems = write_problems(sas, now, needed);
            if judge(problems, &about, destination.write_renewal(), now + allowance, findings) {
                describe(sas, &about, findings);
            }
            note(sas, &about, findings);
        }
    }
    let about = format!("destination.{}", destination.names.list);
    if let Some(sas) =
        destination.listing.as_ref().filter(|_| settings.verification && destination.lists_apart)
    {
        let needed = now + calls_take + settings.verify.deadline;
        if judge(list_problems(sas, now, needed), &about, destination.list_renewal(), now, findings) {
            describe(sas, &about, findings);
        }
        note(sas, &about, findings);
    }
}

/// Whether the SAS allows listing the container now.
pub(crate) fn listing(destination: &Destination, now: OffsetDateTime, findings: &mut Findings) {
    let about = format!("destination.{}", destination.names.list);
    let problems = destination.listing.as_ref().map(|sas| list_problems(sas, now, now)).unwrap_or_default();
    for problem in problems {
        findings.refuse(&about, problem.to_string(), problem.help());
    }
}

/// Checks the SAS before any service has told its time. This machine's clock may be up to 15 minutes off, so only a SAS
/// that is further outside of its validity is refused here.
pub(crate) fn early(destination: &Destination, settings: &Settings, findings: &mut Findings) {
    swapped(destination, settings, findings);
    let now = Clock::System.now();
    let listed = destination.listing.as_ref().filter(|_| settings.verification && destination.lists_apart);
    let one_upload = now + settings.upload_allowance;
    let of_write =
        destination.access.sas().map(|sas| (destination.names.write, write_problems(sas, now, one_upload)));
    let of_list = listed.map(|sas| (destination.names.list, list_problems(sas, now, now)));
    for (name, problems) in of_write.into_iter().chain(of_list) {
        for problem in problems {
            let is_sure = match problem {
                SasProblem::Expired(ends) => now - ends > SHARED_KEY_SKEW,
                SasProblem::NotYet(starts) => starts - now > SHARED_KEY_SKEW,
                _ => true,
            };
            if is_sure {
                findings.refuse(format!("destination.{name}"), problem.to_string(), problem.help());
            }
        }
    }
}

/// Refuses a SAS that has problems. One that expires before the end of the run but is renewed is only a warning.
/// Returns whether nothing was refused.
fn judge(
    problems: Vec<SasProblem>,
    about: &str,
    renewal: Renewal,
    at_least_until: OffsetDateTime,
    findings: &mut Findings,
) -> bool {
    let mut is_fit = true;
    for problem in problems {
        match problem {
            SasProblem::EndsTooSoon { ends, .. } if renewal != Renewal::Never && ends > at_least_until => {
                // fleetlogs creates short SAS on purpose.
                if renewal == Renewal::Given {
                    let fix = "make sure that a newer SAS is put there in time; it is read again before this one expires";
                    findings.warn(about, problem.to_string(), fix);
                }
            }
            problem => {
                is_fit = false;
                findings.refuse(about, problem.to_string(), problem.help());
            }
        }
    }
    is_fit
}

/// Describes a SAS by its text: kind, permissions, expiry. Only a call can try it.
fn describe(sas: &SasUrl, about: &str, findings: &mut Findings) {
    let kind = match sas.kind {
        SasKind::Account => "an account SAS",
        SasKind::Container if sas.delegated => "a user delegation SAS for the container",
        SasKind::Container => "a service SAS for the container",
        SasKind::NotContainer => return,
    };
    let may = sas
        .permissions
        .as_deref()
        .map_or("of a stored access policy".to_owned(), |letters| format!("`{letters}`"));
    let until = sas.expires_at.map_or("its stored access policy ends".to_owned(), timestamp::text);
    findings.good(about, format!("by its text {kind}, permissions {may}, until {until}"));
}

/// What is worth knowing about a SAS besides.
fn note(sas: &SasUrl, about: &str, findings: &mut Findings) {
    if !sas.mends.is_empty() {
        let mends: Vec<_> = sas.mends.iter().map(ToString::to_string).collect();
        let fix = "correct it in its source, too: other tools may not mend it";
        findings.warn(about, format!("its text was mended: {}", mends.join(", ")), fix);
    }
    if !sas.has_whole_signature() {
        let fix = "copy the whole URL, in quotes: a run with a wrong signature collects nothing";
        findings.warn(about, "its signature does not have the usual length; it may be cut off", fix);
    }
    if sas.ip_restricted {
        let fix = "uploads of nodes with other addresses will fail: create a SAS without `sip`";
        findings.warn(about, "the SAS is valid for some IP addresses only (`sip`)", fix);
    }
    if sas.kind == SasKind::Account {
        let fix = "every node receives it: a SAS for the container, with only `w`, exposes less";
        findings.warn(about, "the SAS gives access to the whole storage account", fix);
    }
}

/// The container to verify in, once it could be listed. None if verification is off, or if the SAS may not list.
pub(crate) async fn open_store(
    http: &Client,
    destination: &Destination,
    settings: &Settings,
    findings: &mut Findings,
) -> Option<Arc<AzureLogStore>> {
    if !settings.verification {
        return None;
    }
    let listing = destination.listing.as_ref()?;
    let apart = destination.lists_apart;
    let about = format!("destination.{}", destination.names.list);
    if !apart && listing.grants('l') == Some(false) {
        cannot_verify("its SAS lacks the permission `l`", findings);
        return None;
    }
    if destination.url() != listing.without_query() {
        let said = format!(
            "it names another container or host than the one that the nodes write to: {}",
            listing.without_query()
        );
        findings.warn(&about, said, format!("nodes write to {}", destination.url()));
    }
    let store = match AzureLogStore::new(http.clone(), listing) {
        Ok(store) => Arc::new(store),
        Err(error) => {
            findings.refuse(&about, error.to_string(), "check the URL");
            return None;
        }
    };
    let pause = |attempt: u32, _: &Failure| (attempt < ATTEMPTS).then(|| Duration::from_secs(attempt.into()));
    let listed = persistently(|| store.list("fleetlogs-preflight/", None), pause, sleep).await;
    let last = |url: &str| url.rsplit('/').next().unwrap_or_default().to_owned();
    match listed {
        Ok(_) if last(&destination.url()) != last(&listing.without_query()) => {
            // Files that are not found there would count as missing, and their nodes would be called again.
            let said = format!(
                "it is for another container than the one that the nodes write to: {}",
                listing.without_query()
            );
            findings.refuse(&about, said, format!("create one for {}", destination.url()));
            None
        }
        Ok(_) => {
            findings
                .good(&about, format!("the container {} exists and can be listed", listing.without_query()));
            Some(store)
        }
        // The SAS is valid but may not list. After any other refusal the nodes cannot use it either.
        Err(failure)
            if !apart
                && failure.class == FailureClass::Auth
                && failure.code.as_deref() == Some("AuthorizationPermissionMismatch") =>
        {
            cannot_verify(&format!("the container cannot be listed with it: {failure}"), findings);
            None
        }
        Err(failure) => {
            let said = format!("the container cannot be listed: {failure}");
            findings.refuse(&about, said, help_for(Asked::Storage, &failure, list_help(&failure)));
            None
        }
    }
}

fn cannot_verify(why: &str, findings: &mut Findings) {
    findings.warn(
        "destination.container_url",
        format!(
            "{why}: nodes will end as `accepted`, and a call whose answer is lost will be repeated without looking for its files"
        ),
        "set `destination.verify_url` to a SAS with `r` and `l`, so that fleetlogs can look for the files",
    );
}

fn list_help(failure: &Failure) -> &'static str {
    match failure.class {
        FailureClass::Gone => {
            "create the container, or correct the URL: uploads to a missing container are lost"
        }
        FailureClass::Auth => {
            "storage rejects this SAS: check its signature, expiry, IP range and the storage firewall"
        }
        _ => {
            "check the URL, DNS, proxy and the storage firewall, or set `verify.enabled = false` to run without verification"
        }
    }
}

/// Writes a blob as a node would, and deletes it again.
pub(crate) async fn probe(http: &Client, destination: &Destination, findings: &mut Findings) {
    let about = format!("destination.{}", destination.names.write);
    let sas = match destination.probing().await {
        Ok(Some(sas)) => sas,
        Ok(None) => {
            let fix = "only a node can write with its own identity: test it with a run of one node";
            return findings.warn(about, "writing cannot be tested from here", fix);
        }
        Err(failure) => {
            let said = format!("no SAS can be created to test writing: {failure}");
            return findings.refuse(about, said, help_for_signing(&failure, "see the message above"));
        }
    };
    if sas.grants('d') == Some(false) {
        let fix = "the test blob could not be deleted again: add `d` to the SAS to test writing";
        return findings.warn(about, "writing was not tested, because the SAS lacks the permission `d`", fix);
    }
    match probe_write(http, &sas).await {
        Ok(ProbeEnd::Deleted) => findings.good(about, "a blob was written and deleted again"),
        Ok(ProbeEnd::Left(name)) => {
            let fix = format!("delete the blob `{name}`");
            findings.warn(about, "a blob was written, but it could not be deleted again", fix);
        }
        Err(failure) => {
            let otherwise = "check the SAS's permissions and signature, and the storage firewall";
            let fix = help_for(Asked::Storage, &failure, otherwise);
            findings.refuse(about, format!("a blob cannot be written: {failure}"), fix);
        }
    }
}
