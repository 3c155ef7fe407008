//! The programs that run in the pods of a run: each is a subcommand of our one binary.
//!
//! `linger` stands around k6 in a runner, `inspect` around it in the initializer. [`start`] and [`stop`] talk to all
//! runners, through [`runners`], and what they achieved reaches the operator as a [`crate::protocol::report::Report`].
//! [`mod@aggregate`] merges what the runners measure.

pub mod aggregate;
mod exports;
mod forward;
pub mod http;
pub mod inspect;
pub mod k6_client;
pub mod linger;
mod listening;
mod port;
mod process;
mod relay;
pub mod runners;
mod setup;
pub mod start;
pub mod stop;
pub mod summing;
mod supervisor;
