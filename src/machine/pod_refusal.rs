//! Pods that Kubernetes refuses to create for a Job of a run: the part, the rule that refuses it, and the field to set.
//! The Job controller tries again and again, and tells of it only in Events of the Job.

use super::event::clipped;
use jiff::SignedDuration;
use strum::IntoStaticStr;

/// How long a pod must have been refused before a rule that does not change by itself ends the run.
///
/// A LimitRange that is applied just after the run takes effect within this time. It spans several of the first tries of
/// the Job controller, which are 1, 2, 4 and 8 s apart.
/// <https://github.com/kubernetes/kubernetes/blob/v1.35.4/pkg/controller/job/job_controller.go#L65>
pub const REFUSAL_GRACE: SignedDuration = SignedDuration::from_secs(10);

/// The longest text of Kubernetes in a refusal, in bytes of JSON.
const TEXT_LIMIT: usize = 800;

/// The role of a Job and its pod in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum Part {
    /// The pod in which k6 inspects the script.
    Initializer,
    /// The pod of one share of the test, with its number from 1.
    Runner(u32),
    /// The pod that releases the runners.
    Starter,
    /// The pod that stops the runners.
    Stopper,
    /// The pod that merges the metrics of the runners.
    Aggregator,
}

/// A pod that Kubernetes refuses to create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodRefusal {
    /// The part of the run that the pod belongs to.
    pub part: Part,
    /// The rule that refuses the pod.
    pub rule: Rule,
    /// The last message of Kubernetes, without the name of the pod, which is new at each try.
    pub text: String,
    /// The time between the first try and the last try that this rule refused.
    pub lasted: SignedDuration,
}

/// The rule that refuses a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// A LimitRange: <https://kubernetes.io/docs/concepts/policy/limit-range/>
    LimitRange,
    /// A ResourceQuota for resources that the pod does not set, or that is smaller than this pod alone.
    QuotaUnmet,
    /// A ResourceQuota that has room for the pod once others have ended.
    QuotaFull,
    /// Pod Security admission: <https://kubernetes.io/docs/concepts/security/pod-security-admission/>
    PodSecurity,
    /// The API server's validation, after admission added defaults to the pod.
    Invalid,
    /// A webhook, a missing service account, or anything else that may change by itself.
    Other,
}

impl Rule {
    /// Finds the rule in the text of the API server, whose answer has no field for it.
    /// <https://github.com/kubernetes/kubernetes/blob/v1.35.4/plugin/pkg/admission/limitranger/admission.go#L315>,
    /// <https://github.com/kubernetes/apiserver/blob/v0.35.4/pkg/admission/plugin/resourcequota/controller.go#L471>,
    /// <https://github.com/kubernetes/pod-security-admission/blob/v0.35.4/admission/admission.go#L481>
    pub fn of(text: &str) -> Self {
        let bounded = ["minimum ", "maximum "].iter().any(|bound| text.contains(bound));
        let limited = bounded && text.contains(" usage per ");
        if text.contains("violates PodSecurity") {
            Self::PodSecurity
        } else if text.contains("failed quota: ") && text.contains("must specify ") {
            Self::QuotaUnmet
        } else if text.contains("exceeded quota: ") {
            if is_too_small(text) {
                Self::QuotaUnmet
            } else {
                Self::QuotaFull
            }
        } else if limited || text.contains(" max limit to request ratio per ") {
            Self::LimitRange
        } else {
            Self::Other
        }
    }

    /// True if waiting changes nothing: the user has to change the rule or the spec.
    pub fn is_lasting(self) -> bool {
        match self {
            Self::LimitRange | Self::QuotaUnmet | Self::PodSecurity | Self::Invalid => true,
            Self::QuotaFull | Self::Other => false,
        }
    }
}

impl PodRefusal {
    /// Reads the refusal from an Event `FailedCreate` of a Job. The Job controller writes `Error creating: ` and the
    /// answer of the API server. Kubernetes combines all Events of a Job but the first ten.
    pub fn from_event(part: Part, message: &str, lasted: SignedDuration) -> Self {
        let without = |text: &'_ str, start: &str| text.strip_prefix(start).unwrap_or(text).to_owned();
        let text = without(message, "(combined from similar events): ");
        let text = without(text.trim(), "Error creating: ");
        let after = |middle: &str| text.split_once(middle).map(|(_, rest)| rest.to_owned());
        let (rule, text) = if text.starts_with("pods \"")
            && let Some(rest) = after("\" is forbidden: ")
        {
            (Rule::of(&rest), rest)
        } else if text.starts_with("Pod \"")
            && let Some(rest) = after("\" is invalid: ")
        {
            (Rule::Invalid, rest)
        } else {
            (Rule::of(&text), text)
        };
        Self {
            part,
            rule,
            text: clipped(&text, TEXT_LIMIT),
            lasted,
        }
    }

    /// True if it ends the run: waiting changes nothing, and nobody has changed the rule within [`REFUSAL_GRACE`].
    pub fn is_final(&self) -> bool {
        self.rule.is_lasting() && self.lasted >= REFUSAL_GRACE
    }

    /// The part, the rule and the field to set, as a clause.
    pub fn clause(&self) -> String {
        let (pod, text) = (self.part.pod(), &self.text);
        let (resources, security) = (self.part.sized_by(), self.part.secured_by());
        match self.rule {
            Rule::LimitRange => {
                format!(
                    "{pod} is refused by a LimitRange of the namespace: {text}; set {resources} to fit it"
                )
            }
            Rule::QuotaUnmet => {
                format!("{pod} is refused by a ResourceQuota: {text}; set {resources} to fit it")
            }
            Rule::QuotaFull => format!(
                "{pod} is refused as long as a ResourceQuota is full: {text}; end something else, or set {resources} lower"
            ),
            Rule::PodSecurity => format!(
                "{pod} is refused by the Pod Security Standard of the namespace: {text}; set securityContext and \
                 containerSecurityContext of {security} to fit it"
            ),
            Rule::Invalid => {
                format!("{pod} is refused: {text}; set {resources} to fit the defaults of the namespace")
            }
            Rule::Other => format!("{pod} is refused, and tried again: {text}"),
        }
    }
}

impl Part {
    /// The part in one word, without the number of a runner: the value of the label for the component.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// Its pod, as messages name it.
    fn pod(self) -> String {
        match self {
            Self::Runner(i) => format!("the pod of runner {i}"),
            Self::Initializer | Self::Starter | Self::Stopper | Self::Aggregator => {
                format!("the pod of the {}", self.as_str())
            }
        }
    }

    /// The field that sets the resources of its containers.
    fn sized_by(self) -> &'static str {
        match self {
            Self::Initializer => "spec.initializer.resources (by default spec.runner.resources)",
            Self::Runner(_) => "spec.runner.resources",
            Self::Starter | Self::Stopper => "spec.starter.resources",
            Self::Aggregator => "spec.aggregation.resources",
        }
    }

    /// The field that sets its security contexts.
    fn secured_by(self) -> &'static str {
        match self {
            Self::Initializer => "spec.initializer (by default those of spec.runner)",
            Self::Runner(_) => "spec.runner",
            Self::Starter | Self::Stopper | Self::Aggregator => "spec.starter",
        }
    }
}

/// True if one pod requests more than a quota allows for all pods together:
/// `exceeded quota: NAME, requested: cpu=2,memory=1Gi, used: cpu=0,memory=0, limited: cpu=1,memory=8Gi`.
fn is_too_small(text: &str) -> bool {
    let part = |name: &str| text.split_once(name).map(|(_, rest)| rest);
    let (Some(requested), Some(limited)) = (part("requested: "), part(", limited: ")) else {
        return false;
    };
    let requested = requested
        .split_once(", used: ")
        .map_or(requested, |(pairs, _)| pairs);
    let amount = |pairs: &str, name: &str| {
        let mut all = pairs.split(',').filter_map(|pair| pair.trim().split_once('='));
        all.find(|(key, _)| *key == name)
            .and_then(|(_, amount)| quantity(amount))
    };
    requested
        .split(',')
        .filter_map(|pair| pair.trim().split_once('='))
        .any(|(name, _)| {
            let (asked, most) = (amount(requested, name), amount(limited, name));
            matches!((asked, most), (Some(asked), Some(most)) if asked > most)
        })
}

/// Reads a quantity of Kubernetes, such as `500m` or `2Gi`, as a number:
/// <https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/>
fn quantity(text: &str) -> Option<f64> {
    const SUFFIXES: [(&str, f64); 15] = [
        ("Ki", 1024.0),
        ("Mi", 1_048_576.0),
        ("Gi", 1_073_741_824.0),
        ("Ti", 1_099_511_627_776.0),
        ("Pi", 1_125_899_906_842_624.0),
        ("Ei", 1_152_921_504_606_846_976.0),
        ("n", 1e-9),
        ("u", 1e-6),
        ("m", 1e-3),
        ("k", 1e3),
        ("M", 1e6),
        ("G", 1e9),
        ("T", 1e12),
        ("P", 1e15),
        ("E", 1e18),
    ];
    if let Ok(number) = text.parse() {
        return Some(number);
    }
    SUFFIXES.iter().find_map(|(suffix, factor)| {
        let number: f64 = text.strip_suffix(suffix)?.parse().ok()?;
        Some(number * factor)
    })
}
