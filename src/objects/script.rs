//! The script as a pod sees it: the volume that has it, where that is mounted, and the path for k6.

use super::validate::{Script, ValidatedRun};
use super::{Owner, names};
use k8s_openapi::api::core::v1::{
    ConfigMap, ConfigMapVolumeSource, PersistentVolumeClaimVolumeSource, Volume, VolumeMount,
};
use std::collections::BTreeMap;

/// The volume that has the script.
pub const VOLUME: &str = "k6-test-volume";
const FOLDER: &str = "/test";
const INLINE_FILE: &str = "test.js";

/// The ConfigMap of a script that the spec has inline; None if the script is somewhere else.
pub fn script(owner: &Owner, validated: &ValidatedRun) -> Option<ConfigMap> {
    let Script::Inline(text) = &validated.script else {
        return None;
    };
    Some(ConfigMap {
        metadata: owner.metadata(names::script_name(&owner.stem(), text), "script"),
        data: Some(BTreeMap::from([(INLINE_FILE.to_owned(), text.clone())])),
        ..ConfigMap::default()
    })
}

/// The path of the script in the pod.
pub(super) fn path(validated: &ValidatedRun) -> String {
    match &validated.script {
        Script::ConfigMap { file, .. } => format!("{FOLDER}/{file}"),
        Script::VolumeClaim { file, .. } if file.starts_with('/') => file.clone(),
        Script::VolumeClaim { file, .. } => format!("{FOLDER}/{file}"),
        Script::LocalFile(file) => file.clone(),
        Script::Inline(_) => format!("{FOLDER}/{INLINE_FILE}"),
    }
}

/// All files of the ConfigMap or the claim, so that the script can import its neighbours.
pub(super) fn volume(owner: &Owner, validated: &ValidatedRun) -> Option<Volume> {
    let of_config_map = |name: String| Volume {
        name: VOLUME.to_owned(),
        config_map: Some(ConfigMapVolumeSource {
            name,
            ..ConfigMapVolumeSource::default()
        }),
        ..Volume::default()
    };
    match &validated.script {
        Script::ConfigMap { name, .. } => Some(of_config_map(name.clone())),
        Script::Inline(text) => Some(of_config_map(names::script_name(&owner.stem(), text))),
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

pub(super) fn mount(validated: &ValidatedRun) -> Option<VolumeMount> {
    let (folder, read_only) = match &validated.script {
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
    Some(VolumeMount {
        name: VOLUME.to_owned(),
        mount_path: folder.to_owned(),
        read_only: read_only.then_some(true),
        ..VolumeMount::default()
    })
}
