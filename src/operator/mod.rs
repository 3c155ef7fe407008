//! The only asynchronous code that talks to Kubernetes.
//!
//! `controller` is the driver; `observe` gathers the world of one run, `persist` is the one place that
//! writes status, `execute` performs effects, `announce` tells transitions as Kubernetes Events.

mod announce;
mod controller;
mod defaults;
mod execute;
mod memory;
mod observe;
mod persist;
mod pods;
pub mod telemetry;
mod world;

pub use controller::{RunArgs, run};

/// The one clock: to the millisecond, as the history records it.
#[allow(clippy::disallowed_methods)]
fn now() -> jiff::Timestamp {
    let now = jiff::Timestamp::now();
    now.round(jiff::Unit::Millisecond).unwrap_or(now)
}
