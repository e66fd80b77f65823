//! Manifests from the rules of other programs.

mod manifests;
mod name;
mod names;

pub(crate) use manifests::{Imported, Settings, manifests};
pub(crate) use names::Resolver;

#[cfg(test)]
mod tests;
