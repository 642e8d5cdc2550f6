//! What each process does first and last: environment, logging, error chains, exit codes
