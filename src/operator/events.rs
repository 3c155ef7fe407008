//! Publishes transitions as Kubernetes Events and in the log, one line each.

use super::context::Context;
use super::describe::describe;
use crate::api::LoadTest;
use crate::machine::{Event, PodRefusal, Transition};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::{Resource, ResourceExt};
use kube_runtime::events::{Event as Announcement, EventType, Recorder};

/// The maximum length of a note in Kubernetes, in bytes:
/// <https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/event-v1/>
const NOTE_LIMIT: usize = 1024;

/// Publishes the transition from one state of a run to the next.
#[tracing::instrument(skip_all)]
pub async fn publish_transition(
    context: &Context,
    resource: &LoadTest,
    Transition {
        before,
        record,
        after,
    }: &Transition,
) {
    let (from, to) = (before.state.name(), after.state.name());
    let name = resource.name_any();
    let namespace = resource.namespace().unwrap_or_default();
    let described = describe(record, after);
    tracing::info!(
        run = format!("{namespace}/{name}"),
        from = from.as_str(),
        to = to.as_str(),
        event = record.event.name(),
        "{}",
        described.as_ref().map_or(
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
            format!("The ConfigMap with the summary of this run could not be created and will not be tried again: {why}");
        (EventType::Warning, "SummaryNotKept", note)
    });
    let reference = resource.object_ref(&resource.kind);
    for (type_, reason, note) in described.into_iter().chain(ignored).chain(unkept) {
        publish(context, &reference, type_, reason, &note, record.event.name()).await;
    }
}

/// Publishes that a resource can't be read, which its status can't say, unless that has just been published.
pub async fn publish_unreadable(context: &Context, reference: &ObjectReference, error: &str) {
    let note = format!("This resource can't be read, and is left as it is: {error}");
    publish_left_alone(context, reference, "Unreadable", note).await;
}

/// Publishes that a resource is ignored, because its status is another operator's, unless that has just been published.
pub async fn publish_foreign(context: &Context, resource: &LoadTest) {
    let note = "Nothing is done: the status of this resource is that of another operator, which may have run it. To \
                run it here, delete it and apply it again";
    let reference = resource.object_ref(&resource.kind);
    publish_left_alone(context, &reference, "ForeignStatus", note.to_owned()).await;
}

async fn publish_left_alone(context: &Context, reference: &ObjectReference, reason: &str, note: String) {
    let uid = reference.uid.as_deref().unwrap_or_default();
    let told = &context.memory.told;
    if !told.with(uid, |told| told.has(&note))
        && publish(context, reference, EventType::Warning, reason, &note, "Read").await
    {
        let (namespace, name) = (&reference.namespace, &reference.name);
        let (namespace, name) = (
            namespace.as_deref().unwrap_or_default(),
            name.as_deref().unwrap_or_default(),
        );
        tracing::warn!(run = format!("{namespace}/{name}"), "{note}");
        told.with(uid, |told| told.tell(note));
    }
}

/// Publishes the names of the documents of a run that its ConfigMap has no room for.
pub async fn publish_left_out(context: &Context, resource: &LoadTest, left_out: &[String]) {
    let note = format!(
        "The ConfigMap with the summary of this run has no room for all of it; left out: {}",
        left_out.join(", ")
    );
    warn(context, resource, "SummaryCut", &note, "KeepSummary").await;
}

/// Publishes that the status of a run can't be written, which its status can't say.
pub async fn publish_unwritten(context: &Context, resource: &LoadTest, why: &str) {
    let note = format!(
        "The status can't be written, and nothing new is begun until it can: {why}. If the resource is too large, remove \
         annotations, or delete it and apply it with the script in a ConfigMap or a volume; if it is denied, see which \
         policy denies updates of k6.io resources"
    );
    warn(context, resource, "StatusNotWritten", &note, "WriteStatus").await;
}

/// Publishes that Kubernetes refuses a pod of this run and that it will be tried again.
pub async fn publish_refused_pod(context: &Context, resource: &LoadTest, refusal: &PodRefusal) {
    let note = format!("Waiting: {}", refusal.clause());
    warn(context, resource, "PodRefused", &note, "CreatePod").await;
}

/// Publishes a warning, in the log too.
async fn warn(context: &Context, resource: &LoadTest, reason: &str, note: &str, action: &str) {
    let namespace = resource.namespace().unwrap_or_default();
    tracing::warn!(run = format!("{namespace}/{}", resource.name_any()), "{note}");
    let reference = resource.object_ref(&resource.kind);
    publish(context, &reference, EventType::Warning, reason, note, action).await;
}

/// Creates an Event, and returns whether it was created. Each has a recorder of its own: one that is kept remembers all
/// Events of six minutes, and counts an Event with the same reason as the former once more, with the former's note.
async fn publish(
    context: &Context,
    reference: &ObjectReference,
    type_: EventType,
    reason: &str,
    note: &str,
    action: &str,
) -> bool {
    let announcement = Announcement {
        type_,
        reason: reason.to_owned(),
        note: Some(note.chars().take(NOTE_LIMIT / 4).collect()),
        action: action.to_owned(),
        secondary: None,
    };
    let recorder = Recorder::new(context.client.clone(), context.reporter.clone());
    let published = recorder.publish(&announcement, reference).await;
    if let Err(error) = &published {
        tracing::warn!(%error, "an Event could not be published");
    }
    published.is_ok()
}
