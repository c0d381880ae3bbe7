//! A picture as PNG, with an embedded font, so that none needs to be installed.
//!
//! The font is DejaVu Sans Mono, under the Bitstream Vera licence, which allows its distribution with any program.

use ncaas_core::failure::{Failure, Kind, Result};
use tiny_skia::{Color, FillRule, Paint, Path, PathBuilder, Pixmap, Rect, Transform};
use ttf_parser::{Face, GlyphId, OutlineBuilder};

use super::canvas::{Anchor, CHARACTER, Canvas, Colour, FONT_SIZE};

/// Pixels of the PNG for each pixel of the canvas.
const SCALE: f32 = 2.0;

/// How far below its middle a line of text stands, as a part of the font's size.
const BASELINE: f64 = 0.35;

/// A PNG that is being drawn.
pub(super) struct Png {
    pixels: Pixmap,
    face: Face<'static>,
}

impl Png {
    pub(super) fn new(width: u32, height: u32, background: Colour) -> Result<Self> {
        let size = |pixels: u32| (pixels as f32 * SCALE) as u32;
        let mut pixels = Pixmap::new(size(width), size(height)).ok_or_else(|| failure("it is too large".to_owned()))?;
        pixels.fill(parse_colour(background));
        let face = Face::parse(dejavu::sans_mono::regular(), 0).map_err(|error| failure(error.to_string()))?;
        Ok(Png { pixels, face })
    }

    pub(super) fn finish(self) -> Result<Vec<u8>> {
        self.pixels.encode_png().map_err(|error| failure(error.to_string()))
    }

    fn fill(&mut self, path: Option<Path>, colour: Colour) {
        let Some(path) = path else { return };
        let mut paint = Paint::default();
        paint.set_color(parse_colour(colour));
        self.pixels.fill_path(&path, &paint, FillRule::Winding, Transform::from_scale(SCALE, SCALE), None);
    }
}

impl Canvas for Png {
    fn rectangle(&mut self, area: [f64; 4], colour: Colour, _title: Option<&str>) {
        let [x, y, width, height] = area.map(|value| value as f32);
        self.fill(Rect::from_xywh(x, y, width, height).map(PathBuilder::from_rect), colour);
    }

    fn steps(&mut self, [x, bottom, step]: [f64; 3], heights: &[f64], colour: Colour) {
        let mut path = PathBuilder::new();
        path.move_to(x as f32, bottom as f32);
        let mut end = x;
        for height in heights {
            path.line_to(end as f32, (bottom - height) as f32);
            end += step;
            path.line_to(end as f32, (bottom - height) as f32);
        }
        path.line_to(end as f32, bottom as f32);
        path.close();
        self.fill(path.finish(), colour);
    }

    fn text(&mut self, x: f64, y: f64, anchor: Anchor, colour: Colour, text: &str) {
        let characters = text.chars().filter(|character| !character.is_control());
        // The font has one width for all characters.
        let width = characters.clone().count() as f64 * CHARACTER;
        let start = match anchor {
            Anchor::Start => x,
            Anchor::Middle => x - width / 2.0,
            Anchor::End => x - width,
        };
        let scale = FONT_SIZE / f64::from(self.face.units_per_em());
        let mut outlines = Outlines { path: PathBuilder::new(), x: start, y: y + BASELINE * FONT_SIZE, scale };
        for character in characters {
            // Glyph 0 stands for characters that the font lacks.
            let glyph = self.face.glyph_index(character).unwrap_or(GlyphId(0));
            self.face.outline_glyph(glyph, &mut outlines);
            outlines.x += CHARACTER;
        }
        self.fill(outlines.path.finish(), colour);
    }
}

/// The outlines of a line of text. The font's units become pixels; its y axis points upwards.
struct Outlines {
    path: PathBuilder,
    x: f64,
    y: f64,
    scale: f64,
}

impl Outlines {
    fn point(&self, x: f32, y: f32) -> (f32, f32) {
        ((self.x + f64::from(x) * self.scale) as f32, (self.y - f64::from(y) * self.scale) as f32)
    }
}

impl OutlineBuilder for Outlines {
    fn move_to(&mut self, x: f32, y: f32) {
        let (x, y) = self.point(x, y);
        self.path.move_to(x, y);
    }

    fn line_to(&mut self, x: f32, y: f32) {
        let (x, y) = self.point(x, y);
        self.path.line_to(x, y);
    }

    fn quad_to(&mut self, x1: f32, y1: f32, x: f32, y: f32) {
        let ((x1, y1), (x, y)) = (self.point(x1, y1), self.point(x, y));
        self.path.quad_to(x1, y1, x, y);
    }

    fn curve_to(&mut self, x1: f32, y1: f32, x2: f32, y2: f32, x: f32, y: f32) {
        let ((x1, y1), (x2, y2), (x, y)) = (self.point(x1, y1), self.point(x2, y2), self.point(x, y));
        self.path.cubic_to(x1, y1, x2, y2, x, y);
    }

    fn close(&mut self) {
        self.path.close();
    }
}

/// The colour that `#rrggbb` names. A picture in a file has no others.
fn parse_colour(colour: Colour) -> Color {
    let rgb = colour.strip_prefix('#').and_then(|digits| u32::from_str_radix(digits, 16).ok()).unwrap_or_default();
    let [_, red, green, blue] = rgb.to_be_bytes();
    Color::from_rgba8(red, green, blue, u8::MAX)
}

fn failure(cause: String) -> Failure {
    Failure::new(Kind::Io, format!("cannot draw the picture: {cause}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the left, right, top and bottom edges of the black pixels, in pixels of the canvas.
    fn drawn(draw: impl FnOnce(&mut Png)) -> Option<[f32; 4]> {
        let mut png = Png::new(100, 40, "#ffffff").unwrap();
        draw(&mut png);
        let width = png.pixels.width() as usize;
        let pixels = png.pixels.pixels().iter().enumerate();
        let dark = pixels.filter(|(_, pixel)| pixel.red() < 128).map(|(at, _)| (at % width, at / width));
        let edges = dark.fold(None, |edges: Option<[usize; 4]>, (x, y)| {
            let [left, right, top, bottom] = edges.unwrap_or([x, x, y, y]);
            Some([left.min(x), right.max(x), top.min(y), bottom.max(y)])
        });
        edges.map(|edges| edges.map(|pixels| pixels as f32 / SCALE))
    }

    #[test]
    fn text_is_drawn_beside_its_point_and_around_its_height() {
        let width = 3.0 * CHARACTER as f32;
        for (anchor, start) in
            [(Anchor::Start, 50.0), (Anchor::Middle, 50.0 - width / 2.0), (Anchor::End, 50.0 - width)]
        {
            let [left, right, top, bottom] = drawn(|png| png.text(50.0, 20.0, anchor, "#000000", "a\u{7}xÄ")).unwrap();
            assert!(left >= start && left < start + 3.0, "{anchor:?}: {left}");
            assert!(right <= start + width && right > start + width - 3.0, "{anchor:?}: {right}");
            assert!(top > 10.0 && top < 18.0 && bottom > 22.0 && bottom < 27.0, "{anchor:?}: {top} to {bottom}");
        }
        assert_eq!(drawn(|png| png.text(50.0, 20.0, Anchor::Start, "#000000", "")), None);
    }

    #[test]
    fn steps_and_rectangles_cover_their_area() {
        let steps = drawn(|png| png.steps([10.0, 30.0, 20.0], &[5.0, 10.0], "#000000"));
        assert_eq!(steps, Some([10.0, 49.5, 20.0, 29.5]));
        let rectangle = drawn(|png| png.rectangle([10.0, 20.0, 30.0, 5.0], "#000000", None));
        assert_eq!(rectangle, Some([10.0, 39.5, 20.0, 24.5]));
    }
}
