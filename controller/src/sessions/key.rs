//! Which agent the wire speaks of.

use fulcrum_intent::{AgentId, AgentRole};
use fulcrum_model::{Name, NameError};
use fulcrum_proto::v1;

/// What is said names no agent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Its name.
    #[error("name: {0}")]
    Name(#[from] NameError),
    /// Its role.
    #[error("role: {found:?} is neither director nor realserver")]
    Role {
        /// As it was given.
        found: String,
    },
}

/// A director.
pub fn director(name: Name) -> AgentId {
    AgentId { role: AgentRole::Director, name }
}

/// A real-server agent.
pub fn real_server(name: Name) -> AgentId {
    AgentId { role: AgentRole::RealServer, name }
}

/// Whether it is a director.
pub fn is_director(agent: &AgentId) -> bool {
    agent.role == AgentRole::Director
}

/// Who says this hello.
///
/// # Errors
/// [`KeyError`] tells which part is wrong.
pub fn from_hello(hello: &v1::Hello) -> Result<AgentId, KeyError> {
    let name = hello.name.parse()?;
    match hello.role() {
        v1::AgentRole::Director => Ok(director(name)),
        v1::AgentRole::RealServer => Ok(real_server(name)),
        v1::AgentRole::Unspecified => Err(KeyError::Role { found: hello.role.to_string() }),
    }
}

/// Whom this status is of.
///
/// # Errors
/// [`KeyError`] tells which part is wrong.
pub fn from_status(status: &v1::AgentStatus) -> Result<AgentId, KeyError> {
    let name = status.name.parse()?;
    let role = [AgentRole::Director, AgentRole::RealServer]
        .into_iter()
        .find(|role| role.as_str() == status.role)
        .ok_or_else(|| KeyError::Role { found: status.role.clone() })?;
    Ok(AgentId { role, name })
}
