//! What is found in an observed world, and what is then wanted of it. Each test asserts the event and all
//! effects: an effect that is not named must not be asked for.

use crate::support::*;
use jiff::Timestamp;
use k6_operator::machine::{
    Effect, Event, Fact, Initializer, InspectionError, Observed, PodSeen, Program, Reason, Refusal, Runner,
    RunnerFailure, SCRIPT_GRACE, STOP_GRACE, State, Step, Target, classify, effects, step, waiting_for,
    wake_at,
};
use k6_operator::runners::report::{Failure, Report};

/// What happens, and what is wanted after it.
fn outcome(state: &State, seen: &Observed, now: Timestamp) -> (Option<Event>, Vec<Effect>) {
    let Some(event) = classify(state, seen, now) else {
        return (None, effects(state, seen, now));
    };
    let record = k6_operator::machine::Record {
        time: now,
        event: event.clone(),
    };
    match step(state, &record) {
        Step::Next(next) => (Some(event), effects(&next, seen, now)),
        Step::Unchanged | Step::Refused => panic!("{event:?} leads nowhere"),
    }
}

fn target(i: u32) -> Target {
    Target {
        runner: i,
        ip: format!("10.0.0.{i}"),
    }
}

fn rejected(reason: Reason, message: &str) -> Option<Event> {
    Some(Event::ScriptRejected {
        reason,
        message: message.to_owned(),
    })
}

fn start_failed(released: Option<u32>, message: &str) -> Option<Event> {
    Some(Event::StartFailed {
        released,
        message: message.to_owned(),
    })
}

fn deadline(waiting_for: &str) -> Option<Event> {
    Some(Event::DeadlinePassed {
        waiting_for: waiting_for.to_owned(),
    })
}

fn lost(runner: u32, exit_code: Option<i32>, reason: Option<&str>, message: &str) -> Option<Event> {
    Some(Event::RunnerLost {
        failure: RunnerFailure {
            runner,
            exit_code,
            reason: reason.map(str::to_owned),
            message: message.to_owned(),
        },
    })
}

const MISSING: &str = "ConfigMap default/crocodile does not exist";

mod initializing_a_run {
    use super::*;

    #[test]
    fn a_new_resource_is_accepted_on_its_terms_and_the_initializer_is_made() {
        let found = outcome(&State::default(), &empty_world(4), at(0));
        assert_eq!(found, (Some(accepted(4)), vec![Effect::CreateInitializer]));
    }

    #[test]
    fn a_spec_that_cannot_be_carried_out_ends_the_run_and_makes_nothing() {
        let seen = Observed {
            terms: Err("spec.parallelism is 0".to_owned()),
            ..empty_world(4)
        };
        let message = "spec.parallelism is 0".to_owned();
        let found = outcome(&State::default(), &seen, at(0));
        assert_eq!(
            found,
            (Some(Event::SpecRejected { rerun: None, message }), vec![])
        );
    }

    #[test]
    fn a_missing_config_map_is_told_after_the_grace() {
        let seen = Observed {
            script: Fact::Known(Err(MISSING.to_owned())),
            ..empty_world(4)
        };
        let state = initializing(4);
        let over = SCRIPT_GRACE.as_secs();
        assert_eq!(outcome(&state, &seen, at(over - 1)), (None, vec![]));
        assert_eq!(waiting_for(&state, &seen).as_deref(), Some(MISSING));
        assert_eq!(wake_at(&state, &seen), Some(at(over)));
        let found = outcome(&state, &seen, at(over));
        assert_eq!(found, (rejected(Reason::ScriptNotFound, MISSING), vec![]));
    }

    #[test]
    fn a_config_map_that_comes_within_the_grace_is_inspected() {
        let found = outcome(&initializing(4), &empty_world(4), at(9));
        assert_eq!(found, (None, vec![Effect::CreateInitializer]));
    }

    #[test]
    fn a_config_map_deleted_while_it_is_inspected_does_no_harm() {
        let seen = Observed {
            script: Fact::Known(Err(MISSING.to_owned())),
            initializer: Fact::Known(Initializer::Running(None)),
            ..empty_world(4)
        };
        assert_eq!(outcome(&initializing(4), &seen, at(100)), (None, vec![]));
    }

    #[test]
    fn an_inspected_script_orders_all_runners_and_removes_the_initializer() {
        let seen = Observed {
            initializer: inspected(200),
            ..empty_world(4)
        };
        let (event, wanted) = outcome(&initializing(4), &seen, at(1));
        let Some(Event::ScriptInspected { plan }) = event else {
            panic!("{event:?}");
        };
        assert_eq!(
            (plan.parallelism, plan.max_vus, plan.thresholds),
            (4, Some(200), Some(1))
        );
        assert_eq!(plan.deadline_seconds, Some(90 + 120 + 300));
        assert_eq!(plan.warning, None);
        let runners = (1..=4).map(|runner| Effect::CreateRunner { runner, of: 4 });
        let all: Vec<Effect> = runners.chain([Effect::DeleteInitializer]).collect();
        assert_eq!(wanted, all);
    }

    #[test]
    fn users_that_cannot_be_shared_evenly_are_warned_of() {
        let seen = Observed {
            initializer: inspected(10),
            ..empty_world(4)
        };
        let event = classify(&initializing(4), &seen, at(1));
        let Some(Event::ScriptInspected { plan }) = event else {
            panic!("{event:?}");
        };
        let warning = "10 virtual users are not divisible by 4 runners: shares differ by one";
        assert_eq!(plan.warning.as_deref(), Some(warning));
    }

    #[test]
    fn more_runners_than_users_are_refused_with_the_number_to_set() {
        let seen = Observed {
            initializer: inspected(3),
            ..empty_world(4)
        };
        let message = "spec.parallelism is 4, but the script has at most 3 virtual users: some runners would \
                       have none; set parallelism to 3 or less";
        let found = outcome(&initializing(4), &seen, at(1));
        let wanted = vec![Effect::DeleteInitializer];
        assert_eq!(found, (rejected(Reason::ParallelismTooHigh, message), wanted));
    }

    #[test]
    fn a_test_without_an_end_of_its_own_has_no_deadline() {
        let endless = k6_operator::machine::Inspection {
            total_seconds: 0,
            ..inspection(4)
        };
        let seen = Observed {
            initializer: Fact::Known(Initializer::Succeeded(Ok(endless))),
            ..empty_world(4)
        };
        let event = classify(&initializing(4), &seen, at(1));
        let Some(Event::ScriptInspected { plan }) = event else {
            panic!("{event:?}");
        };
        assert_eq!(plan.deadline_seconds, None);
    }

    #[test]
    fn a_refused_script_is_told_in_the_words_of_k6_and_its_initializer_is_kept() {
        let seen = Observed {
            initializer: Fact::Known(Initializer::Failed("ReferenceError: x is not defined".to_owned())),
            ..empty_world(4)
        };
        let found = outcome(&initializing(4), &seen, at(1));
        let event = rejected(Reason::ScriptError, "ReferenceError: x is not defined");
        assert_eq!(found, (event, vec![]));
    }

    #[test]
    fn an_output_that_cannot_be_read_is_told_with_what_the_image_needs() {
        let error = InspectionError("it is empty".to_owned());
        let seen = Observed {
            initializer: Fact::Known(Initializer::Succeeded(Err(error))),
            ..empty_world(4)
        };
        let message = "the output of k6 inspect could not be read: it is empty; the runner image must have a \
                       k6 that knows `inspect --execution-requirements`";
        let found = outcome(&initializing(4), &seen, at(1));
        assert_eq!(found, (rejected(Reason::ScriptError, message), vec![]));
    }

    #[test]
    fn an_initializer_that_hangs_ends_the_run_at_its_deadline_saying_what_it_waited_for() {
        let seen = Observed {
            initializer: Fact::Known(Initializer::Running(Some("ImagePullBackOff".to_owned()))),
            ..empty_world(4)
        };
        let state = initializing(4);
        assert_eq!(outcome(&state, &seen, at(299)), (None, vec![]));
        let waited = deadline("the initializer to inspect the script (ImagePullBackOff)");
        assert_eq!(outcome(&state, &seen, at(300)), (waited, vec![]));
    }
}

mod making_the_runners {
    use super::*;

    #[test]
    fn all_runners_ready_orders_the_start_of_exactly_these_pods() {
        let seen = Observed {
            runners: runners((1..=4).map(ready)),
            ..empty_world(4)
        };
        let pods = digest(4);
        let targets = (1..=4).map(target).collect();
        let found = outcome(&created(4), &seen, at(5));
        let event = Event::StartOrdered { runners: 4, pods };
        assert_eq!(found, (Some(event), vec![Effect::CreateStarter(targets)]));
    }

    #[test]
    fn another_pod_makes_another_digest() {
        let mut pods = [ready(1), ready(2)];
        let order = |pods: &[Runner]| {
            let seen = Observed {
                runners: runners(pods.to_vec()),
                ..empty_world(2)
            };
            classify(&created(2), &seen, at(5)).unwrap()
        };
        let first = order(&pods);
        pods[1].pod.as_mut().unwrap().uid = "another".to_owned();
        assert_ne!(order(&pods), first);
    }

    #[test]
    fn one_runner_that_is_not_ready_holds_all_and_is_named() {
        let seen = Observed {
            runners: runners([ready(1), ready(2), waiting(3, "ImagePullBackOff"), ready(4)]),
            ..empty_world(4)
        };
        assert_eq!(outcome(&created(4), &seen, at(5)), (None, vec![]));
        let waits = "all runners to be ready: 3 of 4 are, not runner 3 (ImagePullBackOff)";
        assert_eq!(waiting_for(&created(4), &seen).as_deref(), Some(waits));
    }

    #[test]
    fn a_runner_that_answers_but_has_no_address_is_waited_for() {
        let mut second = ready(2);
        second.pod.as_mut().unwrap().ip = None;
        let seen = Observed {
            runners: runners([ready(1), second]),
            ..empty_world(2)
        };
        assert_eq!(outcome(&created(2), &seen, at(5)), (None, vec![]));
    }

    #[test]
    fn a_runner_job_deleted_before_the_start_is_made_again() {
        let mut seen = empty_world(4);
        seen.runners = Fact::Known([1, 2, 4].map(|i| (i, ready(i))).into());
        let wanted = vec![Effect::CreateRunner { runner: 3, of: 4 }];
        assert_eq!(outcome(&created(4), &seen, at(5)), (None, wanted));
    }

    #[test]
    fn a_runner_with_a_number_that_is_not_of_this_run_does_not_count() {
        let mut seen = empty_world(2);
        seen.runners = Fact::Known([1, 3].map(|i| (i, ready(i))).into());
        let wanted = vec![Effect::CreateRunner { runner: 2, of: 2 }];
        assert_eq!(outcome(&created(2), &seen, at(5)), (None, wanted));
    }

    #[test]
    fn a_runner_that_ends_before_the_start_ends_the_run_and_those_that_wait() {
        let seen = Observed {
            runners: runners([ready(1), ended(2, 107), waiting(3, "ContainerCreating")]),
            ..empty_world(3)
        };
        let event = lost(2, Some(107), None, "ReferenceError: x is not defined");
        let wanted = [1, 3].map(|runner| Effect::DeleteRunner { runner }).to_vec();
        assert_eq!(outcome(&created(3), &seen, at(5)), (event, wanted));
    }

    #[test]
    fn start_deadline_ends_with_nobody_released_and_deletes_the_live_runner_jobs() {
        let seen = Observed {
            runners: runners([ready(1), waiting(2, "Unschedulable")]),
            ..empty_world(2)
        };
        assert_eq!(outcome(&created(2), &seen, at(300)), (None, vec![]));
        let waited = deadline("all runners to be ready: 1 of 2 are, not runner 2 (Unschedulable)");
        let wanted = [1, 2].map(|runner| Effect::DeleteRunner { runner }).to_vec();
        assert_eq!(outcome(&created(2), &seen, at(301)), (waited, wanted));
    }

    #[test]
    fn a_name_that_is_taken_ends_the_run_and_what_it_had_made() {
        let message = "Job k6-sample-2 is not this run's".to_owned();
        let seen = Observed {
            runners: runners([ready(1)]),
            refused: Some(Refusal::Foreign(message.clone())),
            ..empty_world(2)
        };
        let reason = Reason::NameConflict;
        let wanted = vec![Effect::DeleteRunner { runner: 1 }];
        let found = outcome(&created(2), &seen, at(5));
        assert_eq!(found, (Some(Event::ObjectRefused { reason, message }), wanted));
    }

    #[test]
    fn an_object_refused_for_good_ends_the_run_while_nobody_runs() {
        let message = "Job k6-sample-1 is invalid".to_owned();
        let seen = Observed {
            refused: Some(Refusal::Invalid(message.clone())),
            ..empty_world(2)
        };
        let reason = Reason::ObjectRefused;
        let found = outcome(&initializing(2), &seen, at(5));
        assert_eq!(found, (Some(Event::ObjectRefused { reason, message }), vec![]));
    }

    #[test]
    fn a_quota_is_waited_for_and_told_and_ends_the_run_only_at_the_deadline() {
        let seen = Observed {
            runners: runners([ready(1)]),
            refused: Some(Refusal::ForNow("exceeded quota: pods".to_owned())),
            ..empty_world(2)
        };
        let again = vec![Effect::CreateRunner { runner: 2, of: 2 }];
        assert_eq!(outcome(&created(2), &seen, at(5)), (None, again));
        let waits = "all runners to be ready: 1 of 2 are; exceeded quota: pods";
        let wanted = vec![Effect::DeleteRunner { runner: 1 }];
        assert_eq!(outcome(&created(2), &seen, at(301)), (deadline(waits), wanted));
    }
}

mod releasing_the_runners {
    use super::*;

    fn world(starter: Fact<Program>) -> Observed {
        Observed {
            runners: runners((1..=3).map(ready)),
            starter,
            ..empty_world(3)
        }
    }

    #[test]
    fn all_released_is_the_start_and_wants_nothing_more() {
        let confirmed = Event::StartConfirmed {
            runners: 3,
            spread_micros: 1500,
        };
        let found = outcome(&starting(3), &world(reported(3, 3)), at(5));
        assert_eq!(found, (Some(confirmed), vec![]));
    }

    #[test]
    fn a_starter_at_work_is_not_made_twice() {
        let seen = world(Fact::Known(Program::Running(None)));
        assert_eq!(outcome(&starting(3), &seen, at(5)), (None, vec![]));
    }

    #[test]
    fn a_starter_that_was_never_made_is_made_after_a_restart() {
        let wanted = vec![Effect::CreateStarter((1..=3).map(target).collect())];
        assert_eq!(outcome(&starting(3), &world(Fact::Absent), at(5)), (None, wanted));
    }

    #[test]
    fn a_partial_start_stops_those_that_were_released() {
        let failures = vec![Failure {
            runner: 2,
            message: "connection refused".to_owned(),
        }];
        let report = Report {
            total: 3,
            confirmed: 2,
            spread_micros: 0,
            failures,
        };
        let mut seen = world(Fact::Known(Program::Reported(report)));
        seen.runners = runners([ready(1), ended(2, 137), ready(3)]);
        let event = start_failed(
            Some(2),
            "2 of 3 runners were released: runner 2: connection refused",
        );
        let wanted = vec![Effect::CreateStopper(vec![target(1), target(3)])];
        assert_eq!(outcome(&starting(3), &seen, at(5)), (event, wanted));
    }

    #[test]
    fn a_start_that_released_nobody_ends_the_run_and_deletes_all() {
        let event = start_failed(Some(0), "0 of 3 runners were released");
        let wanted = [1, 2, 3].map(|runner| Effect::DeleteRunner { runner }).to_vec();
        assert_eq!(
            outcome(&starting(3), &world(reported(0, 3)), at(5)),
            (event, wanted)
        );
    }

    #[test]
    fn a_starter_that_was_given_fewer_runners_has_not_started_the_test() {
        let event = start_failed(Some(2), "2 of 3 runners were released");
        let wanted = vec![Effect::CreateStopper((1..=3).map(target).collect())];
        assert_eq!(
            outcome(&starting(3), &world(reported(2, 2)), at(5)),
            (event, wanted)
        );
    }

    #[test]
    fn a_starter_without_a_report_stops_all_for_anyone_may_run() {
        let seen = world(Fact::Known(Program::Failed("Evicted".to_owned())));
        let event = start_failed(None, "The starter ended without a report: Evicted");
        let wanted = vec![Effect::CreateStopper((1..=3).map(target).collect())];
        assert_eq!(outcome(&starting(3), &seen, at(5)), (event, wanted));
    }

    #[test]
    fn a_pod_replaced_after_the_order_is_never_released() {
        let mut seen = world(Fact::Absent);
        let mut second = ready(2);
        second.pod.as_mut().unwrap().uid = "another".to_owned();
        seen.runners = runners([ready(1), second, ready(3)]);
        assert_eq!(effects(&starting(3), &seen, at(5)), vec![]);
        let message = "The runner pods are not those that the order to start names: at least one was deleted \
                       or replaced";
        let wanted = vec![Effect::CreateStopper((1..=3).map(target).collect())];
        assert_eq!(
            outcome(&starting(3), &seen, at(5)),
            (start_failed(None, message), wanted)
        );
    }

    #[test]
    fn a_runner_that_ends_between_the_order_and_its_release_fails_the_start() {
        let mut seen = world(Fact::Absent);
        seen.runners = runners([ready(1), ready(2), ended(3, 137)]);
        assert_eq!(effects(&starting(3), &seen, at(5)), vec![]);
        let message = "Before it was released, runner 3 (exit code 137, OOMKilled): the container was killed";
        let wanted = vec![Effect::CreateStopper(vec![target(1), target(2)])];
        assert_eq!(
            outcome(&starting(3), &seen, at(5)),
            (start_failed(None, message), wanted)
        );
    }

    #[test]
    fn a_starter_that_hangs_past_the_deadline_stops_all() {
        let seen = world(Fact::Known(Program::Running(Some("ImagePullBackOff".to_owned()))));
        let event = deadline("the starter to release the runners (ImagePullBackOff)");
        let wanted = vec![Effect::CreateStopper((1..=3).map(target).collect())];
        assert_eq!(outcome(&starting(3), &seen, at(302)), (event, wanted));
    }
}

mod running_the_test {
    use super::*;

    fn world(all: impl IntoIterator<Item = Runner>) -> Observed {
        Observed {
            runners: runners(all),
            starter: reported(3, 3),
            ..empty_world(3)
        }
    }

    #[test]
    fn runners_at_work_are_left_alone() {
        let seen = world((1..=3).map(ready));
        assert_eq!(outcome(&started(3), &seen, at(60)), (None, vec![]));
        let waits = "the runners to end: 0 of 3 have";
        assert_eq!(waiting_for(&started(3), &seen).as_deref(), Some(waits));
    }

    #[test]
    fn a_runner_that_passes_early_is_no_loss() {
        let seen = world([ended(1, 0), ready(2), ended(3, 99)]);
        assert_eq!(outcome(&started(3), &seen, at(60)), (None, vec![]));
    }

    #[test]
    fn a_runner_lost_while_others_run_is_told_once_and_the_others_go_on() {
        let seen = world([ready(1), ended(2, 137), ended(3, 107)]);
        let event = lost(2, Some(137), Some("OOMKilled"), "the container was killed");
        assert_eq!(outcome(&started(3), &seen, at(60)), (event.clone(), vec![]));
        let Step::Next(state) = step(&started(3), &record(60, event.unwrap())) else {
            panic!("not told");
        };
        assert_eq!(outcome(&state, &seen, at(61)), (None, vec![]));
    }

    #[test]
    fn a_runner_job_deleted_after_the_start_is_reported_never_recreated() {
        let mut seen = world([]);
        seen.runners = Fact::Known([1, 3].map(|i| (i, ready(i))).into());
        let event = lost(2, None, None, "its Job was deleted during the test");
        assert_eq!(outcome(&started(3), &seen, at(60)), (event, vec![]));
    }

    #[test]
    fn runner_jobs_that_are_all_deleted_end_the_run_in_an_error() {
        for gone in [Fact::Known([].into()), Fact::Absent] {
            let seen = Observed {
                runners: gone,
                ..world([])
            };
            let (event, wanted) = outcome(&started(3), &seen, at(60));
            let Some(Event::RunnersEnded { tally }) = event else {
                panic!("{event:?}");
            };
            assert_eq!((tally.failed, tally.failures.len(), wanted), (3, 3, vec![]));
        }
    }

    #[test]
    fn the_last_runner_to_end_ends_the_run_with_all_counted() {
        let seen = world([ended(1, 0), ended(2, 99), ended(3, 108)]);
        let (event, wanted) = outcome(&started(3), &seen, at(60));
        let Some(Event::RunnersEnded { tally }) = event else {
            panic!("{event:?}");
        };
        assert_eq!(
            (tally.passed, tally.crossed, tally.aborted, tally.failed),
            (1, 1, 1, 0)
        );
        let named: Vec<u32> = tally.failures.iter().map(|failure| failure.runner).collect();
        assert_eq!((named, wanted), (vec![2, 3], vec![]));
    }

    #[test]
    fn a_test_that_does_not_end_in_its_time_is_stopped() {
        let seen = world([ended(1, 0), ready(2), ready(3)]);
        let end = 3 + 90 + 120 + 300;
        assert_eq!(wake_at(&started(3), &seen), Some(at(end)));
        assert_eq!(outcome(&started(3), &seen, at(end - 1)), (None, vec![]));
        let event = deadline("the runners to end: 1 of 3 have");
        let wanted = vec![Effect::CreateStopper(vec![target(2), target(3)])];
        assert_eq!(outcome(&started(3), &seen, at(end)), (event, wanted));
    }
}

mod stopping_and_after {
    use super::*;

    fn world(all: impl IntoIterator<Item = Runner>, stopper: Fact<Program>) -> Observed {
        Observed {
            runners: runners(all),
            stopper,
            ..empty_world(2)
        }
    }

    #[test]
    fn a_run_whose_runners_have_all_ended_is_stopped() {
        let seen = world([ended(1, 103), ended(2, 105)], Fact::Absent);
        let stopped = Some(Event::RunnersStopped { forced: 0 });
        assert_eq!(outcome(&stopping(2), &seen, at(10)), (stopped, vec![]));
    }

    #[test]
    fn a_run_without_runners_is_stopped() {
        let mut seen = world([], Fact::Absent);
        seen.runners = Fact::Absent;
        let stopped = Some(Event::RunnersStopped { forced: 0 });
        assert_eq!(outcome(&stopping(2), &seen, at(10)), (stopped, vec![]));
    }

    #[test]
    fn a_stopper_at_work_is_not_made_twice() {
        let seen = world([ready(1), ready(2)], Fact::Known(Program::Running(None)));
        assert_eq!(outcome(&stopping(2), &seen, at(10)), (None, vec![]));
    }

    #[test]
    fn runners_without_an_address_are_left_to_the_end_of_the_grace() {
        let seen = world([waiting(1, "Pending")], Fact::Absent);
        assert_eq!(outcome(&stopping(2), &seen, at(10)), (None, vec![]));
    }

    #[test]
    fn runners_that_do_not_stop_in_the_grace_are_deleted_and_counted() {
        let seen = world([ended(1, 103), ready(2)], reported(1, 2));
        let over = 4 + STOP_GRACE.as_secs();
        assert_eq!(outcome(&stopping(2), &seen, at(over - 1)), (None, vec![]));
        let stopped = Some(Event::RunnersStopped { forced: 1 });
        let wanted = vec![Effect::DeleteRunner { runner: 2 }];
        assert_eq!(outcome(&stopping(2), &seen, at(over)), (stopped, wanted));
    }

    #[test]
    fn runners_are_deleted_at_once_when_the_stopper_could_not_do_its_work() {
        let failed = Program::Failed("exit code 128 (StartError)".to_owned());
        let seen = world([ready(1), ended(2, 103)], Fact::Known(failed));
        let stopped = Some(Event::RunnersStopped { forced: 1 });
        let wanted = vec![Effect::DeleteRunner { runner: 1 }];
        assert_eq!(outcome(&stopping(2), &seen, at(5)), (stopped, wanted));
    }

    #[test]
    fn runners_that_cannot_be_seen_are_not_said_to_have_stopped() {
        let mut seen = world([], Fact::Unknown);
        seen.runners = Fact::Unknown;
        assert_eq!(outcome(&stopping(2), &seen, at(10_000)), (None, vec![]));
    }

    #[test]
    fn a_finished_run_deletes_the_runner_that_a_crash_left_alive() {
        let Step::Next(state) = step(&stopping(2), &record(64, Event::RunnersStopped { forced: 1 })) else {
            panic!("not stopped");
        };
        let seen = world([ended(1, 103), ready(2)], reported(1, 2));
        let wanted = vec![Effect::DeleteRunner { runner: 2 }];
        assert_eq!(outcome(&state, &seen, at(100)), (None, wanted));
        assert_eq!(wake_at(&state, &seen), None);
    }
}

mod whatever_the_state {
    use super::*;

    fn all_states() -> [State; 6] {
        [
            State::default(),
            initializing(2),
            created(2),
            starting(2),
            started(2),
            stopping(2),
        ]
    }

    #[test]
    fn unknown_facts_decide_nothing() {
        for state in all_states().into_iter().skip(1) {
            let seen = Observed::unknown(1, Ok(terms(2)));
            assert_eq!(outcome(&state, &seen, at(5)), (None, vec![]), "{state:?}");
        }
    }

    #[test]
    fn a_deleting_resource_makes_nothing() {
        for state in all_states() {
            let seen = Observed {
                deleting: true,
                ..empty_world(2)
            };
            assert_eq!(outcome(&state, &seen, at(10_000)), (None, vec![]), "{state:?}");
        }
    }

    #[test]
    fn a_pod_that_a_crashed_operator_left_is_taken_up_where_it_was() {
        let mut first = ready(1);
        first.pod = Some(PodSeen {
            ready: false,
            ..first.pod.unwrap()
        });
        let seen = Observed {
            runners: runners([first]),
            ..empty_world(2)
        };
        let wanted = vec![Effect::CreateRunner { runner: 2, of: 2 }];
        assert_eq!(outcome(&created(2), &seen, at(5)), (None, wanted));
    }
}
