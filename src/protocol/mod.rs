//! What the pods of a run, and the operator, say to each other, and by what they know each other. Pure.

pub mod inspected;
pub mod outcome;
pub mod report;
pub mod tokens;
pub mod verdict;
