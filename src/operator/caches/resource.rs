//! A resource in a cache: as it is while its run is on, and as its JSON once the run has ended.
//!
//! A resource takes 9 KB in memory, its JSON 3 KB. It may be kept for months after its run, and is rarely looked at then.

use crate::api::{Kind, LoadTest, Status};
use crate::machine::StateName;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::core::{DeserializeGuard, DynamicResourceScope};
use std::borrow::Cow;

/// A resource that may not be readable; one that is not never stops the watch of the others.
pub(super) type Guarded = DeserializeGuard<LoadTest>;

/// A resource in a cache.
#[derive(Clone, Debug)]
pub struct CachedTest(Form);

#[derive(Clone, Debug)]
enum Form {
    /// Its run is on, and it is looked at often.
    Whole(Box<LoadTest>),
    /// Its run has ended.
    Ended(Box<Ended>),
    /// It can't be read, for this reason.
    Unreadable(Box<(ObjectMeta, String)>),
}

#[derive(Clone, Debug)]
struct Ended {
    /// What names it, and no more.
    metadata: ObjectMeta,
    standing: Standing,
    json: Box<[u8]>,
}

/// What is counted of a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The state of its run; empty if it has none.
    pub state: &'static str,
    /// The result of its run; empty if it has none.
    pub result: &'static str,
    /// Whether a request for it is refused or fails, and is tried again.
    pub retrying: bool,
}

impl Standing {
    fn of(status: Option<&Status>) -> Self {
        let state = status.and_then(|status| status.state);
        let result = status.and_then(|status| status.result);
        Self {
            state: state.map_or("", |state| state.as_str()),
            result: result.map_or("", |result| result.as_str()),
            retrying: status.is_some_and(Status::is_retrying),
        }
    }
}

impl CachedTest {
    /// Keeps a resource.
    pub(super) fn of(guarded: Guarded) -> Self {
        Self(match guarded.0 {
            Ok(test) => Self::form(test),
            Err(invalid) => Form::Unreadable(Box::new((invalid.metadata, invalid.error))),
        })
    }

    fn form(test: LoadTest) -> Form {
        let state = test.status.as_ref().and_then(|status| status.state);
        let has_ended = state == Some(StateName::Finished);
        match has_ended.then(|| serde_json::to_vec(&test).ok()).flatten() {
            None => Form::Whole(Box::new(test)),
            Some(json) => Form::Ended(Box::new(Ended {
                standing: Standing::of(test.status.as_ref()),
                metadata: ObjectMeta {
                    name: test.metadata.name,
                    namespace: test.metadata.namespace,
                    uid: test.metadata.uid,
                    ..ObjectMeta::default()
                },
                json: json.into(),
            })),
        }
    }

    /// The resource.
    ///
    /// # Errors
    /// If it is not of the form that its definition asks for.
    pub fn test(&self) -> Result<Cow<'_, LoadTest>, String> {
        match &self.0 {
            Form::Whole(test) => Ok(Cow::Borrowed(test)),
            Form::Ended(ended) => serde_json::from_slice(&ended.json)
                .map(Cow::Owned)
                .map_err(|error| error.to_string()),
            Form::Unreadable(invalid) => Err(invalid.1.clone()),
        }
    }

    /// The length of its JSON, if that is what is kept.
    #[cfg(test)]
    pub(super) fn json_bytes(&self) -> Option<usize> {
        match &self.0 {
            Form::Ended(ended) => Some(ended.json.len()),
            Form::Whole(_) | Form::Unreadable(_) => None,
        }
    }

    /// What is counted of it; None if it can't be read.
    pub fn standing(&self) -> Option<Standing> {
        match &self.0 {
            Form::Whole(test) => Some(Standing::of(test.status.as_ref())),
            Form::Ended(ended) => Some(ended.standing),
            Form::Unreadable(_) => None,
        }
    }
}

impl Resource for CachedTest {
    type DynamicType = Kind;
    type Scope = DynamicResourceScope;

    fn kind(kind: &Kind) -> Cow<'_, str> {
        LoadTest::kind(kind)
    }

    fn group(kind: &Kind) -> Cow<'_, str> {
        LoadTest::group(kind)
    }

    fn version(kind: &Kind) -> Cow<'_, str> {
        LoadTest::version(kind)
    }

    fn plural(kind: &Kind) -> Cow<'_, str> {
        LoadTest::plural(kind)
    }

    fn meta(&self) -> &ObjectMeta {
        match &self.0 {
            Form::Whole(test) => test.meta(),
            Form::Ended(ended) => &ended.metadata,
            Form::Unreadable(invalid) => &invalid.0,
        }
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        match &mut self.0 {
            Form::Whole(test) => test.meta_mut(),
            Form::Ended(ended) => &mut ended.metadata,
            Form::Unreadable(invalid) => &mut invalid.0,
        }
    }
}
