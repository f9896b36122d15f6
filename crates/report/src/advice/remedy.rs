//! What has to be done before a run is resumed, retried or started again, for each kind of trouble, in words.

use fleetlogs_model::ids::{AccountName, PoolId};
use fleetlogs_model::known_cause::{Asked, KnownCause, code_in};
use fleetlogs_model::outcome::{Outcome, Shortfall};
use fleetlogs_model::stop_cause::Unverified;

use crate::cause::{Cause, STORAGE_BLOCKED};
use crate::phrase::Phrase;

/// What has to be done first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Remedy {
    /// Nothing.
    None,
    Known(KnownCause),
    /// The account was busy.
    LowerRate,
    /// The service failed by itself.
    ServiceFailed,
    /// The nodes were not ready.
    AwaitNodes,
    UnusableNodes,
    Credential,
    RefusedRequest,
    /// Only the reason itself says more.
    Reason,
    /// No file came from whole pools.
    OpenStorage,
    /// No file came from single nodes.
    SilentNodes,
    /// Some files came.
    PartOfFiles,
    /// The files were still being written.
    MoreTime,
    /// This machine could not list the container.
    ListContainer,
    ForeignDirectory,
    /// Arrival was not verified.
    LetList(Unverified),
    Adopted,
    Gone,
    NewSas,
    ContainerAgain,
    WritableDisk,
    FreeSpace,
}

/// Where a trouble is.
pub(super) struct Place<'a> {
    pub(super) accounts: &'a [AccountName],
    pub(super) pools: &'a [PoolId],
    /// Whether the account has to be named.
    pub(super) is_named: bool,
}

/// What has to be done about nodes that failed, were not called, or sent too little.
pub(super) fn remedy_of(cause: &Cause) -> Remedy {
    match cause.outcome {
        Outcome::Failed => of_failure(cause.code.as_deref(), &cause.reason),
        Outcome::NotSent => of_text(&cause.reason),
        Outcome::Incomplete if cause.reason == STORAGE_BLOCKED => Remedy::OpenStorage,
        Outcome::Incomplete => match cause.shortfall {
            Some(Shortfall::NothingArrived) => Remedy::SilentNodes,
            // Journals of earlier versions do not tell the kind.
            None if cause.reason.is_empty() => Remedy::None,
            Some(Shortfall::FilesMissing) | None => Remedy::PartOfFiles,
            Some(Shortfall::StillChanging) => Remedy::MoreTime,
            Some(Shortfall::SeenOnce) => Remedy::None,
            Some(Shortfall::NotListed) => KnownCause::of_text(Asked::Storage, &cause.reason)
                .map_or(Remedy::ListContainer, Remedy::Known),
            Some(Shortfall::ForeignDirectory) => Remedy::ForeignDirectory,
        },
        Outcome::Verified
        | Outcome::Adopted
        | Outcome::Accepted
        | Outcome::Empty
        | Outcome::InDoubt
        | Outcome::Gone => Remedy::None,
    }
}

/// What has to be done after an error that is known as text only: `403 AuthorizationFailure: …`.
pub(super) fn of_text(why: &str) -> Remedy {
    match KnownCause::of_text(Asked::Batch, why) {
        Some(cause) => Remedy::Known(cause),
        None if why.is_empty() => Remedy::None,
        None => of_code(code_in(why).unwrap_or_default()),
    }
}

fn of_failure(code: Option<&str>, reason: &str) -> Remedy {
    match KnownCause::of(Asked::Batch, code, reason) {
        Some(cause) => Remedy::Known(cause),
        None if code.is_none() && reason.is_empty() => Remedy::None,
        None => of_code(code.unwrap_or_default()),
    }
}

/// By the service's error codes; the order is that of the wire reference.
fn of_code(code: &str) -> Remedy {
    match code {
        "TooManyRequests" | "ServerBusy" => Remedy::LowerRate,
        "InternalError" | "OperationTimedOut" => Remedy::ServiceFailed,
        "NodeBeingCreated"
        | "NodeBeingStarted"
        | "NodeBeingRebooted"
        | "NodeBeingReimaged"
        | "OperationInvalidForCurrentState"
        | "PoolBeingResized"
        | "PoolBeingCreated" => Remedy::AwaitNodes,
        "NodeStateUnusable" => Remedy::UnusableNodes,
        "AuthenticationFailed"
        | "InvalidAuthenticationInfo"
        | "InsufficientAccountPermissions"
        | "AccountIsDisabled"
        | "AuthorizationFailure" => Remedy::Credential,
        "InvalidPropertyValue"
        | "MissingRequiredProperty"
        | "InvalidRequestBody"
        | "InvalidInput"
        | "OutOfRangeInput"
        | "UnsupportedProperty"
        | "UnsupportedRequestVersion" => Remedy::RefusedRequest,
        _ => Remedy::Reason,
    }
}

impl Remedy {
    /// Whether it changes the config.
    pub(super) fn changes_config(self) -> bool {
        match self {
            Self::Known(cause) => cause.changes_config(),
            Self::LowerRate | Self::MoreTime | Self::LetList(_) => true,
            Self::None
            | Self::ServiceFailed
            | Self::AwaitNodes
            | Self::UnusableNodes
            | Self::Credential
            | Self::RefusedRequest
            | Self::Reason
            | Self::OpenStorage
            | Self::SilentNodes
            | Self::PartOfFiles
            | Self::ListContainer
            | Self::ForeignDirectory
            | Self::Adopted
            | Self::Gone
            | Self::NewSas
            | Self::ContainerAgain
            | Self::WritableDisk
            | Self::FreeSpace => false,
        }
    }

    /// One clause, which `; then retry` may follow; none if there is nothing to do first.
    pub(super) fn clause(self, at: &Place<'_>) -> Option<Phrase> {
        let accounts = || at.accounts.iter().map(AccountName::as_str);
        let whose = || {
            if at.is_named { Phrase::default().names(accounts()).text(": ") } else { Phrase::default() }
        };
        Some(match self {
            Self::None => return None,
            Self::Known(cause) => match cause.advice().split_once(THIS_ACCOUNT) {
                Some((before, after)) if !at.accounts.is_empty() => {
                    Phrase::marked(before).text("for ").names(accounts()).append(Phrase::marked(after))
                }
                _ if cause.is_of_batch_account() => whose().append(Phrase::marked(cause.advice())),
                _ => Phrase::marked(cause.advice()),
            },
            Self::LowerRate => {
                Phrase::new("lower ").code("limits.rate").text(": the Batch account was busy until the end")
            }
            Self::ServiceFailed => Phrase::new(
                "give support the request ids (ticket.md) if this happens again: the service failed by itself",
            ),
            Self::AwaitNodes => Phrase::new("wait until the nodes are ready: they were not in time"),
            Self::UnusableNodes => Phrase::new(
                "look at the errors of the unusable nodes and reboot them if possible: they often cannot upload",
            ),
            Self::Credential => {
                whose().text("check the role, the key and this machine's clock (the credential is rejected)")
            }
            Self::RefusedRequest => Phrase::new(
                "check the container URL: the service rejects the request (another time window needs a new run)",
            ),
            Self::Reason => whose().text("deal with what the reason says"),
            Self::OpenStorage => {
                let (text, pools) = match at.pools {
                    [] => {
                        return Some(Phrase::new(
                            "let the nodes reach the storage account (firewall, private endpoint, DNS)",
                        ));
                    }
                    [_] => ("let the nodes of pool ", at.pools),
                    pools => ("let the nodes of pools ", pools),
                };
                Phrase::new(text)
                    .names(pools.iter().map(PoolId::as_str))
                    .text(" reach the storage account (firewall, private endpoint, DNS)")
            }
            Self::SilentNodes => Phrase::new(
                "look at the nodes that sent no file while others of their pool did (disk, restarts, node agent)",
            ),
            Self::PartOfFiles => {
                Phrase::new("look at the nodes that sent only some of their files (network, restarts)")
            }
            Self::MoreTime => Phrase::new("raise ")
                .code("verify.deadline")
                .text(": files were still being written when it passed"),
            Self::ListContainer => Phrase::new("let this machine list the container (see the reason)"),
            Self::ForeignDirectory => {
                Phrase::new("tell support that the service named the directory of another node")
            }
            Self::LetList(Unverified::SwitchedOff) => Phrase::new("set ")
                .code("verify.enabled = true")
                .text(", so that the container is searched for the files"),
            Self::LetList(Unverified::NotPermitted) => Phrase::new("set ")
                .code("destination.verify_url")
                .text(" to a SAS with ")
                .code("r")
                .text(" and ")
                .code("l")
                .text(", so that the container is searched for the files"),
            Self::LetList(Unverified::Other) => Phrase::new("let the container be searched for the files (")
                .code("verify.enabled")
                .text(", and a SAS with ")
                .code("l")
                .text(")"),
            Self::Adopted => Phrase::new(
                "if support needs every file of the adopted nodes, collect them again: files are there, but nothing proves that \
                 they are all",
            ),
            Self::Gone => Phrase::new(
                "nothing can be done: the node, its VM or its pool no longer exists, and its logs went with it",
            ),
            Self::NewSas => Phrase::new(
                "create a SAS for the container that is valid for longer, and put it in place of the old one",
            ),
            Self::ContainerAgain => Phrase::new("create the container again, under the same name"),
            Self::WritableDisk => {
                Phrase::new("make the disk of the run directory writable, with space on it")
            }
            Self::FreeSpace => Phrase::new("free space on the disk of the run directory"),
        })
    }
}

/// What stands for the account in the text of a known cause.
const THIS_ACCOUNT: &str = "for this account";
