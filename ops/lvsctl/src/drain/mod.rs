//! Real servers that take no new connections: which orders there are, and how far each is.

mod follow;
mod outlook;
mod target;

pub(crate) use follow::follow;
pub(crate) use outlook::{Goal, Wish};
pub(crate) use target::{Target, name_for, orders_of, read_target};

#[cfg(test)]
mod tests;
