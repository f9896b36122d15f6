//! What the pace is worth: how much of an account a run uses, whatever the account does, and what that costs somebody
//! else who works with the same account.
//!
//! `just bench` runs it. The server (`fleetlogs sim`), the runs and the bystander (this program) are processes of their
//! own and speak HTTP. Every scene has goals, and its table says whether their medians meet them.
//!
//! `-- noise-5 halving` plays those scenes alone, and `--rounds N` plays each so often instead of three times. With
//! `--plots` it draws some of them into docs/design. With `--program FILE` another build of fleetlogs makes the runs, to
//! be compared; its pictures go to the target directory.

mod bystander;
mod client;
mod figures;
mod numbers;
mod peer;
mod plot;
mod run;
mod scenes;
#[path = "../server/mod.rs"]
mod server;

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::figures::Round;
use crate::plot::plot;
use crate::run::CONCURRENCY;
use crate::scenes::{SCENES, Scene};

struct Arguments {
    scenes: Vec<Scene>,
    rounds: usize,
    plots: bool,
    /// None: this build's.
    program: Option<PathBuf>,
}

impl Arguments {
    fn read() -> Self {
        let mut read = Self { scenes: Vec::new(), rounds: 3, plots: false, program: None };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                // Cargo says so to every benchmark.
                "--bench" => {}
                "--plots" => read.plots = true,
                "--rounds" => {
                    let rounds = arguments.next().and_then(|rounds| rounds.parse().ok());
                    read.rounds = rounds.filter(|rounds| *rounds > 0).expect("a number of rounds");
                }
                "--program" => read.program = Some(arguments.next().expect("a program").into()),
                name => {
                    let names = SCENES.map(|scene| scene.name).join(", ");
                    let scene = SCENES.iter().find(|scene| scene.name == name);
                    read.scenes.push(*scene.unwrap_or_else(|| panic!("no scene `{name}`, but {names}")));
                }
            }
        }
        if read.scenes.is_empty() {
            read.scenes = SCENES.to_vec();
        }
        read
    }

    fn program(&self) -> &Path {
        self.program.as_deref().unwrap_or(Path::new(env!("CARGO_BIN_EXE_fleetlogs")))
    }
}

fn main() {
    let arguments = Arguments::read();
    let mut verdicts = Vec::new();
    for scene in &arguments.scenes {
        println!("{}: {}\n{}", scene.name, scene.title, scene.terms());
        let mut rounds = Vec::new();
        for number in 1..=arguments.rounds {
            let round = Round::of(scene, arguments.program(), number);
            let goals = scene.goals.iter().map(|goal| {
                let value = round.figure(goal.figure);
                format!("{} {value:.4}", goal.figure)
            });
            println!("round {number}: {}", goals.collect::<Vec<_>>().join(", "));
            rounds.push(round);
        }
        verdicts.extend(report(scene, &rounds));
        if arguments.plots && scene.is_drawn {
            let leading = scene.goals[0].figure;
            rounds.sort_by(|one, other| one.figure(leading).total_cmp(&other.figure(leading)));
            draw(scene, &rounds[rounds.len() / 2], arguments.program.is_none());
        }
        println!();
    }
    println!("{:<20} {:<26} {:>9} {:>9} {:>9}  {:<9}", "scene", "figure", "median", "least", "most", "goal");
    for verdict in verdicts {
        println!("{verdict}");
    }
}

/// Prints medians, and writes them and the rounds as JSON. Returns a line for each goal.
fn report(scene: &Scene, rounds: &[Round]) -> Vec<String> {
    println!("{:>34} {:>9} {:>9} {:>9}", "", "median", "least", "most");
    let mut verdicts = Vec::new();
    let mut summary = serde_json::Map::new();
    for (name, _) in &rounds[0].figures {
        let in_order: Vec<f64> = rounds.iter().map(|round| round.figure(name)).collect();
        let mut values = in_order.clone();
        values.sort_by(f64::total_cmp);
        let (least, median, most) = (values[0], values[values.len() / 2], values[values.len() - 1]);
        println!("{name:>34} {median:>9.4} {least:>9.4} {most:>9.4}");
        let mut entry = json!({ "median": median, "least": least, "most": most, "rounds": in_order });
        if let Some(goal) = scene.goals.iter().find(|goal| goal.figure == *name) {
            let (bound, is_met) = (goal.bound.text(), goal.bound.is_met(median));
            let met = if is_met { "met" } else { "not met" };
            verdicts.push(format!(
                "{:<20} {name:<26} {median:>9.4} {least:>9.4} {most:>9.4}  {bound:<9} {met}",
                scene.name
            ));
            entry["goal"] = Value::from(bound);
            entry["met"] = Value::from(is_met);
        }
        summary.insert((*name).to_owned(), entry);
    }
    let document = json!({
        "scene": scene.name,
        "terms": scene.terms(),
        "concurrency": CONCURRENCY,
        "figures": summary,
    });
    let file = target_file(&format!("pace-{}.json", scene.name));
    std::fs::write(&file, document.to_string()).expect("the result can be written");
    println!("written to {}", file.display());
    verdicts
}

fn target_file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

fn draw(scene: &Scene, round: &Round, is_ours: bool) {
    let name = format!("pace-{}.svg", scene.name);
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/design");
    let file = if is_ours { docs.join(name) } else { target_file(&name) };
    std::fs::write(&file, plot(scene, &round.runs)).expect("the plot can be written");
    println!("written to {}", file.display());
}
