//! A run to look at: one HTML file with what was at fault, and what clients and events felt of it, over one time line.

use std::{collections::BTreeMap, fmt::Write};

use charts::{Axis, Band, Chart, Colour, Lane, Lanes, Line, Span};

use crate::{fault::Fault, inject::Injected, report::Report, timeline::Second};

const WIDTH: u32 = 1080;
const HEIGHT: u32 = 300;
/// For the longest name of a fault.
const LEFT: u32 = 160;
const STYLE: &str = "
    :root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }
    body { max-width: 1080px; margin: 2rem auto; padding: 0 1rem }
    h1 { line-height: 1.2 }
    figure { overflow-x: auto; margin: .75rem 0 }
    svg { display: block; width: 100%; min-width: 720px; height: auto; border-radius: 6px }
    table { border-collapse: collapse; width: 100%; font-size: .875rem }
    th, td { text-align: left; padding: .2rem .6rem .2rem 0; vertical-align: top; border-bottom: 1px solid #8884 }
    td.number { text-align: right; white-space: nowrap }
    td:last-child, code { overflow-wrap: anywhere }
    @media (prefers-color-scheme: dark) {
        svg > [fill='#FFFFFF'] { fill: #1b1f1d } svg > [fill='#24292F'] { fill: #e7ebe8 }
        svg > [stroke='#24292F'] { stroke: #9faaa4 } svg > [stroke='#D8DCE1'] { stroke: #333b37 }
        svg > [fill='#0072B2'] { fill: #56b4e9 } svg > [stroke='#0072B2'] { stroke: #56b4e9 }
    }";

const WHAT: &str = "While clients wrote and read, servers and instances were killed, paused, cut off and worse. Then everything that was \
    answered, everything that is in the database and every message of the stream were compared with what is promised. \
    Coloured bands behind the lines are the faults of the first picture.";

/// The colour that tells whose fault it is, and what that means.
fn kind_of(fault: Fault) -> (Colour, &'static str) {
    // The clock is that of one of its members.
    let of_mongo = ["mongo", "primary", "clock"];
    let name = fault.to_string();
    if fault.is_harmless() {
        (Colour::Grey, "poison and operators")
    } else if fault.is_of_nats() {
        (Colour::Blue, "NATS or the way there")
    } else if of_mongo.iter().any(|of| name.contains(of)) {
        (Colour::Green, "MongoDB or the way there")
    } else {
        (Colour::Orange, "instances")
    }
}

fn seconds(ms: u64) -> f64 {
    ms as f64 / 1000.0
}

/// The page.
///
/// # Errors
/// The plotting library's.
pub(crate) fn page(report: &Report, command: &str) -> anyhow::Result<String> {
    let pictures = [
        faults(report).svg()?,
        writes(report).svg()?,
        lags(report).svg()?,
        waits(report).svg()?,
    ];
    let (verdict, why) = match report.failure() {
        None => ("every promise was kept", String::new()),
        Some(why) => {
            let why = escaped(&why.replacen("the run", "The run", 1));
            (
                "the run failed",
                format!("<p><strong>{why}.</strong></p>\n"),
            )
        }
    };
    let (seed, command) = (report.aim.seed, escaped(command));
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>chaos, seed {seed}: {verdict}</title>\n<style>{STYLE}\n</style>\n<h1>Chaos, seed {seed}: {verdict}</h1>\n\
         {why}<p>{WHAT}</p>\n<p>{}</p>\n<p>Again: <code>{command}</code></p>\n",
        escaped(&report.summary())
    );
    for picture in pictures {
        // With tabindex the keyboard can scroll it.
        writeln!(page, "<figure tabindex=\"0\">{picture}</figure>")?;
    }
    page += "\n<h2>What was done, and what was seen of it</h2>\n<table>\n<tr><th>from<th>to<th>fault<th>seen\n";
    for Injected {
        fault,
        began_ms,
        ended_ms,
        seen,
        ..
    } in &report.injected
    {
        let (from, to) = (seconds(*began_ms), seconds(*ended_ms));
        let seen = escaped(seen);
        writeln!(
            page,
            "<tr><td class=\"number\">{from:.1} s<td class=\"number\">{to:.1} s<td>{fault}<td>{seen}"
        )?;
    }
    page += "</table>\n</html>\n";
    Ok(page)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

/// The time line that all pictures have: to the last second in which something happened.
fn time(report: &Report) -> Axis {
    let last = report.injected.iter().map(|it| it.ended_ms).max();
    let last = seconds(last.unwrap_or_default()).max(report.timeline.len() as f64);
    Axis::linear("seconds since the load began").over(0.0..last.max(1.0))
}

fn faults(report: &Report) -> Lanes {
    let mut by_fault = BTreeMap::<Fault, Vec<Span>>::new();
    let mut first = BTreeMap::<Fault, u64>::new();
    for injected in &report.injected {
        let span = Span {
            from: seconds(injected.took_effect_ms.unwrap_or(injected.began_ms)),
            to: seconds(injected.ended_ms),
            is_hollow: !injected.took_effect(),
        };
        by_fault.entry(injected.fault).or_default().push(span);
        first.entry(injected.fault).or_insert(injected.began_ms);
    }
    let mut by_fault: Vec<_> = by_fault.into_iter().collect();
    by_fault.sort_by_key(|(fault, _)| first[fault]);
    let mut legend: Vec<(String, Colour)> = Vec::new();
    for (fault, _) in &by_fault {
        let (colour, name) = kind_of(*fault);
        if legend.iter().all(|(known, _)| known != name) {
            legend.push((name.to_owned(), colour));
        }
    }
    let lane = |(fault, spans): (Fault, Vec<Span>)| Lane {
        name: fault.to_string(),
        colour: kind_of(fault).0,
        spans,
    };
    Lanes {
        title: "Faults; those without effect are hollow".to_owned(),
        x: time(report),
        lanes: by_fault.into_iter().map(lane).collect(),
        legend,
        width: WIDTH,
        left: LEFT,
    }
}

fn chart(report: &Report, title: &str, y: Axis, lines: Vec<Line>) -> Chart {
    let did = report.injected.iter().filter(|it| it.took_effect());
    let band = |injected: &Injected| Band {
        from: seconds(injected.took_effect_ms.unwrap_or(injected.began_ms)),
        to: seconds(injected.ended_ms),
        colour: kind_of(injected.fault).0,
    };
    Chart {
        title: title.to_owned(),
        x: time(report),
        y,
        lines,
        bands: did.map(band).collect(),
        size: (WIDTH, HEIGHT),
        left: LEFT,
    }
}

fn line(report: &Report, name: &str, colour: Colour, of: impl Fn(&Second) -> Option<u64>) -> Line {
    let points = report.timeline.iter().enumerate();
    let points = points.map(|(at, second)| {
        let value = of(second).map_or(f64::NAN, |value| value as f64);
        (at as f64 + 0.5, value)
    });
    Line {
        name: name.to_owned(),
        colour,
        is_dashed: false,
        points: points.collect(),
    }
}

fn writes(report: &Report) -> Chart {
    let lines = vec![
        line(report, "saved", Colour::Green, |it| Some(it.saved as u64)),
        line(
            report,
            "refused, as they had to be or by a conflict",
            Colour::Blue,
            |it| Some(it.refused as u64),
        ),
        line(
            report,
            "given up without a clear answer",
            Colour::Red,
            |it| Some(it.unclear as u64),
        ),
    ];
    let y = Axis::linear("writes a second");
    chart(
        report,
        "Writes, by the second of their last answer",
        y,
        lines,
    )
}

/// A logarithmic axis has no place for what took less than a millisecond.
fn at_least_one(ms: Option<u64>) -> Option<u64> {
    ms.map(|ms| ms.max(1))
}

fn lags(report: &Report) -> Chart {
    let lines = vec![
        line(report, "median", Colour::Blue, |it| {
            at_least_one(it.lag_p50_ms)
        }),
        line(report, "longest", Colour::Red, |it| {
            at_least_one(it.lag_most_ms)
        }),
    ];
    let y = Axis::logarithmic("").of_durations();
    let title = "Lag: from an event, a moment before its commit, to its message, by the second in which it was made";
    chart(report, title, y, lines)
}

fn waits(report: &Report) -> Chart {
    let lines = vec![
        line(report, "writes, median", Colour::Blue, |it| {
            at_least_one(it.write_p50_ms)
        }),
        line(report, "writes, p99", Colour::Red, |it| {
            at_least_one(it.write_p99_ms)
        }),
        line(report, "reads, p99", Colour::Purple, |it| {
            at_least_one(it.read_p99_ms)
        }),
    ];
    let y = Axis::logarithmic("").of_durations();
    let title = "Time to an answer: from the first try, all further ones included, by the second of its beginning";
    chart(report, title, y, lines)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{floors::Aim, history::Observed, report::Crashes, world::Size};

    #[test]
    fn a_page_shows_each_fault_and_says_why_a_run_failed_and_asks_nothing_of_anybody() {
        let aim = Aim {
            seed: 7,
            seconds: 20,
            rate: 10,
            faults: 1,
            includes_nats: false,
        };
        let injected = Injected {
            fault: Fault::KillPrimary,
            operation: 1,
            away: Vec::new(),
            began_ms: 1_000,
            ended_ms: 4_000,
            took_effect_ms: Some(1_200),
            seen: "signal: 9 <SIGKILL>".to_owned(),
        };
        let observed = Observed::default();
        let crashes = Crashes::default();
        let report = Report::new(&aim, Size::ONE, &observed, vec![injected], crashes);
        let page = page(&report, "chaos run --seed 7").expect("it can be drawn");
        for text in [
            "<h1>Chaos, seed 7: the run failed</h1>",
            "The run failed: accepted writes: 0 of 200",
            "chaos run --seed 7",
            "MongoDB or the way there",
            "<td>kill-primary<td>signal: 9 &lt;SIGKILL>",
        ] {
            assert!(page.contains(text), "{text}: {page}");
        }
        assert_eq!(page.matches("<figure tabindex=\"0\"><svg ").count(), 4);
        // What is drawn in the light has another colour in the dark.
        let recoloured = STYLE.split("svg > [").skip(1);
        let recoloured = recoloured.filter_map(|it| it.split('\'').nth(1));
        for colour in recoloured {
            assert!(page.contains(&format!("=\"{colour}\"")), "{colour}");
        }
        assert!(!page.contains("src=") && !page.contains("href=") && !page.contains("url("));
    }

    #[test]
    fn a_clock_that_is_wrong_is_one_of_mongodb_and_drawn_so() {
        for fault in [Fault::SkewClock, Fault::KillPrimary, Fault::CutMongo] {
            assert_eq!(kind_of(fault).1, "MongoDB or the way there");
        }
    }
}
