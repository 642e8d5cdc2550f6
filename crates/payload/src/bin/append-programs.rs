//! `append-programs BASE OUT NAME=PATH...`: writes a file that carries programs.

use std::error::Error;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

const USAGE: &str = "usage: append-programs BASE OUT NAME=PATH...";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let source = error.source().map(|source| format!(": {source}")).unwrap_or_default();
            let _ = writeln!(std::io::stderr().lock(), "append-programs: {error}{source}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<(), Box<dyn Error>> {
    let [base, out, programs @ ..] = arguments else {
        return Err(USAGE.into());
    };
    let programs = programs
        .iter()
        .map(|program| program.split_once('=').map(|(name, path)| (name, Path::new(path))))
        .collect::<Option<Vec<_>>>()
        .filter(|programs| !programs.is_empty())
        .ok_or(USAGE)?;
    payload::append(Path::new(base), &programs, Path::new(out))?;
    Ok(())
}
