//! The only asynchronous code that talks to Kubernetes.
//!
//! `program` is the subcommand, `lead` the operator as one future, and `controller` the driver of one run. [`lease`]
//! sees to it that one operator acts at a time. `observe` gathers the world of one run, `persist` is the one place
//! that writes status, `execute` performs effects, `announce` tells transitions as Kubernetes Events.

mod about;
mod announce;
mod backoff;
mod client;
mod controller;
pub mod defaults;
mod execute;
mod lead;
pub mod lease;
mod memory;
mod observe;
mod patience;
mod persist;
mod pods;
mod program;
mod server_time;
pub mod telemetry;
mod world;

pub use crate::clock::Clock;
pub use controller::Error;
pub use lead::{Settings, operate};
pub use program::{RunArgs, run};
