//! Shared access signatures: creating and checking them.

use std::fmt::{self, Write as _};
use std::net::IpAddr;

use hyper::header::{self, HeaderMap, HeaderValue};
use time::OffsetDateTime;

use super::acl::StoredPolicy;
use super::delegation::DelegationKeys;
use super::errors::BlobError;
use super::sas_text::{PERMISSION_LETTERS, SasKind, parse_sas_time, string_to_sign};
use crate::clock::iso_seconds;
use crate::http::Query;
use crate::signing_key::SigningKey;

/// The fields of a SAS, decoded.
#[derive(Clone)]
pub(crate) struct Sas {
    query: Query,
    /// The stored access policy that the SAS refers to, if it exists.
    policy: Option<StoredPolicy>,
}

impl fmt::Debug for Sas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sas(sp={}, se={}, <redacted>)", self.field("sp"), self.field("se"))
    }
}

/// The resource of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resource<'a> {
    /// The account as a whole.
    Service,
    Container(&'a str),
    Blob(&'a str, &'a str),
}

/// The keys that may have signed a SAS for the account.
pub(crate) struct Keys {
    /// Name of the account.
    pub(crate) account: String,
    pub(crate) key: SigningKey,
    pub(crate) delegated: DelegationKeys,
}

/// The version of the SAS that the simulator itself creates.
const OUR_VERSION: &str = "2022-11-02";
fn refused(detail: &str) -> BlobError {
    BlobError::authentication(detail)
}

impl Sas {
    /// None if the query contains no SAS.
    pub(crate) fn find(query: &Query) -> Option<Self> {
        (query.get("sig").is_some() || query.get("sv").is_some())
            .then(|| Self { query: query.clone(), policy: None })
    }

    fn field(&self, name: &str) -> &str {
        self.query.get(name).unwrap_or("")
    }

    fn kind(&self) -> SasKind {
        if self.query.get("skoid").is_some() {
            SasKind::UserDelegation
        } else if self.query.get("ss").is_some() || self.query.get("srt").is_some() {
            SasKind::Account
        } else {
            SasKind::Service
        }
    }

    /// Id of the stored access policy that the SAS refers to.
    pub(super) fn policy_id(&self) -> Option<&str> {
        Some(self.field("si")).filter(|id| !id.is_empty())
    }

    /// The same SAS with the policy that its container has under the id in `si`.
    pub(super) fn under(&self, policy: Option<StoredPolicy>) -> Self {
        Self { query: self.query.clone(), policy }
    }

    /// The policy's value for a field.
    fn of_policy(&self, name: &str) -> &str {
        match (&self.policy, name) {
            (Some(policy), "sp") => &policy.permission,
            (Some(policy), "st") => &policy.start,
            (Some(policy), "se") => &policy.expiry,
            _ => "",
        }
    }

    /// The effective value: the SAS's own field, or else the policy's.
    fn merged(&self, name: &str) -> &str {
        Some(self.field(name)).filter(|own| !own.is_empty()).unwrap_or_else(|| self.of_policy(name))
    }

    /// Gives an answer the headers that the SAS asks for. Only a SAS for one container or blob signs them.
    pub(super) fn give_headers(&self, headers: &mut HeaderMap) {
        let names = [
            ("rscc", header::CACHE_CONTROL),
            ("rscd", header::CONTENT_DISPOSITION),
            ("rsce", header::CONTENT_ENCODING),
            ("rscl", header::CONTENT_LANGUAGE),
            ("rsct", header::CONTENT_TYPE),
        ];
        for (field, header) in names {
            let value = Some(self.field(field)).filter(|value| !value.is_empty() && !self.is_for_account());
            if let Some(Ok(value)) = value.map(HeaderValue::from_str) {
                headers.insert(header, value);
            }
        }
    }

    pub(crate) fn allows(&self, letter: char) -> bool {
        self.merged("sp").contains(letter)
    }

    /// Only an account SAS covers more than the blobs of one container.
    pub(crate) fn is_for_account(&self) -> bool {
        self.kind() == SasKind::Account
    }

    /// When the SAS expires: at its own expiry or that of its key, whichever is earlier. None if it has no expiry.
    pub(crate) fn expires_at(&self) -> Option<OffsetDateTime> {
        let expiry = parse_sas_time(self.field("se"))?;
        match self.kind() {
            SasKind::UserDelegation => Some(expiry.min(parse_sas_time(self.field("ske"))?)),
            _ => Some(expiry),
        }
    }

    /// Checks signature, times, address, protocol and scope of a request from the address `from`.
    pub(crate) fn check(
        &self,
        keys: &Keys,
        resource: Resource<'_>,
        from: IpAddr,
        now: OffsetDateTime,
    ) -> Result<(), BlobError> {
        self.check_signature(keys, resource)?;
        self.check_policy()?;
        self.check_times(now)?;
        self.check_permissions()?;
        self.check_address(from)?;
        match self.field("spr") {
            "" | "https,http" => {}
            // The simulator serves plain HTTP only.
            "https" => return Err(BlobError::protocol_mismatch()),
            _ => return Err(refused("spr is neither https nor https,http.")),
        }
        if self.is_for_account() { self.check_account_scope(resource) } else { Ok(()) }
    }

    fn check_signature(&self, keys: &Keys, resource: Resource<'_>) -> Result<(), BlobError> {
        let kind = self.kind();
        let account = &keys.account;
        let name = match (kind, self.field("sr"), resource) {
            (SasKind::Account, "", _) => account.clone(),
            (SasKind::Account, ..) => return Err(refused("sr does not belong in an account SAS.")),
            (_, "c", Resource::Container(container) | Resource::Blob(container, _)) => {
                format!("/blob/{account}/{container}")
            }
            (_, "b", Resource::Blob(container, blob)) => format!("/blob/{account}/{container}/{blob}"),
            _ => return Err(refused("sr does not match the resource.")),
        };
        let text = self.text(kind, &name).ok_or_else(|| refused("sv is missing or not a known version."))?;
        let good = match kind {
            SasKind::UserDelegation => self.delegation_key(keys)?.verify(&text, self.field("sig")),
            SasKind::Service | SasKind::Account => keys.key.verify(&text, self.field("sig")),
        };
        if good { Ok(()) } else { Err(refused("Signature did not match.")) }
    }

    /// Only a service SAS may refer to a policy, and must not repeat what the policy says.
    fn check_policy(&self) -> Result<(), BlobError> {
        if self.policy_id().is_none() {
            return Ok(());
        }
        if self.kind() != SasKind::Service {
            return Err(refused("si is for a service SAS only."));
        }
        if self.policy.is_none() {
            return Err(refused("The stored access policy does not exist."));
        }
        let twice = |name| !self.field(name).is_empty() && !self.of_policy(name).is_empty();
        if ["sp", "st", "se"].into_iter().any(twice) {
            return Err(refused("A field is in the stored access policy and in the SAS."));
        }
        Ok(())
    }

    fn delegation_key(&self, keys: &Keys) -> Result<SigningKey, BlobError> {
        if !self.field("sduoid").is_empty() || !self.field("skdutid").is_empty() {
            return Err(refused("The SAS is for one delegated user, and no token of that user was sent."));
        }
        let time = |name| parse_sas_time(self.field(name)).map(iso_seconds).unwrap_or_default();
        let (start, expiry) = (time("skt"), time("ske"));
        let of =
            [self.field("skoid"), self.field("sktid"), &start, &expiry, self.field("sks"), self.field("skv")];
        keys.delegated.find(of).ok_or_else(|| refused("The user delegation key is unknown."))
    }

    /// A user delegation SAS is valid while both the SAS and its key are.
    fn check_times(&self, now: OffsetDateTime) -> Result<(), BlobError> {
        let delegated = self.kind() == SasKind::UserDelegation;
        let (starts, ends) = (["st", "skt"], ["se", "ske"]);
        let count = if delegated { 2 } else { 1 };
        for name in &ends[..count] {
            let end = parse_sas_time(self.merged(name))
                .ok_or_else(|| refused(&format!("{name} is missing or is not a time.")))?;
            if now >= end {
                return Err(refused("Signature not valid in the specified time frame: expired."));
            }
        }
        for name in starts[..count].iter().filter(|name| !self.merged(name).is_empty()) {
            let start = parse_sas_time(self.merged(name))
                .ok_or_else(|| refused(&format!("{name} is not a time.")))?;
            if now < start {
                return Err(refused("Signature not valid in the specified time frame: too early."));
            }
        }
        Ok(())
    }

    fn check_permissions(&self) -> Result<(), BlobError> {
        if self.is_for_account() {
            return Ok(());
        }
        let mut known = PERMISSION_LETTERS.chars();
        if self.field("sp").chars().all(|letter| known.any(|other| other == letter)) {
            return Ok(());
        }
        Err(refused("sp holds a letter that is not known, given twice, or out of order."))
    }

    fn check_address(&self, from: IpAddr) -> Result<(), BlobError> {
        let range = self.field("sip");
        if range.is_empty() {
            return Ok(());
        }
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (Ok(first), Ok(last)) = (first.parse::<std::net::Ipv4Addr>(), last.parse()) else {
            return Err(refused("sip is neither an IPv4 address nor a range of them."));
        };
        match from {
            IpAddr::V4(from) if (first..=last).contains(&from) => Ok(()),
            _ => Err(BlobError::source_mismatch()),
        }
    }

    fn check_account_scope(&self, resource: Resource<'_>) -> Result<(), BlobError> {
        let kind = match resource {
            Resource::Service => 's',
            Resource::Container(_) => 'c',
            Resource::Blob(..) => 'o',
        };
        if !self.field("ss").contains('b') {
            return Err(BlobError::service_mismatch());
        }
        if self.field("srt").contains(kind) { Ok(()) } else { Err(BlobError::resource_type_mismatch()) }
    }

    fn text(&self, kind: SasKind, resource: &str) -> Option<String> {
        string_to_sign(kind, self.field("sv"), resource, |name| self.field(name))
    }
}

/// The query of a container SAS with these permissions, encoded.
pub(crate) fn container_sas(
    keys: &Keys,
    container: &str,
    permissions: &str,
    expires: OffsetDateTime,
) -> String {
    let expiry = iso_seconds(expires);
    let unsigned = format!("sv={OUR_VERSION}&se={expiry}&sr=c&sp={permissions}&spr=https,http");
    let sas = Sas { query: Query::parse(&unsigned), policy: None };
    let text = sas.text(SasKind::Service, &format!("/blob/{}/{container}", keys.account)).unwrap_or_default();
    let mut encoded = unsigned.replace(':', "%3A").replace(',', "%2C");
    encoded.push_str("&sig=");
    for byte in keys.key.sign(&text).bytes() {
        if byte.is_ascii_alphanumeric() {
            encoded.push(char::from(byte));
        } else {
            let written = write!(encoded, "%{byte:02X}");
            debug_assert!(written.is_ok(), "writing to a String does not fail");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::roll::Roll;
    use crate::scenario::StorageScenario;
    use time::macros::datetime;

    const NEW_YEAR: OffsetDateTime = datetime!(2025-01-01 12:00:00 UTC);
    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn keys() -> Keys {
        let key = SigningKey::new(b"0123456789abcdef0123456789abcdef").expect("any length is a key");
        let delegated = DelegationKeys::new(&StorageScenario::default(), Roll::new(1), key.clone());
        Keys { account: "logsacct".to_owned(), key, delegated }
    }

    fn code(query: &str, resource: Resource<'_>, now: OffsetDateTime) -> Result<(), &'static str> {
        let sas = Sas::find(&Query::parse(query)).expect("a SAS");
        sas.check(&keys(), resource, HERE, now).map_err(|error| error.code)
    }

    const LOGS: Resource<'_> = Resource::Container("batch-logs");

    /// A SAS with these fields and a valid signature.
    fn signed(fields: &str, resource: &str) -> String {
        let sas = Sas { query: Query::parse(fields), policy: None };
        let text = sas.text(sas.kind(), resource).expect("a known version");
        format!("{fields}&sig={}", keys().key.sign(&text).replace('+', "%2B"))
    }

    #[test]
    fn the_worked_example_has_the_signature_of_the_reference() {
        let query = "sp=cw&se=2025-01-02T00:00:00Z&spr=https&sv=2022-11-02&sr=c";
        let sas = Sas { query: Query::parse(query), policy: None };

        let text = sas.text(SasKind::Service, "/blob/logsacct/batch-logs").expect("a known version");

        assert_eq!(
            text,
            "cw\n\n2025-01-02T00:00:00Z\n/blob/logsacct/batch-logs\n\n\nhttps\n2022-11-02\nc\n\n\n\n\n\n\n"
        );
        assert_eq!(keys().key.sign(&text), "yUAz/OitDSqn6NwhAOS3OxkFH3X0a/FhHQjFLezRmIY=");
        // Its signature is valid, but it requires HTTPS, which the simulator does not offer.
        let query = format!("{query}&sig=yUAz%2FOitDSqn6NwhAOS3OxkFH3X0a%2FFhHQjFLezRmIY%3D");
        assert_eq!(code(&query, LOGS, NEW_YEAR), Err("AuthorizationProtocolMismatch"));
        assert_eq!(code(&query.replace("yUAz", "zUAz"), LOGS, NEW_YEAR), Err("AuthenticationFailed"));
    }

    #[test]
    fn our_own_sas_opens_its_container_until_it_expires() {
        let query = container_sas(&keys(), "batch-logs", "rl", datetime!(2025-01-02 00:00:00 UTC));
        let failed = Err("AuthenticationFailed");

        assert_eq!(code(&query, LOGS, NEW_YEAR), Ok(()));
        assert_eq!(code(&query, Resource::Blob("batch-logs", "a/b.log"), NEW_YEAR), Ok(()));
        assert_eq!(code(&query, LOGS, datetime!(2025-01-02 00:00:00 UTC)), failed);
        assert_eq!(code(&query, Resource::Container("other"), NEW_YEAR), failed);
        assert_eq!(code(&query, Resource::Service, NEW_YEAR), failed);
    }

    #[test]
    fn a_sas_that_was_tampered_with_opens_nothing() {
        let query = container_sas(&keys(), "batch-logs", "rl", datetime!(2025-01-02 00:00:00 UTC));

        for (from, to) in
            [("sp=rl", "sp=rwl"), ("2025-01-02", "2026-01-02"), ("sr=c", "sr=b"), ("sr=c", "srt=c")]
        {
            let resource = Resource::Blob("batch-logs", "x");
            assert_eq!(
                code(&query.replace(from, to), resource, NEW_YEAR),
                Err("AuthenticationFailed"),
                "{to}"
            );
        }
        assert_eq!(code(&format!("{query}&skoid=x"), LOGS, NEW_YEAR), Err("AuthenticationFailed"));
    }

    #[test]
    fn start_address_protocol_and_the_order_of_letters_count() {
        let failed = Err("AuthenticationFailed");
        for (fields, expected) in [
            ("sp=rl&st=2025-01-01T12:00:00Z", Ok(())),
            ("sp=rl&st=2025-01-01T12:00:01Z", failed),
            ("sp=lr", failed),
            ("sp=rr", failed),
            ("sp=rz", failed),
            ("sp=rl&sip=127.0.0.1", Ok(())),
            ("sp=rl&sip=127.0.0.0-127.0.0.9", Ok(())),
            ("sp=rl&sip=127.0.0.2-127.0.0.9", Err("AuthorizationSourceIPMismatch")),
            ("sp=rl&sip=home", failed),
            ("sp=rl&spr=https,http", Ok(())),
            ("sp=rl&spr=https", Err("AuthorizationProtocolMismatch")),
            ("sp=rl&spr=http", failed),
        ] {
            for version in ["2018-11-09", "2022-11-02"] {
                let fields = format!("{fields}&se=2025-01-02&sr=c&sv={version}");
                let query = signed(&fields, "/blob/logsacct/batch-logs");
                assert_eq!(code(&query, LOGS, NEW_YEAR), expected, "{fields}");
            }
        }
    }

    #[test]
    fn a_blob_sas_opens_one_blob() {
        let query = signed("sp=r&se=2025-01-02&sr=b&sv=2022-11-02", "/blob/logsacct/batch-logs/a.log");

        assert_eq!(code(&query, Resource::Blob("batch-logs", "a.log"), NEW_YEAR), Ok(()));
        assert!(code(&query, Resource::Blob("batch-logs", "b.log"), NEW_YEAR).is_err());
        assert!(code(&query, LOGS, NEW_YEAR).is_err());
    }

    #[test]
    fn an_account_sas_opens_the_kinds_of_resources_it_names() {
        let all = [Resource::Service, LOGS, Resource::Blob("any", "x")];
        let kind = Err("AuthorizationResourceTypeMismatch");
        for (fields, expected) in [
            ("ss=b&srt=sco", [Ok(()); 3]),
            ("ss=bfqt&srt=c", [kind, Ok(()), kind]),
            ("ss=b&srt=o", [kind, kind, Ok(())]),
            ("ss=b&srt=s", [Ok(()), kind, kind]),
            ("ss=q&srt=sco", [Err("AuthorizationServiceMismatch"); 3]),
        ] {
            for version in ["2020-10-02", "2022-11-02"] {
                let query = signed(&format!("{fields}&sp=rwl&se=2025-01-02&sv={version}"), "logsacct");
                assert_eq!(all.map(|resource| code(&query, resource, NEW_YEAR)), expected, "{fields}");
            }
        }
    }

    #[test]
    fn a_sas_by_policy_opens_what_the_policy_says_and_nothing_without_it() {
        let policy = |permission: &str, expiry: &str| StoredPolicy {
            id: "p".to_owned(),
            start: String::new(),
            expiry: expiry.to_owned(),
            permission: permission.to_owned(),
            known_from: NEW_YEAR,
        };
        let check = |fields: &str, policy: Option<StoredPolicy>| {
            let query = signed(&format!("{fields}&sr=c&sv=2022-11-02&si=p"), "/blob/logsacct/batch-logs");
            let sas = Sas::find(&Query::parse(&query)).expect("a SAS").under(policy);
            sas.check(&keys(), LOGS, HERE, NEW_YEAR).map(|()| sas.allows('l')).map_err(|error| error.code)
        };
        let failed = Err("AuthenticationFailed");
        assert_eq!(check("", Some(policy("rl", "2025-01-02"))), Ok(true));
        assert_eq!(check("", Some(policy("r", "2025-01-02"))), Ok(false));
        assert_eq!(check("", None), failed, "taken away");
        assert_eq!(check("", Some(policy("rl", "2024-12-31"))), failed, "ended");
        assert_eq!(check("", Some(policy("rl", ""))), failed, "nobody says until when");
        assert_eq!(check("se=2025-01-02", Some(policy("rl", ""))), Ok(true));
        assert_eq!(check("se=2025-01-02", Some(policy("rl", "2025-01-02"))), failed, "said twice");
        assert_eq!(check("skoid=x", Some(policy("rl", "2025-01-02"))), failed, "not of user delegation");
    }

    #[test]
    fn expiry_may_be_a_date_or_a_time_to_the_minute() {
        assert_eq!(parse_sas_time("2025-01-02"), Some(datetime!(2025-01-02 00:00:00 UTC)));
        assert_eq!(parse_sas_time("2025-01-02T03:04Z"), Some(datetime!(2025-01-02 03:04:00 UTC)));
        assert_eq!(parse_sas_time("tomorrow"), None);
    }

    #[test]
    fn a_sas_ends_with_its_key_at_the_latest() {
        let ends = |query: &str| Sas { query: Query::parse(query), policy: None }.expires_at();

        assert_eq!(ends("se=2025-01-02"), Some(datetime!(2025-01-02 00:00:00 UTC)));
        assert_eq!(ends("skoid=x&se=2025-01-02&ske=2025-01-01"), Some(datetime!(2025-01-01 00:00:00 UTC)));
        assert_eq!(ends("si=policy"), None);
    }
}
