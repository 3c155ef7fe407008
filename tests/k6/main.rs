//! What is known of k6, held against what k6 itself says: captured answers of several versions, and the k6 that is
//! here, or that `K6_BIN` names.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod help;
mod inspect;
#[path = "../support/k6.rs"]
#[allow(dead_code, reason = "no k6 of these tests listens")]
mod k6;
#[path = "../support/version.rs"]
mod version;
