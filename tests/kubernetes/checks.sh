# The tests with a cluster, in the order in which they run, and what they have in
# common. Sourced by scripts/test-kubernetes.

checks=(
    the_chart_and_the_kustomization_are_the_one_file
    an_identity_of_its_own_may_install_and_no_more
    one_apply_makes_the_node_ready
    the_hello_world_app_answers_through_its_service
    the_rules_of_the_webhooks_hold_without_webhooks
    annotations_and_labels_are_where_the_app_puts_them
    variables_come_from_values_secrets_and_config_maps
    selected_components_answer_and_others_do_not
    a_runtime_configuration_has_the_values_of_its_secrets
    a_private_image_needs_its_pull_secret
    a_store_on_a_volume_outlives_its_pods
    a_message_of_redis_starts_an_app
    resources_are_limits_of_the_container
    an_app_that_is_out_of_memory_is_told_as_that_and_starts_again
    top_shows_what_apps_use
    a_failing_liveness_probe_restarts_the_app
    a_failing_readiness_probe_takes_the_app_out_of_its_service
    more_of_the_pod_is_under_one_key
    an_app_scales_from_1_to_20_and_back
    an_autoscaler_follows_the_load
    the_sample_for_keda_has_its_schema
    a_missing_executor_is_said_in_words
    an_image_that_cannot_be_pulled_is_said_in_words
    a_node_without_the_handler_is_said_in_words
    a_changed_secret_rolls_out
    a_roll_out_under_load_fails_no_request
    a_restart_of_containerd_and_of_the_kubelet_goes_unnoticed
    a_disruption_budget_holds_a_drain_up
    a_drained_node_comes_back_with_its_apps
    a_restricted_namespace_admits_apps
    an_executor_outlives_its_apps
    an_app_that_is_deleted_leaves_nothing
    the_spin_operator_runs_apps_with_our_shim_and_hands_them_over
    the_controller_shows_metrics
    every_panel_of_the_dashboard_shows_something
    the_uninstallation_leaves_the_node_as_it_was
)

# SPINLET_CHECKS: only those whose name matches, for work on one of them; what
# installs and the first app are always there.
selected() {
    [ -z "${SPINLET_CHECKS:-}" ] && return 0
    case $1 in one_apply_* | the_hello_world_*) return 0 ;; esac
    grep -qE "$SPINLET_CHECKS" <<<"$1"
}

for part in "$repository"/tests/kubernetes/checks/*.sh; do
    . "$part"
done

hello=ghcr.io/spinframework/containerd-shim-spin/examples/spin-rust-hello:v0.23.0
behaviours=ghcr.io/spinlet-tests/behaviours:1

# condition APP: the app's own words.
condition() {
    kubectl get spinapp "$@" -o jsonpath='{.status.conditions[?(@.type=="Ready")].reason}: {.status.conditions[?(@.type=="Ready")].message}'
}

# says PATTERN APP
says() { condition "$2" | grep -E "$1"; }

service() { kubectl get service "$1" -o jsonpath='{.spec.clusterIP}'; }

# get APP PATH: what the app answers through its Service.
get() { curl -fsS -m 10 "http://$(service "$1")$2"; }

# answers APP PATH TEXT: the whole answer is this line.
answers() { get "$1" "$2" | grep -qx "$3"; }

# app NAME [YAML [IMAGE]]: an app with more of a spec. Indentation by tabs is that
# of this file.
app() {
    tr -d '\t' <<-EOF2 | kubectl apply -f -
		apiVersion: core.spinkube.dev/v1alpha1
		kind: SpinApp
		metadata: {name: $1}
		spec:
		  image: ${3:-$hello}
		  executor: containerd-shim-spin
		${2:-  replicas: 1}
	EOF2
}

# ready APP: waits until it takes traffic.
ready() { eventually 120 kubectl wait "spinapp/$1" --for=condition=Ready --timeout=1s; }

# gone APP: deletes it and waits for its pods.
gone() {
    kubectl delete spinapp "$1" >/dev/null
    eventually 60 bash -c "[ -z \"\$(kubectl get pods -l core.spinkube.dev/app-name=$1 -o name)\" ]"
}

# pods_are APP COUNT: so many exist, in whatever state.
pods_are() { [ "$(kubectl get pods -l "core.spinkube.dev/app-name=$1" -o name | wc -l)" = "$2" ]; }

# test_not VALUE COMMAND...: the command prints something else.
test_not() {
    local value=$1
    shift
    [ "$("$@")" != "$value" ]
}

# of_pod APP PATH: a field of its pod.
of_pod() { kubectl get pods -l "core.spinkube.dev/app-name=$1" -o jsonpath="{.items[0]$2}"; }
