//! Checks a spec as a whole, and says what is wrong with it where a user can mend it.

use super::{Defaults, arguments, unlike_runners};
use crate::aggregate::runner;
use crate::api::{PodSettings, Setup, Spec, Timeouts};
use crate::k6::arguments::boolean;
use crate::k6::{Arguments, Flags};
use crate::limits::PARALLELISM;
use crate::machine::{Plan, Terms, rps_too_low};
use k8s_openapi::api::core::v1::EnvVar;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io;
use thiserror::Error;

/// The most bytes of a script that the spec has inline: a ConfigMap has room for 1 MiB.
const INLINE_LIMIT: usize = 1_000_000;

/// The most bytes of a spec, as JSON. etcd takes 1.5 MiB at a time (`--max-request-bytes`), which is the whole resource:
/// beside the spec up to 256 KiB of annotations, which users may add at any time, and the status.
/// <https://etcd.io/docs/v3.5/dev-guide/limit/>
const SPEC_LIMIT: usize = 1_100_000;

const DEFAULT_FILE: &str = "test.js";
const DEFAULT_TIMEOUT_SECONDS: u32 = 300;
const LONGEST_TIMEOUT_SECONDS: u32 = 7 * 24 * 3600;

/// A spec that can be carried out.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidatedRun {
    /// What the state machine needs of it.
    pub terms: Terms,
    /// Where the script is.
    pub script: Script,
    /// The user's arguments of k6.
    pub arguments: Vec<String>,
    /// The tags of the script's options, once k6 has told them.
    pub tags: BTreeMap<String, String>,
    /// The most requests per second of all runners together, once it is known.
    pub rps: Option<u64>,
}

impl ValidatedRun {
    /// The same, of a spec that is completed by these defaults.
    pub fn completed(mut self, spec: &Spec, defaults: &Defaults) -> Self {
        self.terms.unlike_runners = unlike_runners(spec, defaults);
        self
    }

    /// The same, of a script of which this was planned.
    pub fn planned(&self, plan: &Plan) -> Self {
        Self {
            tags: plan.tags.clone(),
            rps: plan.rps,
            ..self.clone()
        }
    }
}

/// Where a script is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Script {
    /// A ConfigMap and a key in it.
    ConfigMap {
        /// Its name.
        name: String,
        /// The key.
        file: String,
    },
    /// A PersistentVolumeClaim and a path in it.
    VolumeClaim {
        /// Its name.
        name: String,
        /// The path: absolute in the pod, or below `/test`.
        file: String,
        /// Whether it is mounted read-only.
        read_only: bool,
    },
    /// A path in the image.
    LocalFile(String),
    /// The script itself.
    Inline(String),
}

/// What is wrong with a spec: the field and the remedy.
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
    Arguments(#[from] arguments::ArgumentError),
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

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Sources {
    config_map: Option<ConfigMapSource>,
    volume_claim: Option<VolumeClaimSource>,
    local_file: Option<String>,
    inline: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfigMapSource {
    name: String,
    file: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct VolumeClaimSource {
    name: String,
    file: Option<String>,
    #[serde(default)]
    read_only: bool,
}

fn json_size(value: &impl Serialize) -> usize {
    let mut size = Size(0);
    // Nothing that a spec is made of fails to serialize, and nothing here to be written.
    let _ = serde_json::to_writer(&mut size, value);
    size.0
}

/// Counts what is written.
struct Size(usize);

impl io::Write for Size {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.saturating_add(bytes.len());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn size(spec: &Spec) -> Result<(), SpecError> {
    let bytes = json_size(spec);
    if bytes <= SPEC_LIMIT {
        return Ok(());
    }
    let mut found = serde_json::to_value(spec).unwrap_or_default();
    let (mut field, mut of_field) = ("spec".to_owned(), bytes);
    // Down to the field that has more than half of what is above it.
    loop {
        let inner: Vec<(String, Value)> = match found {
            Value::Object(fields) => fields
                .into_iter()
                .map(|(name, value)| (format!(".{name}"), value))
                .collect(),
            Value::Array(list) => list
                .into_iter()
                .enumerate()
                .map(|(i, value)| (format!("[{i}]"), value))
                .collect(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
        };
        let sized = inner
            .into_iter()
            .map(|(name, value)| (json_size(&value), name, value));
        match sized.max_by_key(|(size, ..)| *size) {
            Some((size, name, value)) if size > of_field / 2 => {
                (field, of_field, found) = (field + &name, size, value);
            }
            Some(_) | None => {
                return Err(SpecError::TooLarge {
                    bytes,
                    field,
                    of_field,
                });
            }
        }
    }
}

/// Checks a spec.
pub fn validate(spec: &Spec) -> Result<ValidatedRun, SpecError> {
    let Timeouts {
        initialization,
        start,
        run,
    } = &spec.timeouts;
    let count = u32::try_from(spec.parallelism)
        .ok()
        .filter(|n| (1..=PARALLELISM).contains(n));
    let waiting = |field, text: &Option<String>| match text {
        Some(text) => timeout(field, text),
        None => Ok(DEFAULT_TIMEOUT_SECONDS),
    };
    size(spec)?;
    environment(spec)?;
    let arguments = if spec.args.is_empty() {
        arguments::split(&spec.arguments)?
    } else {
        arguments::words("args", &spec.args)?
    };
    let unpaused = spec.paused.is_some_and(|paused| !paused.0);
    let parsed = Arguments::parse(&arguments, &Flags::of_run());
    // k6 takes what an argument says before what its environment does.
    let says = |flag: &str, variable: &str| {
        let argument = parsed.is_on(flag);
        let set = |env: &[EnvVar]| {
            let variable = env.iter().find(|own| own.name == variable)?;
            Some(variable.value.as_deref().and_then(boolean) == Some(true))
        };
        let environment = || set(&spec.runner.common.env).or_else(|| set(&spec.pod_template.env));
        argument.or_else(environment).unwrap_or(false)
    };
    let parallelism = count.ok_or(SpecError::Parallelism(spec.parallelism))?;
    let rps = rps(spec, &parsed);
    if let Some(rps) = rps.filter(|rps| (1..u64::from(parallelism)).contains(rps)) {
        return Err(SpecError::Rps { rps, parallelism });
    }
    Ok(ValidatedRun {
        script: check_script(&spec.script)?,
        terms: Terms {
            parallelism,
            initialization_timeout_seconds: waiting("initialization", initialization)?,
            start_timeout_seconds: waiting("start", start)?,
            run_timeout_seconds: run.as_deref().map(|text| timeout("run", text)).transpose()?,
            suspended: spec.suspend,
            unpaused,
            uninspected: spec
                .initializer
                .as_ref()
                .is_some_and(|initializer| initializer.disabled),
            unsupported: unsupported(spec, &parsed),
            unlike_runners: None,
            unaggregated: unaggregated(spec, &parsed),
            setup_per_runner: unpaused
                || spec.setup == Some(Setup::PerRunner)
                || says("no-setup", "K6_NO_SETUP")
                || says("no-teardown", "K6_NO_TEARDOWN"),
            unjudged: says("no-thresholds", "K6_NO_THRESHOLDS"),
            rps,
        },
        arguments,
        tags: BTreeMap::new(),
        rps: None,
    })
}

/// The limit of requests per second in the arguments, or in the environment of the runners, which k6 takes before that
/// of the script. It does not cut it by segment: <https://grafana.com/docs/k6/latest/using-k6/k6-options/reference/#rps>
fn rps(spec: &Spec, arguments: &Arguments) -> Option<u64> {
    // What k6 can't read, it refuses itself.
    let number = |text: &str| {
        text.parse::<i64>()
            .ok()
            .map(|rps| u64::try_from(rps).unwrap_or_default())
    };
    let set = |env: &[EnvVar]| {
        let variable = env.iter().rev().find(|variable| variable.name == "K6_RPS")?;
        Some(variable.value.clone().unwrap_or_default())
    };
    let environment = || set(&spec.runner.common.env).or_else(|| set(&spec.pod_template.env));
    match arguments.value("rps") {
        Some(value) => number(value),
        None => number(&environment()?),
    }
}

/// Why the metrics of the runners are not to be merged, or can't be: k6 has one OpenTelemetry output. Its settings are
/// set by the operator, whatever the user's environment has for other programs.
fn unaggregated(spec: &Spec, arguments: &Arguments) -> Option<String> {
    if spec.aggregation.enabled == Some(false) {
        return Some("spec.aggregation.enabled is false".to_owned());
    }
    let outputs = arguments::outputs(arguments);
    let one = "of which k6 can have only one; send the metrics elsewhere by another output";
    if let Some(output) = outputs.iter().find(|output| runner::is_opentelemetry(output)) {
        return Some(format!("the arguments of k6 have --out {output}, {one}"));
    }
    let name = runner::OUTPUTS;
    let variables = spec.runner.common.env.iter().chain(&spec.pod_template.env);
    let outputs = variables
        .filter(|variable| variable.name == name)
        .filter_map(|variable| variable.value.as_deref());
    let taken = outputs
        .flat_map(|outputs| outputs.split(','))
        .any(runner::is_opentelemetry);
    taken.then(|| format!("env has {name} with an OpenTelemetry output, {one}"))
}

/// What the pods are to be given must be such that a program can be given it.
fn environment(spec: &Spec) -> Result<(), SpecError> {
    let none = PodSettings::default();
    let initializer = spec
        .initializer
        .as_ref()
        .map_or(&none, |initializer| &initializer.pod);
    let parts = [
        ("podTemplate", &spec.pod_template, &none.init_containers),
        ("initializer", &initializer.common, &initializer.init_containers),
        ("runner", &spec.runner.common, &spec.runner.init_containers),
        ("starter", &spec.starter.common, &spec.starter.init_containers),
    ];
    for (part, common, containers) in parts {
        variables(part, &common.env)?;
        for (i, container) in containers.iter().enumerate() {
            let part = format!("{part}.initContainers[{i}]");
            variables(&part, &container.env)?;
            for (field, words) in [("command", &container.command), ("args", &container.args)] {
                for word in words {
                    carried(&format!("{part}.{field}"), word)?;
                }
            }
        }
    }
    Ok(())
}

fn variables(part: &str, env: &[EnvVar]) -> Result<(), SpecError> {
    for (i, variable) in env.iter().enumerate() {
        let field = format!("{part}.env[{i}]");
        let name = &variable.name;
        let fits = |c: char| matches!(c, ' '..='~') && c != '=';
        if name.is_empty() || !name.chars().all(fits) {
            return Err(SpecError::Variable {
                field,
                name: name.clone(),
            });
        }
        carried(&field, variable.value.as_deref().unwrap_or_default())?;
    }
    Ok(())
}

fn carried(field: &str, text: &str) -> Result<(), SpecError> {
    match arguments::uncarried(text) {
        Some(what) => Err(SpecError::Uncarried {
            field: field.to_owned(),
            what,
        }),
        None => Ok(()),
    }
}

/// What users of grafana/k6-operator may have set and is not done here.
fn unsupported(spec: &Spec, arguments: &Arguments) -> Option<String> {
    let cloud = "runs of Grafana Cloud k6 are not done here: remove it, and start those with `k6 cloud run`";
    let scuttle = "k6 is not wrapped here: remove it, and make the proxy a native sidecar (an init container with \
                   restartPolicy Always), which ends with the pod";
    let is_set = |text: &Option<String>| text.as_deref().is_some_and(|text| !text.is_empty());
    let fields = [
        ("spec.testRunId", is_set(&spec.test_run_id), cloud),
        ("spec.token", is_set(&spec.token), cloud),
        ("spec.scuttle", spec.scuttle.as_ref().is_some_and(wraps), scuttle),
    ];
    let mut told: Vec<String> = fields
        .into_iter()
        .filter(|(_, set, _)| *set)
        .map(|(field, _, remedy)| format!("{field} has no effect: {remedy}"))
        .collect();
    let is_cloud = |output: &str| output.split('=').next() == Some("cloud");
    if arguments::outputs(arguments).into_iter().any(is_cloud) {
        told.push(
            "with --out cloud every runner is a test run of its own in Grafana Cloud k6: remove it from the arguments, \
             or run that script with `k6 cloud run --local-execution`"
                .to_owned(),
        );
    }
    (!told.is_empty()).then(|| told.join("; "))
}

/// Whether settings of scuttle ask for it: `enabled: "false"` and no settings do not.
fn wraps(scuttle: &serde_json::Value) -> bool {
    match scuttle.get("enabled") {
        Some(Value::Bool(enabled)) => *enabled,
        Some(Value::String(enabled)) => enabled != "false",
        Some(_) => true,
        None => scuttle.as_object().is_none_or(|settings| !settings.is_empty()),
    }
}

fn check_script(script: &serde_json::Value) -> Result<Script, SpecError> {
    let wrong = |what: &str| SpecError::Script(what.to_owned());
    match script {
        Value::String(name) => config_map(name.clone(), None),
        Value::Object(_) => {
            let sources: Sources =
                serde_json::from_value(script.clone()).map_err(|e| SpecError::Script(e.to_string()))?;
            match sources {
                Sources {
                    config_map: Some(source),
                    volume_claim: None,
                    local_file: None,
                    inline: None,
                } => config_map(source.name, source.file),
                Sources {
                    config_map: None,
                    volume_claim: Some(source),
                    local_file: None,
                    inline: None,
                } => volume_claim(source),
                Sources {
                    config_map: None,
                    volume_claim: None,
                    local_file: Some(file),
                    inline: None,
                } => {
                    let file = path("localFile", file)?;
                    Ok(Script::LocalFile(file))
                }
                Sources {
                    config_map: None,
                    volume_claim: None,
                    local_file: None,
                    inline: Some(text),
                } if text.len() <= INLINE_LIMIT => Ok(Script::Inline(text)),
                Sources {
                    config_map: None,
                    volume_claim: None,
                    local_file: None,
                    inline: Some(text),
                } => Err(SpecError::Inline(text.len())),
                Sources { .. } => Err(wrong("it has none or several of them")),
            }
        }
        Value::Null => Err(wrong("it has none of them")),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) => Err(wrong("it is neither")),
    }
}

fn config_map(name: String, file: Option<String>) -> Result<Script, SpecError> {
    let name = subdomain("a ConfigMap", name)?;
    let file = file
        .filter(|file| !file.is_empty())
        .unwrap_or_else(|| DEFAULT_FILE.to_owned());
    let key = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if file.len() > 253 || file == "." || file.starts_with("..") || !file.chars().all(key) {
        return Err(SpecError::File {
            field: "configMap.file",
            text: file,
            remedy: "it must be a key of the ConfigMap: letters, digits, -, _ and . only",
        });
    }
    Ok(Script::ConfigMap { name, file })
}

fn volume_claim(source: VolumeClaimSource) -> Result<Script, SpecError> {
    let VolumeClaimSource {
        name,
        file,
        read_only,
    } = source;
    let name = subdomain("a PersistentVolumeClaim", name)?;
    let file = file
        .filter(|file| !file.is_empty())
        .unwrap_or_else(|| DEFAULT_FILE.to_owned());
    let file = path("volumeClaim.file", file)?;
    if let Some(absolute) = file.strip_prefix('/') {
        // At the root the volume would hide the whole image.
        let no_folder = !absolute.contains('/');
        let crooked = absolute.split('/').any(|part| part.is_empty() || part == ".");
        // Kubernetes can't mount at a path with a colon.
        let colon = absolute
            .rsplit_once('/')
            .is_some_and(|(folder, _)| folder.contains(':'));
        if no_folder || crooked || colon {
            return Err(SpecError::File {
                field: "volumeClaim.file",
                text: file,
                remedy: "an absolute file must stand in a folder without `:`, at which the volume is mounted, such as \
                         /test/test.js",
            });
        }
    }
    Ok(Script::VolumeClaim {
        name,
        file,
        read_only,
    })
}

/// A path that is one, and that stays where it is.
fn path(field: &'static str, text: String) -> Result<String, SpecError> {
    let bad = text.starts_with('-')
        || text.ends_with('/')
        || text.split('/').any(|part| part == "..")
        || text.chars().any(char::is_control)
        || text.is_empty();
    if bad {
        return Err(SpecError::File {
            field,
            text,
            remedy: "it must be the path of a file, without `..` and control characters, and not begin with a hyphen",
        });
    }
    Ok(text)
}

/// <https://kubernetes.io/docs/concepts/overview/working-with-objects/names/#dns-subdomain-names>
fn subdomain(what: &str, name: String) -> Result<String, SpecError> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    let label = |label: &str| !label.is_empty() && !label.starts_with('-') && !label.ends_with('-');
    if name.len() > 253 || !name.chars().all(fits) || !name.split('.').all(label) {
        return Err(SpecError::Script(format!("{name:?} can't be the name of {what}")));
    }
    Ok(name)
}

fn timeout(field: &'static str, text: &str) -> Result<u32, SpecError> {
    super::seconds(text)
        .and_then(|seconds| u32::try_from(seconds).ok())
        .filter(|seconds| (1..=LONGEST_TIMEOUT_SECONDS).contains(seconds))
        .ok_or_else(|| SpecError::Timeout {
            field,
            text: text.to_owned(),
        })
}
