//! What a secret is by its form: an account key, a connection string, a SAS. So a secret that stands in the place of
//! another one is called by its name. Nothing here quotes it.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD_NO_PAD;

use super::times::Misread;

/// What a text looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SecretForm {
    /// 64 bytes in Base64: the key of a Batch or storage account.
    AccountKey,
    /// The connection string of a storage account.
    ConnectionString,
    /// The query of a SAS without its URL.
    SasToken,
    /// A URL with a SAS.
    SasUrl,
    /// A URL without one.
    Url,
    /// A token of Entra.
    Token,
    /// The private key of a certificate, or another text in PEM.
    PrivateKey,
    /// The id of something.
    Guid,
}

/// What is wanted in a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// A container URL with a SAS.
    ContainerUrl,
    /// A queue's URL with an account SAS.
    QueueUrl,
    /// The key of a Batch account.
    BatchKey,
    /// The key of a storage account.
    StorageKey,
    /// A client secret of an app registration.
    ClientSecret,
    /// The URL of a webhook, which may have a signature of its own.
    Webhook,
    /// A secret that the user made up.
    OwnSecret,
}

/// The bytes of an account key.
const KEY_BYTES: usize = 64;

impl SecretForm {
    /// The form of a text, if it is one of these.
    pub(crate) fn of(text: &str) -> Option<Self> {
        let text = text.trim();
        let lower = text.to_ascii_lowercase();
        let has = |part: &str| lower.contains(part);
        let is_connection_string = ["accountkey=", "sharedaccesssignature=", "defaultendpointsprotocol="]
            .iter()
            .any(|name| has(name));
        if lower.starts_with("https://") || lower.starts_with("http://") {
            return Some(if has("sig=") { Self::SasUrl } else { Self::Url });
        }
        if is_connection_string {
            return Some(Self::ConnectionString);
        }
        if has("sig=") && has("&") {
            return Some(Self::SasToken);
        }
        if text.starts_with("-----BEGIN ") {
            return Some(Self::PrivateKey);
        }
        if text.starts_with("eyJ") && text.matches('.').count() == 2 {
            return Some(Self::Token);
        }
        if is_guid(text) {
            return Some(Self::Guid);
        }
        let bytes = BASE64_STANDARD_NO_PAD.decode(text.trim_end_matches('=')).ok()?;
        (bytes.len() == KEY_BYTES).then_some(Self::AccountKey)
    }

    /// Its name with an article.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::AccountKey => "an account key",
            Self::ConnectionString => "a connection string",
            Self::SasToken => "a SAS without its URL",
            Self::SasUrl => "a URL with a SAS",
            Self::Url => "a URL",
            Self::Token => "a token",
            Self::PrivateKey => "a private key",
            Self::Guid => "an id",
        }
    }
}

impl Wanted {
    /// What is wrong with a secret that has this form. Texts of no known form are left to whoever parses them.
    pub(crate) fn instead(self, text: &str) -> Option<Misread> {
        let form = SecretForm::of(text)?;
        let help = match self {
            Self::ContainerUrl => instead_of_container_url(form)?,
            Self::QueueUrl => instead_of_queue_url(form)?,
            Self::BatchKey => instead_of_batch_key(form)?,
            Self::StorageKey => instead_of_storage_key(form)?,
            Self::ClientSecret => match form {
                SecretForm::Guid => {
                    let help = "create a new client secret and copy its value: the portal shows it only then";
                    return Some(Misread::new("this is the id of a client secret, not its value", help));
                }
                _ => "copy the value of the client secret, which the portal shows when it is created",
            },
            Self::Webhook => match form {
                SecretForm::SasUrl | SecretForm::Url => return None,
                _ => "copy the URL that the receiver shows; it starts with https://",
            },
            Self::OwnSecret => match form {
                SecretForm::ConnectionString | SecretForm::SasUrl | SecretForm::SasToken => {
                    "create one with `openssl rand -hex 32`"
                }
                _ => return None,
            },
        };
        Some(Misread::new(format!("this is {}, not {}", form.name(), self.name()), help))
    }

    fn name(self) -> &'static str {
        match self {
            Self::ContainerUrl => "a container URL with a SAS",
            Self::QueueUrl => "a queue's URL with a SAS",
            Self::BatchKey => "the key of a Batch account",
            Self::StorageKey => "the key of a storage account",
            Self::ClientSecret => "a client secret",
            Self::Webhook => "the URL of a webhook",
            Self::OwnSecret => "a secret for signatures",
        }
    }
}

fn instead_of_container_url(form: SecretForm) -> Option<&'static str> {
    Some(match form {
        SecretForm::AccountKey => {
            "create a SAS for the container; or, if it is the storage account's key, let fleetlogs create the SAS with \
             it: mint = \"account-key\", `account`, `container` and `account_key`"
        }
        SecretForm::ConnectionString => {
            "create a SAS for the container; or let fleetlogs create it with the part after `AccountKey=`: mint = \
             \"account-key\", `account`, `container` and `account_key`"
        }
        SecretForm::SasToken => {
            "put the URL of the container in front of it: https://ACCOUNT.blob.core.windows.net/CONTAINER?sv=...&sig=..."
        }
        SecretForm::Token => {
            "fleetlogs gets tokens by itself: set mint = \"user-delegation\", `account` and `container`"
        }
        SecretForm::PrivateKey | SecretForm::Guid => "create a SAS for the container and copy its whole URL",
        SecretForm::SasUrl | SecretForm::Url => return None,
    })
}

fn instead_of_queue_url(form: SecretForm) -> Option<&'static str> {
    Some(match form {
        SecretForm::AccountKey => "with the storage account's key, set `account`, `queue` and `account_key`",
        SecretForm::ConnectionString => {
            "set `account` and `queue`, and `account_key` to the part after `AccountKey=`"
        }
        SecretForm::SasToken => {
            "put the URL of the queue in front of it: https://ACCOUNT.queue.core.windows.net/QUEUE?sv=...&sig=..."
        }
        SecretForm::Token => "fleetlogs gets tokens by itself: set `account` and `queue`",
        SecretForm::PrivateKey | SecretForm::Guid => {
            "create an account SAS for queues, and put the URL of the queue in front of it"
        }
        SecretForm::SasUrl | SecretForm::Url => return None,
    })
}

fn instead_of_batch_key(form: SecretForm) -> Option<&'static str> {
    Some(match form {
        SecretForm::AccountKey => return None,
        SecretForm::ConnectionString => {
            "it is of a storage account; copy the Batch account's key as the portal shows it, or write auth = \"entra\""
        }
        SecretForm::SasToken | SecretForm::SasUrl => {
            "a SAS opens storage only: copy the Batch account's key as the portal shows it, or write auth = \"entra\""
        }
        SecretForm::Url => {
            "copy the Batch account's key as the portal shows it; its URL belongs into `endpoint`"
        }
        SecretForm::Token => "fleetlogs gets tokens by itself: write auth = \"entra\"",
        SecretForm::PrivateKey | SecretForm::Guid => {
            "copy the Batch account's key as the portal shows it, or write auth = \"entra\""
        }
    })
}

fn instead_of_storage_key(form: SecretForm) -> Option<&'static str> {
    Some(match form {
        SecretForm::AccountKey => return None,
        SecretForm::ConnectionString => "keep only the part after `AccountKey=`",
        SecretForm::SasUrl => {
            "with a SAS, remove `mint` and name the URL: container_url = { file = \"path\" }"
        }
        SecretForm::Token => "fleetlogs gets tokens by itself: set mint = \"user-delegation\"",
        SecretForm::SasToken | SecretForm::Url | SecretForm::PrivateKey | SecretForm::Guid => {
            "copy the storage account's key as the portal shows it"
        }
    })
}

/// 8-4-4-4-12 hexadecimal digits.
pub(crate) fn is_guid(text: &str) -> bool {
    let parts: Vec<_> = text.split('-').collect();
    let lengths: Vec<_> = parts.iter().map(|part| part.len()).collect();
    lengths == [8, 4, 4, 4, 12] && parts.iter().all(|part| part.chars().all(|c| c.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use base64::prelude::BASE64_STANDARD;

    use super::*;

    #[test]
    fn each_secret_is_known_by_its_form() {
        let key = BASE64_STANDARD.encode([7; KEY_BYTES]);
        let table = [
            (key.clone(), Some(SecretForm::AccountKey)),
            (key.trim_end_matches('=').to_owned(), Some(SecretForm::AccountKey)),
            (
                format!("DefaultEndpointsProtocol=https;AccountName=logs;AccountKey={key};EndpointSuffix=x"),
                Some(SecretForm::ConnectionString),
            ),
            (
                "BlobEndpoint=https://logs.blob.core.windows.net/;SharedAccessSignature=sv=1&sig=x".into(),
                Some(SecretForm::ConnectionString),
            ),
            ("https://logs.blob.core.windows.net/c?sv=1&sig=x".into(), Some(SecretForm::SasUrl)),
            ("?sv=2022-11-02&sp=w&sig=x".into(), Some(SecretForm::SasToken)),
            ("https://contoso.westeurope.batch.azure.com".into(), Some(SecretForm::Url)),
            ("eyJhbGciOi.eyJzdWIi.c2ln".into(), Some(SecretForm::Token)),
            ("-----BEGIN PRIVATE KEY-----\nabc".into(), Some(SecretForm::PrivateKey)),
            ("00000000-0000-0000-0000-00000000000a".into(), Some(SecretForm::Guid)),
            ("hunter2".into(), None),
            // Base64 of another length may be anything.
            (BASE64_STANDARD.encode([7; 32]), None),
        ];
        for (text, form) in table {
            assert_eq!(SecretForm::of(&text), form, "{text}");
        }
    }

    #[test]
    fn the_right_secret_is_left_alone_wherever_it_is_wanted() {
        let key = BASE64_STANDARD.encode([7; KEY_BYTES]);
        let url = "https://logs.blob.core.windows.net/c?sv=1&sig=x";
        for (wanted, text) in [
            (Wanted::ContainerUrl, url),
            (Wanted::QueueUrl, url),
            (Wanted::BatchKey, &key),
            (Wanted::StorageKey, &key),
            (Wanted::ClientSecret, "abc~8Q~.secret"),
            // Logic Apps and Power Automate sign their URLs, too.
            (Wanted::Webhook, url),
            (Wanted::OwnSecret, &key),
        ] {
            assert_eq!(wanted.instead(text), None, "{wanted:?}");
        }
    }
}
