//! The TLS settings of all HTTP clients. Each of them would read the certificates of the system by itself: some hundred
//! files, before the first call of a run.

use std::time::Duration;

use parking_lot::Mutex;
use rustls::ClientConfig;
use rustls_platform_verifier::BuilderVerifierExt as _;
use tokio::time::Instant;

/// How long what was read may be used for another client. A daemon makes new clients for each run, and has to notice
/// certificates that were added or removed.
const FRESH: Duration = Duration::from_secs(10);

/// Settings that were made a moment ago, for the clients of one run.
#[derive(Debug)]
struct Kept<T>(Mutex<Option<(Instant, T)>>);

impl<T: Clone> Kept<T> {
    fn get<E>(&self, make: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        let mut kept = self.0.lock();
        if let Some((at, value)) = &*kept
            && at.elapsed() < FRESH
        {
            return Ok(value.clone());
        }
        let value = make()?;
        *kept = Some((Instant::now(), value.clone()));
        Ok(value)
    }
}

/// The settings for a client that speaks HTTP/1.1 and trusts what the system trusts.
pub(crate) fn settings() -> Result<ClientConfig, rustls::Error> {
    static KEPT: Kept<ClientConfig> = Kept(Mutex::new(None));
    KEPT.get(|| {
        // An error means that a provider is already installed, which is just as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut settings = ClientConfig::builder().with_platform_verifier()?.with_no_client_auth();
        settings.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(settings)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn clients_of_a_run_share_what_was_read_and_a_later_run_reads_it_again() {
        let kept = Kept(Mutex::new(None));
        let mut made = 0;
        let mut get = || {
            kept.get(|| {
                made += 1;
                Ok::<_, ()>(made)
            })
            .unwrap()
        };
        assert_eq!([get(), get(), get()], [1, 1, 1]);
        tokio::time::advance(FRESH).await;
        assert_eq!([get(), get()], [2, 2]);
    }

    #[test]
    fn what_cannot_be_read_is_tried_again() {
        let kept = Kept(Mutex::new(None));
        assert_eq!(kept.get(|| Err("no")), Err("no"));
        assert_eq!(kept.get(|| Ok::<_, &str>(1)), Ok(1));
    }
}
