//! Explains why k6 refuses a script or its arguments, with the remedy.

use super::{Arguments, Flags, Version, flags, log};

/// The first version that can get another k6 built with the extensions that a script imports.
/// <https://grafana.com/docs/k6/latest/extensions/run/>
const RESOLVES: Version = Version::new(1, 2, 0);

/// The variable that allows or forbids that. The default allows it.
/// <https://github.com/grafana/k6/blob/v2.2.0/cmd/state/state.go>
pub const RESOLUTION: &str = "K6_AUTO_EXTENSION_RESOLUTION";
/// The name of that variable before 1.2. Versions before 2.0 still read it.
pub const RESOLUTION_BEFORE: &str = "K6_BINARY_PROVISIONING";

/// Explains an error of this k6, with the remedy; None if k6's own message is best.
pub fn explained(error: &str, version: Version, arguments: &Arguments, known: &Flags) -> Option<String> {
    if let Some(flag) = unknown_flag(error) {
        let value = arguments.value(flag);
        return Some(flags::unknown(version, flag, value, known));
    }
    if let Some(letter) = unknown_letter(error) {
        return Some(format!(
            "k6 {version} has no flag -{letter}: remove it, or take a k6 that has it"
        ));
    }
    // <https://github.com/grafana/k6/blob/v2.2.0/internal/lib/summary/summary.go>
    if error.contains("invalid summary mode") {
        return flags::by_version(version, "summary-mode", arguments.value("summary-mode"));
    }
    let modules = log::unknown_modules(error);
    let extensions: Vec<&str> = modules
        .iter()
        .copied()
        .filter(|name| name.starts_with("k6/x/"))
        .collect();
    if extensions.is_empty() {
        let first = modules.first().filter(|name| name.starts_with("k6"))?;
        return Some(format!(
            "the script imports {first}, which k6 {version} does not have: take a k6 that has it"
        ));
    }
    let or = if version >= RESOLVES {
        format!(
            "; or set {RESOLUTION} to \"true\" in the env of spec.runner, and each pod has such a k6 built for it"
        )
    } else {
        String::new()
    };
    Some(format!(
        "the script imports {}, which the k6 {version} of the image does not have: build an image with it (xk6 \
         does), and set spec.runner.image{or}",
        extensions.join(" and ")
    ))
}

/// `unknown flag: --no-such-flag`
fn unknown_flag(error: &str) -> Option<&str> {
    let (_, rest) = error.split_once("unknown flag: --")?;
    rest.split_whitespace().next()
}

/// `unknown shorthand flag: 'Z' in -qZ`
fn unknown_letter(error: &str) -> Option<char> {
    let (_, rest) = error.split_once("unknown shorthand flag: '")?;
    rest.chars().next()
}

#[cfg(test)]
mod tests {
    use super::explained;
    use crate::k6::{Arguments, Flags};

    fn told(version: &str, error: &str, words: &[&str]) -> Option<String> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let flags = Flags::of_run();
        explained(
            error,
            version.parse().unwrap(),
            &Arguments::parse(&words, &flags),
            &flags,
        )
    }

    #[test]
    fn unknown_flag_is_told_with_its_successor() {
        assert_eq!(
            told("2.2.0", "unknown flag: --no-summary", &["--no-summary"]).as_deref(),
            Some("k6 2.2.0 has no flag --no-summary: use --summary-mode=disabled")
        );
        assert_eq!(
            told("2.0.0", "invalid summary mode", &["--summary-mode", "legacy"]).as_deref(),
            Some("k6 2.0.0 has no --summary-mode=legacy: use --summary-mode=compact")
        );
        assert_eq!(
            told("2.0.0", "invalid summary mode", &["--summary-mode", "fancy"]),
            None
        );
        assert_eq!(
            told("1.1.0", "unknown shorthand flag: 'Z' in -qZ", &["-qZ"]).as_deref(),
            Some("k6 1.1.0 has no flag -Z: remove it, or take a k6 that has it")
        );
    }

    #[test]
    fn missing_extension_is_named_with_what_the_image_needs() {
        assert_eq!(
            told("1.1.0", "GoError: unknown module: k6/x/faker", &[]).as_deref(),
            Some(
                "the script imports k6/x/faker, which the k6 1.1.0 of the image does not have: build an image with it \
                 (xk6 does), and set spec.runner.image"
            )
        );
        let both = "unknown modules [\"k6/x/kafka\", \"k6/x/sql\"] were tried to be loaded";
        let told = told("2.2.0", both, &[]).unwrap();
        assert!(
            told.starts_with("the script imports k6/x/kafka and k6/x/sql, which the k6 2.2.0"),
            "{told}"
        );
        assert!(
            told.contains("set K6_AUTO_EXTENSION_RESOLUTION to \"true\""),
            "{told}"
        );
    }

    #[test]
    fn module_that_is_no_extension_needs_another_k6() {
        assert_eq!(
            told("0.57.0", "GoError: unknown module: k6/secrets", &[]).as_deref(),
            Some("the script imports k6/secrets, which k6 0.57.0 does not have: take a k6 that has it")
        );
        assert_eq!(told("0.57.0", "GoError: unknown module: lodash", &[]), None);
        assert_eq!(told("0.57.0", "panic", &[]), None);
    }
}
