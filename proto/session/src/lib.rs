//! How an agent stays attached to a controller and keeps its plan.
