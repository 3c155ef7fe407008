//! Model checking: every order of what can happen to a run, over the real `classify`, `step` and `effects`.
//!
//! Each configuration is explored breadth first up to a number of states, `MODEL_STATES`; without it to so few that
//! an unoptimised build takes a minute for all. `make model` goes on to the end of most.
//!
//! What is modelled, and how coarsely: a look with its write is one step, for the write is a compare-and-swap; what
//! follows is done one by one. Each operator sees the resource and its Jobs as they were at some time, each by
//! itself. The clock moves by more than any deadline. Not modelled: the live view of the status, inline scripts,
//! suspended runs, pods that outlive their Job, and clocks that differ.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../support/coverage.rs"]
mod coverage;
mod covered;
#[path = "../support/invariants.rs"]
mod invariants;
mod lease;
mod model;
mod monitor;
mod reconcile;
mod search;
#[path = "../support/faults.rs"]
mod table;
mod world;

use model::{Configuration, Runs};
use reconcile::Spec;
use search::{Counterexample, explore};
use world::{Budget, Role};

/// How many states of each configuration are explored if nothing else is asked for.
const STATES: usize = 20_000;

fn states() -> usize {
    let asked = std::env::var("MODEL_STATES").ok();
    asked.map_or(STATES, |states| states.parse().unwrap())
}

fn holds(configuration: Configuration) {
    let name = configuration.name;
    match explore(&Runs::new(configuration), states()) {
        Ok(explored) => println!("{name}: {explored}"),
        Err(counterexample) => panic!("{name}: {counterexample}"),
    }
}

fn breaks(configuration: Configuration) -> Counterexample {
    let name = configuration.name;
    match explore(&Runs::new(configuration), states().max(2_000_000)) {
        Ok(explored) => panic!("{name}: nothing is found in {explored}"),
        Err(counterexample) => {
            println!(
                "{name}: {} after {} states",
                counterexample.how, counterexample.states
            );
            counterexample
        }
    }
}

const NOTHING: Budget = Configuration::new("", 1).budget;

#[test]
fn a_run_that_is_stopped_at_any_time_ends() {
    holds(Configuration {
        wakes: true,
        budget: Budget {
            stop: true,
            ..NOTHING
        },
        ..Configuration::new("1 runner, 1 operator that is woken, stop", 1)
    });
}

#[test]
fn three_runners_start_all_or_none_whatever_a_lagging_operator_sees() {
    holds(Configuration {
        in_order: true,
        budget: Budget {
            stop: true,
            ..NOTHING
        },
        ..Configuration::new("3 runners, 1 operator, stop", 3)
    });
}

#[test]
fn an_operator_that_crashes_twice_starts_no_run_twice() {
    holds(Configuration {
        budget: Budget {
            crashes: 2,
            stop: true,
            ..NOTHING
        },
        ..Configuration::new("2 runners, 1 operator, 2 crashes, stop", 2)
    });
}

#[test]
fn answers_that_are_lost_start_no_run_twice() {
    holds(Configuration {
        budget: Budget {
            lost: 2,
            crashes: 1,
            ..NOTHING
        },
        ..Configuration::new("2 runners, 1 operator, 2 lost answers, 1 crash", 2)
    });
}

#[test]
fn a_cache_that_lags_for_long_ends_no_run() {
    holds(Configuration {
        wakes: true,
        budget: Budget {
            lags: 1,
            touches: 1,
            ..NOTHING
        },
        ..Configuration::new("2 runners, 1 operator that is woken, a long lag", 2)
    });
}

#[test]
fn objects_that_are_refused_for_now_delay_a_run_and_no_more() {
    holds(Configuration {
        wakes: true,
        budget: Budget {
            refusals: 2,
            ..NOTHING
        },
        ..Configuration::new("2 runners, 1 operator that is woken, 2 refusals", 2)
    });
}

#[test]
fn pods_that_are_refused_are_told_and_end_a_run_at_once_or_at_its_deadline() {
    let refused = |name, runners| Configuration {
        lagging: false,
        wakes: true,
        in_order: true,
        budget: Budget {
            denials: 1,
            stop: true,
            crashes: 1,
            ..NOTHING
        },
        ..Configuration::new(name, runners)
    };
    holds(refused(
        "2 runners, 1 operator that sees all, 1 refused pod, 1 crash, stop",
        2,
    ));
    holds(merged(
        1,
        refused(
            "merged, 1 runner, 1 operator that sees all, 1 refused pod, 1 crash, stop",
            1,
        ),
    ));
    holds(Configuration {
        wakes: true,
        refuses: true,
        budget: Budget {
            denials: 1,
            edits: 1,
            ..NOTHING
        },
        ..Configuration::new("1 runner, 1 operator that is woken, 1 refused pod, 1 edit", 1)
    });
}

#[test]
fn a_foreign_object_ends_a_run_and_is_left_alone() {
    for role in [Role::Initializer, Role::Runner(2), Role::Starter, Role::Stopper] {
        holds(Configuration {
            wakes: true,
            foreign: Some(role),
            budget: Budget {
                stop: true,
                ..NOTHING
            },
            ..Configuration::new("2 runners, 1 operator that is woken, a foreign object, stop", 2)
        });
    }
}

#[test]
fn runners_and_starters_that_are_lost_are_told() {
    holds(Configuration {
        lagging: false,
        wakes: true,
        in_order: true,
        exits: &[0, 99],
        budget: Budget { harm: 2, ..NOTHING },
        ..Configuration::new("3 runners, 1 operator that sees all, 2 losses, exits 0 and 99", 3)
    });
}

#[test]
fn runners_that_are_lost_behind_a_lagging_cache_are_told() {
    holds(Configuration {
        exits: &[0, 99],
        budget: Budget {
            harm: 2,
            stop: true,
            ..NOTHING
        },
        ..Configuration::new("2 runners, 1 operator, 2 losses, exits 0 and 99, stop", 2)
    });
}

#[test]
fn runners_that_nobody_holds_end_in_time_too() {
    let configuration = Configuration {
        budget: Budget {
            stop: true,
            harm: 1,
            ..NOTHING
        },
        ..Configuration::new("2 runners that are not paused, 1 operator, 1 loss, stop", 2)
    };
    let spec = Spec {
        unpaused: true,
        ..configuration.spec
    };
    holds(Configuration {
        spec,
        ..configuration
    });
}

#[test]
fn sidecar_that_goes_on_keeps_no_run_from_its_end_and_goes_after_it() {
    let configuration = Configuration {
        lagging: false,
        wakes: true,
        in_order: true,
        exits: &[0, 99],
        budget: Budget {
            stop: true,
            harm: 1,
            ..NOTHING
        },
        ..Configuration::new(
            "2 runners with sidecars, 1 operator that sees all, 1 loss, exits 0 and 99, stop",
            2,
        )
    };
    let sidecar = |configuration: Configuration| Configuration {
        spec: Spec {
            sidecar: true,
            ..configuration.spec
        },
        ..configuration
    };
    holds(sidecar(configuration));
    holds(sidecar(merged(
        1,
        Configuration {
            wakes: true,
            ..Configuration::new("merged, 1 runner with a sidecar, 1 operator that is woken", 1)
        },
    )));
    holds(sidecar(Configuration {
        lagging: false,
        wakes: true,
        budget: Budget {
            rerun: true,
            ..NOTHING
        },
        ..Configuration::new("1 runner with a sidecar, 1 operator that sees all, rerun", 1)
    }));
}

#[test]
fn a_script_that_is_not_inspected_starts_as_well() {
    let configuration = Configuration {
        wakes: true,
        budget: Budget {
            stop: true,
            crashes: 1,
            ..NOTHING
        },
        ..Configuration::new(
            "2 runners, not inspected, 1 operator that is woken, 1 crash, stop",
            2,
        )
    };
    let spec = Spec {
        uninspected: true,
        ..configuration.spec
    };
    holds(Configuration {
        spec,
        ..configuration
    });
}

#[test]
fn an_edit_before_the_runners_are_made_is_inspected_anew() {
    holds(Configuration {
        wakes: true,
        refuses: true,
        budget: Budget {
            edits: 2,
            crashes: 1,
            ..NOTHING
        },
        ..Configuration::new(
            "1 runner, 1 operator that is woken, 2 edits, 1 crash, a script that may be refused",
            1,
        )
    });
}

#[test]
fn a_rerun_leaves_nothing_of_the_run_before_and_starts_once() {
    holds(Configuration {
        reused: true,
        budget: Budget {
            rerun: true,
            stop: true,
            ..NOTHING
        },
        ..Configuration::new("1 runner, 1 operator, rerun, addresses used again, stop", 1)
    });
}

#[test]
fn nothing_is_left_of_a_resource_that_is_deleted() {
    holds(Configuration {
        wakes: true,
        budget: Budget {
            delete: true,
            crashes: 1,
            ..NOTHING
        },
        ..Configuration::new("2 runners, 1 operator that is woken, 1 crash, deleted", 2)
    });
    let configuration = Configuration {
        wakes: true,
        budget: Budget {
            stop: true,
            ..NOTHING
        },
        ..Configuration::new("1 runner, 1 operator that is woken, cleanup, stop", 1)
    };
    let spec = Spec {
        cleanup: true,
        ..configuration.spec
    };
    holds(Configuration {
        spec,
        ..configuration
    });
}

#[test]
fn jobs_that_are_not_kept_are_deleted_and_the_run_stays_as_it_ended() {
    let configuration = Configuration {
        wakes: true,
        budget: Budget {
            stop: true,
            crashes: 1,
            ..NOTHING
        },
        ..Configuration::new(
            "1 runner, 1 operator that is woken, Jobs not kept, 1 crash, stop",
            1,
        )
    };
    let spec = Spec {
        brief: true,
        ..configuration.spec
    };
    holds(Configuration {
        spec,
        ..configuration
    });
}

#[test]
fn two_operators_start_no_run_twice() {
    holds(Configuration {
        operators: 2,
        ..Configuration::new("1 runner, 2 operators", 1)
    });
    holds(Configuration {
        operators: 2,
        lagging: false,
        in_order: true,
        budget: Budget {
            crashes: 1,
            ..NOTHING
        },
        ..Configuration::new("3 runners, 2 operators that see all, 1 crash", 3)
    });
}

#[test]
fn two_operators_stop_a_run_for_good() {
    holds(Configuration {
        operators: 2,
        lagging: false,
        in_order: true,
        budget: Budget {
            stop: true,
            ..NOTHING
        },
        ..Configuration::new("2 runners, 2 operators that see all, stop", 2)
    });
    holds(Configuration {
        operators: 2,
        budget: Budget {
            stop: true,
            ..NOTHING
        },
        ..Configuration::new("1 runner, 2 operators, stop", 1)
    });
}

/// The same, with the numbers of its runners merged, and so many thresholds judged over all.
fn merged(thresholds: u8, configuration: Configuration) -> Configuration {
    Configuration {
        spec: Spec {
            merged: Some(thresholds),
            ..configuration.spec
        },
        ..configuration
    }
}

#[test]
fn a_merged_run_that_crashes_and_is_stopped_at_any_time_ends_with_its_result() {
    holds(merged(
        1,
        Configuration {
            wakes: true,
            budget: Budget {
                crashes: 1,
                stop: true,
                ..NOTHING
            },
            ..Configuration::new("merged, 1 runner, 1 operator that is woken, 1 crash, stop", 1)
        },
    ));
}

#[test]
fn a_merged_run_ends_whatever_hangs_or_is_lost_of_what_merges() {
    let sees_all = |name, budget| Configuration {
        lagging: false,
        wakes: true,
        budget,
        ..Configuration::new(name, 1)
    };
    let stop = Budget {
        stop: true,
        ..NOTHING
    };
    let loss = Budget { harm: 1, ..NOTHING };
    holds(merged(
        1,
        sees_all("merged, 1 runner, 1 operator that sees all, stop", stop),
    ));
    holds(merged(
        1,
        sees_all("merged, 1 runner, 1 operator that sees all, 1 loss", loss),
    ));
    holds(merged(
        0,
        sees_all(
            "merged, no thresholds, 1 runner, 1 operator that sees all, 1 loss",
            loss,
        ),
    ));
}

#[test]
fn a_merged_run_whose_runners_crossed_a_threshold_or_not_is_judged_by_what_all_measured() {
    holds(merged(
        1,
        Configuration {
            exits: &[0, 99],
            in_order: true,
            ..Configuration::new("merged, 2 runners, 1 operator, exits 0 and 99", 2)
        },
    ));
}

#[test]
fn a_merged_run_of_which_something_is_lost_ends_and_passes_only_if_its_thresholds_are_judged() {
    holds(merged(
        1,
        Configuration {
            lagging: false,
            wakes: true,
            in_order: true,
            budget: Budget { harm: 2, ..NOTHING },
            ..Configuration::new("merged, 2 runners, 1 operator that sees all, 2 losses", 2)
        },
    ));
    holds(merged(
        1,
        Configuration {
            wakes: true,
            budget: Budget { harm: 1, ..NOTHING },
            ..Configuration::new("merged, 1 runner, 1 operator that is woken, 1 loss", 1)
        },
    ));
}

#[test]
fn a_merged_run_without_thresholds_passes_without_its_result_too() {
    holds(merged(
        0,
        Configuration {
            lagging: false,
            wakes: true,
            in_order: true,
            budget: Budget {
                harm: 1,
                stop: true,
                ..NOTHING
            },
            ..Configuration::new(
                "merged, no thresholds, 2 runners, 1 operator that sees all, 1 loss, stop",
                2,
            )
        },
    ));
}

#[test]
fn answers_that_are_lost_and_refusals_make_nothing_of_a_merged_run_twice() {
    holds(merged(
        1,
        Configuration {
            wakes: true,
            budget: Budget {
                lost: 1,
                refusals: 1,
                ..NOTHING
            },
            ..Configuration::new(
                "merged, 1 runner, 1 operator that is woken, 1 lost answer, 1 refusal",
                1,
            )
        },
    ));
}

#[test]
fn a_stranger_that_has_a_name_of_what_merges_ends_a_run_and_is_left_alone() {
    for role in [Role::Aggregator, Role::Service, Role::Summary] {
        holds(merged(
            1,
            Configuration {
                wakes: true,
                foreign: Some(role),
                budget: Budget {
                    stop: true,
                    ..NOTHING
                },
                ..Configuration::new(
                    "merged, 1 runner, 1 operator that is woken, a foreign object, stop",
                    1,
                )
            },
        ));
    }
}

#[test]
fn a_merged_run_that_nobody_holds_ends_in_time_too() {
    let configuration = merged(
        1,
        Configuration {
            lagging: false,
            wakes: true,
            in_order: true,
            budget: Budget {
                harm: 1,
                stop: true,
                ..NOTHING
            },
            ..Configuration::new(
                "merged, 2 runners that are not paused, 1 operator that sees all, 1 loss, stop",
                2,
            )
        },
    );
    holds(Configuration {
        spec: Spec {
            unpaused: true,
            ..configuration.spec
        },
        ..configuration
    });
}

#[test]
fn a_rerun_of_a_merged_run_leaves_nothing_of_the_run_before_and_has_its_own_result() {
    holds(merged(
        1,
        Configuration {
            lagging: false,
            wakes: true,
            budget: Budget {
                rerun: true,
                crashes: 1,
                ..NOTHING
            },
            ..Configuration::new("merged, 1 runner, 1 operator that sees all, 1 crash, rerun", 1)
        },
    ));
    holds(merged(
        1,
        Configuration {
            wakes: true,
            budget: Budget {
                rerun: true,
                ..NOTHING
            },
            ..Configuration::new("merged, 1 runner, 1 operator that is woken, rerun", 1)
        },
    ));
}

#[test]
fn two_operators_of_a_merged_run_start_it_once_and_bring_its_result() {
    let both = |name, runners, lagging, budget| {
        merged(
            1,
            Configuration {
                operators: 2,
                lagging,
                wakes: true,
                in_order: true,
                budget,
                ..Configuration::new(name, runners)
            },
        )
    };
    let stop = Budget {
        stop: true,
        ..NOTHING
    };
    let loss = Budget { harm: 1, ..NOTHING };
    holds(both("merged, 1 runner, 2 operators, stop", 1, true, stop));
    holds(both(
        "merged, 2 runners, 2 operators that see all, stop",
        2,
        false,
        stop,
    ));
    holds(both(
        "merged, 1 runner, 2 operators that see all, 1 loss",
        1,
        false,
        loss,
    ));
}

/// Without its guards the operator is wrong, and the model says so: this is what shows that it could.
#[test]
fn a_view_of_the_jobs_that_is_behind_the_resource_would_end_a_run_early() {
    let found = breaks(Configuration {
        operators: 2,
        confirms_absence: false,
        ..Configuration::new("1 runner, 2 operators, absence is not confirmed", 1)
    });
    assert!(found.how.starts_with("I1 "), "{found}");
}

#[test]
fn effects_without_a_write_would_be_those_of_an_older_view() {
    let found = breaks(Configuration {
        reads_before_effects: false,
        budget: Budget {
            lost: 1,
            harm: 1,
            ..NOTHING
        },
        ..Configuration::new(
            "1 runner, 1 operator, 1 lost answer, 1 loss, no read before effects",
            1,
        )
    });
    assert!(found.how.starts_with("I9 "), "{found}");
}
