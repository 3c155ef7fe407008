//! Simulation: the real operator against an API server in this process, under virtual time and one seed.

#[path = "../support/invariants.rs"]
mod invariants;
