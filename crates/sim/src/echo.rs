//! Repeats the secrets that clients send, in many spellings.
//!
//! Services quote what they were sent, nodes quote the URL that they could not read, and proxies quote whole requests.
//! Whoever stores such a text must find the secret in it however it is spelled.

use std::fmt::Write as _;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use crate::http::Query;
use crate::scenario::Spelling;

const SPELLINGS: [Spelling; 9] = [
    Spelling::Plain,
    Spelling::Encoded,
    Spelling::EncodedTwice,
    Spelling::Unpadded,
    Spelling::Base64Url,
    Spelling::Base64,
    Spelling::Hex,
    Spelling::Json,
    Spelling::Html,
];

/// The secrets that one account was sent last.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    authorization: Option<String>,
    container_url: Option<String>,
}

impl Heard {
    /// Takes note of a request.
    pub(crate) fn hear(&mut self, authorization: Option<&str>, body: Option<&[u8]>) {
        if let Some(text) = authorization {
            self.authorization = Some(text.to_owned());
        }
        let body: Option<Value> = body.and_then(|body| serde_json::from_slice(body).ok());
        if let Some(url) = body.as_ref().and_then(|body| body["containerUrl"].as_str()) {
            self.container_url = Some(url.to_owned());
        }
    }

    /// The credential, the signature and the whole URL, each without what is around it.
    pub(crate) fn secrets(&self) -> Vec<String> {
        let mut secrets = Vec::new();
        if let Some(text) = &self.authorization {
            secrets.push(credential(text).to_owned());
        }
        if let Some(url) = &self.container_url {
            secrets.extend(signature(url));
            secrets.push(url.clone());
        }
        secrets
    }
}

/// The part of an Authorization header that must stay secret.
pub(crate) fn credential(authorization: &str) -> &str {
    let text = authorization.split_once(' ').map_or(authorization, |(_, text)| text);
    if authorization.starts_with("SharedKey ") {
        text.split_once(':').map_or(text, |(_, text)| text)
    } else {
        text
    }
}

/// The decoded signature of a URL with a SAS.
pub(crate) fn signature(url: &str) -> Option<String> {
    let (_, query) = url.split_once('?')?;
    Query::parse(query).get("sig").map(str::to_owned)
}

/// All `secrets` in one text, in one spelling or in all of them.
pub(crate) fn echo(secrets: &[String], spelling: Option<Spelling>) -> String {
    let mut text = String::from("you sent");
    for secret in secrets {
        for each in SPELLINGS.into_iter().filter(|each| spelling.is_none_or(|only| only == *each)) {
            text.push(' ');
            text.push_str(&spell(secret, each));
        }
    }
    text
}

fn spell(text: &str, spelling: Spelling) -> String {
    let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    match spelling {
        Spelling::Plain => text.to_owned(),
        Spelling::Encoded => encoded(text),
        Spelling::EncodedTwice => encoded(&encoded(text)),
        Spelling::Unpadded => text.trim_end_matches('=').to_owned(),
        Spelling::Base64Url => text.trim_end_matches('=').replace('+', "-").replace('/', "_"),
        Spelling::Base64 => BASE64_STANDARD.encode(text),
        Spelling::Hex => text.bytes().fold(String::new(), |mut hex, byte| {
            let written = write!(hex, "{byte:02x}");
            debug_assert!(written.is_ok(), "writing to a String does not fail");
            hex
        }),
        Spelling::Json => {
            text.replace('+', "\\u002B").replace('/', "\\/").replace('=', "\\u003D").replace('&', "\\u0026")
        }
        Spelling::Html => {
            text.replace('&', "&amp;").replace('+', "&#43;").replace('/', "&#47;").replace('=', "&#61;")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_spelled_in_every_way() {
        let spelled: Vec<String> = SPELLINGS.into_iter().map(|spelling| spell("a+b/c==", spelling)).collect();

        assert_eq!(
            spelled,
            [
                "a+b/c==",
                "a%2Bb%2Fc%3D%3D",
                "a%252Bb%252Fc%253D%253D",
                "a+b/c",
                "a-b_c",
                "YStiL2M9PQ==",
                "612b622f633d3d",
                "a\\u002Bb\\/c\\u003D\\u003D",
                "a&#43;b&#47;c&#61;&#61;",
            ]
        );
    }

    #[test]
    fn what_was_heard_is_taken_apart() {
        let mut heard = Heard::default();
        heard.hear(
            Some("SharedKey contoso:c2ln"),
            Some(br#"{"containerUrl":"http://c/x?sr=c&sig=a%2Bb%3D"}"#),
        );

        assert_eq!(heard.secrets(), ["c2ln", "a+b=", "http://c/x?sr=c&sig=a%2Bb%3D"]);
        heard.hear(Some("Bearer eyJ0"), None);
        assert_eq!(heard.secrets()[0], "eyJ0");
    }
}
