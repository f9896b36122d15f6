//! A picture: calls per second over time, what was there for them, and throttled answers.

use std::fmt::Write as _;

use crate::numbers::{earliest, number, within};
use crate::run::Run;
use crate::scenes::Scene;

/// Calls are counted over this many seconds.
const STEP: f64 = 0.5;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 48.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 36.0;

/// Calls per second at the upper edge.
const MOST: f64 = 250.0;

const STYLE: &str = "<style>text{fill:#57606a}.axis{stroke:#8b949e}.grid{stroke:#8b949e;stroke-opacity:.25}\
    .left{stroke:#bc4c00}.ours{stroke:#0969da}.other{stroke:#1a7f37}.refused{stroke:#cf222e}polyline,line{fill:none}\
    @media (prefers-color-scheme: dark){text{fill:#c9d1d9}.left{stroke:#f0883e}.ours{stroke:#58a6ff}\
    .other{stroke:#3fb950}.refused{stroke:#ff7b72}}</style>";

/// Lines of runs, in their order.
const RUN_CLASSES: [&str; 2] = ["ours", "other"];

struct Frame {
    begin: f64,
    length: f64,
}

impl Frame {
    fn x(&self, at: f64) -> f64 {
        LEFT + (at - self.begin) / self.length * (WIDTH - LEFT - RIGHT)
    }
}

fn y(rate: f64) -> f64 {
    HEIGHT - BOTTOM - rate.min(MOST) / MOST * (HEIGHT - TOP - BOTTOM)
}

pub(crate) fn plot(scene: &Scene, runs: &[Run]) -> String {
    let begins: Vec<f64> = runs.iter().map(Run::begin).collect();
    let begin = earliest(&begins).floor();
    let end = runs.iter().map(|run| run.last_fresh).fold(0.0, f64::max);
    let frame = Frame { begin, length: ((end - begin) / 5.0).ceil() * 5.0 };
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
         font-family=\"system-ui, sans-serif\" font-size=\"12\">\n<title>{title}: calls per second over time</title>\n\
         {STYLE}\n<text x=\"{LEFT}\" y=\"16\" font-weight=\"600\">{title}</text>\n",
        title = scene.title
    );
    draw_axes(&mut svg, &frame);
    draw_left(&mut svg, scene, &frame);
    for (run, class) in runs.iter().zip(RUN_CLASSES) {
        draw_run(&mut svg, run, class, &frame);
    }
    draw_legend(&mut svg, scene);
    svg.push_str("</svg>\n");
    svg
}

fn draw_axes(svg: &mut String, frame: &Frame) {
    for rate in [0.0, 50.0, 100.0, 150.0, 200.0, 250.0] {
        let at = y(rate);
        let class = if rate == 0.0 { "axis" } else { "grid" };
        let _ = writeln!(
            svg,
            "<line class=\"{class}\" x1=\"{LEFT}\" x2=\"{:.0}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
             <text x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\">{rate}</text>",
            WIDTH - RIGHT,
            LEFT - 6.0,
            at + 4.0
        );
    }
    let apart = [5.0, 10.0, 20.0, 50.0, 100.0]
        .into_iter()
        .find(|apart| frame.length / apart <= 12.0)
        .unwrap_or(500.0);
    let mut seconds = 0.0;
    while seconds <= frame.length {
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.0}\" text-anchor=\"middle\">{seconds} s</text>",
            frame.x(frame.begin + seconds),
            HEIGHT - BOTTOM + 18.0
        );
        seconds += apart;
    }
}

/// What was there for the runs.
fn draw_left(svg: &mut String, scene: &Scene, frame: &Frame) {
    let end = frame.begin + frame.length;
    let change = scene.change.map_or(end, |(at, _)| at);
    let mut points = String::new();
    for (at, left) in [
        (frame.begin, scene.left_at(frame.begin)),
        (change, scene.left_at(frame.begin)),
        (change, scene.left_at(change)),
        (end, scene.left_at(end)),
    ] {
        let _ = write!(points, "{:.1},{:.1} ", frame.x(at), y(left));
    }
    let _ = writeln!(
        svg,
        "<polyline class=\"left\" stroke-width=\"2\" stroke-dasharray=\"6 4\" points=\"{}\"/>",
        points.trim_end()
    );
}

fn draw_run(svg: &mut String, run: &Run, class: &str, frame: &Frame) {
    let mut points = String::new();
    let mut at = frame.begin;
    while at + STEP <= run.last_fresh {
        let rate = within(&run.requested, at, at + STEP) / STEP;
        let _ = write!(points, "{:.1},{:.1} ", frame.x(at + STEP / 2.0), y(rate));
        at += STEP;
    }
    let _ =
        writeln!(svg, "<polyline class=\"{class}\" stroke-width=\"1.5\" points=\"{}\"/>", points.trim_end());
    for refusal in run.throttled.iter().filter(|refusal| refusal.at <= frame.begin + frame.length) {
        let at = frame.x(refusal.at);
        let _ = writeln!(
            svg,
            "<line class=\"refused\" stroke-width=\"1.5\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{:.1}\" y2=\"{:.1}\"/>",
            y(0.0),
            y(0.0) - 10.0
        );
    }
}

fn draw_legend(svg: &mut String, scene: &Scene) {
    let ours = if scene.runs > 1 { "one run's calls/s" } else { "our calls/s" };
    let left = match (scene.capacity, scene.noise) {
        (None, _) => "ceiling",
        (Some(_), Some(_)) => "capacity less the noise",
        (Some(_), None) if scene.bystander > 0.0 => "capacity less the bystander's share",
        (Some(_), None) => "capacity of both together",
    };
    let mut entries = vec![("ours", ours)];
    if scene.runs > 1 {
        entries.push(("other", "the other's"));
    }
    entries.extend([("left", left), ("refused", "throttled answer")]);
    // Each entry takes as much room as its text, about; together they end at the right edge.
    let room = |text: &str| 40.0 + 6.2 * number(text.len());
    let mut from = WIDTH - RIGHT - entries.iter().map(|(_, text)| room(text)).sum::<f64>();
    for (class, text) in entries {
        let _ = writeln!(
            svg,
            "<line class=\"{class}\" stroke-width=\"2\" x1=\"{from:.0}\" x2=\"{:.0}\" y1=\"30\" y2=\"30\"/>\
             <text x=\"{:.0}\" y=\"34\">{text}</text>",
            from + 18.0,
            from + 24.0
        );
        from += room(text);
    }
}
