//! `fleetlogs init`: prints a config with every key, its default and a comment.

use crate::config::DEFAULTS;
use crate::error::CliError;
use crate::exit::Exit;
use crate::output::print;

pub(crate) fn init() -> Result<Exit, CliError> {
    print(DEFAULTS)
}
