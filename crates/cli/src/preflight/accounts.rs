//! The Batch accounts: tokens, listings, clocks, and identities of pools.

use fleetlogs_model::duration;
use fleetlogs_model::plan::Plan;
use fleetlogs_model::planned::NodeAt;
use fleetlogs_model::service::BatchService;
use fleetlogs_model::timestamp;

use super::finding::Findings;
use crate::clock_skew::{SHARED_KEY_SKEW, off_by};
use crate::destination::Destination;
use crate::fleet::Fleet;

/// A range that is longer than this is worth a word.
const LONG_WINDOW: time::Duration = time::Duration::days(1);

/// From how far on a clock that is off is worth a word.
const SKEW: time::Duration = time::Duration::minutes(1);

/// Which credential each account is called with, and whether its token is made out for Batch.
pub(crate) async fn tokens(fleet: &Fleet, findings: &mut Findings) {
    for account in fleet.accounts() {
        let about = format!("account `{}`", account.planned.name);
        let Some((tokens, wanted)) = &account.tokens else {
            findings.good(about, "called with its key (Shared Key)");
            continue;
        };
        let by = tokens.describe();
        match tokens.claims().await {
            Err(failure) => {
                // Whether the run goes on without the account is for the listing to say.
                let fix = "See `[entra]` in the config: log in, or set up the credential that is meant";
                findings.warn(about, format!("{failure}; tried {by}"), fix);
            }
            Ok(claims) => match claims.audience {
                // With a slash and without, as application id or URL: only the service knows all its names.
                Some(audience) if audience.trim_end_matches('/') != wanted.trim_end_matches('/') => {
                    let said = format!(
                        "its token by {by} is made out for `{audience}`, and was asked for `{wanted}`"
                    );
                    findings.warn(about, said, "See `cloud` and `audience` of the account, if it is refused");
                }
                _ => {
                    let who = claims.object_id.map(|id| format!(" of {id}")).unwrap_or_default();
                    let until = timestamp::text(claims.expires_at);
                    findings.good(about, format!("a token{who} by {by}, until {until}; renewed before"));
                }
            },
        }
    }
}

/// What was listed. An account that could not be is a refusal of its own only where no other could.
pub(crate) fn listings(plan: &Plan, findings: &mut Findings) {
    for account in &plan.accounts {
        let about = format!("account `{}`", account.name);
        match (&account.unlisted, &account.missing) {
            (None, Some(why)) => findings.warn(
                about,
                why.clone(),
                "The run would go on without these pools, and end as partial",
            ),
            (None, None) => findings.good(
                about,
                format!(
                    "{} pools and {} nodes selected, by {} list calls",
                    account.pools, account.nodes, account.list_calls
                ),
            ),
            (Some(why), _) => findings.warn(
                about,
                format!("it cannot be listed: {why}"),
                "The other accounts would go on without it, and the run end as partial",
            ),
        }
    }
}

/// Whether this machine's clock agrees with the services'.
pub(crate) fn clocks(fleet: &Fleet, findings: &mut Findings) {
    for account in fleet.accounts() {
        let Some(offset) = account.service.clock_offset() else { continue };
        let about = format!("account `{}`", account.planned.name);
        let said = format!("this machine's clock is {}", off_by(offset));
        if account.tokens.is_none() && offset.abs() >= SHARED_KEY_SKEW {
            findings.refuse(about, said, "set the clock: with Shared Key 15 minutes are the limit");
        } else if offset.abs() >= SKEW {
            findings.warn(about, said, "Set the clock: expiry of SAS and tokens is judged by it");
        } else {
            findings.good(about, "this machine's clock agrees with the service's");
        }
    }
}

/// Whether nodes are asked for more than they should be: they send whole files, however little of one is wanted.
pub(crate) fn windows(plan: &Plan, findings: &mut Findings) {
    let of_node = |node: NodeAt<'_>| node.window.unwrap_or(plan.window);
    let longest = plan.nodes.iter().map(of_node).max_by_key(|window| window.end - window.start);
    let Some(length) = longest.map(|window| window.end - window.start) else { return };
    if length > LONG_WINDOW {
        let length = std::time::Duration::try_from(length).unwrap_or_default();
        let said = format!("nodes are asked for up to {} of logs", duration::text(length));
        let fix = "Every file with a line in the range is sent whole: a shorter range is uploaded sooner";
        findings.warn("window", said, fix);
    }
}

/// Whether the identity that nodes are to write by is attached to their pools.
pub(crate) async fn identities(
    fleet: &Fleet,
    destination: &Destination,
    plan: &Plan,
    findings: &mut Findings,
) {
    let Some(wanted) = destination.access.identity() else { return };
    let mut pools: Vec<_> = plan.nodes.iter().map(|node| (node.account(), node.pool())).collect();
    pools.sort();
    pools.dedup();
    for (name, pool) in pools {
        let Some(account) = fleet.accounts().iter().find(|account| account.planned.name == *name) else {
            continue;
        };
        let about = format!("account `{name}`, pool `{pool}`");
        match account.service.pool_identities(pool).await {
            Ok(Some(ids)) if ids.iter().any(|id| id.eq_ignore_ascii_case(wanted)) => {
                findings.good(about, "the identity of `destination.identity` is attached");
            }
            Ok(Some(_)) => findings.refuse(
                about,
                "the identity of `destination.identity` is not attached",
                "attach it to the pool, leave the pool out (`exclude_pools`), or let fleetlogs make a SAS (`mint`)",
            ),
            Ok(None) => findings.refuse(
                about,
                "no identity is attached to the pool",
                "attach the one of `destination.identity`, leave the pool out (`exclude_pools`), or let fleetlogs make a \
                 SAS (`mint`)",
            ),
            Err(failure) => findings.warn(
                about,
                format!("the pool cannot be read: {failure}"),
                "Whether the identity is attached is not known",
            ),
        }
    }
}
