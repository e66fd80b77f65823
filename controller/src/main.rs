//! `fulcrum-controller`.
fn main() {}
