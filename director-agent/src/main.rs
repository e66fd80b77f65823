//! Placeholder.
use fulcrum_director as _;

fn main() {}
