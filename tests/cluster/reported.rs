//! More inputs of the kinds of `field.rs` and `written.rs`, as people wrote them who asked for help in public: each test
//! names the report, or the documentation, that it is after.

use crate::run::{Run, contains_all, has_flag, k6, k6_version, says};
use crate::sources::Volume;
use crate::support::Test;
use k6_operator::api::Kind;
use k6_operator::k6::Version;
use k6_operator::machine::{Reason, RunResult};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Api;
use kube::api::PostParams;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tempfile::TempDir;

async fn secret(test: &Test, name: &str, data: &[(&str, &str)]) {
    let data: BTreeMap<&str, &str> = data.iter().copied().collect();
    let secret = json!({"metadata": {"name": name}, "stringData": data});
    let secrets: Api<Secret> = Api::namespaced(test.client.clone(), &test.namespace);
    let secret = serde_json::from_value(secret).unwrap();
    secrets.create(&PostParams::default(), &secret).await.unwrap();
}

/// Scenarios that a variable chooses, from a file beside the script or from a Secret:
/// <https://github.com/grafana/k6-operator/issues/547>, <https://github.com/grafana/k6-operator/issues/740>
#[tokio::test]
async fn scenarios_that_a_variable_chooses_have_all_their_users_and_iterations() {
    let test = Test::new("scenarios").await;
    let script = "import exec from 'k6/execution';
import { sleep } from 'k6';
const profile = JSON.parse(open(`./${__ENV.LOAD_PROFILE}.json`));
export const options = {
  scenarios: {
    token: { executor: 'shared-iterations', exec: 'token', vus: profile.vus, iterations: profile.iterations },
    order: { executor: 'per-vu-iterations', exec: 'order', vus: 6, iterations: 4, startTime: '1s', tags: { kind: 'late' } },
  },
  thresholds: {
    iterations: [`count==${profile.iterations + 24}`], 'iterations{scenario:token}': [`count==${profile.iterations}`],
    'iterations{kind:late}': ['count==24'],
  },
};
export function token() { if (exec.scenario.name !== 'token') throw new Error(exec.scenario.name); sleep(0.01); }
export function order() { sleep(0.1); }
";
    let files = [
        ("test.js", script),
        ("smoke.json", r#"{"vus": 1, "iterations": 1}"#),
        ("peak.json", r#"{"vus": 9, "iterations": 100}"#),
    ];
    test.config_map("profiles", &files).await;
    secret(&test, "profile", &[("LOAD_PROFILE", "peak")]).await;
    let spec = |runner: Value, arguments: &str| {
        json!({
            "parallelism": 3, "script": {"configMap": {"name": "profiles", "file": "test.js"}}, "runner": runner,
            "arguments": arguments
        })
    };
    let by_secret = json!({"envFrom": [{"secretRef": {"name": "profile"}}]});
    let runs = [
        Run::apply(&test, Kind::TestRun, "by-secret", spec(by_secret, "")),
        Run::apply(
            &test,
            Kind::K6,
            "by-argument",
            spec(json!({}), "-e LOAD_PROFILE=peak"),
        ),
    ];
    for run in &runs {
        let status = run.passes().await;
        let (summary, plan) = (status.summary.unwrap(), status.plan.unwrap());
        assert_eq!((summary.iterations, summary.thresholds_passed), (124, 3));
        assert_eq!(
            (plan.max_vus, plan.thresholds, plan.warning),
            (Some(15), Some(3), None)
        );
    }
}

/// An archive with variables that have spaces, and k6's own among them:
/// <https://github.com/grafana/k6-operator/issues/757>
#[tokio::test]
async fn archive_with_variables_that_have_spaces_and_commas_runs() {
    let test = Test::new("archived").await;
    let folder = TempDir::new().unwrap();
    let script = "import exec from 'k6/execution';
export const options = {
  vus: 4, iterations: 8, thresholds: { 'iterations{title:2026-03-31 TS Dev Smoke 2,testid:night run}': ['count==8'] },
};
export default function () {
  if (__ENV.K6_RES_SUM_URI !== 'https://results/main?a=1&b=$2') exec.test.abort(__ENV.K6_RES_SUM_URI);
  if (__ENV.K6_TEST_TAG !== '2026-03-31 TS Dev Smoke 2') exec.test.abort(__ENV.K6_TEST_TAG);
}
";
    std::fs::write(folder.path().join("poll.js"), script).unwrap();
    let archive = [
        "archive",
        "-O",
        "poll.tar",
        "-e",
        "K6_TEST_TAG=2026-03-31 TS Dev Smoke 2",
        "poll.js",
    ];
    k6(folder.path(), &archive);
    let mut map: ConfigMap = serde_json::from_value(json!({"metadata": {"name": "poll"}})).unwrap();
    let archive = std::fs::read(folder.path().join("poll.tar")).unwrap();
    map.binary_data = Some(BTreeMap::from([("poll.tar".to_owned(), ByteString(archive))]));
    let maps: Api<ConfigMap> = Api::namespaced(test.client.clone(), &test.namespace);
    maps.create(&PostParams::default(), &map).await.unwrap();
    let env = json!([
        {"name": "K6_DNS", "value": "ttl=30s,select=random,policy=onlyIPv4"},
        {"name": "K6_LOG_LEVEL", "value": "WARN"},
        {"name": "K6_TEST_TAG", "value": "2026-03-31 TS Dev Smoke 2"},
        {"name": "K6_RES_SUM_URI", "value": "https://results/main?a=1&b=$2"},
    ]);
    let spec = json!({
        "parallelism": 2, "script": {"configMap": {"name": "poll", "file": "poll.tar"}}, "runner": {"env": env},
        "arguments": "--tag 'testid=night run' --tag 'title=2026-03-31 TS Dev Smoke 2'"
    });
    for run in Run::of_both_kinds(&test, "poll", &spec) {
        let status = run.passes().await;
        assert_eq!(status.summary.unwrap().iterations, 8, "{}", run.name);
    }
}

/// What the image's k6 has not: an extension, that a script or its neighbour imports, an executor
/// (<https://github.com/grafana/k6-operator/issues/435>), and flags that came or went with a version.
#[tokio::test]
async fn what_the_k6_of_the_image_lacks_is_named_before_a_runner_is_made() {
    let test = Test::new("lacking").await;
    let ends = "export const options = { vus: 2, iterations: 2 };\nexport default function () {}\n";
    let files = [
        ("test.js", ends),
        (
            "extension.js",
            &format!("import faker from 'k6/x/faker';\n{ends}"),
        ),
        (
            "neighbour.js",
            &format!("import {{ rows }} from './rows.js';\n{ends}"),
        ),
        (
            "rows.js",
            "import sql from 'k6/x/sql';\nexport const rows = () => sql.open();\n",
        ),
        (
            "executor.js",
            "export const options = { scenarios: { peak: { executor: 'burst', vus: 2 } } };
export default function () {}
",
        ),
    ];
    test.config_map("lacking", &files).await;
    let apply = |name: &str, file: &str, arguments: &str| {
        let spec = json!({
            "parallelism": 2, "script": {"configMap": {"name": "lacking", "file": file}}, "arguments": arguments,
        });
        Run::apply(&test, Kind::TestRun, name, spec)
    };
    let scripts = [
        ("extension", "k6/x/faker"),
        ("neighbour", "k6/x/sql"),
        ("executor", "unknown executor type 'burst'"),
    ];
    let scripts = scripts.map(|(name, words)| (apply(name, &format!("{name}.js"), ""), words));
    let flags = [
        ("no-summary", "--no-summary", "--summary-mode=disabled"),
        ("features", "--features=native-histograms", "take k6 2.1 or newer"),
        ("shape", "--new-machine-readable-summary", "take k6 1.5 or newer"),
    ];
    let flags = flags.map(|(name, argument, remedy)| {
        let is_known = has_flag(argument.split('=').next().unwrap());
        (apply(name, "test.js", argument), argument, remedy, is_known)
    });
    for (run, words) in &scripts {
        run.errs(Reason::ScriptError, &[words]).await;
        assert!(run.pods("runner").await.is_empty(), "{}", run.name);
    }
    for (run, argument, remedy, is_known) in &flags {
        if *is_known {
            let status = run.passes().await;
            assert_eq!(status.summary.unwrap().iterations, 2, "{argument}");
            continue;
        }
        let flag = argument.split('=').next().unwrap();
        let lacks = format!("k6 {} has no flag {flag}", k6_version());
        run.errs(Reason::ScriptError, &[&lacks, remedy]).await;
        assert!(run.pods("runner").await.is_empty(), "{}", run.name);
    }
}

/// `exec.test.fail()`, in each phase: <https://grafana.com/docs/k6/latest/javascript-api/k6-execution/#test>
#[tokio::test]
async fn test_that_its_script_marks_as_failed_is_failed_for_those_too_who_read_exit_codes() {
    let test = Test::new("marked").await;
    if k6_version() < Version::new(1, 0, 0) {
        return;
    }
    let script = |setup: &str, each: &str| {
        format!(
            "import exec from 'k6/execution';
export const options = {{ vus: 3, iterations: 6, thresholds: {{ iterations: ['count==6'] }} }};
export function setup() {{ {setup} }}
export default function () {{ {each} }}
"
        )
    };
    let fails = "exec.test.fail('the price is wrong');";
    let in_one = format!("if (exec.vu.idInTest === 2) {fails}");
    let spec =
        |script: String, setup: &str| json!({"parallelism": 3, "script": {"inline": script}, "setup": setup});
    let runs = [
        Run::apply(&test, Kind::TestRun, "in-one", spec(script("", &in_one), "once")),
        Run::apply(&test, Kind::K6, "in-setup", spec(script(fails, ""), "once")),
        Run::apply(
            &test,
            Kind::TestRun,
            "in-each",
            spec(script(fails, ""), "perRunner"),
        ),
    ];
    for run in &runs {
        let status = run.ends(RunResult::Failed, Reason::TestFailed).await;
        assert_eq!(status.summary.unwrap().iterations, 6, "{}", run.name);
        let wait = [
            "wait",
            "--for=jsonpath={.status.stage}=error",
            &run.path(),
            "--timeout=5s",
        ];
        test.kubectl(&wait);
        let codes =
            "jsonpath={.items[*].status.containerStatuses[?(@.name==\"k6\")].state.terminated.exitCode}";
        let selector = format!("app=k6,k6_cr={},runner=true", run.name);
        let codes = test.kubectl(&["get", "pods", "-l", &selector, "-o", codes]);
        assert!(
            codes.split_whitespace().any(|code| code == "110"),
            "{}: {codes}",
            run.name
        );
    }
    let message = runs[0].get().await.status.unwrap().message.unwrap();
    contains_all(&message, &["marked the test as failed", "the price is wrong"]);
}

/// As client-go and kustomize write a resource, and Helm charts what nobody set.
#[tokio::test]
async fn manifest_with_a_status_and_null_timestamps_passes_and_empty_variables_stay() {
    let test = Test::new("generated").await;
    test.script(
        "ten",
        "export const options = { vus: 2, iterations: 10, thresholds: { iterations: ['count==10'] } };
export default function () { if (__ENV.PROXY !== '') throw new Error(`PROXY is ${__ENV.PROXY}`); }
",
    )
    .await;
    let manifest = |kind: &str| {
        format!(
            "apiVersion: k6.io/v1alpha1
kind: {kind}
metadata:
  creationTimestamp: null
  name: generated-{}
  labels: null
  annotations: {{}}
  ownerReferences: null
spec:
  parallelism: 2
  separate: false
  arguments: \"\"
  cleanup: \"\"
  ports: null
  script:
    configMap: {{name: ten, file: \"\"}}
    volumeClaim: null
  initializer:
    metadata: {{creationTimestamp: null}}
    resources: {{limits: null, requests: null}}
    env: null
  starter:
    image: \"\"
    affinity: {{}}
    metadata: {{creationTimestamp: null, labels: {{}}}}
    tolerations: []
  runner:
    affinity: null
    metadata:
      creationTimestamp: null
      annotations: {{prometheus.io/scrape: \"\"}}
    env:
    - name: PROXY
      value: \"\"
    envFrom: null
    livenessProbe: null
    readinessProbe: null
    topologySpreadConstraints: null
    volumeMounts: []
    initContainers: null
    securityContext: {{seccompProfile: null}}
    containerSecurityContext: {{capabilities: null}}
    resources: {{limits: {{memory: \"\"}}, requests: {{}}}}
status: {{}}
",
            kind.to_lowercase()
        )
    };
    let runs = Kind::ALL.map(|kind| {
        test.file("generated.yaml", &manifest(kind.as_str()));
        test.kubectl(&["apply", "-f", "generated.yaml"]);
        Run::of(
            &test,
            kind,
            &format!("generated-{}", kind.as_str().to_lowercase()),
        )
    });
    for run in &runs {
        assert_eq!(run.passes().await.summary.unwrap().iterations, 10);
    }
}

/// k6's words go elsewhere, and yet its end is told by what they were:
/// <https://github.com/grafana/k6-operator/issues/595>
#[tokio::test]
async fn log_that_goes_elsewhere_does_not_cost_how_a_test_ended() {
    let test = Test::new("log-ends").await;
    let script = |setup: &str, each: &str| {
        format!(
            "import exec from 'k6/execution';
export const options = {{ vus: 2, iterations: 4 }};
export function setup() {{ {setup} }}
export default function () {{ {each} }}
"
        )
    };
    let throws = script("throw new Error('expected 100 to equal 200');", "");
    let aborts = script("", "exec.test.abort('the shop is down');");
    test.script("throws", &throws).await;
    test.script("aborts", &aborts).await;
    test.config_map(
        "to-file",
        &[("K6_LOG_OUTPUT", "file=/tmp/k6.log"), ("K6_LOG_FORMAT", "raw")],
    )
    .await;
    let from = json!({"envFrom": [{"configMapRef": {"name": "to-file"}}]});
    let spec = |script: &str, arguments: &str, runner: &Value| {
        json!({
            "parallelism": 2, "arguments": arguments, "runner": runner, "script": {"configMap": {"name": script}},
        })
    };
    let none = "--log-output=none";
    let json = "--log-output=stdout --log-format=json";
    let (error, aborted) = (RunResult::Error, RunResult::Aborted);
    let (throw, abort) = ("expected 100 to equal 200", "the shop is down");
    let runs = [
        (
            "throws-file",
            spec("throws", "", &from),
            error,
            Reason::StartFailed,
            throw,
        ),
        (
            "throws-none",
            spec("throws", none, &json!({})),
            error,
            Reason::StartFailed,
            throw,
        ),
        (
            "aborts-json",
            spec("aborts", json, &json!({})),
            aborted,
            Reason::TestAborted,
            abort,
        ),
        (
            "aborts-none",
            spec("aborts", none, &json!({})),
            aborted,
            Reason::TestAborted,
            "108",
        ),
    ]
    .map(|(name, spec, result, reason, words)| {
        (
            Run::apply(&test, Kind::TestRun, name, spec),
            result,
            reason,
            words,
        )
    });
    for (run, result, reason, words) in &runs {
        let status = run.ends(*result, *reason).await;
        contains_all(&status.message.unwrap(), &[words]);
    }
}

/// A quota of requests alone, beside a ratio of cpu and defaults of memory: all parts of a run are sized, or named.
#[tokio::test]
async fn every_part_that_a_limit_range_refuses_is_named_with_the_field_to_set() {
    let test = Test::new("each-part").await;
    test.script("two", &says(2, "hello")).await;
    let limits = json!({
        "apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "bounds"},
        "spec": {"limits": [{
            "type": "Container", "max": {"memory": "1Gi"}, "maxLimitRequestRatio": {"cpu": "10"},
            "default": {"memory": "256Mi", "cpu": "500m"}, "defaultRequest": {"memory": "64Mi", "cpu": "50m"}
        }]}
    });
    let quota = json!({
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "team"},
        "spec": {"hard": {"requests.memory": "4Gi", "count/jobs.batch": "50"}}
    });
    test.file("limits.json", &limits.to_string());
    test.file("quota.json", &quota.to_string());
    test.kubectl(&["apply", "-f", "limits.json", "-f", "quota.json"]);
    let spec = |part: &str, resources: Value| {
        let mut spec = json!({"parallelism": 2, "script": {"configMap": {"name": "two"}}});
        // By default the initializer has the size of the runners, and the aggregator that of the starter.
        for other in ["initializer", "aggregation"] {
            spec[other] = json!({"resources": {"requests": {"cpu": "60m"}}});
        }
        spec[part] = json!({"resources": resources});
        spec
    };
    let big = json!({"requests": {"memory": "64Mi"}, "limits": {"memory": "2Gi"}});
    let ratio = json!({"requests": {"cpu": "10m"}, "limits": {"cpu": "500m"}});
    let refused = [
        (
            "initializer",
            "initializer",
            big,
            "maximum memory usage per Container is 1Gi",
        ),
        (
            "starter",
            "starter",
            ratio.clone(),
            "cpu max limit to request ratio per Container is 10",
        ),
        (
            "runner",
            "runner",
            ratio,
            "cpu max limit to request ratio per Container is 10",
        ),
    ]
    .map(|(name, part, resources, rule)| {
        (
            Run::apply(&test, Kind::TestRun, name, spec(part, resources)),
            part,
            rule,
        )
    });
    let fits = Run::apply(
        &test,
        Kind::K6,
        "fits",
        spec("runner", json!({"requests": {"cpu": "60m"}})),
    );
    fits.passes().await;
    for (run, part, rule) in &refused {
        let field = format!("spec.{part}.resources");
        run.errs(
            Reason::ObjectRefused,
            &[rule, &field, "is refused by a LimitRange"],
        )
        .await;
    }
}

/// Scripts in folders of a volume: <https://github.com/grafana/k6-operator/issues/686>,
/// <https://github.com/grafana/k6-operator/issues/725>, and of a ConfigMap that the user mounts.
#[tokio::test]
async fn script_in_a_folder_finds_its_neighbours_and_a_mount_of_the_users_own_is_inspected_too() {
    let test = Test::new("deep").await;
    let volume = Volume::new(&test, "tests-source").await;
    volume.write("lib/words.js", "export const words = 'from the library';\n");
    volume.write(
        "my-tests/another-dir/test-123.js",
        "import { words } from '../../lib/words.js';
export const options = { vus: 2, iterations: 4, thresholds: { iterations: ['count==4'] } };
export default function () { console.log(words); }
",
    );
    test.config_map("mine", &[("load.js", &says(2, "from a mount of my own"))])
        .await;
    let claim = |file: &str| json!({"volumeClaim": {"name": "tests-source", "file": file}});
    let mounted = json!({
        "volumes": [{"name": "mine", "configMap": {"name": "mine"}}],
        "volumeMounts": [{"name": "mine", "mountPath": "/opt/scripts/load"}]
    });
    let library = "from the library";
    let runs = [
        (
            "nested",
            claim("my-tests/another-dir/test-123.js"),
            json!({}),
            library,
        ),
        (
            "dotted",
            claim("./my-tests/another-dir/test-123.js"),
            json!({}),
            library,
        ),
        (
            "mounted",
            json!({"localFile": "/opt/scripts/load/load.js"}),
            mounted,
            "from a mount of my own",
        ),
    ]
    .map(|(name, script, runner, words)| {
        let spec = json!({"parallelism": 2, "script": script, "runner": runner});
        (Run::apply(&test, Kind::TestRun, name, spec), words)
    });
    for (run, words) in &runs {
        run.passes().await;
        contains_all(&run.logs().await, &[words]);
    }
    volume.delete().await;
}

/// Secrets by k6's own way: <https://grafana.com/docs/k6/latest/using-k6/secret-source/>
#[tokio::test]
async fn secret_source_is_read_from_a_mount_and_its_secrets_are_in_no_log() {
    let test = Test::new("secrets").await;
    if !has_flag("--secret-source") {
        return;
    }
    secret(&test, "keys", &[("keys.env", "token=abracadabra\n")]).await;
    let script = "import secrets from 'k6/secrets';
import { check } from 'k6';
export const options = { vus: 2, iterations: 4, thresholds: { checks: ['rate==1'] } };
export default async function () {
  const token = await secrets.get('token');
  console.log(`it is ${token}`);
  check(token, { 'there is a token': (token) => token.length === 11 });
}
export async function handleSummary() { return { 'length.txt': `${(await secrets.get('token')).length}` }; }
";
    test.script("secretive", script).await;
    let spec = json!({
        "parallelism": 2, "script": {"configMap": {"name": "secretive"}},
        "arguments": "--secret-source=file=/keys/keys.env",
        "runner": {
            "volumes": [{"name": "keys", "secret": {"secretName": "keys"}}],
            "volumeMounts": [{"name": "keys", "mountPath": "/keys", "readOnly": true}]
        }
    });
    let run = Run::apply(&test, Kind::TestRun, "secretive", spec);
    assert_eq!(run.passes().await.summary.unwrap().checks_passed, 4);
    let logs = run.logs().await;
    contains_all(&logs, &["it is ***SECRET_REDACTED***"]);
    assert!(!logs.contains("abracadabra"), "{logs}");
    let kept = crate::aggregation::documents(&test, &run.name).await;
    assert_eq!(kept["handleSummary-length.txt"], "11");
}

/// As much of it as k6 takes, at the starter's own size: <https://github.com/grafana/k6-operator/issues/223>
#[tokio::test]
async fn setup_data_of_megabytes_reaches_every_runner() {
    let test = Test::new("setup-data").await;
    let script = "import { check } from 'k6';
export const options = { vus: 4, iterations: 4, setupTimeout: '120s', thresholds: { checks: ['rate==1'] } };
export function setup() { return { users: new Array(15).fill('x'.repeat(1024 * 1024)) }; }
export default function (data) {
  check(data, { whole: (data) => data.users.length === 15 && data.users[14].length === 1024 * 1024 });
}
";
    test.script("much", script).await;
    let run = Run::apply(
        &test,
        Kind::TestRun,
        "much",
        json!({"parallelism": 4, "script": {"configMap": {"name": "much"}}}),
    );
    assert_eq!(run.passes().await.summary.unwrap().checks_passed, 4);
}
