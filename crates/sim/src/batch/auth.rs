//! Authentication: Shared Key and Entra tokens.

use hyper::StatusCode;
use time::OffsetDateTime;

use super::errors::BatchError;
use super::request::Call;
use super::shared_key::string_to_sign;
use crate::clock::parse_rfc1123;
use crate::identity::Audience;
use crate::scenario::AuthMode;

/// How far a client's clock may be off.
const MOST_SKEW: time::Duration = time::Duration::minutes(15);

impl Call<'_> {
    /// Checks the credential of the request.
    pub(super) fn authenticate(&self) -> Result<(), BatchError> {
        let Some(header) = self.header("authorization") else {
            let detail = "No Authorization header was sent.";
            return Err(BatchError::authentication(StatusCode::UNAUTHORIZED, detail));
        };
        match header.split_once(' ') {
            Some(("SharedKey", credential)) => {
                self.check_allowed(AuthMode::SharedKey, "SharedKey")?;
                self.check_shared_key(credential)
            }
            Some(("Bearer", token)) => {
                self.check_allowed(AuthMode::Entra, "AAD")?;
                // Tokens come from a service whose clock is right, so they are checked by that clock.
                let checked =
                    self.world.tokens.check(token.trim(), Audience::Batch, OffsetDateTime::now_utc());
                checked.map_err(|bad| BatchError::authentication(StatusCode::UNAUTHORIZED, &bad.0))
            }
            _ => {
                let message = "The authentication information is not provided in the correct format. Verify the \
                               value of Authorization header.";
                Err(BatchError::bad_request("InvalidAuthenticationInfo", message))
            }
        }
    }

    fn check_allowed(&self, mode: AuthMode, name: &str) -> Result<(), BatchError> {
        if self.account.scenario.accepts(mode) {
            return Ok(());
        }
        let detail = format!("The specified type of authentication {name} is not allowed for this account.");
        Err(BatchError::authentication(StatusCode::FORBIDDEN, &detail))
    }

    fn check_shared_key(&self, credential: &str) -> Result<(), BatchError> {
        let refused = |detail: &str| Err(BatchError::authentication(StatusCode::FORBIDDEN, detail));
        let account = &self.account.scenario.name;
        let Some((name, signature)) = credential.split_once(':') else {
            return refused("The Shared Key credential is not of the form account:signature.");
        };
        if name != account {
            return refused("The account name of the credential is not the one of this endpoint.");
        }
        let Some(date) = self.header("ocp-date").or_else(|| self.header("date")).and_then(parse_rfc1123)
        else {
            return refused("Neither ocp-date nor Date holds a time of the form of RFC 1123.");
        };
        let skew = (self.date() - date).abs();
        if skew > MOST_SKEW {
            return refused(&format!(
                "The Date header in the request is incorrect: it is {} seconds off the time of the server.",
                skew.whole_seconds()
            ));
        }
        // The documentation requires names in lower case. The Python client signs `timeOut` in its own spelling and
        // is accepted, so the service must compute more than one signature.
        let signed = |query: &[(&str, &str)]| {
            let text = string_to_sign(self.method.as_str(), self.headers, account, self.uri.path(), query);
            self.account.key.verify(&text, signature)
        };
        if signed(&self.query.sorted()) || signed(&self.query.sorted_as_spelled()) {
            return Ok(());
        }
        refused("The MAC signature found in the HTTP request is not the same as any computed signature.")
    }
}
