//! The tags that k6 gives to samples by itself. Pure.
//! <https://grafana.com/docs/k6/latest/using-k6/tags-and-groups/#system-tags>

use std::collections::BTreeSet;

/// The flag for system tags.
pub const SYSTEM_TAGS: &str = "system-tags";
/// The variable for system tags.
pub const SYSTEM_TAGS_VARIABLE: &str = "K6_SYSTEM_TAGS";

/// The default of k6, the same from 0.57 to 2.2:
/// <https://github.com/grafana/k6/blob/v2.2.0/metrics/system_tag.go>
const DEFAULT: [&str; 14] = [
    "check",
    "error",
    "error_code",
    "expected_response",
    "group",
    "method",
    "name",
    "proto",
    "scenario",
    "service",
    "status",
    "subproto",
    "tls_version",
    "url",
];

/// The tags that give the requests of each URL a series of their own. If the script sets the `name` of a request, both
/// have that value, and `name` stays even if it is not a system tag.
/// <https://github.com/grafana/k6/blob/v2.2.0/lib/netext/httpext/transport.go>
const BY_URL: [&str; 2] = ["name", "url"];

/// The tags without which checks, groups, the summary and the report are the same. The exporter's CPU for a sample grows
/// with the number of its tags. `error_code`, which only failed requests have, tells the status of these too.
const NOT_SHOWN: [&str; 7] = [
    "error",
    "method",
    "proto",
    "service",
    "status",
    "subproto",
    "tls_version",
];

/// The tag of the scenario, which says nothing where there is only one.
pub const SCENARIO: &str = "scenario";

/// The tag of the group, which says nothing where all samples are of none.
pub const GROUP: &str = "group";
/// One of these words is in each script whose samples may have a group. The samples of setup() and teardown() have one.
/// <https://github.com/grafana/k6/blob/v2.2.0/lib/models.go>
pub const OF_GROUPS: [&str; 3] = [GROUP, "setup", "teardown"];

/// The metrics of the browser module have both tags if `url` is a system tag, and none otherwise.
/// <https://github.com/grafana/k6/blob/v2.2.0/internal/js/modules/k6/browser/common/network_manager.go>
const OF_BROWSER: &str = "browser_";

/// True if a threshold on this metric, by a tag of this name with this value, needs a system tag. It needs none by URL if
/// only a script can have set that `name`: a URL and the path of a gRPC method have a slash, and the result of
/// `http.url` has a placeholder.
pub fn needs(tag: &str, metric: &str, name: &str, value: &str) -> bool {
    if !BY_URL.contains(&tag) {
        return name == tag;
    }
    if !BY_URL.contains(&name) {
        return false;
    }
    if metric.starts_with(OF_BROWSER) {
        return true;
    }
    name == tag && (name != "name" || value.contains('/') || value.contains("${"))
}

/// True if a list of tags, separated by commas, has one by URL.
pub fn has_urls(tags: &str) -> bool {
    tags.split(',').any(|tag| BY_URL.contains(&tag))
}

/// Returns the system tags of a script without those by URL, and those that are not shown, that nothing needs. None if
/// there is none to remove, or if the script chooses its system tags itself.
pub fn reduced(tags: &[String], is_needed: impl Fn(&str) -> bool) -> Option<Vec<String>> {
    let given: BTreeSet<_> = tags.iter().map(String::as_str).collect();
    if given != BTreeSet::from(DEFAULT) {
        return None;
    }
    let kept = |tag: &&str| {
        let is_spare = BY_URL.contains(tag) || NOT_SHOWN.contains(tag);
        !is_spare || is_needed(tag)
    };
    let kept: Vec<_> = DEFAULT.into_iter().filter(kept).map(str::to_owned).collect();
    (kept.len() < DEFAULT.len()).then_some(kept)
}

#[cfg(test)]
mod tests {
    use super::{DEFAULT, NOT_SHOWN, has_urls, needs, reduced};

    fn all() -> Vec<String> {
        DEFAULT.map(str::to_owned).to_vec()
    }

    #[test]
    fn tags_that_nothing_shows_or_needs_are_left_out() {
        let with = |needed: &[&str]| reduced(&all(), |tag| needed.contains(&tag)).unwrap().join(",");
        let shown = "check,error_code,expected_response,group,scenario";
        assert_eq!(with(&[]), shown);
        assert_eq!(with(&["error_code", "group"]), shown);
        let named = "check,error_code,expected_response,group,name,scenario";
        assert_eq!(with(&["name"]), named);
        let failures = "check,error_code,expected_response,group,scenario,status";
        assert_eq!(with(&["status"]), failures);
        assert_eq!(reduced(&all(), |_| true), None);
    }

    #[test]
    fn threshold_needs_each_tag_that_it_names() {
        for tag in NOT_SHOWN {
            assert!(needs(tag, "http_reqs", tag, "a"), "{tag}");
            assert!(!needs(tag, "http_reqs", "group", "::a"), "{tag}");
        }
    }

    #[test]
    fn threshold_needs_a_tag_by_url_only_if_k6_may_have_given_its_value() {
        let needed = |metric: &str, name: &str, value: &str| {
            ["name", "url"].map(|by_url| needs(by_url, metric, name, value))
        };
        let duration = "http_req_duration";
        assert_eq!(needed(duration, "name", "login"), [false, false]);
        assert_eq!(needed(duration, "name", "https://a/login"), [true, false]);
        assert_eq!(needed(duration, "name", "/pkg.Service/Method"), [true, false]);
        assert_eq!(needed(duration, "name", "${}"), [true, false]);
        assert_eq!(needed(duration, "url", "login"), [false, true]);
        assert_eq!(needed(duration, "status", "https://a/"), [false, false]);
        assert_eq!(needed("browser_http_req_duration", "name", "home"), [true, true]);
        assert_eq!(
            needed("browser_http_req_duration", "method", "GET"),
            [false, false]
        );
    }

    #[test]
    fn tags_by_url_are_seen_in_a_list() {
        assert!(has_urls("check,name,status") && has_urls("url"));
        assert!(!has_urls("check,status") && !has_urls(""));
    }

    #[test]
    fn tags_that_a_script_names_itself_stay() {
        let own = ["name", "url", "status"].map(str::to_owned);
        assert_eq!(reduced(&own, |_| false), None);
        let more: Vec<_> = all().into_iter().chain(["vu".to_owned()]).collect();
        assert_eq!(reduced(&more, |_| false), None);
        assert_eq!(reduced(&[], |_| false), None);
    }
}
