//! PURE. From a spec to the Kubernetes objects of a run.

mod arguments;
pub mod check;
mod initializer;
mod names;
mod pod;
mod programs;
mod runner;
mod script;
mod segments;
mod settings;
mod time;

pub use arguments::{ArgumentError, for_archive, literal, split, words};
pub use check::{Checked, Script, check};
pub use initializer::initializer;
pub use names::{
    ATTEMPT_LABEL, COMPONENT_LABEL, GENERATION_ANNOTATION, KIND_ANNOTATION, RUN_ANNOTATION, RUN_LABEL,
    RUNNER_LABEL, child_name, initializer_name, runner_name, script_name, starter_name, stem, stopper_name,
};
pub use pod::{Defaults, Owner, PORT};
pub use programs::{starter, stopper};
pub use runner::runner;
pub use script::script;
pub use segments::{segment, sequence};
pub use settings::Common;
pub use time::{duration_text, seconds};
