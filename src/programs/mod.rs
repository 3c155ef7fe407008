//! The programs that run in the pods of a run, as subcommands of one binary.
//!
//! `linger` wraps k6 in a runner, and `inspect` wraps it in the initializer. [`start`] and [`stop`] reach all runners
//! through [`runners`] and report to the operator by a [`crate::protocol::report::Report`]. [`mod@aggregate`] merges
//! what the runners measure.

pub mod aggregate;
mod exports;
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

use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;
use std::time::Duration;

/// A command-line argument in whole seconds.
#[derive(Clone, Copy, Debug)]
pub struct Seconds(pub Duration);

impl FromStr for Seconds {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Duration::from_secs).map(Self)
    }
}

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_secs().fmt(f)
    }
}
