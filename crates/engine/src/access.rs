//! Credentials that are renewed during a run: what the nodes write with, and what the container is listed with.
//!
//! A credential is used up some time before it expires: a node still writes with it after its call was answered.
//! Renewal begins when half of its useful time has passed, or a quarter of an hour before it is used up, and is tried
//! more often as that time comes near. If a credential is not renewed in time, the executor stops the run before a call
//! would outlive it.

use std::sync::Arc;
use std::time::Duration;

use fleetlogs_model::access::WriteAccess;
use fleetlogs_model::failure::Failure;
use fleetlogs_model::sas::SasUrl;
use fleetlogs_model::service::UploadOrder;
use fleetlogs_model::timestamp;
use time::OffsetDateTime;
use tokio::sync::watch;

/// A credential is renewed this long before it is used up, at the earliest.
const EARLIEST: Duration = Duration::from_secs(15 * 60);

/// Shortest and longest pause between two requests for a new credential.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// What nodes are asked for and what they write with, at this moment. Clones see the same.
#[derive(Clone, Debug)]
pub struct Access(watch::Receiver<Arc<UploadOrder>>);

/// The other side of an [`Access`]: replaces its SAS.
#[derive(Debug)]
pub struct AccessRenewal(watch::Sender<Arc<UploadOrder>>);

impl Access {
    /// An order, and the means to renew what it is written with.
    #[must_use]
    pub fn new(order: UploadOrder) -> (Self, AccessRenewal) {
        let (replace, access) = watch::channel(Arc::new(order));
        (Self(access), AccessRenewal(replace))
    }

    /// An order whose credential stays as it is.
    #[must_use]
    pub fn fixed(order: UploadOrder) -> Self {
        Self::new(order).0
    }

    /// The order to send now.
    #[must_use]
    pub fn current(&self) -> Arc<UploadOrder> {
        self.0.borrow().clone()
    }
}

impl AccessRenewal {
    /// Every call from now on carries this SAS.
    pub fn with(&self, sas: SasUrl) {
        let window = self.0.borrow().window;
        self.0.send_replace(Arc::new(UploadOrder { window, access: WriteAccess::Sas(sas).into() }));
    }
}

/// Renews a SAS during a run; never returns. `now` is the time by the service's clock. The SAS is used up `spare`
/// before it expires. `name` is what messages call it.
pub async fn keep_fresh(
    name: &str,
    first: &SasUrl,
    spare: Duration,
    now: impl Fn() -> OffsetDateTime,
    mut renew: impl AsyncFnMut() -> Result<SasUrl, Failure>,
    mut publish: impl FnMut(SasUrl),
) -> ! {
    let mut since = now();
    let mut ends = first.expires_at;
    let mut told = false;
    loop {
        // A SAS without a known end needs no renewal.
        let Some(ending) = ends else { std::future::pending().await };
        tokio::time::sleep(until_renewal(since, ending - spare, now())).await;
        match renew().await {
            Ok(sas) if sas.expires_at.is_none_or(|new| new > ending) => {
                let until = sas.expires_at.map(timestamp::text);
                tracing::info!(until, "{name} was renewed");
                (since, ends, told) = (now(), sas.expires_at, false);
                publish(sas);
            }
            Ok(_) if told => {}
            Ok(_) => {
                told = true;
                let until = timestamp::text(ending);
                tracing::warn!("{name} expires at {until}, and there is no newer one yet; retrying");
            }
            Err(failure) if told => tracing::debug!(%failure, "{name} cannot be renewed"),
            Err(failure) => {
                told = true;
                let until = timestamp::text(ending);
                tracing::warn!("{name}, which expires at {until}, cannot be renewed: {failure}; retrying");
            }
        }
        tokio::time::sleep(pause(ending - spare - now())).await;
    }
}

/// How long to wait before the first request for another: half of its useful time, or until it is nearly used up.
fn until_renewal(since: OffsetDateTime, used_up: OffsetDateTime, now: OffsetDateTime) -> Duration {
    let useful = Duration::try_from(used_up - since).unwrap_or_default();
    let due = used_up - EARLIEST.min(useful / 2);
    Duration::try_from(due - now).unwrap_or_default()
}

/// How long to wait between two requests when this much time is left.
fn pause(left: time::Duration) -> Duration {
    (Duration::try_from(left).unwrap_or_default() / 10).clamp(PAUSE.0, PAUSE.1)
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, timeout};

    use super::*;
    use crate::testing::NOW;

    fn sas(until: OffsetDateTime) -> SasUrl {
        let until = timestamp::text(until);
        SasUrl::parse(&format!("https://logs.blob.core.windows.net/c?sr=c&sp=w&se={until}&sig=fake")).unwrap()
    }

    /// Renews for some minutes; returns at which minutes a request was made, and what was published.
    async fn renewals(
        life: i64,
        spare: u64,
        minutes: u64,
        mut answer: impl FnMut(usize) -> Result<SasUrl, Failure>,
    ) -> (Vec<u64>, usize) {
        let started = Instant::now();
        let now = || NOW + started.elapsed();
        let first = sas(NOW + time::Duration::minutes(life));
        let (mut asked, mut published) = (Vec::new(), 0);
        let renew = async || {
            asked.push(started.elapsed().as_secs() / 60);
            answer(asked.len())
        };
        let spare = Duration::from_secs(spare * 60);
        let kept = keep_fresh("the SAS", &first, spare, now, renew, |_| published += 1);
        assert!(timeout(Duration::from_secs(minutes * 60), kept).await.is_err());
        (asked, published)
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_sas_is_renewed_a_quarter_of_an_hour_before_it_is_used_up() {
        let later = |_| Ok(sas(NOW + time::Duration::days(1)));
        assert_eq!(renewals(60, 10, 300, later).await, (vec![35], 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_short_sas_is_renewed_at_half_of_its_use() {
        let later =
            |number: usize| Ok(sas(NOW + Duration::from_secs(20 * 60) * u32::try_from(number + 1).unwrap()));
        let (asked, published) = renewals(20, 10, 21, later).await;
        assert_eq!((asked[0], published), (5, asked.len()));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_no_longer_good_is_asked_for_again_and_again_and_not_published() {
        let same = |_| Ok(sas(NOW + time::Duration::minutes(60)));
        let (asked, published) = renewals(60, 10, 60, same).await;
        assert_eq!(published, 0);
        assert!(asked.len() > 20 && asked[0] == 35, "{asked:?}");

        let fails = |_| Err(Failure::new(fleetlogs_model::failure::FailureClass::Auth, "no"));
        assert_eq!(renewals(60, 10, 60, fails).await.1, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_holds_an_access_sees_the_new_sas() {
        let order = crate::testing::order_until("2026-11-22T10:00:00Z");
        let (access, replace) = Access::new(order);
        let other = access.clone();
        replace.with(sas(NOW + time::Duration::days(2)));
        assert_eq!(other.current().access.expires_at(), Some(NOW + time::Duration::days(2)));
    }
}
