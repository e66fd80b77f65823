//! The cluster as a person wants it at 3 a.m.: what is wrong with its remedy, then who is Active, which weights and why.
//!
//! Pure: from the API's topology and the time to text. Start reading at [`problems`] for what counts as unhealthy, then
//! at [`topology`].

mod assess;
mod explain;
#[cfg(test)]
pub(crate) mod fixtures;
mod local;
mod render;
mod restarts;
mod time;
mod tunnels;
mod view;
mod vrrp;

pub(crate) use assess::{director_problems, problems};
pub(crate) use explain::{explain, subjects, to_node as chains_to_node, to_text as chains_to_text};
pub(crate) use local::{frozen, local_drain, real_server, real_server_problems};
pub(crate) use render::{director, topology};
pub(crate) use time::{ago, clock};
pub(crate) use view::{agent_role_word, controller_role_word, verdict_word, vrrp_state_word};

#[cfg(test)]
mod tests;
