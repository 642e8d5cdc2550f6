# Installing on a bare cluster, and taking it back. Sourced by checks.sh.

# objects: those on standard input, one a line, without the note that their tool
# leaves in them.
objects() {
    kubectl create --dry-run=client -o json -f - |
        jq -cS 'if .kind == "List" then .items[] else . end | del(.metadata.creationTimestamp)' | sort
}

# The chart has no namespace of its own, and Helm does not render resources with
# its templates.
the_chart_and_the_kustomization_are_the_one_file() {
    local folder=$repository/runtimeclass
    objects <"$folder/spinlet.yaml" >"$scratch/one"
    [ "$(wc -l <"$scratch/one")" -ge 15 ]
    kubectl kustomize "$folder" | objects >"$scratch/kustomized"
    diff "$scratch/one" "$scratch/kustomized"
    helm lint --strict "$folder/helm" >/dev/null
    { helm template spinlet "$folder/helm" --namespace spinlet --include-crds; echo ---; cat "$folder/namespace.yaml"; } |
        objects >"$scratch/charted"
    diff "$scratch/one" "$scratch/charted"
    helm template spinlet "$folder/helm" --namespace here --set registry=registry.example.com/me |
        grep -c 'image: "registry.example.com/me/' | grep -qx 2
}

as_deployer() { kubectl --kubeconfig "$scratch/deployer.conf" "$@"; }

# Each line is a question.
an_identity_of_its_own_may_install_and_no_more() {
    kubectl apply -f "$repository/runtimeclass/kyma/identity.yaml" >/dev/null
    "$repository/runtimeclass/kyma/kubeconfig" 1h >"$scratch/deployer.conf"
    local question
    while read -r question; do
        as_deployer auth can-i $question >/dev/null 2>&1 || { echo "it may not $question" >&2; return 1; }
    done <<-'EOF2'
		create customresourcedefinitions
		patch runtimeclass/wasmtime-spin-v2
		create clusterroles
		create daemonsets.apps -n spinlet
		patch deployments.apps/spinapp-controller -n spinlet
		create pods --subresource=portforward -n default
	EOF2
    # Of resources that the cluster does not have yet only the list can tell.
    as_deployer auth can-i --list -n default >"$scratch/rights"
    grep -qE '^spinapps.core.spinkube.dev .*create' "$scratch/rights"
    grep -qE '^apirules.gateway.kyma-project.io .*create' "$scratch/rights"
    while read -r question; do
        if as_deployer auth can-i $question >/dev/null 2>&1; then
            echo "it may $question" >&2
            return 1
        fi
    done <<-'EOF2'
		* *
		escalate clusterroles
		bind clusterroles
		impersonate users
		create pods
		create daemonsets.apps -n default
		delete nodes
		patch clusterroles/cluster-admin
		delete namespaces/default
		create pods --subresource=exec -n default
		create serviceaccounts --subresource=token -n spinlet
	EOF2
}

# By the identity of the test before, which has no other rights.
one_apply_makes_the_node_ready() {
    if [ ! -e "$scratch/deployer.conf" ]; then an_identity_of_its_own_may_install_and_no_more; fi
    node_files >"$scratch/node.before"
    as_deployer apply -f "$repository/runtimeclass/spinlet.yaml" >/dev/null
    eventually 120 kubectl wait node/node-1 --for=jsonpath='{.metadata.labels.spinlet\.dev/ready}'=true --timeout=1s
    kubectl wait node/node-1 --for=condition=SpinAppsReady --timeout=5s >/dev/null
    eventually 60 kubectl rollout status -n spinlet daemonset/node-installer --timeout=1s
    eventually 90 kubectl rollout status -n spinlet deployment/spinapp-controller --timeout=1s
}

# Everything where an installation may write, with its attributes and content.
node_files() {
    (
        cd /
        # One of them may not be there.
        { find etc/containerd etc/systemd/system opt var/lib/spinlet \
            -printf '%y %m %U:%G %p\n' -type f -exec sha256sum {} + 2>/dev/null || true; } | sort
    )
}

# The DaemonSet with another argument takes everything back.
the_uninstallation_leaves_the_node_as_it_was() {
    kubectl delete spinapps --all >/dev/null
    eventually 60 bash -c '[ -z "$(kubectl get pods -o name)" ]'
    kubectl patch daemonset -n spinlet node-installer --type json \
        -p '[{"op": "replace", "path": "/spec/template/spec/containers/0/args", "value": ["remove"]}]' >/dev/null
    eventually 90 cmp /etc/containerd/config.toml "$scratch/config.before"
    eventually 10 test_not true kubectl get node node-1 -o jsonpath='{.metadata.labels.spinlet\.dev/ready}'
    eventually 10 eval 'node_files | diff "$scratch/node.before" -'
    kubectl delete -f "$repository/runtimeclass/spinlet.yaml" --timeout=60s >/dev/null
}
