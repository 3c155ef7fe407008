//! PURE. From a spec to the Kubernetes objects of a run.

mod aggregator;
mod arguments;
mod initializer;
mod names;
mod pod;
mod programs;
mod runner;
mod script;
pub mod segments;
mod settings;
mod tokens;
pub mod validate;

pub use crate::k6::duration::{duration_text, seconds};
pub use aggregator::{AGGREGATE, AGGREGATOR_PORT, aggregator, service, summary};
pub use arguments::{ArgumentError, literal, split, words};
pub use initializer::{INSPECT, initializer};
pub use names::{
    ATTEMPT_LABEL, COMPONENT_LABEL, GENERATION_ANNOTATION, KIND_ANNOTATION, RUN_ANNOTATION, RUN_LABEL,
    RUN_NAME_LABEL, RUNNER_LABEL, aggregator_name, child_name, initializer_name, runner_name, script_name,
    service_name, starter_name, stem, stopper_name, summary_name, tokens_name,
};
pub use pod::{Defaults, Owner, PORT};
pub use programs::{PROGRAM_CONTAINER, Port, starter, stopper};
pub use runner::{RUNNER, Wiring, runner};
pub use script::{VOLUME, script};
pub use segments::{segment, sequence};
pub use settings::{Common, unlike_runners};
pub use tokens::tokens;
pub use validate::{Script, ValidatedRun, validate};
