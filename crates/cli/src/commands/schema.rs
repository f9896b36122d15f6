//! `fleetlogs schema`: prints the JSON Schema of a document.

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

/// A document that has a schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Document {
    Manifest,
}

impl Document {
    fn text(self) -> &'static str {
        match self {
            Self::Manifest => fleetlogs_report::MANIFEST_SCHEMA,
        }
    }
}

pub(crate) fn schema(args: &SchemaArgs) -> Result<Exit, CliError> {
    print(args.which.text())
}
