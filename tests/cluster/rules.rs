//! What the API server itself refuses, and in which words.

use crate::empties::empties;
use crate::run::{Run, contains_all, says};
use crate::support::{Test, k6_image, sleeps};
use futures::{StreamExt, stream};
use k6_operator::api::{Kind, LoadTest, Spec};
use k6_operator::machine::{Reason, RunResult, StateName};
use kube::Api;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

/// A spec that is right, with this in it.
fn spec(more: Value) -> Value {
    let mut spec = json!({"parallelism": 1, "script": {"configMap": {"name": "a"}}});
    let fields = spec.as_object_mut().unwrap();
    for (field, value) in more.as_object().unwrap() {
        fields.insert(field.clone(), value.clone());
    }
    fields.retain(|_, value| !value.is_null());
    spec
}

const PARALLELISM: &str = "spec.parallelism is the number of runners: at least 1, at most 2000";
const SOURCES: &str = "spec.script needs exactly one source: configMap, volumeClaim, localFile or inline";
const FLAG: &str = "supported values: \"true\", \"false\"";

/// Name, spec and what kubectl must say of it, of both kinds.
fn wrong() -> Vec<(&'static str, Value, Vec<&'static str>)> {
    let unknown = |path: &'static str| vec!["strict decoding error: unknown field", path];
    vec![
        (
            "runner",
            json!({"runner": {"imge": "x"}}),
            unknown("\"spec.runner.imge\""),
        ),
        (
            "initializer",
            json!({"initializer": {"imge": "x"}}),
            unknown("\"spec.initializer.imge\""),
        ),
        (
            "starter",
            json!({"starter": {"imge": "x"}}),
            unknown("\"spec.starter.imge\""),
        ),
        (
            "template",
            json!({"podTemplate": {"imge": "x"}}),
            unknown("\"spec.podTemplate.imge\""),
        ),
        ("spec", json!({"paralelism": 2}), unknown("\"spec.paralelism\"")),
        (
            "file",
            json!({"script": {"configMap": {"name": "a", "fle": "b"}}}),
            unknown("\"spec.script.configMap.fle\""),
        ),
        (
            "env-map",
            json!({"runner": {"env": {"A": "b"}}}),
            unknown("\"spec.runner.env.A\""),
        ),
        (
            "text",
            json!({"parallelism": "two"}),
            vec!["spec.parallelism in body must be of type integer: \"string\""],
        ),
        (
            "image",
            json!({"runner": {"image": 7}}),
            vec!["spec.runner.image in body must be of type string: \"integer\""],
        ),
        (
            "suspend",
            json!({"suspend": "true"}),
            vec!["spec.suspend in body must be of type boolean: \"string\""],
        ),
        ("zero", json!({"parallelism": 0}), vec![PARALLELISM]),
        ("minus", json!({"parallelism": -1}), vec![PARALLELISM]),
        ("too-many", json!({"parallelism": 2001}), vec![PARALLELISM]),
        (
            "no-number",
            json!({"parallelism": null}),
            vec!["spec.parallelism: Required value"],
        ),
        (
            "no-script",
            json!({"script": null}),
            vec!["spec.script: Required value"],
        ),
        (
            "quiet",
            json!({"quiet": "yes"}),
            vec!["spec.quiet: Unsupported value: \"yes\"", FLAG],
        ),
        (
            "paused",
            json!({"paused": 1}),
            vec!["spec.paused: Unsupported value: 1", FLAG],
        ),
        (
            "token",
            json!({"runner": {"automountServiceAccountToken": "maybe"}}),
            vec![
                "spec.runner.automountServiceAccountToken: Unsupported value: \"maybe\"",
                FLAG,
            ],
        ),
        (
            "cleanup",
            json!({"cleanup": "always"}),
            vec!["spec.cleanup: Unsupported value: \"always\": supported values: \"post\", \"onSuccess\""],
        ),
        (
            "ttl",
            json!({"ttlSecondsAfterFinished": -1}),
            vec!["spec.ttlSecondsAfterFinished in body should be greater than or equal to 0"],
        ),
        (
            "pull",
            json!({"runner": {"imagePullPolicy": "Sometimes"}}),
            vec!["supported values: \"Always\", \"IfNotPresent\", \"Never\""],
        ),
        (
            "init-image",
            json!({"runner": {"initContainers": [{"name": "a"}]}}),
            vec!["spec.runner.initContainers[0].image: Required value"],
        ),
        (
            "init-restart",
            json!({"runner": {"initContainers": [{"name": "a", "image": "b", "restartPolicy": "Never"}]}}),
            vec!["Unsupported value: \"Never\": supported values: \"Always\""],
        ),
    ]
}

#[tokio::test]
async fn a_wrong_spec_is_refused_by_the_api_server_with_the_field() {
    let test = Test::new("rules").await;
    let two = json!({"script": {"configMap": {"name": "a"}, "inline": "b"}});
    let mut cases = Vec::new();
    for kind in Kind::ALL {
        for (name, more, words) in wrong() {
            cases.push((kind, format!("{name}-{}", kind.plural()), spec(more), words));
        }
    }
    let peer = |name: &str, more: Value, words| (Kind::TestRun, name.to_owned(), spec(more), words);
    cases.push(peer("two", two.clone(), vec![SOURCES]));
    cases.push(peer("none", json!({"script": {}}), vec![SOURCES]));
    cases.push(peer(
        "no-name",
        json!({"script": {"configMap": {}}}),
        vec![SOURCES],
    ));
    cases.push(peer(
        "empty-file",
        json!({"script": {"localFile": ""}}),
        vec![SOURCES],
    ));
    cases.push(peer(
        "string",
        json!({"script": "a"}),
        vec!["spec.script in body must be of type object: \"string\""],
    ));
    cases.push(peer(
        "source",
        json!({"script": {"conigMap": {"name": "a"}}}),
        vec!["unknown field \"spec.script.conigMap\""],
    ));
    let own = |name: &str, more: Value, words| (Kind::K6, name.to_owned(), spec(more), words);
    // A K6 may name a ConfigMap in place of an object, and so only its schema can look at it.
    let one = "\"spec.script\" must validate one and only one schema (oneOf)";
    cases.push(own("two-k6", two, vec![one, "Found 2 valid alternatives"]));
    cases.push(own("none-k6", json!({"script": {}}), vec![one]));
    cases.push(own("no-text-k6", json!({"script": ""}), vec![one]));
    cases.push(own(
        "no-name-k6",
        json!({"script": {"configMap": {}}}),
        vec!["spec.script.configMap.name: Required value"],
    ));
    cases.push(own(
        "empty-file-k6",
        json!({"script": {"localFile": ""}}),
        vec!["spec.script.localFile in body should be at least 1 chars long"],
    ));

    let mut arguments = vec!["apply".to_owned(), "--dry-run=server".to_owned()];
    for (kind, name, spec, _) in &cases {
        arguments.extend(["-f".to_owned(), test.manifest(*kind, name, spec.clone())]);
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let told = test.kubectl_refused(&arguments);
    assert!(!told.contains("created"), "{told}");
    // One block a file, which names the resource or its file.
    let mut blocks: Vec<String> = Vec::new();
    for line in told.lines() {
        match blocks.last_mut() {
            Some(block) if line.starts_with(['*', ' ']) => *block += &format!("\n{line}"),
            Some(_) | None => blocks.push(line.to_owned()),
        }
    }
    assert_eq!(blocks.len(), cases.len(), "{blocks:#?}");
    for (kind, name, _, words) in &cases {
        let of = |block: &&String| block.contains(&format!("\"{name}.json\""));
        let block = blocks
            .iter()
            .find(of)
            .unwrap_or_else(|| panic!("{kind:?} {name}: {told}"));
        contains_all(block, words);
    }
}

/// How many requests are under way at once.
const AT_ONCE: usize = 8;

#[tokio::test]
async fn empty_field_is_accepted_by_the_api_server() {
    let test = Test::new("empties").await;
    let parameters = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    for kind in Kind::ALL {
        let resource = ApiResource::erase::<LoadTest>(&kind);
        // As it is written: the types of this crate leave out what is empty.
        let api: Api<DynamicObject> = Api::namespaced_with(test.client.clone(), &test.namespace, &resource);
        let (api, resource, parameters) = (&api, &resource, &parameters);
        let told = stream::iter(empties(kind)).map(async |empty| {
            let object = DynamicObject::new("empty", resource).data(json!({"spec": empty.with}));
            let created = api.create(parameters, &object).await;
            created
                .err()
                .map(|error| format!("{kind:?} {} {}: {error}", empty.path, empty.value))
        });
        let told: Vec<Option<String>> = told.buffer_unordered(AT_ONCE).collect().await;
        assert!(told.len() > 250, "{}", told.len());
        let told: Vec<String> = told.into_iter().flatten().collect();
        assert!(told.is_empty(), "{told:#?}");
    }
}

/// What is empty is no other than what is left out, also where nothing may change.
async fn empty_fields_are_no_change(run: &Run<'_>) {
    let found = run.test.of(run.kind).get(&run.name).await.unwrap();
    let spec = &serde_json::to_value(&found.spec).unwrap();
    let edits = stream::iter(empties(run.kind)).map(async |empty| {
        let is_set = spec
            .pointer(&format!("/{}", empty.path.replace('.', "/")))
            .is_some();
        // Of a script that may be a text, the rules can only say that it is as it was.
        let unseen = run.kind == Kind::K6 && empty.path.starts_with("script");
        if is_set || unseen || empty.path.contains("[]") {
            return None;
        }
        let fields = empty.path.rsplit('.');
        let change = fields.fold(empty.value.clone(), |inner, field| json!({field: inner}));
        let edited = edit(run, &change).await;
        edited.err().map(|told| format!("{change}: {told}"))
    });
    let told: Vec<Option<String>> = edits.buffer_unordered(AT_ONCE).collect().await;
    let told: Vec<String> = told.into_iter().flatten().collect();
    assert!(told.is_empty(), "{told:#?}");
}

/// What the API server says of a merge patch of the spec, of which nothing is kept.
async fn edit(run: &Run<'_>, spec: &Value) -> Result<(), String> {
    let parameters = PatchParams {
        dry_run: true,
        ..PatchParams::default()
    };
    let patch = Patch::Merge(json!({ "spec": spec }));
    let edited = run.test.of(run.kind).patch(&run.name, &parameters, &patch).await;
    edited.map(|_| ()).map_err(|error| error.to_string())
}

/// A change of each field that must stay as it is while the run has its runners.
fn frozen() -> Vec<(&'static str, Value)> {
    vec![
        ("parallelism", json!(2)),
        ("script", json!({"localFile": "other.js"})),
        ("separate", json!(true)),
        ("arguments", json!("--no-usage-report")),
        ("args", json!(["--no-usage-report"])),
        ("ports", json!([{"containerPort": 1}])),
        ("podTemplate", json!({"schedulerName": "other"})),
        ("initializer", json!({"image": "other"})),
        ("runner", json!({"image": "other"})),
        ("starter", json!({"image": "other"})),
        ("aggregation", json!({"enabled": false})),
        ("setup", json!("perRunner")),
        ("quiet", json!("false")),
        ("paused", json!("false")),
        ("timeouts", json!({"run": "1h"})),
        ("scuttle", json!({"enabled": "true"})),
        ("testRunId", json!("7")),
        ("token", json!("7")),
    ]
}

fn allowed() -> Vec<Value> {
    vec![
        json!({"stop": true}),
        json!({"suspend": false}),
        json!({"ttlSecondsAfterFinished": 60}),
        json!({"cleanup": "onSuccess"}),
        json!({"rerun": "again"}),
    ]
}

fn is_frozen(field: &str) -> String {
    format!(
        "spec.{field} can't be changed for a run that has its runners: wait until it is Finished, and change \
         spec.rerun in the same edit, which starts a new run; or delete the resource and apply it again"
    )
}

const SUSPEND: &str = "spec.suspend holds a run before its runners are created, and this run has them: to end it, set \
                       spec.stop to true";

#[test]
fn every_field_is_either_frozen_or_may_be_changed() {
    let schema = k6_operator::api::crd::definition(Kind::K6);
    let fields =
        &schema["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"];
    let mut fields: Vec<&str> = fields.as_object().unwrap().keys().map(String::as_str).collect();
    fields.sort_unstable();
    let allowed = allowed();
    let mut told: Vec<&str> = allowed
        .iter()
        .flat_map(|edit| edit.as_object().unwrap().keys().map(String::as_str))
        .chain(frozen().iter().map(|(field, _)| *field))
        .collect();
    told.sort_unstable();
    assert_eq!(told, fields);
    let _: fn(Spec) -> i64 = |spec| spec.parallelism;
}

async fn only_five_fields_can_be_changed(run: &Run<'_>) {
    for (field, value) in frozen() {
        let mut change = json!({});
        change[field] = value;
        if field == "script" {
            change = json!({"script": {"configMap": null, "localFile": "other.js"}});
        }
        let told = edit(run, &change).await.expect_err(field);
        assert!(told.contains(&is_frozen(field)), "{field}: {told}");
        // Not with a new run asked for either, while this one is under way.
        change["rerun"] = json!("again");
        assert!(edit(run, &change).await.is_err(), "{field}");
    }
    for change in allowed() {
        edit(run, &change)
            .await
            .unwrap_or_else(|told| panic!("{change}: {told}"));
    }
    let told = edit(run, &json!({"suspend": true})).await.expect_err("suspend");
    assert!(told.contains(SUSPEND), "{told}");
    empty_fields_are_no_change(run).await;
}

#[tokio::test]
async fn a_run_that_has_its_runners_takes_edits_of_five_fields_only() {
    let test = Test::new("frozen").await;
    test.script("long", &sleeps(2, 300)).await;
    let script = json!({"configMap": {"name": "long"}});
    let unready = json!({
        "parallelism": 1, "script": script,
        "initializer": {"image": k6_image()}, "runner": {"image": "registry.invalid/none:1"}
    });
    let created = Run::apply(&test, Kind::K6, "created", unready);
    let started = Run::apply(
        &test,
        Kind::TestRun,
        "started",
        json!({"parallelism": 1, "script": script}),
    );
    created.reaches(StateName::Created).await;
    only_five_fields_can_be_changed(&created).await;
    started.reaches(StateName::Started).await;
    only_five_fields_can_be_changed(&started).await;
    // As a user is told.
    let told = started.edit_refused(json!({"suspend": true}));
    contains_all(&told, &["The TestRun \"started\" is invalid", SUSPEND]);
    let told = started.edit_refused(json!({"quiet": "false"}));
    contains_all(
        &told,
        &["The TestRun \"started\" is invalid", &is_frozen("quiet")],
    );
}

#[tokio::test]
async fn a_run_without_runners_takes_every_edit_and_a_finished_one_with_a_new_rerun() {
    let test = Test::new("edits").await;
    test.script("one", &says(2, "edited")).await;
    let script = json!({"configMap": {"name": "one"}});
    for kind in Kind::ALL {
        let name = format!("held-{}", kind.plural());
        let spec = json!({"parallelism": 1, "script": script, "suspend": true});
        let run = Run::apply(&test, kind, &name, spec);
        run.reaches(StateName::Initializing).await;
        for (field, value) in frozen() {
            let mut change = json!({});
            change[field] = value;
            if field == "script" {
                change = json!({"script": {"configMap": null, "localFile": "other.js"}});
            }
            edit(&run, &change)
                .await
                .unwrap_or_else(|told| panic!("{change}: {told}"));
        }
        run.edit(json!({"stop": true}));
        run.ends(RunResult::Aborted, Reason::StopRequested).await;
        for (field, value) in frozen() {
            let mut change = json!({});
            change[field] = value;
            if field == "script" {
                change = json!({"script": {"configMap": null, "localFile": "other.js"}});
            }
            let told = edit(&run, &change).await.expect_err(field);
            assert!(told.contains(&is_frozen(field)), "{field}: {told}");
            change["rerun"] = json!("again");
            edit(&run, &change)
                .await
                .unwrap_or_else(|told| panic!("{change}: {told}"));
        }
        for change in allowed() {
            edit(&run, &change)
                .await
                .unwrap_or_else(|told| panic!("{change}: {told}"));
        }
    }
}

#[tokio::test]
async fn both_kinds_are_in_the_category_all_and_show_the_same_columns() {
    let test = Test::new("kinds").await;
    let resources = test.kubectl(&["api-resources", "--api-group=k6.io", "-o", "wide", "--no-headers"]);
    let row = |plural: &str| {
        let line = resources
            .lines()
            .find(|line| line.starts_with(plural))
            .expect(&resources);
        line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    let (k6, peer) = (row("k6s"), row("testruns"));
    assert_eq!(k6[1..4], ["k6.io/v1alpha1", "true", "K6"]);
    assert_eq!(peer[1..5], ["tr", "k6.io/v1alpha1", "true", "TestRun"]);
    for row in [&k6, &peer] {
        assert_eq!(row.last().unwrap(), "all");
    }
    let spec = json!({"parallelism": 1, "script": {"configMap": {"name": "a"}}, "suspend": true});
    let runs = Run::of_both_kinds(&test, "column", &spec);
    for run in &runs {
        run.reaches(StateName::Initializing).await;
    }
    contains_all(
        &test.kubectl(&["get", "all"]),
        &["k6.k6.io/column-k6s", "testrun.k6.io/column-testruns"],
    );
    let header = |arguments: &[&str]| {
        let table = test.kubectl(arguments);
        let header = table
            .lines()
            .next()
            .unwrap()
            .split_whitespace()
            .map(str::to_owned);
        header.collect::<Vec<_>>()
    };
    for kind in ["k6", "k6s", "testrun", "tr"] {
        assert_eq!(
            header(&["get", kind]),
            ["NAME", "STATE", "RESULT", "RUNNERS", "AGE"]
        );
        let wide = [
            "NAME", "STATE", "RESULT", "RUNNERS", "STAGE", "STARTED", "DURATION", "AGE", "P95", "FAILED",
            "MESSAGE",
        ];
        assert_eq!(header(&["get", kind, "-o", "wide"]), wide);
    }
}
