//! Which secrets a command reads.

/// Which secrets a command reads besides those of accounts and storage. Other secrets are not read and may be missing;
/// only the form of their source is checked.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "a flag for each table; none depends on another")]
pub(crate) struct Needs {
    /// Those of `[journal]`.
    pub(crate) journal: bool,
    /// Those of `[scale_out]`.
    pub(crate) scale_out: bool,
    /// Those of `[schedule.lease]`.
    pub(crate) lease: bool,
    /// Those of `[schedule.listener]`.
    pub(crate) listener: bool,
    /// Those of `[[notify]]`.
    pub(crate) notify: bool,
}

impl Needs {
    /// For a command that ends a run.
    pub(crate) const RUN: Self =
        Self { journal: true, scale_out: false, lease: false, listener: false, notify: true };
    /// For a command that looks at journals.
    pub(crate) const JOURNAL: Self =
        Self { journal: true, scale_out: false, lease: false, listener: false, notify: false };
    /// For a command that works on partitions of a run.
    pub(crate) const SCALE_OUT: Self =
        Self { journal: true, scale_out: true, lease: false, listener: false, notify: false };
    /// For a command that ends a run which workers share.
    pub(crate) const FAN_OUT: Self = Self { notify: true, ..Self::SCALE_OUT };
    /// For a command that shows the schedule.
    pub(crate) const LIST: Self =
        Self { journal: false, scale_out: false, lease: true, listener: false, notify: false };
    /// For a command that runs the schedule.
    pub(crate) const SCHEDULE: Self =
        Self { journal: true, scale_out: false, lease: true, listener: true, notify: true };
}
