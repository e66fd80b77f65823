//! Conversions between wire messages and `fulcrum-model`.
