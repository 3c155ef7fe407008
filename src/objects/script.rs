//! The script: its source in the spec, the volume that holds it, and its path in a pod.

use super::spec_error::SpecError;
use super::{ValidatedRun, names, volumes};
use k8s_openapi::api::core::v1::{
    ConfigMap, ConfigMapVolumeSource, PersistentVolumeClaimVolumeSource, Volume, VolumeMount,
};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// The maximum size of an inline script, in bytes: a ConfigMap has room for 1 MiB.
pub(super) const INLINE_LIMIT: usize = 1_000_000;

const DEFAULT_FILE: &str = "test.js";

/// The volume that holds the script.
pub const VOLUME: &str = "k6-test-volume";
const FOLDER: &str = "/test";
const INLINE_FILE: &str = "test.js";

/// The source of a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Script {
    /// A ConfigMap and a key in it.
    ConfigMap {
        /// The name of the ConfigMap.
        name: String,
        /// The key with the script.
        file: String,
    },
    /// A PersistentVolumeClaim and a path in it.
    VolumeClaim {
        /// The name of the claim.
        name: String,
        /// The path: absolute in the pod, or below `/test`.
        file: String,
        /// True if the claim is mounted read-only.
        read_only: bool,
    },
    /// A path in the image.
    LocalFile(String),
    /// The source of the script in the spec.
    Inline(String),
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

/// Reads the source from `spec.script`.
pub(super) fn parse(script: &Value) -> Result<Script, SpecError> {
    let wrong = |what: &str| SpecError::Script(what.to_owned());
    match script {
        Value::String(name) => config_map(name.clone(), None),
        Value::Object(_) => {
            let sources: Sources =
                serde_json::from_value(script.clone()).map_err(|e| SpecError::Script(e.to_string()))?;
            let Sources {
                config_map: map,
                volume_claim: claim,
                local_file,
                inline,
            } = sources;
            match (map, claim, local_file, inline) {
                (Some(source), None, None, None) => config_map(source.name, source.file),
                (None, Some(source), None, None) => volume_claim(source),
                (None, None, Some(file), None) => file_path("localFile", file).map(Script::LocalFile),
                (None, None, None, Some(text)) if text.len() <= INLINE_LIMIT => Ok(Script::Inline(text)),
                (None, None, None, Some(text)) => Err(SpecError::Inline(text.len())),
                _ => Err(wrong("it has none or several of them")),
            }
        }
        Value::Null => Err(wrong("it has none of them")),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) => Err(wrong("it is neither")),
    }
}

fn config_map(name: String, file: Option<String>) -> Result<Script, SpecError> {
    let name = subdomain("a ConfigMap", name)?;
    let file = or_default(file);
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

/// The file that the user names, or `test.js`.
fn or_default(file: Option<String>) -> String {
    let file = file.filter(|file| !file.is_empty());
    file.unwrap_or_else(|| DEFAULT_FILE.to_owned())
}

fn volume_claim(source: VolumeClaimSource) -> Result<Script, SpecError> {
    let VolumeClaimSource {
        name,
        file,
        read_only,
    } = source;
    let name = subdomain("a PersistentVolumeClaim", name)?;
    let file = or_default(file);
    let file = file_path("volumeClaim.file", file)?;
    if let Some(absolute) = file.strip_prefix('/') {
        // A volume at the root would hide the whole image.
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

/// Refuses text that is not the path of a file, and paths that lead out of their folder.
fn file_path(field: &'static str, text: String) -> Result<String, SpecError> {
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

/// Checks a name by the rules of Kubernetes:
/// <https://kubernetes.io/docs/concepts/overview/working-with-objects/names/#dns-subdomain-names>
fn subdomain(what: &str, name: String) -> Result<String, SpecError> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    let label = |label: &str| !label.is_empty() && !label.starts_with('-') && !label.ends_with('-');
    if name.len() > 253 || !name.chars().all(fits) || !name.split('.').all(label) {
        return Err(SpecError::Script(format!("{name:?} can't be the name of {what}")));
    }
    Ok(name)
}

/// The ConfigMap of an inline script; None for any other.
pub fn script(run: &ValidatedRun) -> Option<ConfigMap> {
    let owner = &run.owner;
    let Script::Inline(text) = &run.spec.script else {
        return None;
    };
    Some(ConfigMap {
        metadata: owner.metadata(names::script_name(&owner.stem(), text), "script"),
        data: Some(BTreeMap::from([(INLINE_FILE.to_owned(), text.clone())])),
        ..ConfigMap::default()
    })
}

/// The path of the script in the pod.
pub(super) fn path(run: &ValidatedRun) -> String {
    match &run.spec.script {
        Script::ConfigMap { file, .. } => format!("{FOLDER}/{file}"),
        Script::VolumeClaim { file, .. } if file.starts_with('/') => file.clone(),
        Script::VolumeClaim { file, .. } => format!("{FOLDER}/{file}"),
        Script::LocalFile(file) => file.clone(),
        Script::Inline(_) => format!("{FOLDER}/{INLINE_FILE}"),
    }
}

/// The volume with all files of the ConfigMap or claim, so that the script can import those beside it.
pub(super) fn volume(run: &ValidatedRun) -> Option<Volume> {
    let of_config_map = |name: String| Volume {
        name: VOLUME.to_owned(),
        config_map: Some(ConfigMapVolumeSource {
            name,
            ..ConfigMapVolumeSource::default()
        }),
        ..Volume::default()
    };
    match &run.spec.script {
        Script::ConfigMap { name, .. } => Some(of_config_map(name.clone())),
        Script::Inline(text) => Some(of_config_map(names::script_name(&run.owner.stem(), text))),
        Script::VolumeClaim { name, read_only, .. } => Some(Volume {
            name: VOLUME.to_owned(),
            persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
                claim_name: name.clone(),
                read_only: read_only.then_some(true),
            }),
            ..Volume::default()
        }),
        Script::LocalFile(_) => None,
    }
}

/// The mount of that volume; None if the script is in the image.
pub(super) fn mount(run: &ValidatedRun) -> Option<VolumeMount> {
    let (folder, read_only) = match &run.spec.script {
        Script::ConfigMap { .. } | Script::Inline(_) => (FOLDER, true),
        Script::VolumeClaim { file, read_only, .. } => {
            let folder = file.rsplit_once('/').map(|(folder, _)| folder);
            (
                folder.filter(|_| file.starts_with('/')).unwrap_or(FOLDER),
                *read_only,
            )
        }
        Script::LocalFile(_) => return None,
    };
    Some(volumes::mount(VOLUME, folder, read_only))
}
