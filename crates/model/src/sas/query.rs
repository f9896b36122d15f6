//! The query of a SAS, parameter by parameter: what has one meaning is mended, the rest is refused by name.
//!
//! The signature covers the decoded values, so a mend changes how a value is written, never the value. The names of
//! the parameters are those of the documentation of service, user delegation and account SAS.

use std::collections::BTreeSet;
use std::fmt;

use url::form_urlencoded;
use zeroize::Zeroizing;

use super::error::SasUrlError;

/// Every parameter of a SAS, up to the version [`NEWEST_VERSION`].
const KNOWN: [&str; 31] = [
    "sv", "ss", "srt", "sr", "sp", "st", "se", "sip", "spr", "si", "sig", "skoid", "sktid", "skt", "ske",
    "sks", "skv", "saoid", "suoid", "scid", "sdd", "ses", "rscc", "rscd", "rsce", "rscl", "rsct", "skdutid",
    "sduoid", "srh", "srq",
];

/// A later `sv` may bring parameters that are not known here.
const NEWEST_VERSION: &str = "2026-06-06";

/// Parameters of a list request: tools and the portal copy them along with the SAS, and Batch appends the names of
/// blobs to such a URL in vain.
const OF_A_LIST: [(&str, &str); 2] = [("restype", "container"), ("comp", "list")];

/// The longest name of a foreign parameter that a message quotes.
const LONGEST_NAME: usize = 24;

/// What was mended in the text of a SAS: it has one meaning, but not for storage.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SasMend {
    /// A second question mark in front of the query.
    QuestionMark,
    /// `&amp;`, as in HTML and XML.
    Html,
    /// `\u0026`, as in JSON.
    Json,
    /// A backslash or a caret, by which shells quote `&`.
    ShellEscape,
    /// `%%`, as in a batch file.
    DoubledPercent,
    /// A bare `+` in a value, which a server takes for a space.
    Plus(String),
    /// A value that was percent-encoded twice.
    EncodedTwice(String),
    /// The name of a parameter in capitals.
    Capitals(String),
    /// A parameter that stands there twice with the same value.
    Repeated(String),
    /// A parameter without a name and a value.
    Empty,
    /// A parameter of a list request.
    OfAList(String),
}

impl fmt::Display for SasMend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::QuestionMark => f.write_str("a second `?` was removed"),
            Self::Html => f.write_str("`&amp;` became `&`"),
            Self::Json => f.write_str(r"`\u0026` became `&`"),
            Self::ShellEscape => f.write_str("the escape characters of a shell were removed"),
            Self::DoubledPercent => f.write_str("`%%` became `%`"),
            Self::Plus(name) => write!(f, "`+` in `{name}` became `%2B`"),
            Self::EncodedTwice(name) => write!(f, "`{name}` was percent-encoded twice, and is now once"),
            Self::Capitals(name) => write!(f, "`{}` became `{name}`", name.to_ascii_uppercase()),
            Self::Repeated(name) => write!(f, "a second `{name}` with the same value was removed"),
            Self::Empty => f.write_str("an empty parameter was removed"),
            Self::OfAList(parameter) => write!(f, "`{parameter}` was removed"),
        }
    }
}

/// A query that storage understands. It has no debug output, because it holds the signature.
#[derive(Default)]
pub(super) struct SasQuery {
    /// Name, and value as it is sent.
    parameters: Vec<(String, Zeroizing<String>)>,
    pub(super) mends: BTreeSet<SasMend>,
}

impl SasQuery {
    /// Reads what stands behind the question mark.
    pub(super) fn read(text: &str) -> Result<Self, SasUrlError> {
        let mut query = Self::default();
        if text.is_empty() {
            return Err(SasUrlError::NoSas);
        }
        let text = query.without_escapes(text);
        for pair in text.split('&') {
            query.take(pair)?;
        }
        // Without these, nothing else is worth a word.
        if query.value("sig").is_none_or(|signature| signature.is_empty()) {
            let is_first_alone = !text.contains('&') && text.contains('=');
            return Err(if is_first_alone { SasUrlError::CutOff } else { SasUrlError::NoSignature });
        }
        query.check_percents()?;
        query.check_names()?;
        Ok(query)
    }

    /// The decoded value of a parameter.
    pub(super) fn value(&self, name: &str) -> Option<Zeroizing<String>> {
        let (_, raw) = self.parameters.iter().find(|(known, _)| known == name)?;
        Some(decoded(raw))
    }

    /// The query as it is sent.
    pub(super) fn text(&self) -> Zeroizing<String> {
        let length = self.parameters.iter().map(|(name, value)| name.len() + value.len() + 2).sum();
        let mut text = Zeroizing::new(String::with_capacity(length));
        for (name, value) in &self.parameters {
            if !text.is_empty() {
                text.push('&');
            }
            text.push_str(name);
            text.push('=');
            text.push_str(value);
        }
        text
    }

    /// Undoes what a document or a shell needs around a URL. None of these characters can be in a SAS.
    fn without_escapes(&mut self, text: &str) -> Zeroizing<String> {
        let mut text = Zeroizing::new(text.to_owned());
        let mut replace = |text: &mut Zeroizing<String>, from: &str, to: &str, mend: SasMend| {
            if text.contains(from) {
                *text = Zeroizing::new(text.replace(from, to));
                self.mends.insert(mend);
            }
        };
        replace(&mut text, "&amp;", "&", SasMend::Html);
        replace(&mut text, r"\u0026", "&", SasMend::Json);
        replace(&mut text, r"\", "", SasMend::ShellEscape);
        replace(&mut text, "^", "", SasMend::ShellEscape);
        while text.contains("%%") {
            replace(&mut text, "%%", "%", SasMend::DoubledPercent);
        }
        let shorter = text.trim_start_matches('?');
        if shorter.len() < text.len() {
            self.mends.insert(SasMend::QuestionMark);
        }
        Zeroizing::new(shorter.to_owned())
    }

    fn take(&mut self, pair: &str) -> Result<(), SasUrlError> {
        if pair.is_empty() {
            self.mends.insert(SasMend::Empty);
            return Ok(());
        }
        let (written, value) = pair.split_once('=').unwrap_or((pair, ""));
        let lower = written.to_ascii_lowercase();
        let is_known = KNOWN.contains(&lower.as_str()) || OF_A_LIST.iter().any(|(known, _)| lower == *known);
        // How a later version spells its parameters is not known.
        let name = if is_known { lower } else { written.to_owned() };
        if OF_A_LIST.iter().any(|(known, part)| name == *known && value.eq_ignore_ascii_case(part)) {
            self.mends.insert(SasMend::OfAList(format!("{name}={}", value.to_ascii_lowercase())));
            return Ok(());
        }
        if name != written && KNOWN.contains(&name.as_str()) {
            self.mends.insert(SasMend::Capitals(name.clone()));
        }
        let mut value = Zeroizing::new(value.to_owned());
        if value.contains('+') && !is_free_text(&name) {
            // These values have no space, which is what a server makes of it.
            value = Zeroizing::new(value.replace('+', "%2B"));
            self.mends.insert(SasMend::Plus(quotable(&name)));
        }
        if !is_free_text(&name) && has_escape(&decoded(&value)) {
            // What was a `+` before or after it was encoded twice must not become one again.
            value = Zeroizing::new(decoded(&value).replace('+', "%2B"));
            self.mends.insert(SasMend::EncodedTwice(quotable(&name)));
        }
        match self.value(&name) {
            None => self.parameters.push((name, value)),
            Some(first) if first == decoded(&value) => {
                self.mends.insert(SasMend::Repeated(quotable(&name)));
            }
            Some(_) => return Err(SasUrlError::Repeated(quotable(&name))),
        }
        Ok(())
    }

    /// Refuses names and values whose percent signs are gone or broken. What they stood for is lost.
    fn check_percents(&self) -> Result<(), SasUrlError> {
        for (name, value) in &self.parameters {
            // A broken one in a name would be sent as part of another.
            if has_broken_escape(value) || has_broken_escape(name) {
                return Err(SasUrlError::BrokenEscape(quotable(name)));
            }
            let is_time = matches!(name.as_str(), "st" | "se" | "skt" | "ske");
            if is_time && is_time_without_percents(value)
                || name == "sig" && is_signature_without_percents(value)
            {
                return Err(SasUrlError::PercentsGone(name.clone()));
            }
        }
        Ok(())
    }

    fn check_names(&self) -> Result<(), SasUrlError> {
        if self.value("sv").is_some_and(|version| version.as_str() > NEWEST_VERSION) {
            return Ok(());
        }
        match self.parameters.iter().find(|(name, _)| !KNOWN.contains(&name.as_str())) {
            Some((name, _)) => Err(SasUrlError::UnknownParameter(quotable(name))),
            None => Ok(()),
        }
    }
}

fn decoded(raw: &str) -> Zeroizing<String> {
    let pair = Zeroizing::new(format!("v={raw}"));
    let value = form_urlencoded::parse(pair.as_bytes()).next().map(|(_, value)| value.into_owned());
    Zeroizing::new(value.unwrap_or_default())
}

/// Whether a value may have any character: the name of a policy, headers of answers and requests.
fn is_free_text(name: &str) -> bool {
    matches!(name, "si" | "rscc" | "rscd" | "rsce" | "rscl" | "rsct" | "srh" | "srq")
}

/// Whether a text begins with `%` and two hexadecimal digits.
fn is_escape(text: &str) -> bool {
    let mut digits = text.bytes().skip(1);
    let mut is_digit = || digits.next().is_some_and(|byte| byte.is_ascii_hexdigit());
    text.starts_with('%') && is_digit() && is_digit()
}

fn has_escape(text: &str) -> bool {
    text.match_indices('%').any(|(at, _)| is_escape(&text[at..]))
}

fn has_broken_escape(text: &str) -> bool {
    text.match_indices('%').any(|(at, _)| !is_escape(&text[at..]))
}

/// `2036-02-18T14A33A01Z`: a batch file took `%3` for its third argument, and only `A` is left of `%3A`.
fn is_time_without_percents(value: &str) -> bool {
    let Some((_, clock)) = value.split_once('T') else { return false };
    clock.as_bytes().get(2) == Some(&b'A')
}

/// 44 characters that end with the `D` of `%3D`: the Base64 of 32 bytes ends with `=`.
fn is_signature_without_percents(value: &str) -> bool {
    value.len() == 44 && value.ends_with('D') && !value.contains(['%', '='])
}

/// The name of a parameter for a message; nothing that could be a part of a secret.
fn quotable(name: &str) -> String {
    let is_name =
        name.len() <= LONGEST_NAME && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if is_name && !name.is_empty() { name.to_owned() } else { "…".to_owned() }
}
