//! Signs shared access signatures: pure functions from texts to a query.
//!
//! The layouts follow the documentation of service, user delegation and account SAS for one version. Newer versions
//! have more lines, so the version is fixed here and cannot be chosen.

use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use fleetlogs_model::sas::PERMISSION_ORDER;
use fleetlogs_model::scrub;
use fleetlogs_model::timestamp::in_utc;
use hmac::{Hmac, KeyInit, Mac};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::Sha256;
use time::OffsetDateTime;
use time::macros::format_description;
use url::Url;

use crate::account_key::key_bytes;

/// `sv`: 16 lines for a service SAS, 24 for a user delegation SAS. Emulators support it as well.
const SIGNED_VERSION: &str = "2022-11-02";

/// All characters except those that are never encoded (RFC 3986, unreserved).
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A signing key. It never shows its value.
#[derive(Clone)]
pub(crate) struct SigningKey(Hmac<Sha256>);

impl SigningKey {
    /// Takes a key in Base64; none if it is empty or not Base64.
    pub(crate) fn from_base64(text: &str) -> Option<Self> {
        let key = key_bytes(text).ok()?;
        Hmac::new_from_slice(&key).ok().map(Self)
    }

    /// HMAC-SHA256 in Base64.
    pub(crate) fn sign(&self, text: &str) -> String {
        let mut mac = self.0.clone();
        mac.update(text.as_bytes());
        BASE64_STANDARD.encode(mac.finalize().into_bytes())
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(<redacted>)")
    }
}

/// A user delegation key: storage issues it for a few days to the holder of a token.
///
/// The texts go into the SAS exactly as storage spells them.
#[derive(Clone, Debug)]
pub(crate) struct UserDelegation {
    /// `skoid`: the identity that requested it.
    pub(crate) object_id: String,
    /// `sktid`: the directory of `skoid`.
    pub(crate) tenant_id: String,
    /// `skt`.
    pub(crate) starts_at: String,
    /// `ske`.
    pub(crate) expires_at: String,
    /// `sks`.
    pub(crate) service: String,
    /// `skv`.
    pub(crate) version: String,
    pub(crate) key: SigningKey,
}

/// The protocols with which a SAS may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Https,
    /// For emulators on this machine.
    HttpsOrHttp,
}

impl Protocol {
    /// Of an endpoint.
    pub(crate) fn of(endpoint: &Url) -> Self {
        if endpoint.scheme() == "https" { Self::Https } else { Self::HttpsOrHttp }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Https => "https",
            Self::HttpsOrHttp => "https,http",
        }
    }
}

/// The letters of `sp` in the order that storage requires; none if a letter is unknown, or without any letter.
pub(crate) fn ordered_permissions(letters: &str) -> Option<String> {
    let known = !letters.is_empty() && letters.chars().all(|letter| PERMISSION_ORDER.contains(letter));
    known.then(|| PERMISSION_ORDER.chars().filter(|letter| letters.contains(*letter)).collect())
}

/// A time in the form of a SAS, to the second: `2025-01-02T00:00:00Z`.
pub(crate) fn time_text(moment: OffsetDateTime) -> String {
    let form = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
    in_utc(moment).format(form).expect("a UTC time can be written so")
}

/// A SAS for one container.
#[derive(Debug)]
pub(crate) struct ContainerSas<'a> {
    pub(crate) account: &'a str,
    pub(crate) container: &'a str,
    /// From [`ordered_permissions`].
    pub(crate) permissions: &'a str,
    /// From [`time_text`], like the expiry.
    pub(crate) starts_at: Option<&'a str>,
    pub(crate) expires_at: &'a str,
    pub(crate) protocol: Protocol,
}

impl ContainerSas<'_> {
    /// The query of a service SAS, signed with the account's key. It is a secret.
    pub(crate) fn with_account_key(&self, key: &SigningKey) -> String {
        let signature = key.sign(&self.service_text());
        join_query(&[&self.own_params()[..], &[("sig", Some(&signature))]].concat())
    }

    /// The query of a user delegation SAS. It is a secret.
    pub(crate) fn with_delegation(&self, delegation: &UserDelegation) -> String {
        let signature = delegation.key.sign(&self.delegation_text(delegation));
        let of_key = [
            ("skoid", Some(delegation.object_id.as_str())),
            ("sktid", Some(&delegation.tenant_id)),
            ("skt", Some(&delegation.starts_at)),
            ("ske", Some(&delegation.expires_at)),
            ("sks", Some(&delegation.service)),
            ("skv", Some(&delegation.version)),
            ("sig", Some(&signature)),
        ];
        join_query(&[&self.own_params()[..], &of_key].concat())
    }

    fn own_params(&self) -> [(&'static str, Option<&str>); 6] {
        [
            ("sv", Some(SIGNED_VERSION)),
            ("spr", Some(self.protocol.as_str())),
            ("st", self.starts_at),
            ("se", Some(self.expires_at)),
            ("sr", Some("c")),
            ("sp", Some(self.permissions)),
        ]
    }

    fn service_text(&self) -> String {
        let resource = container_resource(self.account, self.container);
        let times = (self.starts_at.unwrap_or_default(), self.expires_at);
        service_text(self.permissions, times, &resource, "", self.protocol)
    }

    /// The text that a user delegation SAS signs: 24 lines.
    fn delegation_text(&self, delegation: &UserDelegation) -> String {
        [
            self.permissions,
            self.starts_at.unwrap_or_default(),
            self.expires_at,
            &container_resource(self.account, self.container),
            &delegation.object_id,
            &delegation.tenant_id,
            &delegation.starts_at,
            &delegation.expires_at,
            &delegation.service,
            &delegation.version,
            "", // saoid, suoid: on whose behalf
            "",
            "", // scid: correlation
            "", // sip: addresses
            self.protocol.as_str(),
            SIGNED_VERSION,
            "c", // sr
            "",  // snapshot
            "",  // ses: encryption scope
            "",  // rscc, rscd, rsce, rscl, rsct: headers of the answer
            "",
            "",
            "",
            "",
        ]
        .join("\n")
    }
}

fn container_resource(account: &str, container: &str) -> String {
    format!("/blob/{account}/{container}")
}

/// The text that a service SAS signs: 16 lines. Fields that a stored access policy sets are empty here.
fn service_text(
    permissions: &str,
    (starts_at, expires_at): (&str, &str),
    resource: &str,
    policy: &str,
    protocol: Protocol,
) -> String {
    [
        permissions,
        starts_at,
        expires_at,
        resource,
        policy,
        "", // sip: addresses
        protocol.as_str(),
        SIGNED_VERSION,
        "c", // sr
        "",  // snapshot
        "",  // ses: encryption scope
        "",  // rscc, rscd, rsce, rscl, rsct: headers of the answer
        "",
        "",
        "",
        "",
    ]
    .join("\n")
}

/// A service SAS for one container whose permissions and expiry are in a stored access policy.
#[derive(Debug)]
pub(crate) struct PolicySas<'a> {
    pub(crate) account: &'a str,
    pub(crate) container: &'a str,
    /// Id of the policy.
    pub(crate) policy: &'a str,
    pub(crate) protocol: Protocol,
}

impl PolicySas<'_> {
    /// The query, signed with the account's key. It is a secret.
    pub(crate) fn with_account_key(&self, key: &SigningKey) -> String {
        let resource = container_resource(self.account, self.container);
        let signature = key.sign(&service_text("", ("", ""), &resource, self.policy, self.protocol));
        join_query(&[
            ("sv", Some(SIGNED_VERSION)),
            ("spr", Some(self.protocol.as_str())),
            ("sr", Some("c")),
            ("si", Some(self.policy)),
            ("sig", Some(&signature)),
        ])
    }
}

/// An account SAS that can only create containers: storage offers no other kind of SAS for that.
#[derive(Debug)]
pub(crate) struct CreationSas<'a> {
    pub(crate) account: &'a str,
    /// From [`time_text`].
    pub(crate) expires_at: &'a str,
    pub(crate) protocol: Protocol,
}

impl CreationSas<'_> {
    /// The query, signed with the account's key. It is a secret.
    pub(crate) fn with_account_key(&self, key: &SigningKey) -> String {
        let signature = key.sign(&self.text());
        join_query(&[
            ("sv", Some(SIGNED_VERSION)),
            ("spr", Some(self.protocol.as_str())),
            ("se", Some(self.expires_at)),
            ("ss", Some("b")),
            ("srt", Some("c")),
            ("sp", Some("c")),
            ("sig", Some(&signature)),
        ])
    }

    fn text(&self) -> String {
        account_text(self.account, ["c", "b", "c"], self.expires_at, self.protocol)
    }
}

/// An account SAS for everything that is done with queues and their messages.
#[derive(Debug)]
pub(crate) struct QueueSas<'a> {
    pub(crate) account: &'a str,
    /// From [`time_text`].
    pub(crate) expires_at: &'a str,
    pub(crate) protocol: Protocol,
}

impl QueueSas<'_> {
    /// The query, signed with the account's key. It is a secret.
    pub(crate) fn with_account_key(&self, key: &SigningKey) -> String {
        // Read, add, create, update, process.
        let granted @ [permissions, services, types] = ["racup", "q", "co"];
        let signature = key.sign(&account_text(self.account, granted, self.expires_at, self.protocol));
        join_query(&[
            ("sv", Some(SIGNED_VERSION)),
            ("spr", Some(self.protocol.as_str())),
            ("se", Some(self.expires_at)),
            ("ss", Some(services)),
            ("srt", Some(types)),
            ("sp", Some(permissions)),
            ("sig", Some(&signature)),
        ])
    }
}

/// The text that an account SAS signs: ten lines, each with its newline, including the last. `granted` are `sp`, `ss`
/// and `srt`.
fn account_text(account: &str, granted: [&str; 3], expires_at: &str, protocol: Protocol) -> String {
    let [permissions, services, types] = granted;
    let lines = [
        account,
        permissions,
        services,
        types,
        "", // st
        expires_at,
        "", // sip: addresses
        protocol.as_str(),
        SIGNED_VERSION,
        "", // ses: encryption scope
    ];
    lines.map(|line| format!("{line}\n")).concat()
}

fn join_query(params: &[(&str, Option<&str>)]) -> String {
    for (_, signature) in params.iter().filter(|(name, _)| *name == "sig") {
        scrub::learn(signature.unwrap_or_default());
    }
    let present = params.iter().filter_map(|(name, value)| Some((name, (*value)?)));
    let encoded: Vec<_> =
        present.map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, ENCODED))).collect();
    encoded.join("&")
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

    fn key() -> SigningKey {
        SigningKey::from_base64(KEY).unwrap()
    }

    fn container_sas(starts_at: Option<&'static str>) -> ContainerSas<'static> {
        ContainerSas {
            account: "logsacct",
            container: "batch-logs",
            permissions: "cw",
            starts_at,
            expires_at: "2025-01-02T00:00:00Z",
            protocol: Protocol::Https,
        }
    }

    fn delegation() -> UserDelegation {
        UserDelegation {
            object_id: "oid".into(),
            tenant_id: "tid".into(),
            starts_at: "2025-01-01T00:00:00Z".into(),
            expires_at: "2025-01-08T00:00:00Z".into(),
            service: "b".into(),
            version: "2025-11-05".into(),
            key: key(),
        }
    }

    /// Signed by an independent implementation with the same key.
    #[test]
    fn the_worked_example_of_a_service_sas_matches() {
        let sas = container_sas(None);
        assert_eq!(
            sas.service_text(),
            "cw\n\n2025-01-02T00:00:00Z\n/blob/logsacct/batch-logs\n\n\nhttps\n2022-11-02\nc\n\n\n\n\n\n\n"
        );
        assert_eq!(
            sas.with_account_key(&key()),
            "sv=2022-11-02&spr=https&se=2025-01-02T00%3A00%3A00Z&sr=c&sp=cw\
             &sig=yUAz%2FOitDSqn6NwhAOS3OxkFH3X0a%2FFhHQjFLezRmIY%3D"
        );
    }

    #[test]
    fn a_service_sas_signs_sixteen_lines() {
        let text =
            ContainerSas { protocol: Protocol::HttpsOrHttp, ..container_sas(Some("START")) }.service_text();
        let lines: Vec<_> = text.split('\n').collect();
        assert_eq!(lines.len(), 16);
        assert_eq!(lines[..4], ["cw", "START", "2025-01-02T00:00:00Z", "/blob/logsacct/batch-logs"]);
        assert_eq!(lines[4..9], ["", "", "https,http", "2022-11-02", "c"]);
        assert!(lines[9..].iter().all(|line| line.is_empty()));
    }

    #[test]
    fn a_sas_by_policy_signs_its_policy_and_says_neither_what_nor_until_when() {
        let sas = PolicySas {
            account: "logsacct",
            container: "batch-logs",
            policy: "p-1",
            protocol: Protocol::Https,
        };
        let text = service_text("", ("", ""), "/blob/logsacct/batch-logs", "p-1", Protocol::Https);
        assert_eq!(text, "\n\n\n/blob/logsacct/batch-logs\np-1\n\nhttps\n2022-11-02\nc\n\n\n\n\n\n\n");
        let query = sas.with_account_key(&key());
        assert!(query.starts_with("sv=2022-11-02&spr=https&sr=c&si=p-1&sig="), "{query}");
    }

    #[test]
    fn a_user_delegation_sas_signs_twenty_four_lines() {
        let text = container_sas(Some("START")).delegation_text(&delegation());
        let lines: Vec<_> = text.split('\n').collect();
        assert_eq!(lines.len(), 24);
        assert_eq!(lines[..4], ["cw", "START", "2025-01-02T00:00:00Z", "/blob/logsacct/batch-logs"]);
        assert_eq!(
            lines[4..10],
            ["oid", "tid", "2025-01-01T00:00:00Z", "2025-01-08T00:00:00Z", "b", "2025-11-05"]
        );
        assert_eq!(lines[10..17], ["", "", "", "", "https", "2022-11-02", "c"]);
        assert!(lines[17..].iter().all(|line| line.is_empty()));
    }

    #[test]
    fn a_user_delegation_sas_names_its_key() {
        let query = container_sas(None).with_delegation(&delegation());
        let (params, signature) = query.split_once("&sig=").unwrap();
        assert_eq!(
            params,
            "sv=2022-11-02&spr=https&se=2025-01-02T00%3A00%3A00Z&sr=c&sp=cw&skoid=oid&sktid=tid\
             &skt=2025-01-01T00%3A00%3A00Z&ske=2025-01-08T00%3A00%3A00Z&sks=b&skv=2025-11-05"
        );
        // By an independent implementation, over the 24 lines.
        assert_eq!(signature, "uE1LBIQi3Ehn61TTidcjim%2BYY7vd%2FwZ3dxAjLaugqTA%3D");
    }

    #[test]
    fn an_account_sas_signs_ten_lines_and_ends_with_a_newline() {
        let sas = CreationSas {
            account: "logsacct",
            expires_at: "2025-01-02T00:00:00Z",
            protocol: Protocol::Https,
        };
        assert_eq!(sas.text(), "logsacct\nc\nb\nc\n\n2025-01-02T00:00:00Z\n\nhttps\n2022-11-02\n\n");
        // By an independent implementation, over the same text.
        assert_eq!(
            sas.with_account_key(&key()),
            "sv=2022-11-02&spr=https&se=2025-01-02T00%3A00%3A00Z&ss=b&srt=c&sp=c\
             &sig=G8lJdwHXXX%2BPgVgNoiiJFM9fN6X2S9fpvuciUYjhLUM%3D"
        );
    }

    /// Azurite takes it, in the end-to-end test of the queue.
    #[test]
    fn an_account_sas_for_queues_allows_what_a_worker_does() {
        let sas =
            QueueSas { account: "logsacct", expires_at: "2025-01-02T00:00:00Z", protocol: Protocol::Https };
        let query = sas.with_account_key(&key());
        let (params, signature) = query.split_once("&sig=").unwrap();
        assert_eq!(params, "sv=2022-11-02&spr=https&se=2025-01-02T00%3A00%3A00Z&ss=q&srt=co&sp=racup");
        let text = "logsacct\nracup\nq\nco\n\n2025-01-02T00:00:00Z\n\nhttps\n2022-11-02\n\n";
        assert_eq!(signature, utf8_percent_encode(&key().sign(text), ENCODED).to_string());
    }

    #[test]
    fn permissions_are_put_in_order_and_unknown_ones_refused() {
        assert_eq!(ordered_permissions("lwcr").as_deref(), Some("rcwl"));
        assert_eq!(ordered_permissions("wwc").as_deref(), Some("cw"));
        assert_eq!(ordered_permissions("mft").as_deref(), Some("tfm"), "`f` is filter by tags");
        for letters in ["", "w q", "W", "w\n"] {
            assert_eq!(ordered_permissions(letters), None, "{letters}");
        }
    }

    #[test]
    fn times_are_in_utc_to_the_second() {
        assert_eq!(time_text(datetime!(2025-01-02 01:30:00.75 +1)), "2025-01-02T00:30:00Z");
    }

    #[test]
    fn what_is_no_key_is_refused_and_a_key_does_not_show() {
        assert!(SigningKey::from_base64("hunter2!").is_none());
        assert!(SigningKey::from_base64(" ").is_none());
        assert_eq!(format!("{:?}", key()), "SigningKey(<redacted>)");
        assert!(!format!("{:?}", delegation()).contains(KEY));
    }
}
