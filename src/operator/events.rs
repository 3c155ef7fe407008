//! Tells transitions as Kubernetes Events and as one line each in the log.

use super::reconcile::{Context, bounded};
use crate::api::LoadTest;
use crate::machine::{Event, PodRefusal, Record, Run, RunResult, State, Verdict};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::{Resource, ResourceExt};
use kube_runtime::events::{Event as Announcement, EventType};

/// The longest note that Kubernetes takes, in bytes:
/// <https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/event-v1/>
const NOTE_LIMIT: usize = 1024;

/// Tells the step from one run to the next.
#[tracing::instrument(skip_all)]
pub async fn publish_transition(
    context: &Context,
    resource: &LoadTest,
    before: &Run,
    record: &Record,
    after: &Run,
) {
    let (from, to) = (before.state.name(), after.state.name());
    let name = resource.name_any();
    let namespace = resource.namespace().unwrap_or_default();
    let said = describe(record, after);
    tracing::info!(
        run = format!("{namespace}/{name}"),
        from = from.as_str(),
        to = to.as_str(),
        event = record.event.name(),
        "{}",
        said.as_ref().map_or(
            "all runners are ready; their order to start is recorded",
            |(_, _, note)| note.as_str()
        )
    );
    if from != to {
        context.metrics.transition(from.as_str(), to.as_str());
    }
    let ignored = if let Event::Accepted { terms, .. } = &record.event {
        terms.unsupported.clone()
    } else {
        None
    };
    let ignored = ignored.map(|note| (EventType::Warning, "Unsupported", note));
    let unkept = if let Event::ResultCollected { unkept, .. } = &record.event {
        unkept.as_ref()
    } else {
        None
    };
    let unkept = unkept.map(|why| {
        let note =
            format!("The ConfigMap with the summary of this run could not be made, and is given up: {why}");
        (EventType::Warning, "SummaryNotKept", note)
    });
    let reference = resource.object_ref(&resource.kind);
    for (type_, reason, note) in said.into_iter().chain(ignored).chain(unkept) {
        publish(context, &reference, type_, reason, &note, record.event.name()).await;
    }
}

/// Tells that a resource can't be read, which its status can't say.
pub async fn publish_unreadable(context: &Context, reference: &ObjectReference, error: &str) {
    let note = format!("This resource can't be read, and is left as it is: {error}");
    publish(
        context,
        reference,
        EventType::Warning,
        "Unreadable",
        &note,
        "Read",
    )
    .await;
}

/// Tells that nothing is done of a resource that has a status of another operator.
pub async fn publish_foreign(context: &Context, resource: &LoadTest) {
    let reference = resource.object_ref(&resource.kind);
    let note = "Nothing is done: the status of this resource is that of another operator, which may have run it. To \
                run it here, delete it and apply it again";
    tracing::warn!(
        run = format!(
            "{}/{}",
            resource.namespace().unwrap_or_default(),
            resource.name_any()
        ),
        "{note}"
    );
    publish(
        context,
        &reference,
        EventType::Warning,
        "ForeignStatus",
        note,
        "Read",
    )
    .await;
}

/// Tells which documents of a run there is no room for.
pub async fn publish_left_out(context: &Context, resource: &LoadTest, left_out: &[String]) {
    let note = format!(
        "The ConfigMap with the summary of this run has no room for all of it; left out: {}",
        left_out.join(", ")
    );
    let run = format!(
        "{}/{}",
        resource.namespace().unwrap_or_default(),
        resource.name_any()
    );
    tracing::warn!(run, "{note}");
    let reference = resource.object_ref(&resource.kind);
    publish(
        context,
        &reference,
        EventType::Warning,
        "SummaryCut",
        &note,
        "KeepSummary",
    )
    .await;
}

/// Tells that the status of a run can't be written, which its status can't say.
pub async fn publish_unwritten(context: &Context, resource: &LoadTest, why: &str) {
    let note = format!(
        "The status can't be written, and nothing new is begun until it can: {why}. If the resource is too large, remove \
         annotations, or delete it and apply it with the script in a ConfigMap or a volume; if it is denied, see which \
         policy denies updates of k6.io resources"
    );
    let run = format!(
        "{}/{}",
        resource.namespace().unwrap_or_default(),
        resource.name_any()
    );
    tracing::warn!(run, "{note}");
    let reference = resource.object_ref(&resource.kind);
    publish(
        context,
        &reference,
        EventType::Warning,
        "StatusNotWritten",
        &note,
        "WriteStatus",
    )
    .await;
}

/// Tells that Kubernetes refuses a pod of this run, while that is tried again.
pub async fn publish_refused_pod(context: &Context, resource: &LoadTest, refusal: &PodRefusal) {
    let note = format!("Waiting: {}", refusal.clause());
    let run = format!(
        "{}/{}",
        resource.namespace().unwrap_or_default(),
        resource.name_any()
    );
    tracing::warn!(run, "{note}");
    let reference = resource.object_ref(&resource.kind);
    publish(
        context,
        &reference,
        EventType::Warning,
        "PodRefused",
        &note,
        "CreatePod",
    )
    .await;
}

async fn publish(
    context: &Context,
    reference: &ObjectReference,
    type_: EventType,
    reason: &str,
    note: &str,
    action: &str,
) {
    let announcement = Announcement {
        type_,
        reason: reason.to_owned(),
        note: Some(note.chars().take(NOTE_LIMIT / 4).collect()),
        action: action.to_owned(),
        secondary: None,
    };
    let published = context.recorder.publish(&announcement, reference);
    if let Err(error) = bounded(published).await {
        tracing::warn!(%error, "an Event could not be published");
    }
}

fn spread(micros: u64) -> String {
    if micros < 1000 {
        format!("{micros} µs")
    } else {
        format!("{:.1} ms", micros as f64 / 1e3)
    }
}

/// What is told of an event, after which the run is this one.
pub fn told(record: &Record, after: &Run) -> Option<String> {
    describe(record, after).map(|(_, _, note)| note)
}

/// The ordering of the start is told together with its confirmation.
fn describe(record: &Record, after: &Run) -> Option<(EventType, &'static str, String)> {
    let normal = |reason, note: String| Some((EventType::Normal, reason, note));
    let ended = match &after.state {
        State::Finished(end) => Some((&end.verdict, format!("{}: ", end.verdict.result.as_str()))),
        State::Stopping(state) if state.stopped.is_none() => {
            Some((&state.why, "Stopping the runners: ".to_owned()))
        }
        State::Initializing(_)
        | State::Created(_)
        | State::Starting(_)
        | State::Started(_)
        | State::Stopping(_) => None,
    };
    if let Some((
        Verdict {
            result,
            reason,
            message,
        },
        prefix,
    )) = ended
    {
        let type_ = if *result == RunResult::Passed {
            EventType::Normal
        } else {
            EventType::Warning
        };
        return Some((type_, reason.as_str(), format!("{prefix}{message}")));
    }
    match &record.event {
        Event::Accepted { terms, .. } if terms.suspended => normal(
            "Suspended",
            "The run is held before its runners are made: set spec.suspend to false to go on".to_owned(),
        ),
        Event::Accepted { terms, .. } => normal(
            "Initializing",
            if terms.uninspected {
                format!(
                    "Making {} runners without inspecting the script",
                    terms.parallelism
                )
            } else {
                format!("k6 inspects the script for {} runners", terms.parallelism)
            },
        ),
        Event::RerunOrdered { attempt, former } => normal(
            "Rerun",
            format!(
                "Run {attempt} of this resource; the one before it ended {}: {}",
                former.result.as_str(),
                former.message
            ),
        ),
        Event::InspectionSkipped { plan } => normal(
            "Created",
            format!(
                "{} runners are made; what the script needs is not known",
                plan.parallelism
            ),
        ),
        Event::RunnersStarted { runners } => normal(
            "Started",
            format!("All {runners} runners run; none waited for the others, as spec.paused is false"),
        ),
        Event::ScriptInspected { plan } => {
            let apart = plan
                .not_aggregated
                .as_deref()
                .map(|why| format!("the metrics of the runners are not merged: {why}"));
            let more = plan.warning.iter().cloned().chain(apart);
            let warning: String = more.map(|more| format!("; {more}")).collect();
            normal(
                "Created",
                format!(
                    "{} virtual users for at most {} on {} runners{warning}",
                    plan.max_vus.unwrap_or_default(),
                    plan.total_duration.as_deref().unwrap_or("?"),
                    plan.parallelism
                ),
            )
        }
        Event::StartConfirmed {
            runners,
            spread_micros,
        } => normal(
            "Started",
            format!(
                "All {runners} runners were ready and were released within {}",
                spread(*spread_micros)
            ),
        ),
        Event::RunnerLost { failure } => Some((
            EventType::Warning,
            "RunnerFailed",
            format!("The others go on without {}", failure.clause()),
        )),
        Event::RunnersEnded { tally: _ } => normal(
            "RunnersEnded",
            "All runners have ended; their merged result is collected".to_owned(),
        ),
        Event::RunnersStopped { forced } => normal(
            "RunnersStopped",
            match forced {
                0 => "All runners have ended; their merged result is collected".to_owned(),
                forced => format!(
                    "All runners have ended, {forced} of them were deleted; the merged result is collected"
                ),
            },
        ),
        Event::SpecRejected { .. }
        | Event::ScriptRejected { .. }
        | Event::ObjectRefused { .. }
        | Event::StartOrdered { .. }
        | Event::StartFailed { .. }
        | Event::StopOrdered {}
        | Event::AggregatorLost { .. }
        | Event::ResultCollected { .. }
        | Event::CollectionFailed { .. }
        | Event::DeadlinePassed { .. } => None,
    }
}
