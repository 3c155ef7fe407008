//! The objects of a run that is on, unpacked. A look at the run needs all of them, and there is one at each change of one.

use super::cached::{Cached, Child};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The Jobs and pods of a run that have ended, unpacked.
#[derive(Debug, Default)]
pub struct Unpacked {
    /// The Jobs.
    pub jobs: UnpackedOf<Job>,
    /// The pods.
    pub pods: UnpackedOf<Pod>,
}

/// The objects of one kind, by name: each as the cache has it, and unpacked.
#[derive(Debug)]
pub struct UnpackedOf<K>(BTreeMap<String, (Arc<Cached<K>>, Arc<K>)>);

impl<K> Default for UnpackedOf<K> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: Child> UnpackedOf<K> {
    /// The objects of a run, as the cache has all of them now. Only those that are new are unpacked, and those that are
    /// gone are forgotten.
    pub fn objects(&mut self, all: Vec<Arc<Cached<K>>>) -> Result<Vec<Arc<K>>, serde_json::Error> {
        let mut before = std::mem::take(&mut self.0);
        let objects = all.into_iter().map(|cached| {
            if !cached.is_packed() {
                return cached.object();
            }
            let object = match before.remove(cached.name()) {
                Some((same, object)) if Arc::ptr_eq(&same, &cached) => object,
                Some(_) | None => cached.object()?,
            };
            let kept = (Arc::clone(&cached), Arc::clone(&object));
            self.0.insert(cached.name().to_owned(), kept);
            Ok(object)
        });
        objects.collect()
    }
}
