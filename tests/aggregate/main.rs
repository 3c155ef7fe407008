//! The merged result against the truth: what real k6 processes write to files of their own, and what k6 itself says
//! of thresholds.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod bounds;
mod closing;
mod exports;
mod histogram;
#[path = "../support/k6.rs"]
mod k6;
mod linger;
mod program;
mod report;
mod run;
mod series;
mod server;
mod summary;
mod thresholds;
mod truth;
#[path = "../support/version.rs"]
mod version;
mod whole;
