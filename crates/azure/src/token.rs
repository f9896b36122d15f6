//! Tokens of Microsoft Entra ID: one per scope, renewed before it expires.
//!
//! In the last five minutes of a token, the SDK's credentials fail if a renewal fails, although the token is still
//! valid. Here the old token is used until it expires, and a renewal runs in parallel with the calls that use it.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use azure_core::credentials::AccessToken;
use fleetlogs_model::failure::{Failure, FailureClass};
use fleetlogs_model::scrub;
use fleetlogs_model::timestamp::clamped;
use futures::future::{BoxFuture, FutureExt as _};
use parking_lot::Mutex;
use reqwest::header::HeaderValue;
use time::OffsetDateTime;
use tokio::time::{Instant, timeout};

use crate::cloud::Cloud;
use crate::credential::{EntraSettings, TokenRequest};
use crate::sdk_transport::token_transport;
use crate::token_claims::TokenClaims;

/// How long before its expiry a token is renewed; a token with a short life is renewed after half of it.
const RENEW_BEFORE_END: Duration = Duration::from_secs(5 * 60);

/// How long to wait after a failed renewal, while the old token is used.
const RENEWAL_PAUSE: Duration = Duration::from_secs(10);

/// How long one request for a token may take, with the retries of the SDK.
const FETCH_LIMIT: Duration = Duration::from_secs(30);

type TokenFetch = Box<dyn Fn() -> BoxFuture<'static, Result<AccessToken, Failure>> + Send + Sync>;

/// Tokens for one resource, shared by all accounts of a cloud. Cheap to clone.
#[derive(Clone)]
pub struct TokenSource(Arc<SharedTokens>);

struct SharedTokens {
    /// Which credential it is and why, for people.
    description: String,
    fetch: TokenFetch,
    state: Mutex<TokenState>,
    /// Held by the caller that requests a token, so that many waiters make one request.
    turn: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Default)]
struct TokenState {
    token: Option<Token>,
    /// Counts tokens, so that a refused one can be distinguished from its successor.
    generation: u64,
    /// Counts failures, so that callers that waited for a failed request do not each repeat it.
    failures: u64,
    last_failure: Option<Failure>,
}

/// A token in the form of a request header.
#[derive(Clone)]
pub(crate) struct Token {
    /// `Bearer ...`; hidden in debug output.
    pub(crate) header: HeaderValue,
    generation: u64,
    renew_at: Instant,
    valid_until: Instant,
    /// The time that Entra gave; `valid_until` is what counts here.
    expires_at: OffsetDateTime,
}

impl TokenSource {
    /// Tokens for a resource, such as [`Cloud::batch_resource`] or [`Cloud::storage_resource`]; sends nothing.
    ///
    /// `env` looks up an environment variable. If the credential lacks something, the failure has the class `Auth`
    /// and names what is missing.
    pub fn entra(
        http: reqwest::Client,
        cloud: Cloud,
        resource: &str,
        settings: &EntraSettings,
        env: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, Failure> {
        let request = TokenRequest::new(token_transport(http), cloud, resource, settings, env)?;
        let description = request.description();
        let request = Arc::new(request);
        Ok(Self::described(description, move || {
            let request = request.clone();
            Box::pin(async move { request.send().await })
        }))
    }

    #[cfg(test)]
    pub(crate) fn new(
        fetch: impl Fn() -> BoxFuture<'static, Result<AccessToken, Failure>> + Send + Sync + 'static,
    ) -> Self {
        Self::described("a test".into(), fetch)
    }

    fn described(
        description: String,
        fetch: impl Fn() -> BoxFuture<'static, Result<AccessToken, Failure>> + Send + Sync + 'static,
    ) -> Self {
        let (state, turn) = (Mutex::default(), Arc::default());
        Self(Arc::new(SharedTokens { description, fetch: Box::new(fetch), state, turn }))
    }

    /// Which credential is used and why, for people.
    #[must_use]
    pub fn describe(&self) -> &str {
        &self.0.description
    }

    /// The claims of a token. Requests a token if there is none.
    ///
    /// Cancel safety: may be dropped at any time.
    pub async fn claims(&self) -> Result<TokenClaims, Failure> {
        let token = self.get().await?;
        let text = token.header.to_str().unwrap_or_default();
        Ok(TokenClaims::read(text.strip_prefix("Bearer ").unwrap_or_default(), token.expires_at))
    }

    /// A token that is valid now.
    ///
    /// Cancel safety: may be dropped at any time; the next caller sends a new request.
    pub(crate) async fn get(&self) -> Result<Token, Failure> {
        let failures_seen = {
            let mut state = self.0.state.lock();
            if let Some(token) = state.valid_token() {
                if Instant::now() >= token.renew_at {
                    self.renew_beside(&mut state);
                }
                return Ok(token);
            }
            state.failures
        };
        let _turn = self.0.turn.lock().await;
        {
            let state = self.0.state.lock();
            if let Some(token) = state.valid_token() {
                return Ok(token);
            }
            if state.failures != failures_seen
                && let Some(failure) = &state.last_failure
            {
                return Err(failure.clone());
            }
        }
        self.fetch().await
    }

    /// Discards a token that the service refused, unless a newer one has already replaced it.
    pub(crate) fn invalidate(&self, refused: &Token) {
        let mut state = self.0.state.lock();
        if state.token.as_ref().is_some_and(|token| token.generation == refused.generation) {
            state.token = None;
        }
    }

    /// Starts a renewal, unless one is under way. The old token is used meanwhile.
    fn renew_beside(&self, state: &mut TokenState) {
        let Ok(turn) = self.0.turn.clone().try_lock_owned() else { return };
        if let Some(token) = &mut state.token {
            token.renew_at = Instant::now() + RENEWAL_PAUSE;
        }
        let source = self.clone();
        tokio::spawn(async move {
            let _turn = turn;
            if let Err(failure) = source.fetch().await {
                tracing::warn!(%failure, "a token cannot be renewed; using the old one");
            }
        });
    }

    /// Requests a token. Only the holder of the turn does this.
    async fn fetch(&self) -> Result<Token, Failure> {
        // A library that panics at an odd answer must not end the run.
        let fetch = AssertUnwindSafe(async { (self.0.fetch)().await }).catch_unwind();
        let answer = match timeout(FETCH_LIMIT, fetch).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => {
                let message = "no token: the answer to the request for one cannot be understood";
                Err(Failure::new(FailureClass::Auth, message))
            }
            Err(_) => Err(Failure::new(FailureClass::NotSent, "no token arrived in time")),
        };
        let mut state = self.0.state.lock();
        let token = answer.and_then(|access| state.token_from(&access));
        match &token {
            Ok(token) => state.token = Some(token.clone()),
            Err(failure) => {
                state.failures += 1;
                state.last_failure = Some(failure.clone());
            }
        }
        token
    }
}

impl TokenState {
    fn valid_token(&self) -> Option<Token> {
        self.token.clone().filter(|token| Instant::now() < token.valid_until)
    }

    fn token_from(&mut self, access: &AccessToken) -> Result<Token, Failure> {
        let mut header =
            HeaderValue::try_from(format!("Bearer {}", access.token.secret())).map_err(|_| {
                Failure::new(FailureClass::Auth, "the token contains characters that a header cannot contain")
            })?;
        header.set_sensitive(true);
        scrub::learn(access.token.secret());
        self.generation += 1;
        // Measured with the monotonic clock, so that setting the wall clock does not age the token.
        let now = Instant::now();
        let expires_at = clamped(access.expires_on);
        let life = Duration::try_from(expires_at - OffsetDateTime::now_utc()).unwrap_or_default();
        Ok(Token {
            header,
            generation: self.generation,
            renew_at: now + life - RENEW_BEFORE_END.min(life / 2),
            valid_until: now + life,
            expires_at,
        })
    }
}

impl fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenSource({}, <redacted>)", self.0.description)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::time::{advance, sleep};

    use super::*;
    use crate::token_claims::tests::token_with;

    const HOUR: Duration = Duration::from_secs(3600);
    const MINUTE: Duration = Duration::from_secs(60);

    /// Answers the nth request after a second, with `answer(n)`: the token's life, or a failure.
    fn source(
        answer: impl Fn(usize) -> Result<Duration, Failure> + Send + Sync + 'static,
    ) -> (TokenSource, Arc<AtomicUsize>) {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        let source = TokenSource::new(move || {
            let number = count.fetch_add(1, Ordering::SeqCst) + 1;
            let answer = answer(number);
            Box::pin(async move {
                sleep(Duration::from_secs(1)).await;
                Ok(AccessToken::new(format!("token-{number}"), OffsetDateTime::now_utc() + answer?))
            })
        });
        (source, asked)
    }

    async fn text(source: &TokenSource) -> String {
        source.get().await.unwrap().header.to_str().unwrap().to_owned()
    }

    fn unreachable() -> Failure {
        Failure::new(FailureClass::NotSent, "no route")
    }

    #[tokio::test(start_paused = true)]
    async fn many_waiters_make_one_request() {
        let (source, asked) = source(|_| Ok(HOUR));
        let tokens = futures::future::join_all((0..100).map(|_| text(&source))).await;
        assert!(tokens.iter().all(|token| token == "Bearer token-1"));
        assert_eq!(asked.load(Ordering::SeqCst), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn many_waiters_share_one_failure_and_the_next_caller_asks_anew() {
        let (source, asked) = source(|number| if number == 1 { Err(unreachable()) } else { Ok(HOUR) });
        let answers = futures::future::join_all((0..100).map(|_| source.get())).await;
        assert!(answers.into_iter().all(|answer| answer.err() == Some(unreachable())));
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        assert_eq!(text(&source).await, "Bearer token-2");
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_renewed_beside_its_use_in_its_last_five_minutes() {
        let (source, asked) = source(|_| Ok(HOUR));
        assert_eq!(text(&source).await, "Bearer token-1");
        advance(54 * MINUTE).await;
        assert_eq!(text(&source).await, "Bearer token-1");
        sleep(2 * MINUTE).await;
        assert_eq!(asked.load(Ordering::SeqCst), 1);

        assert_eq!(text(&source).await, "Bearer token-1");
        sleep(Duration::from_secs(2)).await;
        assert_eq!(text(&source).await, "Bearer token-2");
        assert_eq!(asked.load(Ordering::SeqCst), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_short_token_is_renewed_at_half_its_life() {
        let (source, _) = source(|_| Ok(4 * MINUTE));
        text(&source).await;
        advance(MINUTE).await;
        assert_eq!(text(&source).await, "Bearer token-1");
        advance(MINUTE).await;
        text(&source).await;
        sleep(Duration::from_secs(2)).await;
        assert_eq!(text(&source).await, "Bearer token-2");
    }

    #[tokio::test(start_paused = true)]
    async fn the_old_token_serves_to_its_end_while_renewals_fail() {
        let (source, asked) = source(|number| if number == 1 { Ok(HOUR) } else { Err(unreachable()) });
        text(&source).await;
        sleep(56 * MINUTE).await;
        for _ in 0..3 {
            assert_eq!(text(&source).await, "Bearer token-1");
            sleep(Duration::from_secs(2)).await;
        }
        assert_eq!(asked.load(Ordering::SeqCst), 2, "a failed renewal rests");
        sleep(5 * MINUTE).await;
        assert_eq!(source.get().await.err(), Some(unreachable()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_token_is_replaced_once_for_all_who_were_refused() {
        let (source, asked) = source(|_| Ok(HOUR));
        let refused = source.get().await.unwrap();
        for _ in 0..3 {
            source.invalidate(&refused);
            assert_eq!(text(&source).await, "Bearer token-2");
        }
        assert_eq!(asked.load(Ordering::SeqCst), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_for_a_token_does_not_wait_for_ever() {
        let source = TokenSource::new(|| Box::pin(futures::future::pending()));
        assert_eq!(source.get().await.err().unwrap().class, FailureClass::NotSent);
    }

    #[tokio::test(start_paused = true)]
    async fn the_claims_of_a_token_are_told_and_the_token_is_not() {
        let expires_at = OffsetDateTime::now_utc() + HOUR;
        let source = TokenSource::new(move || {
            let token = token_with(r#"{"aud":"https://batch.core.windows.net/","tid":"t-1","oid":"o-1"}"#);
            Box::pin(async move { Ok(AccessToken::new(token, expires_at)) })
        });

        let claims = source.claims().await.unwrap();

        assert_eq!(claims.audience.as_deref(), Some("https://batch.core.windows.net/"));
        assert_eq!((claims.tenant.as_deref(), claims.object_id.as_deref()), (Some("t-1"), Some("o-1")));
        assert_eq!(claims.expires_at, expires_at);
        for shown in [
            format!("{claims:?}"),
            format!("{source:?}"),
            format!("{:?}", source.get().await.unwrap().header),
        ] {
            assert!(!shown.contains("eyJ") && !shown.contains("SIGNATURE"), "{shown}");
        }
    }

    #[tokio::test]
    async fn a_library_that_panics_gives_no_token() {
        let source = TokenSource::new(|| Box::pin(async { panic!("an odd answer") }));
        let failure = source.get().await.err().unwrap();
        assert_eq!(failure.class, FailureClass::Auth, "{failure}");
        assert_eq!(source.get().await.err().unwrap().class, FailureClass::Auth, "and again");
    }

    #[test]
    fn a_source_says_which_credential_it_uses() {
        let http = crate::http::http_client(1).unwrap();
        let settings =
            EntraSettings { credential: crate::CredentialKind::ClientSecret, ..Default::default() };
        let source = |settings: &EntraSettings| {
            TokenSource::entra(http.clone(), Cloud::Public, Cloud::Public.batch_resource(), settings, |_| {
                None
            })
        };
        assert_eq!(
            source(&EntraSettings::default()).unwrap().describe(),
            "developer tools (nothing else is set up: az, then azd)"
        );
        assert_eq!(source(&settings).unwrap_err().class, FailureClass::Auth);
    }
}
