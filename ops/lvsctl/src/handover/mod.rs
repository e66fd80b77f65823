//! Who is to be Active, and how far the cluster is from it. Handover, and drain and undrain of a director, share this.

mod follow;
mod order;
mod outlook;

pub(crate) use follow::follow;
pub(crate) use order::{drained, drainer, name_for, order_of, write};
pub(crate) use outlook::{Goal, Wish, best_of, priority_of};

#[cfg(test)]
mod tests;
