//! The objects of a run, as YAML in `snapshots/`, and what a spec may say.

use crate::snapshot::assert_yaml_snapshot;
use k6_operator::api::{Kind, PullPolicy, Spec};
use k6_operator::machine::{Aggregation, Plan, ProgramSource, Target};
use k6_operator::objects::*;
use serde_json::json;

pub fn owner(name: &str) -> Owner {
    Owner {
        kind: Kind::K6,
        name: name.to_owned(),
        namespace: "default".to_owned(),
        uid: "5f2a".to_owned(),
        generation: 1,
        attempt: 1,
    }
}

pub fn defaults() -> Defaults {
    Defaults {
        runner_image: "grafana/k6:1.1.0".to_owned(),
        starter_image: "k6-operator.invalid/operator:dev".to_owned(),
        common: Common::default(),
    }
}

/// A spec with these defaults of the operator.
pub fn validated(spec: &Spec) -> Result<ValidatedSpec, SpecError> {
    validate(spec, &defaults())
}

/// A run of which nothing is planned yet.
pub fn run_of(owner: &Owner, spec: &Spec, defaults: &Defaults) -> ValidatedRun {
    ValidatedRun {
        owner: owner.clone(),
        spec: validate(spec, defaults).unwrap(),
        plan: None,
    }
}

/// The run with this plan for its metrics.
pub fn merging(run: ValidatedRun, aggregation: &Aggregation) -> ValidatedRun {
    let plan = Plan {
        aggregation: Some(aggregation.clone()),
        not_aggregated: None,
        ..planned()
    };
    ValidatedRun {
        plan: Some(plan),
        ..run
    }
}

pub fn spec(value: serde_json::Value) -> Spec {
    serde_json::from_value(value).unwrap()
}

fn article() -> Spec {
    spec(json!({"parallelism": 4, "script": "crocodile-stress-test"}))
}

fn full() -> Spec {
    spec(json!({
        "parallelism": 4,
        "script": {"configMap": {"name": "scripts", "file": "checkout.js"}},
        "separate": true,
        "arguments": "--tag 'team=a b' --out cloud --vus=8",
        "runner": {
            "image": "registry.example/k6:own",
            "imagePullPolicy": "Always",
            "resources": {"requests": {"cpu": "1"}, "limits": {"memory": "1Gi"}},
            "env": [
                {"name": "TARGET", "value": "https://shop.example"},
                {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "shop", "key": "token"}}}
            ]
        },
        "starter": {"image": "registry.example/operator:own"},
        "timeouts": {"initialization": "90s"}
    }))
}

fn targets() -> Vec<Target> {
    let ips = ["10.0.0.1", "fd00::2"];
    (1..)
        .zip(ips)
        .map(|(runner, ip)| Target {
            runner,
            ip: ip.to_owned(),
        })
        .collect()
}

#[test]
fn an_initializer_archives_and_inspects_without_a_shell() {
    let spec = article();
    assert_yaml_snapshot!(initializer(
        &run_of(&owner("k6-sample"), &spec, &defaults()),
        ProgramSource::Copied
    ));
}

#[test]
fn an_initializer_has_the_image_and_environment_of_the_runners_and_no_outputs() {
    let spec = full();
    assert_yaml_snapshot!(initializer(
        &run_of(&owner("k6-sample"), &spec, &defaults()),
        ProgramSource::Copied
    ));
}

#[test]
fn the_only_runner_has_no_segment() {
    let spec = article();
    assert_yaml_snapshot!(runner(
        &run_of(&owner("k6-sample"), &spec, &defaults()),
        (1, 1),
        None
    ));
}

#[test]
fn a_runner_is_given_the_tags_of_its_script_with_those_of_the_operator_unless_the_user_gives_others() {
    let tags =
        [("team", "$(HOME) x"), ("zone", "eu")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    let given = |arguments: &str| {
        let spec = Spec {
            arguments: arguments.to_owned(),
            ..article()
        };
        let plan = Plan {
            tags: tags.clone().into(),
            ..planned()
        };
        let job = runner(&with_plan(&spec, plan), (1, 1), None);
        let pod = job.spec.unwrap().template.spec.unwrap();
        let command = pod.containers[0].command.clone().unwrap();
        let tag = |pair: &[String]| (pair[0] == "--tag").then(|| pair[1].clone());
        command.windows(2).filter_map(tag).collect::<Vec<_>>()
    };
    let ours = ["instance_id=1", "testrun_name=k6-sample"];
    assert_eq!(given(""), [&["team=$$(HOME) x", "zone=eu"], &ours[..]].concat());
    assert_eq!(given("--tag team=y"), [&["team=y"], &ours[..]].concat());
    assert_eq!(given("--tag=team=y"), ours);
}

fn planned() -> Plan {
    crate::support::plan(1)
}

fn with_plan(spec: &Spec, plan: Plan) -> ValidatedRun {
    ValidatedRun {
        plan: Some(plan),
        ..run_of(&owner("k6-sample"), spec, &defaults())
    }
}

#[test]
fn limit_of_requests_per_second_is_cut_into_whole_shares_that_add_up() {
    let shares = |rps: Option<u64>, n: u32| {
        let spec = Spec {
            arguments: "--rps 10".to_owned(),
            ..article()
        };
        let run = with_plan(&spec, Plan { rps, ..planned() });
        let of = |i| {
            let job = runner(&run, (i, n), None);
            let pod = job.spec.unwrap().template.spec.unwrap();
            let command = pod.containers[0].command.clone().unwrap();
            // k6 takes the last.
            command
                .iter()
                .rev()
                .find_map(|word| Some(word.strip_prefix("--rps=")?.to_owned()))
        };
        (1..=n).map(of).collect::<Vec<_>>()
    };
    let some = |shares: &[&str]| {
        shares
            .iter()
            .map(|share| Some((*share).to_owned()))
            .collect::<Vec<_>>()
    };
    assert_eq!(shares(Some(10), 3), some(&["4", "3", "3"]));
    assert_eq!(shares(Some(3), 3), some(&["1", "1", "1"]));
    assert_eq!(shares(Some(10), 1), some(&["10"]));
    assert_eq!(shares(None, 2), [None, None]);
}

#[test]
fn limit_of_requests_per_second_is_read_as_k6_reads_it() {
    let rps = |arguments: &str, runner: Option<&str>, all: Option<&str>| {
        let env = |value: Option<&str>| match value {
            Some(value) => json!({"env": [{"name": "K6_RPS", "value": value}]}),
            None => json!({}),
        };
        let spec = spec(json!({
            "parallelism": 4, "script": "s", "arguments": arguments,
            "runner": env(runner), "podTemplate": env(all),
        }));
        validated(&spec)
            .map(|checked| checked.terms.rps)
            .map_err(|error| error.to_string())
    };
    assert_eq!(rps("", None, None), Ok(None));
    assert_eq!(rps("--rps 10", Some("20"), Some("30")), Ok(Some(10)));
    assert_eq!(rps("--rps 10 --rps=12", None, None), Ok(Some(12)));
    assert_eq!(rps("", Some("20"), Some("30")), Ok(Some(20)));
    assert_eq!(rps("", None, Some("30")), Ok(Some(30)));
    assert_eq!(rps("--rps 0", Some("20"), None), Ok(Some(0)), "no limit");
    assert_eq!(rps("--rps nine", None, None), Ok(None), "k6 refuses it");
    let few = "spec.parallelism is 4, but the test is limited to 3 requests per second (rps): each runner needs a share \
               of at least 1; set parallelism to 3 or less, or rps to 4 or more";
    assert_eq!(rps("--rps=3", None, None), Err(few.to_owned()));
    assert_eq!(rps("", Some("3"), None), Err(few.to_owned()));
}

#[test]
fn the_third_of_four_runners_has_the_third_segment() {
    let spec = article();
    assert_yaml_snapshot!(runner(
        &run_of(&owner("k6-sample"), &spec, &defaults()),
        (3, 4),
        None
    ));
}

/// k6 needs it whole: docs/adr/0007 has what it does without.
#[test]
fn sequence_of_many_runners_stands_once_and_each_refers_to_it() {
    let sequence_of = |n: u32| format!("--execution-segment-sequence={}", segments::sequence(n));
    let spec = spec(json!({
        "parallelism": 2000, "script": "s",
        "runner": {"env": [{"name": "K6_OPERATOR_SEGMENTS", "value": "0,1"}, {"name": "A", "value": "b"}]}
    }));
    let run = run_of(&owner("k6-sample"), &spec, &defaults());
    let container = |i: u32, n: u32| {
        let pod = runner(&run, (i, n), None).spec.unwrap().template.spec.unwrap();
        pod.containers.into_iter().next().unwrap()
    };
    assert!(sequence(&run.owner, 100).is_none());
    let few = container(7, 100);
    assert!(few.command.unwrap().contains(&sequence_of(100)));
    let names: Vec<String> = few
        .env
        .unwrap()
        .into_iter()
        .map(|variable| variable.name)
        .collect();
    assert_eq!(
        names,
        ["K6_AUTO_EXTENSION_RESOLUTION", "K6_OPERATOR_SEGMENTS", "A"]
    );

    for n in [101, 2000] {
        let map = sequence(&run.owner, n).unwrap();
        let name = map.metadata.name.clone().unwrap();
        assert_eq!(name, format!("k6-sample-segments-{n}"));
        assert_eq!(map.immutable, Some(true));
        assert_eq!(map.metadata.owner_references.unwrap()[0].uid, "5f2a");
        assert_eq!(map.data.unwrap()["sequence"], segments::sequence(n));
        for i in [1, n] {
            let container = container(i, n);
            let command = container.command.unwrap();
            let segment = format!("--execution-segment={}", segment(i, n));
            assert!(command.contains(&segment), "{command:?}");
            let reference = "--execution-segment-sequence=$(K6_OPERATOR_SEGMENTS)".to_owned();
            assert!(command.contains(&reference), "{command:?}");
            let env = serde_json::to_value(container.env).unwrap();
            let from = json!({"configMapKeyRef": {"name": name, "key": "sequence"}});
            let ours = json!({"name": "K6_OPERATOR_SEGMENTS", "valueFrom": from});
            let of_name = |variable: &&serde_json::Value| variable["name"] == "K6_OPERATOR_SEGMENTS";
            let found: Vec<_> = env.as_array().unwrap().iter().filter(of_name).collect();
            assert_eq!(found, [&ours], "{env}");
        }
    }
}

#[test]
fn a_runner_has_all_that_its_spec_sets() {
    let spec = full();
    assert_yaml_snapshot!(runner(
        &run_of(&owner("k6-sample"), &spec, &defaults()),
        (2, 4),
        None
    ));
}

#[test]
fn k6_is_quiet_where_its_log_goes_nowhere_since_tools_read_the_rest() {
    let quiet = |kind: Kind, more: serde_json::Value| {
        let mut all = json!({"parallelism": 1, "script": "s"});
        all.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let spec = spec(all);
        let owner = Owner {
            kind,
            ..owner("k6-sample")
        };
        let job = runner(&run_of(&owner, &spec, &defaults()), (1, 1), None);
        let pod = job.spec.unwrap().template.spec.unwrap();
        let words = pod.containers[0].command.clone().unwrap();
        words.iter().any(|word| word == "--quiet")
    };
    let none = json!([{"name": "K6_LOG_OUTPUT", "value": "none"}]);
    for (kind, more, is_quiet) in [
        (Kind::K6, json!({}), false),
        (Kind::TestRun, json!({}), true),
        (Kind::K6, json!({"arguments": "--log-output=none"}), true),
        (
            Kind::K6,
            json!({"arguments": "--include-system-env-vars --log-output none"}),
            true,
        ),
        (
            Kind::K6,
            json!({"arguments": "--log-output=none --log-output=stdout"}),
            false,
        ),
        (
            Kind::K6,
            json!({"arguments": "--log-output=none", "quiet": "false"}),
            false,
        ),
        (Kind::K6, json!({"runner": {"env": none}}), true),
        (
            Kind::K6,
            json!({"runner": {"env": none}, "arguments": "--log-output=stderr"}),
            false,
        ),
        (
            Kind::TestRun,
            json!({"quiet": false, "arguments": "--log-output=none"}),
            false,
        ),
    ] {
        assert_eq!(quiet(kind, more.clone()), is_quiet, "{kind:?} {more}");
    }
}

#[test]
fn a_starter_is_given_every_runner_by_address() {
    let spec = article();
    assert_yaml_snapshot!(starter(
        &run_of(&owner("k6-sample"), &spec, &defaults()),
        &targets()
    ));
}

#[test]
fn a_stopper_has_the_image_that_the_spec_sets() {
    assert_yaml_snapshot!(stopper(
        &run_of(&owner("k6-sample"), &full(), &defaults()),
        &targets()
    ));
}

#[test]
fn four_runners_share_the_users_of_the_article_equally() {
    let segments: Vec<String> = (1..=4).map(|i| segment(i, 4)).collect();
    assert_eq!(segments, ["0:1/4", "1/4:2/4", "2/4:3/4", "3/4:1"]);
    assert_eq!(segments::sequence(4), "0,1/4,2/4,3/4,1");
    // Each of a quarter of 200 users: 50.
    let bound = |text: &str| match text.split_once('/') {
        Some((a, b)) => 200 * a.parse::<u32>().unwrap() / b.parse::<u32>().unwrap(),
        None => 200 * text.parse::<u32>().unwrap(),
    };
    for segment in segments {
        let (from, to) = segment.split_once(':').unwrap();
        assert_eq!(bound(to) - bound(from), 50);
    }
}

#[test]
fn names_are_those_that_dashboards_know_until_they_are_too_long() {
    assert_eq!(runner_name("k6-sample", 3), "k6-sample-3");
    assert_eq!(starter_name("k6-sample"), "k6-sample-starter");
    assert_eq!(stopper_name("k6-sample"), "k6-sample-stopper");
    assert_eq!(initializer_name("k6-sample"), "k6-sample-initializer");
    let (a, b) = ("a".repeat(253), format!("{}b", "a".repeat(252)));
    let names: Vec<String> = [a, b]
        .iter()
        .flat_map(|name| {
            [
                runner_name(name, 1),
                runner_name(name, 10_000),
                starter_name(name),
                stopper_name(name),
                initializer_name(name),
            ]
        })
        .collect();
    assert!(names.iter().all(|name| name.len() <= 63), "{names:?}");
    let distinct: std::collections::BTreeSet<&String> = names.iter().collect();
    assert_eq!(distinct.len(), names.len());
}

#[test]
fn arguments_are_split_as_a_shell_splits_them() {
    let words = split(r#"--tag 'team=a b' --env "X=\"y\"" --no-connection-reuse"#).unwrap();
    assert_eq!(
        words,
        ["--tag", "team=a b", "--env", "X=\"y\"", "--no-connection-reuse"]
    );
    assert_eq!(split("$(reboot) `x` ;").unwrap(), ["$(reboot)", "`x`", ";"]);
    assert_eq!(split("").unwrap(), Vec::<String>::new());
    let lines = "--vus 2 \\\n  --tag 'a\\\nb' \\\n\\\n  --no-summary # the end \\\n-q\n";
    assert_eq!(
        split(lines).unwrap(),
        ["--vus", "2", "--tag", "a\\\nb", "--no-summary", "-q"]
    );
    // The letter of a reserved flag in the value of another is no flag.
    assert_eq!(
        split("-qeA=lap -u5 -s5s:10").unwrap(),
        ["-qeA=lap", "-u5", "-s5s:10"]
    );
}

#[test]
fn flags_that_the_operator_sets_are_refused_in_every_spelling() {
    for words in [
        "--address=0.0.0.0:1",
        "--address 0.0.0.0:1",
        "-a :1",
        "-a:1",
        "-a=:1",
        "--execution-segment 0:1/2",
        "--execution-segment=0:1/2",
        "--execution-segment-sequence=0,1",
        "--paused",
        "--paused=false",
        "--linger",
        "-l",
        "--vus 2 -l",
        "-ql",
        "-p",
        "-qp=false",
    ] {
        let error = split(words).expect_err(words).to_string();
        assert!(
            error.starts_with("spec.arguments may not contain -"),
            "{words}: {error}"
        );
    }
}

#[test]
fn a_spec_that_cannot_be_carried_out_names_the_field_and_the_remedy() {
    let why = |value: serde_json::Value| validated(&spec(value)).unwrap_err().to_string();
    let with = |key: &str, value: serde_json::Value| {
        let mut spec = json!({"parallelism": 4, "script": "s"});
        spec[key] = value;
        why(spec)
    };
    let errors = [
        with("parallelism", json!(0)),
        with("parallelism", json!(-1)),
        with("parallelism", json!(2_001)),
        with("script", json!(7)),
        with("script", json!("Upper")),
        with("script", json!({"configMap": {"name": "s", "file": "../x"}})),
        with("script", json!({"configmap": {"name": "s"}})),
        with(
            "script",
            json!({"configMap": {"name": "s"}, "volumeClaim": {"name": "v"}}),
        ),
        with("arguments", json!("--tag 'a")),
        with("arguments", json!("—no-connection-reuse")),
        with("arguments", json!("--paused")),
        with("timeouts", json!({"start": "soon"})),
        with("timeouts", json!({"initialization": "0s"})),
        with("timeouts", json!({"start": "169h"})),
    ];
    insta::assert_snapshot!(errors.join("\n"));
}

#[test]
fn pull_policies_are_spelled_as_kubernetes_does() {
    for policy in [PullPolicy::Always, PullPolicy::IfNotPresent, PullPolicy::Never] {
        assert_eq!(json!(policy), json!(policy.as_str()));
    }
}
