//! `fleetlogs schema`: prints the JSON Schema of a document, or of the config.

use clap::{Parser, ValueEnum};

use crate::error::CliError;
use crate::exit::Exit;
use crate::output::print;

#[derive(Debug, Parser)]
pub(crate) struct SchemaArgs {
    /// Which document it describes
    #[arg(value_enum, value_name = "DOCUMENT")]
    pub(crate) which: Document,
}

/// A document that has a schema. `tests/e2e/schemas.rs` holds what the program prints against them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Document {
    Config,
    Run,
    Plan,
    Check,
    Status,
    Runs,
    Event,
    Notification,
    Manifest,
    Error,
    History,
    Verify,
    Fetch,
    FanOut,
    Worker,
    Shard,
    Schedule,
    Bundle,
    BundleCheck,
    Share,
    Unshare,
    Ticket,
}

impl Document {
    fn text(self) -> &'static str {
        macro_rules! file {
            ($name:literal) => {
                include_str!(concat!("../../../../docs/schema/", $name, ".v1.json"))
            };
        }
        match self {
            Self::Config => CONFIG_SCHEMA,
            Self::Run => file!("run"),
            Self::Plan => file!("plan"),
            Self::Check => file!("check"),
            Self::Status => file!("status"),
            Self::Runs => file!("runs"),
            Self::Event => file!("event"),
            Self::Notification => file!("notification"),
            Self::Manifest => fleetlogs_report::MANIFEST_SCHEMA,
            Self::Error => file!("error"),
            Self::History => file!("history"),
            Self::Verify => file!("verify"),
            Self::Fetch => file!("fetch"),
            Self::FanOut => file!("fan-out"),
            Self::Worker => file!("worker"),
            Self::Shard => file!("shard"),
            Self::Schedule => file!("schedule"),
            Self::Bundle => file!("bundle"),
            Self::BundleCheck => file!("bundle-check"),
            Self::Share => file!("share"),
            Self::Unshare => file!("unshare"),
            Self::Ticket => file!("ticket"),
        }
    }
}

/// The schema of the config. A test holds it against the keys that the reader knows.
pub(crate) const CONFIG_SCHEMA: &str = include_str!("../../../../docs/schema/config.v1.json");

pub(crate) fn schema(args: &SchemaArgs) -> Result<Exit, CliError> {
    print(args.which.text())
}
