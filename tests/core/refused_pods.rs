//! Pods that Kubernetes refuses to create for the Jobs of a run: what its words mean, what is told, and what ends.

use crate::support::*;
use jiff::SignedDuration;
use k6_operator::api::Progress;
use k6_operator::machine::{
    COLLECTION_GRACE, End, Ended, Event, Fact, Initializer, Observed, Part, Plan, PodRefusal, Program,
    REFUSAL_GRACE, Reason, Rule, Run, RunResult, Runner, Started, State, StateName, Step, Tally, Test,
    Verdict, classify, effects, step, waiting_for,
};

const RATIO: &str = "memory max limit to request ratio per Container is 5, but provided ratio is 16.000000";
const FULL: &str =
    "exceeded quota: team, requested: limits.cpu=200m, used: limits.cpu=1900m, limited: limits.cpu=2";

fn refused_for(part: Part, text: &str, seconds: i64) -> PodRefusal {
    let message = format!("Error creating: pods \"a-b-x7k2p\" is forbidden: {text}");
    PodRefusal::from_event(part, &message, SignedDuration::from_secs(seconds))
}

/// Refused long enough to be final, should its rule be.
fn refused(part: Part, text: &str) -> PodRefusal {
    refused_for(part, text, REFUSAL_GRACE.as_secs())
}

fn without_pod(part: Part, text: &str, seen: Observed) -> Observed {
    Observed {
        pod_refused: Some(refused(part, text)),
        ..seen
    }
}

/// Two runners that have no pods.
fn podless() -> Observed {
    Observed {
        runners: runners([Runner::default(), Runner::default()]),
        ..empty_world(2)
    }
}

fn waits_for_starter() -> Observed {
    Observed {
        runners: runners([ready(1), ready(2)]),
        starter: Fact::Known(Program::Running(None)),
        ..empty_world(2)
    }
}

fn inspects() -> Observed {
    Observed {
        initializer: Fact::Known(Initializer::Running(None)),
        ..empty_world(2)
    }
}

/// All runners have ended, and the result is awaited.
fn awaits_result() -> State {
    State::Started(Started {
        at: at(3),
        plan: Plan {
            thresholds: Some(1),
            ..plan(2)
        },
        phase: Test::Collecting(Ended {
            at: at(9),
            tally: Tally {
                passed: 2,
                ..Tally::default()
            },
        }),
    })
}

/// The aggregator has been lost, and begins again.
fn collects() -> Observed {
    Observed {
        aggregator: Fact::Known(Runner::default()),
        result: Fact::Absent,
        runners: runners([ended(1, 0), ended(2, 0)]),
        ..empty_world(2)
    }
}

#[test]
fn what_kubernetes_says_tells_the_rule() {
    let quota = "exceeded quota: team, requested: cpu=1500m,memory=2Gi, used: cpu=0,memory=0, limited: cpu=2,memory=1Gi";
    let rules = [
        (RATIO, Rule::LimitRange),
        (
            "maximum cpu usage per Container is 1.  No limit is specified",
            Rule::LimitRange,
        ),
        (
            "[minimum memory usage per Pod is 64Mi, but request is 16Mi, maximum example.com/gpu usage per Pod is 1, \
             but limit is 2]",
            Rule::LimitRange,
        ),
        (
            "failed quota: team: must specify limits.cpu for: aggregator",
            Rule::QuotaUnmet,
        ),
        (quota, Rule::QuotaUnmet),
        (FULL, Rule::QuotaFull),
        ("status unknown for quota: team, resources: pods", Rule::Other),
        (
            "violates PodSecurity \"restricted:latest\": runAsNonRoot != true (pod must not set \
             securityContext.runAsNonRoot=false)",
            Rule::PodSecurity,
        ),
        (
            "error looking up service account load/mine: serviceaccount \"mine\" not found",
            Rule::Other,
        ),
    ];
    for (text, rule) in rules {
        let found = refused(Part::Aggregator, text);
        assert_eq!((found.rule, found.text.as_str()), (rule, text));
    }
    let webhook = "admission webhook \"policy.example\" denied the request: no";
    let told = PodRefusal::from_event(
        Part::Starter,
        &format!("Error creating: {webhook}"),
        REFUSAL_GRACE,
    );
    assert_eq!((told.rule, told.text.as_str()), (Rule::Other, webhook));
    let invalid = "Error creating: Pod \"a-1-x\" is invalid: spec.containers[0].resources.requests: Invalid value: \
                   \"1Gi\": must be less than or equal to memory limit of 512Mi";
    assert_eq!(
        PodRefusal::from_event(Part::Runner(1), invalid, REFUSAL_GRACE).rule,
        Rule::Invalid
    );
    // Of many, Kubernetes combines those that come later.
    let combined =
        format!("(combined from similar events): Error creating: pods \"x\" is forbidden: {RATIO}");
    assert_eq!(
        PodRefusal::from_event(Part::Aggregator, &combined, REFUSAL_GRACE),
        refused(Part::Aggregator, RATIO)
    );
}

#[test]
fn a_refused_pod_is_told_with_its_part_the_rule_and_the_field_to_set() {
    let told = [
        (
            refused(Part::Aggregator, RATIO),
            "the pod of the aggregator is refused by a LimitRange of the namespace: memory max limit to request ratio \
             per Container is 5, but provided ratio is 16.000000; set spec.aggregation.resources to fit it",
        ),
        (
            refused(Part::Runner(3), FULL),
            "the pod of runner 3 is refused as long as a ResourceQuota is full: exceeded quota: team, requested: \
             limits.cpu=200m, used: limits.cpu=1900m, limited: limits.cpu=2; end something else, or set \
             spec.runner.resources lower",
        ),
        (
            refused(
                Part::Starter,
                "failed quota: team: must specify limits.cpu for: k6-curl",
            ),
            "the pod of the starter is refused by a ResourceQuota: failed quota: team: must specify limits.cpu for: \
             k6-curl; set spec.starter.resources to fit it",
        ),
        (
            refused(
                Part::Initializer,
                "violates PodSecurity \"restricted:latest\": host namespaces",
            ),
            "the pod of the initializer is refused by the Pod Security Standard of the namespace: violates \
             PodSecurity \"restricted:latest\": host namespaces; set securityContext and containerSecurityContext of \
             spec.initializer (by default those of spec.runner) to fit it",
        ),
    ];
    for (refusal, clause) in told {
        assert_eq!(refusal.clause(), clause);
    }
}

#[test]
fn a_pod_that_is_refused_for_good_ends_the_run_soon_and_by_name() {
    let of = [
        (initializing(2), Part::Initializer, inspects()),
        (created(2), Part::Aggregator, podless()),
        (created(2), Part::Runner(1), podless()),
        (starting(2), Part::Starter, waits_for_starter()),
    ];
    for (state, part, seen) in of {
        let seen = without_pod(part, RATIO, seen);
        let event = classify(&state, &seen, at(20)).unwrap();
        let Event::ObjectRefused {
            reason: Reason::ObjectRefused,
            message,
        } = &event
        else {
            panic!("{event:?}");
        };
        assert!(
            message.starts_with("The pod of ") && message.contains(RATIO),
            "{message}"
        );
        let Step::Next(next) = step(&state, &record(20, event.clone())) else {
            panic!("{event:?} changes nothing in {state:?}");
        };
        // A starter without a pod has released nobody, but who deletes it can't be sure.
        let name = if part == Part::Starter {
            StateName::Stopping
        } else {
            StateName::Finished
        };
        assert_eq!(next.name(), name);
    }
}

#[test]
fn a_refused_pod_is_told_at_once_and_waited_for_as_long_as_somebody_may_mend_it() {
    let just = refused_for(Part::Runner(1), RATIO, REFUSAL_GRACE.as_secs() - 1);
    let full = refused_for(Part::Runner(1), FULL, 600);
    for refusal in [just, full] {
        let seen = Observed {
            pod_refused: Some(refusal.clone()),
            ..podless()
        };
        assert_eq!(classify(&created(2), &seen, at(200)), None);
        let waits = waiting_for(&created(2), &seen).unwrap();
        assert!(waits.ends_with(&refusal.clause()), "{waits}");
        let run = Run {
            state: created(2),
            ..Run::default()
        };
        let progress = Progress::of(&run, &seen, &[]);
        assert!(
            progress
                .retrying
                .unwrap()
                .starts_with("the pod of runner 1 is refused")
        );
        // At the deadline, too.
        let Some(Event::DeadlinePassed { waiting_for }) = classify(&created(2), &seen, at(10_000)) else {
            panic!("no deadline");
        };
        assert!(waiting_for.contains(&refusal.clause()), "{waiting_for}");
    }
}

#[test]
fn an_edit_that_may_be_the_remedy_is_taken_before_the_refusal() {
    let seen = Observed {
        generation: 2,
        ..without_pod(Part::Initializer, RATIO, inspects())
    };
    let event = classify(&initializing(2), &seen, at(20));
    assert!(matches!(event, Some(Event::Accepted { .. })), "{event:?}");
}

#[test]
fn aggregator_that_is_refused_for_good_when_all_have_ended_is_told_in_the_verdict_at_once() {
    let seen = without_pod(Part::Aggregator, RATIO, collects());
    let event = classify(&awaits_result(), &seen, at(30)).unwrap();
    let message = refused(Part::Aggregator, RATIO).clause();
    assert_eq!(
        event,
        Event::CollectionFailed {
            message: message.clone()
        }
    );
    let Step::Next(State::Finished(end)) = step(&awaits_result(), &record(30, event)) else {
        panic!("not finished");
    };
    let Verdict {
        result,
        reason,
        message: told,
    } = end.verdict;
    assert_eq!((result, reason), (RunResult::Error, Reason::AggregationFailed));
    assert!(told.contains(&message), "{told}");
}

#[test]
fn aggregator_that_a_full_quota_keeps_out_has_its_refusal_for_its_failure() {
    let refusal = refused(Part::Aggregator, FULL);
    let waits = without_pod(Part::Aggregator, FULL, collects());
    let before = 9 + COLLECTION_GRACE.as_secs() - 1;
    assert_eq!(classify(&awaits_result(), &waits, at(before)), None);
    let failed = Observed {
        aggregator: Fact::Known(Runner {
            end: Some(End {
                code: None,
                reason: None,
                message: "Job has reached the specified backoff limit".to_owned(),
            }),
            ..Runner::default()
        }),
        ..waits
    };
    let event = classify(&awaits_result(), &failed, at(before));
    assert_eq!(
        event,
        Some(Event::CollectionFailed {
            message: refusal.clause()
        })
    );
}

#[test]
fn an_aggregator_that_is_refused_during_the_test_is_told_and_ends_nothing() {
    let seen = without_pod(
        Part::Aggregator,
        RATIO,
        Observed {
            runners: runners([ready(1), ready(2)]),
            ..empty_world(2)
        },
    );
    assert_eq!(classify(&started(2), &seen, at(20)), None);
    assert!(waiting_for(&started(2), &seen).unwrap().contains(RATIO));
}

#[test]
fn a_stopper_that_is_refused_for_good_is_not_waited_for() {
    let State::Stopping(stopping) = stopping(2) else {
        panic!("not stopping");
    };
    let state = State::Stopping(stopping);
    let seen = |text| {
        let seen = Observed {
            runners: runners([ready(1), ready(2)]),
            starter: Fact::Absent,
            stopper: Fact::Known(Program::Running(None)),
            ..empty_world(2)
        };
        without_pod(Part::Stopper, text, seen)
    };
    assert_eq!(effects(&state, &seen(FULL), at(7)), vec![]);
    assert_eq!(effects(&state, &seen(RATIO), at(7)).len(), 2);
}
