//! What is shipped in `manifests/`, as files.

use serde_json::Value;
use std::path::{Path, PathBuf};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// The YAML documents of a file.
fn documents(path: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(repository().join(path)).unwrap();
    serde_saphyr::from_multiple(&text).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// RFC 2606 reserves the domain `.invalid`: nobody can publish an image by this name.
#[test]
fn default_image_has_a_name_that_nobody_can_own() {
    let kustomization = documents("manifests/operator/kustomization.yaml").remove(0);
    let image = &kustomization["images"][0];
    assert_eq!(image["newName"], "k6-operator.invalid/operator");
    assert_eq!(image["newTag"], "dev");
    let scripts = std::fs::read_to_string(repository().join("tests/cluster/lib.sh")).unwrap();
    assert!(scripts.contains("\ndefault_image=k6-operator.invalid/operator:dev\n"));
}
