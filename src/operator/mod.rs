//! The operator: everything around the state machine that talks to the outside.
pub mod telemetry;
