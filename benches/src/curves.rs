//! Figures at several places of one axis, as SVG: what more connections, a longer backlog and a longer history do to the service
//! and to the minimal loops. docs/benchmarks.md shows them.

use std::fs;

use bson::doc;
use charts::{Axis, Chart, Colour, Line};

use crate::{
    Bench,
    backlog::{fill, raw_drain, service_drain},
    load::{Load, median, requests},
    raw::{self, Headers},
    table::{Row, alone, compared},
    writes::{LASTS, create, drained},
};

const CONNECTIONS: [usize; 5] = [1, 4, 16, 64, 256];
const BACKLOGS: [usize; 4] = [5_000, 20_000, 50_000, 100_000];
const HISTORIES: [usize; 4] = [50_000, 200_000, 1_000_000, 2_000_000];
/// What is drained with each history behind it, and becomes part of the next.
const FRESH: usize = 20_000;

/// The service's values, and the limit's where there are any, at one place of the x axis: one of each round.
struct Place {
    at: usize,
    service: Vec<f64>,
    limit: Vec<f64>,
}

impl Place {
    fn new(at: usize) -> Self {
        Self {
            at,
            service: Vec::new(),
            limit: Vec::new(),
        }
    }

    fn row(&self, name: &str, of: &str, unit: &'static str) -> Row {
        let name = format!("{name} {} {of}", charts::number(self.at as f64));
        if self.limit.is_empty() {
            return alone(name, unit, self.service.iter().copied(), None);
        }
        let rounds = self.service.iter().copied().zip(self.limit.iter().copied());
        compared(name, unit, &rounds.collect::<Vec<_>>(), None)
    }
}

/// A measure at each place, by its name.
struct Measure {
    name: &'static str,
    colour: Colour,
    places: Vec<Place>,
}

impl Measure {
    fn new(name: &'static str, colour: Colour, places: &[usize]) -> Self {
        Self {
            name,
            colour,
            places: places.iter().copied().map(Place::new).collect(),
        }
    }

    fn add(&mut self, place: usize, service: f64, limit: Option<f64>) {
        let place = &mut self.places[place];
        place.service.push(service);
        place.limit.extend(limit);
    }

    /// The medians of the rounds: the service's line and, where there are limits, theirs.
    fn lines(&self) -> Vec<Line> {
        let line = |name: String, is_dashed, of: fn(&Place) -> &Vec<f64>| {
            let measured = self.places.iter().filter(|place| !of(place).is_empty());
            Line {
                name,
                colour: self.colour,
                is_dashed,
                points: measured
                    .map(|it| (it.at as f64, median(of(it).iter().copied())))
                    .collect(),
            }
        };
        let name = self.name;
        let service = line(format!("service{name}"), false, |place| &place.service);
        let limit = line(format!("limit{name}"), true, |place| &place.limit);
        let lines = [service, limit].into_iter();
        lines.filter(|line| !line.points.is_empty()).collect()
    }

    fn rows<'a>(
        &'a self,
        name: &'a str,
        of: &'a str,
        unit: &'static str,
    ) -> impl Iterator<Item = Row> + 'a {
        self.places
            .iter()
            .map(move |place| place.row(name, of, unit))
    }
}

/// Writes the chart of these measures to the folder of the plots.
fn draw(
    bench: &Bench,
    file: &str,
    title: &str,
    x: Axis,
    y: Axis,
    of: &[&Measure],
) -> anyhow::Result<()> {
    let chart = Chart {
        title: title.to_owned(),
        x,
        y,
        lines: of.iter().flat_map(|measure| measure.lines()).collect(),
        bands: Vec::new(),
        size: (760, 380),
        left: 84,
    };
    fs::create_dir_all(&bench.plots)?;
    let path = bench.plots.join(file).with_extension("svg");
    fs::write(&path, chart.svg()?)?;
    eprintln!("bench: {}", path.display());
    Ok(())
}

/// Creates a second, and how long each takes, at more and more connections.
pub(crate) async fn load(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let mut rate = Measure::new("", Colour::Blue, &CONNECTIONS);
    let mut p50 = Measure::new(", p50", Colour::Blue, &CONNECTIONS);
    let mut p99 = Measure::new(", p99", Colour::Red, &CONNECTIONS);
    for (place, connections) in CONNECTIONS.into_iter().enumerate() {
        for _ in 0..bench.rounds {
            let raw = bench.fresh("raw", connections).await?;
            let limit = raw::transactions(&raw, connections, LASTS / 2).await?;
            let service = of_service(bench, connections).await?;
            rate.add(place, service.per_second, Some(limit.per_second));
            p50.add(
                place,
                service.percentile_ms(50),
                Some(limit.percentile_ms(50)),
            );
            p99.add(
                place,
                service.percentile_ms(99),
                Some(limit.percentile_ms(99)),
            );
        }
    }
    let x = Axis::logarithmic("connections, each with one create at a time");
    let y = Axis::logarithmic("ms");
    let title = "How long a create takes under load";
    draw(bench, "creates-latency", title, x.clone(), y, &[&p50, &p99])?;
    let y = Axis::linear("creates a second");
    let title = "Creates a second under load, publishing and marking included";
    draw(bench, "creates-rate", title, x, y, &[&rate])?;
    let rows = rate.rows("creates at", "connections", "/s");
    let rows = rows.chain(p50.rows("  p50 of a create at", "connections", "ms"));
    Ok(rows
        .chain(p99.rows("  p99 of a create at", "connections", "ms"))
        .collect())
}

async fn of_service(bench: &Bench, connections: usize) -> anyhow::Result<Load> {
    let database = bench.fresh("service", 4).await?;
    let (service, _) = bench.servers.service("service").await?;
    let kind = ("POST", 201);
    let load = requests(&service, connections, LASTS / 2, kind, &bench.token, create).await?;
    drained(&database).await?;
    service.stop()?;
    Ok(load)
}

/// Events a second of longer and longer backlogs, each of distinct tickets.
pub(crate) async fn drain(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let mut rate = Measure::new("", Colour::Blue, &BACKLOGS);
    for (place, events) in BACKLOGS.into_iter().enumerate() {
        for _ in 0..bench.rounds {
            let limit = raw_drain(bench, events, events, Headers::Whole).await?;
            let database = bench.fresh("service", 4).await?;
            fill(&database, events, events, "NO").await?;
            let (drained, _) = service_drain(bench, "service", &database, events).await?;
            rate.add(place, drained, Some(limit));
        }
    }
    let x = Axis::linear("events of the backlog");
    let y = Axis::linear("events a second");
    let title = "How fast a backlog drains, published and marked";
    draw(bench, "drain", title, x, y, &[&rate])?;
    Ok(rate.rows("backlog of", "events", "/s").collect())
}

/// What an event costs the service, and how many a second it drains, with longer and longer histories of sent events.
pub(crate) async fn history(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let mut rate = Measure::new("", Colour::Blue, &HISTORIES);
    let mut cost = Measure::new("", Colour::Green, &HISTORIES);
    let database = bench.fresh("service", 4).await?;
    let mut filled = 0;
    for (place, length) in HISTORIES.into_iter().enumerate() {
        let missing = length.saturating_sub(filled);
        fill(&database, missing, missing.max(1), "YES").await?;
        filled = length + bench.rounds * FRESH;
        // What was written is on the disk before anything is measured.
        let admin = database.client().database("admin");
        admin.run_command(doc! { "fsync": 1 }).await?;
        for _ in 0..bench.rounds {
            fill(&database, FRESH, FRESH, "NO").await?;
            let (drained, cpu_us) = service_drain(bench, "service", &database, FRESH).await?;
            rate.add(place, drained, None);
            cost.add(place, cpu_us, None);
        }
    }
    let x = Axis::logarithmic("sent events in the collection");
    let y = Axis::linear("µs of the service's processor time");
    let title = "What an event costs the service, over the length of the history";
    draw(bench, "history-cost", title, x.clone(), y, &[&cost])?;
    let y = Axis::linear("events a second");
    let title = "How fast a backlog drains, over the length of the history";
    draw(bench, "history-rate", title, x, y, &[&rate])?;
    let rows = cost.rows("processor time of an event with", "sent events", "µs");
    Ok(rows
        .chain(rate.rows("  events/s with", "sent events", "/s"))
        .collect())
}
