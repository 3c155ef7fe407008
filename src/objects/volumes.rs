//! Volumes, and mounts.

use crate::api::PullPolicy;
use k8s_openapi::api::core::v1::{EmptyDirVolumeSource, ImageVolumeSource, Volume, VolumeMount};

/// An empty folder that is deleted with the pod.
pub(super) fn empty(name: &str, source: EmptyDirVolumeSource) -> Volume {
    Volume {
        name: name.to_owned(),
        empty_dir: Some(source),
        ..Volume::default()
    }
}

/// The files of an image, which can't be changed.
pub(super) fn of_image(name: &str, image: &str) -> Volume {
    Volume {
        name: name.to_owned(),
        image: Some(ImageVolumeSource {
            reference: Some(image.to_owned()),
            pull_policy: Some(PullPolicy::IfNotPresent.as_str().to_owned()),
        }),
        ..Volume::default()
    }
}

/// The mount of a volume at a folder of a container.
pub(super) fn mount(volume: &str, folder: &str, is_read_only: bool) -> VolumeMount {
    VolumeMount {
        name: volume.to_owned(),
        mount_path: folder.to_owned(),
        read_only: is_read_only.then_some(true),
        ..VolumeMount::default()
    }
}
