//! What chaos and the benchmarks measure, as SVG: lines over an axis (`Chart`), and spans over a time line (`Lanes`). Each has a
//! light background of its own, so that it is legible on any page. `axis` says where ticks stand, `canvas` what both have in common.

mod axis;
mod canvas;
mod chart;
mod lanes;

pub use axis::{Axis, number};
pub use canvas::Colour;
pub use chart::{Band, Chart, Line};
pub use lanes::{Lane, Lanes, Span};
