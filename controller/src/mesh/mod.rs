//! What agents say, between controllers: each one tells every peer of the agents attached to itself.
//!
//! [`publish`] tells, [`receive`] hears. Nothing is passed on from one peer to another, so news crosses one hop at most.

pub mod publish;
pub mod receive;
