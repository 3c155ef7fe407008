//! The errors of the operator.

use super::timeout::{REQUEST_TIMEOUT, Unanswered};
use crate::machine::ReplayError;
use thiserror::Error;

/// An error of a reconcile. All of them are retried.
#[derive(Debug, Error)]
pub enum Error {
    /// The API server refused, or can't be reached.
    #[error(transparent)]
    Kube(kube::Error),
    /// The API server did not answer in time.
    #[error("the API server did not answer within {} s", REQUEST_TIMEOUT.as_secs())]
    Timeout,
    /// The history in the status is not that of a run.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// This process has not renewed its lease in time. Another may lead by now.
    #[error("this operator does not lead any more")]
    NotLeading,
    /// An object in a cache can't be read, which is a fault of this program.
    #[error("an object in the cache can't be read: {0}")]
    Cache(#[from] serde_json::Error),
    /// The resource can't be read, most likely because a newer operator wrote it.
    #[error("the resource can't be read: {0}")]
    Unreadable(String),
}

impl From<kube::Error> for Error {
    fn from(error: kube::Error) -> Self {
        if matches!(&error, kube::Error::Service(cause) if cause.is::<Unanswered>()) {
            return Self::Timeout;
        }
        Self::Kube(error)
    }
}
