//! Model checking: every order of what can happen to a run, over the real `classify`, `step` and `effects`.

#[path = "../support/invariants.rs"]
mod invariants;
mod lease;
