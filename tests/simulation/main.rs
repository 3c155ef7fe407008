//! Simulation: the real operator against an API server in this process, under virtual time and one seed.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../support/invariants.rs"]
mod invariants;
