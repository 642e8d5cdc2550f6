//! Where guests reach and how: HTTP, sockets and servers of other protocols, with
//! everything that a runtime configuration says about it. All servers are real and
//! on loopback; certificates are of an authority that the test made.

mod http;
mod limits;
mod tls;
mod triggers;

use anyhow::{Result, ensure};
use fs_err as fs;
use integration_tests::http::request;
use integration_tests::spinlet::{Served, Spinlet};
use integration_tests::workspace::guest;

/// A guest, served with a runtime configuration.
struct App {
    served: Served,
    _spinlet: Spinlet,
}

impl App {
    fn start(name: &str, config: &str) -> Result<Self> {
        Self::of(Spinlet::new()?, name, config)
    }

    fn of(spinlet: Spinlet, name: &str, config: &str) -> Result<Self> {
        let path = spinlet.folder().join("runtime-config.toml");
        fs::write(&path, config)?;
        let (app, path) = (guest(name)?.display().to_string(), path.display().to_string());
        let served = spinlet.up(&app, &["--runtime-config-file", &path])?;
        Ok(Self { served, _spinlet: spinlet })
    }

    /// What the guest answers to each line.
    fn ask(&self, path: &str, lines: &[impl AsRef<str>]) -> Result<Vec<String>> {
        let lines: Vec<&str> = lines.iter().map(AsRef::as_ref).collect();
        let body = lines.join("\n");
        let response = request(self.served.address(), "POST", path, &[], body.as_bytes())?;
        ensure!(response.status == 200, "{}\n{}", response.status, self.served.output());
        Ok(response.text().lines().map(str::to_owned).collect())
    }

    /// What the guest answers to one URL.
    fn fetch(&self, line: &str) -> Result<String> {
        Ok(self.ask("/fetch", &[line])?.concat())
    }

    fn expect(&self, line: &str, answer: &str) -> Result<()> {
        let found = self.fetch(line)?;
        let output = self.served.output();
        ensure!(found.contains(answer), "{line}: {found:?} instead of {answer:?}\n{output}");
        Ok(())
    }
}
