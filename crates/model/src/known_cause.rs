//! Causes that a code and the telling words of an error give away, and what to do about each. Checks, runs and reports
//! all look here, so that the same error has the same advice everywhere.
//!
//! The words are those of Batch, storage, Entra, the Azure CLI and the TLS library, as recorded and in public reports.

/// Who answered, or should have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// A Batch account.
    Batch,
    /// A storage account.
    Storage,
    /// Azure Resource Manager.
    ResourceManager,
}

/// A cause that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KnownCause {
    /// The Batch account takes tokens only.
    BatchRefusesKeys,
    /// The Batch account does not take calls from here.
    BatchNetworkRules,
    /// The key is not one of the account's.
    WrongBatchKey,
    /// A node that is not ready to answer.
    NodeNotReady,
    /// An account that was turned off.
    AccountDisabled,
    /// Storage takes no SAS that its key signed.
    StorageRefusesKeys,
    /// Storage does not take calls from here.
    StorageNetworkRules,
    /// A SAS, or an identity, without the permission.
    StoragePermission,
    /// `sip`.
    StorageAddress,
    /// `spr`.
    StorageProtocol,
    /// `srt`.
    StorageResourceType,
    /// `ss`.
    StorageService,
    /// The signature of a SAS is wrong.
    StorageSignature,
    /// `st` or `se`.
    StorageTime,
    /// More than one identity, and none is named.
    SeveralIdentities,
    /// No identity, or another.
    NoIdentity,
    /// Neither `az` nor `azd` is installed.
    NoAzureCli,
    /// Nobody is logged in to `az`.
    NotLoggedIn,
    /// `az` printed something other than JSON.
    NotJson,
    /// `az` is too old.
    OldAzureCli,
    /// The secret of an application has expired.
    SecretExpired,
    /// The secret of an application is wrong.
    WrongSecret,
    /// The application or the tenant is not known.
    UnknownApplication,
    /// A certificate of an authority that this machine does not know.
    UnknownAuthority,
    /// A certificate that is not valid now.
    CertificateTime,
    /// A certificate for another host.
    CertificateName,
    /// A proxy asks for a password.
    ProxyPassword,
    /// The name of a host is not known.
    UnknownHost,
    /// A list whose pages lead back, or have no end.
    BrokenPaging,
}

impl KnownCause {
    /// Recognises the cause of an error by its code and its words.
    #[must_use]
    pub fn of(asked: Asked, code: Option<&str>, text: &str) -> Option<Self> {
        let text = text.to_ascii_lowercase();
        by_words(&text).or_else(|| match asked {
            Asked::Batch => of_batch(code?, &text),
            Asked::Storage => of_storage(code?, &text),
            Asked::ResourceManager => None,
        })
    }

    /// The same of the text of a failure, which has its code after the status: `403 AuthorizationFailure: …`.
    #[must_use]
    pub fn of_text(asked: Asked, text: &str) -> Option<Self> {
        Self::of(asked, code_in(text), text)
    }

    /// Whether it lies in a Batch account, so that the account has to be named where there are several.
    #[must_use]
    pub fn is_of_batch_account(self) -> bool {
        matches!(
            self,
            Self::BatchRefusesKeys | Self::BatchNetworkRules | Self::WrongBatchKey | Self::AccountDisabled
        )
    }

    /// What to do, as one clause without a full stop; keys and commands stand in backticks.
    #[must_use]
    pub fn advice(self) -> &'static str {
        match self {
            Self::BatchRefusesKeys => "set `auth = \"entra\"` for this account: keys are not accepted there",
            Self::BatchNetworkRules => {
                "let this machine through the network rules of the Batch account (public network access), or use a \
                 machine that reaches its private endpoint"
            }
            Self::WrongBatchKey => {
                "copy the account's key again as the portal shows it: this one was cut off, rotated, or is another account's"
            }
            Self::NodeNotReady => "wait until the nodes are ready",
            Self::AccountDisabled => "enable the account, or its subscription, again",
            Self::StorageRefusesKeys => {
                "set `mint = \"user-delegation\"`: the storage account does not accept what its key signed"
            }
            Self::StorageNetworkRules => {
                "let this machine and the nodes through the firewall of the storage account, or use a machine in a network \
                 that it admits"
            }
            Self::StoragePermission => {
                "create a SAS with the permission that is missing; if an identity signed it, give that identity the role \
                 Storage Blob Data Contributor on the container"
            }
            Self::StorageAddress => {
                "create the SAS without `sip`, or for the addresses of this machine and the nodes"
            }
            Self::StorageProtocol => "use https:// in the URL, or create the SAS without `spr=https`",
            Self::StorageResourceType => {
                "create the SAS for the container (`sr=c`); an account SAS needs `srt=co`"
            }
            Self::StorageService => "create the SAS for the container (`sr=c`); an account SAS needs `ss=b`",
            Self::StorageSignature => {
                "copy the whole SAS or key again, or create a new one: its signature is not what storage computes"
            }
            Self::StorageTime => "create a new SAS, or set this machine's clock",
            Self::SeveralIdentities => "name one of the identities in `entra.client_id`",
            Self::NoIdentity => "assign a managed identity to this machine, or correct `entra.client_id`",
            Self::NoAzureCli => {
                "install `az` and log in with `az login`, or set up another credential in `[entra]`"
            }
            Self::NotLoggedIn => "log in with `az login`",
            Self::NotJson => {
                "run `az account get-access-token --output json` by hand, and remove what prints the rest: an alias, an \
                 extension, a wrapper"
            }
            Self::OldAzureCli => "install Azure CLI 2.54.0 or newer",
            Self::SecretExpired => "create a new client secret for the application",
            Self::WrongSecret => "set `client_secret` to the value of the secret, not to its id",
            Self::UnknownApplication => "correct `tenant_id` and `client_id` in `[entra]`, or the cloud",
            Self::UnknownAuthority => {
                "let `SSL_CERT_FILE` name a file with the root certificates, that of your company's proxy included \
                 (docs/guide/proxies.md)"
            }
            Self::CertificateTime => "set this machine's clock, or have the certificate renewed",
            Self::CertificateName => "correct the host, or have the proxy in between corrected",
            Self::ProxyPassword => "write user and password into the URL in `HTTPS_PROXY`",
            Self::UnknownHost => {
                "check the name of the host, DNS, and whether it needs a proxy (`HTTPS_PROXY`) or a private network"
            }
            Self::BrokenPaging => {
                "retry, past any proxy that changes answers: nothing was refused, but the pages of the list are not in \
                 order; if it happens again, tell support"
            }
        }
    }

    /// Whether the advice is to change the config.
    #[must_use]
    pub fn changes_config(self) -> bool {
        match self {
            Self::BatchRefusesKeys
            | Self::StorageRefusesKeys
            | Self::SeveralIdentities
            | Self::NoIdentity
            | Self::WrongSecret
            | Self::UnknownApplication
            | Self::CertificateName => true,
            Self::BatchNetworkRules
            | Self::WrongBatchKey
            | Self::NodeNotReady
            | Self::AccountDisabled
            | Self::StorageNetworkRules
            | Self::StoragePermission
            | Self::StorageAddress
            | Self::StorageProtocol
            | Self::StorageResourceType
            | Self::StorageService
            | Self::StorageSignature
            | Self::StorageTime
            | Self::NoAzureCli
            | Self::NotLoggedIn
            | Self::NotJson
            | Self::OldAzureCli
            | Self::SecretExpired
            | Self::UnknownAuthority
            | Self::CertificateTime
            | Self::ProxyPassword
            | Self::UnknownHost
            | Self::BrokenPaging => false,
        }
    }
}

/// The code in the text of a failure, where it follows the status: `403 AuthorizationFailure: …`.
#[must_use]
pub fn code_in(text: &str) -> Option<&str> {
    let words = || text.split_whitespace();
    let is_status = |word: &str| word.len() == 3 && word.bytes().all(|byte| byte.is_ascii_digit());
    let (_, code) = words().zip(words().skip(1)).find(|(status, _)| is_status(status))?;
    code.strip_suffix(':')
}

/// What the words alone give away, whoever was asked: a token, a name and a connection come before any answer.
fn by_words(text: &str) -> Option<KnownCause> {
    const TELLING: [(&str, KnownCause); 23] = [
        ("multiple user assigned identities", KnownCause::SeveralIdentities),
        ("multiple user-assigned identities", KnownCause::SeveralIdentities),
        ("identity not found", KnownCause::NoIdentity),
        ("has not been assigned to this resource", KnownCause::NoIdentity),
        ("printed something other than json", KnownCause::NotJson),
        ("use azure cli 2.54.0 or newer", KnownCause::OldAzureCli),
        ("az login", KnownCause::NotLoggedIn),
        ("az not found on path", KnownCause::NoAzureCli),
        ("aadsts7000222", KnownCause::SecretExpired),
        ("aadsts7000215", KnownCause::WrongSecret),
        ("aadsts700016", KnownCause::UnknownApplication),
        ("aadsts90002", KnownCause::UnknownApplication),
        ("unknownissuer", KnownCause::UnknownAuthority),
        ("certificate expired", KnownCause::CertificateTime),
        ("certificate not valid yet", KnownCause::CertificateTime),
        ("certificate not valid for name", KnownCause::CertificateName),
        ("proxy authorization required", KnownCause::ProxyPassword),
        ("proxy authentication required", KnownCause::ProxyPassword),
        ("dns error", KnownCause::UnknownHost),
        ("failed to lookup address", KnownCause::UnknownHost),
        ("the service's list loops", KnownCause::BrokenPaging),
        ("the service's list has no end", KnownCause::BrokenPaging),
        ("the list of accounts has no end", KnownCause::BrokenPaging),
    ];
    TELLING.iter().find(|(words, _)| text.contains(words)).map(|(_, cause)| *cause)
}

fn of_batch(code: &str, text: &str) -> Option<KnownCause> {
    Some(match code {
        "AuthenticationFailed" if text.contains("sharedkey is not allowed") => KnownCause::BatchRefusesKeys,
        "AuthenticationFailed" if text.contains("mac signature") => KnownCause::WrongBatchKey,
        "AuthorizationFailure" => KnownCause::BatchNetworkRules,
        "AccountIsDisabled" => KnownCause::AccountDisabled,
        "NodeNotReady" => KnownCause::NodeNotReady,
        _ => return None,
    })
}

fn of_storage(code: &str, text: &str) -> Option<KnownCause> {
    Some(match code {
        "KeyBasedAuthenticationNotPermitted" => KnownCause::StorageRefusesKeys,
        "AuthorizationFailure" => KnownCause::StorageNetworkRules,
        "AuthorizationPermissionMismatch" => KnownCause::StoragePermission,
        "AuthorizationSourceIPMismatch" => KnownCause::StorageAddress,
        "AuthorizationProtocolMismatch" => KnownCause::StorageProtocol,
        "AuthorizationResourceTypeMismatch" => KnownCause::StorageResourceType,
        "AuthorizationServiceMismatch" => KnownCause::StorageService,
        "AccountIsDisabled" => KnownCause::AccountDisabled,
        "AuthenticationFailed" if text.contains("signature did not match") => KnownCause::StorageSignature,
        "AuthenticationFailed" if text.contains("time frame") || text.contains("expiry time") => {
            KnownCause::StorageTime
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use Asked::{Batch, ResourceManager, Storage};

    #[test]
    fn each_cause_is_known_by_its_code_and_its_words() {
        let table: &[(Asked, Option<&str>, &str, Option<KnownCause>)] = &[
            (
                Batch,
                Some("AuthenticationFailed"),
                "SharedKey is not allowed for this account; Server failed to authenticate the request",
                Some(KnownCause::BatchRefusesKeys),
            ),
            (
                Batch,
                Some("AuthenticationFailed"),
                "The MAC signature found in the HTTP request is not the same as any computed signature",
                Some(KnownCause::WrongBatchKey),
            ),
            (Batch, Some("AuthenticationFailed"), "no", None),
            (Batch, Some("AuthorizationFailure"), "not authorized", Some(KnownCause::BatchNetworkRules)),
            (Storage, Some("AuthorizationFailure"), "not authorized", Some(KnownCause::StorageNetworkRules)),
            (ResourceManager, Some("AuthorizationFailure"), "not authorized", None),
            (Batch, Some("NodeNotReady"), "", Some(KnownCause::NodeNotReady)),
            (
                Storage,
                Some("KeyBasedAuthenticationNotPermitted"),
                "Key based authentication is not permitted on this storage account.",
                Some(KnownCause::StorageRefusesKeys),
            ),
            (Storage, Some("AuthorizationPermissionMismatch"), "", Some(KnownCause::StoragePermission)),
            (Storage, Some("AuthorizationSourceIPMismatch"), "", Some(KnownCause::StorageAddress)),
            (
                Storage,
                Some("AuthenticationFailed"),
                "Signature did not match.",
                Some(KnownCause::StorageSignature),
            ),
            (
                Storage,
                Some("AuthenticationFailed"),
                "Signature not valid in the specified time frame: Start […] - Expiry […]",
                Some(KnownCause::StorageTime),
            ),
            (
                Batch,
                None,
                "no token: Multiple user assigned identities exist, please specify the clientId / resourceId",
                Some(KnownCause::SeveralIdentities),
            ),
            (Batch, None, "no token: Identity not found", Some(KnownCause::NoIdentity)),
            (Storage, None, "no token: az not found on PATH", Some(KnownCause::NoAzureCli)),
            (Batch, None, "no token: Please run 'az login' to setup account.", Some(KnownCause::NotLoggedIn)),
            (
                Batch,
                None,
                "expires_on field not found. Please use Azure CLI 2.54.0 or newer.",
                Some(KnownCause::OldAzureCli),
            ),
            (
                ResourceManager,
                None,
                "cannot connect: invalid peer certificate: UnknownIssuer",
                Some(KnownCause::UnknownAuthority),
            ),
            (
                Batch,
                None,
                "cannot connect: dns error: failed to lookup address information",
                Some(KnownCause::UnknownHost),
            ),
            (
                Batch,
                None,
                "the service's list loops: a page links to one that was already read",
                Some(KnownCause::BrokenPaging),
            ),
            (Batch, Some("TooManyRequests"), "busy", None),
        ];
        for (asked, code, text, cause) in table {
            assert_eq!(KnownCause::of(*asked, *code, text), *cause, "{code:?} {text}");
            let whole = match code {
                Some(code) => format!("the account stopped: 403 {code}: {text}"),
                None => (*text).to_owned(),
            };
            assert_eq!(KnownCause::of_text(*asked, &whole), *cause, "{whole}");
            if let Some(cause) = cause {
                let advice = cause.advice();
                assert!(advice.starts_with(|first: char| first.is_lowercase()), "{advice}");
                assert!(!advice.ends_with('.') && advice.matches('`').count() % 2 == 0, "{advice}");
            }
        }
    }
}
