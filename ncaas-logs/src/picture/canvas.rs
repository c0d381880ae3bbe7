//! What a picture is drawn on.

/// A colour of CSS: `#rrggbb`, or `var(--name)` for a page with a style sheet.
pub(crate) type Colour = &'static str;

/// The end of a text that is at its point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

/// The height of text in pixels.
pub(super) const FONT_SIZE: f64 = 13.0;

/// Width of one character of text in pixels: DejaVu Sans Mono at this size.
pub(super) const CHARACTER: f64 = 7.83;

/// A canvas in pixels, with its origin at the top left.
pub(super) trait Canvas {
    /// Draws a filled rectangle: x, y, width and height. A browser shows `title` when the pointer is over it.
    fn rectangle(&mut self, area: [f64; 4], colour: Colour, title: Option<&str>);

    /// Draws the area between a line and steps of the same width above it. `line` has its x, its height and the width
    /// of a step; `heights` are those above the line.
    fn steps(&mut self, line: [f64; 3], heights: &[f64], colour: Colour);

    /// Writes a line of text whose middle is at the height `y`.
    fn text(&mut self, x: f64, y: f64, anchor: Anchor, colour: Colour, text: &str);
}
