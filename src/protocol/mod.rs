//! What the pods of a run and the operator exchange: messages, headers and tokens. Pure.

pub mod heartbeat;
pub mod inspected;
mod millis;
pub mod outcome;
pub mod report;
pub mod tokens;
pub mod verdict;

/// The header of an export with the number of its runner.
pub const RUNNER_HEADER: &str = "k6-runner";
/// The header of an export that distinguishes the processes of a runner.
pub const PROCESS_HEADER: &str = "k6-process";

/// True for a value that is left out where it is written.
pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
