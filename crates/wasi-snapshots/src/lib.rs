//! WASI as it was on 2023-10-18 and 2023-11-10, served by today's host.
