//! What k6 says the script needs, as the plan of a run, or why the run can't be.

use crate::k6::export::opentelemetry_output;
use crate::machine::event::{Event, REASON_LIMIT, clipped};
use crate::machine::inspection::Inspection;
use crate::machine::state::{Aggregation, Plan, Reason, STOP_GRACE_SECONDS, Terms};
use std::collections::{BTreeMap, BTreeSet};

/// How much longer than its teardown() a stop may take: the others of the test end first, and then all export.
const TEARDOWN_GRACE_SECONDS: u64 = 30;

/// How long a test may take whose script was not inspected: a day.
const UNKNOWN_RUN_SECONDS: u32 = 24 * 3600;

/// Added to what k6 says a test can take at most, for the slow end of a loaded runner.
const RUN_GRACE_SECONDS: u64 = 300;

/// The most bytes that the tags of a script may have, names and values together.
const TAGS_LIMIT: usize = 2048;

/// The longest options of a script that an aggregator can be given, in bytes: Linux gives a program no longer word
/// than 128 KiB.
const OPTIONS_LIMIT: usize = 100_000;

/// The most bytes of the names of a script's own metrics, which stand in the status. The type of one beyond it is not
/// known if it has no samples: a threshold that the type decides is not judged then.
const SCRIPT_METRICS_LIMIT: usize = 16 * 1024;

/// The plan of a script that k6 is not asked about.
pub(super) fn without_inspection(terms: &Terms) -> Plan {
    Plan {
        parallelism: terms.parallelism,
        max_vus: None,
        total_duration: None,
        thresholds: None,
        deadline_seconds: Some(terms.run_timeout_seconds.unwrap_or(UNKNOWN_RUN_SECONDS)),
        stop_seconds: None,
        tags: BTreeMap::new(),
        rps: terms.rps.filter(|rps| *rps > 0),
        warning: None,
        aggregation: None,
        not_aggregated: Some(terms.unaggregated.clone().unwrap_or_else(|| {
            "the script's thresholds are not known, as spec.initializer.disabled asks".to_owned()
        })),
    }
}

/// What follows from the inspection: the plan, or that the script does not fit the spec.
pub(super) fn inspected(terms: &Terms, inspection: &Inspection) -> Event {
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
    if let Some(wrong) = inspection.threshold_error.as_ref().filter(|_| !terms.unjudged) {
        return Event::ScriptRejected {
            reason: Reason::ScriptError,
            message: wrong.clone(),
        };
    }
    Event::ScriptInspected {
        plan: plan(terms, inspection, rps),
    }
}

fn plan(terms: &Terms, inspection: &Inspection, rps: Option<u64>) -> Plan {
    let (aggregation, not_aggregated) = match aggregation(terms, inspection) {
        Ok(how) => (Some(how), None),
        Err(why) => (None, Some(why)),
    };
    let (tags, left_out) = tags(&inspection.tags);
    let allowed = inspection
        .total_seconds
        .saturating_add(inspection.setup_seconds)
        .saturating_add(inspection.teardown_seconds);
    let stop_seconds = inspection.teardown_seconds.saturating_add(TEARDOWN_GRACE_SECONDS);
    let stop_seconds = u32::try_from(stop_seconds).unwrap_or(u32::MAX);
    let of_script = u32::try_from(allowed.saturating_add(RUN_GRACE_SECONDS)).ok();
    let of_script = of_script.filter(|_| inspection.total_seconds > 0);
    Plan {
        parallelism: terms.parallelism,
        max_vus: Some(inspection.max_vus),
        total_duration: Some(inspection.total_duration.clone()),
        thresholds: Some(if terms.unjudged { 0 } else { inspection.thresholds }),
        deadline_seconds: terms.run_timeout_seconds.or(of_script),
        stop_seconds: (stop_seconds > STOP_GRACE_SECONDS).then_some(stop_seconds),
        tags,
        rps,
        warning: warning(terms, inspection, &left_out),
        aggregation,
        not_aggregated,
    }
}

/// What the user should know of a plan; `left_out` are the names of tags that k6 can't be given.
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

/// k6 has only whole requests per second, and 0 is no limit.
pub(crate) fn rps_too_low(rps: u64, parallelism: u32) -> String {
    format!(
        "spec.parallelism is {parallelism}, but the test is limited to {rps} requests per second (rps): each runner needs \
         a share of at least 1; set parallelism to {rps} or less, or rps to {parallelism} or more"
    )
}

/// Those of the tags that stand on k6's command line, and the names of those that can't: k6 takes none without a
/// value, and all are kept in the status.
fn tags(all: &BTreeMap<String, String>) -> (BTreeMap<String, String>, String) {
    let mut room = TAGS_LIMIT;
    let (told, untold): (Vec<_>, Vec<_>) = all.iter().partition(|(name, value)| {
        let whole = !name.is_empty() && !value.is_empty() && !name.contains('=');
        let carried = whole && !name.contains('\0') && !value.contains('\0');
        let left = room.checked_sub(name.len() + value.len());
        room = left.filter(|_| carried).unwrap_or(room);
        carried && left.is_some()
    });
    let names: Vec<&str> = untold.iter().map(|(name, _)| name.as_str()).collect();
    let told = told
        .into_iter()
        .map(|(name, value)| (name.clone(), value.clone()));
    (told.collect(), clipped(&names.join(", "), REASON_LIMIT))
}

/// The first of these names that have no more bytes in all.
fn within(names: &BTreeSet<String>, limit: usize) -> Vec<String> {
    let mut room = limit;
    let fitting = names.iter().take_while(|name| {
        let rest = room.checked_sub(name.len() + 1);
        room = rest.unwrap_or_default();
        rest.is_some()
    });
    fitting.cloned().collect()
}

/// How the metrics of the runners are merged, or why they are not.
fn aggregation(terms: &Terms, inspection: &Inspection) -> Result<Aggregation, String> {
    if let Some(why) = &terms.unaggregated {
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
    let once = !terms.setup_per_runner && !inspection.left_out;
    let seconds = |seconds: u64| once.then(|| u32::try_from(seconds).unwrap_or(u32::MAX));
    Ok(Aggregation {
        output: output.to_owned(),
        k6_version: version.to_string(),
        setup_seconds: seconds(inspection.setup_seconds),
        teardown_seconds: seconds(inspection.teardown_seconds),
        system_tags: inspection.system_tags.as_ref().map(|tags| tags.join(",")),
        script_metrics: if terms.unjudged {
            Vec::new()
        } else {
            within(&inspection.script_metrics, SCRIPT_METRICS_LIMIT)
        },
    })
}
