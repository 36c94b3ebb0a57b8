//! How the program ends: the table of exit statuses, in one place.

/// An exit status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exit(pub u8);

impl Exit {
    /// Passed, or done.
    pub(crate) const DONE: Self = Self(0);
    /// Tests failed.
    pub(crate) const FAILED: Self = Self(1);
    /// Usage or configuration.
    pub(crate) const USAGE: Self = Self(2);
    /// Infrastructure: no verdict.
    pub(crate) const NO_VERDICT: Self = Self(3);
    /// A bug of ours.
    pub(crate) const BUG: Self = Self(70);
    /// The terminal went away.
    pub(crate) const HUNG_UP: Self = Self(129);
    /// Interrupted with Ctrl-C.
    pub(crate) const INTERRUPTED: Self = Self(130);
    /// Ended with SIGTERM.
    pub(crate) const TERMINATED: Self = Self(143);
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        exit.0.into()
    }
}
