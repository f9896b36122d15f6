//! Progress before there is a plan: which accounts are being listed, and how far.

use std::collections::BTreeMap;
use std::fmt;

use fleetlogs_model::ids::AccountName;
use parking_lot::Mutex;

use super::mode::{ProgressClock, ProgressMode};
use super::one_line::OneLine;
use crate::text::counted;
use crate::trouble::name;

/// Shows the progress of listing accounts. Shared by the tasks that list them.
pub struct PlanningProgress(Mutex<Listing>);

struct Listing {
    seen: BTreeMap<AccountName, (u32, u32)>,
    screen: OneLine,
    clock: ProgressClock,
}

impl PlanningProgress {
    /// Nothing is shown until something is listed.
    #[must_use]
    pub fn new(mode: ProgressMode, clock: ProgressClock) -> Self {
        let screen = OneLine::new(mode, &clock);
        Self(Mutex::new(Listing { seen: BTreeMap::new(), screen, clock }))
    }

    /// Updates how many pools and nodes of an account have been listed so far.
    pub fn update(&self, account: &AccountName, pools: u32, nodes: u32) {
        let mut listing = self.0.lock();
        let Listing { seen, screen, clock } = &mut *listing;
        seen.insert(account.clone(), (pools, nodes));
        screen.show(text(account, seen), clock);
    }

    /// Draws the spinner now.
    #[cfg(test)]
    pub(crate) fn redraw(&self) {
        self.0.lock().screen.redraw();
    }

    /// Removes the spinner.
    pub fn finish(&self) {
        self.0.lock().screen.finish();
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
    use std::time::{Duration, Instant};

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
