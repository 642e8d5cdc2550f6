//! A program: shows its arguments, copies its input, takes its time, or ends as
//! it is asked to.

use std::io::{Read, Write};
use std::process::ExitCode;
use std::time::Duration;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let number = || arguments.get(2).and_then(|text| text.parse().ok()).unwrap_or(0);
    match arguments.get(1).map(String::as_str) {
        Some("exit") => std::process::exit(number()),
        Some("return") => return ExitCode::from(number() as u8),
        Some("panic") => panic!("asked to panic"),
        Some("sleep") => {
            println!("asleep");
            std::thread::sleep(Duration::from_millis(number() as u64));
            println!("awake");
        }
        Some("copy") => {
            let mut input = Vec::new();
            std::io::stdin().read_to_end(&mut input).unwrap();
            std::io::stdout().write_all(&input).unwrap();
        }
        Some("bytes") => {
            let bytes: Vec<u8> = (0..number()).map(|at| at as u8).collect();
            std::io::stdout().write_all(&bytes).unwrap();
        }
        _ => {
            println!("arguments: {}", arguments.join(" "));
            println!("greeting: {}", std::env::var("GREETING").unwrap_or_default());
        }
    }
    ExitCode::SUCCESS
}
