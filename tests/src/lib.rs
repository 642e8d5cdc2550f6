//! Support for tests that start real processes.
