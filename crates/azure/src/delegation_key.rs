//! User delegation keys: how storage issues them, and a cached key shared by everything that creates SAS.
//!
//! Storage throttles requests for keys, and a key is valid for days, so one key signs many SAS.

use std::sync::Arc;
use std::time::Duration;

use azure_core::xml;
use fleetlogs_model::failure::Failure;
use fleetlogs_model::scrub;
use fleetlogs_model::timestamp;
use parking_lot::Mutex;
use serde::Deserialize;
use time::OffsetDateTime;
use tokio::time::Instant;

use crate::sas::{SigningKey, UserDelegation, time_text};

/// A key is valid for this long from its start, at most.
pub(crate) const LONGEST_LIFE: time::Duration = time::Duration::days(7);

/// How far in the past a key, or a SAS that has a start, begins: the clocks of services differ by minutes.
pub(crate) const START_BEFORE_NOW: time::Duration = time::Duration::minutes(5);

/// How long to wait after a failed request for another key, while the old key is used.
const RENEWAL_PAUSE: Duration = Duration::from_secs(60);

/// A key and the time in which it can be used.
#[derive(Debug)]
pub(crate) struct DelegationKey {
    pub(crate) delegation: UserDelegation,
    pub(crate) starts_at: OffsetDateTime,
    pub(crate) expires_at: OffsetDateTime,
    /// The middle of its remaining life at the time when it was received.
    half_at: OffsetDateTime,
}

impl DelegationKey {
    /// The body of a request for a key of the longest life, at a time of the service's clock.
    pub(crate) fn request_body(now: OffsetDateTime) -> String {
        let start = now - START_BEFORE_NOW;
        format!(
            "<?xml version=\"1.0\" encoding=\"utf-8\"?><KeyInfo><Start>{}</Start><Expiry>{}</Expiry></KeyInfo>",
            time_text(start),
            time_text(start + LONGEST_LIFE)
        )
    }

    /// Reads the answer; none if it is not a key, or a key that has expired. The reason is not reported, because the
    /// text of an XML error may quote the key.
    pub(crate) fn read(body: &[u8], now: OffsetDateTime) -> Option<Self> {
        let answer: KeyAnswer = xml::from_xml(body).ok()?;
        scrub::learn(&answer.value);
        let starts_at = timestamp::parse(&answer.signed_start)?;
        let expires_at = timestamp::parse(&answer.signed_expiry)?;
        let delegation = UserDelegation {
            key: SigningKey::from_base64(&answer.value)?,
            object_id: answer.signed_oid,
            tenant_id: answer.signed_tid,
            starts_at: answer.signed_start,
            expires_at: answer.signed_expiry,
            service: answer.signed_service,
            version: answer.signed_version,
        };
        let left = expires_at - now;
        left.is_positive().then(|| Self { delegation, starts_at, expires_at, half_at: now + left / 2 })
    }
}

/// The key as storage writes it.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct KeyAnswer {
    signed_oid: String,
    signed_tid: String,
    signed_start: String,
    signed_expiry: String,
    signed_service: String,
    signed_version: String,
    value: String,
}

/// The key of a storage account: requested when it is needed, by one caller at a time.
#[derive(Default)]
pub(crate) struct DelegationKeyCache {
    state: Mutex<KeyState>,
    /// Held by the caller that requests a key, so that many waiters make one request.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct KeyState {
    key: Option<Arc<DelegationKey>>,
    /// Counts failures, so that callers that waited for a failed request do not each repeat it.
    failures: u64,
    last_failure: Option<Failure>,
    rest_until: Option<Instant>,
}

impl DelegationKeyCache {
    /// A key that is valid now, and for `lifetime` if such a key can be had. `now` is the service's clock, and
    /// `fetch` requests a new key.
    ///
    /// A key that does not last for `lifetime` is used until half of its life all the same, so that a server that
    /// issues short keys is not asked in a loop. If no other key can be had, it is used until it expires.
    ///
    /// Cancel safety: may be dropped at any time; the next caller sends a new request.
    pub(crate) async fn get(
        &self,
        now: impl Fn() -> OffsetDateTime,
        lifetime: time::Duration,
        fetch: impl Future<Output = Result<DelegationKey, Failure>>,
    ) -> Result<Arc<DelegationKey>, Failure> {
        let failures_seen = {
            let state = self.state.lock();
            if let Some(key) = state.good_key(now(), lifetime) {
                return Ok(key);
            }
            state.failures
        };
        let _turn = self.turn.lock().await;
        {
            let state = self.state.lock();
            if let Some(key) = state.good_key(now(), lifetime) {
                return Ok(key);
            }
            if state.failures != failures_seen
                && let Some(failure) = &state.last_failure
            {
                return Err(failure.clone());
            }
        }
        let fetched = fetch.await;
        let mut state = self.state.lock();
        match fetched {
            Ok(key) => {
                let key = Arc::new(key);
                state.key = Some(key.clone());
                state.rest_until = None;
                Ok(key)
            }
            Err(failure) => {
                state.failures += 1;
                state.last_failure = Some(failure.clone());
                state.rest_until = Some(Instant::now() + RENEWAL_PAUSE);
                let old = state.good_key(now(), lifetime);
                if old.is_some() {
                    tracing::warn!(%failure, "no new user delegation key; using the old one");
                }
                old.ok_or(failure)
            }
        }
    }
}

impl KeyState {
    fn good_key(&self, now: OffsetDateTime, lifetime: time::Duration) -> Option<Arc<DelegationKey>> {
        let key = self.key.as_ref().filter(|key| now < key.expires_at)?;
        let rests = self.rest_until.is_some_and(|end| Instant::now() < end);
        let good = rests || now < key.half_at || lifetime <= key.expires_at - now;
        good.then(|| key.clone())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use fleetlogs_model::failure::FailureClass;
    use futures::future::join_all;
    use time::macros::datetime;
    use tokio::time::{advance, sleep};

    use super::*;

    const NOON: OffsetDateTime = datetime!(2026-11-22 12:00:00 UTC);
    const HOUR: time::Duration = time::Duration::HOUR;

    /// The answer of storage, with a key that is valid from five minutes ago.
    pub(crate) fn answer(now: OffsetDateTime, life: time::Duration) -> String {
        format!(
            "\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?><UserDelegationKey><SignedOid>oid-1</SignedOid>\
             <SignedTid>tid-1</SignedTid><SignedStart>{}</SignedStart><SignedExpiry>{}</SignedExpiry>\
             <SignedService>b</SignedService><SignedVersion>2025-11-05</SignedVersion>\
             <Value>VE9QU0VDUkVULWRlbGVnYXRpb24ta2V5</Value></UserDelegationKey>",
            time_text(now - START_BEFORE_NOW),
            time_text(now + life)
        )
    }

    fn key(life: time::Duration) -> DelegationKey {
        DelegationKey::read(answer(NOON, life).as_bytes(), NOON).unwrap()
    }

    fn unreachable() -> Failure {
        Failure::new(FailureClass::NotSent, "no route")
    }

    #[test]
    fn a_key_is_asked_for_from_five_minutes_ago_and_for_seven_days() {
        assert_eq!(
            DelegationKey::request_body(NOON),
            "<?xml version=\"1.0\" encoding=\"utf-8\"?><KeyInfo><Start>2026-11-22T11:55:00Z</Start>\
             <Expiry>2026-11-29T11:55:00Z</Expiry></KeyInfo>"
        );
    }

    #[test]
    fn a_key_is_read_and_does_not_show() {
        let key = key(HOUR);
        assert_eq!(key.delegation.object_id, "oid-1");
        assert_eq!(key.delegation.expires_at, "2026-11-22T13:00:00Z");
        assert_eq!(key.expires_at, datetime!(2026-11-22 13:00:00 UTC));
        assert!(!format!("{key:?}").contains("VE9QU0VD"), "{key:?}");
    }

    #[test]
    fn something_else_or_an_ended_key_is_no_key() {
        for body in ["", "<html/>", "<UserDelegationKey><Value>eA==</Value></UserDelegationKey>"] {
            assert!(DelegationKey::read(body.as_bytes(), NOON).is_none(), "{body}");
        }
        assert!(DelegationKey::read(answer(NOON, HOUR).as_bytes(), NOON + HOUR).is_none());
    }

    /// Answers the nth request, counted from 1, after a second.
    struct KeyServer<F> {
        kept: DelegationKeyCache,
        asked: AtomicUsize,
        answer: F,
    }

    impl<F: Fn(usize) -> Result<DelegationKey, Failure>> KeyServer<F> {
        fn new(answer: F) -> Self {
            Self { kept: DelegationKeyCache::default(), asked: AtomicUsize::new(0), answer }
        }

        async fn get(
            &self,
            now: OffsetDateTime,
            lifetime: time::Duration,
        ) -> Result<OffsetDateTime, Failure> {
            let fetch = async {
                let number = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
                sleep(Duration::from_secs(1)).await;
                (self.answer)(number)
            };
            self.kept.get(|| now, lifetime, fetch).await.map(|key| key.expires_at)
        }

        fn asked(&self) -> usize {
            self.asked.load(Ordering::SeqCst)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn many_callers_make_one_request() {
        let server = KeyServer::new(|_| Ok(key(8 * HOUR)));
        let keys = join_all((0..100).map(|_| server.get(NOON, HOUR))).await;
        assert!(keys.iter().all(|key| key == &Ok(NOON + 8 * HOUR)));
        assert_eq!(server.asked(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn many_callers_share_one_failure_and_the_next_asks_anew() {
        let server =
            KeyServer::new(|number| if number == 1 { Err(unreachable()) } else { Ok(key(8 * HOUR)) });
        let keys = join_all((0..100).map(|_| server.get(NOON, HOUR))).await;
        assert!(keys.iter().all(|key| key == &Err(unreachable())));
        assert_eq!(server.asked(), 1);
        assert!(server.get(NOON, HOUR).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_that_lasts_is_kept_and_one_that_does_not_is_replaced() {
        let server = KeyServer::new(|_| Ok(key(8 * HOUR)));
        server.get(NOON, HOUR).await.unwrap();
        server.get(NOON + 7 * HOUR, HOUR).await.unwrap();
        assert_eq!(server.asked(), 1);
        server.get(NOON + 7 * HOUR, 2 * HOUR).await.unwrap();
        assert_eq!(server.asked(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_of_short_keys_is_not_asked_in_a_loop() {
        let server = KeyServer::new(|_| Ok(key(HOUR)));
        for minutes in [0, 10, 29] {
            let now = NOON + time::Duration::minutes(minutes);
            assert_eq!(server.get(now, 24 * HOUR).await, Ok(NOON + HOUR));
        }
        assert_eq!(server.asked(), 1);
        server.get(NOON + time::Duration::minutes(30), 24 * HOUR).await.unwrap();
        assert_eq!(server.asked(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn the_old_key_serves_to_its_end_while_no_other_can_be_had() {
        let server = KeyServer::new(|number| if number == 1 { Ok(key(HOUR)) } else { Err(unreachable()) });
        server.get(NOON, HOUR).await.unwrap();
        let late = NOON + time::Duration::minutes(40);
        for _ in 0..3 {
            assert_eq!(server.get(late, HOUR).await, Ok(NOON + HOUR));
        }
        assert_eq!(server.asked(), 2, "a failed request rests");
        advance(RENEWAL_PAUSE).await;
        server.get(late, HOUR).await.unwrap();
        assert_eq!(server.asked(), 3);
        assert_eq!(server.get(NOON + HOUR, HOUR).await, Err(unreachable()));
    }
}
