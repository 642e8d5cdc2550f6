# What an app that does not run says about itself. Sourced by checks.sh.

a_missing_executor_is_said_in_words() {
    app lost >/dev/null
    kubectl patch spinapp lost --type merge -p '{"spec": {"executor": "nowhere"}}' >/dev/null
    eventually 30 says "^MissingExecutor: SpinAppExecutor \"nowhere\" exists neither" lost
    kubectl describe spinapp lost | grep -q "Warning  MissingExecutor"
    kubectl delete spinapp lost >/dev/null
}

an_image_that_cannot_be_pulled_is_said_in_words() {
    app unknown >/dev/null
    kubectl patch spinapp unknown --type merge -p '{"spec": {"image": "ghcr.io/nobody/nothing:1"}}' >/dev/null
    eventually 90 says "^(ErrImagePull|ImagePullBackOff): container \"unknown\"" unknown
    kubectl delete spinapp unknown >/dev/null
}

# The kubelet refuses a RuntimeClass that the cluster does not have, and containerd
# a handler that it does not know.
a_node_without_the_handler_is_said_in_words() {
    kubectl apply -f - >/dev/null <<-'EOF2'
		apiVersion: node.k8s.io/v1
		kind: RuntimeClass
		metadata: {name: elsewhere}
		handler: elsewhere
		---
		apiVersion: core.spinkube.dev/v1alpha1
		kind: SpinAppExecutor
		metadata: {name: elsewhere}
		spec: {createDeployment: true, deploymentConfig: {runtimeClassName: elsewhere}}
	EOF2
    app stranded >/dev/null
    kubectl patch spinapp stranded --type merge -p '{"spec": {"executor": "elsewhere"}}' >/dev/null
    eventually 60 says "^FailedCreatePodSandBox: .*does not know the handler" stranded
    gone stranded
    kubectl delete runtimeclass elsewhere >/dev/null
    kubectl delete spinappexecutor elsewhere --timeout=60s >/dev/null
}
