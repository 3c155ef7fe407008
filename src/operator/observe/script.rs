//! Observes the script, and reads what k6 says of it.

use super::Observer;
use crate::machine::{Fact, Initializer, Initializing, Inspection, State};
use crate::objects::{
    self, GENERATION_ANNOTATION, Script, ValidatedSpec, aggregator_name, initializer_name, script_name,
};
use crate::operator::pods::{self, InitializerPod};
use crate::protocol::inspected::Inspected;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::LogParams;
use kube::{Api, ResourceExt};
use std::collections::BTreeMap;

/// The maximum size of the output of `k6 inspect`, in bytes.
const INSPECTION_LIMIT: i64 = 4 * 1024 * 1024;

/// The longest that is read beside others, in bytes: a script whose options fill more is rare.
const SHORT_INSPECTION: i64 = 256 * 1024;

impl Observer<'_> {
    pub(super) async fn initializer(&self) -> Fact<Initializer> {
        let job = match self.job(&initializer_name(&self.stem)) {
            Fact::Known(job) => job,
            Fact::Absent => return Fact::Absent,
            Fact::Unknown => return Fact::Unknown,
        };
        if let State::Initializing(Initializing::Accepted(accepted)) = &self.run.state
            && job.annotations().get(GENERATION_ANNOTATION) != Some(&accepted.generation.to_string())
        {
            return Fact::Known(Initializer::Outdated);
        }
        // The output of k6 is read for the plan, and once more for an aggregator that is not created yet. After that
        // the Job exists and is not read.
        let decides = match &self.run.state {
            State::Initializing(_) => true,
            State::Created(state) => {
                state.plan.aggregation.is_some() && self.job(&aggregator_name(&self.stem)).is_absent()
            }
            State::Starting(_) | State::Started(_) | State::Stopping(_) | State::Finished(_) => false,
        };
        let pod = match self.pod_for_certain(job, decides).await {
            Fact::Known(pod) => Some(pod),
            Fact::Absent => None,
            Fact::Unknown => return Fact::Unknown,
        };
        match pods::initializer(job, pod.as_deref()) {
            InitializerPod::Running(why) => Fact::Known(Initializer::Running(why)),
            InitializerPod::Failed(why) => Fact::Known(Initializer::Failed(why)),
            InitializerPod::Aborted(why) => Fact::Known(Initializer::Aborted(why)),
            InitializerPod::Lost(why) => Fact::Known(Initializer::Lost(why)),
            InitializerPod::Done(inspected) => match pod {
                Some(pod) if decides => self.inspection(&pod, &inspected).await,
                Some(_) | None => Fact::Known(Initializer::Done),
            },
        }
    }

    pub(super) async fn inspection(&self, pod: &Pod, inspected: &Inspected) -> Fact<Initializer> {
        let (api, name): (Api<Pod>, _) = (self.api(), pod.name_any());
        let read = async |limit_bytes| {
            let parameters = LogParams {
                container: Some(objects::INSPECT.to_owned()),
                limit_bytes: Some(limit_bytes),
                ..LogParams::default()
            };
            api.logs(&name, &parameters).await
        };
        let mut text = read(SHORT_INSPECTION).await;
        let is_cut = match &text {
            Ok(text) => i64::try_from(text.len()).is_ok_and(|bytes| bytes >= SHORT_INSPECTION),
            // Cut within a character.
            Err(error) => matches!(error, kube::Error::FromUtf8(_)),
        };
        let turn = if is_cut {
            self.context.large_logs.acquire().await.ok()
        } else {
            None
        };
        if turn.is_some() {
            text = read(INSPECTION_LIMIT).await;
        }
        match text {
            Ok(text) => {
                let inspection = Inspection::parse(&text);
                let inspection = inspection.map(|inspection| inspection.by(inspected));
                Fact::Known(Initializer::Succeeded(inspection))
            }
            Err(error) => self.unread(&error, &name, "the initializer's log"),
        }
    }

    /// Whether the script exists. Only a pod can see what is in a volume or in an image.
    pub(super) async fn script(&self, validated: &ValidatedSpec) -> Fact<Result<(), String>> {
        let namespace = &self.namespace;
        let (name, file) = match &validated.script {
            Script::VolumeClaim { .. } | Script::LocalFile(_) => return Fact::Known(Ok(())),
            Script::ConfigMap { name, file } => (name.clone(), Some(file)),
            Script::Inline(text) => (script_name(&self.stem, text), None),
        };
        match (self.api::<ConfigMap>().get_opt(&name).await, file) {
            (Ok(Some(map)), Some(file)) => Fact::Known(has(&map, &name, file)),
            (Ok(Some(map)), None) if self.owns(&map) => Fact::Known(Ok(())),
            (Ok(None), Some(_)) => Fact::Known(Err(format!(
                "there is no ConfigMap {name} in namespace {namespace}; create it, and then set spec.rerun to any new text"
            ))),
            // A foreign object is reported when we try to create ours.
            (Ok(Some(_) | None), None) => Fact::Absent,
            (Err(error), _) => self.unread(&error, &name, "the script's ConfigMap"),
        }
    }
}

fn has(map: &ConfigMap, name: &str, file: &str) -> Result<(), String> {
    let text = map.data.iter().flat_map(BTreeMap::keys);
    let binary = map.binary_data.iter().flat_map(BTreeMap::keys);
    let keys: Vec<&str> = text.chain(binary).map(String::as_str).collect();
    if keys.contains(&file) {
        return Ok(());
    }
    let keys: Vec<&str> = keys.into_iter().take(10).collect();
    Err(format!(
        "ConfigMap {name} has no key {file} (it has: {}); add it, or set spec.script.configMap.file, and then set \
         spec.rerun to any new text",
        keys.join(", ")
    ))
}
