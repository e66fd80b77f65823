//! Damaged stores.
