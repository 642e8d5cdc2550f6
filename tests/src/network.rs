//! A network of a test's own: nothing of it is seen on the machine.

use std::io::{BufRead as _, BufReader};
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};
use fs_err as fs;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::workspace::{require_root, system_program};

/// A network namespace with nothing but a loopback device, in which the thread
/// is until this is dropped. Processes and threads that it starts are there
/// too; the namespace and every device in it end with the last of them.
#[derive(Debug)]
pub struct PrivateNetwork {
    before: OwnedFd,
}

impl PrivateNetwork {
    /// Moves this thread into a new network.
    ///
    /// # Errors
    /// Fails without root.
    pub fn enter() -> Result<Self> {
        require_root()?;
        let before = fs::File::open("/proc/thread-self/ns/net")?.into_parts().0.into();
        let mut holder = Command::new(system_program("unshare")?)
            .args([
                "--net",
                "sh",
                "-c",
                "PATH=$PATH:/usr/sbin:/sbin ip link set lo up && echo up && read _",
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        let output = holder.stdout.take().context("no output")?;
        BufReader::new(output).read_line(&mut line)?;
        let entered = if line == "up\n" {
            let path = format!("/proc/{}/ns/net", holder.id());
            fs::File::open(path)
                .map_err(anyhow::Error::from)
                .and_then(|network| move_into(network.into_parts().0.into()))
        } else {
            Err(anyhow::anyhow!("no network namespace can be made"))
        };
        drop(holder.stdin.take());
        holder.wait()?;
        entered?;
        Ok(Self { before })
    }

    /// The devices of pods: one end of each pod's pair.
    ///
    /// # Errors
    /// Fails when the kernel does not tell.
    pub fn pod_devices(&self) -> Result<Vec<String>> {
        let table = fs::read_to_string("/proc/thread-self/net/dev")?;
        let names = table
            .lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(name, _)| name.trim().to_owned());
        Ok(names.filter(|name| name.starts_with("veth")).collect())
    }
}

impl Drop for PrivateNetwork {
    fn drop(&mut self) {
        let back = self.before.try_clone().map_err(anyhow::Error::from).and_then(move_into);
        if let Err(error) = back {
            // Worth a line, and nothing else can be done: the thread ends soon.
            let text = format!("cannot leave the test's network: {error:#}\n");
            let _ = std::io::Write::write_all(&mut std::io::stderr().lock(), text.as_bytes());
        }
    }
}

fn move_into(network: OwnedFd) -> Result<()> {
    move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))
        .context("cannot enter a network namespace")
}
