//! What the pods of a run, and the operator, say to each other. Pure.

pub mod inspected;
pub mod outcome;
pub mod report;
pub mod verdict;
