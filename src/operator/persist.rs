//! The one place that writes status.

use super::controller::{Context, Error, bounded};
use crate::api::LoadTest;
use crate::machine::{Progress, Record, Run};
use kube::api::PostParams;
use kube::{Api, ResourceExt};

/// Writes the run into the status of the resource, if the resource is still the one that was read: a stale
/// cache or a second operator loses and looks again.
#[tracing::instrument(skip_all)]
pub async fn persist(
    context: &Context,
    resource: &LoadTest,
    run: &Run,
    history: Vec<Record>,
    progress: &Progress,
) -> Result<LoadTest, Error> {
    context.gate.check()?;
    let mut written = resource.clone();
    written.status = Some(run.status(history, progress));
    let api: Api<LoadTest> = Api::namespaced_with(
        context.client.clone(),
        &resource.namespace().unwrap_or_default(),
        &resource.kind,
    );
    let mut answer =
        bounded(api.replace_status(&resource.name_any(), &PostParams::default(), &written)).await?;
    answer.metadata.managed_fields = None;
    context
        .memory
        .wrote(&resource.uid().unwrap_or_default(), answer.clone());
    Ok(answer)
}
