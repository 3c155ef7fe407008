//! Bad input at the edges: whatever comes from outside, nothing panics, nothing grows without bounds, and what is
//! valid is read for what it is.
//!
//! `corpus/<edge>/` has real inputs and malformed ones; each is always tried. Then proptest mutations them: bytes are
//! flipped, cut and spliced, and values of JSON replaced, dropped and doubled. `PROPTEST_CASES` (`make fuzz`) says
//! how often.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../core/support.rs"]
#[allow(dead_code)]
mod support;

mod defaults;
mod exports;
mod inspect;
mod message;
mod mutate;
mod rest;
mod spec;
mod status;
