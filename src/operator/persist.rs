//! The one place that writes status.

use super::context::Context;
use super::error::Error;
use super::events::publish_unwritten;
use super::execute::execute;
use super::observe::newest;
use crate::api::{LoadTest, Status};
use crate::machine::{Advanced, Observed, effects, effects_unwritten};
use crate::objects::ValidatedSpec;
use jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, ResourceExt};
use tokio::time::Instant;

/// How often in a row a status may be refused before its effects on an ending run are performed without it.
const REFUSED_AT_MOST: u32 = 5;

/// The result of a look: the events, the snapshot, the spec if it is valid, and the time.
type Look<'a> = (&'a Advanced, &'a Observed, Option<&'a ValidatedSpec>, Timestamp);

/// Writes the status, if the resource is still in the version that was read. With a stale cache, or after a second
/// operator, that fails and the run is looked at again.
#[tracing::instrument(skip_all)]
pub async fn persist(
    context: &Context,
    resource: &LoadTest,
    status: Status,
    look: Look<'_>,
) -> Result<LoadTest, Error> {
    let written = replace(context, resource, status).await;
    if let Err(error) = &written {
        unwritten(context, resource, look, error).await?;
    }
    written
}

async fn replace(context: &Context, resource: &LoadTest, status: Status) -> Result<LoadTest, Error> {
    context.leadership.check()?;
    let written = LoadTest {
        status: Some(status),
        ..resource.clone()
    };
    let api: Api<LoadTest> = Api::namespaced_with(
        context.client.clone(),
        &resource.namespace().unwrap_or_default(),
        &resource.kind,
    );
    let (name, sent) = (resource.name_any(), Instant::now());
    let mut answer = api
        .replace_status(&name, &PostParams::default(), &written)
        .await?;
    answer.metadata.managed_fields = None;
    let uid = resource.uid().unwrap_or_default();
    context.memory.written(&uid, answer.clone(), sent);
    Ok(answer)
}

/// The reason for which this status can't be written until it or the cluster changes; None if a retry may succeed.
fn refusal(error: &Error) -> Option<&str> {
    let Error::Kube(kube::Error::Api(status)) = error else {
        return None;
    };
    let large = ["too large", "larger than max"];
    let is_large = large.iter().any(|words| status.message.contains(words));
    let is_refused = matches!(status.code, 400..=499) && !matches!(status.code, 401 | 404 | 408 | 409 | 429);
    (is_large || is_refused).then_some(status.message.as_str())
}

/// Publishes that the status is refused, as the status itself can't say so. The effects of the stored status are
/// performed nevertheless. If the refused status would end the run, its runners are stopped.
async fn unwritten(
    context: &Context,
    resource: &LoadTest,
    (advanced, seen, validated, now): Look<'_>,
    error: &Error,
) -> Result<(), Error> {
    let Some(why) = refusal(error) else {
        return Ok(());
    };
    let uid = resource.uid().unwrap_or_default();
    let retries = &context.memory.retries;
    let (published, times) = retries.with(&uid, |retries| retries.unwritten(why));
    if !published {
        publish_unwritten(context, resource, why).await;
    }
    let (before, after) = (advanced.before(), &advanced.run);
    let wanted = if before == after {
        effects(&before.state, seen, now)
    } else if times >= REFUSED_AT_MOST {
        effects_unwritten(&before.state, &after.state, seen)
    } else {
        Vec::new()
    };
    let is_newest = |newest: LoadTest| newest.resource_version() == resource.resource_version();
    if !wanted.is_empty() && newest(context, resource).await?.is_some_and(is_newest) {
        let executed = execute(context, resource, before, seen, validated, &wanted).await;
        return executed.failed.map_or(Ok(()), Err);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::refusal;
    use crate::operator::error::Error;

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
