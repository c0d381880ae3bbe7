//! What pictures are drawn on: rectangles and text, as SVG or as a bitmap with a font of its own, so that no font needs
//! to be installed.

use font8x8::{BASIC_FONTS, LATIN_FONTS, UnicodeFonts};
use ncaas_core::failure::{Failure, Kind, Result};

/// `0xRRGGBB`.
pub(super) type Colour = u32;

/// Where a text stands in relation to its point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

/// Width of one character of text, in pixels, on either canvas.
pub(super) const CHARACTER: f64 = 8.0;

/// Something to draw on; the origin is at the top left.
pub(super) trait Canvas {
    /// A filled rectangle.
    fn rectangle(&mut self, x: f64, y: f64, width: f64, height: f64, colour: Colour);
    /// A line of text whose middle is at the height of `y`.
    fn text(&mut self, x: f64, y: f64, anchor: Anchor, colour: Colour, text: &str);
}

/// An SVG.
#[derive(Debug)]
pub(super) struct Svg {
    text: String,
}

impl Svg {
    pub(super) fn new(width: u32, height: u32) -> Self {
        let text = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
             viewBox=\"0 0 {width} {height}\" font-family=\"monospace\" font-size=\"13\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
        );
        Svg { text }
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        self.text.push_str("</svg>\n");
        self.text.into_bytes()
    }
}

impl Canvas for Svg {
    fn rectangle(&mut self, x: f64, y: f64, width: f64, height: f64, colour: Colour) {
        self.text.push_str(&format!(
            "<rect x=\"{x:.2}\" y=\"{y:.2}\" width=\"{width:.2}\" height=\"{height:.2}\" fill=\"#{colour:06x}\"/>\n"
        ));
    }

    fn text(&mut self, x: f64, y: f64, anchor: Anchor, colour: Colour, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let escaped: String = text
            .chars()
            .filter(|character| !character.is_control())
            .map(|character| match character {
                '<' => "&lt;".to_owned(),
                '&' => "&amp;".to_owned(),
                other => other.to_string(),
            })
            .collect();
        self.text.push_str(&format!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" dy=\"0.35em\" text-anchor=\"{anchor}\" fill=\"#{colour:06x}\">{escaped}</text>\n"
        ));
    }
}

/// A bitmap, twice as fine as the SVG's pixels.
#[derive(Debug)]
pub(super) struct Bitmap {
    width: usize,
    height: usize,
    rgb: Vec<u8>,
}

const SCALE: f64 = 2.0;

impl Bitmap {
    pub(super) fn new(width: u32, height: u32) -> Self {
        let (width, height) = (width as usize * SCALE as usize, height as usize * SCALE as usize);
        Bitmap { width, height, rgb: vec![255; width * height * 3] }
    }

    pub(super) fn finish(self) -> Result<Vec<u8>> {
        let broken = |error: png::EncodingError| Failure::new(Kind::Io, format!("cannot make the picture: {error}"));
        let mut bytes = Vec::new();
        let too_large = |_| Failure::new(Kind::Io, "the picture is too large");
        let (width, height) = (self.width.try_into().map_err(too_large)?, self.height.try_into().map_err(too_large)?);
        let mut encoder = png::Encoder::new(&mut bytes, width, height);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        let mut writer = encoder.write_header().map_err(broken)?;
        writer.write_image_data(&self.rgb).map_err(broken)?;
        writer.finish().map_err(broken)?;
        Ok(bytes)
    }

    fn fill(&mut self, from: (usize, usize), to: (usize, usize), colour: Colour) {
        let [_, red, green, blue] = colour.to_be_bytes();
        for y in from.1..to.1.min(self.height) {
            for x in from.0..to.0.min(self.width) {
                let at = (y * self.width + x) * 3;
                self.rgb[at..at + 3].copy_from_slice(&[red, green, blue]);
            }
        }
    }
}

impl Canvas for Bitmap {
    fn rectangle(&mut self, x: f64, y: f64, width: f64, height: f64, colour: Colour) {
        let pixel = |at: f64| (at * SCALE).round().max(0.0) as usize;
        let from = (pixel(x), pixel(y));
        // What has an extent is seen.
        let to = (pixel(x + width).max(from.0 + 1), pixel(y + height).max(from.1 + 1));
        self.fill(from, to, colour);
    }

    fn text(&mut self, x: f64, y: f64, anchor: Anchor, colour: Colour, text: &str) {
        let width = text.chars().count() as f64 * CHARACTER;
        let left = match anchor {
            Anchor::Start => x,
            Anchor::Middle => x - width / 2.0,
            Anchor::End => x - width,
        };
        let dot = SCALE as usize;
        let top = ((y - 4.0) * SCALE).max(0.0) as usize;
        for (at, character) in text.chars().enumerate() {
            let glyph = BASIC_FONTS.get(character).or_else(|| LATIN_FONTS.get(character)).unwrap_or([0x7E; 8]);
            let left = ((left + at as f64 * CHARACTER) * SCALE).max(0.0) as usize;
            for (row, bits) in glyph.iter().enumerate() {
                for column in (0..8).filter(|column| bits >> column & 1 == 1) {
                    let from = (left + column * dot, top + row * dot);
                    self.fill(from, (from.0 + dot, from.1 + dot), colour);
                }
            }
        }
    }
}
