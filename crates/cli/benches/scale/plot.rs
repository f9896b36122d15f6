//! Draws the curve: cost over nodes, both in powers of ten. What grows as the nodes do is parallel to the dashed lines.

use std::fmt::Write as _;
use std::path::Path;

use crate::cost::Cost;
use crate::curve::{MeasuredSize, spread};

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 56.0;
/// Room for the names of the lines.
const RIGHT: f64 = 76.0;
const TOP: f64 = 48.0;
const BOTTOM: f64 = 36.0;
/// Between two names.
const LINE_HEIGHT: f64 = 14.0;

/// A picture.
struct Plot {
    file: &'static str,
    title: &'static str,
    /// What is drawn over the nodes.
    cost: fn(&Cost) -> f64,
    unit: &'static str,
}

const PLOTS: [Plot; 2] = [
    Plot {
        file: "scale-cpu.svg",
        title: "Processor time of each command over the number of nodes",
        cost: |cost| cost.cpu,
        unit: "s",
    },
    Plot {
        file: "scale-memory.svg",
        title: "Peak memory of each command over the number of nodes",
        cost: |cost| cost.peak_mib,
        unit: "MiB",
    },
];

/// Draws all pictures into docs/design.
pub(crate) fn draw(curve: &[MeasuredSize]) {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/design");
    for plot in PLOTS {
        let file = docs.join(plot.file);
        std::fs::write(&file, plot.svg(curve)).expect("the plot can be written");
        println!("written to {}", file.display());
    }
}

/// The line of a command: its points, as powers of ten.
struct Line {
    command: &'static str,
    points: Vec<(f64, f64)>,
}

impl Plot {
    fn lines(&self, curve: &[MeasuredSize]) -> Vec<Line> {
        let commands = curve.first().map_or(&[][..], |size| &size.commands);
        let line = |command: &'static str| {
            let at = |size: &MeasuredSize| {
                let rounds: Vec<f64> = size.rounds_of(command).iter().map(self.cost).collect();
                let (_, median, _) = spread(&rounds);
                // What is too little to be measured is drawn at the bottom.
                (f64::from(size.nodes).log10(), median.max(1e-3).log10())
            };
            let measured = curve.iter().filter(|size| !size.rounds_of(command).is_empty());
            Line { command, points: measured.map(at).collect() }
        };
        commands.iter().map(|(command, _)| line(command)).collect()
    }

    fn svg(&self, curve: &[MeasuredSize]) -> String {
        let lines = self.lines(curve);
        let points = || lines.iter().flat_map(|line| &line.points);
        let range = |of: fn(&(f64, f64)) -> f64| {
            let least = points().map(of).fold(f64::INFINITY, f64::min).floor();
            (least, points().map(of).fold(least + 1.0, f64::max))
        };
        let ((from, until), (least, most)) = (range(|point| point.0), range(|point| point.1));
        let most = most.ceil();
        let x = |nodes: f64| LEFT + (nodes - from) / (until - from) * (WIDTH - LEFT - RIGHT);
        let y = |cost: f64| HEIGHT - BOTTOM - (cost - least) / (most - least) * (HEIGHT - TOP - BOTTOM);
        let mut svg = head(self.title);
        for power in steps(least, most) {
            let class = if power.total_cmp(&least).is_eq() { "axis" } else { "grid" };
            let (at, value) = (y(power), amount(power));
            let _ = writeln!(
                svg,
                "<line class=\"{class}\" x1=\"{LEFT}\" x2=\"{:.0}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
                 <text x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\">{value} {}</text>",
                WIDTH - RIGHT,
                LEFT - 6.0,
                at + 4.0,
                self.unit
            );
        }
        for power in steps(from, until) {
            let _ = writeln!(
                svg,
                "<text x=\"{:.1}\" y=\"{:.0}\" text-anchor=\"middle\">{} nodes</text>",
                x(power),
                HEIGHT - BOTTOM + 18.0,
                amount(power)
            );
        }
        for offset in steps(least - until, most - from) {
            // Cut where it leaves the picture.
            let (begin, end) = (from.max(least - offset), until.min(most - offset));
            if begin < end {
                let _ = writeln!(
                    svg,
                    "<line class=\"straight\" x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\"/>",
                    x(begin),
                    y(begin + offset),
                    x(end),
                    y(end + offset)
                );
            }
        }
        let mut names: Vec<(f64, usize)> = Vec::new();
        for (at, line) in lines.iter().enumerate() {
            let places: Vec<_> =
                line.points.iter().map(|(nodes, cost)| format!("{:.1},{:.1}", x(*nodes), y(*cost))).collect();
            let _ = writeln!(svg, "<polyline class=\"c{at}\" points=\"{}\"/>", places.join(" "));
            names.extend(line.points.last().map(|(_, cost)| (y(*cost), at)));
        }
        for (place, at) in apart(names) {
            let _ = writeln!(
                svg,
                "<text class=\"c{at}\" x=\"{:.0}\" y=\"{:.1}\">{}</text>",
                WIDTH - RIGHT + 6.0,
                place + 4.0,
                lines[at].command
            );
        }
        svg.push_str("</svg>\n");
        svg
    }
}

/// Title, colours and legend.
fn head(title: &str) -> String {
    // By command, in light and in dark.
    let colours = [
        ("#0969da", "#58a6ff"),
        ("#bc4c00", "#f0883e"),
        ("#1a7f37", "#3fb950"),
        ("#8250df", "#bc8cff"),
        ("#cf222e", "#ff7b72"),
        ("#9a6700", "#d29922"),
        ("#bf3989", "#f778ba"),
        ("#57606a", "#c9d1d9"),
    ];
    let style = |of: fn(&(&'static str, &'static str)) -> &'static str| {
        let class = |(at, colour): (usize, &_)| {
            let colour = of(colour);
            format!("polyline.c{at}{{stroke:{colour}}}text.c{at}{{fill:{colour}}}")
        };
        colours.iter().enumerate().map(class).collect::<String>()
    };
    let (light, dark) = (style(|colour| colour.0), style(|colour| colour.1));
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
         font-family=\"system-ui, sans-serif\" font-size=\"12\">\n<title>{title}</title>\n\
         <style>text{{fill:#57606a}}.axis{{stroke:#8b949e}}.grid{{stroke:#8b949e;stroke-opacity:.25}}\
         .straight{{stroke:#8b949e;stroke-opacity:.6;stroke-dasharray:4 4}}polyline{{fill:none;stroke-width:2}}{light}\
         @media (prefers-color-scheme: dark){{text{{fill:#c9d1d9}}{dark}}}</style>\n\
         <text x=\"{LEFT}\" y=\"16\" font-weight=\"600\">{title}</text>\n\
         <line class=\"straight\" x1=\"{LEFT}\" x2=\"{}\" y1=\"30\" y2=\"30\"/>\
         <text x=\"{}\" y=\"34\">in step with the nodes</text>\n",
        LEFT + 24.0,
        LEFT + 30.0
    )
}

/// The whole numbers from one to another.
fn steps(from: f64, until: f64) -> impl Iterator<Item = f64> {
    std::iter::successors(Some(from.ceil()), |step| Some(step + 1.0))
        .take_while(move |step| *step <= until + 1e-9)
}

/// A power of ten as one writes it: `0.01`, `1`, `100,000`.
fn amount(power: f64) -> String {
    let value = 10_f64.powf(power);
    if value < 1.0 {
        return value.to_string();
    }
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Moves names down until none covers another, and all of them up if the last would be too low.
fn apart(mut names: Vec<(f64, usize)>) -> Vec<(f64, usize)> {
    names.sort_by(|one, other| one.0.total_cmp(&other.0));
    for place in 1..names.len() {
        names[place].0 = names[place].0.max(names[place - 1].0 + LINE_HEIGHT);
    }
    let lowest = HEIGHT - BOTTOM;
    for place in (0..names.len()).rev() {
        let below = names.get(place + 1).map_or(lowest + LINE_HEIGHT, |below| below.0);
        names[place].0 = names[place].0.min(below - LINE_HEIGHT);
    }
    names
}
