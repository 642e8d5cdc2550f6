//! The environment of an app's container.

use k8s_openapi::api::core::v1::EnvVar;
use spinapp_api::{DeploymentConfig, SpinAppSpec};

use super::Contradiction;
use crate::quantity;

/// In the order of the spin-operator; what the app adds itself comes last and
/// therefore wins.
pub(super) fn environment(
    spec: &SpinAppSpec,
    config: &DeploymentConfig,
) -> Result<Vec<EnvVar>, Contradiction> {
    let mut environment: Vec<EnvVar> = spec.variables.iter().map(app_variable).collect();
    environment.push(plain("SPIN_HTTP_LISTEN_ADDR", "0.0.0.0:80"));
    environment.extend(telemetry(config));
    if let Some(memory) = spec.invocation_limits.get("memory") {
        let bytes = quantity::bytes(memory)
            .ok_or_else(|| Contradiction::InvocationMemory(memory.clone()))?;
        environment.push(plain("SPIN_MAX_INSTANCE_MEMORY", &bytes.to_string()));
    }
    if let Some(components) = &spec.components {
        environment.push(plain("SPIN_COMPONENTS_TO_RETAIN", &components.join(",")));
    }
    if let Some(options) = &spec.pod_options {
        environment.extend(options.env.iter().cloned());
    }
    Ok(environment)
}

fn app_variable(variable: &spinapp_api::Variable) -> EnvVar {
    EnvVar {
        name: format!("SPIN_VARIABLE_{}", variable.name.to_uppercase()),
        value: variable.value.clone(),
        value_from: variable.value_from.clone(),
    }
}

fn telemetry(config: &DeploymentConfig) -> Vec<EnvVar> {
    let Some(otel) = &config.otel else { return Vec::new() };
    let endpoints = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &otel.all),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &otel.traces),
        ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", &otel.metrics),
        ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", &otel.logs),
    ];
    let set = endpoints.into_iter().filter_map(|(name, endpoint)| {
        let endpoint = endpoint.as_deref().filter(|endpoint| !endpoint.is_empty())?;
        Some(plain(name, endpoint))
    });
    set.collect()
}

fn plain(name: &str, value: &str) -> EnvVar {
    EnvVar { name: name.to_owned(), value: Some(value.to_owned()), ..EnvVar::default() }
}
