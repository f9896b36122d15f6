//! A SAS for a container that is used for longer than one SAS lives: the shared state of a schedule, and the journal of a
//! run.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use fleetlogs_model::failure::Failure;
use fleetlogs_model::sas::SasUrl;
use time::OffsetDateTime;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

/// A SAS with less time left than this is replaced.
const SPARE: Duration = Duration::from_secs(15 * 60);

/// Pause between two requests for another SAS while the old one is still valid.
const PAUSE: Duration = Duration::from_secs(60);

/// The source of a SAS for one container. It is called for the first SAS, for another one before that one expires, and
/// when storage refuses one.
pub type SasSource =
    Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Result<SasUrl, Failure>> + Send>> + Send + Sync>;

/// A SAS that is replaced in time.
pub(crate) struct FreshSas {
    source: SasSource,
    current: Mutex<Option<CurrentSas>>,
}

struct CurrentSas {
    sas: SasUrl,
    asked_at: Instant,
}

impl FreshSas {
    pub(crate) fn new(source: SasSource) -> Self {
        Self { source, current: Mutex::default() }
    }

    /// The current SAS, or a newer one if it expires soon and a newer one arrives within `patience`: the call that needs
    /// it must have time left to be sent with the old SAS.
    pub(crate) async fn get(&self, patience: Duration) -> Result<SasUrl, Failure> {
        let mut current = self.current.lock().await;
        if let Some(CurrentSas { sas, asked_at }) = &*current {
            let lasts = |ends: OffsetDateTime| ends - OffsetDateTime::now_utc() > SPARE;
            if sas.expires_at.is_none_or(lasts) || asked_at.elapsed() < PAUSE {
                return Ok(sas.clone());
            }
        }
        let asked_at = Instant::now();
        let sas = match &*current {
            None => (self.source)().await?,
            Some(old) => match timeout(patience, (self.source)()).await {
                Ok(Ok(sas)) => sas,
                asked => {
                    let failure = asked.ok().and_then(Result::err).map(|failure| failure.to_string());
                    tracing::debug!(failure, "no newer SAS for the container; using the old one");
                    old.sas.clone()
                }
            },
        };
        *current = Some(CurrentSas { sas: sas.clone(), asked_at });
        Ok(sas)
    }

    /// Storage refused the SAS: the next call asks for another one.
    pub(crate) async fn forget(&self) {
        self.current.lock().await.take();
    }
}
