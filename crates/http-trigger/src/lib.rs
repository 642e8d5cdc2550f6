//! Serve a Spin app over HTTP
