//! The Kubernetes objects of a run. Pure: [`validate`] checks a spec once, and each builder starts from a
//! [`ValidatedRun`].

mod aggregator;
mod arguments;
mod environment;
mod initializer;
mod names;
mod pod;
mod programs;
mod runner;
mod script;
mod sequence;
mod settings;
mod spec_error;
mod spec_size;
mod tokens;
mod validate;
mod volumes;

pub use crate::k6::duration::{duration_text, whole_seconds};
pub use crate::k6::segments::{self, segment};
pub use aggregator::{AGGREGATE, AGGREGATOR_PORT, aggregator, service, summary};
pub use arguments::{ArgumentError, literal, split, words};
pub use initializer::{INSPECT, initializer};
pub use names::{
    ATTEMPT_LABEL, COMPONENT_LABEL, GENERATION_ANNOTATION, KIND_ANNOTATION, RUN_ANNOTATION, RUN_LABEL,
    RUN_NAME_LABEL, RUNNER_LABEL, address, aggregator_name, child_name, initializer_name, runner_name,
    script_name, service_name, starter_name, stem, stopper_name, summary_name, tokens_name,
};
pub use pod::{Defaults, Owner, PORT};
pub use programs::{PROGRAM_CONTAINER, mounts_program, starter, stopper};
pub use runner::{RUNNER, runner};
pub use script::{Script, VOLUME, script};
pub use sequence::sequence;
pub use settings::Common;
pub use spec_error::SpecError;
pub use tokens::tokens;
pub use validate::{ValidatedRun, ValidatedSpec, validate};
