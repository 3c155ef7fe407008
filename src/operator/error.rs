//! What can go wrong in the operator.

use super::timeout::{REQUEST_TIMEOUT, Unanswered};
use crate::machine::ReplayError;
use thiserror::Error;

/// What can go wrong on the way; all of it is tried again.
#[derive(Debug, Error)]
pub enum Error {
    /// The API server refused, or can't be reached.
    #[error(transparent)]
    Kube(kube::Error),
    /// The API server took too long.
    #[error("the API server did not answer within {} s", REQUEST_TIMEOUT.as_secs())]
    Timeout,
    /// The status of the resource is no run's.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// This process has not renewed its lease in time, and another may lead by now.
    #[error("this operator does not lead any more")]
    NotLeading,
    /// An object in a cache can't be read: a fault of this program.
    #[error("an object in the cache can't be read: {0}")]
    Cache(#[from] serde_json::Error),
    /// The resource can't be read, most likely since a newer operator wrote it.
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
