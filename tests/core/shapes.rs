//! The objects of all that a spec can say, as YAML in `snapshots/`; names whatever the resource is called; and
//! what manifests of grafana/k6-operator have.

use crate::objects::{merging, run_of, validated};
use crate::snapshot::{ARCHITECTURE, assert_yaml_snapshot};
use k6_operator::aggregate::documents::Documents;
use k6_operator::aggregate::report::RunInfo;
use k6_operator::api::{Flag, Kind, LoadTest, Spec};
use k6_operator::machine::{Aggregation, ProgramSource, Start, Target};
use k6_operator::objects::*;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Container, PodSpec};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeSet;

fn owner(kind: Kind, name: &str, attempt: u32) -> Owner {
    Owner {
        kind,
        name: name.to_owned(),
        namespace: "default".to_owned(),
        uid: "5f2a".to_owned(),
        generation: 7,
        attempt,
    }
}

fn k6() -> Owner {
    owner(Kind::K6, "k6-sample", 1)
}

fn defaults(common: Value) -> Defaults {
    Defaults {
        runner_image: "grafana/k6:1.1.0".to_owned(),
        starter_image: "k6-operator.invalid/operator:dev".to_owned(),
        common: serde_json::from_value(common).unwrap(),
    }
}

/// A spec of two runners with these fields.
fn spec(fields: Value) -> Spec {
    let mut spec = json!({"parallelism": 2, "script": "s"});
    for (field, value) in fields.as_object().unwrap() {
        spec[field] = value.clone();
    }
    serde_json::from_value(spec).unwrap()
}

fn runner_of(spec: &Spec) -> Job {
    runner(&run_of(&k6(), spec, &defaults(json!({}))), (1, 2), None)
}

fn initializer_of(spec: &Spec) -> Job {
    initializer(&run_of(&k6(), spec, &defaults(json!({}))), ProgramSource::Copied)
}

fn starter_of(spec: &Spec) -> Job {
    let target = Target {
        runner: 1,
        ip: "10.0.0.1".to_owned(),
    };
    starter(&run_of(&k6(), spec, &defaults(json!({}))), &[target])
}

fn pod(job: Job) -> PodSpec {
    job.spec.unwrap().template.spec.unwrap()
}

fn main(job: Job) -> Container {
    pod(job).containers.remove(0)
}

#[test]
fn each_source_of_a_script_is_mounted_and_given_to_k6_as_it_is() {
    let sources = [
        ("the name of a ConfigMap", json!("s")),
        (
            "a file of a ConfigMap",
            json!({"configMap": {"name": "s", "file": "a.tar"}}),
        ),
        ("a claim", json!({"volumeClaim": {"name": "s"}})),
        (
            "a relative file of a claim",
            json!({"volumeClaim": {"name": "s", "file": "a/b.js"}}),
        ),
        (
            "an absolute file of a claim, read-only",
            json!({"volumeClaim": {"name": "s", "file": "/data/a/b.js", "readOnly": true}}),
        ),
        ("a file in the image", json!({"localFile": "/opt/$(HOME)/a b.js"})),
        ("the script itself", json!({"inline": "export default () => {}"})),
    ];
    let told: Vec<Value> = sources
        .into_iter()
        .map(|(what, source)| {
            let spec = spec(json!({"script": source}));
            let run = pod(runner_of(&spec));
            let inspect = pod(initializer_of(&spec)).containers.remove(0);
            let mounts = inspect.volume_mounts.unwrap();
            // After those come the folder of the archive and the operator's program.
            assert_eq!(
                run.containers[0].volume_mounts.clone().unwrap_or_default(),
                mounts[..mounts.len() - 2]
            );
            json!({
                what: {
                    "command": run.containers[0].command,
                    "inspect": inspect.command,
                    "mounts": run.containers[0].volume_mounts,
                    "volumes": run.volumes,
                    "made": script(&run_of(&k6(), &spec, &defaults(json!({})))),
                }
            })
        })
        .collect();
    assert_yaml_snapshot!(told);
}

#[test]
fn another_script_in_the_spec_is_another_config_map() {
    let named = |text: &str| {
        let spec = spec(json!({"script": {"inline": text}}));
        script(&run_of(&k6(), &spec, &defaults(json!({}))))
            .unwrap()
            .metadata
            .name
            .unwrap()
    };
    assert_ne!(named("a"), named("b"));
    assert_eq!(named("a"), named("a"));
}

#[test]
fn an_initializer_is_as_the_runners_unless_it_has_settings_of_its_own() {
    let runner = json!({
        "image": "k6:own", "env": [{"name": "A", "value": "1"}], "nodeSelector": {"disk": "ssd"},
        "volumes": [{"name": "v", "emptyDir": {}}], "volumeMounts": [{"name": "v", "mountPath": "/v"}]
    });
    let told: Vec<Value> = [
        ("omitted", Value::Null),
        ("empty", json!({})),
        ("disabled, should it be made", json!({"disabled": true})),
        ("its own", json!({"env": [{"name": "B", "value": "2"}]})),
        ("its own image", json!({"image": "k6:inspect"})),
    ]
    .into_iter()
    .map(|(what, initializer)| {
        let spec = spec(json!({"runner": runner, "initializer": initializer}));
        let pod = pod(initializer_of(&spec));
        json!({what: {
            "image": pod.containers[0].image, "env": pod.containers[0].env, "nodeSelector": pod.node_selector,
            "volumes": pod.volumes, "mounts": pod.containers[0].volume_mounts,
            "uninspected": bool::from(validated(&spec).unwrap().terms.inspect),
        }})
    })
    .collect();
    assert_yaml_snapshot!(told);
}

/// What a script can read in the initializer of such a spec and not in its runners.
fn unlike(fields: Value, common: Value) -> Option<String> {
    let validated = validate(&spec(fields), &defaults(common)).unwrap();
    validated.terms.unlike_runners
}

#[test]
fn initializer_with_settings_of_its_own_sees_what_the_runners_see() {
    let runner = json!({
        "image": "k6:own", "imagePullPolicy": "Always", "imagePullSecrets": [{"name": "registry"}],
        "env": [{"name": "STAGE", "value": "prod"}, {"name": "MOST", "value": "5"}],
        "envFrom": [{"configMapRef": {"name": "more"}}],
        "volumes": [{"name": "v", "emptyDir": {}}], "volumeMounts": [{"name": "v", "mountPath": "/v"}],
        "initContainers": [{"name": "fetch", "image": "fetch", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}],
        "serviceAccountName": "reader", "securityContext": {"runAsUser": 7, "fsGroup": 7},
        "containerSecurityContext": {"readOnlyRootFilesystem": true},
        "nodeSelector": {"pool": "load"}, "resources": {"limits": {"cpu": "2"}},
        "livenessProbe": {"tcpSocket": {"port": 6565}}
    });
    let only = json!({"metadata": {"annotations": {"sidecar.istio.io/inject": "false"}}});
    let fields = json!({"runner": runner, "initializer": only});
    let with = initializer_of(&spec(fields.clone()));
    let mut without = initializer_of(&spec(json!({"runner": runner})));
    let note = || Some(("sidecar.istio.io/inject".to_owned(), "false".to_owned()));
    without.metadata.annotations.as_mut().unwrap().extend(note());
    let template = &mut without.spec.as_mut().unwrap().template;
    template
        .metadata
        .as_mut()
        .unwrap()
        .annotations
        .as_mut()
        .unwrap()
        .extend(note());
    assert_eq!(with, without);
    let container = main(with);
    let env: Vec<_> = container
        .env
        .iter()
        .flatten()
        .map(|env| env.name.as_str())
        .collect();
    assert_eq!(env, ["K6_AUTO_EXTENSION_RESOLUTION", "STAGE", "MOST"]);
    assert_eq!(container.liveness_probe, None);
    assert_eq!(unlike(fields, json!({})), None);
}

#[test]
fn initializer_is_placed_and_sized_by_itself_or_as_the_runners() {
    let runner = json!({
        "nodeSelector": {"pool": "load", "disk": "ssd"}, "tolerations": [{"key": "load"}],
        "resources": {"requests": {"memory": "1Gi"}, "limits": {"memory": "2Gi"}}
    });
    let own = |initializer: Value| {
        let pod = pod(initializer_of(&spec(
            json!({"runner": runner, "initializer": initializer}),
        )));
        let resources = pod.containers[0].resources.clone().unwrap_or_default();
        json!([pod.node_selector, pod.tolerations, resources])
    };
    let place = json!([
        {"pool": "load", "disk": "ssd", "kubernetes.io/arch": ARCHITECTURE}, [{"key": "load"}]
    ]);
    let size = json!({"requests": {"memory": "1Gi"}, "limits": {"memory": "2Gi"}});
    assert_eq!(
        own(json!({"env": [{"name": "A", "value": "1"}]})),
        json!([place[0], place[1], size])
    );
    assert_eq!(
        own(json!({"resources": {"limits": {"memory": "256Mi"}}})),
        json!([place[0], place[1], {"limits": {"memory": "256Mi"}}])
    );
    assert_eq!(
        own(json!({"nodeSelector": {"pool": "small"}})),
        json!([{"pool": "small", "kubernetes.io/arch": ARCHITECTURE}, null, {}])
    );
}

#[test]
fn initializer_that_sets_a_part_of_a_group_takes_none_of_it_from_the_runners() {
    let runner = json!({
        "image": "k6:local", "imagePullPolicy": "Never", "metadata": {"annotations": {"dapr.io/enabled": "true"}},
        "initContainers": [{"name": "wait", "image": "wait"}], "containerSecurityContext": {"runAsUser": 0}
    });
    let pod = |initializer: Value| {
        pod(initializer_of(&spec(
            json!({"runner": runner, "initializer": initializer}),
        )))
    };
    let named = |pod: &PodSpec| {
        let containers = pod.init_containers.iter().flatten();
        containers
            .map(|container| container.name.clone())
            .collect::<Vec<_>>()
    };
    let image = pod(json!({"image": "grafana/k6:2.2.0"}));
    assert_eq!(
        image.containers[0].image_pull_policy.as_deref(),
        Some("IfNotPresent")
    );
    assert!(named(&image).contains(&"wait".to_owned()));
    let cloned = pod(json!({"initContainers": [{"name": "clone", "image": "git"}]}));
    assert!(named(&cloned).contains(&"clone".to_owned()) && !named(&cloned).contains(&"wait".to_owned()));
    assert_eq!(cloned.containers[0].image_pull_policy.as_deref(), Some("Never"));
    let secure = pod(json!({"securityContext": {"runAsNonRoot": true, "runAsUser": 7}}));
    assert_ne!(
        secure.containers[0].security_context.clone().unwrap().run_as_user,
        Some(0)
    );
    // A proxy that is brought in would keep the initializer from its end.
    let notes = |initializer: Value| {
        let job = initializer_of(&spec(json!({"runner": runner, "initializer": initializer})));
        job.metadata.annotations.unwrap().contains_key("dapr.io/enabled")
    };
    assert!(!notes(json!({"env": [{"name": "A", "value": "1"}]})));
    assert!(notes(json!({})) && notes(Value::Null) && notes(json!({"disabled": false})));
}

#[test]
fn what_only_the_initializer_sees_is_told_with_its_fields() {
    let runner = json!({"image": "k6:1", "env": [
        {"name": "STAGE", "value": "prod"}, {"name": "SAME", "value": ""},
        {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}
    ]});
    let told = |initializer: Value| unlike(json!({"runner": runner, "initializer": initializer}), json!({}));
    assert_eq!(told(json!({"image": "k6:1", "env": [{"name": "SAME"}]})), None);
    assert_eq!(
        told(json!({"env": [{"name": "STAGE", "value": "test"}]})).unwrap(),
        "what the script reads in the initializer differs from what it reads in the runners (initializer.env STAGE): \
         its thresholds, tags, virtual users and durations are those of the initializer; set the same in runner, or \
         leave it out of initializer"
    );
    let fields = |initializer: Value| {
        let told = told(initializer).unwrap();
        told.split_once(" (")
            .unwrap()
            .1
            .split_once(')')
            .unwrap()
            .0
            .to_owned()
    };
    assert_eq!(fields(json!({"image": "k6:2"})), "initializer.image");
    assert_eq!(
        fields(json!({"env": [{"name": "TOKEN", "value": "x"}]})),
        "initializer.env TOKEN"
    );
    assert_eq!(
        fields(json!({"env": [{"name": "NEW", "value": "x"}]})),
        "initializer.env NEW"
    );
    assert_eq!(
        fields(json!({
            "envFrom": [{"secretRef": {"name": "more"}}], "volumes": [{"name": "v", "emptyDir": {}}],
            "volumeMounts": [{"name": "v", "mountPath": "/v"}], "initContainers": [{"image": "fetch"}]
        })),
        "initializer.envFrom, initializer.volumes, initializer.volumeMounts, initializer.initContainers"
    );
    let many: Vec<Value> = (0..40)
        .map(|i| json!({"name": format!("{i:0>100}"), "value": "x"}))
        .collect();
    let many = told(json!({"env": many})).unwrap();
    assert!(many.contains(" and 35 more") && many.len() < 1_000, "{many}");
    // A sidecar makes no files, and a place is not read.
    assert_eq!(
        told(json!({
            "initContainers": [{"image": "proxy", "restartPolicy": "Always"}], "nodeSelector": {"a": "b"},
            "resources": {"limits": {"cpu": "1"}}
        })),
        None
    );
}

#[test]
fn initializer_of_the_defaults_is_completed_and_compared_too() {
    let common = json!({
        "runner": {"env": [{"name": "STAGE", "value": "prod"}]},
        "initializer": {"env": [{"name": "OTHER", "value": "x"}]}
    });
    let spec = spec(json!({}));
    let job = initializer(
        &run_of(&k6(), &spec, &defaults(common.clone())),
        ProgramSource::Copied,
    );
    let env: Vec<_> = main(job).env.unwrap().into_iter().map(|env| env.name).collect();
    assert_eq!(env, ["K6_AUTO_EXTENSION_RESOLUTION", "STAGE", "OTHER"]);
    assert!(
        unlike(json!({}), common)
            .unwrap()
            .contains("(initializer.env OTHER)")
    );
    // An image that is the default is no other than the default.
    assert_eq!(
        unlike(json!({"initializer": {"image": "grafana/k6:1.1.0"}}), json!({})),
        None
    );
}

#[test]
fn part_that_nobody_sizes_has_a_cpu_limit_where_the_runners_have_one() {
    let size = |fields: Value| {
        let resources = main(starter_of(&spec(fields))).resources.unwrap();
        serde_json::to_value(resources).unwrap()
    };
    let unlimited = json!({"requests": {"cpu": "50m", "memory": "16Mi"}, "limits": {"memory": "128Mi"}});
    assert_eq!(size(json!({})), unlimited);
    assert_eq!(
        size(json!({"runner": {"resources": {"requests": {"cpu": 4}}}})),
        unlimited
    );
    let limited = |limit: Value| size(json!({"runner": {"resources": {"limits": {"cpu": limit}}}}));
    for (limit, own) in [
        (json!("200m"), "200m"),
        (json!(4), "1"),
        (json!("1500m"), "1"),
        (json!("0.5"), "0.5"),
    ] {
        assert_eq!(limited(limit.clone())["limits"]["cpu"], json!(own), "{limit}");
        assert_eq!(limited(limit)["requests"]["cpu"], json!("50m"));
    }
    assert_eq!(limited(json!("20m"))["requests"]["cpu"], json!("20m"));
    let template = json!({"podTemplate": {"resources": {"limits": {"cpu": "300m"}}}});
    assert_eq!(size(template), json!({"limits": {"cpu": "300m"}}));
}

/// Each layer sets what the one after it sets too, and something of its own.
#[test]
fn a_part_comes_before_the_pod_template_and_that_before_the_defaults_of_the_operator() {
    let layer = |name: &str| {
        json!({
            "metadata": {"labels": {"shared": name, name: name}, "annotations": {"shared": name}},
            "priorityClassName": name,
            "tolerations": [{"key": name}],
            "env": [{"name": "SHARED", "value": name}, {"name": name.to_uppercase(), "value": "1"}],
            "imagePullSecrets": [{"name": "shared"}, {"name": name}],
            "resources": {"limits": {"memory": "1Gi", name: "1"}},
            "nodeSelector": {"shared": name, name: name}
        })
    };
    let mut second = layer("second");
    second["schedulerName"] = json!("second");
    let mut third = layer("third");
    third["schedulerName"] = json!("third");
    third["serviceAccountName"] = json!("third");
    let mut fourth = layer("fourth");
    fourth["serviceAccountName"] = json!("fourth");
    fourth["imagePullPolicy"] = json!("Never");
    let spec = spec(json!({"runner": layer("first"), "podTemplate": second}));
    let defaults = defaults(json!({"runner": third, "podTemplate": fourth}));
    assert_yaml_snapshot!(runner(&run_of(&k6(), &spec, &defaults), (1, 2), None));
}

#[test]
fn autoscalers_leave_the_pods_of_a_run_unless_the_user_says_otherwise() {
    let evict = "cluster-autoscaler.kubernetes.io/safe-to-evict";
    let disrupt = "karpenter.sh/do-not-disrupt";
    let said = |own: Value| {
        let fields = json!({"podTemplate": {"metadata": {"annotations": own}}});
        let runner = runner_of(&spec(fields.clone()));
        let on_job = runner.metadata.annotations.unwrap();
        assert!(own_or_none(&on_job, evict, &own), "{on_job:?}");
        [runner.spec.unwrap(), initializer_of(&spec(fields)).spec.unwrap()].map(|spec| {
            let pod = spec.template.metadata.unwrap().annotations.unwrap();
            (pod[evict].clone(), pod[disrupt].clone())
        })
    };
    let both = |evict: &str, disrupt: &str| {
        let pair = (evict.to_owned(), disrupt.to_owned());
        [pair.clone(), pair]
    };
    assert_eq!(said(json!({})), both("false", "true"));
    assert_eq!(said(json!({evict: "true"})), both("true", "true"));
    assert_eq!(said(json!({disrupt: "false"})), both("false", "false"));
}

/// What the user set stands on the Job too; the defaults are of its pod alone.
fn own_or_none(annotations: &std::collections::BTreeMap<String, String>, key: &str, own: &Value) -> bool {
    annotations.get(key).map(String::as_str) == own[key].as_str()
}

#[test]
fn pods_with_the_operators_program_run_on_its_architecture_unless_the_user_names_one() {
    let place = |own: Value| {
        let spec = spec(json!({"podTemplate": own}));
        [initializer_of(&spec), starter_of(&spec), runner_of(&spec)].map(|job| json!(pod(job).node_selector))
    };
    let another = json!({"kubernetes.io/arch": "riscv64"});
    let own = json!({"kubernetes.io/arch": ARCHITECTURE});
    // Without aggregation there is nothing in a runner but k6.
    assert_eq!(place(json!({})), [own.clone(), own.clone(), json!(null)]);
    assert_eq!(
        place(json!({"nodeSelector": another})),
        [another.clone(), another.clone(), another]
    );
    let affinity = |key: &str| {
        json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [{"matchExpressions": [{"key": key, "operator": "In", "values": ["riscv64"]}]}]
        }}}})
    };
    let none = [json!(null), json!(null), json!(null)];
    assert_eq!(place(affinity("kubernetes.io/arch")), none);
    assert_eq!(place(affinity("pool")), [own.clone(), own, json!(null)]);
}

#[test]
fn volumes_of_users_keep_their_group() {
    let spec = spec(json!({}));
    for pod in [pod(runner_of(&spec)), pod(initializer_of(&spec))] {
        let context = pod.security_context.unwrap();
        assert_eq!(context.run_as_group, Some(12345));
        assert_eq!((context.fs_group, context.supplemental_groups), (None, None));
    }
}

#[test]
fn labels_and_annotations_of_the_operator_cannot_be_overridden() {
    let own = [
        "app",
        "k6_cr",
        "runner",
        RUN_LABEL,
        RUN_NAME_LABEL,
        RUNNER_LABEL,
        ATTEMPT_LABEL,
        COMPONENT_LABEL,
    ];
    let annotations = [RUN_ANNOTATION, KIND_ANNOTATION];
    let labels: Value = own
        .into_iter()
        .map(|label| (label.to_owned(), json!("mine")))
        .collect();
    let notes: Value = annotations
        .into_iter()
        .map(|key| (key.to_owned(), json!("mine")))
        .collect();
    let job = runner_of(&spec(
        json!({"runner": {"metadata": {"labels": labels, "annotations": notes}}}),
    ));
    let template = job.spec.unwrap().template.metadata.unwrap();
    for metadata in [job.metadata, template] {
        let (labels, mut notes) = (metadata.labels.unwrap(), metadata.annotations.unwrap());
        // The pod's defaults, which can: see below.
        notes.retain(|key, _| annotations.contains(&key.as_str()));
        assert_eq!((labels.len(), notes.len()), (own.len(), annotations.len()));
        assert!(
            !labels.values().chain(notes.values()).any(|value| value == "mine"),
            "{labels:?} {notes:?}"
        );
    }
}

#[test]
fn scuttle_that_is_off_asks_for_nothing() {
    let told = |scuttle: Value| {
        validated(&spec(json!({"scuttle": scuttle})))
            .unwrap()
            .terms
            .unsupported
    };
    for off in [json!({}), json!({"enabled": "false"}), json!({"enabled": false})] {
        assert_eq!(told(off), None);
    }
    for on in [
        json!({"enabled": "true"}),
        json!({"envoyAdminApi": "http://127.0.0.1:15000"}),
    ] {
        assert!(told(on).unwrap().contains("native sidecar"));
    }
}

#[test]
fn that_each_runner_would_be_a_cloud_run_of_its_own_is_told() {
    for arguments in [
        "--out cloud",
        "-o cloud",
        "--out=cloud",
        "--out json=/tmp/x --out cloud",
    ] {
        let checked = validated(&spec(json!({"arguments": arguments}))).unwrap();
        let told = checked.terms.unsupported.unwrap();
        assert!(
            told.starts_with("with --out cloud every runner is a test run of its own"),
            "{told}"
        );
    }
    let checked = validated(&spec(json!({"arguments": "--out json=cloud"}))).unwrap();
    assert_eq!(checked.terms.unsupported, None);
}

#[test]
fn a_starter_cannot_be_labelled_as_a_runner() {
    let labelled = spec(json!({"podTemplate": {"metadata": {"labels": {"runner": "true", "team": "shop"}}}}));
    let defaults = defaults(json!({}));
    let job = starter(&run_of(&k6(), &labelled, &defaults), &[]);
    let labels = job.spec.unwrap().template.metadata.unwrap().labels.unwrap();
    assert_eq!(labels.get("runner"), None);
    assert_eq!(labels["team"], "shop");
}

#[test]
fn separate_runners_keep_the_affinity_of_the_user_and_their_distance() {
    let term = json!({"labelSelector": {"matchLabels": {"app": "db"}}, "topologyKey": "zone"});
    let affinity = json!({
        "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
            {"matchExpressions": [{"key": "disk", "operator": "Exists"}]}
        ]}},
        "podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}
    });
    let both = spec(json!({"separate": true, "runner": {"affinity": affinity}}));
    assert_yaml_snapshot!(pod(runner_of(&both)).affinity);
    let together = spec(json!({"runner": {"affinity": affinity}}));
    assert_eq!(json!(pod(runner_of(&together)).affinity), affinity);
    assert_eq!(pod(starter_of(&both)).affinity, None);
}

#[test]
fn sidecars_probes_and_ports_are_those_of_the_user() {
    let probe = json!({"tcpSocket": {"port": 6565}, "periodSeconds": 9});
    let fields = spec(json!({
        "ports": [{"containerPort": 5665, "name": "dashboard"}, {"containerPort": 6565, "name": "again"}],
        "runner": {
            "readinessProbe": probe, "livenessProbe": probe,
            "initContainers": [
                {"image": "busybox", "command": ["true"], "env": [{"name": "A", "value": "$(B)"}]},
                {"name": "proxy", "image": "envoy", "restartPolicy": "Always", "imagePullPolicy": "Always"}
            ]
        }
    }));
    assert_yaml_snapshot!((pod(runner_of(&fields)), pod(initializer_of(&fields))));
}

#[test]
fn a_starter_of_a_foreign_image_is_given_the_program_and_the_operators_own_has_it() {
    let foreign = pod(starter_of(&spec(
        json!({"starter": {"image": "grafana/k6-operator:latest-starter"}}),
    )));
    assert_yaml_snapshot!(foreign);
    for fields in [
        json!({}),
        json!({"starter": {"image": "k6-operator.invalid/operator:dev"}}),
    ] {
        let own = pod(starter_of(&spec(fields)));
        assert_eq!((own.init_containers, own.volumes), (None, None));
        assert_eq!(own.containers[0].command, Some(vec!["/k6-operator".to_owned()]));
    }
}

#[test]
fn quiet_and_paused_are_what_they_say_in_either_spelling_and_else_the_default_of_the_kind() {
    let has = |kind: Kind, fields: Value, word: &str| {
        let owner = owner(kind, "k6-sample", 1);
        let spec = spec(fields);
        let job = runner(&run_of(&owner, &spec, &defaults(json!({}))), (1, 2), None);
        main(job).command.unwrap().contains(&word.to_owned())
    };
    for (value, said) in [
        (Value::Null, None),
        (json!(true), Some(true)),
        (json!("true"), Some(true)),
        (json!(false), Some(false)),
        (json!("false"), Some(false)),
    ] {
        for kind in Kind::ALL {
            let quiet = said.unwrap_or(kind == Kind::TestRun);
            assert_eq!(
                has(kind, json!({"quiet": value}), "--quiet"),
                quiet,
                "{kind:?} {value}"
            );
            let paused = said.unwrap_or(true);
            assert_eq!(
                has(kind, json!({"paused": value}), "--paused"),
                paused,
                "{kind:?} {value}"
            );
        }
        let expected = said.unwrap_or(true);
        let start = validated(&spec(json!({"paused": value}))).unwrap().terms.start;
        assert_eq!(start, Start::from(!expected), "{value}");
    }
}

#[test]
fn a_flag_is_a_boolean_or_its_name_and_nothing_else() {
    for (text, value) in [
        ("true", true),
        ("false", false),
        ("\"true\"", true),
        ("\"false\"", false),
    ] {
        let flag: Flag = serde_json::from_str(text).unwrap();
        assert_eq!(flag, Flag(value), "{text}");
        assert_eq!(serde_json::to_string(&flag).unwrap(), value.to_string());
    }
    for text in [
        "\"yes\"",
        "\"True\"",
        "\"\"",
        "\" true\"",
        "1",
        "0",
        "null",
        "[]",
        "{}",
    ] {
        assert!(serde_json::from_str::<Flag>(text).is_err(), "{text}");
    }
    let error = serde_json::from_str::<Flag>("\"yes\"").unwrap_err().to_string();
    assert_eq!(error, "\"yes\" is neither \"true\" nor \"false\"");
}

#[test]
fn the_second_run_of_a_test_run_has_names_of_its_own_and_the_test_run_as_owner() {
    let owner = owner(Kind::TestRun, "checkout", 2);
    let spec = spec(json!({"script": {"inline": "x"}}));
    let defaults = defaults(json!({}));
    let script = script(&run_of(&owner, &spec, &defaults)).unwrap();
    let of = [
        initializer(&run_of(&owner, &spec, &defaults), ProgramSource::Copied),
        runner(&run_of(&owner, &spec, &defaults), (1, 2), None),
        starter(&run_of(&owner, &spec, &defaults), &[]),
        stopper(&run_of(&owner, &spec, &defaults), &[]),
    ]
    .map(|job| job.metadata);
    let all: Vec<_> = std::iter::once(script.metadata).chain(of).collect();
    assert_yaml_snapshot!(all);
}

#[test]
fn the_labels_of_the_peer_are_on_the_jobs_and_pods_that_it_has_too_and_on_no_others() {
    let (owner, spec) = (k6(), spec(json!({"script": {"inline": "x"}})));
    let defaults = defaults(json!({}));
    let aggregation = Aggregation {
        output: "experimental-opentelemetry".to_owned(),
        k6_version: "1.1".to_owned(),
        setup_seconds: None,
        teardown_seconds: None,
        system_tags: None,
        without_own_tags: false,
        script_metrics: Default::default(),
    };
    let jobs = [
        (
            initializer(&run_of(&owner, &spec, &defaults), ProgramSource::Copied),
            true,
        ),
        (
            runner(
                &merging(run_of(&owner, &spec, &defaults), &aggregation),
                (1, 2),
                Some("10.0.0.9:4318"),
            ),
            true,
        ),
        (starter(&run_of(&owner, &spec, &defaults), &[]), true),
        (stopper(&run_of(&owner, &spec, &defaults), &[]), false),
        (aggregator(&run_of(&owner, &spec, &defaults), "{}"), false),
    ];
    let others = [
        script(&run_of(&owner, &spec, &defaults)).unwrap().metadata,
        service(&owner, &jobs[4].0).metadata,
        summary(&owner, Documents::default(), &RunInfo::default())
            .0
            .metadata,
    ];
    let of_jobs = jobs.into_iter().flat_map(|(job, counted)| {
        let pod = job.spec.unwrap().template.metadata.unwrap();
        [(job.metadata, counted), (pod, counted)]
    });
    for (metadata, counted) in of_jobs.chain(others.map(|metadata| (metadata, false))) {
        let labels = metadata.labels.unwrap();
        let label = |key: &str| labels.get(key).map(String::as_str);
        let app = if counted { "k6" } else { "k6-operator" };
        let cr = counted.then_some("k6-sample");
        assert_eq!((label("app"), label("k6_cr")), (Some(app), cr), "{labels:?}");
        assert_eq!(label(RUN_NAME_LABEL), Some("k6-sample"));
    }
}

fn is_label(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=63).contains(&name.len()) && name.chars().all(fits) && !name.starts_with('-') && !name.ends_with('-')
}

/// The names of all children, and the hostnames of the runners.
fn children(kind: Kind, name: &str, attempt: u32, runners: u32) -> (Vec<String>, Vec<String>) {
    let owner = owner(kind, name, attempt);
    let spec = spec(json!({"script": {"inline": "x"}}));
    let defaults = defaults(json!({}));
    let runners = [1, 2, 10, runners].into_iter().collect::<BTreeSet<u32>>();
    let runners: Vec<Job> = runners
        .into_iter()
        .map(|i| runner(&run_of(&owner, &spec, &defaults), (i, 10_000), None))
        .collect();
    let rest = [
        initializer(&run_of(&owner, &spec, &defaults), ProgramSource::Copied),
        starter(&run_of(&owner, &spec, &defaults), &[]),
        stopper(&run_of(&owner, &spec, &defaults), &[]),
    ];
    let hosts = runners
        .iter()
        .map(|job| pod(job.clone()).hostname.unwrap())
        .collect();
    let jobs = runners.into_iter().chain(rest).map(|job| job.metadata);
    let all = jobs.chain([script(&run_of(&owner, &spec, &defaults)).unwrap().metadata]);
    let names = all.map(|metadata| {
        let labels = metadata.labels.unwrap();
        assert!(labels.values().all(|value| value.len() <= 63), "{labels:?}");
        assert_eq!(metadata.annotations.unwrap()[RUN_ANNOTATION], name);
        metadata.name.unwrap()
    });
    (names.collect(), hosts)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Names such as hooks with generateName have.
    #[test]
    fn children_of_long_names_are_dns_labels_and_distinct(
        name in "[a-z][a-z0-9-]{20,246}[a-z0-9]-[a-z0-9]{5}", runners in 11..10_000u32, first in 1..99u32,
    ) {
        prop_assume!(name.len() <= 253);
        for kind in Kind::ALL {
            let mut names = Vec::new();
            for attempt in [1, 2, first, first + 1, 99].into_iter().collect::<BTreeSet<u32>>() {
                let (children, hosts) = children(kind, &name, attempt, runners);
                for label in children.iter().chain(&hosts) {
                    prop_assert!(is_label(label), "{label:?} of {name:?}");
                }
                prop_assert_eq!(hosts.iter().collect::<BTreeSet<_>>().len(), hosts.len());
                names.extend(children);
            }
            prop_assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "{:?}", names);
        }
    }

    /// A name can have dots; then those of its Jobs have them too, and hostnames do not.
    #[test]
    fn children_of_names_with_dots_are_dns_subdomains_and_hostnames_are_labels(
        name in "[a-z0-9]{1,30}(\\.[a-z0-9][a-z0-9-]{0,20}[a-z0-9]){1,9}", attempt in 1..100u32,
    ) {
        prop_assume!(name.len() <= 253);
        let (names, hosts) = children(Kind::K6, &name, attempt, 10_000);
        for host in &hosts {
            prop_assert!(is_label(host), "{host:?} of {name:?}");
        }
        for child in &names {
            prop_assert!(child.len() <= 63 && child.split('.').all(is_label), "{child:?} of {name:?}");
        }
        prop_assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
    }
}

/// A manifest as users of grafana/k6-operator have it, with every field of its TestRun.
const EVERY_FIELD: &str = include_str!("testrun.yaml");

#[test]
fn a_test_run_with_every_field_of_the_peer_is_read_and_built_and_what_is_not_done_is_told() {
    let test: LoadTest = serde_saphyr::from_str(EVERY_FIELD).unwrap();
    assert_eq!(test.kind, Kind::TestRun);
    let owner = owner(test.kind, "every-field", 1);
    let checked = validated(&test.spec).unwrap();
    assert_eq!(checked.arguments, ["--tag", "team=a b"]);
    let told = checked.terms.unsupported.clone().unwrap();
    for field in ["spec.testRunId", "spec.token", "spec.scuttle"] {
        assert!(told.contains(&format!("{field} has no effect")), "{told}");
    }
    let defaults = defaults(json!({}));
    assert_yaml_snapshot!((
        initializer(&run_of(&owner, &test.spec, &defaults), ProgramSource::Copied),
        runner(&run_of(&owner, &test.spec, &defaults), (1, 4), None),
        starter(&run_of(&owner, &test.spec, &defaults), &[]),
    ));
}

/// The schema would drop, without a word, what it does not know.
#[test]
fn no_field_of_the_peer_is_unknown_to_the_schema() {
    let manifest: Value = serde_saphyr::from_str(EVERY_FIELD).unwrap();
    let definition = k6_operator::api::crd::definition(Kind::TestRun);
    let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    let mut unknown = Vec::new();
    compare(&manifest["spec"], schema, "spec", &mut unknown);
    assert_eq!(unknown, Vec::<String>::new());
    compare(
        &json!({"nothing": 1, "runner": {"nothing": 1}}),
        schema,
        "spec",
        &mut unknown,
    );
    assert_eq!(unknown, ["spec.nothing", "spec.runner.nothing"]);
}

fn compare(value: &Value, schema: &Value, path: &str, unknown: &mut Vec<String>) {
    if let (Some(fields), Some(properties)) = (value.as_object(), schema["properties"].as_object()) {
        for (name, value) in fields {
            let path = format!("{path}.{name}");
            match properties.get(name) {
                Some(schema) => compare(value, schema, &path, unknown),
                None => unknown.push(path),
            }
        }
    }
    for entry in value.as_array().into_iter().flatten() {
        compare(entry, &schema["items"], path, unknown);
    }
}
