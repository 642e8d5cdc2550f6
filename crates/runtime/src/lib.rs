//! The runtime process: assemble an app, start, serve, drain, exit
