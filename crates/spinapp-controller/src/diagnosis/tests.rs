use serde_json::json;

use super::*;

fn deployment(status: serde_json::Value) -> Deployment {
    serde_json::from_value(json!({
        "metadata": {"name": "shop", "generation": 2},
        "spec": {"replicas": 2, "selector": {}, "template": {}},
        "status": status,
    }))
    .unwrap()
}

fn pod(status: serde_json::Value) -> Pod {
    serde_json::from_value(json!({"metadata": {"name": "shop-1"}, "status": status})).unwrap()
}

fn waiting(reason: &str, message: &str, last: serde_json::Value) -> Pod {
    pod(json!({"containerStatuses": [{
        "name": "shop", "image": "i", "imageID": "", "ready": false, "restartCount": 1,
        "state": {"waiting": {"reason": reason, "message": message}},
        "lastState": last,
    }]}))
}

#[test]
fn an_app_whose_pods_all_take_traffic_serves() {
    let done = json!({"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2,
        "availableReplicas": 2, "readyReplicas": 2});
    let verdict = of_deployment(&deployment(done)).unwrap();
    assert_eq!((verdict.ready, verdict.reason.as_str()), (Ready::Yes, "Serving"));
}

#[test]
fn a_roll_out_that_is_not_observed_yet_is_not_complete() {
    let stale = json!({"observedGeneration": 1, "replicas": 2, "updatedReplicas": 2,
        "availableReplicas": 2});
    assert!(!is_complete(&deployment(stale)));
    let old_pods = json!({"observedGeneration": 2, "replicas": 3, "updatedReplicas": 2,
        "availableReplicas": 2});
    assert!(!is_complete(&deployment(old_pods)));
}

#[test]
fn a_pod_that_cannot_be_created_is_told_with_what_to_do() {
    let failed = json!({"conditions": [{"type": "ReplicaFailure", "status": "True",
        "reason": "FailedCreate",
        "message": "pod rejected: RuntimeClass \"wasmtime-spin-v2\" not found"}]});
    let verdict = of_deployment(&deployment(failed)).unwrap();
    assert_eq!(verdict.reason, "FailedCreate");
    assert!(verdict.message.contains("apply runtimeclass"), "{}", verdict.message);
}

#[test]
fn an_image_that_cannot_be_pulled_is_named() {
    let pods = [waiting("ImagePullBackOff", "Back-off pulling image \"x\"", json!({}))];
    let verdict = of_pods(&deployment(json!({})), &pods, None);
    assert_eq!(verdict.reason, "ImagePullBackOff");
    assert!(verdict.message.contains("Back-off pulling image \"x\""), "{}", verdict.message);
}

#[test]
fn a_registry_that_wants_credentials_is_told_apart() {
    let refusal = "pull access denied: authorization failed: no basic auth credentials";
    let pods = [waiting("ErrImagePull", refusal, json!({}))];
    let verdict = of_pods(&deployment(json!({})), &pods, None);
    assert!(verdict.message.contains("spec.imagePullSecrets"), "{}", verdict.message);
}

#[test]
fn a_crash_tells_how_the_app_ended() {
    let last = json!({"terminated": {"exitCode": 137, "reason": "OOMKilled"}});
    let pods = [waiting("CrashLoopBackOff", "back-off 10s", last)];
    let verdict = of_pods(&deployment(json!({})), &pods, None);
    assert!(verdict.message.contains("OOMKilled, exit code 137"), "{}", verdict.message);
}

#[test]
fn a_node_without_the_handler_is_told_with_what_to_do() {
    let message = "failed to get sandbox runtime: no runtime for \"spin\" is configured";
    let verdict = of_pods(&deployment(json!({})), &[pod(json!({}))], Some(message));
    assert_eq!(verdict.reason, "FailedCreatePodSandBox");
    assert!(verdict.message.contains("node installer"), "{}", verdict.message);
}

#[test]
fn a_cluster_without_a_ready_node_is_told_with_what_to_do() {
    let pods = [pod(json!({"conditions": [{"type": "PodScheduled", "status": "False",
        "reason": "Unschedulable",
        "message": "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector."}]}))];
    let verdict = of_pods(&deployment(json!({})), &pods, None);
    assert_eq!(verdict.reason, "Unschedulable");
    assert!(verdict.message.contains("spinlet.dev/ready=true"), "{}", verdict.message);
}

#[test]
fn an_app_that_is_just_starting_says_how_far_it_is() {
    let verdict = of_pods(&deployment(json!({"readyReplicas": 1})), &[], None);
    assert_eq!(verdict, Verdict::no("Progressing", "1 of 2 pods take traffic"));
}
