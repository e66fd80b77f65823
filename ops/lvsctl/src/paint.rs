//! Colours, on a terminal alone, and not where `NO_COLOR` is set (no-color.org).

use std::io::IsTerminal;

/// Colours or none.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Paint {
    enabled: bool,
}

impl Paint {
    /// As standard output and the environment have it.
    pub(crate) fn detect() -> Self {
        let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self { enabled: std::io::stdout().is_terminal() && !is_set("NO_COLOR") && !is_dumb }
    }

    /// A heading.
    pub(crate) fn bold(self, text: &str) -> String {
        self.wrap("1", text)
    }

    /// What is well.
    pub(crate) fn good(self, text: &str) -> String {
        self.wrap("32", text)
    }

    /// What is wrong.
    pub(crate) fn bad(self, text: &str) -> String {
        self.wrap("1;31", text)
    }

    /// What matters less.
    pub(crate) fn dim(self, text: &str) -> String {
        self.wrap("2", text)
    }

    fn wrap(self, code: &str, text: &str) -> String {
        if self.enabled { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}
