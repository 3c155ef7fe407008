//! Checks texts that become the environment or the arguments of a container: the operating system must be able to pass
//! them to a program.

use super::arguments;
use super::spec_error::SpecError;
use crate::api::{PodSettings, Spec};
use k8s_openapi::api::core::v1::EnvVar;

/// Refuses variables and words that can't be passed to a program, in every part of a spec.
pub(super) fn check_environment(spec: &Spec) -> Result<(), SpecError> {
    let none = PodSettings::default();
    let initializer = spec
        .initializer
        .as_ref()
        .map_or(&none, |initializer| &initializer.pod);
    let parts = [
        ("podTemplate", &spec.pod_template, &none.init_containers),
        ("initializer", &initializer.common, &initializer.init_containers),
        ("runner", &spec.runner.common, &spec.runner.init_containers),
        ("starter", &spec.starter.common, &spec.starter.init_containers),
    ];
    for (part, common, containers) in parts {
        variables(part, &common.env)?;
        for (i, container) in containers.iter().enumerate() {
            let part = format!("{part}.initContainers[{i}]");
            variables(&part, &container.env)?;
            for (field, words) in [("command", &container.command), ("args", &container.args)] {
                for word in words {
                    carried(&format!("{part}.{field}"), word)?;
                }
            }
        }
    }
    Ok(())
}

fn variables(part: &str, env: &[EnvVar]) -> Result<(), SpecError> {
    for (i, variable) in env.iter().enumerate() {
        let field = format!("{part}.env[{i}]");
        let name = &variable.name;
        let fits = |c: char| matches!(c, ' '..='~') && c != '=';
        if name.is_empty() || !name.chars().all(fits) {
            return Err(SpecError::Variable {
                field,
                name: name.clone(),
            });
        }
        carried(&field, variable.value.as_deref().unwrap_or_default())?;
    }
    Ok(())
}

fn carried(field: &str, text: &str) -> Result<(), SpecError> {
    match arguments::uncarried(text) {
        Some(what) => Err(SpecError::Uncarried {
            field: field.to_owned(),
            what,
        }),
        None => Ok(()),
    }
}
