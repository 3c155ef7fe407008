//! The timeout of every request, in one place. kube's own client waits forever for a lost answer, and a watch that
//! hangs in its list hides everything from the operator.

use http_body_util::{BodyExt, Either, Full};
use hyper::body::Bytes;
use hyper::http::{Request, Response};
use kube::Client;
use kube::client::Body;
use std::time::Duration;
use thiserror::Error;
use tokio::time::timeout;

/// How long the operator waits for an answer, or for the beginning of a watch.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A request that was not answered in time.
#[derive(Debug, Error)]
#[error("no answer within {} s", REQUEST_TIMEOUT.as_secs())]
pub struct Unanswered;

/// Returns the same client, whose requests fail with [`Unanswered`] after [`REQUEST_TIMEOUT`]. The events of a watch
/// have no timeout: kube opens the watch again when nothing comes for too long.
pub fn bounded(client: Client) -> Client {
    let namespace = client.default_namespace().to_owned();
    let service = tower::service_fn(move |request| {
        let client = client.clone();
        async move {
            timeout(REQUEST_TIMEOUT, answer(&client, request))
                .await
                .unwrap_or_else(|_| Err(Unanswered.into()))
        }
    });
    Client::new(service, namespace)
}

async fn answer(
    client: &Client,
    request: Request<Body>,
) -> Result<Response<Either<Full<Bytes>, Body>>, Failure> {
    let query = request.uri().query().unwrap_or_default();
    let watches = query.split('&').any(|parameter| parameter == "watch=true");
    let (parts, body) = client.send(request).await?.into_parts();
    let body = if watches {
        Either::Right(body)
    } else {
        Either::Left(Full::from(body.collect().await?.to_bytes()))
    };
    Ok(Response::from_parts(parts, body))
}
