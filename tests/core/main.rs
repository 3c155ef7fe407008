//! The pure core: what can happen to a run, what follows from it, and the objects that carry it out.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod aggregation;
mod empties;
#[allow(dead_code)]
#[path = "../aggregate/exports.rs"]
mod exports;
mod generated;
mod histories;
mod hostile;
mod inspection;
mod judging;
mod kstatus;
mod layers;
mod mutants;
mod objects;
mod properties;
mod refused_pods;
mod scenarios;
mod schemas;
mod shapes;
mod shipped;
mod sizes;
mod snapshot;
mod support;
mod transitions;
