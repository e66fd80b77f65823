//! Sends events to whom policies name: by mail, HTTP, and programs of this host.
//!
//! [`queue`] decides when a channel sends what, [`policy`] which events are its affair; both are pure, as is [`text`]. How far each channel
//! is, Raft notes: a new leader goes on from there, and sends at most once more what was sent and not yet noted.

mod command;
mod files;
mod mail;
pub mod policy;
pub mod queue;
pub mod text;
mod webhook;

use std::path::PathBuf;

use policy::Way;
use queue::Message;
use text::Sender;

/// What this host offers to channels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Home {
    /// Holds files with secrets, by name; none are read when absent.
    pub secrets: Option<PathBuf>,
    /// Holds programs, by name; none are run when absent.
    pub commands: Option<PathBuf>,
}

/// A try failed: what went wrong, with the remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Fault(pub String);

/// Sends a message once.
///
/// # Errors
/// [`Fault`] when nobody is known to have taken it.
pub async fn send(way: &Way, message: &Message, sender: &Sender, home: &Home) -> Result<(), Fault> {
    match way {
        Way::Smtp(smtp) => mail::send(smtp, message, sender, home).await,
        Way::Webhook(hook) => webhook::send(hook, message, sender, home).await,
        Way::Command(command) => command::send(command, message, sender, home).await,
    }
}

#[cfg(test)]
mod tests;
