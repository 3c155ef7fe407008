//! The two kinds of one resource: K6, and TestRun, the name that grafana/k6-operator gives it.

use super::{Spec, Status};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::core::DynamicResourceScope;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use strum::IntoStaticStr;

/// The API group of both kinds.
pub const GROUP: &str = "k6.io";
/// The API version of both kinds.
pub const VERSION: &str = "v1alpha1";

/// A kind of the API.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, IntoStaticStr,
)]
pub enum Kind {
    /// The resource `k6s.k6.io`.
    #[default]
    K6,
    /// The resource `testruns.k6.io`, whose manifests work with grafana/k6-operator too.
    TestRun,
}

impl Kind {
    /// Both kinds.
    pub const ALL: [Self; 2] = [Self::K6, Self::TestRun];

    /// The name in manifests.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// The name in API paths and in roles.
    pub fn plural(self) -> &'static str {
        match self {
            Self::K6 => "k6s",
            Self::TestRun => "testruns",
        }
    }

    /// The kind with this name, if there is one.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

/// A distributed k6 test: N runners that share one script, start together and give one result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LoadTest {
    /// Always `k6.io/v1alpha1`.
    pub api_version: String,
    /// The kind of the resource.
    pub kind: Kind,
    /// The metadata of the resource, such as its name.
    pub metadata: ObjectMeta,
    /// The test to run.
    pub spec: Spec,
    /// What has happened to the run; None until the operator has seen the resource.
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
