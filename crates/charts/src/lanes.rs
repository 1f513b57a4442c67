//! Spans over a time line, a lane for those of one kind.

use plotters::prelude::*;

use crate::{
    axis::Axis,
    canvas::{self, Canvas, Colour, INK, PALE, TEXT_SIZE, right_of_middle, text},
};

const LANE: u32 = 19;
const HEAD: u32 = 58;
const FOOT: u32 = 46;
/// In pixels: a bar that is as wide as it is long would not be seen, where it is short.
const NARROWEST: i32 = 3;

#[derive(Debug, Clone)]
pub struct Lanes {
    pub title: String,
    /// Its range has to be given.
    pub x: Axis,
    pub lanes: Vec<Lane>,
    /// What the colours mean.
    pub legend: Vec<(String, Colour)>,
    pub width: u32,
    /// Room for the names of the lanes, in pixels.
    pub left: u32,
}

#[derive(Debug, Clone)]
pub struct Lane {
    pub name: String,
    pub colour: Colour,
    pub spans: Vec<Span>,
}

#[derive(Debug, Clone)]
pub struct Span {
    pub from: f64,
    pub to: f64,
    /// Its outline only.
    pub is_hollow: bool,
}

impl Lanes {
    /// # Errors
    /// The plotting library's.
    pub fn svg(&self) -> anyhow::Result<String> {
        let lanes = u32::try_from(self.lanes.len())?.max(1);
        let size = (self.width, HEAD + lanes * LANE + FOOT);
        canvas::svg(size, &self.title, |canvas| self.draw(canvas))
    }

    fn draw(&self, canvas: &Canvas<'_>) -> anyhow::Result<()> {
        let legend = self.legend.iter();
        let legend: Vec<_> = legend
            .map(|(name, colour)| (name.as_str(), *colour, false))
            .collect();
        canvas::legend(canvas, &legend)?;
        let (_, below) = canvas.split_vertically(HEAD);
        let x = self.x.scale(std::iter::empty());
        let rows = self.lanes.len().max(1) as f64;
        let mut chart = ChartBuilder::on(&below)
            .margin_left(6)
            .margin_right(24)
            .x_label_area_size(FOOT)
            .y_label_area_size(self.left)
            .build_cartesian_2d(x, rows..0.0)?;
        chart
            .configure_mesh()
            .disable_y_mesh()
            .x_desc(self.x.name.as_str())
            .axis_desc_style(text(TEXT_SIZE))
            .y_labels(0)
            .x_labels(12)
            .x_label_formatter(&|value| self.x.tick(*value))
            .label_style(text(TEXT_SIZE))
            .axis_style(INK)
            .bold_line_style(PALE)
            .max_light_lines(0)
            .draw()?;
        let name = text(TEXT_SIZE).pos(right_of_middle());
        for (row, lane) in self.lanes.iter().enumerate() {
            let row = row as f64;
            let (_, middle) = chart.backend_coord(&(0.0, row + 0.5));
            let left = i32::try_from(self.left)? - 2;
            canvas.draw_text(&lane.name, &name, (left, middle))?;
            for span in &lane.spans {
                let (left, top) = chart.backend_coord(&(span.from, row + 0.2));
                let (right, bottom) = chart.backend_coord(&(span.to, row + 0.8));
                let corners = [(left, top), (right.max(left + NARROWEST), bottom)];
                let style = if span.is_hollow {
                    lane.colour.rgb().stroke_width(1)
                } else {
                    lane.colour.rgb().filled()
                };
                canvas.draw(&Rectangle::new(corners, style))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_lane_has_its_name_and_a_bar_for_each_span() {
        let span = |from, to, is_hollow| Span {
            from,
            to,
            is_hollow,
        };
        let lane = |name: &str, spans| Lane {
            name: name.to_owned(),
            colour: Colour::Red,
            spans,
        };
        let lanes = Lanes {
            title: "Faults".to_owned(),
            x: Axis::linear("").over(0.0..60.0),
            lanes: vec![
                lane(
                    "kill-nats",
                    vec![span(1.0, 2.0, false), span(5.0, 9.0, true)],
                ),
                lane("kill-primary", vec![span(20.0, 20.01, false)]),
            ],
            legend: Vec::new(),
            width: 640,
            left: 150,
        };
        let svg = lanes.svg().expect("it can be drawn");
        assert!(svg.contains("kill-nats") && svg.contains("kill-primary"));
        let bars = svg
            .lines()
            .filter(|it| it.starts_with("<rect") && it.contains("#D55E00"));
        let width = |bar: &str| {
            let (_, width) = bar.split_once("width=\"").expect("it has a width");
            width.split('"').next().map(str::to_owned)
        };
        let widths: Vec<Option<u32>> = bars.map(|it| width(it)?.parse().ok()).collect();
        assert_eq!(widths, [Some(7), Some(31), Some(3)], "{svg}");
    }
}
