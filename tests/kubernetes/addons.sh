# What clusters usually come with, as processes of the node: names of Services, and
# what `kubectl top` and autoscalers ask for. Sourced by scripts/test-kubernetes.

names_of_services() {
    cat >"$scratch/Corefile" <<-EOF
		.:53 {
		    bind $node_address
		    errors
		    kubernetes cluster.local {
		        kubeconfig $KUBECONFIG
		    }
		}
	EOF
    start coredns coredns -conf "$scratch/Corefile"
}

# A Service whose one endpoint is the node.
usage_of_pods() {
    start metrics-server metrics-server --kubeconfig "$KUBECONFIG" \
        --authentication-kubeconfig "$KUBECONFIG" --authorization-kubeconfig "$KUBECONFIG" \
        --bind-address "$node_address" --secure-port 4443 --cert-dir "$scratch/metrics-server" \
        --kubelet-insecure-tls --kubelet-preferred-address-types InternalIP --kubelet-request-timeout 5s \
        --metric-resolution 10s
    kubectl apply -f - >/dev/null <<-EOF
		apiVersion: v1
		kind: Service
		metadata: {name: metrics-server, namespace: kube-system}
		spec: {ports: [{port: 443, targetPort: 4443}]}
		---
		apiVersion: discovery.k8s.io/v1
		kind: EndpointSlice
		metadata: {name: metrics-server, namespace: kube-system, labels: {kubernetes.io/service-name: metrics-server}}
		addressType: IPv4
		ports: [{port: 4443, name: ""}]
		endpoints: [{addresses: [$node_address]}]
		---
		apiVersion: apiregistration.k8s.io/v1
		kind: APIService
		metadata: {name: v1beta1.metrics.k8s.io}
		spec:
		  group: metrics.k8s.io
		  version: v1beta1
		  service: {name: metrics-server, namespace: kube-system}
		  insecureSkipTLSVerify: true
		  groupPriorityMinimum: 100
		  versionPriority: 100
	EOF
    # An API that is registered and does not answer would hold up the deletion of
    # namespaces.
    eventually 60 kubectl get --raw /apis/metrics.k8s.io/v1beta1
}
