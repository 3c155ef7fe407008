//! The only asynchronous code that talks to Kubernetes.
//!
//! `controller` is the driver; [`lease`] sees to it that one operator acts at a time; `observe` gathers the world of one run, `persist` is the one place that
//! writes status, `execute` performs effects, `announce` tells transitions as Kubernetes Events.

mod announce;
mod clock;
mod controller;
mod defaults;
mod execute;
pub mod lease;
mod memory;
mod observe;
mod persist;
mod pods;
pub mod telemetry;
mod world;

pub use clock::Clock;
pub use controller::{Error, RunArgs, Settings, operate, run};
