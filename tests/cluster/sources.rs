//! Where a script can come from.

use crate::run::{Run, contains_all, k6, says};
use crate::support::Test;
use k6_operator::api::Kind;
use k6_operator::machine::Reason;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolume};
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::json;
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use tempfile::TempDir;

#[tokio::test]
async fn a_config_map_is_named_by_a_string_or_with_the_file_in_it() {
    let test = Test::new("configmap").await;
    let (default, other) = (says(1, "the default file"), says(1, "another file"));
    test.config_map("scripts", &[("test.js", &default), ("other.js", &other)])
        .await;
    let spec = |script| json!({"parallelism": 1, "script": script});
    let file = json!({"configMap": {"name": "scripts", "file": "other.js"}});
    let no_file = json!({"configMap": {"name": "scripts"}});
    let runs = [
        (
            Run::apply(&test, Kind::K6, "short", spec(json!("scripts"))),
            "the default file",
        ),
        (
            Run::apply(&test, Kind::K6, "object", spec(file.clone())),
            "another file",
        ),
        (
            Run::apply(&test, Kind::TestRun, "peer", spec(file)),
            "another file",
        ),
        (
            Run::apply(&test, Kind::TestRun, "no-file", spec(no_file)),
            "the default file",
        ),
    ];
    for (run, words) in &runs {
        run.passes().await;
        contains_all(&run.logs().await, &[words]);
    }
}

#[tokio::test]
async fn a_script_imports_and_opens_its_neighbours_in_the_config_map() {
    let test = Test::new("neighbours").await;
    let script = "import { words } from './words.js';
const data = JSON.parse(open('./data.json'));
export const options = { vus: 2, iterations: 2 };
export default function () { console.log(`${words} and ${data.word}`); }
";
    let files = [
        ("main.js", script),
        ("words.js", "export const words = 'imported';\n"),
        ("data.json", "{\"word\": \"opened\"}"),
    ];
    test.config_map("several", &files).await;
    let script = json!({"configMap": {"name": "several", "file": "main.js"}});
    let run = Run::apply(
        &test,
        Kind::TestRun,
        "several",
        json!({"parallelism": 2, "script": script}),
    );
    run.passes().await;
    assert_eq!(run.logs().await.matches("imported and opened").count(), 2);
}

#[tokio::test]
async fn an_archive_of_k6_in_a_config_map_runs() {
    let test = Test::new("archive").await;
    let folder = TempDir::new().unwrap();
    let script = "import { words } from './words.js';
export const options = { vus: 2, iterations: 2 };
export default function () { console.log(words); }
";
    std::fs::write(folder.path().join("main.js"), script).unwrap();
    std::fs::write(
        folder.path().join("words.js"),
        "export const words = 'archived';\n",
    )
    .unwrap();
    k6(folder.path(), &["archive", "-O", "test.tar", "main.js"]);
    let archive = std::fs::read(folder.path().join("test.tar")).unwrap();
    let mut map: ConfigMap = serde_json::from_value(json!({"metadata": {"name": "archive"}})).unwrap();
    map.binary_data = Some(BTreeMap::from([("test.tar".to_owned(), ByteString(archive))]));
    let maps: Api<ConfigMap> = Api::namespaced(test.client.clone(), &test.namespace);
    maps.create(&PostParams::default(), &map).await.unwrap();

    let script = json!({"configMap": {"name": "archive", "file": "test.tar"}});
    let spec = json!({"parallelism": 2, "script": script});
    let runs = Run::of_both_kinds(&test, "tar", &spec);
    for run in &runs {
        let status = run.passes().await;
        assert_eq!(status.plan.unwrap().max_vus, Some(2));
        assert_eq!(run.logs().await.matches("archived").count(), 2);
    }
}

/// A folder of the node as a PersistentVolume, and the claim that is bound to it.
pub struct Volume {
    name: String,
    volumes: Api<PersistentVolume>,
    folder: TempDir,
}

impl Volume {
    pub async fn new(test: &Test, claim: &str) -> Self {
        let folder = TempDir::new().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let name = format!("{}-{claim}", test.namespace);
        let volumes: Api<PersistentVolume> = Api::all(test.client.clone());
        let volume = json!({"metadata": {"name": name}, "spec": {
            "capacity": {"storage": "1Mi"}, "accessModes": ["ReadWriteMany"], "storageClassName": name,
            "persistentVolumeReclaimPolicy": "Retain", "hostPath": {"path": folder.path()}
        }});
        let volume = serde_json::from_value(volume).unwrap();
        volumes.create(&PostParams::default(), &volume).await.unwrap();
        let wanted = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": claim},
            "spec": {"accessModes": ["ReadWriteMany"], "storageClassName": name, "volumeName": name,
                "resources": {"requests": {"storage": "1Mi"}}}});
        test.file("claim.json", &wanted.to_string());
        test.kubectl(&["apply", "-f", "claim.json"]);
        Self {
            name,
            volumes,
            folder,
        }
    }

    pub fn write(&self, file: &str, text: &str) {
        let path = self.folder.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// Also runners may write to it.
    pub fn for_all(self) -> Self {
        let all = std::fs::Permissions::from_mode(0o777);
        std::fs::set_permissions(self.folder.path(), all).unwrap();
        self
    }

    /// What is in its files, by name.
    pub fn files(&self) -> BTreeMap<String, String> {
        let files = std::fs::read_dir(self.folder.path()).unwrap();
        let read = |file: std::fs::DirEntry| {
            let name = file.file_name().to_string_lossy().into_owned();
            (name, std::fs::read_to_string(file.path()).unwrap())
        };
        files.map(|file| read(file.unwrap())).collect()
    }

    pub async fn delete(self) {
        self.volumes
            .delete(&self.name, &DeleteParams::background())
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn a_script_in_a_volume_is_found_by_a_relative_and_by_an_absolute_file() {
    let test = Test::new("volume").await;
    let volume = Volume::new(&test, "scripts").await;
    volume.write("test.js", &says(1, "the default of a volume"));
    volume.write("words.js", "export const words = 'a neighbour';\n");
    volume.write(
        "main.js",
        "import { words } from './words.js';
export const options = { vus: 1, iterations: 1 };
export default function () { console.log(`${words} of ${__ENV.HERE || 'no'} folder`); }
",
    );
    let claims = [
        (
            "found",
            Kind::K6,
            json!({}),
            "the default of a volume",
            "/test",
            false,
        ),
        (
            "relative",
            Kind::TestRun,
            json!({"file": "main.js", "readOnly": true}),
            "a neighbour",
            "/test",
            true,
        ),
        (
            "absolute",
            Kind::K6,
            json!({"file": "/scripts/main.js", "readOnly": true}),
            "a neighbour",
            "/scripts",
            true,
        ),
    ];
    let mut runs = Vec::new();
    for (name, kind, mut claim, words, folder, read_only) in claims {
        claim["name"] = json!("scripts");
        let spec = json!({"parallelism": 1, "script": {"volumeClaim": claim}});
        runs.push((Run::apply(&test, kind, name, spec), words, folder, read_only));
    }
    for (run, words, folder, read_only) in &runs {
        run.passes().await;
        contains_all(&run.logs().await, &[words]);
        let pod = run.pod("runner").await;
        let spec = pod.spec.unwrap();
        let mounts = spec.containers[0].volume_mounts.as_ref().unwrap();
        let mount = mounts
            .iter()
            .find(|mount| mount.name == "k6-test-volume")
            .unwrap();
        assert_eq!(mount.mount_path, *folder);
        assert_eq!(mount.read_only.unwrap_or_default(), *read_only);
        let volumes = spec.volumes.unwrap();
        let claim = volumes
            .iter()
            .find_map(|volume| volume.persistent_volume_claim.as_ref());
        assert_eq!(claim.unwrap().read_only.unwrap_or_default(), *read_only);
    }
    volume.delete().await;
}

#[tokio::test]
async fn a_local_file_is_read_from_the_image_and_a_missing_one_is_an_error_with_k6s_words() {
    let test = Test::new("local").await;
    let spec = |file: &str| {
        json!({"parallelism": 2, "script": {"localFile": file},
        "runner": {"env": [{"name": "WHO", "value": "a test"}]}})
    };
    let runs = [
        Run::apply(&test, Kind::K6, "absolute", spec("/home/k6/example.js")),
        Run::apply(&test, Kind::TestRun, "relative", spec("example.js")),
    ];
    let missing = Run::apply(&test, Kind::TestRun, "missing", spec("/home/k6/none.js"));
    for run in &runs {
        run.passes().await;
        assert_eq!(run.logs().await.matches("from the image for a test").count(), 2);
    }
    let words = [
        "k6 refused the script",
        "there is no file /home/k6/none.js in the image",
        "spec.runner.image",
    ];
    missing.errs(Reason::ScriptError, &words).await;
}

#[tokio::test]
async fn an_inline_script_is_kept_in_a_config_map_that_goes_with_the_resource() {
    let test = Test::new("inline").await;
    let maps: Api<ConfigMap> = Api::namespaced(test.client.clone(), &test.namespace);
    let labelled = ListParams::default().labels("app=k6-operator");
    let ours = async || maps.list(&labelled).await.unwrap().items;
    let spec = json!({"parallelism": 1, "script": {"inline": says(1, "in the resource itself")}});
    let runs = Run::of_both_kinds(&test, "in", &spec);
    for run in &runs {
        run.passes().await;
        contains_all(&run.logs().await, &["in the resource itself"]);
    }
    let mut made = ours().await;
    // What is kept of a run comes after its end.
    made.retain(|map| !map.name_any().ends_with("-summary"));
    assert_eq!(made.len(), 2, "{made:#?}");
    for run in &runs {
        let uid = run.get().await.uid();
        let map = made
            .iter()
            .find(|map| map.name_any().starts_with(&run.name))
            .unwrap();
        let owner = &map.owner_references()[0];
        assert_eq!((Some(&owner.uid), owner.controller), (uid.as_ref(), Some(true)));
        test.kubectl(&["delete", &run.path()]);
    }
    test.nothing_left().await;
    test.until(
        "the ConfigMaps are gone",
        std::time::Duration::from_secs(30),
        async || ours().await.is_empty().then_some(()),
    )
    .await;
}

#[tokio::test]
async fn a_script_with_no_or_several_sources_is_refused() {
    let test = Test::new("several").await;
    let spec = |script| json!({"parallelism": 1, "script": script});
    let two = json!({"configMap": {"name": "a"}, "localFile": "b.js"});
    for script in [two, json!({})] {
        let told = test.apply_refused(Kind::TestRun, "many", spec(script.clone()));
        contains_all(
            &told,
            &["spec.script needs exactly one source: configMap, volumeClaim, localFile or inline"],
        );
        let told = test.apply_refused(Kind::K6, "many", spec(script));
        contains_all(&told, &["spec.script"]);
    }
    let told = test.apply_refused(Kind::K6, "mistyped", spec(json!({"conigMap": {"name": "a"}})));
    contains_all(&told, &["spec.script"]);
}
