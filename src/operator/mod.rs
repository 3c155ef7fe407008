//! The only asynchronous code that talks to Kubernetes.
//!
//! `command` is the subcommand, `manager` the operator as one future, and `reconcile` the driver of one run, whose decisions are in `decide`.
//! [`leadership`]
//! sees to it that one operator acts at a time. `observe` gathers the world of one run, `persist` is the one place
//! that writes status, `execute` performs effects, `publish` tells transitions as Kubernetes Events.

mod backoff;
mod caches;
mod client;
mod command;
mod context;
mod decide;
pub mod defaults;
mod describe;
mod error;
mod events;
mod execute;
pub mod leadership;
mod manager;
mod memory;
mod observe;
mod persist;
mod pods;
mod reconcile;
mod run_info;
mod server_time;
pub mod telemetry;
mod timeout;

pub use command::{RunArgs, run};
pub use error::Error;
pub use manager::{Settings, operate};
