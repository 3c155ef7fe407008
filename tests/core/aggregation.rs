//! Runs whose metrics are merged: what is found in an observed world, what is then wanted of it, and the objects
//! that carry it out. Each scenario asserts the event and all effects.

use crate::objects::{defaults, merging, owner, run_of, spec, validated};
use crate::snapshot::assert_yaml_snapshot;
use crate::support::*;
use k6_operator::aggregate::documents::Documents;
use k6_operator::aggregate::handle_summary::Content;
use k6_operator::aggregate::report::RunInfo;
use k6_operator::api::Progress;
use k6_operator::api::Spec;
use k6_operator::k6::Version;
use k6_operator::k6::export::{corrections, outputs_beside, tagging};
use k6_operator::machine::{
    Aggregation, COLLECTION_GRACE, Effect, End, Event, Fact, Finished, HISTORY_LIMIT, Initializer, Inspect,
    Inspection, InspectionError, Metrics, Observed, Plan, ProgramSource, Reason, Record, Refusal, RunResult,
    Runner, SUMMARY_GRACE, Setup, Start, State, Step, Stop, Stopping, Tally, Target, Terms, Thresholds,
    Verdict, classify, effects, replay, step, waiting_for, wake_at,
};
use k6_operator::objects::{
    ValidatedRun, aggregator, aggregator_name, initializer, runner, service, starter, summary, summary_name,
};
use k6_operator::protocol::inspected::Inspected;
use k6_operator::protocol::outcome::{Crossed, Outcome};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Container, Volume};
use serde_json::json;
use std::collections::BTreeMap;

const OPTIONS: &str = r#"{"thresholds":{"http_req_duration":["p(95)<500"]}}"#;
const ADDRESS: &str = "10.96.0.7:4318";

/// What k6 of this version says.
fn by_version(version: Option<(u32, u32)>) -> Inspection {
    Inspection {
        version: version.map(|(major, minor)| Version::new(major, minor, 0)),
        options: OPTIONS.to_owned(),
        ..inspection(20)
    }
}

fn said(inspection: Inspection) -> Fact<Initializer> {
    Fact::Known(Initializer::Succeeded(Ok(inspection)))
}

/// What is found once k6 has said this, of a spec with these terms.
fn found(terms: Terms, inspection: Inspection) -> Event {
    let state = after([accepted_on(1, terms)]);
    let seen = Observed {
        initializer: said(inspection),
        ..world(2)
    };
    classify(&state, &seen, at(1)).unwrap()
}

fn plan_of(terms: Terms, inspection: Inspection) -> Plan {
    let event = found(terms, inspection);
    let Event::ScriptInspected { plan } = event else {
        panic!("{event:?}");
    };
    plan
}

#[test]
fn plan_records_where_the_program_comes_from() {
    for program in [ProgramSource::Copied, ProgramSource::Mounted] {
        let seen = Observed {
            initializer: said(by_version(Some((1, 1)))),
            program,
            ..world(2)
        };
        let event = classify(&after([accepted_on(1, terms(2))]), &seen, at(1)).unwrap();
        let Event::ScriptInspected { plan } = event else {
            panic!("{event:?}");
        };
        assert_eq!(plan.program, program);
        let stored = serde_json::to_value(&plan).unwrap();
        // As older operators wrote and read it.
        assert_eq!(stored.get("program").is_none(), program == ProgramSource::Copied);
        assert_eq!(serde_json::from_value::<Plan>(stored).unwrap(), plan);
    }
}

fn merged() -> Plan {
    plan_of(terms(2), by_version(Some((1, 1))))
}

/// An aggregator that answers.
fn aggregates() -> Runner {
    let mut aggregator = ready(9);
    if let Some(pod) = &mut aggregator.pod {
        pod.uid = "aggregator".to_owned();
    }
    aggregator
}

fn aggregator_ended(code: Option<i32>, reason: Option<&str>, message: &str) -> Fact<Runner> {
    Fact::Known(Runner {
        end: Some(End {
            code,
            reason: reason.map(str::to_owned),
            message: message.to_owned(),
        }),
        ..aggregates()
    })
}

/// A world in which all is known of what merges, and nothing of it is there.
fn world(n: u32) -> Observed {
    Observed {
        aggregator: Fact::Absent,
        address: Fact::Absent,
        result: Fact::Absent,
        summary: Fact::Absent,
        ..empty_world(n)
    }
}

/// A world in which two runners and an aggregator answer.
fn running() -> Observed {
    Observed {
        runners: runners([ready(1), ready(2)]),
        aggregator: Fact::Known(aggregates()),
        address: Fact::Known(ADDRESS.to_owned()),
        ..world(2)
    }
}

/// A world in which two runners have ended so.
fn all_ended(codes: [i32; 2]) -> Observed {
    Observed {
        runners: runners([ended(1, codes[0]), ended(2, codes[1])]),
        ..running()
    }
}

fn until_created(plan: &Plan) -> Vec<Event> {
    vec![accepted(2), Event::ScriptInspected { plan: plan.clone() }]
}

fn until_started(plan: &Plan) -> Vec<Event> {
    let rest = [
        Event::StartOrdered {
            runners: 2,
            pods: digest(2),
        },
        Event::StartConfirmed {
            runners: 2,
            spread_micros: 1500,
        },
    ];
    until_created(plan).into_iter().chain(rest).collect()
}

fn created_to_merge() -> State {
    after(until_created(&merged()))
}

fn started_to_merge() -> State {
    after(until_started(&merged()))
}

/// How two runners ended.
fn tally_of(codes: [i32; 2]) -> Tally {
    match classify(&started_to_merge(), &all_ended(codes), at(4)) {
        Some(Event::RunnersEnded { tally }) => tally,
        other => panic!("{other:?}"),
    }
}

/// Since second 4: the runners have ended with these codes.
fn ended_on(plan: &Plan, codes: [i32; 2]) -> State {
    let ended = Event::RunnersEnded {
        tally: tally_of(codes),
    };
    after(until_started(plan).into_iter().chain([ended]))
}

fn with_thresholds(thresholds: u32) -> Plan {
    Plan {
        thresholds: Some(thresholds),
        ..merged()
    }
}

fn outcome_of(thresholds: u32, crossed: &[(&str, &str, f64)]) -> Outcome {
    let failed = crossed.iter().map(|(metric, threshold, value)| Crossed {
        metric: (*metric).to_owned(),
        threshold: (*threshold).to_owned(),
        value: *value,
        uncertain: false,
        aborted: false,
    });
    Outcome {
        thresholds,
        crossed: u32::try_from(crossed.len()).unwrap(),
        failed: failed.collect(),
        ..Outcome::default()
    }
}

fn told(outcome: Outcome) -> Fact<Box<Outcome>> {
    Fact::Known(Box::new(outcome))
}

/// The result is there, and its documents are kept.
fn result_of(outcome: Outcome) -> Event {
    Event::ResultCollected {
        outcome,
        unkept: None,
    }
}

/// How a run ends of which this came.
fn end_of(plan: &Plan, codes: [i32; 2], event: Event) -> (RunResult, Reason, String) {
    let state = ended_on(plan, codes);
    let k6_operator::machine::Step::Next(State::Finished(Finished { verdict, .. })) =
        k6_operator::machine::step(&state, &record(9, event))
    else {
        panic!("no end");
    };
    (verdict.result, verdict.reason, verdict.message)
}

fn end_with(plan: &Plan, codes: [i32; 2], outcome: Outcome) -> (RunResult, Reason, String) {
    end_of(plan, codes, result_of(outcome))
}

const SLOW: (&str, &str, f64) = ("http_req_duration", "p(95)<500", 612.349);

/// Metrics that are not merged, for this reason.
fn apart(why: &str) -> Metrics {
    Metrics::PerRunner { why: why.to_owned() }
}

mod deciding {
    use super::*;

    #[test]
    fn the_version_of_k6_decides_what_its_output_is_called() {
        for (version, output) in [
            ((0, 53), "experimental-opentelemetry"),
            ((1, 1), "experimental-opentelemetry"),
            ((1, 3), "experimental-opentelemetry"),
            ((1, 4), "opentelemetry"),
            ((2, 0), "opentelemetry"),
        ] {
            let plan = plan_of(terms(2), by_version(Some(version)));
            let how = Aggregation {
                output: output.to_owned(),
                k6_version: format!("{}.{}.0", version.0, version.1),
                setup_seconds: Some(90),
                teardown_seconds: Some(30),
                system_tags: None,
                without_own_tags: false,
                script_metrics: Default::default(),
            };
            assert_eq!(
                (plan.aggregation, plan.not_aggregated),
                (Some(how), None),
                "{version:?}"
            );
        }
    }

    #[test]
    fn a_k6_that_cannot_export_or_does_not_say_its_version_is_not_aggregated_and_the_plan_says_why() {
        for (version, why) in [
            (
                Some((0, 40)),
                "k6 0.40.0 can't export its metrics by OpenTelemetry: 0.53 and newer can",
            ),
            (
                Some((0, 52)),
                "k6 0.52.0 can't export its metrics by OpenTelemetry: 0.53 and newer can",
            ),
            (
                None,
                "k6 did not tell its version, and it is not known whether it can export its metrics",
            ),
        ] {
            let plan = plan_of(terms(2), by_version(version));
            let not = Some(why.to_owned());
            assert_eq!((plan.aggregation, plan.not_aggregated), (None, not));
        }
    }

    /// What `k6 inspect` says of a script that chooses no system tags.
    const TAGS: &str = r#""systemTags":["check","error","error_code","expected_response","group","method","name",
        "proto","scenario","service","status","subproto","tls_version","url"]"#;

    fn inspected_by(version: &str) -> Inspected {
        Inspected {
            version: version.to_owned(),
            ..Inspected::default()
        }
    }

    #[test]
    fn version_of_the_report_is_that_of_the_inspection() {
        let answer = r#"{"maxVUs": 4, "totalDuration": "50s"}"#;
        for (message, read) in [
            (r#"{"version":"1.1.0"}"#, Some(Version::new(1, 1, 0))),
            (
                r#"{"version":"2.2.1","resolved":true,"more":1}"#,
                Some(Version::new(2, 2, 1)),
            ),
            (r#"{"version":""}"#, None),
            ("{}", None),
        ] {
            let inspected = Inspected::from_message(message).unwrap();
            let inspection = Inspection::parse(answer).unwrap().by(&inspected);
            assert_eq!(inspection.version, read, "{message}");
        }
        assert_eq!(Inspected::from_message("no report"), None);
    }

    #[test]
    fn what_the_spec_says_against_it_wins_over_a_version_that_can() {
        let terms = Terms {
            metrics: apart("spec.aggregation.enabled is false"),
            ..terms(2)
        };
        let plan = plan_of(terms, by_version(Some((1, 4))));
        let why = Some("spec.aggregation.enabled is false".to_owned());
        assert_eq!((plan.aggregation, plan.not_aggregated), (None, why));
    }

    #[test]
    fn requests_have_only_the_tags_that_are_shown_or_that_a_threshold_names() {
        let planned = |thresholds: &str, tags: &str| {
            let text = format!(r#"{{"maxVUs":2,"totalDuration":"1s","thresholds":{thresholds},{tags}}}"#);
            let inspection = Inspection::parse(&text).unwrap().by(&inspected_by("1.1.0"));
            let how = plan_of(terms(2), inspection).aggregation.unwrap();
            how.system_tags
        };
        let few = "check,error_code,expected_response,group,scenario";
        assert_eq!(
            planned(r#"{"http_reqs{group:::a}":["count>1"]}"#, TAGS).as_deref(),
            Some(few)
        );
        // Only a script can have given this name, and that stays.
        let given = r#"{"http_reqs{name:home}":["count>1"]}"#;
        assert_eq!(planned(given, TAGS).as_deref(), Some(few));
        let named = planned(r#"{"http_reqs{name:https://a/home}":["count>1"]}"#, TAGS).unwrap();
        assert!(named.contains(",name,") && !named.contains("url"), "{named}");
        let by_url = planned(r#"{"http_reqs{name:/a,url:b}":["count>1"]}"#, TAGS).unwrap();
        assert_eq!(
            by_url,
            "check,error_code,expected_response,group,name,scenario,url"
        );
        let by_status = planned(r#"{"http_reqs{status:200}":["count<1"]}"#, TAGS).unwrap();
        assert_eq!(
            by_status,
            "check,error_code,expected_response,group,scenario,status"
        );
        assert_eq!(planned("{}", r#""systemTags":["url","name"]"#), None);
        assert_eq!(planned("{}", r#""systemTags":null"#), None);
    }

    #[test]
    fn only_scenario_is_no_tag_where_neither_the_script_nor_a_threshold_reads_it() {
        let planned = |scenarios: &str, thresholds: &str, message: &str| {
            let text = format!(
                r#"{{"maxVUs":2,"totalDuration":"1s","scenarios":{scenarios},"thresholds":{thresholds},{TAGS}}}"#
            );
            let inspected = Inspected::from_message(message).unwrap();
            let inspection = Inspection::parse(&text).unwrap().by(&inspected);
            let tags = plan_of(terms(2), inspection).aggregation.unwrap().system_tags;
            tags.unwrap().ends_with(",scenario")
        };
        let (one, two) = (r#"{"default":{}}"#, r#"{"a":{},"b":{}}"#);
        let sure = r#"{"version":"1.1.0","readsNoTags":true}"#;
        assert!(!planned(one, "{}", sure));
        assert!(planned(two, "{}", sure) && planned("null", "{}", sure));
        assert!(planned(
            one,
            r#"{"http_reqs{scenario:default}":["count>1"]}"#,
            sure
        ));
        assert!(
            planned(one, "{}", r#"{"version":"1.1.0"}"#),
            "the script may read it"
        );
    }

    #[test]
    fn group_is_no_tag_where_the_script_has_none_and_no_threshold_names_one() {
        let planned = |thresholds: &str, message: &str| {
            let text = format!(r#"{{"maxVUs":2,"totalDuration":"1s","thresholds":{thresholds},{TAGS}}}"#);
            let inspected = Inspected::from_message(message).unwrap();
            let inspection = Inspection::parse(&text).unwrap().by(&inspected);
            let tags = plan_of(terms(2), inspection).aggregation.unwrap().system_tags;
            tags.unwrap().contains("group")
        };
        let sure = r#"{"version":"1.1.0","readsNoTags":true,"hasNoGroups":true}"#;
        assert!(!planned("{}", sure));
        assert!(planned(r#"{"http_reqs{group:::a}":["count>1"]}"#, sure));
        for unsure in [r#""readsNoTags":true"#, r#""hasNoGroups":true"#] {
            let message = format!(r#"{{"version":"1.1.0",{unsure}}}"#);
            assert!(planned("{}", &message), "{message}");
        }
    }

    #[test]
    fn runners_do_without_the_tags_of_the_operator_where_nothing_names_one() {
        let planned = |message: &str, tag: &str| {
            let text = format!(r#"{{"maxVUs":2,"totalDuration":"1s","tags":{{"team":"{tag}"}}}}"#);
            let inspected = Inspected::from_message(message).unwrap();
            let inspection = Inspection::parse(&text).unwrap().by(&inspected);
            plan_of(terms(2), inspection)
                .aggregation
                .unwrap()
                .without_own_tags
        };
        let sure = r#"{"version":"1.1.0","namesNoOwnTag":true}"#;
        assert!(planned(sure, "x"));
        assert!(
            !planned(r#"{"version":"1.1.0"}"#, "x"),
            "an initializer of before"
        );
        assert!(
            !planned(sure, &"x".repeat(4096)),
            "k6 can't be given the script's tag"
        );
    }

    #[test]
    fn plan_has_the_metrics_of_the_script_that_have_thresholds_up_to_a_limit() {
        let planned = |thresholds: &serde_json::Value, terms: Terms| {
            let text = format!(r#"{{"maxVUs":2,"totalDuration":"1s","thresholds":{thresholds}}}"#);
            let inspection = Inspection::parse(&text).unwrap().by(&inspected_by("1.1.0"));
            plan_of(terms, inspection).aggregation.unwrap().script_metrics
        };
        let given = serde_json::json!({
            "paid{way:card}": ["rate>0.5"], "paid": ["rate>0.1"], "basket": [], "http_reqs": ["count>1"],
        });
        assert_eq!(planned(&given, terms(2)), ["basket", "paid"]);
        let ignored = Terms {
            thresholds: Thresholds::Ignore,
            ..terms(2)
        };
        assert_eq!(planned(&given, ignored), Vec::<String>::new());
        let many = (0..1000).map(|i| (format!("a_metric_of_the_script_{i:04}"), serde_json::json!([])));
        let many: serde_json::Map<_, _> = many.collect();
        let names = planned(&many.into(), terms(2));
        assert_eq!(names.len(), 16 * 1024 / 28);
    }

    #[test]
    fn a_setup_in_each_runner_leaves_it_to_them() {
        let terms = Terms {
            setup: Setup::PerRunner,
            ..terms(2)
        };
        let how = plan_of(terms, by_version(Some((1, 4)))).aggregation.unwrap();
        assert_eq!((how.setup_seconds, how.teardown_seconds), (None, None));
    }

    #[test]
    fn a_script_that_leaves_out_its_setup_or_teardown_has_none_run_for_it() {
        let said = |option: &str| {
            let text = format!(r#"{{"maxVUs":2,"totalDuration":"1s",{option}}}"#);
            let inspection = Inspection::parse(&text).unwrap();
            let inspection = Inspection {
                version: Some(Version::new(1, 1, 0)),
                ..inspection
            };
            plan_of(terms(2), inspection).aggregation.unwrap().setup_seconds
        };
        assert_eq!(said(r#""noTeardown":false"#), Some(60));
        assert_eq!(said(r#""noTeardown":true"#), None);
        assert_eq!(said(r#""noTeardown":null,"noSetup":true"#), None);
    }

    #[test]
    fn thresholds_that_do_not_count_are_none_and_may_be_malformed() {
        let malformed = Inspection {
            threshold_error: Some("the threshold \"p95<500\" is malformed".to_owned()),
            ..by_version(Some((1, 1)))
        };
        let ignored = Terms {
            thresholds: Thresholds::Ignore,
            ..terms(2)
        };
        let plan = plan_of(ignored, malformed.clone());
        assert_eq!(plan.thresholds, Some(0));
        assert!(plan.aggregation.is_some());
        let rejected = Event::ScriptRejected {
            reason: Reason::ScriptError,
            message: "the threshold \"p95<500\" is malformed".to_owned(),
        };
        assert_eq!(found(terms(2), malformed), rejected);
    }

    #[test]
    fn thresholds_that_no_program_can_be_given_are_not_judged_over_the_whole() {
        let long = Inspection {
            options: "x".repeat(100_001),
            ..by_version(Some((1, 1)))
        };
        let plan = plan_of(terms(2), long);
        let why = "the script's thresholds take more than 100000 bytes";
        assert_eq!(
            (plan.aggregation, plan.not_aggregated.as_deref()),
            (None, Some(why))
        );
    }

    #[test]
    fn a_script_that_is_not_inspected_is_not_aggregated() {
        let terms = Terms {
            inspect: Inspect::Skip,
            ..terms(2)
        };
        let state = after([accepted_on(1, terms)]);
        let Some(Event::InspectionSkipped { plan }) = classify(&state, &world(2), at(1)) else {
            panic!("not skipped");
        };
        let why = "the script's thresholds are not known, as spec.initializer.disabled asks";
        assert_eq!(
            (plan.aggregation, plan.not_aggregated.as_deref()),
            (None, Some(why))
        );
    }
}

mod making {
    use super::*;

    const BY: Option<(u32, u32)> = Some((1, 1));

    fn wanted_of(seen: &Observed) -> Vec<Effect> {
        let (event, wanted) = outcome(&created_to_merge(), seen, at(5));
        assert_eq!(event, None);
        wanted
    }

    #[test]
    fn an_inspected_script_gets_an_aggregator_first_with_its_options_and_keeps_its_initializer() {
        let seen = Observed {
            initializer: said(by_version(BY)),
            ..world(2)
        };
        let (event, wanted) = outcome(&initializing(2), &seen, at(1));
        assert_eq!(event, Some(Event::ScriptInspected { plan: merged() }));
        let options = OPTIONS.to_owned();
        assert_eq!(wanted, vec![Effect::CreateAggregator { options }]);
    }

    #[test]
    fn an_initializer_that_is_gone_before_the_aggregator_is_made_is_asked_again() {
        assert_eq!(wanted_of(&world(2)), vec![Effect::CreateInitializer]);
        let answers = [
            Initializer::Running(None),
            Initializer::Failed("gone".to_owned()),
            Initializer::Succeeded(Err(InspectionError("it is empty".to_owned()))),
            Initializer::Done,
        ];
        for answer in answers {
            let seen = Observed {
                initializer: Fact::Known(answer),
                ..world(2)
            };
            assert_eq!(wanted_of(&seen), vec![]);
        }
        let seen = Observed {
            initializer: Fact::Unknown,
            ..world(2)
        };
        assert_eq!(wanted_of(&seen), vec![]);
    }

    #[test]
    fn nothing_is_made_while_it_is_not_known_whether_there_is_an_aggregator() {
        let seen = Observed {
            aggregator: Fact::Unknown,
            initializer: said(by_version(BY)),
            ..world(2)
        };
        assert_eq!(wanted_of(&seen), vec![]);
    }

    #[test]
    fn the_aggregator_gets_its_service_before_the_runners_are_made() {
        let seen = Observed {
            aggregator: Fact::Known(Runner::default()),
            initializer: Fact::Known(Initializer::Done),
            ..world(2)
        };
        assert_eq!(wanted_of(&seen), vec![Effect::CreateService]);
        let unknown = Observed {
            address: Fact::Unknown,
            ..seen
        };
        assert_eq!(wanted_of(&unknown), vec![]);
    }

    #[test]
    fn the_runners_are_made_once_the_address_is_known_even_if_nobody_answers_there_yet() {
        let seen = Observed {
            aggregator: Fact::Known(Runner::default()),
            address: Fact::Known(ADDRESS.to_owned()),
            initializer: Fact::Known(Initializer::Done),
            ..world(2)
        };
        let runners = [1, 2].map(|runner| Effect::CreateRunner { runner, of: 2 });
        assert_eq!(wanted_of(&seen), runners);
    }

    #[test]
    fn all_runners_that_are_there_need_no_address() {
        let seen = Observed {
            address: Fact::Unknown,
            runners: runners([waiting(1, "ImagePullBackOff"), ready(2)]),
            ..running()
        };
        assert_eq!(wanted_of(&seen), vec![]);
    }

    #[test]
    fn the_start_waits_for_the_aggregator_to_be_ready_and_says_so() {
        let seen = Observed {
            aggregator: Fact::Known(waiting(9, "ImagePullBackOff")),
            ..running()
        };
        assert_eq!(wanted_of(&seen), vec![]);
        let waits = "the aggregator to be ready (ImagePullBackOff)";
        assert_eq!(waiting_for(&created_to_merge(), &seen).as_deref(), Some(waits));
        let event = Event::DeadlinePassed {
            waiting_for: waits.to_owned(),
        };
        let wanted = [
            Effect::DeleteRunner { runner: 1 },
            Effect::DeleteRunner { runner: 2 },
            Effect::DeleteAggregator,
        ];
        let found = outcome(&created_to_merge(), &seen, at(301));
        assert_eq!(found, (Some(event), wanted.to_vec()));
    }

    #[test]
    fn runner_that_can_not_come_is_told_beside_the_aggregator_that_is_not_ready() {
        let told = |aggregator, of| {
            let seen = Observed {
                aggregator,
                runners: runners(of),
                ..running()
            };
            waiting_for(&created_to_merge(), &seen).unwrap()
        };
        let unschedulable = || waiting(2, "Unschedulable: 0/1 nodes are available");
        let beside = "and for all runners to be ready: 1 of 2 are, not runner 2 (Unschedulable: 0/1 nodes are available)";
        let full = Fact::Known(waiting(9, "ImagePullBackOff"));
        assert_eq!(
            told(full.clone(), [ready(1), unschedulable()]),
            format!("the aggregator to be ready (ImagePullBackOff), {beside}")
        );
        assert_eq!(
            told(Fact::Absent, [ready(1), unschedulable()]),
            format!("the aggregator to be made, {beside}")
        );
        // That they all come is no news.
        assert_eq!(
            told(full, [ready(1), ready(2)]),
            "the aggregator to be ready (ImagePullBackOff)"
        );
    }

    #[test]
    fn all_runners_and_the_aggregator_ready_order_the_start() {
        let event = Event::StartOrdered {
            runners: 2,
            pods: digest(2),
        };
        let wanted = vec![Effect::CreateStarter(vec![target(1), target(2)])];
        let found = outcome(&created_to_merge(), &running(), at(5));
        assert_eq!(found, (Some(event), wanted));
    }

    #[test]
    fn an_aggregator_that_ends_before_the_start_ends_the_run_with_the_remedy() {
        for (end, told) in [
            (
                aggregator_ended(Some(1), None, "no address is free"),
                "exit code 1: no address is free",
            ),
            (
                aggregator_ended(Some(137), Some("OOMKilled"), "it was killed"),
                "OOMKilled: it was killed",
            ),
            (
                aggregator_ended(None, None, "its pod was deleted"),
                "its pod was deleted",
            ),
        ] {
            let seen = Observed {
                aggregator: end,
                ..running()
            };
            let event = Event::AggregatorLost {
                message: told.to_owned(),
            };
            let wanted = [
                Effect::DeleteRunner { runner: 1 },
                Effect::DeleteRunner { runner: 2 },
                Effect::DeleteAggregator,
            ];
            let found = outcome(&created_to_merge(), &seen, at(5));
            assert_eq!(found, (Some(event.clone()), wanted.to_vec()));
            let State::Finished(end) = after(until_created(&merged()).into_iter().chain([event])) else {
                panic!("no end");
            };
            assert_eq!(
                (end.verdict.result, end.verdict.reason),
                (RunResult::Error, Reason::AggregationFailed)
            );
            let message = format!(
                "Before the start, the aggregator ended: {told}; set spec.aggregation.enabled to false to run \
                 without it"
            );
            assert_eq!(end.verdict.message, message);
        }
    }

    #[test]
    fn an_aggregator_job_deleted_once_runners_know_its_address_ends_the_run() {
        let seen = Observed {
            aggregator: Fact::Absent,
            runners: runners([ready(1)]),
            ..running()
        };
        let message = "its Job was deleted".to_owned();
        let wanted = vec![Effect::DeleteRunner { runner: 1 }];
        let found = outcome(&created_to_merge(), &seen, at(5));
        assert_eq!(found, (Some(Event::AggregatorLost { message }), wanted));
        let unknown = Observed {
            aggregator: Fact::Unknown,
            ..seen
        };
        assert_eq!(wanted_of(&unknown), vec![]);
    }

    #[test]
    fn runners_that_nobody_holds_are_stopped_when_the_aggregator_is_lost() {
        let immediate = Terms {
            start: Start::Immediate,
            ..terms(2)
        };
        let inspected = Event::ScriptInspected { plan: merged() };
        let state = after([accepted_on(1, immediate), inspected]);
        let seen = Observed {
            aggregator: Fact::Absent,
            runners: runners([ready(1), waiting(2, "ContainerCreating")]),
            ..running()
        };
        let message = "its Job was deleted".to_owned();
        let wanted = vec![Effect::CreateStopper(vec![target(1)])];
        let found = outcome(&state, &seen, at(5));
        assert_eq!(found, (Some(Event::AggregatorLost { message }), wanted));
    }

    #[test]
    fn a_setup_that_runs_once_has_its_time_beside_that_of_the_start() {
        let how = merged().aggregation.unwrap();
        let ordered = Event::StartOrdered {
            runners: 2,
            pods: digest(2),
        };
        let state = |plan: &Plan| after(until_created(plan).into_iter().chain([ordered.clone()]));
        assert_eq!(wake_at(&state(&merged()), &running()), Some(at(2 + 300 + 90)));
        let per_runner = Plan {
            aggregation: Some(Aggregation {
                setup_seconds: None,
                teardown_seconds: None,
                ..how
            }),
            ..merged()
        };
        assert_eq!(wake_at(&state(&per_runner), &running()), Some(at(2 + 300)));
    }
}

mod collecting {
    use super::*;

    #[test]
    fn the_end_of_all_runners_is_told_and_the_result_collected() {
        let event = Event::RunnersEnded {
            tally: tally_of([0, 0]),
        };
        let found = outcome(&started_to_merge(), &all_ended([0, 0]), at(4));
        assert_eq!(found, (Some(event), vec![]));
    }

    #[test]
    fn one_runner_that_still_runs_is_waited_for() {
        let seen = Observed {
            runners: runners([ended(1, 0), ready(2)]),
            ..running()
        };
        assert_eq!(outcome(&started_to_merge(), &seen, at(4)), (None, vec![]));
    }

    #[test]
    fn the_end_of_a_run_that_is_not_merged_is_that_of_its_runners() {
        let event = Event::RunnersEnded {
            tally: tally_of([0, 0]),
        };
        let seen = Observed {
            aggregator: Fact::Absent,
            ..all_ended([0, 0])
        };
        let found = outcome(&started(2), &seen, at(4));
        assert_eq!(found, (Some(event), vec![]));
    }

    #[test]
    fn documents_of_a_result_are_kept_before_the_run_is_finished() {
        let state = ended_on(&merged(), [0, 0]);
        let seen = Observed {
            result: told(outcome_of(1, &[])),
            ..all_ended([0, 0])
        };
        assert_eq!(outcome(&state, &seen, at(5)), (None, vec![Effect::KeepSummary]));
        let waits = "the summary of all runners to be kept";
        assert_eq!(waiting_for(&state, &seen).as_deref(), Some(waits));
        let unread = Observed {
            summary: Fact::Unknown,
            ..seen.clone()
        };
        assert_eq!(outcome(&state, &unread, at(5)), (None, vec![]));
        let kept = Observed {
            summary: Fact::Known(()),
            ..seen
        };
        let event = result_of(outcome_of(1, &[]));
        let found = outcome(&state, &kept, at(9));
        assert_eq!(found, (Some(event), vec![Effect::DeleteAggregator]));
    }

    #[test]
    fn documents_that_cannot_be_kept_cost_the_result_nothing_and_the_end_says_so() {
        let state = ended_on(&merged(), [0, 0]);
        let grace = 4 + SUMMARY_GRACE.as_secs();
        let refused = |refused: Option<Refusal>| Observed {
            result: told(outcome_of(1, &[])),
            refused,
            ..all_ended([0, 0])
        };
        let unkept = |why: &str| Event::ResultCollected {
            outcome: outcome_of(1, &[]),
            unkept: Some(why.to_owned()),
        };
        // Nothing changes by waiting.
        let why = "ConfigMap k6-sample-summary exists and is not this run's";
        for refusal in [Refusal::Foreign(why.to_owned()), Refusal::Invalid(why.to_owned())] {
            let found = outcome(&state, &refused(Some(refusal)), at(5));
            assert_eq!(found, (Some(unkept(why)), vec![Effect::DeleteAggregator]));
        }
        let why = "exceeded quota: configmaps";
        let full = refused(Some(Refusal::ForNow(why.to_owned())));
        assert_eq!(wake_at(&state, &full), Some(at(grace)));
        assert_eq!(
            outcome(&state, &full, at(grace - 1)),
            (None, vec![Effect::KeepSummary])
        );
        let waits = "the summary of all runners to be kept; exceeded quota: configmaps";
        assert_eq!(waiting_for(&state, &full).as_deref(), Some(waits));
        let found = outcome(&state, &full, at(grace));
        assert_eq!(found, (Some(unkept(why)), vec![Effect::DeleteAggregator]));
        let unread = Observed {
            summary: Fact::Unknown,
            ..refused(None)
        };
        assert_eq!(outcome(&state, &unread, at(grace - 1)), (None, vec![]));
        let found = outcome(&state, &unread, at(grace)).0;
        assert_eq!(found, Some(unkept("the cluster did not answer")));
        let (result, reason, message) = end_of(&with_thresholds(1), [0, 0], unkept(why));
        assert_eq!((result, reason), (RunResult::Passed, Reason::AllRunnersPassed));
        let told = "2 of 2 runners passed; the threshold holds over all runners; its summary is not kept: exceeded \
                    quota: configmaps";
        assert_eq!(message, told);
    }

    #[test]
    fn without_thresholds_the_runners_decide() {
        let plan = with_thresholds(0);
        let end = end_with(&plan, [0, 0], Outcome::default());
        let message = "2 of 2 runners passed".to_owned();
        assert_eq!(end, (RunResult::Passed, Reason::AllRunnersPassed, message));
    }

    #[test]
    fn thresholds_that_all_hold_are_told_and_the_run_has_passed() {
        let end = end_with(&with_thresholds(2), [0, 0], outcome_of(2, &[]));
        let message = "2 of 2 runners passed; all 2 thresholds hold over all runners".to_owned();
        assert_eq!(end, (RunResult::Passed, Reason::AllRunnersPassed, message));
    }

    #[test]
    fn a_crossed_threshold_fails_the_run_and_is_named_with_its_value() {
        let end = end_with(&with_thresholds(2), [0, 0], outcome_of(2, &[SLOW]));
        let message = "1 of 2 thresholds crossed: http_req_duration p(95)<500 is 612.3".to_owned();
        assert_eq!(end, (RunResult::Failed, Reason::ThresholdsCrossed, message));
    }

    #[test]
    fn a_threshold_that_ended_the_test_is_named_and_not_the_exit_codes() {
        let mut outcome = outcome_of(1, &[SLOW]);
        outcome.failed[0].aborted = true;
        let end = end_with(&with_thresholds(1), [99, 99], outcome);
        let message = "1 of 1 thresholds crossed: http_req_duration p(95)<500 is 612.3, which ended the test"
            .to_owned();
        assert_eq!(end, (RunResult::Failed, Reason::ThresholdsCrossed, message));
    }

    #[test]
    fn a_crossed_threshold_wins_over_a_runner_that_failed_and_both_are_told() {
        let end = end_with(&with_thresholds(2), [0, 137], outcome_of(2, &[SLOW]));
        let message = "1 of 2 thresholds crossed: http_req_duration p(95)<500 is 612.3; 1 of 2 runners failed: \
                       runner 2 (exit code 137, OOMKilled): the container was killed";
        let wanted = (RunResult::Failed, Reason::ThresholdsCrossed, message.to_owned());
        assert_eq!(end, wanted);
    }

    #[test]
    fn test_that_the_script_marked_as_failed_is_failed_and_its_thresholds_are_told_beside() {
        let of = |outcome: Outcome, codes: [i32; 2]| end_with(&with_thresholds(2), codes, outcome);
        let failed = |message: &str| (RunResult::Failed, Reason::TestFailed, message.to_owned());
        let marked = "The script marked the test as failed on 1 of 2 runners: runner 2 (exit code 110): test marked as \
                      failed: no stock";
        let holds = format!("{marked}; all 2 thresholds hold over all runners");
        assert_eq!(of(outcome_of(2, &[]), [0, 110]), failed(&holds));
        let crossed = format!("{marked}; 1 of 2 thresholds crossed: http_req_duration p(95)<500 is 612.3");
        assert_eq!(of(outcome_of(2, &[SLOW]), [0, 110]), failed(&crossed));
        // The other runner was told that thresholds were crossed.
        assert_eq!(of(outcome_of(2, &[SLOW]), [99, 110]), failed(&crossed));
    }

    #[test]
    fn exit_code_of_crossed_thresholds_is_never_that_of_a_pass() {
        let end = end_with(&with_thresholds(2), [99, 0], outcome_of(2, &[SLOW]));
        let message = "1 of 2 thresholds crossed: http_req_duration p(95)<500 is 612.3".to_owned();
        assert_eq!(end, (RunResult::Failed, Reason::ThresholdsCrossed, message));
        let end = end_with(&with_thresholds(2), [99, 0], outcome_of(2, &[]));
        assert_eq!((end.0, end.1), (RunResult::Failed, Reason::ThresholdsCrossed));
        let words = "Thresholds were crossed over all runners, as runner 1 (exit code 99): ";
        assert!(end.2.starts_with(words), "{}", end.2);
        let end = end_with(&with_thresholds(2), [99, 137], outcome_of(2, &[SLOW]));
        assert!(
            end.2.contains("; 1 of 2 runners failed: runner 2 (exit code 137"),
            "{}",
            end.2
        );
    }

    #[test]
    fn exit_code_of_crossed_thresholds_decides_where_the_result_is_lost() {
        let lost = Event::CollectionFailed {
            message: "no route to host".to_owned(),
        };
        let (result, reason, message) = end_of(&with_thresholds(1), [99, 0], lost);
        assert_eq!((result, reason), (RunResult::Failed, Reason::ThresholdsCrossed));
        assert!(
            message.starts_with("Thresholds were crossed over all runners, as runner 1 (exit code 99): "),
            "{message}"
        );
        assert!(
            message.ends_with("could not be merged: no route to host"),
            "{message}"
        );
    }

    #[test]
    fn a_runner_that_failed_makes_an_error_though_all_thresholds_hold() {
        let end = end_with(&with_thresholds(2), [0, 137], outcome_of(2, &[]));
        let message = "1 of 2 runners failed: runner 2 (exit code 137, OOMKilled): the container was killed";
        assert_eq!(end, (RunResult::Error, Reason::RunnerFailed, message.to_owned()));
    }

    #[test]
    fn what_is_not_in_the_merged_result_is_told_with_the_end() {
        let incomplete = |count: usize| Outcome {
            incomplete: (1..=count).map(|i| format!("runner {i} was restarted")).collect(),
            ..outcome_of(1, &[])
        };
        let whole = "2 of 2 runners passed; the threshold holds over all runners";
        for (count, more) in [(1, ""), (3, " (and 2 more, in status.summary)")] {
            let (result, reason, message) = end_with(&with_thresholds(1), [0, 0], incomplete(count));
            assert_eq!((result, reason), (RunResult::Passed, Reason::AllRunnersPassed));
            let told = format!("{whole}; the merged result is incomplete: runner 1 was restarted{more}");
            assert_eq!(message, told);
        }
    }

    /// What becomes of a run of which the result can't be had, with and without thresholds.
    fn unmerged(event: &Event, why: &str) {
        let end = end_of(&with_thresholds(1), [0, 0], event.clone());
        let message = format!(
            "2 of 2 runners passed, but the script's thresholds could not be judged, as the metrics of the runners \
             could not be merged: {why}"
        );
        assert_eq!(end, (RunResult::Error, Reason::AggregationFailed, message));
        let apart = format!("; the metrics of the runners could not be merged: {why}");
        let end = end_of(&with_thresholds(0), [0, 0], event.clone());
        let message = format!("2 of 2 runners passed{apart}");
        assert_eq!(end, (RunResult::Passed, Reason::AllRunnersPassed, message));
        let end = end_of(&with_thresholds(1), [0, 105], event.clone());
        let message = format!(
            "The test was aborted on 1 of 2 runners: runner 2 (exit code 105): test run was aborted because k6 \
             received a 'terminated' signal{apart}"
        );
        assert_eq!(end, (RunResult::Aborted, Reason::TestAborted, message));
    }

    #[test]
    fn thresholds_of_which_a_runner_is_missing_are_not_known_to_hold() {
        let of = |thresholds: u32, crossed: &[(&str, &str, f64)], codes: [i32; 2]| {
            let outcome = Outcome {
                silent: 1,
                incomplete: vec!["runner 2 sent nothing".to_owned()],
                ..outcome_of(thresholds, crossed)
            };
            end_with(&with_thresholds(thresholds), codes, outcome)
        };
        let message = "2 of 2 runners passed, but the script's thresholds could not be judged over all of them; the \
                       merged result is incomplete: runner 2 sent nothing";
        let end = (RunResult::Error, Reason::AggregationFailed, message.to_owned());
        assert_eq!(of(1, &[], [0, 0]), end);
        let (result, reason, _) = of(0, &[], [0, 0]);
        assert_eq!((result, reason), (RunResult::Passed, Reason::AllRunnersPassed));
        let (result, reason, _) = of(1, &[SLOW], [0, 0]);
        assert_eq!((result, reason), (RunResult::Failed, Reason::ThresholdsCrossed));
        let (result, reason, _) = of(1, &[], [0, 107]);
        assert_eq!((result, reason), (RunResult::Error, Reason::RunnerFailed));
    }

    #[test]
    fn a_result_of_no_runner_at_all_is_none() {
        let outcome = Outcome {
            silent: 2,
            ..outcome_of(1, &[])
        };
        let why = "nothing that they sent is there any more";
        unmerged(&result_of(outcome), why);
    }

    #[test]
    fn aggregator_that_tells_nothing_is_waited_for_until_its_deadline() {
        let seen = all_ended([0, 0]);
        let state = ended_on(&merged(), [0, 0]);
        let limit = 4 + COLLECTION_GRACE.as_secs();
        assert_eq!(wake_at(&state, &seen), Some(at(limit)));
        assert_eq!(outcome(&state, &seen, at(limit - 1)), (None, vec![]));
        let waits = "the result of all runners to be collected";
        let event = Event::DeadlinePassed {
            waiting_for: waits.to_owned(),
        };
        let found = outcome(&state, &seen, at(limit));
        assert_eq!(found, (Some(event.clone()), vec![Effect::DeleteAggregator]));
        unmerged(&event, &format!("it took too long; waited for {waits}"));
    }

    #[test]
    fn an_aggregator_that_is_gone_at_the_end_is_not_asked() {
        for (aggregator, why) in [
            (Fact::Absent, "the aggregator ended: its Job was deleted"),
            (
                aggregator_ended(Some(137), Some("OOMKilled"), "it was killed"),
                "the aggregator ended: OOMKilled: it was killed",
            ),
        ] {
            let left = match aggregator {
                Fact::Absent => vec![],
                Fact::Known(_) | Fact::Unknown => vec![Effect::DeleteAggregator],
            };
            let seen = Observed {
                aggregator,
                ..all_ended([0, 0])
            };
            let event = Event::CollectionFailed {
                message: why.to_owned(),
            };
            let found = outcome(&ended_on(&merged(), [0, 0]), &seen, at(9));
            assert_eq!(found, (Some(event.clone()), left));
            unmerged(&event, why);
        }
    }

    #[test]
    fn aggregator_that_has_told_the_result_may_be_gone() {
        let seen = Observed {
            aggregator: aggregator_ended(Some(143), None, "it was told to end"),
            result: told(outcome_of(1, &[])),
            summary: Fact::Known(()),
            ..all_ended([0, 0])
        };
        let found = outcome(&ended_on(&merged(), [0, 0]), &seen, at(9));
        let event = result_of(outcome_of(1, &[]));
        assert_eq!(found, (Some(event), vec![Effect::DeleteAggregator]));
    }

    #[test]
    fn an_aggregator_that_is_lost_during_the_test_does_not_end_it() {
        let seen = Observed {
            aggregator: Fact::Absent,
            ..running()
        };
        assert_eq!(outcome(&started_to_merge(), &seen, at(9)), (None, vec![]));
    }

    #[test]
    fn a_stop_that_comes_after_all_runners_have_ended_changes_nothing() {
        let seen = Observed {
            stop: true,
            ..all_ended([0, 0])
        };
        let event = Event::RunnersEnded {
            tally: tally_of([0, 0]),
        };
        let found = outcome(&started_to_merge(), &seen, at(4));
        assert_eq!(found, (Some(event), vec![]));
        let state = ended_on(&merged(), [0, 0]);
        assert_eq!(outcome(&state, &seen, at(9)), (None, vec![]));
        let seen = Observed {
            result: told(outcome_of(1, &[])),
            summary: Fact::Known(()),
            ..seen
        };
        let event = result_of(outcome_of(1, &[]));
        assert_eq!(outcome(&state, &seen, at(9)).0, Some(event));
    }

    fn stopped_on(plan: &Plan, why: Event) -> State {
        let stop = [why, Event::RunnersStopped { forced: 0 }];
        after(until_started(plan).into_iter().chain(stop))
    }

    #[test]
    fn a_stop_is_the_end_whatever_was_measured_until_then_which_is_told() {
        let stopped = stopped_on(&with_thresholds(3), Event::StopOrdered {});
        let seen = Observed {
            stop: true,
            result: told(outcome_of(3, &[SLOW])),
            summary: Fact::Known(()),
            ..all_ended([103, 103])
        };
        let event = result_of(outcome_of(3, &[SLOW]));
        assert_eq!(
            outcome(&stopped, &seen, at(9)),
            (Some(event.clone()), vec![Effect::DeleteAggregator])
        );
        let unkept = Observed {
            summary: Fact::Absent,
            ..seen
        };
        assert_eq!(
            outcome(&stopped, &unkept, at(9)),
            (None, vec![Effect::KeepSummary])
        );
        let end = |state: &State, event: Event| {
            let Step::Next(State::Finished(end)) = step(state, &record(9, event)) else {
                panic!("it has not ended");
            };
            end.verdict
        };
        let aborted = |message: &str| Verdict {
            result: RunResult::Aborted,
            reason: Reason::StopRequested,
            message: format!("Stopped, as spec.stop asks; {message}"),
        };
        assert_eq!(
            end(&stopped, event),
            aborted("until then, 1 of 3 thresholds crossed: http_req_duration p(95)<500 is 612.3")
        );
        let incomplete = Outcome {
            incomplete: vec!["runner 2 did not say how it ended".to_owned()],
            ..outcome_of(0, &[])
        };
        assert_eq!(
            end(&stopped, result_of(incomplete)),
            aborted("the merged result is incomplete: runner 2 did not say how it ended")
        );
        let silent = Outcome {
            silent: 2,
            ..outcome_of(3, &[])
        };
        assert_eq!(
            end(&stopped, result_of(silent)),
            aborted(
                "the metrics of the runners could not be merged: nothing that they sent is there any more"
            )
        );
        let why = "no route to host".to_owned();
        let unmerged = aborted("the metrics of the runners could not be merged: no route to host");
        let failed = Event::CollectionFailed { message: why };
        assert_eq!(end(&stopped, failed), unmerged);
    }

    #[test]
    fn a_test_that_did_not_end_in_time_has_its_result_until_then() {
        let deadline = Event::DeadlinePassed {
            waiting_for: "the runners to end: 1 of 2 have".to_owned(),
        };
        let stopped = stopped_on(&with_thresholds(1), deadline);
        let event = result_of(outcome_of(1, &[]));
        let Step::Next(State::Finished(end)) = step(&stopped, &record(9, event)) else {
            panic!("it has not ended");
        };
        assert_eq!(end.verdict.reason, Reason::RunDeadlineExceeded);
        let told = "until then, the threshold holds over all runners";
        assert!(end.verdict.message.ends_with(told), "{}", end.verdict.message);
    }

    #[test]
    fn the_result_of_a_run_that_was_stopped_is_waited_for_until_its_deadline_and_never_if_nobody_has_it() {
        let stopped = stopped_on(&merged(), Event::StopOrdered {});
        let State::Stopping(Stopping {
            phase: Stop::Collecting { since },
            ..
        }) = &stopped
        else {
            panic!("{stopped:?}");
        };
        let limit = *since + COLLECTION_GRACE;
        let seen = all_ended([103, 103]);
        assert_eq!(wake_at(&stopped, &seen), Some(limit));
        let waits = "the result of all runners to be collected";
        assert_eq!(waiting_for(&stopped, &seen).as_deref(), Some(waits));
        assert_eq!(outcome(&stopped, &seen, at(9)), (None, vec![]));
        let over = classify(&stopped, &seen, limit);
        assert!(matches!(over, Some(Event::DeadlinePassed { .. })), "{over:?}");
        for aggregator in [Fact::Absent, aggregator_ended(None, Some("OOMKilled"), "killed")] {
            let seen = Observed {
                aggregator,
                ..all_ended([103, 103])
            };
            let event = classify(&stopped, &seen, at(9));
            assert!(matches!(event, Some(Event::CollectionFailed { .. })), "{event:?}");
        }
    }

    #[test]
    fn a_run_that_is_stopped_before_its_start_has_no_result_to_wait_for() {
        let ordered = after(until_created(&merged()).into_iter().chain([
            Event::StartOrdered {
                runners: 2,
                pods: digest(2),
            },
            Event::StopOrdered {},
        ]));
        let event = Event::RunnersStopped { forced: 0 };
        let found = outcome(&ordered, &all_ended([103, 103]), at(9));
        assert_eq!(found, (Some(event), vec![Effect::DeleteAggregator]));
    }

    #[test]
    fn a_runner_job_deleted_after_all_have_ended_changes_nothing() {
        let seen = Observed {
            runners: runners([ended(1, 0)]),
            ..all_ended([0, 0])
        };
        let found = outcome(&ended_on(&merged(), [0, 0]), &seen, at(9));
        assert_eq!(found, (None, vec![]));
    }

    #[test]
    fn the_summary_is_told_live_and_then_for_good() {
        let history = |events: Vec<Event>| -> Vec<Record> {
            (0..)
                .zip(events)
                .map(|(second, event)| record(second, event))
                .collect()
        };
        let told = |events: Vec<Event>, seen: &Observed| {
            let history = history(events);
            assert!(history.len() <= HISTORY_LIMIT);
            let run = replay(&history).unwrap();
            let progress = Progress::of(&run, seen, &[]);
            let summary = run.status(history, &progress).summary;
            summary.map(|summary| (summary.thresholds_passed, summary.thresholds_failed))
        };
        let seen = Observed {
            live: Some(outcome_of(3, &[SLOW])),
            ..running()
        };
        let started = until_started(&merged());
        assert_eq!(told(started.clone(), &seen), Some((2, 1)));
        let ends = [
            Event::RunnersEnded {
                tally: tally_of([0, 0]),
            },
            result_of(outcome_of(3, &[])),
        ];
        let all: Vec<Event> = started.into_iter().chain(ends).collect();
        assert_eq!(told(all, &seen), Some((3, 0)));
    }
}

mod keeping {
    use super::*;

    /// Finished at second 5.
    fn finished() -> State {
        let ends = [
            Event::RunnersEnded {
                tally: tally_of([0, 0]),
            },
            result_of(outcome_of(1, &[])),
        ];
        after(until_started(&merged()).into_iter().chain(ends))
    }

    #[test]
    fn the_aggregator_goes_at_the_end_and_so_with_it_its_service() {
        let seen = Observed {
            summary: Fact::Known(()),
            ..all_ended([0, 0])
        };
        assert_eq!(effects(&finished(), &seen, at(9)), vec![Effect::DeleteAggregator]);
    }

    #[test]
    fn of_a_run_that_is_stopped_what_was_measured_until_then_is_collected() {
        let stop = Observed {
            stop: true,
            ..running()
        };
        let (event, wanted) = outcome(&started_to_merge(), &stop, at(5));
        let targets = [1, 2].map(target).to_vec();
        assert_eq!(
            (event, wanted),
            (Some(Event::StopOrdered {}), vec![Effect::CreateStopper(targets)])
        );
        let stopping = after(
            until_started(&merged())
                .into_iter()
                .chain([Event::StopOrdered {}]),
        );
        let event = Event::RunnersStopped { forced: 0 };
        let found = outcome(&stopping, &all_ended([103, 103]), at(9));
        assert_eq!(found, (Some(event), vec![]));
    }
}

mod objects {
    use super::*;

    /// setup() and teardown() run once.
    fn once() -> Aggregation {
        merged().aggregation.unwrap()
    }

    fn plain() -> Spec {
        spec(json!({"parallelism": 4, "script": "crocodile-stress-test"}))
    }

    /// The first of one.
    fn runner_of(spec: &Spec, version: (u32, u32)) -> Job {
        let aggregation = plan_of(terms(2), by_version(Some(version))).aggregation.unwrap();
        runner(
            &merging(run_of(&owner("k6-sample"), spec, &defaults()), &aggregation),
            (1, 1),
            Some(ADDRESS),
        )
    }

    #[test]
    fn runner_of_nodes_that_mount_images_has_no_init_container() {
        let run = merging(run_of(&owner("k6-sample"), &plain(), &defaults()), &once());
        let plan = run.plan.map(|plan| Plan {
            program: ProgramSource::Mounted,
            ..plan
        });
        let run = ValidatedRun { plan, ..run };
        assert_yaml_snapshot!(runner(&run, (1, 1), Some(ADDRESS)));
        let job = initializer(&run, ProgramSource::Mounted);
        let pod = job.spec.unwrap().template.spec.unwrap();
        assert_eq!(pod.init_containers, None);
        let image = |volume: &Volume| volume.image.clone()?.reference;
        let images: Vec<_> = pod.volumes.iter().flatten().filter_map(image).collect();
        assert_eq!(images, ["k6-operator.invalid/operator:dev"]);
    }

    #[test]
    fn users_variables_take_the_place_of_no_token() {
        let value = json!([{"name": "K6_OPERATOR_TOKEN", "value": "mine"}, {"name": "STOLEN", "value": "$(K6_OPERATOR_TOKEN)"}]);
        let spec = spec(json!({
            "parallelism": 1, "script": "s", "runner": {"env": value}, "arguments": "--tag t=$(K6_OPERATOR_TOKEN)"
        }));
        let run = merging(run_of(&owner("k6-sample"), &spec, &defaults()), &once());
        let plan = run.plan.map(|plan| Plan {
            program: ProgramSource::Mounted,
            ..plan
        });
        let container = main_of(runner(&ValidatedRun { plan, ..run }, (1, 1), Some(ADDRESS)));
        let env = container.env.unwrap();
        let named: Vec<_> = env
            .iter()
            .filter(|variable| variable.name == "K6_OPERATOR_TOKEN")
            .collect();
        assert!(named.len() == 1 && named[0].value_from.is_some(), "{named:?}");
        // Kubernetes fills in variables that stand before, and none that are escaped.
        let at = |name: &str| env.iter().position(|variable| variable.name == name).unwrap();
        assert!(at("STOLEN") < at("K6_OPERATOR_TOKEN"));
        let words = container.command.unwrap();
        assert!(words.contains(&"t=$$(K6_OPERATOR_TOKEN)".to_owned()), "{words:?}");
    }

    fn main_of(job: Job) -> Container {
        job.spec.unwrap().template.spec.unwrap().containers.remove(0)
    }

    #[test]
    fn an_aggregator_is_given_the_run_and_the_options_and_no_shell() {
        let spec = plain();
        let job = aggregator(
            &merging(run_of(&owner("k6-sample"), &spec, &defaults()), &once()),
            OPTIONS,
        );
        assert_yaml_snapshot!(job);
    }

    #[test]
    fn an_aggregator_judges_nothing_that_does_not_count_and_leaves_setup_to_the_runners() {
        let spec = spec(json!({
            "parallelism": 4, "script": "s", "arguments": "--no-thresholds", "setup": "perRunner",
            "starter": {"resources": {"limits": {"memory": "4Gi"}}}
        }));
        let job = aggregator(&run_of(&owner("k6-sample"), &spec, &defaults()), OPTIONS);
        let pod = job.spec.unwrap().template.spec.unwrap();
        let container = &pod.containers[0];
        let words = container.args.clone().unwrap();
        assert!(
            words
                .iter()
                .all(|word| !word.starts_with("--options") && word != "--once"),
            "{words:?}"
        );
        let limits = container.resources.clone().unwrap().limits.unwrap();
        assert_eq!(limits["memory"].0, "4Gi");
    }

    /// The resources of the aggregator.
    fn size_of(fields: serde_json::Value, common: serde_json::Value) -> serde_json::Value {
        let mut all = json!({"parallelism": 4, "script": "s"});
        all.as_object_mut()
            .unwrap()
            .extend(fields.as_object().unwrap().clone());
        let spec = spec(all);
        let defaults = k6_operator::objects::Defaults {
            common: serde_json::from_value(common).unwrap(),
            ..defaults()
        };
        let owner = owner("k6-sample");
        let merging = aggregator(&merging(run_of(&owner, &spec, &defaults), &once()), OPTIONS);
        serde_json::to_value(main_of(merging).resources).unwrap()
    }

    #[test]
    fn aggregator_has_the_size_that_the_user_gives_to_it_or_to_the_starter() {
        let own = json!({"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "1Gi"}});
        let size = |cpu: &str| json!({"limits": {"cpu": cpu, "memory": "256Mi"}});
        let part = |cpu: &str| json!({"resources": size(cpu)});
        assert_eq!(size_of(json!({}), json!({})), own);
        let limited = json!({"requests": own["requests"], "limits": {"cpu": "1", "memory": "1Gi"}});
        assert_eq!(size_of(json!({"runner": part("2")}), json!({})), limited);
        let both = json!({"runner": part("2"), "starter": part("3")});
        assert_eq!(size_of(both, json!({})), size("3"));
        let all = json!({"runner": part("2"), "starter": part("3"), "aggregation": part("4")});
        assert_eq!(size_of(all, json!({})), size("4"));
        assert_eq!(size_of(json!({"podTemplate": part("5")}), json!({})), size("5"));
        let given = json!({"aggregation": {"resources": {"limits": {"cpu": "6"}}}});
        assert_eq!(size_of(given, json!({"aggregation": part("7")})), size("6"));
    }

    #[test]
    fn references_in_the_options_are_left_as_they_are() {
        let spec = spec(json!({
            "parallelism": 1, "script": "s", "starter": {"env": [{"name": "X", "value": "y"}]}
        }));
        let job = aggregator(
            &merging(run_of(&owner("k6-sample"), &spec, &defaults()), &once()),
            r#"{"thresholds":{"http_reqs{url:$(HOME)}":["count>0"]}}"#,
        );
        let pod = job.spec.unwrap().template.spec.unwrap();
        let words = pod.containers[0].args.clone().unwrap();
        let options = words
            .iter()
            .find(|word| word.starts_with("--options-json="))
            .unwrap();
        assert!(options.contains("url:$$(HOME)"), "{options}");
    }

    #[test]
    fn a_service_goes_with_the_aggregator_job_and_finds_its_pods_only() {
        let spec = plain();
        let mut job = aggregator(
            &merging(run_of(&owner("k6-sample"), &spec, &defaults()), &once()),
            OPTIONS,
        );
        job.metadata.uid = Some("77aa".to_owned());
        let made = service(&owner("k6-sample"), &job);
        let labels = job.spec.unwrap().template.metadata.unwrap().labels.unwrap();
        let selector = made.spec.clone().unwrap().selector.unwrap();
        for (key, value) in &selector {
            assert_eq!(labels.get(key), Some(value), "{key}");
        }
        assert_yaml_snapshot!(made);
    }

    #[test]
    fn a_runner_whose_metrics_are_merged_exports_them_and_lingers() {
        let spec = spec(json!({
            "parallelism": 4, "script": "crocodile-stress-test", "arguments": "--out json=x.json"
        }));
        let aggregation = merged().aggregation.unwrap();
        let job = runner(
            &merging(run_of(&owner("k6-sample"), &spec, &defaults()), &aggregation),
            (3, 4),
            Some(ADDRESS),
        );
        assert_yaml_snapshot!(job);
    }

    #[test]
    fn runner_that_does_without_the_tags_of_the_operator_gives_them_only_to_other_outputs() {
        let spec = plain();
        let words = |aggregation: &Aggregation| {
            let run = merging(run_of(&owner("k6-sample"), &spec, &defaults()), aggregation);
            let command = main_of(runner(&run, (3, 4), Some(ADDRESS))).command.unwrap();
            command.join(" ")
        };
        let with = merged().aggregation.unwrap();
        let without = Aggregation {
            without_own_tags: true,
            ..with.clone()
        };
        let (given, kept) = (
            "--tag instance_id=3 --tag testrun_name=k6-sample",
            "--own-tag=instance_id=3 --own-tag=testrun_name=k6-sample",
        );
        let words = [with, without].map(|aggregation| words(&aggregation));
        let found = words.map(|words| (words.contains(given), words.contains(kept)));
        assert_eq!(found, [(true, false), (false, true)]);
    }

    #[test]
    fn a_k6_of_each_version_is_given_only_what_it_knows() {
        const TYPE: &str = "K6_OTEL_EXPORTER_TYPE";
        for (version, has_type) in [
            ((0, 57), true),
            ((1, 1), true),
            ((1, 3), true),
            ((1, 4), false),
            ((2, 0), false),
            ((10, 0), false),
        ] {
            let env = main_of(runner_of(&plain(), version)).env.unwrap();
            let names: Vec<_> = env.iter().map(|variable| variable.name.as_str()).collect();
            assert_eq!(names.contains(&TYPE), has_type, "{version:?}");
            assert_eq!(
                names.contains(&"K6_OTEL_EXPORTER_PROTOCOL"),
                !has_type,
                "{version:?}"
            );
        }
    }

    #[test]
    fn of_a_plan_that_was_recorded_without_the_version_of_k6_it_is_the_first() {
        let before: Aggregation = serde_json::from_value(json!({"output": "opentelemetry"})).unwrap();
        assert_eq!(
            (before.k6_version.as_str(), before.version()),
            ("", Version::new(1, 1, 0))
        );
    }

    #[test]
    fn a_runner_that_has_its_own_setup_runs_it_and_its_teardown() {
        let spec = spec(json!({"parallelism": 2, "script": "s", "setup": "perRunner"}));
        let aggregation = Aggregation {
            output: "opentelemetry".to_owned(),
            k6_version: "1.4".to_owned(),
            setup_seconds: None,
            teardown_seconds: None,
            system_tags: None,
            without_own_tags: false,
            script_metrics: Default::default(),
        };
        let job = runner(
            &merging(run_of(&owner("k6-sample"), &spec, &defaults()), &aggregation),
            (1, 2),
            Some("[fd00::7]:4318"),
        );
        let pod = job.spec.unwrap().template.spec.unwrap();
        let words = pod.containers[0].command.clone().unwrap();
        for absent in ["--no-setup", "--no-teardown"] {
            assert!(words.iter().all(|word| word != absent), "{words:?}");
        }
        assert!(
            words.iter().all(|word| !word.starts_with("--teardown-timeout")),
            "{words:?}"
        );
        assert!(
            words.contains(&"--aggregator=[fd00::7]:4318".to_owned()),
            "{words:?}"
        );
        let out = words.iter().position(|word| word == "--out").unwrap();
        assert_eq!(words[out + 1], "opentelemetry");
    }

    #[test]
    fn a_starter_that_runs_setup_has_its_time() {
        let spec = plain();
        let targets = [Target {
            runner: 1,
            ip: "10.0.0.1".to_owned(),
        }];
        let run = run_of(&owner("k6-sample"), &spec, &defaults());
        let once = Aggregation {
            setup_seconds: Some(90),
            ..once()
        };
        let job = |run: &ValidatedRun| {
            let job = starter(run, &targets);
            let job = job.spec.unwrap();
            let words = job.template.spec.unwrap().containers[0].args.clone().unwrap();
            (job.active_deadline_seconds, words)
        };
        let target = "--runner=1=10.0.0.1:6565".to_owned();
        let words = vec!["start".to_owned(), target.clone()];
        assert_eq!(job(&run), (Some(310), words));
        let words = [
            "start",
            "--setup-timeout=90",
            "--token=/k6-operator-secret/runners",
            &target,
        ];
        let words = words.map(str::to_owned).to_vec();
        assert_eq!(job(&merging(run, &once)), (Some(400), words));
    }

    fn documents(report: serde_json::Value, outputs: &[(&str, &str)]) -> Documents {
        Documents {
            data: r#"{"metrics":{}}"#.to_owned(),
            text: "all is well".to_owned(),
            report,
            outputs: outputs
                .iter()
                .map(|(file, text)| ((*file).to_owned(), Content::Text((*text).to_owned())))
                .collect(),
            ..Documents::default()
        }
    }

    fn kept(documents: Documents) -> (ConfigMap, Vec<String>) {
        let about = RunInfo {
            name: "default/k6-sample".to_owned(),
            result: Some("Passed".to_owned()),
            ends: BTreeMap::from([(1, "exit code 99, Error".to_owned())]),
            ..RunInfo::default()
        };
        summary(&owner("k6-sample"), documents, &about)
    }

    #[test]
    fn a_summary_has_the_documents_and_what_handle_summary_returned() {
        let outputs = [("stdout", "done"), ("/out/result.json", "{}"), (".hidden", "x")];
        let mut documents = documents(json!(null), &outputs);
        let bytes = Content::Base64("AP8K".to_owned());
        documents.outputs.insert("image.png".to_owned(), bytes);
        let (map, left_out) = kept(documents);
        assert_eq!(left_out, Vec::<String>::new());
        assert_yaml_snapshot!(map);
    }

    #[test]
    fn report_of_a_summary_says_what_is_known_of_the_end() {
        let report =
            json!({"name": "", "live": true, "result": null, "perRunner": [{"runner": 1, "exit": null}]});
        let (map, _) = kept(documents(report, &[]));
        let page = &map.data.unwrap()["report.html"];
        for told in [
            "\"live\":false",
            "\"result\":\"Passed\"",
            "\"exit\":99",
            "<title>default/k6-sample",
        ] {
            assert!(page.contains(told), "{told}");
        }
    }

    #[test]
    fn what_a_summary_has_no_room_for_is_left_out_and_named() {
        let large = "x".repeat(600_000);
        let mut documents = documents(
            json!({"large": large}),
            &[("a", &large), ("b", &large), ("c", "small")],
        );
        documents.left_out = vec!["the checks of summary.json".to_owned()];
        let (map, left_out) = kept(documents);
        let keys: Vec<String> = map.data.unwrap().into_keys().collect();
        assert_eq!(
            keys,
            [
                "handleSummary-a",
                "handleSummary-c",
                "summary.json",
                "summary.txt"
            ]
        );
        let annotations = map.metadata.annotations.unwrap();
        let named = "the checks of summary.json, handleSummary-b, report.html";
        assert_eq!(annotations["k6.io/left-out"], named);
        assert_eq!(left_out.join(", "), named);
    }

    #[test]
    fn a_handle_summary_that_failed_is_told_and_what_is_empty_is_not_kept() {
        let failed = Documents {
            error: Some("handleSummary() failed: TypeError".to_owned()),
            ..Documents::default()
        };
        let (map, left_out) = kept(failed);
        let told = ("handleSummary-error.txt", "handleSummary() failed: TypeError");
        let told = BTreeMap::from([(told.0.to_owned(), told.1.to_owned())]);
        assert_eq!((map.data, left_out.len()), (Some(told), 0));
        assert_eq!(
            map.metadata
                .annotations
                .and_then(|all| all.get("k6.io/left-out").cloned()),
            None
        );
    }

    #[test]
    fn files_of_any_name_are_kept_under_keys_that_a_config_map_can_have() {
        let long = "d/".repeat(200);
        let names = [
            "../../etc/passwd",
            "Übersicht.html",
            "a b:c",
            "",
            "..",
            long.as_str(),
        ];
        let (map, _) = kept(documents(json!(null), &names.map(|name| (name, "x"))));
        let keys: Vec<String> = map.data.unwrap().into_keys().collect();
        for key in &keys {
            let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            assert!(key.len() <= 253 && key.chars().all(fits), "{key}");
        }
        assert!(keys.contains(&"handleSummary-etc_passwd".to_owned()), "{keys:?}");
    }

    #[test]
    fn a_service_has_a_name_that_it_may_have_whatever_the_run_is_called() {
        let long = "a".repeat(253);
        let names = ["k6-sample", "1st", "a.b.c", long.as_str()].map(k6_operator::objects::service_name);
        assert_eq!(names[0], "k6-sample-aggregator");
        for name in names {
            let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            assert!(name.len() <= 63 && name.chars().all(fits), "{name}");
            assert!(name.starts_with(|c: char| c.is_ascii_lowercase()), "{name}");
        }
    }

    #[test]
    fn names_are_short_enough_and_apart() {
        let name = "a".repeat(253);
        let names = [aggregator_name(&name), summary_name(&name)];
        assert!(names.iter().all(|name| name.len() <= 63), "{names:?}");
        assert_eq!(aggregator_name("k6-sample"), "k6-sample-aggregator");
        assert_eq!(summary_name("k6-sample"), "k6-sample-summary");
    }
}

mod specs {
    use super::*;

    fn terms_with(key: &str, value: serde_json::Value) -> Terms {
        let mut all = json!({"parallelism": 2, "script": "s"});
        all[key] = value;
        validated(&spec(all)).unwrap().terms
    }

    fn with_arguments(arguments: &str) -> Terms {
        terms_with("arguments", json!(arguments))
    }

    #[test]
    fn the_metrics_are_merged_unless_the_spec_says_otherwise() {
        assert_eq!(terms_with("quiet", json!("true")).metrics, Metrics::Merge);
        for enabled in [json!({}), json!({"enabled": true})] {
            assert_eq!(terms_with("aggregation", enabled).metrics, Metrics::Merge);
        }
        let off = terms_with("aggregation", json!({"enabled": false})).metrics;
        assert_eq!(off, apart("spec.aggregation.enabled is false"));
    }

    #[test]
    fn an_opentelemetry_output_of_the_user_is_found_in_every_spelling() {
        for (words, output) in [
            ("--out experimental-opentelemetry", "experimental-opentelemetry"),
            ("--out=experimental-opentelemetry", "experimental-opentelemetry"),
            ("--out opentelemetry", "opentelemetry"),
            ("-o opentelemetry", "opentelemetry"),
            ("-oopentelemetry", "opentelemetry"),
            ("-o=opentelemetry", "opentelemetry"),
            ("-qo opentelemetry", "opentelemetry"),
            ("-qoexperimental-opentelemetry", "experimental-opentelemetry"),
            (
                "--out json=x.json --out opentelemetry=a:4317",
                "opentelemetry=a:4317",
            ),
            ("--vus 2 --out=opentelemetry=a:4317", "opentelemetry=a:4317"),
        ] {
            let why = format!(
                "the arguments of k6 have --out {output}, of which k6 can have only one; send the metrics elsewhere \
                 by another output"
            );
            assert_eq!(with_arguments(words).metrics, apart(&why), "{words}");
        }
        let words = json!(["--out", "opentelemetry"]);
        assert_ne!(terms_with("args", words).metrics, Metrics::Merge);
    }

    #[test]
    fn another_output_and_words_that_look_like_one_do_no_harm() {
        for words in [
            "--out json=opentelemetry.json",
            "-o cloud",
            "--tag out=opentelemetry",
            "--tag opentelemetry",
            "-eOUT=opentelemetry",
        ] {
            assert_eq!(with_arguments(words).metrics, Metrics::Merge, "{words}");
        }
    }

    #[test]
    fn settings_of_opentelemetry_in_the_environment_leave_the_metrics_merged() {
        for name in [
            "K6_OTEL_HTTP_EXPORTER_ENDPOINT",
            "K6_OTEL_HEADERS",
            "K6_OTEL_TLS_CERTIFICATE",
            "OTEL_EXPORTER_OTLP_COMPRESSION",
            "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE",
            "OTEL_GO_X_CARDINALITY_LIMIT",
        ] {
            let env = json!({"env": [{"name": name, "value": "x"}]});
            for part in ["runner", "podTemplate"] {
                let metrics = terms_with(part, env.clone()).metrics;
                assert_eq!(metrics, Metrics::Merge, "{part} {name}");
            }
        }
    }

    #[test]
    fn what_keeps_k6_from_exporting_is_taken_from_its_environment_and_the_rest_is_left() {
        let corrected = |variables: &[(&str, &str)]| {
            let variables = variables
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            let mut found = corrections(&variables.collect());
            found.sort();
            found
        };
        let removed = |name: &str| (name.to_owned(), None);
        let set = |name: &str, value: &str| (name.to_owned(), Some(value.to_owned()));
        assert_eq!(
            corrected(&[
                ("K6_OTEL_EXPORTER_PROTOCOL", "http/protobuf"),
                ("K6_OTEL_EXPORTER_TYPE", "grpc"),
                ("K6_OTEL_GRPC_EXPORTER_INSECURE", "perhaps"),
                ("K6_OTEL_HTTP_EXPORTER_USERNAME", "me"),
                ("K6_OTEL_TLS_INSECURE_SKIP_VERIFY", "true"),
                ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "https://x"),
                ("OTEL_EXPORTER_OTLP_METRICS_CERTIFICATE", "/a.pem"),
                ("OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", "10000"),
                ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=abc"),
                ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://x"),
                ("OTEL_RESOURCE_ATTRIBUTES", "a=b"),
                ("OTEL_SDK_DISABLED", "true"),
                ("K6_VUS", "3"),
            ]),
            [
                removed("K6_OTEL_EXPORTER_TYPE"),
                removed("K6_OTEL_GRPC_EXPORTER_INSECURE"),
                removed("K6_OTEL_HTTP_EXPORTER_USERNAME"),
                removed("K6_OTEL_TLS_INSECURE_SKIP_VERIFY"),
                removed("OTEL_EXPORTER_OTLP_METRICS_CERTIFICATE"),
                removed("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"),
            ]
        );
        assert_eq!(corrected(&[("K6_OTEL_EXPORTER_TYPE", "http")]), []);
        assert_eq!(
            corrected(&[
                ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/a.pem"),
                ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/k.pem")
            ]),
            [
                removed("OTEL_EXPORTER_OTLP_CERTIFICATE"),
                removed("OTEL_EXPORTER_OTLP_CLIENT_KEY"),
                set("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "/a.pem"),
                set("OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY", "/k.pem"),
            ],
            "traces keep them"
        );
        assert_eq!(
            corrected(&[
                ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/a.pem"),
                ("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "/t.pem")
            ]),
            [removed("OTEL_EXPORTER_OTLP_CERTIFICATE")]
        );
    }

    #[test]
    fn tags_by_url_are_left_out_unless_the_user_says_which_tags_or_sends_samples_elsewhere() {
        let tagged = |arguments: &[&str], variables: &[(&str, &str)]| {
            let arguments: Vec<_> = arguments.iter().map(|word| (*word).to_owned()).collect();
            tagging("status,method", &arguments, |name| {
                let found = variables.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| (*value).to_owned())
            })
        };
        let without = Some("--system-tags=status,method".to_owned());
        let ours = ["run", "--out", "opentelemetry", "--tag", "a=b", "/test/test.js"];
        assert_eq!(tagged(&ours, &[]), without);
        assert_eq!(tagged(&ours, &[("K6_SYSTEM_TAGS", ""), ("K6_OUT", "")]), without);
        assert_eq!(tagged(&ours, &[("K6_OUT", "opentelemetry")]), without);
        assert_eq!(tagged(&ours, &[("K6_SYSTEM_TAGS", "url")]), None);
        assert_eq!(tagged(&ours, &[("K6_OUT", "json=/tmp/a")]), None);
        for more in [["--system-tags", "url"], ["--out", "csv"], ["-o", "json=/tmp/a"]] {
            let arguments = [&ours[..5], more.as_slice(), &ours[5..]].concat();
            assert_eq!(tagged(&arguments, &[]), None, "{more:?}");
        }
    }

    #[test]
    fn outputs_that_a_variable_names_go_beside_unless_one_is_that_of_the_operator() {
        let found = |part: &str, value: &str| {
            terms_with(part, json!({"env": [{"name": "K6_OUT", "value": value}]})).metrics
        };
        for part in ["runner", "podTemplate"] {
            assert_eq!(found(part, "csv=/tmp/a.csv,cloud"), Metrics::Merge, "{part}");
            for value in ["opentelemetry", "cloud,experimental-opentelemetry=x"] {
                let Metrics::PerRunner { why } = found(part, value) else {
                    panic!("{part} {value}");
                };
                assert!(
                    why.starts_with("env has K6_OUT with an OpenTelemetry output"),
                    "{why}"
                );
            }
        }
        assert_eq!(found("starter", "opentelemetry"), Metrics::Merge);
        assert_eq!(
            outputs_beside("csv=/tmp/a.csv,,opentelemetry,experimental-opentelemetry=x,cloud"),
            ["--out", "csv=/tmp/a.csv", "--out", "cloud"]
        );
        assert_eq!(outputs_beside(""), Vec::<String>::new());
    }

    #[test]
    fn setup_is_left_to_the_runners_if_the_spec_or_k6_is_told_so() {
        for words in [
            "--no-setup",
            "--no-setup=true",
            "--no-teardown",
            "--vus 2 --no-teardown=true",
        ] {
            assert_eq!(with_arguments(words).setup, Setup::PerRunner, "{words}");
        }
        for words in ["", "--no-setup=false", "--setup-timeout 3s"] {
            assert_eq!(with_arguments(words).setup, Setup::Once, "{words}");
        }
        assert_eq!(terms_with("setup", json!("perRunner")).setup, Setup::PerRunner);
        assert_eq!(terms_with("setup", json!("once")).setup, Setup::Once);
        assert_eq!(terms_with("paused", json!("false")).setup, Setup::PerRunner);
        assert_eq!(terms_with("paused", json!("true")).setup, Setup::Once);
    }

    #[test]
    fn thresholds_do_not_count_if_k6_is_told_so() {
        for words in ["--no-thresholds", "--no-thresholds=true"] {
            assert_eq!(with_arguments(words).thresholds, Thresholds::Ignore, "{words}");
        }
        assert_eq!(
            with_arguments("--no-thresholds=false").thresholds,
            Thresholds::Judge
        );
        assert_eq!(with_arguments("").thresholds, Thresholds::Judge);
    }

    #[test]
    fn what_the_environment_of_k6_says_counts_unless_its_arguments_do() {
        let by_env = |part: &str, name: &str, value: &str| {
            terms_with(part, json!({"env": [{"name": name, "value": value}]}))
        };
        for part in ["runner", "podTemplate"] {
            assert_eq!(
                by_env(part, "K6_NO_THRESHOLDS", "true").thresholds,
                Thresholds::Ignore
            );
            assert_eq!(by_env(part, "K6_NO_SETUP", "1").setup, Setup::PerRunner);
            assert_eq!(by_env(part, "K6_NO_TEARDOWN", "T").setup, Setup::PerRunner);
            assert_eq!(
                by_env(part, "K6_NO_THRESHOLDS", "false").thresholds,
                Thresholds::Judge
            );
            assert_eq!(by_env(part, "K6_NO_SETUP", "0").setup, Setup::Once);
        }
        let both: Spec = serde_json::from_value(json!({
            "parallelism": 2,
            "script": {"configMap": {"name": "x"}},
            "arguments": "--no-thresholds --no-thresholds=false",
            "runner": {"env": [{"name": "K6_NO_THRESHOLDS", "value": "true"}]},
        }))
        .unwrap();
        assert_eq!(validated(&both).unwrap().terms.thresholds, Thresholds::Judge);
    }
}
