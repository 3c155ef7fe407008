//! What the pods of a run say to the operator. Pure.

pub mod inspected;
