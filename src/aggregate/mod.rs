//! Merges the metrics of all runners into one result and judges the script's thresholds over the whole test.
//!
//! Runners send k6's OpenTelemetry output, cumulative and with exponential histograms. [`store`] keeps the latest state
//! of each series of each runner, [`view`] merges them, [`judging`] judges the thresholds, and [`session`] tracks the
//! state of each runner. The sockets are in `programs::aggregate`.

mod bounds;
pub mod closing;
pub mod completeness;
pub mod documents;
pub mod empty_metrics;
pub mod export;
pub mod handle_summary;
pub mod histogram;
pub mod judge;
pub mod judging;
pub mod k6_metrics;
pub mod log_chunks;
pub mod moment;
mod otlp;
pub mod outcome;
pub mod prometheus;
pub mod report;
pub mod session;
pub mod sink;
mod source;
pub mod store;
pub mod summary;
pub mod timeline;
mod users;
pub mod verdict;
pub mod view;
mod wire;

pub use sink::{Aggregate, Estimate, Sink};
