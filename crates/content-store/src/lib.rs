//! Read a container's Spin artifact from containerd's content store
