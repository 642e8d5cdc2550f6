//! The program behind `spinlet bench`.

use std::io::Write as _;
use std::process::ExitCode;

use bench::arguments::Arguments;
use clap::Parser as _;

fn main() -> ExitCode {
    match bench::bench::run(Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            // Nobody is left to be told when even that fails.
            let text = process_setup::chain(error.as_ref());
            let _ = writeln!(std::io::stderr().lock(), "Error: {text}");
            ExitCode::FAILURE
        }
    }
}
