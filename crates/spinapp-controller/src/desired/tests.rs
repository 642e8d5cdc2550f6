use serde_json::{Value, json};

use super::*;

fn executor(config: Value) -> SpinAppExecutor {
    serde_json::from_value(json!({
        "apiVersion": "core.spinkube.dev/v1alpha1",
        "kind": "SpinAppExecutor",
        "metadata": {"name": "containerd-shim-spin", "namespace": "a"},
        "spec": {"createDeployment": true, "deploymentConfig": config},
    }))
    .unwrap()
}

fn shim() -> SpinAppExecutor {
    executor(json!({"runtimeClassName": "wasmtime-spin-v2"}))
}

fn app(fields: Value) -> SpinApp {
    let mut spec = json!({"image": "registry/app:1", "executor": "e", "replicas": 2});
    spec.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    serde_json::from_value(json!({
        "apiVersion": "core.spinkube.dev/v1alpha1",
        "kind": "SpinApp",
        "metadata": {"name": "shop", "namespace": "a", "uid": "u1"},
        "spec": spec,
    }))
    .unwrap()
}

fn try_objects(app: &SpinApp, executor: &SpinAppExecutor) -> Result<Objects, Contradiction> {
    let situation = Situation {
        app,
        executor,
        runtime_config_secret: "shop-1a2b",
        references_digest: None,
        restricted: false,
    };
    objects(&situation)
}

fn deployment(app: &SpinApp, executor: &SpinAppExecutor) -> Value {
    serde_json::to_value(try_objects(app, executor).unwrap().deployment.unwrap()).unwrap()
}

fn pod(fields: Value) -> Value {
    deployment(&app(fields), &shim())["spec"]["template"]["spec"].clone()
}

fn environment(fields: Value) -> Vec<String> {
    let pod = pod(fields);
    let variables = pod["containers"][0]["env"].as_array().unwrap();
    variables.iter().map(|it| format!("{}={}", it["name"].as_str().unwrap(), it["value"])).collect()
}

#[test]
fn the_smallest_app_gets_the_deployment_of_the_spin_operator() {
    assert_eq!(
        deployment(&app(json!({})), &shim()),
        json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {
                "name": "shop",
                "namespace": "a",
                "labels": {"core.spinkube.dev/app-name": "shop"},
                "ownerReferences": [{
                    "apiVersion": "core.spinkube.dev/v1alpha1", "kind": "SpinApp", "name": "shop",
                    "uid": "u1", "controller": true,
                }],
            },
            "spec": {
                "replicas": 2,
                "selector": {"matchLabels": {
                    "core.spinkube.dev/app-name": "shop",
                    "core.spinkube.dev/app.shop.status": "ready",
                }},
                "template": {
                    "metadata": {"labels": {
                        "core.spinkube.dev/app-name": "shop",
                        "core.spinkube.dev/app.shop.status": "ready",
                    }},
                    "spec": {
                        "runtimeClassName": "wasmtime-spin-v2",
                        "containers": [{
                            "name": "shop",
                            "image": "registry/app:1",
                            "command": ["/"],
                            "ports": [{"name": "http-app", "containerPort": 80}],
                            "env": [{"name": "SPIN_HTTP_LISTEN_ADDR", "value": "0.0.0.0:80"}],
                            "volumeMounts": [{
                                "name": "spin-runtime-config",
                                "mountPath": "/runtime-config.toml",
                                "subPath": "runtime-config.toml",
                                "readOnly": true,
                            }],
                        }],
                        "volumes": [{
                            "name": "spin-runtime-config",
                            "secret": {
                                "secretName": "shop-1a2b",
                                "optional": true,
                                "items": [{"key": "runtime-config.toml", "path": "runtime-config.toml"}],
                            },
                        }],
                    },
                },
            },
        })
    );
}

#[test]
fn the_service_is_that_of_the_spin_operator() {
    let app = app(json!({"serviceAnnotations": {"a": "b"}}));
    let service = try_objects(&app, &shim()).unwrap().service;
    let service = serde_json::to_value(service).unwrap();
    assert_eq!(service["metadata"]["annotations"], json!({"a": "b"}));
    assert_eq!(
        service["spec"],
        json!({
            "type": "ClusterIP",
            "selector": {"core.spinkube.dev/app.shop.status": "ready"},
            "ports": [{"protocol": "TCP", "port": 80, "targetPort": "http-app"}],
        })
    );
}

#[test]
fn the_environment_has_the_order_of_the_spin_operator() {
    let executor = executor(json!({"runtimeClassName": "c", "otel": {
        "exporter_otlp_logs_endpoint": "l", "exporter_otlp_endpoint": "e",
    }}));
    let app = app(json!({
        "variables": [{"name": "greetee", "value": "you"}],
        "components": ["a", "b"],
        "invocationLimits": {"memory": "128Mi"},
        "podOptions": {"env": [{"name": "LAST", "value": "x"}]},
    }));
    let env =
        deployment(&app, &executor)["spec"]["template"]["spec"]["containers"][0]["env"].clone();
    let names: Vec<_> = env.as_array().unwrap().iter().map(|it| it["name"].clone()).collect();
    assert_eq!(
        names,
        [
            "SPIN_VARIABLE_GREETEE",
            "SPIN_HTTP_LISTEN_ADDR",
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT",
            "SPIN_MAX_INSTANCE_MEMORY",
            "SPIN_COMPONENTS_TO_RETAIN",
            "LAST",
        ]
    );
}

#[test]
fn limits_and_components_become_what_the_shim_reads() {
    let found = environment(json!({
        "components": ["a", "b"], "invocationLimits": {"memory": "128Mi"},
    }));
    assert!(found.contains(&"SPIN_MAX_INSTANCE_MEMORY=\"134217728\"".to_owned()), "{found:?}");
    assert!(found.contains(&"SPIN_COMPONENTS_TO_RETAIN=\"a,b\"".to_owned()), "{found:?}");
}

#[test]
fn a_variable_may_come_from_a_secret() {
    let pod = pod(json!({"variables": [
        {"name": "token", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
    ]}));
    assert_eq!(
        pod["containers"][0]["env"][0],
        json!({"name": "SPIN_VARIABLE_TOKEN",
            "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}})
    );
}

#[test]
fn checks_become_probes_of_port_80() {
    let pod = pod(json!({"checks": {
        "liveness": {"httpGet": {"path": "/hello", "httpHeaders": [{"name": "a", "value": "b"}]}},
        "readiness": {"timeoutSeconds": 5},
    }}));
    let container = &pod["containers"][0];
    assert_eq!(
        container["livenessProbe"],
        json!({
            "httpGet": {"path": "/hello", "port": 80, "httpHeaders": [{"name": "a", "value": "b"}]},
            "initialDelaySeconds": 10, "timeoutSeconds": 1, "periodSeconds": 10,
            "successThreshold": 1, "failureThreshold": 3,
        })
    );
    assert_eq!(
        container["readinessProbe"],
        Value::Null,
        "a check without a request checks nothing"
    );
}

#[test]
fn an_autoscaled_app_leaves_the_number_of_pods_to_its_scaler() {
    let app = app(json!({"enableAutoscaling": true, "replicas": 0}));
    assert_eq!(deployment(&app, &shim())["spec"]["replicas"], Value::Null);
}

#[test]
fn labels_of_the_selector_win_over_those_of_the_app() {
    let app = app(json!({
        "podLabels": {"core.spinkube.dev/app-name": "other", "mine": "x"},
        "podAnnotations": {"p": "q"},
        "deploymentAnnotations": {"d": "e"},
    }));
    let deployment = deployment(&app, &shim());
    let pod = &deployment["spec"]["template"]["metadata"];
    assert_eq!(pod["labels"]["core.spinkube.dev/app-name"], "shop");
    assert_eq!(pod["labels"]["mine"], "x");
    assert_eq!(pod["annotations"], json!({"p": "q"}));
    assert_eq!(deployment["metadata"]["annotations"], json!({"d": "e"}));
}

#[test]
fn authorities_are_mounted_where_the_executor_says_so() {
    let executor = executor(json!({"runtimeClassName": "c", "installDefaultCACerts": true}));
    let pod = deployment(&app(json!({})), &executor)["spec"]["template"]["spec"].clone();
    assert_eq!(pod["volumes"][1]["secret"]["secretName"], "spin-ca");
    assert_eq!(pod["volumes"][1]["secret"]["optional"], true);
    assert_eq!(
        pod["containers"][0]["volumeMounts"][1]["mountPath"],
        "/etc/ssl/certs/ca-certificates.crt"
    );
}

#[test]
fn volumes_of_the_app_come_before_ours() {
    let pod = pod(json!({
        "volumes": [{"name": "data", "emptyDir": {}}],
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    }));
    assert_eq!(pod["volumes"][0]["name"], "data");
    assert_eq!(pod["containers"][0]["volumeMounts"][0]["mountPath"], "/data");
    assert_eq!(pod["volumes"][1]["name"], "spin-runtime-config");
}

#[test]
fn an_executor_with_a_spin_image_serves_in_an_ordinary_container() {
    let executor = executor(json!({"spinImage": "spin:1"}));
    let app = app(json!({"components": ["a"]}));
    let pod = deployment(&app, &executor)["spec"]["template"]["spec"].clone();
    assert_eq!(pod["runtimeClassName"], Value::Null);
    let container = &pod["containers"][0];
    assert_eq!(container["image"], "spin:1");
    assert_eq!(container["command"], Value::Null);
    assert_eq!(
        container["args"],
        json!([
            "up",
            "--listen",
            "0.0.0.0:80",
            "-f",
            "registry/app:1",
            "--runtime-config-file",
            "/runtime-config.toml",
            "--component-id",
            "a"
        ])
    );
}

#[test]
fn an_executor_without_deployments_leaves_only_the_service() {
    let mut executor = shim();
    executor.spec.create_deployment = false;
    let found = try_objects(&app(json!({})), &executor).unwrap();
    assert!(found.deployment.is_none() && found.disruption_budget.is_none());
    let error = try_objects(&app(json!({"podAnnotations": {"a": "b"}})), &executor).unwrap_err();
    assert!(error.to_string().starts_with("podAnnotations has no effect"), "{error}");
}

#[test]
fn contradictions_are_refused_in_words() {
    let error = try_objects(&app(json!({})), &executor(json!({}))).unwrap_err();
    assert!(error.to_string().contains("neither runtimeClassName nor spinImage"), "{error}");
    let both = executor(json!({"runtimeClassName": "c", "spinImage": "i"}));
    let error = try_objects(&app(json!({})), &both).unwrap_err();
    assert!(error.to_string().contains("both runtimeClassName and spinImage"), "{error}");
    let limits = app(json!({"invocationLimits": {"memory": "lots"}}));
    let error = try_objects(&limits, &shim()).unwrap_err();
    assert!(error.to_string().contains("\"lots\""), "{error}");
}

#[test]
fn the_options_of_the_pod_reach_the_pod() {
    let app = app(json!({"serviceAccountName": "me", "podOptions": {
        "nodeSelector": {"zone": "a"},
        "tolerations": [{"key": "gpu", "operator": "Exists"}],
        "sidecars": [{"name": "proxy", "image": "envoy"}],
        "initContainers": [{"name": "init", "image": "busybox"}],
        "imagePullPolicy": "Always",
        "terminationGracePeriodSeconds": 60,
        "priorityClassName": "high",
        "disruptionBudget": {"minAvailable": 1},
    }}));
    let objects = try_objects(&app, &shim()).unwrap();
    let pod = serde_json::to_value(objects.deployment.unwrap()).unwrap();
    let pod = pod["spec"]["template"]["spec"].clone();
    assert_eq!(pod["serviceAccountName"], "me");
    assert_eq!(pod["nodeSelector"], json!({"zone": "a"}));
    assert_eq!(pod["tolerations"][0]["key"], "gpu");
    assert_eq!(pod["containers"][0]["imagePullPolicy"], "Always");
    assert_eq!(pod["containers"][1]["name"], "proxy");
    assert_eq!(pod["initContainers"][0]["name"], "init");
    assert_eq!(pod["terminationGracePeriodSeconds"], 60);
    let budget = serde_json::to_value(objects.disruption_budget.unwrap()).unwrap();
    assert_eq!(budget["spec"]["minAvailable"], 1);
    assert_eq!(
        budget["spec"]["selector"]["matchLabels"]["core.spinkube.dev/app.shop.status"],
        "ready"
    );
}

#[test]
fn a_changed_reference_is_a_new_roll_out() {
    let (app, executor) = (app(json!({})), shim());
    let template = |digest| {
        let situation = Situation {
            app: &app,
            executor: &executor,
            runtime_config_secret: "s",
            references_digest: Some(digest),
            restricted: false,
        };
        objects(&situation).unwrap().deployment.unwrap().spec.template
    };
    assert_eq!(template("a"), template("a"));
    assert_ne!(template("a"), template("b"));
}

#[test]
fn a_restricted_namespace_gets_pods_that_it_admits() {
    let (app, executor) =
        (app(json!({"podOptions": {"securityContext": {"runAsUser": 1000}}})), shim());
    let situation = Situation {
        app: &app,
        executor: &executor,
        runtime_config_secret: "s",
        references_digest: None,
        restricted: true,
    };
    let pod = serde_json::to_value(objects(&situation).unwrap().deployment.unwrap()).unwrap();
    let pod = pod["spec"]["template"]["spec"].clone();
    assert_eq!(
        pod["securityContext"],
        json!({"runAsNonRoot": true, "runAsUser": 1000,
            "seccompProfile": {"type": "RuntimeDefault"}})
    );
    assert_eq!(
        pod["containers"][0]["securityContext"],
        json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}})
    );
}
