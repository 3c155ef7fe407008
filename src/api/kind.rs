//! The two kinds of one resource: K6, and TestRun, the name that grafana/k6-operator gives it.

use super::{Spec, Status};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::core::DynamicResourceScope;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// The API group.
pub const GROUP: &str = "k6.io";
/// The version of the API.
pub const VERSION: &str = "v1alpha1";

/// The kinds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// `k6s.k6.io`.
    #[default]
    K6,
    /// `testruns.k6.io`.
    TestRun,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 2] = [Self::K6, Self::TestRun];

    /// As manifests write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::K6 => "K6",
            Self::TestRun => "TestRun",
        }
    }

    /// In paths of the API, and in roles.
    pub fn plural(self) -> &'static str {
        match self {
            Self::K6 => "k6s",
            Self::TestRun => "testruns",
        }
    }

    /// The kind of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

/// A distributed k6 test: N runners that share one script, start together and give one result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LoadTest {
    /// `k6.io/v1alpha1`.
    pub api_version: String,
    /// Which kind it is.
    pub kind: Kind,
    /// Name, namespace and the like.
    pub metadata: ObjectMeta,
    /// What the user wants.
    pub spec: Spec,
    /// What has happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
}

impl Resource for LoadTest {
    type DynamicType = Kind;
    type Scope = DynamicResourceScope;

    fn kind(kind: &Kind) -> Cow<'_, str> {
        kind.as_str().into()
    }

    fn group(_: &Kind) -> Cow<'_, str> {
        GROUP.into()
    }

    fn version(_: &Kind) -> Cow<'_, str> {
        VERSION.into()
    }

    fn plural(kind: &Kind) -> Cow<'_, str> {
        kind.plural().into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}
