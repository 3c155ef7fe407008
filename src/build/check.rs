//! Checks a spec as a whole, and says what is wrong with it where a user can mend it.

use super::arguments;
use crate::api::K6Spec;
use crate::machine::Terms;
use jiff::SignedDuration;
use serde::Deserialize;
use thiserror::Error;

/// The most runners of one run.
pub const PARALLELISM_LIMIT: u32 = 10_000;

const DEFAULT_FILE: &str = "test.js";
const DEFAULT_TIMEOUT: SignedDuration = SignedDuration::from_secs(300);
const LONGEST_TIMEOUT_SECONDS: u64 = 7 * 24 * 3600;

/// A spec that can be carried out.
#[derive(Clone, Debug, PartialEq)]
pub struct Checked {
    /// What the state machine needs of it.
    pub terms: Terms,
    /// The ConfigMap with the script.
    pub config_map: String,
    /// The key in it.
    pub file: String,
    /// The user's arguments of k6.
    pub arguments: Vec<String>,
}

/// What is wrong with a spec: the field and the remedy.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SpecError {
    /// parallelism is out of range.
    #[error("spec.parallelism is {0}: it must be at least 1 and at most {PARALLELISM_LIMIT}")]
    Parallelism(i64),
    /// script has neither of the two shapes.
    #[error("spec.script must be the name of a ConfigMap, or {{configMap: {{name, file}}}}: {0}")]
    Script(String),
    /// arguments can't be used.
    #[error(transparent)]
    Arguments(#[from] arguments::ArgumentError),
    /// A timeout is no duration.
    #[error("spec.timeouts.{field} is {text:?}: write a duration from 1s to 168h, such as 90s or 5m")]
    Timeout {
        /// The field below timeouts.
        field: &'static str,
        /// Its value.
        text: String,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ScriptObject {
    config_map: ConfigMapScript,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfigMapScript {
    name: String,
    file: Option<String>,
}

/// Checks a spec.
pub fn check(spec: &K6Spec) -> Result<Checked, SpecError> {
    let K6Spec {
        parallelism,
        script,
        separate: _,
        arguments,
        runner: _,
        starter: _,
        timeouts,
    } = spec;
    let count = u32::try_from(*parallelism)
        .ok()
        .filter(|n| (1..=PARALLELISM_LIMIT).contains(n));
    let (config_map, file) = check_script(script)?;
    Ok(Checked {
        terms: Terms {
            parallelism: count.ok_or(SpecError::Parallelism(*parallelism))?,
            initialization_timeout: timeout("initialization", timeouts.initialization.as_deref())?,
            start_timeout: timeout("start", timeouts.start.as_deref())?,
        },
        config_map,
        file,
        arguments: arguments::split(arguments)?,
    })
}

fn check_script(script: &serde_json::Value) -> Result<(String, String), SpecError> {
    let wrong = |what: &str| SpecError::Script(what.to_owned());
    let (name, file) = match script {
        serde_json::Value::String(name) => (name.clone(), DEFAULT_FILE.to_owned()),
        serde_json::Value::Object(_) => {
            let object: ScriptObject =
                serde_json::from_value(script.clone()).map_err(|e| SpecError::Script(e.to_string()))?;
            let ConfigMapScript { name, file } = object.config_map;
            (name, file.unwrap_or_else(|| DEFAULT_FILE.to_owned()))
        }
        serde_json::Value::Null
        | serde_json::Value::Bool(_)
        | serde_json::Value::Number(_)
        | serde_json::Value::Array(_) => return Err(wrong("it is neither")),
    };
    // https://kubernetes.io/docs/concepts/overview/working-with-objects/names/#dns-subdomain-names
    let subdomain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    if name.is_empty() || name.len() > 253 || !name.chars().all(subdomain) {
        return Err(wrong(&format!("{name:?} can't be the name of a ConfigMap")));
    }
    let key = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if file.is_empty() || file.len() > 253 || file.starts_with("..") || !file.chars().all(key) {
        return Err(wrong(&format!("{file:?} can't be a key of a ConfigMap")));
    }
    Ok((name, file))
}

fn timeout(field: &'static str, text: Option<&str>) -> Result<SignedDuration, SpecError> {
    let Some(text) = text else {
        return Ok(DEFAULT_TIMEOUT);
    };
    let seconds = super::seconds(text).filter(|s| (1..=LONGEST_TIMEOUT_SECONDS).contains(s));
    let seconds = seconds.and_then(|s| i64::try_from(s).ok());
    seconds
        .map(SignedDuration::from_secs)
        .ok_or_else(|| SpecError::Timeout {
            field,
            text: text.to_owned(),
        })
}
