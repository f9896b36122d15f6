//! Notices that this machine's clock was set while a run works, and says so once.

use std::time::Duration;

use fleetlogs_model::duration;
use tokio::time::{Instant, sleep};

use crate::clock::Clock;
use crate::intent::MOVED;

/// Time between two looks at the clock.
const EVERY: Duration = Duration::from_secs(5);

/// Watches the clock. Never ends.
pub(crate) async fn warn_of_jumps<T>(clock: Clock) -> T {
    if let Some(jump) = first_jump(clock).await {
        tracing::warn!("{jump}");
    }
    std::future::pending().await
}

/// What to say of the first jump.
async fn first_jump(clock: Clock) -> Option<String> {
    let (mut wall, mut steady) = (clock.now(), Instant::now());
    loop {
        sleep(EVERY).await;
        let (shows, passed) = (clock.now() - wall, time::Duration::try_from(steady.elapsed()).ok()?);
        let jump = shows - passed;
        if jump.unsigned_abs() > MOVED {
            let by = duration::text(jump.unsigned_abs());
            let how = if jump.is_positive() {
                format!("went {by} ahead at once: it was set, or the machine slept")
            } else {
                format!("was set back by {by}")
            };
            return Some(format!(
                "this machine's clock {how}; times in the reports jump, too. Calls in doubt are judged by the clocks of the \
                 services, so no call is repeated because of it"
            ));
        }
        (wall, steady) = (clock.now(), Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;
    use crate::clock::SetClock;
    use crate::testing::NOW;

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_is_set_is_said_once_and_one_that_drifts_is_not() {
        for (seconds, said) in [
            (3600, Some("went 1h 00m ahead at once: it was set, or the machine slept")),
            (-65, Some("was set back by 1m 05s")),
            (4, None),
            (-1, None),
        ] {
            let clock = SetClock::start(NOW);
            let sets = async {
                sleep(Duration::from_secs(7)).await;
                clock.set_ahead(time::Duration::seconds(seconds));
            };
            let watched = timeout(Duration::from_secs(600), first_jump(Clock::Set(clock)));
            let (heard, ()) = tokio::join!(watched, sets);
            let heard = heard.ok().flatten();
            assert_eq!(heard.is_some(), said.is_some(), "{seconds}: {heard:?}");
            assert!(said.is_none_or(|said| heard.unwrap().contains(said)), "{seconds}");
        }
    }
}
