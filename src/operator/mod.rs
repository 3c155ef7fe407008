//! The only code that talks to the API server.
//!
//! | module | what it does |
//! |---|---|
//! | `command`, `context`, `error` | the subcommand `run`; what all steps use; what can go wrong |
//! | `manager`, [`leadership`] | the operator as one future; of several operators one acts |
//! | `caches`, `memory` | what the watches show; what the operator remembers of each run |
//! | `reconcile`, `decide` | the driver of one run; its decisions, which are pure |
//! | `observe`, `pods` | gathers the facts of one run; reads Jobs and pods |
//! | `persist`, `execute` | writes the status, in one place; performs effects |
//! | `events`, `describe`, `run_info` | publishes transitions as Kubernetes Events; their sentences; the facts for the report |
//! | [`image_volumes`] | whether nodes can mount the operator's image |
//! | `client`, `timeout`, `backoff`, `server_time` | the client of the API server, the timeout of requests, pauses after failures, the API server's clock |
//! | [`defaults`], [`telemetry`] | the administrator's settings; logs, traces, metrics and health |

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
pub mod image_volumes;
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
