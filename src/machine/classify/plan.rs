//! Turns k6's answer about the script into the plan of the run, or into the reason why the script does not fit the spec.

use crate::k6::export::opentelemetry_output;
use crate::machine::event::{Event, REASON_LIMIT, clipped};
use crate::machine::inspection::Inspection;
use crate::machine::state::{Aggregation, Plan, ProgramSource, Reason, STOP_GRACE};
use crate::machine::terms::{Metrics, Setup, Terms, Thresholds};
use jiff::SignedDuration;
use std::collections::{BTreeMap, BTreeSet};

/// How much longer than its teardown() a stop may take: the runners without teardown() end first, and then all export.
const TEARDOWN_GRACE: SignedDuration = SignedDuration::from_secs(30);

/// How long a test may take if its script was not inspected.
const UNKNOWN_RUN: SignedDuration = SignedDuration::from_hours(24);

/// Added to the longest time that k6 says a test can take: a runner under load ends slowly.
const RUN_GRACE: SignedDuration = SignedDuration::from_mins(5);

/// The most bytes that the tags of a script may have, names and values together.
const TAGS_LIMIT: usize = 2048;

/// The longest options of a script for an aggregator, in bytes: on Linux an argument of a program has at most 128 KiB.
const OPTIONS_LIMIT: usize = 100_000;

/// The most bytes of the names of a script's own metrics in the status. The type of a metric beyond this limit is not
/// known if it has no samples, and a threshold whose result depends on the type is not judged then.
const SCRIPT_METRICS_LIMIT: usize = 16 * 1024;

/// The plan of a run whose script is not inspected.
pub(super) fn without_inspection(terms: &Terms) -> Plan {
    Plan {
        parallelism: terms.parallelism,
        deadline_seconds: Some(seconds(terms.run_timeout.unwrap_or(UNKNOWN_RUN))),
        rps: terms.rps.filter(|rps| *rps > 0),
        not_aggregated: Some(match &terms.metrics {
            Metrics::PerRunner { why } => why.clone(),
            Metrics::Merge => {
                "the script's thresholds are not known, as spec.initializer.disabled asks".to_owned()
            }
        }),
        ..Plan::default()
    }
}

/// The whole seconds of a duration, as a plan has them.
fn seconds(duration: SignedDuration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}

/// The event that follows from k6's answer: the plan, or a script that does not fit the spec.
pub(super) fn inspected(terms: &Terms, inspection: &Inspection, program: ProgramSource) -> Event {
    let parallelism = terms.parallelism;
    let max_vus = inspection.max_vus;
    let too_high = |message: String| Event::ScriptRejected {
        reason: Reason::ParallelismTooHigh,
        message,
    };
    if max_vus > 0 && u64::from(parallelism) > max_vus {
        return too_high(format!(
            "spec.parallelism is {parallelism}, but the script has at most {max_vus} virtual \
             users: some runners would have none; set parallelism to {max_vus} or less"
        ));
    }
    let rps = terms.rps.or(inspection.rps).filter(|rps| *rps > 0);
    if let Some(rps) = rps.filter(|rps| *rps < u64::from(parallelism)) {
        return too_high(rps_too_low(rps, parallelism));
    }
    if let (Some(wrong), Thresholds::Judge) = (&inspection.threshold_error, terms.thresholds) {
        return Event::ScriptRejected {
            reason: Reason::ScriptError,
            message: wrong.clone(),
        };
    }
    Event::ScriptInspected {
        plan: Plan {
            program,
            ..plan(terms, inspection, rps)
        },
    }
}

fn plan(terms: &Terms, inspection: &Inspection, rps: Option<u64>) -> Plan {
    let (aggregation, not_aggregated) = match aggregation(terms, inspection) {
        Ok(how) => (Some(how), None),
        Err(why) => (None, Some(why)),
    };
    let (tags, left_out) = tags(&inspection.tags);
    let longest = inspection
        .longest
        .saturating_add(inspection.setup_timeout)
        .saturating_add(inspection.teardown_timeout)
        .saturating_add(RUN_GRACE);
    let of_script = u32::try_from(longest.as_secs()).ok();
    let of_script = of_script.filter(|_| inspection.longest.is_positive());
    let stop = inspection.teardown_timeout.saturating_add(TEARDOWN_GRACE);
    Plan {
        parallelism: terms.parallelism,
        max_vus: Some(inspection.max_vus),
        total_duration: Some(inspection.total_duration.clone()),
        thresholds: Some(match terms.thresholds {
            Thresholds::Judge => inspection.thresholds,
            Thresholds::Ignore => 0,
        }),
        deadline_seconds: terms.run_timeout.map(seconds).or(of_script),
        stop_seconds: (stop > STOP_GRACE).then(|| seconds(stop)),
        tags,
        rps,
        warning: warning(terms, inspection, &left_out),
        aggregation,
        not_aggregated,
        program: ProgramSource::default(),
    }
}

/// The warning of a plan, as one sentence. `left_out` has the names of tags that can't be given to k6.
fn warning(terms: &Terms, inspection: &Inspection, left_out: &str) -> Option<String> {
    let (parallelism, max_vus) = (terms.parallelism, inspection.max_vus);
    let uneven = max_vus % u64::from(parallelism.max(1)) != 0;
    let uneven = uneven.then(|| {
        format!("{max_vus} virtual users are not divisible by {parallelism} runners: shares differ by one")
    });
    let left_out = (!left_out.is_empty()).then(|| {
        format!("k6 can't be given these tags of the script's options, and does without: {left_out}")
    });
    let unlike = terms.unlike_runners.clone();
    let warnings: Vec<String> = uneven.into_iter().chain(left_out).chain(unlike).collect();
    (!warnings.is_empty()).then(|| warnings.join("; "))
}

/// The message for a limit of requests per second that leaves a runner less than 1. k6 takes only whole numbers, and 0 is
/// no limit.
pub(crate) fn rps_too_low(rps: u64, parallelism: u32) -> String {
    format!(
        "spec.parallelism is {parallelism}, but the test is limited to {rps} requests per second (rps): each runner needs \
         a share of at least 1; set parallelism to {rps} or less, or rps to {parallelism} or more"
    )
}

/// The tags that k6's command line gets, and the names of those that it can't get: k6 takes no tag without a value, and
/// the status has room for [`TAGS_LIMIT`] bytes.
fn tags(all: &BTreeMap<String, String>) -> (BTreeMap<String, String>, String) {
    let mut room = TAGS_LIMIT;
    let (given, left_out): (Vec<_>, Vec<_>) = all.iter().partition(|(name, value)| {
        let whole = !name.is_empty() && !value.is_empty() && !name.contains('=');
        let carried = whole && !name.contains('\0') && !value.contains('\0');
        let left = room.checked_sub(name.len() + value.len());
        room = left.filter(|_| carried).unwrap_or(room);
        carried && left.is_some()
    });
    let names: Vec<&str> = left_out.iter().map(|(name, _)| name.as_str()).collect();
    let given = given
        .into_iter()
        .map(|(name, value)| (name.clone(), value.clone()));
    (given.collect(), clipped(&names.join(", "), REASON_LIMIT))
}

/// The first of these names, as many as fit into `limit` bytes.
fn within(names: &BTreeSet<String>, limit: usize) -> Vec<String> {
    let mut room = limit;
    let fitting = names.iter().take_while(|name| {
        let rest = room.checked_sub(name.len() + 1);
        room = rest.unwrap_or_default();
        rest.is_some()
    });
    fitting.cloned().collect()
}

/// How the metrics of the runners are merged, or the reason why they are not.
fn aggregation(terms: &Terms, inspection: &Inspection) -> Result<Aggregation, String> {
    if let Metrics::PerRunner { why } = &terms.metrics {
        return Err(why.clone());
    }
    let version = inspection
        .version
        .ok_or("k6 did not tell its version, and it is not known whether it can export its metrics")?;
    let output = opentelemetry_output(version).ok_or_else(|| {
        format!("k6 {version} can't export its metrics by OpenTelemetry: 0.53 and newer can")
    })?;
    if inspection.options.len() > OPTIONS_LIMIT {
        return Err(format!(
            "the script's thresholds take more than {OPTIONS_LIMIT} bytes"
        ));
    }
    let once = terms.setup == Setup::Once && !inspection.left_out;
    let once = |timeout: SignedDuration| once.then(|| seconds(timeout));
    Ok(Aggregation {
        output: output.to_owned(),
        k6_version: version.to_string(),
        setup_seconds: once(inspection.setup_timeout),
        teardown_seconds: once(inspection.teardown_timeout),
        system_tags: inspection.system_tags.as_ref().map(|tags| tags.join(",")),
        // k6 would take tags of the script's options that it can't be given if its command line had none.
        without_own_tags: inspection.names_no_own_tag && tags(&inspection.tags).1.is_empty(),
        script_metrics: match terms.thresholds {
            Thresholds::Judge => within(&inspection.script_metrics, SCRIPT_METRICS_LIMIT),
            Thresholds::Ignore => Vec::new(),
        },
    })
}
