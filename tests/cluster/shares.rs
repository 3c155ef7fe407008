//! Shares of the cluster: how many tests work at once, and which of them begin first.
//!
//! The test harness starts all tests together, so that the order is decided here: the slow ones first, the others as
//! they come, and those that need the whole cluster at the end, one after the other.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Mutex;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Tests that hold their share for more than 40 s, the longest first: `tests/cluster/e2e` prints what each one took.
/// A name that is missing here, or is no longer a test's, costs time and nothing else.
const SLOW: [&str; 24] = [
    "pods::sidecar_that_goes_on_keeps_no_run_from_its_end",
    "field::log_that_goes_elsewhere_costs_neither_the_result_nor_the_message",
    "deadlines::a_starter_that_cannot_work_ends_the_run_and_its_runners",
    "torture::a_resource_or_its_namespace_that_is_deleted_leaves_nothing_in_any_state",
    "field::variables_of_opentelemetry_change_no_result",
    "torture::a_starter_that_is_killed_half_way_is_told_and_its_runners_end",
    "lifecycle::a_rerun_has_names_of_its_own_and_keeps_a_line_of_the_run_before",
    "field::requests_per_second_are_those_of_all_runners_together",
    "field::failed_test_is_seen_by_tools_that_read_exit_codes_or_jobs",
    "field::runner_log_holds_the_json_that_its_users_parse",
    "torture::a_config_map_that_is_deleted_keeps_runners_from_starting_and_running_ones_do_not_need_it",
    "torture::a_quota_that_is_filled_is_told_and_the_run_goes_on_when_it_is_raised",
    "telling::a_run_costs_few_writes_and_a_finished_one_none",
    "aggregation::a_script_with_thresholds_whose_aggregator_is_taken_away_never_passes",
    "sources::a_script_in_a_volume_is_found_by_a_relative_and_by_an_absolute_file",
    "torture::a_runner_pod_that_is_deleted_is_told_and_none_is_released_without_it",
    "lifecycle::a_finished_resource_is_deleted_when_its_spec_says_so",
    "pods::a_starter_image_without_our_program_starts_and_stops_the_test",
    "lifecycle::a_stopped_run_is_aborted_and_its_pods_keep_k6s_summary",
    "lifecycle::several_tests_at_once_each_run_their_own_script",
    "sources::an_archive_of_k6_in_a_config_map_runs",
    "torture::a_runner_job_that_is_deleted_is_made_again_before_the_order_to_start_and_never_after",
    "refusals::a_config_map_that_comes_seconds_later_is_waited_for",
    "torture::a_starter_that_is_deleted_releases_nothing_twice",
];

/// How many tests run beside each other, at most: two for each core. More would not be done sooner, and each would
/// take longer, so that on a slow machine the deadlines which some are about would pass before their pods are there.
fn at_once() -> u32 {
    let set = std::env::var("K6OP_AT_ONCE").ok();
    let of_cores =
        || std::thread::available_parallelism().map_or(2, |cores| cores.get().try_into().unwrap_or(2));
    set.map_or_else(
        || 2 * of_cores(),
        |number| number.parse().expect("K6OP_AT_ONCE is a number"),
    )
}

static QUEUE: Mutex<Queue> = Mutex::new(Queue {
    held: 0,
    arrived: 0,
    waiting: BTreeMap::new(),
});

struct Queue {
    held: u32,
    /// How many claims there have been.
    arrived: u64,
    waiting: BTreeMap<Place, oneshot::Sender<Share>>,
}

/// Smaller places come first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    alone: bool,
    /// Where it stands in `SLOW`, or behind all of these.
    slow: usize,
    arrived: u64,
}

impl Queue {
    /// Gives shares to those that wait, as far as there are any.
    fn give(&mut self, at_once: u32) {
        while let Some(next) = self.waiting.first_entry() {
            let shares = if next.key().alone { at_once } else { 1 };
            if self.held + shares > at_once {
                return;
            }
            self.held += shares;
            // A test that has given up meanwhile drops its share, which needs the lock that is held here.
            if let Err(share) = next.remove().send(Share::of(shares)) {
                self.held -= shares;
                std::mem::forget(share);
            }
        }
    }
}

/// What a test holds while it works; given back when dropped.
#[derive(Debug)]
pub struct Share {
    shares: u32,
    since: Instant,
}

impl Share {
    fn of(shares: u32) -> Self {
        Self {
            shares,
            since: Instant::now(),
        }
    }

    /// Waits for a share, or for all of them.
    pub async fn claim(alone: bool) -> Self {
        let name = test_name();
        let slow = SLOW.iter().position(|test| *test == name).unwrap_or(SLOW.len());
        let (sender, granted) = oneshot::channel();
        locked(|queue| {
            queue.arrived += 1;
            let place = Place {
                alone,
                slow,
                arrived: queue.arrived,
            };
            queue.waiting.insert(place, sender);
            queue.give(at_once());
        });
        granted.await.expect("a place in the queue is kept")
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        note(&test_name(), self.since.elapsed());
        locked(|queue| {
            queue.held -= self.shares;
            queue.give(at_once());
        });
    }
}

fn locked<T>(action: impl FnOnce(&mut Queue) -> T) -> T {
    action(&mut QUEUE.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
}

fn test_name() -> String {
    std::thread::current().name().unwrap_or_default().to_owned()
}

/// Adds a line to the file `K6OP_TIMES`, of which `tests/cluster/e2e` makes a table.
fn note(test: &str, took: Duration) {
    let Some(path) = std::env::var_os("K6OP_TIMES") else {
        return;
    };
    let opened = std::fs::File::options().append(true).create(true).open(path);
    let written = opened.and_then(|mut file| writeln!(file, "{:.1}\t{test}", took.as_secs_f64()));
    if let Err(error) = written {
        eprintln!("K6OP_TIMES: {error}");
    }
}
