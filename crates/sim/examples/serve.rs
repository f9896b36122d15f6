//! A simulator on its own: `cargo run -p fleetlogs-sim --example serve -- SCENARIO [--listen ADDRESS] [--ready FILE]`.
//!
//! It serves until it is stopped. `fleetlogs sim` does the same with more comfort; this example allows trying the
//! simulator without building everything else.

use std::error::Error;
use std::net::SocketAddr;

use fleetlogs_sim::{Scenario, Simulator};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (mut scenario, mut listen, mut ready) = (None, SocketAddr::from(([127, 0, 0, 1], 0)), None);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--listen" => listen = arguments.next().ok_or("--listen needs an address")?.parse()?,
            "--ready" => ready = Some(arguments.next().ok_or("--ready needs a file")?),
            _ => scenario = Some(argument),
        }
    }
    let text =
        std::fs::read_to_string(scenario.ok_or("usage: serve SCENARIO [--listen ADDRESS] [--ready FILE]")?)?;
    let simulator = Simulator::start(Scenario::from_toml(&text)?, listen).await?;
    let document = serde_json::to_string_pretty(simulator.ready())?;
    match ready {
        // Written whole or not at all: whoever waits for the file may read it as soon as it exists.
        Some(file) => {
            let temporary = format!("{file}.new");
            std::fs::write(&temporary, document)?;
            std::fs::rename(&temporary, &file)?;
        }
        None => println!("{document}"),
    }
    std::future::pending().await
}
