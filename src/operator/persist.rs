//! The one place that writes status.

use super::events::publish_unwritten;
use super::execute::execute;
use super::observe::newest;
use super::reconcile::{Context, Error, bounded};
use crate::api::{LoadTest, Progress};
use crate::machine::{Observed, Record, Run, effects, effects_unwritten};
use crate::objects::ValidatedSpec;
use jiff::Timestamp;
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
    context.leadership.check()?;
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

/// How often in a row a status may be refused before a run that is to end is ended without it.
const TIMEOUT: u32 = 5;

/// A run at a look whose status is not written.
pub struct Unwritten<'a> {
    /// As its status has it.
    pub before: &'a Run,
    /// As it would have been.
    pub after: &'a Run,
    /// What was observed.
    pub seen: &'a Observed,
    /// The spec, if it can be carried out.
    pub validated: Option<&'a ValidatedSpec>,
    /// The moment of the look.
    pub now: Timestamp,
}

/// Why this status can't be written for as long as it, or the cluster, is as it is; none if the next try may well
/// succeed.
fn refusal(error: &Error) -> Option<&str> {
    let Error::Kube(kube::Error::Api(status)) = error else {
        return None;
    };
    let large = ["too large", "larger than max"];
    let is_large = large.iter().any(|words| status.message.contains(words));
    let is_refused = matches!(status.code, 400..=499) && !matches!(status.code, 401 | 404 | 408 | 409 | 429);
    (is_large || is_refused).then_some(status.message.as_str())
}

/// Tells of a status that is refused, in an Event, as the status itself can't. What the status says already is carried
/// out all the same; and if it would say that the run is to end, its runners are ended.
pub async fn unwritten(
    context: &Context,
    resource: &LoadTest,
    look: &Unwritten<'_>,
    error: &Error,
) -> Result<(), Error> {
    let Some(why) = refusal(error) else {
        return Ok(());
    };
    let uid = resource.uid().unwrap_or_default();
    let (told, times) = context.memory.unwritten(&uid, why);
    if !told {
        publish_unwritten(context, resource, why).await;
    }
    let Unwritten {
        before,
        after,
        seen,
        validated,
        now,
    } = look;
    let wanted = if before == after {
        effects(&before.state, seen, *now)
    } else if times >= TIMEOUT {
        effects_unwritten(&before.state, &after.state, seen)
    } else {
        Vec::new()
    };
    let is_newest = |newest: LoadTest| newest.resource_version() == resource.resource_version();
    if !wanted.is_empty() && newest(context, resource).await?.is_some_and(is_newest) {
        execute(context, resource, before, seen, *validated, wanted).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::refusal;
    use crate::operator::reconcile::Error;

    #[test]
    fn status_that_is_refused_is_told_from_one_that_is_overtaken_or_late() {
        let answer = |code: u16, message: &str| {
            let status = kube::core::Status::failure(message, "").with_code(code);
            Error::Kube(kube::Error::Api(status.boxed()))
        };
        for (code, message) in [
            (413, "Request entity too large: limit is 3145728"),
            (500, "etcdserver: request is too large"),
            (
                500,
                "rpc error: trying to send message larger than max (2097260 vs. 2097152)",
            ),
            (403, "admission webhook denied the request"),
            (422, "status.message: Too long"),
        ] {
            assert_eq!(refusal(&answer(code, message)), Some(message));
        }
        for code in [401, 404, 408, 409, 429, 500, 503, 504] {
            assert_eq!(refusal(&answer(code, "no")), None, "{code}");
        }
        assert_eq!(refusal(&Error::Timeout), None);
    }
}
