use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE, BASE64_URL_SAFE_NO_PAD};

use super::*;
use crate::hex::hex;
use crate::sas::SasUrl;
use crate::secret::Secret;

/// All that a service or a proxy makes of a text that it quotes.
fn spellings(secret: &str) -> Vec<String> {
    let escaped = |of: &dyn Fn(u8) -> String| {
        secret.bytes().map(|b| if b.is_ascii_alphanumeric() { char::from(b).into() } else { of(b) }).collect()
    };
    let percent: String = escaped(&|byte| format!("%{byte:02X}"));
    let unpadded = secret.trim_end_matches('=');
    let mut all = vec![
        secret.to_owned(),
        unpadded.to_owned(),
        percent.clone(),
        percent.to_ascii_lowercase().replace("%3d", ""),
        percent.replace('%', "%25"),
        percent.replace('%', "%2525"),
        secret.replace('+', " "),
        unpadded.replace('+', "-").replace('/', "_"),
        escaped(&|byte| format!("\\u{byte:04x}")),
        escaped(&|byte| format!("\\u{byte:04X}")),
        escaped(&|byte| format!("\\\\u{byte:04x}")),
        escaped(&|byte| format!("\\x{byte:02x}")),
        secret.replace('/', "\\/"),
        escaped(&|byte| format!("&#{byte};")),
        escaped(&|byte| format!("&#x{byte:X};")),
        escaped(&|byte| format!("&amp;#{byte};")),
        secret.replace('+', "&plus;").replace('/', "&sol;").replace('=', "&equals;"),
        hex(secret.as_bytes()),
        hex(secret.as_bytes()).to_ascii_uppercase(),
        secret.to_ascii_lowercase(),
    ];
    if let Ok(bytes) = BASE64_STANDARD.decode(secret) {
        all.push(hex(&bytes));
        all.push(hex(&bytes).to_ascii_uppercase());
    }
    all
}

/// Texts with the secret in them, as Base64.
fn in_base64(secret: &str) -> Vec<String> {
    let percent = secret.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
    let mut all = Vec::new();
    for around in ["", "a", "ab", "https://a.example/?sig="] {
        for text in [secret, &percent] {
            let quoted = format!("{around}{text} and more");
            all.push(BASE64_STANDARD.encode(&quoted));
            all.push(BASE64_URL_SAFE_NO_PAD.encode(&quoted));
            all.push(BASE64_URL_SAFE.encode(&quoted).replace('=', "%3D"));
        }
    }
    all
}

#[test]
fn no_spelling_of_an_own_secret_survives() {
    let signature = "q+Zk/8fWm1NHc2Rz0Tt+Vb7uXy/A4sEoPj9LdGiK5QY=";
    let url = signature.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
    SasUrl::parse(&format!("https://logs.blob.core.windows.net/c?sr=c&sp=cw&sig={url}&se=2036-01-01"))
        .unwrap();
    let key = "MGtleSBmb3Igc2NydWIgdGVzdHMsIG5vIG1vcmUgdGhhbiB0aGlzLiBOb3RoaW5nIGF0IGFsbCEhISE+/w==";
    let (client, opaque) = ("q8Q~made.up+client/secret_1", "opaque.TOKEN-with~0dd_characters0123456789");
    for secret in [key, client, opaque] {
        let _ = Secret::new(secret.to_owned());
    }
    for secret in [signature, key, client, opaque] {
        for spelling in spellings(secret) {
            for quoted in [
                spelling.clone(),
                format!("not found: '{spelling}' in node x"),
                format!("a path with an end, {spelling}%20end"),
                format!("\"{spelling}\""),
            ] {
                assert_eq!(hide(&quoted), quoted.replace(&spelling, HIDDEN));
            }
        }
        for text in in_base64(secret) {
            let shown = hide(&text);
            // What is left are the neighbours.
            assert!(
                shown.contains(HIDDEN) && shown.len() < HIDDEN.len() + 70,
                "{secret} in {text} -> {shown}"
            );
        }
    }
    assert_eq!(hide(&format!("https://a.example/{url}%20end")), "https://a.<redacted>%20end");
    assert_eq!(hide_in_name(&format!("d {signature}")), "d <redacted>");
}

#[test]
fn the_look_of_a_stranger_s_secret_is_known() {
    let hash = "U3fMjMlgLHo/As1rxpbNRANd/PZca3/eckuVKasf6B4=";
    let jwt = "eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiJ9.eyJTRUNSRVQiOjF9.SECRETSECRET";
    for (text, expected) in [
        ("x?sp=w&sig=AbC%2FSECRET%3D&se=1", "x?sp=w&sig=<redacted>&se=1"),
        ("x?sp=w&amp;sig=AbC&#43;SECRET&#x3D;&amp;se=1", "x?sp=w&amp;sig=<redacted>&amp;se=1"),
        ("sp%3Dw%26sig%3DSECRET%253D%26se%3D1", "sp%3Dw%26sig%3D<redacted>%26se%3D1"),
        ("sig%253DSECRET%2526se", "sig%253D<redacted>%2526se"),
        (r"w\u0026SIG\u003dAbC\u002BSECRET\u003d\u0026se", r"w\u0026SIG\u003d<redacted>\u0026se"),
        (r#"{"u":"a?sig=SECRET\/1\n"}"#, r#"{"u":"a?sig=<redacted>\n"}"#),
        (r#"{"sig":"SECRET/89012345678901"}"#, r#"{"sig":"<redacted>"}"#),
        ("AccountKey=SECRETSECRET==;EndpointSuffix=x", "AccountKey=<redacted>;EndpointSuffix=x"),
        ("Authorization: Bearer OPAQUE-1~x, next", "Authorization: Bearer <redacted>, next"),
        ("authorization%3A%20bearer%20SECRETSECRETSECRET00", "authorization%3A%20bearer%20<redacted>"),
        ("SharedKey contoso:SECRETSECRETSECRET", "SharedKey contoso:<redacted>"),
        ("Proxy-Authorization: Basic U0VDUkVUOnNlY3JldA==", "Proxy-Authorization: Basic <redacted>"),
        ("https://user:SECRET@proxy.example:3128/x", "https://user:<redacted>@proxy.example:3128/x"),
        (jwt, "<redacted>"),
        (&format!("token={jwt}"), "token=<redacted>"),
        (&format!("the MAC signature '{hash}' is wrong"), "the MAC signature '<redacted>' is wrong"),
        (&format!("/{}%20end", hash.replace('/', "%2F").replace('=', "%3D")), "/<redacted>%20end"),
        (&hash.replace('/', "_").replace('=', "&#61;"), "<redacted>"),
    ] {
        assert_eq!(hide(text), expected, "{text}");
        // What is clean stays as it is.
        assert_eq!(hide(expected), expected);
    }
}

#[test]
fn ordinary_texts_stay() {
    for text in [
        "",
        "node tvmps_0123456789012345678901234567890123456789012345678901234567890123_d is ready",
        "contoso-22EC0123456789AB/pool a/tvmps_0123456789  abcdef_d/0e9d2f5a-3c6b-4b1c-9d7e-000000000001",
        "agent 1.12.15+19e1d5a0c4c2b0d8f1f5a0e8f6f7d3b2a1c0e9d8",
        "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "script-src 'sha256-U3fMjMlgLHo/As1rxpbNRANd/PZca3/eckuVKasf6B4='",
        "url(data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQ=)",
        "sig=<redacted>",
        "sig=...",
        "design=5 and design: something rather long, longer than twenty",
        "the bearer of this",
        "WWW-Authenticate: Bearer <redacted>",
        "Basic authentication is off",
        "heyJude-pool-for-all-the-renderings/tvmps_1",
        "https://contoso.westeurope.batch.azure.com:443/pools?api-version=2024-07-01.20.0&$filter=a%20eq%20'b'",
        "https://a.example/?mail=x:y@b.example",
        "/subscriptions/0e9d2f5a-3c6b-4b1c-9d7e-000000000001/resourceGroups/Rg1/providers/Microsoft.Batch/x",
        r"C:\new\u00zz\programs 100% &c; 5 &#x; 7",
    ] {
        assert!(matches!(hide(text), Cow::Borrowed(_)), "{text} -> {}", hide(text));
        assert!(matches!(hide_in_name(text), Cow::Borrowed(_)), "{text}");
    }
}

#[test]
fn a_short_secret_does_not_change_names() {
    let _ = Secret::new("renderfarm".into());
    assert_eq!(hide("hook says RENDERFARM"), "hook says <redacted>");
    assert_eq!(hide_in_name("acct/renderfarm-7/tvm-1"), "acct/renderfarm-7/tvm-1");
    let _ = Secret::new("short".into());
    assert_eq!(hide("a short one"), "a short one");
}

#[test]
fn of_a_url_or_a_connection_string_only_the_secret_part_is_hidden() {
    for text in [
        "https://hooks.example/services/T0AAAAAAA/B0AAAAAAA/Zx81kQpYw27TnVb5LcRd9s0E",
        "https://logic.example:443/workflows/w1/triggers/manual?api-version=1&sig=Lk3m-9sZq2_TtVbXw7Ye1Rr5Uu8Oo4Pp",
        "DefaultEndpointsProtocol=https;AccountName=logs;AccountKey=Yk9vTXdldDFzYW1wbGVLZXkwMDAwMDA3Nw==;EndpointSuffix=x",
        "https://user:Pa55-w0rd-9x@proxy.example:8080",
    ] {
        let _ = Secret::new(text.to_owned());
    }
    for (text, expected) in [
        ("no hook Zx81kQpYw27TnVb5LcRd9s0E at hooks.example", "no hook <redacted> at hooks.example"),
        ("signature Lk3m+9sZq2/TtVbXw7Ye1Rr5Uu8Oo4Pp", "signature <redacted>"),
        ("key Yk9vTXdldDFzYW1wbGVLZXkwMDAwMDA3Nw of logs", "key <redacted> of logs"),
        ("login Pa55-w0rd-9x at proxy.example:8080", "login <redacted> at proxy.example:8080"),
        ("https://logic.example:443/workflows/w1", "https://logic.example:443/workflows/w1"),
    ] {
        assert_eq!(hide(text), expected);
    }
}

#[test]
fn a_secret_that_was_cut_off_is_hidden_as_far_as_it_goes() {
    let _ = Secret::new("T7cut/Off0+secretOfAnAccount99999999zzzzzzzz".into());
    assert_eq!(hide("…T7cut/Off0+secretOfAn…"), "…<redacted>…");
    assert_eq!(hide("T7cut/Off0+sec"), "T7cut/Off0+sec");
}

#[test]
fn no_text_takes_long() {
    for part in
        ["sig=", "sig:", " ", "=", "a:", "://a:", "eyJ", "xeyJ", "bearer ", "%25", "\\", "&", "&#", "a"]
    {
        let _ = hide(&part.repeat(100_000 / part.len()));
    }
}

#[test]
fn characters_of_several_bytes_are_not_cut() {
    let _ = Secret::new("pässwörd-ünd-möhr".into());
    assert_eq!(hide("é pässwörd-ünd-möhr é"), "é <redacted> é");
    assert_eq!(hide("p%C3%A4ssw%C3%B6rd-%C3%BCnd-m%C3%B6hr"), "<redacted>");
    assert_eq!(hide("sig=äöüäöü é"), "sig=<redacted> é");
}

#[test]
fn a_file_whose_name_begins_with_an_equals_sign_keeps_its_name() {
    let directory =
        "contoso-22EC5BF4ED3872E9/mixed-case/tvmps_c6a029ffa5999f97f188bf307cbbc038ca64ded8_d/f4608462-a3c4";
    for name in ["=cmd.log", "'=f", "a=b.log"] {
        let blob = format!("{directory}/{name}");
        assert_eq!((&*hide_in_name(&blob), &*hide(&blob)), (&*blob, &*blob));
    }
}

#[test]
fn an_escape_in_front_of_a_secret_hides_none_of_it_from_the_search() {
    let secret = "5eed5eed-Made-Up-Secret-1";
    learn(secret);
    for before in ["%2", "\\u002", "%25", "&#x2b;%", "sig%253"] {
        let shown = hide(&format!("{before}{secret} and more")).into_owned();
        assert!(!shown.contains("Made-Up-Secret-1"), "{shown}");
    }
}
