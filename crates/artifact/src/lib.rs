//! Spin apps as OCI artifacts: read, verify, unpack and pack them
