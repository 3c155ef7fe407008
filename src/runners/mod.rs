//! The runners.
pub mod report;
