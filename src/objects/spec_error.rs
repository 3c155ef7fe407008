//! Reasons for which a spec can't be carried out.

use super::arguments::ArgumentError;
use super::script::INLINE_LIMIT;
use super::spec_size::SPEC_LIMIT;
use crate::limits::PARALLELISM;
use crate::machine::rps_too_low;
use thiserror::Error;

/// The reason for which a spec can't be carried out. Its message names the field and the remedy.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SpecError {
    /// parallelism is out of range.
    #[error("spec.parallelism is {0}: it must be at least 1 and at most {PARALLELISM}")]
    Parallelism(i64),
    /// script has none of its forms.
    #[error(
        "spec.script must be the name of a ConfigMap, or an object with exactly one of configMap, volumeClaim, \
         localFile and inline: {0}"
    )]
    Script(String),
    /// The path of a file can't be used.
    #[error("spec.script.{field} is {text:?}: {remedy}")]
    File {
        /// The name of the field, below script.
        field: &'static str,
        /// The value of the field.
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
        /// The size of the spec, in bytes.
        bytes: usize,
        /// The path of the field that has most of it.
        field: String,
        /// The size of this field, in bytes.
        of_field: usize,
    },
    /// A text can't be passed to a program.
    #[error("spec.{field} has {what}, which no program can be given: remove it")]
    Uncarried {
        /// The path of the field.
        field: String,
        /// What is in the text, such as a NUL character.
        what: &'static str,
    },
    /// The name of a variable is not valid.
    #[error("spec.{field}.name is {name:?}: it must be printable ASCII without `=`")]
    Variable {
        /// The path of the variable in the spec.
        field: String,
        /// The name as the user wrote it.
        name: String,
    },
    /// arguments or args can't be used.
    #[error(transparent)]
    Arguments(#[from] ArgumentError),
    /// The limit of requests per second is lower than the number of runners.
    #[error("{}", rps_too_low(*.rps, *.parallelism))]
    Rps {
        /// The limit in the arguments or the environment of k6.
        rps: u64,
        /// The number of runners.
        parallelism: u32,
    },
    /// A timeout is not a duration in its range.
    #[error("spec.timeouts.{field} is {text:?}: write a duration from 1s to 168h, such as 90s or 5m")]
    Timeout {
        /// The name of the field, below timeouts.
        field: &'static str,
        /// The value of the field.
        text: String,
    },
}
