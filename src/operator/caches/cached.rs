//! An object in a cache: as it is while it goes on, and as its JSON once it has ended.
//!
//! A slim Job takes some 5 KB in memory and a slim pod some 8 KB, nearly all of it fields that are empty; their JSON takes
//! a fifth of that. A run that has ended is rarely looked at, and its Jobs and pods are kept for a day.

use crate::objects::RUN_LABEL;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::{Resource, ResourceExt};
use kube_runtime::reflector::Lookup;
use kube_runtime::watcher::Event;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::borrow::Cow;
use std::sync::Arc;

/// A Job or pod.
pub trait Child: Resource<DynamicType = ()> + Serialize + DeserializeOwned {
    /// Whether nothing in it changes any more.
    fn has_ended(&self) -> bool;
}

impl Child for Job {
    fn has_ended(&self) -> bool {
        let conditions = self.status.iter().flat_map(|status| &status.conditions);
        conditions.flatten().any(|condition| {
            condition.status == "True" && matches!(condition.type_.as_str(), "Complete" | "Failed")
        })
    }
}

impl Child for Pod {
    fn has_ended(&self) -> bool {
        let phase = self.status.as_ref().and_then(|status| status.phase.as_deref());
        matches!(phase, Some("Succeeded" | "Failed"))
    }
}

/// How an object is kept.
#[derive(Clone, Debug)]
enum Form<K> {
    /// It goes on, and is looked at often.
    Whole(Arc<K>),
    /// It has ended: its JSON.
    Packed(Box<[u8]>),
}

/// An object in a cache.
#[derive(Clone, Debug)]
pub struct Cached<K> {
    name: Box<str>,
    namespace: Option<Box<str>>,
    /// The uid of the resource whose run it belongs to.
    run: Option<Box<str>>,
    form: Form<K>,
}

impl<K: Child> Cached<K> {
    /// Keeps an object.
    pub fn of(object: K) -> Self {
        let run = object.labels().get(RUN_LABEL).map(|run| run.as_str().into());
        let packed = object
            .has_ended()
            .then(|| serde_json::to_vec(&object).ok())
            .flatten();
        Self {
            name: object.name_any().into(),
            namespace: ResourceExt::namespace(&object).map(Into::into),
            run,
            form: packed.map_or_else(|| Form::Whole(Arc::new(object)), |json| Form::Packed(json.into())),
        }
    }

    /// The object.
    ///
    /// # Errors
    /// If its JSON can't be read, which was written from the same type.
    pub fn object(&self) -> Result<Arc<K>, serde_json::Error> {
        match &self.form {
            Form::Whole(object) => Ok(Arc::clone(object)),
            Form::Packed(json) => serde_json::from_slice(json).map(Arc::new),
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether each call of [`Self::object`] reads its JSON.
    pub fn is_packed(&self) -> bool {
        matches!(self.form, Form::Packed(_))
    }

    /// Whether it belongs to a run of the resource with this uid.
    pub fn is_of(&self, uid: &str) -> bool {
        self.run.as_deref() == Some(uid)
    }

    /// The bytes on the heap that are its own.
    #[cfg(test)]
    pub fn bytes(&self) -> usize {
        let Self {
            name,
            namespace,
            run,
            form,
        } = self;
        let text = |text: &Option<Box<str>>| text.as_ref().map_or(0, |text| text.len());
        let form = match form {
            Form::Whole(_) => usize::MAX,
            Form::Packed(json) => json.len(),
        };
        let own = size_of::<Self>() + name.len() + text(namespace) + text(run);
        own.saturating_add(form)
    }
}

/// The same event, of what is kept of its object.
pub(super) fn each<K, C>(event: Event<K>, kept: impl Fn(K) -> C) -> Event<C> {
    match event {
        Event::Apply(object) => Event::Apply(kept(object)),
        Event::Delete(object) => Event::Delete(kept(object)),
        Event::InitApply(object) => Event::InitApply(kept(object)),
        Event::Init => Event::Init,
        Event::InitDone => Event::InitDone,
    }
}

/// By its name and namespace; nothing asks a cache for more.
impl<K: Child> Lookup for Cached<K> {
    type DynamicType = ();

    fn kind((): &()) -> Cow<'_, str> {
        K::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        K::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        K::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        K::plural(&())
    }

    fn name(&self) -> Option<Cow<'_, str>> {
        Some(Cow::Borrowed(&self.name))
    }

    fn namespace(&self) -> Option<Cow<'_, str>> {
        self.namespace.as_deref().map(Cow::Borrowed)
    }

    fn resource_version(&self) -> Option<Cow<'_, str>> {
        None
    }

    fn uid(&self) -> Option<Cow<'_, str>> {
        None
    }
}
