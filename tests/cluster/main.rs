//! End to end: the Deployment that `make deploy` installs, in a real cluster, with the real k6.
//!
//! `tests/cluster/e2e` runs them. Each test has a namespace of its own, in which Kubernetes admits only pods
//! that satisfy the Pod Security Standard `restricted`.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[path = "../support/collector.rs"]
mod collector;
#[path = "../support/empties.rs"]
mod empties;
#[path = "../support/faults.rs"]
mod faults;
#[path = "../support/invariants.rs"]
mod invariants;

mod aggregation;
mod article;
mod attacks;
mod canary;
mod deadlines;
mod facts;
mod field;
mod fields;
mod gitops;
mod golden;
mod handlers;
mod isolation;
mod kept;
mod kills;
mod leaders;
mod lifecycle;
mod long;
mod many;
mod namespaced;
mod network;
mod objects;
mod placement;
mod pods;
mod policies;
mod process;
mod refusals;
mod reported;
mod results;
mod rights;
mod rules;
mod run;
mod sequences;
mod shares;
mod sources;
mod summaries;
mod support;
mod telling;
mod torture;
mod traces;
mod written;
