//! Why a config cannot be used.

use std::path::PathBuf;

use super::reader::Mistake;
use crate::file_kind::FileKind;
use crate::input_file::InputError;

/// The config cannot be used.
#[derive(Debug)]
pub(crate) enum ConfigError {
    /// The file cannot be read.
    Unreadable(PathBuf, InputError),
    /// It is something else than a config.
    WrongFile(PathBuf, FileKind),
    /// The file has mistakes.
    Mistakes(PathBuf, Vec<Mistake>),
}
