//! PURE. From a spec to the Kubernetes objects of a run.

mod arguments;
pub mod check;
mod initializer;
mod names;
mod pod;
mod programs;
mod runner;
mod segments;
mod time;

pub use arguments::{ArgumentError, for_archive, split};
pub use check::{Checked, check};
pub use initializer::initializer;
pub use names::{
    COMPONENT_LABEL, RUN_ANNOTATION, RUN_LABEL, RUNNER_LABEL, child_name, initializer_name, runner_name,
    starter_name, stopper_name,
};
pub use pod::{Defaults, Owner, PORT};
pub use programs::{starter, stopper};
pub use runner::runner;
pub use segments::{segment, sequence};
pub use time::{duration_text, seconds};
