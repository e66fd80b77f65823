//! Directors' tables for people: side by side, and what differs from what is wanted.

mod differences;
mod groups;
mod side_by_side;

use fulcrum_proto::v1;

pub(crate) use differences::{count, summary};
pub(crate) use groups::groups;
pub(crate) use side_by_side::side_by_side;

/// A director's table as it was told last.
#[derive(Clone, Debug)]
pub(crate) struct Listing {
    pub(crate) director: String,
    pub(crate) attached: bool,
    pub(crate) observed: v1::DirectorObserved,
}

#[cfg(test)]
mod tests;
