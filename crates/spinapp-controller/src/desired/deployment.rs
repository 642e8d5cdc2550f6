//! The Deployment of an app.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec};
use k8s_openapi::api::core::v1::{
    Container, ContainerPort, HTTPGetAction, HTTPHeader, PodSpec, PodTemplateSpec, Probe,
    ResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt as _;
use spinapp_api::{
    DeploymentConfig, HealthCheck, PodOptions, SpinApp, SpinAppExecutor, SpinAppSpec,
};

use super::environment::environment;
use super::{
    Contradiction, PORT, PORT_NAME, Situation, metadata, mounts, pod_security, pod_selector, some,
};

/// The annotation that makes a changed Secret or ConfigMap a new roll-out.
const REFERENCES_ANNOTATION: &str = "spinlet.dev/references-digest";

/// How a pod runs the app.
enum Way<'a> {
    /// Under a RuntimeClass: the node's shim runs the artifact itself.
    RuntimeClass(&'a str),
    /// In an ordinary container with the `spin` command line.
    SpinImage(&'a str),
}

pub(super) fn deployment(situation: &Situation<'_>) -> Result<Deployment, Contradiction> {
    let app = situation.app;
    let none = DeploymentConfig::default();
    let config = situation.executor.spec.deployment_config.as_ref().unwrap_or(&none);
    let way = way(situation.executor, config)?;
    let replicas = if app.spec.enable_autoscaling { None } else { app.spec.replicas };
    let selector = pod_selector(&app.name_any());
    Ok(Deployment {
        metadata: metadata(app, &app.spec.deployment_annotations),
        spec: DeploymentSpec {
            replicas,
            selector: LabelSelector {
                match_labels: Some(selector.clone()),
                ..LabelSelector::default()
            },
            template: PodTemplateSpec {
                metadata: Some(pod_metadata(situation, selector)),
                spec: Some(pod(situation, config, &way)?),
            },
            ..DeploymentSpec::default()
        },
        ..Deployment::default()
    })
}

fn way<'a>(
    executor: &SpinAppExecutor,
    config: &'a DeploymentConfig,
) -> Result<Way<'a>, Contradiction> {
    match (&config.runtime_class_name, &config.spin_image) {
        (Some(class), None) => Ok(Way::RuntimeClass(class)),
        (None, Some(image)) => Ok(Way::SpinImage(image)),
        (None, None) => Err(Contradiction::ExecutorWithoutWay(executor.name_any())),
        (Some(_), Some(_)) => Err(Contradiction::ExecutorWithTwoWays(executor.name_any())),
    }
}

/// The labels of the selector win over those of the app.
fn pod_metadata(situation: &Situation<'_>, selector: BTreeMap<String, String>) -> ObjectMeta {
    let spec = &situation.app.spec;
    let mut labels = spec.pod_labels.clone();
    labels.extend(selector);
    let mut annotations = spec.pod_annotations.clone();
    if let Some(digest) = situation.references_digest {
        annotations.insert(REFERENCES_ANNOTATION.to_owned(), digest.to_owned());
    }
    ObjectMeta { labels: Some(labels), annotations: some(annotations), ..ObjectMeta::default() }
}

fn pod(
    situation: &Situation<'_>,
    config: &DeploymentConfig,
    way: &Way<'_>,
) -> Result<PodSpec, Contradiction> {
    let spec = &situation.app.spec;
    let defaults = PodOptions::default();
    let options = spec.pod_options.as_ref().unwrap_or(&defaults);
    let generated = mounts::generated(config, situation.runtime_config_secret);
    let (generated_volumes, generated_mounts): (Vec<_>, Vec<_>) = generated.into_iter().unzip();

    let mut app = app_container(situation.app, config, way)?;
    app.volume_mounts =
        some(spec.volume_mounts.iter().cloned().chain(generated_mounts).collect::<Vec<_>>());
    app.security_context = pod_security::of_container(options, situation.restricted);
    let containers = [app].into_iter().chain(options.sidecars.iter().cloned()).collect();

    Ok(PodSpec {
        runtime_class_name: match way {
            Way::RuntimeClass(class) => Some((*class).to_owned()),
            Way::SpinImage(_) => None,
        },
        service_account_name: spec.service_account_name.clone().filter(|name| !name.is_empty()),
        image_pull_secrets: some(spec.image_pull_secrets.clone()),
        volumes: some(spec.volumes.iter().cloned().chain(generated_volumes).collect::<Vec<_>>()),
        containers,
        init_containers: some(options.init_containers.clone()),
        node_selector: some(options.node_selector.clone()),
        tolerations: some(options.tolerations.clone()),
        affinity: options.affinity.clone(),
        topology_spread_constraints: some(options.topology_spread_constraints.clone()),
        security_context: pod_security::of_pod(options, situation.restricted),
        priority_class_name: options.priority_class_name.clone(),
        termination_grace_period_seconds: options.termination_grace_period_seconds,
        ..PodSpec::default()
    })
}

fn app_container(
    app: &SpinApp,
    config: &DeploymentConfig,
    way: &Way<'_>,
) -> Result<Container, Contradiction> {
    let spec = &app.spec;
    let options = spec.pod_options.as_ref();
    let (image, command, args) = match way {
        // CRI refuses a container without a command, and an artifact has none.
        Way::RuntimeClass(_) => (spec.image.clone(), Some(vec!["/".to_owned()]), None),
        Way::SpinImage(image) => ((*image).to_owned(), None, Some(spin_arguments(spec))),
    };
    let checks = spec.checks.clone().unwrap_or_default();
    let resources = spec.resources.clone().map(|resources| ResourceRequirements {
        limits: some(resources.limits),
        requests: some(resources.requests),
        ..ResourceRequirements::default()
    });
    Ok(Container {
        name: app.name_any(),
        image: Some(image),
        command,
        args,
        image_pull_policy: options
            .and_then(|options| options.image_pull_policy)
            .map(|policy| policy.as_str().to_owned()),
        ports: Some(vec![ContainerPort {
            name: Some(PORT_NAME.to_owned()),
            container_port: PORT,
            ..ContainerPort::default()
        }]),
        env: some(environment(spec, config)?),
        env_from: options.and_then(|options| some(options.env_from.clone())),
        resources,
        liveness_probe: checks.liveness.as_ref().and_then(probe),
        readiness_probe: checks.readiness.as_ref().and_then(probe),
        ..Container::default()
    })
}

fn spin_arguments(spec: &SpinAppSpec) -> Vec<String> {
    let fixed = ["up", "--listen", "0.0.0.0:80", "-f", &spec.image];
    let config = ["--runtime-config-file", "/runtime-config.toml"];
    let components = spec.components.iter().flatten();
    let components = components.flat_map(|component| ["--component-id", component.as_str()]);
    fixed.into_iter().chain(config).chain(components).map(str::to_owned).collect()
}

/// A check without a request checks nothing.
fn probe(check: &HealthCheck) -> Option<Probe> {
    let request = check.http_get.as_ref()?;
    let headers = request
        .http_headers
        .iter()
        .map(|header| HTTPHeader { name: header.name.clone(), value: header.value.clone() });
    Some(Probe {
        http_get: Some(HTTPGetAction {
            path: Some(request.path.clone()),
            port: IntOrString::Int(PORT),
            http_headers: some(headers.collect::<Vec<_>>()),
            ..HTTPGetAction::default()
        }),
        initial_delay_seconds: Some(check.initial_delay_seconds),
        timeout_seconds: Some(check.timeout_seconds),
        period_seconds: Some(check.period_seconds),
        success_threshold: Some(check.success_threshold),
        failure_threshold: Some(check.failure_threshold),
        ..Probe::default()
    })
}
