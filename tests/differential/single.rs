//! A script run by a single k6, as its user would without the operator.

use crate::k6::{k6_binary, unused_address};
use crate::script::{Script, version as read};
use crate::site::Site;
use crate::{Came, InPlace};
use k6_operator::k6::log::last_words;
use k6_operator::objects::split;
use serde_json::Value;
use std::process::{Command, Stdio};

/// The version of the k6 that is tested.
pub fn version() -> (u32, u32) {
    let output = Command::new(k6_binary()).arg("version").output().unwrap();
    read(&String::from_utf8(output.stdout).unwrap())
}

/// What handleSummary() says in `DATA{...}`: by what it returns, or to its console.
pub fn data_of(log: &str) -> Option<Value> {
    let returned = log.lines().find_map(|line| line.strip_prefix("DATA"));
    let logged = || {
        let line = log.lines().find(|line| line.contains(r#"msg="DATA"#))?;
        let (_, quoted) = line.split_once("msg=")?;
        let (quoted, _) = quoted.rsplit_once(" source=console")?;
        let text: String = serde_json::from_str(quoted).unwrap();
        Some(text.strip_prefix("DATA").unwrap().to_owned())
    };
    let json = returned.map(str::to_owned).or_else(logged)?;
    Some(serde_json::from_str(&json).unwrap())
}

/// Result and reason that a run of the operator has where a single k6 ends with this code.
/// <https://pkg.go.dev/go.k6.io/k6/errext/exitcodes>
fn verdict(code: Option<i32>) -> (&'static str, &'static str) {
    match code {
        Some(0) => ("Passed", "AllRunnersPassed"),
        Some(99) => ("Failed", "ThresholdsCrossed"),
        Some(103 | 105 | 108) => ("Aborted", "TestAborted"),
        Some(110) => ("Failed", "TestFailed"),
        Some(_) | None => ("Error", "RunnerFailed"),
    }
}

pub async fn run(script: &Script, site: &Site) -> Came {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("script.js");
    std::fs::write(&path, script.that_tells()).unwrap();
    let output = tokio::process::Command::new(k6_binary())
        .args([
            "run",
            "--quiet",
            "--no-usage-report",
            &format!("--address={}", unused_address()),
        ])
        .args(split(&script.arguments).unwrap())
        .arg(&path)
        .envs(script.environment.iter().map(|(name, value)| (name, value)))
        .env("SITE", format!("http://{}", site.address))
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    let (result, reason) = verdict(output.status.code());
    Came {
        result,
        reason,
        message: last_words(&err),
        is_started: true,
        data: data_of(&format!("{out}\n{err}")),
        in_place: script.in_place.is_some().then_some(InPlace {
            text: out,
            error: err,
        }),
    }
}
