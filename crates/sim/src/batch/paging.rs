//! Pages: `maxresults`, skip tokens, and links to the next page.

use super::errors::BatchError;
use super::request::Call;
use crate::http::decode;

/// The largest page of the service.
const LARGEST: u32 = 1000;

/// Where a page begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Position {
    /// Position of the first member to look at.
    pub(super) place: u32,
    /// An empty page was already given here; the next one must not be empty again.
    pub(super) after_empty: bool,
}

/// What a fault does to the link of a page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum LinkFault {
    #[default]
    None,
    /// To the same page.
    Loop,
    /// To another port, where a client must not send its credential.
    Elsewhere,
}

impl Call<'_> {
    pub(super) fn page_size(&self) -> Result<u32, BatchError> {
        let ceiling = self.account.scenario.page_size;
        let Some(text) = self.query.get("maxresults") else { return Ok(ceiling) };
        match text.parse::<i64>() {
            Ok(most) if most < 1 => {
                Err(BatchError::query_value("maxresults", text, "MaxResults cannot be less than 1"))
            }
            Ok(most) if most > i64::from(LARGEST) => {
                let message = "One of the query parameters specified in the request URI is outside the permissible range.";
                Err(BatchError::bad_request("OutOfRangeQueryParameterValue", message)
                    .with("QueryParameterName", "maxresults")
                    .with("QueryParameterValue", text)
                    .with("MinimumAllowed", "1")
                    .with("MaximumAllowed", "1000"))
            }
            Ok(most) => Ok(ceiling.min(u32::try_from(most).unwrap_or(LARGEST))),
            Err(_) => Err(BatchError::query_value("maxresults", text, "MaxResults is not a number")),
        }
    }

    /// Where this page begins; the beginning of the list if there is no token.
    pub(super) fn position(&self) -> Result<Position, BatchError> {
        let Some(token) = self.query.get("$skiptoken") else { return Ok(Position::default()) };
        self.read_token(token)
            .ok_or_else(|| BatchError::query_value("$skiptoken", token, "The token is not one of this list"))
    }

    /// The absolute URL of the page that begins at `position`: the original query with a token that is not escaped.
    pub(super) fn link(&self, position: Position, fault: LinkFault) -> String {
        let base = match fault {
            LinkFault::Elsewhere => format!("http://{}", self.world.storage_address),
            LinkFault::None | LinkFault::Loop => self.base(),
        };
        let mut link = format!("{base}{}?", self.uri.path());
        for pair in self.uri.query().unwrap_or("").split('&').filter(|pair| !pair.is_empty()) {
            let name = pair.split('=').next().unwrap_or("");
            if !decode(name).eq_ignore_ascii_case("$skiptoken") {
                link.push_str(pair);
                link.push('&');
            }
        }
        link.push_str("$skiptoken=");
        link.push_str(&self.write_token(position));
        link
    }

    /// Looks like the real ones, including `/ ^ : $`. No `+`: it is unknown how that would be decoded.
    fn write_token(&self, position: Position) -> String {
        let seal = self.seal(position);
        let (one, other) = seal.split_at(seal.len() / 2);
        let Position { place, after_empty } = position;
        format!("WATV2:{one}/{other}^m^{place:08X}:{}$1", u8::from(after_empty))
    }

    fn read_token(&self, token: &str) -> Option<Position> {
        let (_, payload) = token.split_once("^m^")?;
        let (place, flags) = payload.split_once(':')?;
        let after_empty = match flags {
            "0$1" => false,
            "1$1" => true,
            _ => return None,
        };
        let position = Position { place: u32::from_str_radix(place, 16).ok()?, after_empty };
        (self.write_token(position) == token).then_some(position)
    }

    /// Binds a token to its account, list and filter. The api-version is not included, because clients are known to
    /// change it.
    fn seal(&self, position: Position) -> String {
        let filter = self.query.get("$filter").unwrap_or("");
        let Position { place, after_empty } = position;
        let text = format!("{}\n{filter}\n{place} {after_empty}", self.uri.path());
        self.account.key.sign(&text).trim_end_matches('=').replace('+', "-")
    }
}
