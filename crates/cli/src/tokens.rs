//! Sources of tokens: one per resource, shared by every caller.

use fleetlogs_azure::{Client, Cloud, EntraSettings, TokenSource};
use parking_lot::Mutex;

use crate::error::{CliError, Refusal};

/// The sources of this process.
pub(crate) struct Tokens {
    http: Client,
    entra: EntraSettings,
    known: Mutex<Vec<(Cloud, String, TokenSource)>>,
}

impl Tokens {
    pub(crate) fn new(http: Client, entra: EntraSettings) -> Self {
        Self { http, entra, known: Mutex::default() }
    }

    /// The source of tokens for a resource. Requests no token yet.
    pub(crate) fn of(&self, cloud: Cloud, resource: &str) -> Result<TokenSource, CliError> {
        let mut known = self.known.lock();
        let same = |(of, name, _): &&(Cloud, String, TokenSource)| *of == cloud && name == resource;
        if let Some((.., source)) = known.iter().find(same) {
            return Ok(source.clone());
        }
        let env = |name: &str| std::env::var(name).ok();
        let source =
            TokenSource::entra(self.http.clone(), cloud, resource, &self.entra, env).map_err(|failure| {
                let help =
                    "set what is missing, in `[entra]` or the environment, or choose another `credential`";
                CliError::refused([Refusal::new(failure.to_string(), help).about("entra")])
            })?;
        known.push((cloud, resource.to_owned(), source.clone()));
        Ok(source)
    }
}
