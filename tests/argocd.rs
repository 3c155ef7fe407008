//! What is told of Argo CD in `manifests/argocd`: its health check, in the Lua that Argo CD gives it, and the
//! samples that can be carried out without it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests, too")]

use mlua::{Lua, LuaOptions, StdLib, Table, Value as LuaValue};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/argocd")
}

fn read(path: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The health of a resource, as Argo CD knows it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
struct Health {
    status: String,
    #[serde(default)]
    message: String,
}

/// Lua 5.1 with what Argo CD opens for a check in argocd-cm: package, base, table, and an os of `time` and
/// `date` that has to be required. gopher-lua, which Argo CD runs, has coroutine outside of base.
fn argo() -> Lua {
    let lua = Lua::new_with(StdLib::PACKAGE | StdLib::TABLE | StdLib::OS, LuaOptions::new()).unwrap();
    lua.load(
        "local safe = { time = os.time, date = os.date }
        package.preload.os = function() return safe end
        package.loaded.os, package.loaded.coroutine = nil, nil
        os, coroutine = nil, nil",
    )
    .exec()
    .unwrap();
    lua
}

/// As Argo CD gives an object to Lua: null is nil, and so a field that is not there.
fn lua_value(lua: &Lua, value: &Value) -> LuaValue {
    match value {
        Value::Null => LuaValue::Nil,
        Value::Bool(value) => LuaValue::Boolean(*value),
        Value::Number(value) => LuaValue::Number(value.as_f64().unwrap()),
        Value::String(value) => LuaValue::String(lua.create_string(value).unwrap()),
        Value::Array(items) => {
            let table = lua.create_table().unwrap();
            for item in items {
                table.raw_push(lua_value(lua, item)).unwrap();
            }
            LuaValue::Table(table)
        }
        Value::Object(fields) => {
            let table = lua.create_table().unwrap();
            for (name, value) in fields {
                table.raw_set(name.as_str(), lua_value(lua, value)).unwrap();
            }
            LuaValue::Table(table)
        }
    }
}

/// What the check says of a resource; an error where Argo CD would have one.
fn health(resource: &Value) -> Result<Health, String> {
    let lua = argo();
    lua.globals().raw_set("obj", lua_value(&lua, resource)).unwrap();
    let answer: Table = lua
        .load(read(folder().join("health.lua")))
        .eval()
        .map_err(|e| e.to_string())?;
    let text = |field: &str| match answer.raw_get::<LuaValue>(field) {
        Ok(LuaValue::String(text)) => Ok(text.to_string_lossy()),
        other => Err(format!("{field} is not a string: {other:?}")),
    };
    Ok(Health {
        status: text("status")?,
        message: text("message")?,
    })
}

#[test]
fn every_resource_of_the_testdata_has_the_health_that_is_told() {
    #[derive(Deserialize)]
    struct Tests {
        tests: Vec<Test>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Test {
        health_status: Health,
        input_path: String,
    }
    let Tests { tests } = serde_saphyr::from_str(&read(folder().join("health_test.yaml"))).unwrap();
    let mut told: Vec<&str> = tests.iter().map(|test| test.input_path.as_str()).collect();
    for test in &tests {
        let resource: Value = serde_saphyr::from_str(&read(folder().join(&test.input_path))).unwrap();
        assert_eq!(
            health(&resource).as_ref(),
            Ok(&test.health_status),
            "{}",
            test.input_path
        );
    }
    let mut found: Vec<String> = std::fs::read_dir(folder().join("testdata"))
        .unwrap()
        .map(|entry| format!("testdata/{}", entry.unwrap().file_name().to_str().unwrap()))
        .collect();
    told.sort_unstable();
    found.sort_unstable();
    assert_eq!(found, told, "all of the testdata is tested");
}

#[test]
fn the_check_has_no_library_that_argo_cd_withholds() {
    let lua = argo();
    for library in ["string", "math", "io", "debug", "os", "coroutine"] {
        let found: LuaValue = lua.globals().get(library).unwrap();
        assert!(found.is_nil(), "{library}");
    }
    assert!(lua.load("return ('text'):find('t')").eval::<LuaValue>().is_err());
    let safe: Table = lua.load("return require('os')").eval().unwrap();
    let names: Vec<String> = safe
        .pairs::<String, LuaValue>()
        .map(|pair| pair.unwrap().0)
        .collect();
    assert_eq!(names.len(), 2, "{names:?}");
}

#[test]
fn the_configmap_holds_exactly_the_check() {
    let check = read(folder().join("health.lua"));
    let kinds = ["K6", "TestRun"];
    let mut text = "# The health of K6 and TestRun for Argo CD's own ConfigMap; apply it with\n\
        #\n\
        #   kubectl --namespace argocd patch configmap argocd-cm --type merge --patch-file argocd-cm.yaml\n\
        #\n\
        # Generated from health.lua by `UPDATE=1 cargo test --test argocd`.\n\
        apiVersion: v1\n\
        kind: ConfigMap\n\
        metadata:\n  name: argocd-cm\n\
        data:\n"
        .to_owned();
    for kind in kinds {
        text += &format!("  resource.customizations.health.k6.io_{kind}: |\n");
        for line in check.lines() {
            text += if line.is_empty() { "" } else { "    " };
            text += line;
            text += "\n";
        }
    }
    let path = folder().join("argocd-cm.yaml");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let found = read(&path);
    assert!(
        found == text,
        "argocd-cm.yaml is stale: run `UPDATE=1 cargo test --test argocd`"
    );

    #[derive(Deserialize)]
    struct ConfigMap {
        data: BTreeMap<String, String>,
    }
    let ConfigMap { data } = serde_saphyr::from_str(&found).unwrap();
    let expected = kinds.map(|kind| {
        (
            format!("resource.customizations.health.k6.io_{kind}"),
            check.clone(),
        )
    });
    assert_eq!(data, BTreeMap::from(expected));
}

fn finished(result: &Value) -> Value {
    json!({
        "metadata": {"generation": 3},
        "status": {"state": "Finished", "result": result, "observedGeneration": 3},
    })
}

#[test]
fn only_a_passed_run_is_healthy() {
    let of = |result: Value| health(&finished(&result)).unwrap().status;
    assert_eq!(of(json!("Passed")), "Healthy");
    for result in [
        json!("Failed"),
        json!("Aborted"),
        json!("Error"),
        json!(null),
        json!({"Passed": true}),
    ] {
        assert_eq!(of(result.clone()), "Degraded", "{result}");
    }
}

#[test]
fn a_result_of_an_earlier_generation_is_progressing() {
    for result in ["Passed", "Failed"] {
        let mut resource = finished(&json!(result));
        resource["metadata"]["generation"] = json!(4);
        assert_eq!(health(&resource).unwrap().status, "Progressing");
    }
}

/// Any JSON, in which what the check looks at is more likely than it would be by chance.
fn odd() -> impl Strategy<Value = Value> {
    let word = prop_oneof![
        "[a-z]{0,4}",
        proptest::sample::select(vec![
            "Finished",
            "Started",
            "Passed",
            "Failed",
            "Ready",
            "False",
            "Suspended",
        ])
        .prop_map(str::to_owned),
    ];
    let name = proptest::sample::select(vec![
        "status",
        "state",
        "result",
        "message",
        "conditions",
        "type",
        "reason",
        "metadata",
        "generation",
        "observedGeneration",
        "spec",
        "suspend",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (0..3i64).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        word.prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 64, 8, move |inner| {
        prop_oneof![
            1 => vec(inner.clone(), 0..4).prop_map(Value::from),
            3 => btree_map(name.clone(), inner, 0..8).prop_map(|fields| {
                fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>().into()
            }),
        ]
    })
}

/// A resource whose fields are right or odd, each by itself.
fn nearly_right() -> impl Strategy<Value = Value> {
    let field = |right: Value| prop_oneof![2 => Just(right), 1 => odd()];
    let condition = (
        field(json!("Ready")),
        field(json!("False")),
        field(json!("Suspended")),
    )
        .prop_map(|(kind, status, reason)| json!({"type": kind, "status": status, "reason": reason}));
    let conditions = prop_oneof![
        vec(prop_oneof![condition, odd()], 0..3).prop_map(Value::from),
        odd()
    ];
    let state = prop_oneof![field(json!("Finished")), field(json!("Started"))];
    let result = prop_oneof![field(json!("Passed")), field(json!("Failed"))];
    (
        state,
        result,
        field(json!("Waiting")),
        field(json!(1)),
        field(json!(1)),
        conditions,
    )
        .prop_map(|(state, result, message, observed, generation, conditions)| {
            json!({
                "metadata": {"generation": generation},
                "status": {
                    "state": state,
                    "result": result,
                    "message": message,
                    "observedGeneration": observed,
                    "conditions": conditions,
                },
            })
        })
}

proptest! {
    #[test]
    fn an_odd_resource_has_a_health_too(resource in prop_oneof![odd(), nearly_right()]) {
        let health = health(&resource).map_err(TestCaseError::fail)?;
        let known = ["Healthy", "Progressing", "Degraded", "Suspended"];
        prop_assert!(known.contains(&health.status.as_str()), "{health:?}");
        prop_assert!(!health.message.is_empty());
        let passed = resource.pointer("/status/result") == Some(&json!("Passed"));
        prop_assert!(passed || health.status != "Healthy", "{health:?}");
    }
}

/// The resources that the kustomization in a folder makes, by kind.
fn kustomized(folder: &Path) -> BTreeMap<String, Value> {
    let output = Command::new("kubectl")
        .arg("kustomize")
        .arg(folder)
        .output()
        .unwrap_or_else(|e| panic!("this test needs kubectl in the PATH: {e}"));
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).unwrap();
    let resources: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
    resources
        .into_iter()
        .map(|resource| (resource["kind"].as_str().unwrap().to_owned(), resource))
        .collect()
}

#[test]
fn another_script_is_another_run() {
    let sample = folder().join("samples/rerun-on-change");
    let edited = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(&sample).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), edited.path().join(entry.file_name())).unwrap();
    }
    let script = edited.path().join("test.js");
    std::fs::write(&script, read(&script) + "// edited\n").unwrap();

    let names = [sample.as_path(), edited.path()].map(|folder| {
        let resources = kustomized(folder);
        let name = resources["ConfigMap"]["metadata"]["name"]
            .as_str()
            .unwrap()
            .to_owned();
        let k6 = &resources["K6"]["spec"];
        assert_eq!((&k6["script"], &k6["rerun"]), (&json!(name), &json!(name)));
        let testrun = &resources["TestRun"]["spec"];
        assert_eq!(testrun["script"]["configMap"]["name"], json!(name));
        assert_eq!(testrun["script"]["configMap"]["file"], json!("test.js"));
        assert_eq!(testrun["rerun"], json!(name));
        name
    });
    assert_ne!(names[0], names[1]);
}

/// All manifests under a folder.
fn manifests(folder: &Path) -> Vec<(PathBuf, Value)> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(manifests(&path));
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            let documents: Vec<Value> = serde_saphyr::from_multiple(&read(&path)).unwrap();
            all.extend(documents.into_iter().map(|document| (path.clone(), document)));
        }
    }
    all
}

/// Two resources of one name would make Jobs of the same names, whatever their kinds.
#[test]
fn tests_of_one_sample_have_names_of_their_own_and_a_rerun_that_is_text() {
    let mut names = BTreeMap::new();
    let all = manifests(&folder().join("samples"));
    let tests = all
        .iter()
        .filter(|(_, manifest)| manifest["apiVersion"] == "k6.io/v1alpha1");
    for (path, test) in tests {
        if let Some(name) = test["metadata"]["name"].as_str() {
            let place = (path.parent().unwrap().to_owned(), name.to_owned());
            assert_eq!(names.insert(place, path), None, "{name} in {}", path.display());
        }
        let rerun = &test["spec"]["rerun"];
        assert!(
            rerun.is_null() || rerun.is_string(),
            "{}: {rerun}",
            path.display()
        );
    }
    assert!(names.len() >= 4, "{names:?}");
}

#[test]
fn sample_application_keeps_the_script_of_a_running_test_and_runs_no_gate_twice() {
    let all = manifests(&folder().join("samples"));
    let applications: Vec<&Value> = all
        .iter()
        .map(|(_, manifest)| manifest)
        .filter(|manifest| manifest["kind"] == "Application")
        .collect();
    let [application] = applications[..] else {
        panic!("{applications:?}")
    };
    let policy = &application["spec"]["syncPolicy"];
    assert_eq!(policy["syncOptions"], json!(["PruneLast=true"]));
    assert_eq!(policy["retry"]["limit"], json!(0));
}
