//! The texts that stand for the variants of enums in stored files. Most are read by a closed list, so a new text is a new
//! version; where readers of this version take any text, it is not.

use std::fmt::Debug;

use fleetlogs_model::failure::FailureClass;
use fleetlogs_model::outcome::{Outcome, Proof, RunOutcome, Shortfall};
use fleetlogs_model::plan::LeftOutReason;
use fleetlogs_model::planned::Priority;
use fleetlogs_model::snapshot::Trigger;
use fleetlogs_model::stop_cause::{StopCause, Unverified};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::lock::{Additions, Form, assert_locked};

/// Texts of a list that later versions may lengthen are named with this.
const OPEN: &str = " or other";

const OF_NAMES: Additions = Additions {
    may_become: |_, _, _| false,
    may_come: |name, _, _| name.split('.').next().unwrap().ends_with(OPEN),
};

/// Every variant of an enum. One that is not named here does not compile.
macro_rules! every {
    ($type:ident: $($variant:ident),+ $(,)?) => {{
        let is_named = |value: &$type| match value { $($type::$variant)|+ => true };
        let all = [$($type::$variant),+];
        assert!(all.iter().all(is_named));
        (stringify!($type), all)
    }};
}

fn add<T: Serialize + DeserializeOwned + Debug + PartialEq, const N: usize>(
    form: &mut Form,
    (name, values): (&str, [T; N]),
    open: &str,
) {
    for value in values {
        let text = serde_json::to_string(&value).unwrap();
        assert_eq!(serde_json::from_str::<T>(&text).unwrap(), value);
        form.insert(format!("{name}{open}.{value:?}"), text);
    }
}

#[test]
fn the_names_in_stored_files_are_locked() {
    let mut form = Form::new();
    add(
        &mut form,
        every!(Outcome: Verified, Adopted, Accepted, Incomplete, Empty, InDoubt, Failed, Gone, NotSent),
        "",
    );
    add(&mut form, every!(RunOutcome: Complete, Partial, NothingCollected, Interrupted, BudgetSpent), "");
    add(&mut form, every!(Proof: Promise, Peers), "");
    add(
        &mut form,
        every!(Shortfall: NothingArrived, FilesMissing, StillChanging, SeenOnce, NotListed, ForeignDirectory),
        "",
    );
    add(
        &mut form,
        every!(
            FailureClass: NotSent, Throttled, Transient, Wait, WaitBriefly, Gone, Auth, Config, InDoubt, Refused
        ),
        "",
    );
    add(
        &mut form,
        every!(
            LeftOutReason: PoolNotSelected, PoolGone, PoolNotListed, ListedTwice, StateNotSelected, IdNotSelected,
            KindNotSelected, SchedulingNotSelected, ErrorsNotSelected, StartTaskNotSelected, AgeNotSelected,
            NotInSample, NoTaskOfJob, JobNodeGone, WatchedNodeGone, NoAgentYet, Preempted, Deallocated
        ),
        "",
    );
    add(&mut form, every!(Priority: Leaving, PoolShrinking, Spot, HasErrors, Ordinary, OutOfReach), "");
    add(&mut form, every!(Trigger: Cron, CatchUp, State, Alert, Once), "");
    add(
        &mut form,
        every!(
            StopCause: Signal, OwnershipLost, TenureEnded, RunDeadline, SasEnds, BudgetSpent, ContainerGone, Journal,
            Schedule, LittleRoom, Other
        ),
        OPEN,
    );
    add(&mut form, every!(Unverified: SwitchedOff, NotPermitted, Other), OPEN);
    assert_locked("names", "v1", &form, &OF_NAMES);
}
