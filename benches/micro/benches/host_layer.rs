//! What our host adds to a request of an app without capabilities, over nothing but
//! wasmtime-wasi-http with the same engine and the same component: processor time of
//! the thread that serves, rounds of both in turn. The guest prints a line for each
//! request, in both to a pipe that somebody reads.
//!
//! ```text
//! cargo bench --package micro-benchmarks --bench host_layer
//! ```
use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::time::Duration;

use engine::{RuntimeSettings, new_engine};
use micro_benchmarks::{Client, Server, bare, hello, spinlet};
use wasmtime::component::Component;
use wasmtime::error::Context as _;
use wasmtime::{Result, ensure};

const ROUNDS: usize = 60;
const REQUESTS: u32 = 200;

struct Contender {
    name: &'static str,
    server: Server,
    client: Client,
    rounds: Vec<Duration>,
}

impl Contender {
    fn new(name: &'static str, server: Server) -> Result<Self> {
        let client = Client::connect(&server)?;
        Ok(Self { name, server, client, rounds: Vec::new() })
    }

    /// The processor time of a request, on average of a round.
    fn round(&mut self) -> Result<Duration> {
        let before = self.server.processor_time()?;
        for _ in 0..REQUESTS {
            self.client.get()?;
        }
        Ok(self.server.processor_time()?.saturating_sub(before) / REQUESTS)
    }

    fn quantile(&self, share: usize) -> Result<f64> {
        let mut rounds = self.rounds.clone();
        rounds.sort_unstable();
        let round = rounds.get((rounds.len() - 1) * share / 100).context("no round")?;
        Ok(round.as_secs_f64() * 1e6)
    }
}

/// Has everything that is printed from now on go to a pipe that is read, and gives
/// what standard output was.
fn guests_print_to_a_pipe() -> Result<File> {
    let output = std::io::stdout().as_fd().try_clone_to_owned()?;
    let (mut reader, writer) = std::io::pipe()?;
    rustix::stdio::dup2_stdout(&writer)?;
    std::thread::spawn(move || std::io::copy(&mut reader, &mut std::io::sink()));
    Ok(File::from(output))
}

fn main() -> Result<()> {
    let mut output = guests_print_to_a_pipe()?;
    let engine = new_engine(&RuntimeSettings::default())?;
    let component = Component::new(&engine, hello()?)?;
    let mut contenders = [
        Contender::new("wasmtime-wasi-http alone", bare(&engine, &component)?)?,
        Contender::new("spinlet", spinlet(&engine, &component)?)?,
    ];
    let [first, second] = &mut contenders;
    let (one, other) = (first.client.get()?, second.client.get()?);
    ensure!(one == other, "the two do not answer the same: {one:?} and {other:?}");
    for contender in &mut contenders {
        contender.round()?;
    }
    for number in 0..ROUNDS {
        // Who is first changes, so that neither always has the warmer caches.
        contenders.rotate_left(number % 2);
        for contender in &mut contenders {
            let round = contender.round()?;
            contender.rounds.push(round);
        }
    }
    contenders.sort_by_key(|contender| contender.name == "spinlet");
    writeln!(
        output,
        "{ROUNDS} rounds of {REQUESTS} requests each, in turn; microseconds of processor time of a request"
    )?;
    writeln!(output, "{:<26} {:>8} {:>8} {:>8}", "", "median", "25%", "75%")?;
    for contender in &contenders {
        let [middle, low, high] = [50, 25, 75].map(|share| contender.quantile(share));
        writeln!(output, "{:<26} {:>8.1} {:>8.1} {:>8.1}", contender.name, middle?, low?, high?)?;
    }
    let [alone, ours] = &contenders;
    let added = (ours.quantile(50)? / alone.quantile(50)? - 1.0) * 100.0;
    writeln!(output, "our host layer: {added:+.1}% (promised: at most 10%)")?;
    Ok(())
}
