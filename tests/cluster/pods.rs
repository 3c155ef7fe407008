//! What a spec, and the administrator, can set of the pods.

use crate::run::{FOREIGN_IMAGE, Run, container, contains_all, says};
use crate::support::{LIMIT, OPERATOR_NAMESPACE, Operator, Test, k6_image, roll_operators, variable};
use k6_operator::api::Kind;
use k6_operator::machine::{Event, Reason};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{DeleteParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

#[tokio::test]
async fn an_init_container_makes_a_file_that_the_script_opens() {
    let test = Test::new("init").await;
    let script = "const made = open('/data/made.js');
export const options = { vus: 2, iterations: 2 };
export default function () { console.log(`made: ${made.includes('export default function')}`); }
";
    test.script("opens", script).await;
    let data = json!([{"name": "data", "mountPath": "/data"}]);
    let runner = json!({
        "initContainers": [{
            "name": "make", "image": k6_image(), "command": ["k6"], "args": ["new", "/data/made.js"],
            "volumeMounts": data
        }],
        "volumes": [{"name": "data", "emptyDir": {}}], "volumeMounts": data
    });
    let spec = json!({"parallelism": 2, "script": {"configMap": {"name": "opens"}}, "runner": runner});
    let run = Run::apply(&test, Kind::TestRun, "opens", spec);
    run.passes().await;
    assert_eq!(run.logs().await.matches("made: true").count(), 2);
}

#[tokio::test]
async fn an_init_container_that_fails_is_named_with_its_own_words() {
    let test = Test::new("init-fails").await;
    test.script("two", &says(2, "never")).await;
    let failing = json!({"initContainers": [{
        "name": "fetch", "image": k6_image(), "command": ["k6", "run", "/nowhere.js"]
    }]});
    let first = json!({"parallelism": 1, "script": "two", "runner": failing});
    let mut later = first.clone();
    later["initializer"] = json!({"disabled": true});
    let broken = json!({"parallelism": 1, "script": "two", "arguments": "--vus many", "runner": {"initContainers": [{
        "name": "fine", "image": k6_image(), "command": ["k6", "version"]
    }]}});
    let inspected = Run::apply(&test, Kind::K6, "inspected", first);
    let disabled = Run::apply(&test, Kind::K6, "disabled", later);
    let refused = Run::apply(&test, Kind::K6, "refused", broken);
    let words = ["init container fetch failed (exit code 255)", "nowhere.js"];
    inspected.errs(Reason::ScriptError, &words).await;
    disabled.errs(Reason::RunnerFailed, &words).await;
    // One that ends well does not hide what k6 says.
    let words = ["k6 refused the script", "invalid argument \"many\""];
    refused.errs(Reason::ScriptError, &words).await;
}

#[tokio::test]
async fn a_sidecar_runs_beside_k6_and_ends_with_the_pod() {
    let test = Test::new("sidecar").await;
    let script = "import http from 'k6/http';
export const options = { vus: 1, iterations: 1, thresholds: { checks: ['rate==1'] } };
export default function () { console.log(`sidecar: ${http.get('http://127.0.0.1:8099/').status}`); }
";
    test.script("beside", script).await;
    let runner = json!({"initContainers": [{
        "name": "server", "image": FOREIGN_IMAGE, "command": ["/target"],
        "args": ["-http", ":8099", "-https", ":8443"], "restartPolicy": "Always"
    }]});
    let script = script_of("beside");
    let run = Run::apply(
        &test,
        Kind::TestRun,
        "beside",
        json!({"parallelism": 1, "script": script, "runner": runner}),
    );
    run.passes().await;
    contains_all(&run.logs().await, &["sidecar: 200"]);
}

/// A policy of an administrator, which puts another container into each pod of a runner, as a service mesh does. It is
/// deleted when this is dropped.
struct Injected<'a>(&'a Test);

impl<'a> Injected<'a> {
    fn into(test: &'a Test) -> Self {
        let name = &test.namespace;
        let version = "admissionregistration.k8s.io/v1beta1";
        let container = "Object.spec.containers{name: 'proxy', image: 'IMAGE', command: ['/target'], args: ['-http', \
                         ':8098', '-https', ':8448'], securityContext: \
                         Object.spec.containers.securityContext{allowPrivilegeEscalation: false, capabilities: \
                         Object.spec.containers.securityContext.capabilities{drop: ['ALL']}}}";
        let container = container.replace("IMAGE", FOREIGN_IMAGE);
        let policy = json!({
            "apiVersion": version, "kind": "MutatingAdmissionPolicy", "metadata": {"name": name},
            "spec": {
                "matchConstraints": {
                    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}},
                    "objectSelector": {"matchLabels": {"runner": "true"}},
                    "resourceRules": [{
                        "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "operations": ["CREATE"]
                    }]
                },
                "failurePolicy": "Fail", "reinvocationPolicy": "Never",
                "mutations": [{
                    "patchType": "JSONPatch",
                    "jsonPatch": {"expression":
                        format!("[JSONPatch{{op: 'add', path: '/spec/containers/-', value: {container}}}]")}
                }]
            }
        });
        let binding = json!({
            "apiVersion": version, "kind": "MutatingAdmissionPolicyBinding", "metadata": {"name": name},
            "spec": {"policyName": name}
        });
        for (file, object) in [("policy.json", policy), ("binding.json", binding)] {
            test.file(file, &object.to_string());
            test.kubectl(&["apply", "-f", file]);
        }
        Self(test)
    }
}

impl Drop for Injected<'_> {
    fn drop(&mut self) {
        for kind in ["mutatingadmissionpolicybindings", "mutatingadmissionpolicies"] {
            let kind = format!("{kind}.v1beta1.admissionregistration.k8s.io");
            self.0.kubectl(&["delete", &kind, &self.0.namespace]);
        }
    }
}

#[tokio::test]
async fn sidecar_that_goes_on_keeps_no_run_from_its_end() {
    let test = Test::new("proxied").await;
    test.script("brief", &says(2, "brief")).await;
    let injected = Injected::into(&test);
    // A policy counts once all API servers have it.
    test.until("the policy puts its container into pods", LIMIT, async || {
        let spec = json!({"metadata": {"generateName": "probe-", "labels": {"runner": "true"}}, "spec": {
            "securityContext": {"runAsNonRoot": true, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{"name": "probe", "image": FOREIGN_IMAGE, "command": ["/target"], "securityContext": {
                "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}
            }}]
        }});
        let dry = PostParams {
            dry_run: true,
            ..PostParams::default()
        };
        let pod: Pod = serde_json::from_value(spec).unwrap();
        let made = test.pods().create(&dry, &pod).await.unwrap();
        (made.spec.unwrap().containers.len() == 2).then_some(())
    })
    .await;
    let spec = json!({"parallelism": 2, "script": "brief"});
    let run = Run::apply(&test, Kind::K6, "proxied", spec);
    run.passes().await;
    let finished = Instant::now();
    for pod in test.pods_of("proxied", "runner").await {
        let status = pod.status.unwrap();
        assert_eq!(status.phase.as_deref(), Some("Running"));
        let ended = status
            .container_statuses
            .unwrap()
            .into_iter()
            .find(|c| c.name == "k6");
        assert_eq!(ended.unwrap().state.unwrap().terminated.unwrap().exit_code, 0);
    }
    // The other containers have a minute to end by themselves.
    let left = ["proxied-1", "proxied-2"];
    test.until("the Jobs whose pods go on are deleted", LIMIT, async || {
        let jobs = test.job_names().await;
        (!left.iter().any(|name| jobs.contains(&(*name).to_owned()))).then_some(())
    })
    .await;
    assert!(
        finished.elapsed() > Duration::from_secs(50),
        "{:?}",
        finished.elapsed()
    );
    drop(injected);
}

fn script_of(map: &str) -> Value {
    json!({"configMap": {"name": map}})
}

fn label<'a>(pod: &'a Pod, name: &str) -> Option<&'a str> {
    pod.labels().get(name).map(String::as_str)
}

fn env(pod: &Pod, name: &str) -> Option<String> {
    let env = container(pod).env.as_ref()?.iter().find(|env| env.name == name)?;
    env.value.clone()
}

#[tokio::test]
async fn the_settings_of_the_runners_reach_their_pods() {
    let test = Test::new("settings").await;
    let script = "export const options = { vus: 1, iterations: 1 };
export default function () {
  console.log(`env ${__ENV.DIRECT} ${__ENV.FROM_MAP} ${__ENV.HOME_OF}`);
}
";
    test.script("settings", script).await;
    test.config_map("more-env", &[("FROM_MAP", "mapped"), ("DIRECT", "overridden")])
        .await;
    test.kubectl(&["create", "serviceaccount", "loader"]);
    let get = json!({"httpGet": {"path": "/v1/status", "port": 6565}, "periodSeconds": 2});
    let runner = json!({
        "env": [{"name": "DIRECT", "value": "straight"}, {"name": "HOME_OF", "value": "$(DIRECT) on"}],
        "envFrom": [{"configMapRef": {"name": "more-env"}}],
        "metadata": {"labels": {"team": "shop", "app": "mine", "runner": "no"}, "annotations": {"note": "of a user"}},
        "resources": {"limits": {"cpu": 1, "memory": 268_435_456}, "requests": {"cpu": "50m", "memory": "32Mi"}},
        "nodeSelector": {"kubernetes.io/hostname": variable("K6OP_CLUSTER")},
        "serviceAccountName": "loader", "automountServiceAccountToken": "true",
        "readinessProbe": get, "livenessProbe": get, "imagePullPolicy": "IfNotPresent"
    });
    let spec = json!({
        "parallelism": 1, "script": script_of("settings"), "runner": runner,
        "ports": [{"name": "more", "containerPort": 5665}]
    });
    let run = Run::apply(&test, Kind::TestRun, "set", spec);
    run.passes().await;
    contains_all(&run.logs().await, &["env straight mapped straight on"]);
    let pod = run.pod("runner").await;
    let seen = [label(&pod, "team"), label(&pod, "app"), label(&pod, "runner")];
    assert_eq!(seen, [Some("shop"), Some("k6"), Some("true")]);
    assert_eq!(pod.annotations()["note"], "of a user");
    let of = serde_json::to_value(pod.spec.as_ref().unwrap()).unwrap();
    assert_eq!(of["serviceAccountName"], "loader");
    assert_eq!(of["automountServiceAccountToken"], true);
    assert_eq!(
        of["nodeSelector"]["kubernetes.io/hostname"],
        variable("K6OP_CLUSTER")
    );
    let k6 = &of["containers"][0];
    assert_eq!(
        k6["resources"]["limits"],
        json!({"cpu": "1", "memory": "268435456"})
    );
    assert_eq!(
        k6["resources"]["requests"],
        json!({"cpu": "50m", "memory": "32Mi"})
    );
    for probe in ["readinessProbe", "livenessProbe"] {
        assert_eq!(k6[probe]["periodSeconds"], 2, "{probe}");
    }
    let ports: Vec<&Value> = k6["ports"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| &p["containerPort"])
        .collect();
    assert_eq!(ports, [6565, 5665]);
    let token = |mount: &Value| mount["mountPath"] == "/var/run/secrets/kubernetes.io/serviceaccount";
    assert!(k6["volumeMounts"].as_array().unwrap().iter().any(token), "{k6:#}");
    // They are not those of the starter.
    let starter = run.pod("starter").await;
    assert_eq!((label(&starter, "team"), env(&starter, "DIRECT")), (None, None));
}

#[tokio::test]
async fn the_pod_template_is_shared_by_all_parts_and_what_is_theirs_comes_first() {
    let test = Test::new("template").await;
    test.script("two", &says(2, "templated")).await;
    let spec = json!({
        "parallelism": 2, "script": script_of("two"),
        "podTemplate": {
            "metadata": {"labels": {"team": "shop", "part": "any"}},
            "env": [{"name": "SHARED", "value": "by all"}, {"name": "WHO", "value": "any"}],
            "resources": {"requests": {"cpu": "20m"}}
        },
        "runner": {"metadata": {"labels": {"part": "runner"}}, "env": [{"name": "WHO", "value": "runner"}]}
    });
    let run = Run::apply(&test, Kind::TestRun, "shared", spec);
    let initializer = run.pod("initializer").await;
    run.passes().await;
    let (runner, starter) = (run.pod("runner").await, run.pod("starter").await);
    // The initializer has no settings of its own: it has those of the runners.
    for (pod, part) in [(&initializer, "runner"), (&runner, "runner"), (&starter, "any")] {
        assert_eq!(
            (label(pod, "team"), label(pod, "part")),
            (Some("shop"), Some(part))
        );
        assert_eq!(env(pod, "SHARED").as_deref(), Some("by all"));
        assert_eq!(env(pod, "WHO").as_deref(), Some(part));
        let resources = container(pod).resources.as_ref().unwrap();
        assert_eq!(resources.requests.as_ref().unwrap()["cpu"].0, "20m");
    }
}

#[tokio::test]
async fn a_disabled_initializer_is_not_made_and_the_plan_has_only_the_parallelism() {
    let test = Test::new("disabled").await;
    test.script("two", &says(2, "not inspected")).await;
    let spec = json!({"parallelism": 2, "script": script_of("two"), "initializer": {"disabled": true}});
    let run = Run::apply(&test, Kind::K6, "bare", spec);
    let status = run.passes().await;
    let plan = status.plan.unwrap();
    assert_eq!(
        (
            plan.parallelism,
            plan.max_vus,
            plan.total_duration,
            plan.thresholds
        ),
        (2, None, None, None)
    );
    let skipped =
        |record: &k6_operator::machine::Record| matches!(record.event, Event::InspectionSkipped { .. });
    assert!(status.history.iter().any(skipped), "{:#?}", status.history);
    assert_eq!(run.logs().await.matches("not inspected").count(), 2);
    let writes = test.operator_writes();
    let made: Vec<_> = writes
        .iter()
        .filter(|w| w.kind == "jobs" && w.verb == "create")
        .collect();
    assert_eq!(made.len(), 3, "{made:#?}");
}

#[tokio::test]
async fn an_image_without_k6_is_named_soon() {
    let test = Test::new("no-k6").await;
    test.script("one", &says(1, "never")).await;
    let spec = |part: &str| {
        let mut spec = json!({"parallelism": 1, "script": script_of("one")});
        spec[part] = json!({"image": FOREIGN_IMAGE});
        spec
    };
    let began = Instant::now();
    let initializer = Run::apply(&test, Kind::K6, "initializer", spec("initializer"));
    let both = Run::apply(&test, Kind::TestRun, "both", spec("runner"));
    let mut runner = spec("runner");
    runner["initializer"] = json!({"image": k6_image()});
    let runner = Run::apply(&test, Kind::TestRun, "runner", runner);
    let words = [
        "k6 can't be started in the image docker.io/library/k6-target:1",
        "No such file or directory",
    ];
    initializer.errs(Reason::ScriptError, &words).await;
    both.errs(Reason::ScriptError, &words).await;
    runner
        .errs(
            Reason::RunnerFailed,
            &["runner 1 (exit code 1)", "k6 can't be started: No such file"],
        )
        .await;
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_starter_image_without_our_program_starts_and_stops_the_test() {
    let test = Test::new("starter").await;
    test.script("two", &says(2, "started by a copy")).await;
    test.script("long", &crate::support::sleeps(1, 300)).await;
    let spec = |parallelism: u32, script: &str| json!({"parallelism": parallelism, "script": script_of(script), "starter": {"image": FOREIGN_IMAGE}});
    let ends = Run::apply(&test, Kind::TestRun, "ends", spec(2, "two"));
    let stopped = Run::apply(&test, Kind::K6, "stopped", spec(1, "long"));
    ends.passes().await;
    assert_eq!(ends.logs().await.matches("started by a copy").count(), 2);
    let starter = ends.pod("starter").await;
    assert_eq!(container(&starter).image.as_deref(), Some(FOREIGN_IMAGE));
    stopped.reaches(k6_operator::machine::StateName::Started).await;
    stopped.edit(json!({"stop": true}));
    stopped
        .ends(k6_operator::machine::RunResult::Aborted, Reason::StopRequested)
        .await;
}

#[tokio::test]
async fn quiet_and_paused_can_be_turned_off_by_strings() {
    let test = Test::new("loud").await;
    let script = "import { sleep } from 'k6';
export const options = { vus: 2, duration: '2s' };
export default function () { sleep(0.2); }
";
    test.script("two", script).await;
    let spec = |more: (&str, Value)| {
        let mut spec = json!({"parallelism": 2, "script": script_of("two")});
        spec[more.0] = more.1;
        spec
    };
    let loud = Run::apply(&test, Kind::TestRun, "loud", spec(("quiet", json!("false"))));
    let eager = Run::apply(&test, Kind::TestRun, "eager", spec(("paused", json!("false"))));
    loud.passes().await;
    let status = eager.passes().await;
    // With its progress.
    contains_all(&loud.logs().await, &["running (", "default"]);
    let of = |pod: Pod| container(&pod).command.clone().unwrap();
    let (loud, quiet) = (of(loud.pod("runner").await), of(eager.pod("runner").await));
    let has = |command: &[String], flag: &str| command.iter().any(|word| word == flag);
    assert_eq!(
        (has(&loud, "--quiet"), has(&loud, "--paused")),
        (false, true),
        "{loud:?}"
    );
    assert_eq!(
        (has(&quiet, "--quiet"), has(&quiet, "--paused")),
        (true, false),
        "{quiet:?}"
    );
    let started =
        |record: &k6_operator::machine::Record| matches!(record.event, Event::RunnersStarted { .. });
    assert!(status.history.iter().any(started), "{:#?}", status.history);
    assert_eq!(eager.pods("starter").await.len(), 0);
    assert!(status.start_time.is_some());
}

/// The administrator's defaults; they go with this, and an operator without them comes.
struct Defaults<'a>(&'a Test);

const DEFAULTS: &str = "k6-operator-defaults";

impl Defaults<'_> {
    async fn set<'a>(test: &'a Test, yaml: &str) -> Defaults<'a> {
        let maps: Api<ConfigMap> = Api::namespaced(test.client.clone(), OPERATOR_NAMESPACE);
        let _ = maps.delete(DEFAULTS, &DeleteParams::default()).await;
        let map = json!({"metadata": {"name": DEFAULTS}, "data": {"defaults.yaml": yaml}});
        let defaults = Defaults(test);
        maps.create(&PostParams::default(), &serde_json::from_value(map).unwrap())
            .await
            .unwrap();
        // All read them, also those that stand by.
        Operator::roll(test).await;
        defaults
    }
}

impl Drop for Defaults<'_> {
    fn drop(&mut self) {
        let namespace = ["-n", OPERATOR_NAMESPACE];
        self.0
            .kubectl(&[&["delete", "configmap", DEFAULTS][..], &namespace].concat());
        roll_operators(self.0);
    }
}

#[tokio::test]
async fn the_administrators_defaults_reach_every_run_and_a_spec_comes_first() {
    let test = Test::alone("defaults").await;
    let defaults = "
podTemplate:
  metadata: {labels: {cost-centre: load}}
  env: [{name: SHARED, value: by-all}, {name: WHO, value: default}]
runner:
  resources: {requests: {cpu: 30m}}
";
    let _defaults = Defaults::set(&test, defaults).await;
    test.script("one", &says(1, "with defaults")).await;
    let plain = Run::apply(
        &test,
        Kind::TestRun,
        "plain",
        json!({"parallelism": 1, "script": script_of("one")}),
    );
    let spec = json!({
        "parallelism": 1, "script": "one",
        "runner": {"env": [{"name": "WHO", "value": "spec"}], "resources": {"requests": {"cpu": "40m"}}}
    });
    let own = Run::apply(&test, Kind::K6, "own", spec);
    for (run, who, cpu) in [(&plain, "default", "30m"), (&own, "spec", "40m")] {
        run.passes().await;
        for component in ["runner", "starter"] {
            let pod = run.pod(component).await;
            assert_eq!(label(&pod, "cost-centre"), Some("load"));
            assert_eq!(env(&pod, "SHARED").as_deref(), Some("by-all"));
        }
        let runner = run.pod("runner").await;
        assert_eq!(env(&runner, "WHO").as_deref(), Some(who));
        let requests = container(&runner)
            .resources
            .as_ref()
            .unwrap()
            .requests
            .as_ref()
            .unwrap();
        assert_eq!(requests["cpu"].0, cpu);
    }
    test.kubectl(&["delete", "k6s,testruns", "--all"]);
    test.until("nothing is left", LIMIT, async || {
        test.job_names().await.is_empty().then_some(())
    })
    .await;
}
