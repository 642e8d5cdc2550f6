# What the samples of the spin-operator show. Sourced by checks.sh.

annotations_and_labels_are_where_the_app_puts_them() {
    app annotated "  replicas: 1
		  deploymentAnnotations: {deployment: one}
		  podAnnotations: {pod: two}
		  podLabels: {label: three}
		  serviceAnnotations: {service: four}" >/dev/null
    ready annotated
    [ "$(kubectl get deployment annotated -o jsonpath='{.metadata.annotations.deployment}')" = one ]
    [ "$(of_pod annotated .metadata.annotations.pod)" = two ]
    [ "$(of_pod annotated .metadata.labels.label)" = three ]
    [ "$(kubectl get service annotated -o jsonpath='{.metadata.annotations.service}')" = four ]
    eventually 20 get annotated /hello
    gone annotated
}

variables_come_from_values_secrets_and_config_maps() {
    kubectl create configmap greetings --from-literal en="hello from a map" >/dev/null
    kubectl create secret generic greetings --from-literal en="hello from a secret" >/dev/null
    local source expected
    while IFS='|' read -r source expected; do
        app variables "  replicas: 1
		  variables: [{name: greeting, $source}]" "$behaviours" >/dev/null
        eventually 60 answers variables '/b/variable?name=greeting' "$expected"
    done <<-'EOF2'
		value: "hello from a value"|hello from a value
		valueFrom: {configMapKeyRef: {name: greetings, key: en}}|hello from a map
		valueFrom: {secretKeyRef: {name: greetings, key: en}}|hello from a secret
	EOF2
    gone variables
    kubectl delete configmap,secret greetings >/dev/null
}

selected_components_answer_and_others_do_not() {
    local folder=$scratch/salutations component
    mkdir -p "$folder"
    cp "$app"/target/wasm32-wasip1/release/hello_rust.wasm "$folder/hello.wasm"
    {
        printf 'spin_manifest_version = 2\n[application]\nname = "salutations"\n'
        for component in hello goodbye; do
            printf '[[trigger.http]]\nroute = "/%s"\ncomponent = "%s"\n[component.%s]\nsource = "hello.wasm"\n' \
                $component $component $component
        done
    } >"$folder/spin.toml"
    push_app "$folder" "$registry/spinlet-tests/salutations:1"
    app salutations "  replicas: 1
		  components: [hello]" ghcr.io/spinlet-tests/salutations:1 >/dev/null
    ready salutations
    eventually 20 get salutations /hello
    [ "$(curl -sS -o /dev/null -w '%{http_code}' "http://$(service salutations)/goodbye")" = 404 ]
    gone salutations
}

# A Redis of the node stands in for the foreign service; its password is known to
# the Secret only.
a_runtime_configuration_has_the_values_of_its_secrets() {
    start redis redis-server --bind "$node_address" --port 6379 --requirepass s3cret --save ''
    eventually 20 redis-cli -h "$node_address" -a s3cret --no-auth-warning ping
    kubectl create secret generic my-super-secret --from-literal url="redis://:s3cret@$node_address:6379" >/dev/null
    app stored "  replicas: 1
		  runtimeConfig:
		    keyValueStores:
		    - name: default
		      type: redis
		      options: [{name: url, valueFrom: {secretKeyRef: {name: my-super-secret, key: url}}}]" \
        ghcr.io/spinlet-tests/stores:1 >/dev/null
    ready stored
    eventually 20 get stored '/set?key=color&value=green'
    [ "$(redis-cli -h "$node_address" -a s3cret --no-auth-warning --scan | wc -l)" = 1 ]
    [ "$(get stored '/get?key=color')" = green ]
    ! kubectl get spinapp,deployment,pod -o yaml | grep -q s3cret
    gone stored
    kubectl delete secret my-super-secret >/dev/null
}

a_private_image_needs_its_pull_secret() {
    local image=127.0.0.1:5001/private/hello:1
    app private "  replicas: 1" "$image" >/dev/null
    eventually 60 says "^(ErrImagePull|ImagePullBackOff): .*imagePullSecrets" private
    kubectl create secret docker-registry spin-image-secret --docker-server 127.0.0.1:5001 \
        --docker-username me --docker-password s3cret >/dev/null
    kubectl patch spinapp private --type merge -p '{"spec": {"imagePullSecrets": [{"name": "spin-image-secret"}]}}' >/dev/null
    ready private
    eventually 20 get private /hello
    gone private
    kubectl delete secret spin-image-secret >/dev/null
}

visits() { get volume-mount-spinapp / | grep -oE '^[0-9]+'; }

# /mnt/data is a folder of this cluster's node.
a_store_on_a_volume_outlives_its_pods() {
    kubectl apply -f "$repository/examples/spinapp-volume.yaml" >/dev/null
    ready volume-mount-spinapp
    eventually 20 visits
    local before uid
    before=$(visits)
    [ "$(visits)" -eq $((before + 1)) ]
    uid=$(of_pod volume-mount-spinapp .metadata.uid)
    kubectl delete pod -l core.spinkube.dev/app-name=volume-mount-spinapp >/dev/null
    ready volume-mount-spinapp
    eventually 20 test_not "$uid" of_pod volume-mount-spinapp .metadata.uid
    eventually 20 visits
    [ "$(visits)" -ge $((before + 3)) ]
    [ -s /mnt/data/visits.db ]
    gone volume-mount-spinapp
    kubectl delete -f "$repository/examples/spinapp-volume.yaml" --ignore-not-found >/dev/null
}

# Answers with the number of apps that listen.
publish_order() { kubectl exec deployment/redis -- redis-cli publish orders "$1" | grep -qx 1; }

# In the names of the cluster, and with a Redis that starts beside the app.
a_message_of_redis_starts_an_app() {
    kubectl apply -f "$repository/examples/spinapp-redis.yaml" >/dev/null
    ready redis-spinapp
    eventually 60 publish_order "two of them"
    eventually 20 bash -c "kubectl logs deployment/redis-spinapp | grep -qx 'order: two of them'"
    gone redis-spinapp
    kubectl delete -f "$repository/examples/spinapp-redis.yaml" --ignore-not-found >/dev/null
}

resources_are_limits_of_the_container() {
    app limited "  replicas: 1
		  resources: {limits: {cpu: 500m, memory: 500Mi}, requests: {cpu: 100m, memory: 64Mi}}" >/dev/null
    ready limited
    local uid pid group
    uid=$(of_pod limited .metadata.uid)
    for pid in $(pgrep -f spinlet-runtime); do
        if grep -q "$uid" "/proc/$pid/cgroup"; then break; fi
    done
    group=$(awk -F: '$2 == "memory" || $2 == "" {print $3; exit}' "/proc/$pid/cgroup")
    # Of either version of control groups one file is there.
    { cat /sys/fs/cgroup/{memory,}"$group"/memory.{limit_in_bytes,max} 2>/dev/null || true; } >"$scratch/limit"
    grep -qx $((500 * 1024 * 1024)) "$scratch/limit"
    gone limited
}

last_end() { of_pod "$1" ".status.containerStatuses[0].lastState.terminated.$2"; }

has_ended_by() { [ "$(last_end "$1" reason)" = "$2" ]; }

an_app_that_is_out_of_memory_is_told_as_that_and_starts_again() {
    app greedy "  replicas: 1
		  resources: {limits: {memory: 64Mi}}" "$behaviours" >/dev/null
    ready greedy
    eventually 20 get greedy /b/hello
    # The connection ends with the process.
    if get greedy '/b/memory?mib=200' 2>/dev/null; then return 1; fi
    eventually 60 has_ended_by greedy OOMKilled
    [ "$(last_end greedy exitCode)" = 137 ]
    [ "$(of_pod greedy '.status.containerStatuses[0].restartCount')" = 1 ]
    eventually 60 get greedy /b/hello
    gone greedy
}

a_failing_liveness_probe_restarts_the_app() {
    app unwell "  replicas: 1
		  checks: {liveness: {httpGet: {path: '/b/status?code=500'}, initialDelaySeconds: 1, periodSeconds: 1, failureThreshold: 2}}" \
        "$behaviours" >/dev/null
    eventually 90 bash -c "[ \"\$(kubectl get pods -l core.spinkube.dev/app-name=unwell -o jsonpath='{.items[0].status.containerStatuses[0].restartCount}')\" -ge 1 ]"
    gone unwell
    app unwell "  replicas: 1
		  checks: {liveness: {httpGet: {path: /b/hello}, initialDelaySeconds: 1, periodSeconds: 1, failureThreshold: 2}}" \
        "$behaviours" >/dev/null
    ready unwell
    sleep 6
    [ "$(of_pod unwell '.status.containerStatuses[0].restartCount')" = 0 ]
    gone unwell
}

a_failing_readiness_probe_takes_the_app_out_of_its_service() {
    app shy "  replicas: 1
		  checks: {readiness: {httpGet: {path: '/b/status?code=503'}, initialDelaySeconds: 1, periodSeconds: 1}}" \
        "$behaviours" >/dev/null
    eventually 60 bash -c "[ \"\$(kubectl get pods -l core.spinkube.dev/app-name=shy -o jsonpath='{.items[0].status.phase}')\" = Running ]"
    sleep 4
    says "^Progressing: 0 of 1" shy
    ! curl -sS -m 3 "http://$(service shy)/b/hello" 2>/dev/null
    [ "$(of_pod shy '.status.containerStatuses[0].restartCount')" = 0 ]
    gone shy
}
