//! Model checking: every order of what can happen to a run, over the real `classify`, `step` and `effects`.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../support/invariants.rs"]
mod invariants;
mod lease;
