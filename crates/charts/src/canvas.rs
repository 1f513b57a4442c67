//! What every picture has: its colours, its title and legend, and how it becomes text.

use plotters::{
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};

pub(crate) type Canvas<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

pub(crate) const INK: RGBColor = RGBColor(0x24, 0x29, 0x2f);
pub(crate) const PALE: RGBColor = RGBColor(0xd8, 0xdc, 0xe1);
const PAPER: RGBColor = RGBColor(0xff, 0xff, 0xff);
const TITLE_SIZE: i32 = 20;
pub(crate) const TEXT_SIZE: i32 = 15;
/// Of a letter, in the mean: the library draws text at four fifths of its size.
const LETTER_WIDTH: f64 = 6.8;

/// Colours that those who see few of them tell apart (Okabe and Ito).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    Blue,
    Orange,
    Green,
    Red,
    Purple,
    Grey,
}

impl Colour {
    pub(crate) fn rgb(self) -> RGBColor {
        match self {
            Self::Blue => RGBColor(0x00, 0x72, 0xb2),
            Self::Orange => RGBColor(0xe6, 0x9f, 0x00),
            Self::Green => RGBColor(0x00, 0x9e, 0x73),
            Self::Red => RGBColor(0xd5, 0x5e, 0x00),
            Self::Purple => RGBColor(0xcc, 0x79, 0xa7),
            Self::Grey => RGBColor(0x70, 0x76, 0x7e),
        }
    }
}

pub(crate) fn text(size: i32) -> TextStyle<'static> {
    TextStyle::from(("sans-serif", size).into_font()).color(&INK)
}

pub(crate) fn right_of_middle() -> Pos {
    Pos::new(HPos::Right, VPos::Center)
}

/// Draws a picture of this size on paper.
pub(crate) fn svg(
    (width, height): (u32, u32),
    title: &str,
    draw: impl FnOnce(&Canvas<'_>) -> anyhow::Result<()>,
) -> anyhow::Result<String> {
    let mut svg = String::new();
    let canvas = SVGBackend::with_string(&mut svg, (width, height)).into_drawing_area();
    canvas.fill(&PAPER)?;
    canvas.draw_text(title, &text(TITLE_SIZE), (12, 10))?;
    draw(&canvas)?;
    canvas.present()?;
    drop(canvas);
    // For those who hear it.
    let label = title.replace('&', "&amp;").replace('"', "&quot;");
    Ok(svg.replacen(
        "<svg ",
        &format!("<svg role=\"img\" aria-label=\"{label}\" "),
        1,
    ))
}

/// What the colours mean, in one line below the title. Dashed ones have a gap in their mark.
pub(crate) fn legend(canvas: &Canvas<'_>, entries: &[(&str, Colour, bool)]) -> anyhow::Result<()> {
    let mut x = 12;
    for (name, colour, is_dashed) in entries {
        let marks: &[(i32, i32)] = if *is_dashed {
            &[(0, 7), (11, 18)]
        } else {
            &[(0, 18)]
        };
        for (from, to) in marks {
            let mark = [(x + from, 39), (x + to, 43)];
            canvas.draw(&Rectangle::new(mark, colour.rgb().filled()))?;
        }
        canvas.draw_text(name, &text(TEXT_SIZE), (x + 24, 34))?;
        x += 24 + (name.chars().count() as f64 * LETTER_WIDTH) as i32 + 24;
    }
    Ok(())
}
