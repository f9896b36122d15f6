//! Progress before there is a plan: which accounts are being listed, and how far.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Write;
use std::time::{Duration, Instant};

use fleetlogs_model::ids::AccountName;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use parking_lot::Mutex;

use super::mode::{ProgressClock, ProgressMode};
use crate::text::counted;
use crate::trouble::name;

/// Time between two plain lines.
const REPORT_EVERY: Duration = Duration::from_secs(10);
/// Time between two turns of the spinner.
const TURN_EVERY: Duration = Duration::from_millis(120);

/// Shows the progress of listing accounts. Shared by the tasks that list them.
pub struct PlanningProgress(Mutex<Listing>);

struct Listing {
    seen: BTreeMap<AccountName, (u32, u32)>,
    screen: Screen,
    clock: ProgressClock,
}

enum Screen {
    Spinner(ProgressBar),
    Plain { writer: Box<dyn Write + Send>, reported_at: Instant },
    Silent,
}

impl PlanningProgress {
    /// Nothing is shown until something is listed.
    #[must_use]
    pub fn new(mode: ProgressMode, clock: ProgressClock) -> Self {
        let screen = match mode {
            ProgressMode::Bars(term, _) => {
                let spinner = ProgressBar::with_draw_target(None, ProgressDrawTarget::term_like(term()));
                // A message that does not fit is cut at its end.
                let style = ProgressStyle::with_template("{spinner} {wide_msg}");
                spinner.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
                spinner.enable_steady_tick(TURN_EVERY);
                Screen::Spinner(spinner)
            }
            ProgressMode::Plain(writer) => Screen::Plain { writer, reported_at: clock.now() },
            ProgressMode::Silent => Screen::Silent,
        };
        Self(Mutex::new(Listing { seen: BTreeMap::new(), screen, clock }))
    }

    /// Updates how many pools and nodes of an account have been listed so far.
    pub fn update(&self, account: &AccountName, pools: u32, nodes: u32) {
        let mut listing = self.0.lock();
        let Listing { seen, screen, clock } = &mut *listing;
        seen.insert(account.clone(), (pools, nodes));
        match screen {
            Screen::Spinner(spinner) => spinner.set_message(text(account, seen)),
            Screen::Plain { writer, reported_at } => {
                let now = clock.now();
                if now.saturating_duration_since(*reported_at) >= REPORT_EVERY {
                    *reported_at = now;
                    let _ = writeln!(writer, "{} {}", clock.time_of_day(now), text(account, seen));
                }
            }
            Screen::Silent => {}
        }
    }

    /// Draws the spinner now.
    #[cfg(test)]
    pub(crate) fn redraw(&self) {
        if let Screen::Spinner(spinner) = &self.0.lock().screen {
            spinner.tick();
        }
    }

    /// Removes the spinner.
    pub fn finish(&self) {
        let mut listing = self.0.lock();
        if let Screen::Spinner(spinner) = std::mem::replace(&mut listing.screen, Screen::Silent) {
            spinner.finish_and_clear();
        }
    }
}

impl fmt::Debug for PlanningProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PlanningProgress").finish_non_exhaustive()
    }
}

/// `listing contoso: 12 pools, 3,400 nodes`, or the sum where there are several accounts.
fn text(account: &AccountName, seen: &BTreeMap<AccountName, (u32, u32)>) -> String {
    let sum = |of: fn(&(u32, u32)) -> u32| seen.values().map(|counts| u64::from(of(counts))).sum::<u64>();
    let (pools, nodes) = (counted(sum(|it| it.0), "pool"), counted(sum(|it| it.1), "node"));
    if seen.len() == 1 {
        format!("listing {}: {pools}, {nodes}", name(account.as_str()))
    } else {
        format!("listing {}: {pools}, {nodes}", counted(seen.len() as u64, "account"))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::testing::{START, SharedBuffer};

    #[test]
    fn a_long_listing_gives_a_sign_of_life() {
        let buffer = SharedBuffer::default();
        let now = Arc::new(Mutex::new(Instant::now()));
        let clock = ProgressClock::new(START, {
            let now = now.clone();
            move || *now.lock()
        });
        let planning = PlanningProgress::new(ProgressMode::Plain(Box::new(buffer.clone())), clock);
        let contoso = AccountName::new("contoso");
        for pools in 1..=25 {
            *now.lock() += Duration::from_secs(1);
            planning.update(&contoso, pools, pools * 400);
            if pools == 15 {
                planning.update(&AccountName::new("fabrikam"), 1, 5);
            }
        }
        planning.finish();
        planning.update(&contoso, 99, 99);

        insta::assert_snapshot!(buffer.text(), @r"
        09:30:10 listing contoso: 10 pools, 4,000 nodes
        09:30:20 listing 2 accounts: 21 pools, 8,005 nodes
        ");
    }
}
