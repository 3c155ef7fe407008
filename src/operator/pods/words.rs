//! Reads the last words of a container's k6, and explains them for its pod.

use crate::k6::flags::LOG_OUTPUT_VARIABLE;
use crate::k6::log::{self, last_words};
use crate::k6::{Arguments, Flags};
use crate::objects::VOLUME;
use k8s_openapi::api::core::v1::{Container, Pod};

fn container_of<'a>(pod: &'a Pod, name: &str) -> Option<&'a Container> {
    pod.spec
        .as_ref()?
        .containers
        .iter()
        .find(|container| container.name == name)
}

/// The last words of a container's k6. If its log goes elsewhere, the message says so, as what is left in the pod is
/// not k6's.
pub(super) fn words_of(pod: &Pod, name: &str, message: &str) -> String {
    let error = log::last_error(message);
    let elsewhere = || {
        let container = container_of(pod, name)?;
        let mut words = container.command.iter().chain(&container.args).flatten();
        words.find(|word| *word == "run")?;
        let arguments = Arguments::parse(&words.cloned().collect::<Vec<_>>(), &Flags::of_run());
        let mut variables = container.env.iter().flatten();
        let variable = variables.find(|variable| variable.name == LOG_OUTPUT_VARIABLE);
        log::elsewhere(
            &arguments,
            variable.and_then(|variable| variable.value.as_deref()),
        )
    };
    match (error, elsewhere()) {
        (Some(error), _) => missing_file(pod, name, &error).unwrap_or(error),
        (None, Some(place)) => {
            let ours = message
                .lines()
                .rev()
                .find(|line| line.starts_with("k6-operator: "));
            ours.map(|ours| format!("{ours}; {place}")).unwrap_or(place)
        }
        (None, None) => {
            let words = last_words(message);
            missing_file(pod, name, &words).unwrap_or(words)
        }
    }
}

/// Explains that k6 does not find a file: which volume is mounted where, and what to set. k6's own message explains how
/// to mount a folder with Docker.
pub(super) fn missing_file(pod: &Pod, name: &str, words: &str) -> Option<String> {
    let file = log::missing_file(words)?;
    let container = container_of(pod, name)?;
    if !file.starts_with('/') {
        let path = file.strip_prefix("file://").unwrap_or(file);
        return Some(format!(
            "the script imports {path}, which is not there: the files beside the script are those of the same volume \
             or image"
        ));
    }
    let mounts = container.volume_mounts.iter().flatten();
    let inside = |folder: &str| {
        let below = file.strip_prefix(folder.trim_end_matches('/'))?;
        below.strip_prefix('/')
    };
    let mount = mounts
        .filter_map(|mount| Some((mount, inside(&mount.mount_path)?)))
        .max_by_key(|(mount, _)| mount.mount_path.len());
    let Some((mount, below)) = mount else {
        let image = container.image.as_deref().unwrap_or_default();
        return Some(format!(
            "there is no file {file} in the image {image}: set spec.script to where the script is, or spec.runner.image \
             to an image that has it"
        ));
    };
    let folder = &mount.mount_path;
    let mut volumes = pod.spec.as_ref()?.volumes.iter().flatten();
    let volume = volumes.find(|volume| volume.name == mount.name);
    let claim = volume.and_then(|volume| volume.persistent_volume_claim.as_ref());
    let map = volume.and_then(|volume| volume.config_map.as_ref());
    Some(match (claim, map) {
        (Some(claim), _) if mount.name == VOLUME => {
            let claim = &claim.claim_name;
            let from_root = file
                .strip_prefix("/test/")
                .filter(|path| path.contains('/') && *path != below);
            let remedy = match from_root {
                Some(path) => {
                    format!("if it is {path} in the volume, set spec.script.volumeClaim.file to {path}")
                }
                None => "set spec.script.volumeClaim.file to the path of the script in the volume".to_owned(),
            };
            format!(
                "there is no file {file}: the volume of the claim {claim} is mounted at {folder}, and has no {below}; \
                 {remedy}"
            )
        }
        (None, Some(map)) if mount.name == VOLUME => format!(
            "there is no file {file}: the ConfigMap {} is mounted at {folder}, and has no key {below}; add it, or set \
             spec.script.configMap.file",
            map.name
        ),
        _ => format!(
            "there is no file {file}: the volume {} is mounted at {folder}, and has no {below}",
            mount.name
        ),
    })
}
