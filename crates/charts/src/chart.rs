//! Lines over an axis.

use plotters::prelude::*;

use crate::{
    axis::Axis,
    canvas::{self, Canvas, Colour, INK, PALE, TEXT_SIZE, text},
};

const HEAD: u32 = 58;
const POINTS_ARE_FEW: usize = 12;

/// One or more lines, each with a name.
#[derive(Debug, Clone)]
pub struct Chart {
    pub title: String,
    pub x: Axis,
    pub y: Axis,
    pub lines: Vec<Line>,
    /// What lies behind the lines, from one place of `x` to another.
    pub bands: Vec<Band>,
    pub size: (u32, u32),
    /// Room for the names of `y`, in pixels: those of pictures that stand below each other have the same.
    pub left: u32,
}

/// Points by their `x`; where one of two has no number, nothing joins them.
#[derive(Debug, Clone)]
pub struct Line {
    pub name: String,
    pub colour: Colour,
    pub is_dashed: bool,
    pub points: Vec<(f64, f64)>,
}

#[derive(Debug, Clone)]
pub struct Band {
    pub from: f64,
    pub to: f64,
    pub colour: Colour,
}

impl Chart {
    /// # Errors
    /// The plotting library's.
    pub fn svg(&self) -> anyhow::Result<String> {
        canvas::svg(self.size, &self.title, |canvas| self.draw(canvas))
    }

    fn draw(&self, canvas: &Canvas<'_>) -> anyhow::Result<()> {
        let entries = self.lines.iter();
        let entries: Vec<_> = entries
            .map(|line| (line.name.as_str(), line.colour, line.is_dashed))
            .collect();
        canvas::legend(canvas, &entries)?;
        let points = || self.lines.iter().flat_map(|line| &line.points);
        let x = self.x.scale(points().map(|(x, _)| *x));
        let y = self.y.scale(points().map(|(_, y)| *y));
        let (_, below) = canvas.split_vertically(HEAD);
        let mut chart = ChartBuilder::on(&below)
            .margin_left(6)
            .margin_right(24)
            .margin_bottom(6)
            .x_label_area_size(46)
            .y_label_area_size(self.left)
            .build_cartesian_2d(x.clone(), y.clone())?;
        let (top, bottom) = (y.range().end, y.range().start);
        for Band { from, to, colour } in &self.bands {
            let (from, to) = (from.max(x.range().start), to.min(x.range().end));
            let style = colour.rgb().mix(0.12).filled();
            chart.draw_series([Rectangle::new([(from, top), (to, bottom)], style)])?;
        }
        chart
            .configure_mesh()
            .x_desc(self.x.name.as_str())
            .y_desc(self.y.name.as_str())
            .x_labels(12)
            .y_labels(6)
            .x_label_formatter(&|value| self.x.tick(*value))
            .y_label_formatter(&|value| self.y.tick(*value))
            .label_style(text(TEXT_SIZE))
            .axis_desc_style(text(TEXT_SIZE))
            .axis_style(INK)
            .bold_line_style(PALE)
            .max_light_lines(0)
            .draw()?;
        for line in &self.lines {
            let style = line.colour.rgb().stroke_width(2);
            for piece in self.pieces(line) {
                if line.is_dashed {
                    chart.draw_series(DashedLineSeries::new(piece.clone(), 7, 5, style))?;
                } else {
                    chart.draw_series(LineSeries::new(piece.clone(), style))?;
                }
                if piece.len() == 1 || line.points.len() <= POINTS_ARE_FEW {
                    let dots = piece
                        .into_iter()
                        .map(|at| Circle::new(at, 3, style.filled()));
                    chart.draw_series(dots)?;
                }
            }
        }
        Ok(())
    }

    /// The line without what can't be shown, which parts it.
    fn pieces(&self, line: &Line) -> Vec<Vec<(f64, f64)>> {
        let can_show = |(x, y): &(f64, f64)| self.x.can_show(*x) && self.y.can_show(*y);
        let pieces = line.points.split(|point| !can_show(point));
        let pieces = pieces.filter(|piece| !piece.is_empty());
        pieces.map(<[_]>::to_vec).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(points: &[(f64, f64)]) -> Chart {
        Chart {
            title: "Waits & \"pauses\"".to_owned(),
            x: Axis::linear("seconds"),
            y: Axis::logarithmic("ms"),
            lines: vec![Line {
                name: "p99".to_owned(),
                colour: Colour::Blue,
                is_dashed: false,
                points: points.to_vec(),
            }],
            bands: Vec::new(),
            size: (640, 320),
            left: 80,
        }
    }

    #[test]
    fn what_has_no_number_parts_a_line() {
        let chart = chart(&[
            (1.0, 5.0),
            (2.0, 6.0),
            (3.0, 0.0),
            (4.0, f64::NAN),
            (5.0, 7.0),
        ]);
        let pieces = [vec![(1.0, 5.0), (2.0, 6.0)], vec![(5.0, 7.0)]];
        assert_eq!(chart.pieces(&chart.lines[0]), pieces);
    }

    #[test]
    fn a_chart_has_its_title_names_and_units_even_where_nothing_was_measured() {
        for points in [&[][..], &[(1.0, 5.0), (2.0, 60.0)]] {
            let svg = chart(points).svg().expect("it can be drawn");
            for text in [
                "seconds",
                "ms",
                "p99",
                "aria-label=\"Waits &amp; &quot;pauses&quot;\"",
            ] {
                assert!(svg.contains(text), "{text}: {svg}");
            }
            let is_ours = |line: &&str| line.contains("<polyline") && line.contains("#0072B2");
            assert_eq!(svg.lines().filter(is_ours).count(), points.len() / 2);
        }
    }
}
