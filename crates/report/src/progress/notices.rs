//! Short lines about important events: accounts that pause or stop, pools with blocked storage.
//!
//! They are delayed for a moment, so that a hundred accounts that pause in the same second need only one line.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use fleetlogs_model::duration;
use fleetlogs_model::failure::Failure;
use fleetlogs_model::ids::AccountName;

use super::troubles::SilentPool;
use crate::look::Style;
use crate::outcome_look::style_of;
use crate::text::{counted, for_terminal};
use crate::trouble::{Trouble, name, names};

/// How long a line is delayed.
const HOLD: Duration = Duration::from_secs(1);

/// Pools that a line names.
const MOST_POOLS: usize = 3;

/// Lines that are about to be printed.
#[derive(Default)]
pub(crate) struct Notices {
    since: Option<Instant>,
    throttled: Vec<(AccountName, Option<Duration>)>,
    stopped: BTreeMap<String, Vec<AccountName>>,
}

/// A line with its colour.
pub(crate) type Notice = (Style, String);

impl Notices {
    /// An account was asked to slow down, and maybe to pause.
    pub(crate) fn throttled(&mut self, account: &AccountName, pause: Option<Duration>, now: Instant) {
        self.since.get_or_insert(now);
        self.throttled.push((account.clone(), pause));
    }

    /// Nothing more is sent to an account.
    pub(crate) fn stopped(&mut self, account: &AccountName, cause: &Failure, now: Instant) {
        self.since.get_or_insert(now);
        self.stopped.entry(cause.to_string()).or_default().push(account.clone());
    }

    /// Something happened that the caller of [`take`](Self::take) adds a line about.
    pub(crate) fn wake(&mut self, now: Instant) {
        self.since.get_or_insert(now);
    }

    /// Whether the lines were delayed long enough.
    pub(crate) fn are_due(&self, now: Instant) -> bool {
        self.since.is_some_and(|since| now.saturating_duration_since(since) >= HOLD)
    }

    /// Takes the lines. `pace` returns the pace of a throttled account.
    pub(crate) fn take(&mut self, pace: impl Fn(&AccountName) -> Option<f64>) -> Vec<Notice> {
        let Self { throttled, stopped, .. } = std::mem::take(self);
        let mut lines = vec![];
        let (paused, slowed): (Vec<_>, Vec<_>) =
            throttled.into_iter().partition(|(_, pause)| pause.is_some());
        for accounts in [paused, slowed].into_iter().filter(|accounts| !accounts.is_empty()) {
            let mut text = format!("{}: throttled", names(accounts.iter().map(|(account, _)| account)));
            if let [(account, _)] = &accounts[..]
                && let Some(pace) = pace(account)
            {
                let _ = write!(text, ", down to {pace:.1}/s");
            }
            if let Some(longest) = accounts.iter().filter_map(|(_, pause)| *pause).max() {
                let verb = if accounts.len() > 1 { "pausing for up to" } else { "pausing for" };
                let _ = write!(text, "; {verb} {}, as the service asked", duration::text(longest));
            }
            lines.push((Style::Warning, text));
        }
        for (cause, accounts) in stopped {
            let accounts = names(accounts.iter());
            lines.push((Style::Bad, format!("{accounts}: stopped: {}", for_terminal(&cause))));
        }
        lines
    }
}

/// `contoso/render: nothing complete ...`: pools from which nothing has come, in one line. `seen` is the longest time
/// that any node took.
pub(crate) fn silent(pools: &[SilentPool], seen: Duration) -> Option<Notice> {
    let since = pools.iter().map(|pool| pool.since).min()?;
    let accepted: u64 = pools.iter().map(|pool| pool.accepted).sum();
    let shown: Vec<String> = pools
        .iter()
        .take(MOST_POOLS)
        .map(|pool| format!("{}/{}", name(pool.pool.account.as_str()), name(pool.pool.pool.as_str())))
        .collect();
    let mut shown = shown.join(", ");
    if pools.len() > MOST_POOLS {
        let _ = write!(shown, " and {} more", pools.len() - MOST_POOLS);
    }
    let text = format!(
        "{shown}: nothing complete has arrived {} after the first of {}, while other nodes took {} at most: check \
         the storage account's firewall and private endpoint for {}",
        duration::text(since),
        counted(accepted, "accepted call"),
        duration::text(seen + Duration::from_millis(999)),
        if pools.len() == 1 { "this pool" } else { "these pools" },
    );
    Some((Style::Warning, text))
}

/// `storage blocked from pool render: 12 nodes so far`.
pub(crate) fn blocked(troubles: &[Trouble], one_account: bool) -> impl Iterator<Item = Notice> {
    troubles
        .iter()
        .map(move |trouble| (style_of(trouble.outcome), format!("{} so far", trouble.headline(one_account))))
}
