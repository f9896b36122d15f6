//! The Batch accounts: tokens, listings, clocks, and identities of pools.

use std::collections::BTreeSet;

use fleetlogs_model::duration;
use fleetlogs_model::known_cause::Asked;
use fleetlogs_model::plan::Plan;
use fleetlogs_model::planned::NodeAt;
use fleetlogs_model::timestamp;

use super::finding::Findings;
use crate::clock_skew::{SHARED_KEY_SKEW, off_by};
use crate::config::WindowSpec;
use crate::destination::Destination;
use crate::error::{CliError, Refusal, help_for};
use crate::fleet::{Fleet, ListedFleet};
use crate::text::counted;
use crate::unmatched::UnmatchedPattern;

/// A longer time window gets a warning.
const LONG_WINDOW: time::Duration = time::Duration::days(1);

/// A longer one is probably a wrong month or year: pools are resized, reimaged or recreated within weeks, and a node has
/// the logs of its own life only.
const ABSURD_WINDOW: time::Duration = time::Duration::days(30);

/// A clock that is off by this much or more gets a warning.
const SKEW: time::Duration = time::Duration::minutes(1);

/// Which credential each account is called with, and whether its token is for Batch.
pub(crate) async fn tokens(fleet: &Fleet, findings: &mut Findings) {
    for account in fleet.accounts() {
        let about = format!("account `{}`", account.planned.name);
        let Some((tokens, wanted)) = &account.tokens else {
            findings.good(about, "uses the account key (Shared Key)");
            continue;
        };
        let by = tokens.describe();
        match tokens.claims().await {
            Err(failure) => {
                // The listing decides whether the run starts without the account.
                let otherwise =
                    "see `[entra]` in the config: log in, or set up the credential that you want to use";
                let fix = help_for(Asked::Batch, &failure, otherwise);
                findings.warn(about, format!("{failure}; tried {by}"), fix);
            }
            Ok(claims) => match claims.audience {
                // An audience may have a trailing slash or not, and be an application id or a URL. Only the service
                // knows all forms.
                Some(audience) if audience.trim_end_matches('/') != wanted.trim_end_matches('/') => {
                    let said =
                        format!("its token from {by} is for `{audience}`, but `{wanted}` was requested");
                    findings.warn(
                        about,
                        said,
                        "if the account rejects the token, see `cloud` and `audience` of the account",
                    );
                }
                _ => {
                    let who = claims.object_id.map(|id| format!(" of {id}")).unwrap_or_default();
                    let until = timestamp::text(claims.expires_at);
                    findings.good(
                        about,
                        format!("has a token{who} from {by}, valid until {until} and renewed before that"),
                    );
                }
            },
        }
    }
}

/// What was listed. An account that cannot be listed is a warning here; planning refuses the run if none can be.
pub(crate) fn listings(fleet: &Fleet, listed: &ListedFleet, findings: &mut Findings) {
    for account in &listed.plan.accounts {
        let about = format!("account `{}`", account.name);
        match (&account.unlisted, &account.missing) {
            (None, Some(why)) => {
                findings.warn(about, why.clone(), "a run would skip these pools and end as partial");
            }
            (None, None) => findings.good(
                about,
                format!(
                    "{} and {} selected, with {}",
                    counted(account.pools, "pool"),
                    counted(account.nodes, "node"),
                    counted(account.list_calls, "list call")
                ),
            ),
            (Some(why), _) => {
                let refusal = listed.unlisted.iter().find(|(name, _)| *name == account.name);
                let help = refusal.and_then(|(_, refusal)| refusal.help.as_deref());
                let help = help.map(|help| format!("{help}; ")).unwrap_or_default();
                let of_fleet = fleet.accounts().iter().find(|of_fleet| of_fleet.planned.name == account.name);
                let fix = match of_fleet.and_then(|account| account.site.as_deref()) {
                    Some(site) => elsewhere(site),
                    None => format!("{help}as it is, a run would skip this account and end as partial"),
                };
                findings.warn(about, format!("cannot be listed: {why}"), fix);
            }
        }
    }
}

/// The same if none could be listed, but workers of sites reach them from elsewhere: then nothing is wrong yet.
pub(crate) fn listed_elsewhere(
    fleet: &Fleet,
    error: CliError,
    findings: &mut Findings,
) -> Result<(), CliError> {
    let sites = fleet.accounts().iter().map(|account| account.site.as_deref());
    let Some(sites) = sites.collect::<Option<BTreeSet<_>>>().filter(|_| error.refuses_run()) else {
        return findings.take(Err(error)).map(|_: Option<()>| ());
    };
    let fix = elsewhere(&sites.into_iter().collect::<Vec<_>>().join("`, `"));
    for Refusal { about, what, .. } in error.refusals {
        findings.warn(about.unwrap_or_default(), what, fix.clone());
    }
    Ok(())
}

fn elsewhere(site: &str) -> String {
    format!("workers of site `{site}` reach it: run `check` on a machine there")
}

/// Patterns of pools and nodes that match nothing, although others do.
pub(crate) fn patterns(unmatched: &[UnmatchedPattern], findings: &mut Findings) {
    for pattern in unmatched {
        findings.warn(pattern.about(), pattern.what(), format!("{}; {}", pattern.there(), pattern.help()));
    }
}

/// Whether this machine's clock agrees with the clocks of the services.
pub(crate) fn clocks(fleet: &Fleet, findings: &mut Findings) {
    for account in fleet.accounts() {
        let Some(offset) = account.service.clock_offset() else { continue };
        let about = format!("account `{}`", account.planned.name);
        let said = format!("this machine's clock is {}", off_by(offset));
        if account.tokens.is_none() && offset.abs() >= SHARED_KEY_SKEW {
            findings.refuse(about, said, "set the clock: Shared Key allows 15 minutes at most");
        } else if offset.abs() >= SKEW {
            findings.warn(
                about,
                said,
                "set the clock: it decides the time window, and when a SAS or a token counts as expired",
            );
        } else {
            findings.good(about, "this machine's clock agrees with the service's");
        }
    }
}

/// Whether the time window ends later than it can, and whether it is longer than it should be: nodes upload whole files,
/// however little of them is wanted.
pub(crate) fn windows(plan: &Plan, written: Option<&WindowSpec>, findings: &mut Findings) {
    if let Some(end) = written.and_then(|written| written.end_beyond(plan.window)) {
        let said = format!(
            "it ends in the future, at {}; logs until {} are collected",
            timestamp::text(end),
            timestamp::text(plan.window.end)
        );
        findings.warn("window", said, "for later logs, start another run then");
    }
    let of_node = |node: NodeAt<'_>| node.window.unwrap_or(plan.window);
    let longest = plan.nodes.iter().map(of_node).max_by_key(|window| window.end - window.start);
    let Some(window) = longest else { return };
    let length = window.end - window.start;
    if length <= LONG_WINDOW {
        return;
    }
    let length_text = duration::text(std::time::Duration::try_from(length).unwrap_or_default());
    let said = format!("nodes upload up to {length_text} of logs");
    if length > ABSURD_WINDOW {
        let fix = format!(
            "the time window starts at {}: is that meant? Few nodes live that long, and every file with a line in the \
             time window is uploaded whole",
            timestamp::text(window.start)
        );
        findings.warn("window", said, fix);
    } else {
        let fix =
            "every file with a line in the time window is uploaded whole: a shorter window takes less time";
        findings.warn("window", said, fix);
    }
}

/// Whether the identity that the nodes write with is attached to their pools.
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
                "attach it to the pool, exclude the pool (`exclude_pools`), or let fleetlogs create a SAS (`mint`)",
            ),
            Ok(None) => findings.refuse(
                about,
                "no identity is attached to the pool",
                "attach that of `destination.identity`, exclude the pool (`exclude_pools`), or let fleetlogs create a SAS \
                 (`mint`)",
            ),
            Err(failure) => findings.warn(
                about,
                format!("the pool cannot be read: {failure}"),
                "it is unknown whether the identity is attached",
            ),
        }
    }
}
