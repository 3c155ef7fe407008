//! The reasons for which a spec can't be carried out.

use super::arguments::ArgumentError;
use super::script::INLINE_LIMIT;
use super::spec_size::SPEC_LIMIT;
use crate::limits::PARALLELISM;
use crate::machine::rps_too_low;
use thiserror::Error;

/// A spec can't be carried out: the field and the remedy.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SpecError {
    /// parallelism is out of range.
    #[error("spec.parallelism is {0}: it must be at least 1 and at most {PARALLELISM}")]
    Parallelism(i64),
    /// script has none of its shapes.
    #[error(
        "spec.script must be the name of a ConfigMap, or an object with exactly one of configMap, volumeClaim, \
         localFile and inline: {0}"
    )]
    Script(String),
    /// A file can't be used.
    #[error("spec.script.{field} is {text:?}: {remedy}")]
    File {
        /// The field below script.
        field: &'static str,
        /// Its value.
        text: String,
        /// What it must be.
        remedy: &'static str,
    },
    /// The script in the spec is too long.
    #[error(
        "spec.script.inline has {0} bytes: at most {INLINE_LIMIT} fit into a ConfigMap; use volumeClaim or localFile"
    )]
    Inline(usize),
    /// The spec leaves no room for the status.
    #[error(
        "spec has {bytes} bytes as JSON, {of_field} of them in {field}: at most {SPEC_LIMIT} leave room for the status in \
         etcd; move it into a ConfigMap or a volume"
    )]
    TooLarge {
        /// All of it.
        bytes: usize,
        /// The path of the field that most of it is in.
        field: String,
        /// The bytes of this field.
        of_field: usize,
    },
    /// A text can't be given to a program.
    #[error("spec.{field} has {what}, which no program can be given: remove it")]
    Uncarried {
        /// The path of the field.
        field: String,
        /// What it is.
        what: &'static str,
    },
    /// No name of a variable.
    #[error("spec.{field}.name is {name:?}: it must be printable ASCII without `=`")]
    Variable {
        /// The path of the variable.
        field: String,
        /// Its name.
        name: String,
    },
    /// arguments can't be used.
    #[error(transparent)]
    Arguments(#[from] ArgumentError),
    /// Fewer requests per second than runners.
    #[error("{}", rps_too_low(*.rps, *.parallelism))]
    Rps {
        /// As the arguments or the environment of k6 say it.
        rps: u64,
        /// The number of runners.
        parallelism: u32,
    },
    /// A timeout is no duration.
    #[error("spec.timeouts.{field} is {text:?}: write a duration from 1s to 168h, such as 90s or 5m")]
    Timeout {
        /// The field below timeouts.
        field: &'static str,
        /// Its value.
        text: String,
    },
}
