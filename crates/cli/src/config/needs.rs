//! Which secrets a command reads.

/// Which secrets a command needs besides those of accounts and storage. Others are not read: where they are is looked at
/// for mistakes, and they may be missing there.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Needs {
    /// Of `[schedule.lease]`.
    pub(crate) lease: bool,
    /// Of `[schedule.listener]`.
    pub(crate) listener: bool,
    /// Of `[[notify]]`.
    pub(crate) notify: bool,
}

impl Needs {
    /// A command that ends a run.
    pub(crate) const RUN: Self = Self { lease: false, listener: false, notify: true };
    /// One that looks at the schedule.
    pub(crate) const LIST: Self = Self { lease: true, listener: false, notify: false };
    /// One that works on it.
    pub(crate) const SCHEDULE: Self = Self { lease: true, listener: true, notify: true };
}
