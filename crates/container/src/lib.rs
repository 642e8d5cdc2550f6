//! From an OCI runtime spec to kernel state: cgroups, namespaces, mounts, privileges
