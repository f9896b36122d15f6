//! Pages: `maxresults`, skip tokens, and links to the next page.

use super::errors::BatchError;
use super::json::Json;
use super::request::Call;
use crate::http::decode;
use crate::scenario::{Fault, FaultKind, FloodPart};

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

/// Behind every list: pages from here on are empty.
const BEHIND: Position = Position { place: u32::MAX, after_empty: true };

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
    fn link(&self, position: Position, fault: Option<&Fault>) -> String {
        let kind = fault.map(|fault| fault.kind);
        let base = match kind {
            Some(FaultKind::NextLinkElsewhere) => format!("http://{}", self.world.storage_address),
            _ => self.base(),
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
        let Some(fault) = fault else { return link };
        match fault.kind {
            FaultKind::NextLinkTurn => {
                let here = self.query.get("$skiptoken").unwrap_or("");
                link.push(if here.trim_end_matches('-').ends_with('a') { 'b' } else { 'a' });
            }
            FaultKind::NextLinkNew => link.push_str(&self.request_id.simple().to_string()),
            FaultKind::Flood if fault.part == FloodPart::Link => {}
            _ => return link,
        }
        let size = fault.size.map_or(0, |size| usize::try_from(size.0).unwrap_or(usize::MAX));
        link.extend(std::iter::repeat_n('-', size.saturating_sub(link.len())));
        link
    }

    /// Adds `odata.nextLink` if there is a next page.
    pub(super) fn push_link(
        &self,
        json: &mut Json,
        here: Position,
        next: Option<Position>,
        fault: Option<&Fault>,
    ) {
        let target = match fault.map(|fault| fault.kind) {
            Some(FaultKind::NextLinkLoop) => Some(here),
            Some(FaultKind::NextLinkElsewhere) => Some(next.unwrap_or(here)),
            Some(FaultKind::NextLinkTurn | FaultKind::NextLinkNew) => Some(next.unwrap_or(BEHIND)),
            Some(FaultKind::Flood) if fault.is_some_and(|fault| fault.part == FloodPart::Link) => {
                Some(next.unwrap_or(BEHIND))
            }
            _ => next,
        };
        if let Some(target) = target {
            json.text("odata.nextLink", &self.link(target, fault));
        }
    }

    /// Adds items to a list page until it has the size that a fault asks for.
    pub(super) fn push_flood(json: &mut Json, fault: Option<&Fault>) {
        let Some(fault) = fault.filter(|fault| fault.kind == FaultKind::Flood) else { return };
        let size = fault.size.map_or(0, |size| usize::try_from(size.0).unwrap_or(usize::MAX));
        match fault.part {
            FloodPart::Items => {
                for number in 0_u64.. {
                    if json.len() >= size {
                        break;
                    }
                    json.raw_item(&format!("{{\"id\":\"{number:x}\"}}"));
                }
            }
            FloodPart::Errors => {
                let errors = vec!["{\"a\":1}"; size.saturating_sub(json.len()) / 8].join(",");
                let names = ["errors", "resizeErrors"].map(|name| format!("\"{name}\":[{errors}]"));
                let state = "\"id\":\"flooded\",\"state\":\"unusable\"";
                // Nodes and pools have different names for them, and no client reads both.
                json.raw_item(&format!("{{{state},{}}}", names.join(",")));
            }
            FloodPart::Link | FloodPart::Directory => {}
        }
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
        let after_empty = match flags.get(..3)? {
            "0$1" => false,
            "1$1" => true,
            _ => return None,
        };
        let position = Position { place: u32::from_str_radix(place, 16).ok()?, after_empty };
        let good = self.write_token(position);
        let bent = self.account.faults.bends_links() && token.starts_with(&good);
        (good == token || bent).then_some(position)
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
