//! What it costs to share a run out, and to have its journal in Blob storage.
//!
//! `just bench` runs it. The same fleet of four accounts is collected in five ways: by `run` with its journal on disk, by
//! `run` with its journal in Blob storage, and by `fan-out` with one, two and three workers. The simulator, Azurite (blobs
//! and queues, in memory, from tests/tools) and every fleetlogs are processes of their own on this machine. Each
//! measurement has a simulator and an Azurite of its own. The ways take turns within a round, and each round begins with
//! another one; ratios are those to `run` on disk of the same round.
//!
//! In the scene `paced`, every account has a ceiling, as the service has: the fleet takes as long as its accounts, however
//! many processes there are. In the scene `unlimited`, the processes are the limit, and they share this machine's
//! processors with the simulator and with Azurite: more workers cannot be faster here than one.
//!
//! Time is from the start of the first process to the end of `run` or `fan-out`. Workers start together with `fan-out`,
//! and the time includes that they find the messages. Processor time is that of all fleetlogs processes. What storage was asked for
//! is what Azurite logged.
//!
//! | argument | what it does |
//! | --- | --- |
//! | `paced`, `unlimited` | that scene alone |
//! | `--rounds N` | each measurement so often instead of three times |
//! | `--quick` | fewer nodes: to try out the bench itself |

mod azurite;
mod requests;
#[path = "../server/mod.rs"]
mod server;
mod ways;

use std::path::Path;

use serde_json::{Value, json};

use crate::requests::Requests;
use crate::ways::{ACCOUNTS, Measured, Scene, WAYS};

const SCENES: [Scene; 2] = [
    Scene { name: "paced", nodes: 1_000, rate: Some(50), latency: "20ms" },
    Scene { name: "unlimited", nodes: 2_500, rate: None, latency: "0ms" },
];

struct Arguments {
    scenes: Vec<Scene>,
    rounds: usize,
}

impl Arguments {
    fn read() -> Self {
        let mut read = Self { scenes: vec![], rounds: 3 };
        let (mut quick, mut arguments) = (false, std::env::args().skip(1));
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                // Cargo says so to every benchmark.
                "--bench" => {}
                "--quick" => quick = true,
                "--rounds" => {
                    let rounds = arguments.next().and_then(|rounds| rounds.parse().ok());
                    read.rounds = rounds.filter(|rounds| *rounds > 0).expect("a number of rounds");
                }
                name => {
                    let scene = SCENES.into_iter().find(|scene| scene.name == name);
                    read.scenes.push(scene.unwrap_or_else(|| panic!("no scene `{name}`")));
                }
            }
        }
        if read.scenes.is_empty() {
            read.scenes = SCENES.to_vec();
        }
        if quick {
            read.scenes.iter_mut().for_each(|scene| scene.nodes /= 10);
        }
        read
    }
}

fn main() {
    let Arguments { scenes, rounds } = Arguments::read();
    for scene in scenes {
        println!("{scene}");
        let mut measured: [Vec<Measured>; WAYS.len()] = Default::default();
        for round in 0..rounds {
            for turn in 0..WAYS.len() {
                let way = (round + turn) % WAYS.len();
                measured[way].push(Measured::of(&scene, WAYS[way]));
            }
            let seconds = measured.iter().map(|of_way| format!("{:.2}", of_way[round].seconds));
            println!("round {}: {} s", round + 1, seconds.collect::<Vec<_>>().join(", "));
        }
        report(&scene, &measured);
        println!();
    }
}

/// Median, least and most.
fn spread(values: impl Iterator<Item = f64>) -> [f64; 3] {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    [values[values.len() / 2], values[0], values[values.len() - 1]]
}

/// Prints medians over the rounds, and writes them and every measurement as JSON.
fn report(scene: &Scene, measured: &[Vec<Measured>]) {
    let on_disk = &measured[0];
    println!("{:>20} {:>8} {:>7} {:>6} {:>15} {:>7}", "", "s", "more s", "ratio", "least to most", "CPU s");
    let mut ways = vec![];
    for (way, rounds) in WAYS.iter().zip(measured) {
        let [seconds, ..] = spread(rounds.iter().map(|round| round.seconds));
        let [cpu, ..] = spread(rounds.iter().map(|round| round.cpu));
        let [more, ..] =
            spread(rounds.iter().zip(on_disk).map(|(round, on_disk)| round.seconds - on_disk.seconds));
        let ratios = rounds.iter().zip(on_disk).map(|(round, on_disk)| round.seconds / on_disk.seconds);
        let ratio @ [median, least, most] = spread(ratios);
        let range = format!("{least:.3} to {most:.3}");
        println!("{:>20} {seconds:>8.2} {more:>7.2} {median:>6.3} {range:>15} {cpu:>7.2}", way.name());
        ways.push(json!({
            "way": way.name(),
            "seconds": seconds,
            "more_seconds": more,
            "ratio": ratio,
            "cpu_seconds": cpu,
            "rounds": rounds.iter().map(Measured::to_json).collect::<Vec<_>>(),
        }));
    }
    print_requests(scene, measured);
    let document =
        json!({ "accounts": ACCOUNTS, "nodes": scene.all_nodes(), "rate": scene.rate, "ways": ways });
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("scale-out-{}.json", scene.name));
    std::fs::write(&file, Value::to_string(&document)).expect("the result can be written");
    println!("written to {}", file.display());
}

/// What storage was asked for, and what that costs by the prices in [`Requests::price`].
fn print_requests(scene: &Scene, measured: &[Vec<Measured>]) {
    let nodes = f64::from(scene.all_nodes());
    print!("{:>20}", "requests");
    for (name, _) in Requests::default().named() {
        print!(" {name:>9}");
    }
    println!(" {:>12} {:>12} {:>10} {:>14}", "appends/node", "bytes/append", "bytes/node", "USD/1e6 nodes");
    for (way, rounds) in WAYS.iter().zip(measured).skip(1) {
        print!("{:>20}", way.name());
        for index in 0..Requests::default().named().len() {
            let [count, ..] = spread(rounds.iter().map(|round| f64::from(round.requests.named()[index].1)));
            print!(" {count:>9}");
        }
        let of = |figure: &dyn Fn(&Measured) -> f64| spread(rounds.iter().map(figure))[0];
        let appends = of(&|round| f64::from(round.requests.appends));
        let bytes = of(&|round| round.journal_bytes);
        let price = of(&|round| round.requests.price());
        println!(
            " {:>12.3} {:>12.0} {:>10.0} {:>14.2}",
            appends / nodes,
            bytes / appends,
            bytes / nodes,
            price * 1e6 / nodes
        );
    }
}
