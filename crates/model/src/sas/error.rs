//! Why a text is not a container URL that nodes can write to.

/// Why a text is not a container URL with a SAS. No variant holds anything secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SasUrlError {
    /// Not a URL.
    #[error("it is not a URL")]
    NotAUrl,
    /// White space in the middle: a line that was broken, or a `+` that was read as a space.
    #[error("it has white space or a line break in the middle")]
    WhiteSpace,
    /// Plain http to a host that is not this machine, or another scheme.
    #[error("it must start with https:// (http:// is for loopback addresses only)")]
    Scheme,
    /// A user or a fragment.
    #[error("it has a user in front of its host, or a `#`")]
    UserOrFragment,
    /// The host of another service. `blob_host` is that of the same storage account.
    #[error("its host `{host}` is that of {service}")]
    OtherService {
        /// The host.
        host: String,
        /// Whose it is.
        service: &'static str,
        /// Where the blobs of the account are, if it is a storage account.
        blob_host: Option<String>,
    },
    /// The read-only copy of an account in another region.
    #[error("its host `{0}` is the secondary endpoint, which cannot be written to")]
    Secondary(String),
    /// The path does not name exactly a container.
    #[error("its path must name a container and nothing else")]
    NotAContainer,
    /// The name of a container in capitals.
    #[error("its container has capitals, which no container has")]
    Capitals,
    /// There is no query.
    #[error("it has no SAS: nothing follows the name of the container")]
    NoSas,
    /// The query ends with its first parameter.
    #[error("it was cut off at its first `&`")]
    CutOff,
    /// There is no signature in its query.
    #[error("it has no SAS: the query has no `sig`")]
    NoSignature,
    /// There is no expiry in its query, and no policy that could have one.
    #[error("its query has neither `se` (the expiry) nor `si` (a stored access policy)")]
    NoExpiry,
    /// A time in its query cannot be read.
    #[error("its `{0}` is not a time")]
    BadTime(&'static str),
    /// Percent signs were taken for something else, as in a batch file.
    #[error("its percent signs are gone: `{0}` has lost them")]
    PercentsGone(String),
    /// A percent sign without two hexadecimal digits.
    #[error("its `{0}` has a `%` without two hexadecimal digits after it")]
    BrokenEscape(String),
    /// A parameter that no SAS has.
    #[error("its query has `{0}`, which is no parameter of a SAS")]
    UnknownParameter(String),
    /// A parameter with two values.
    #[error("its query has `{0}` twice, with different values")]
    Repeated(String),
    /// `sp` has something other than letters of permissions.
    #[error("its `sp` has something that is not the letter of a permission, or a letter twice")]
    BadPermissions,
    /// `sp` is out of order; the signature covers the order.
    #[error("its `sp` is out of order: storage accepts `{0}` only")]
    PermissionOrder(String),
    /// `spr` without https.
    #[error("its `spr` does not allow https")]
    Protocol,
}

impl SasUrlError {
    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> String {
        match self {
            Self::PercentsGone(_) => {
                "in a batch file, write `%%` for each `%`; better, put the URL into a file: { file = \"path\" }".into()
            }
            Self::WhiteSpace => {
                "write the whole URL in one line; a space in `sig` was a `+`, which is `%2B` in a URL".into()
            }
            Self::OtherService { blob_host: Some(host), .. } => {
                format!("nodes write blobs: create a SAS for the container at `{host}`")
            }
            Self::NoSas => {
                "create a SAS for the container, and copy its whole URL: ...?sp=w&se=...&sig=...; or let fleetlogs create \
                 one (`mint`)"
                    .into()
            }
            Self::CutOff => {
                "quote the URL in the shell, 'https://...', because `&` ends a command there; better, put it into a \
                 file: { file = \"path\" }"
                    .into()
            }
            Self::Capitals => "write the name of the container as the portal shows it".into(),
            Self::Secondary(_) => "write the host without `-secondary`".into(),
            Self::NoExpiry
            | Self::UnknownParameter(_)
            | Self::Repeated(_)
            | Self::BrokenEscape(_)
            | Self::UserOrFragment => {
                "copy the whole URL again, and only the URL, as the tool that created the SAS shows it".into()
            }
            Self::BadPermissions | Self::PermissionOrder(_) | Self::Protocol => "create the SAS again".into(),
            Self::NotAUrl
            | Self::Scheme
            | Self::OtherService { .. }
            | Self::NotAContainer
            | Self::NoSignature
            | Self::BadTime(_) => {
                "a container URL looks like https://ACCOUNT.blob.core.windows.net/CONTAINER?sp=w&se=...&sig=..."
                    .into()
            }
        }
    }
}
