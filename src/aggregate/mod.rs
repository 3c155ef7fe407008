//! One result of many runners: their metrics merged, the script's thresholds judged over the whole test.
//!
//! Runners send k6's OpenTelemetry output, cumulative and with exponential histograms; [`store`] keeps the latest
//! state of each series of each runner and merges them, [`threshold`] judges what comes of it. All of it is pure but
//! [`server`], which listens.

mod admission;
mod bounds;
pub mod closing;
pub mod completeness;
pub mod documents;
pub mod export;
pub mod handler;
pub mod histogram;
pub mod judge;
pub mod judging;
pub mod live;
mod otlp;
pub mod outcome;
pub mod own;
pub mod pieces;
pub mod program;
pub mod prometheus;
pub mod report;
pub mod runner;
mod sent;
pub mod server;
mod serving;
pub mod sink;
pub mod store;
pub mod summary;
pub mod timeline;
pub mod unmeasured;
mod users;
pub mod verdict;
pub mod view;

pub use sink::{Aggregate, Estimate, Sink};

pub use crate::k6::threshold;
