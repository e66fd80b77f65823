//! How the program ends.

use std::fmt;
use std::process::ExitCode;

/// Exit codes, for scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// All is well, or done.
    Ok,
    /// Something is unhealthy, or a dry run found differences.
    Unhealthy,
    /// Wrong usage or bad input.
    Usage,
    /// No controller or director answers.
    Unreachable,
    /// No such thing.
    NotFound,
    /// Somebody else changed the intent, or the change is held.
    Conflict,
    /// Not allowed.
    Denied,
    /// It took too long.
    TimedOut,
}

impl Exit {
    /// Its number.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Unhealthy => 1,
            Self::Usage => 2,
            Self::Unreachable => 3,
            Self::NotFound => 4,
            Self::Conflict => 5,
            Self::Denied => 6,
            Self::TimedOut => 7,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// A verb that could not do its work: what failed, where, and what to do.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    /// One or more lines, without the program's name and a final newline.
    pub(crate) text: String,
}

impl Failure {
    pub(crate) fn new(exit: Exit, text: impl Into<String>) -> Self {
        Self { exit, text: text.into() }
    }

    pub(crate) fn usage(text: impl Into<String>) -> Self {
        Self::new(Exit::Usage, text)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Failure {}
