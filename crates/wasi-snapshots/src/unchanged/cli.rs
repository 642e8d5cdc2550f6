//! `wasi:cli`.

use crate::Snapshot;
use crate::table::table;
use wasmtime::component::Linker;
use wasmtime_wasi::WasiView;
use wasmtime_wasi::cli::WasiCliView as _;
use wasmtime_wasi::p2::bindings::cli::{
    environment, exit, stderr, stdin, stdout, terminal_input, terminal_output, terminal_stderr,
    terminal_stdin, terminal_stdout,
};

type Input = terminal_input::TerminalInput;
type Output = terminal_output::TerminalOutput;

/// Links every import of `wasi:cli`.
pub(crate) fn add_to_linker<T: WasiView + 'static>(
    linker: &mut Linker<T>,
    snapshot: Snapshot,
) -> wasmtime::Result<()> {
    table!(snapshot.instance(linker, "wasi:cli/environment")?, T::cli, {
        "get-environment" => value environment::Host::get_environment[];
        "get-arguments" => value environment::Host::get_arguments[];
        "initial-cwd" => value environment::Host::initial_cwd[];
    });
    table!(snapshot.instance(linker, "wasi:cli/exit")?, T::cli, {
        "exit" => unit exit::Host::exit[status: Result<(), ()>];
    });
    table!(snapshot.instance(linker, "wasi:cli/stdin")?, T::cli, {
        "get-stdin" => value stdin::Host::get_stdin[];
    });
    table!(snapshot.instance(linker, "wasi:cli/stdout")?, T::cli, {
        "get-stdout" => value stdout::Host::get_stdout[];
    });
    table!(snapshot.instance(linker, "wasi:cli/stderr")?, T::cli, {
        "get-stderr" => value stderr::Host::get_stderr[];
    });
    table!(snapshot.instance(linker, "wasi:cli/terminal-input")?, T::cli, {
        "terminal-input" => resource terminal_input::HostTerminalInput::drop[terminal: Input];
    });
    table!(snapshot.instance(linker, "wasi:cli/terminal-output")?, T::cli, {
        "terminal-output" => resource terminal_output::HostTerminalOutput::drop[terminal: Output];
    });
    // The resources of the next three are those of the two above.
    table!(snapshot.instance(linker, "wasi:cli/terminal-stdin")?, T::cli, {
        "get-terminal-stdin" => value terminal_stdin::Host::get_terminal_stdin[];
    });
    table!(snapshot.instance(linker, "wasi:cli/terminal-stdout")?, T::cli, {
        "get-terminal-stdout" => value terminal_stdout::Host::get_terminal_stdout[];
    });
    table!(snapshot.instance(linker, "wasi:cli/terminal-stderr")?, T::cli, {
        "get-terminal-stderr" => value terminal_stderr::Host::get_terminal_stderr[];
    });
    Ok(())
}
