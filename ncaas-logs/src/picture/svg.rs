//! A picture as SVG.

use std::fmt::Write;

use super::canvas::{Anchor, Canvas, Colour, FONT_SIZE};

/// An SVG that is being drawn.
#[derive(Debug)]
pub(super) struct Svg {
    text: String,
}

impl Svg {
    pub(super) fn new(width: u32, height: u32, background: Colour) -> Self {
        let text = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
             viewBox=\"0 0 {width} {height}\" font-family=\"DejaVu Sans Mono, monospace\" font-size=\"{FONT_SIZE}\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"{background}\"/>\n"
        );
        Svg { text }
    }

    pub(super) fn finish(mut self) -> String {
        self.text.push_str("</svg>\n");
        self.text
    }

    fn push(&mut self, element: std::fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        self.text.write_fmt(element).unwrap_or(());
    }
}

impl Canvas for Svg {
    fn rectangle(&mut self, [x, y, width, height]: [f64; 4], colour: Colour, title: Option<&str>) {
        let end = title.map_or("/>".to_owned(), |title| format!("><title>{}</title></rect>", escape(title)));
        self.push(format_args!(
            "<rect x=\"{x:.2}\" y=\"{y:.2}\" width=\"{width:.2}\" height=\"{height:.2}\" fill=\"{colour}\"{end}\n"
        ));
    }

    fn steps(&mut self, [x, bottom, step]: [f64; 3], heights: &[f64], colour: Colour) {
        let mut path = format!("M{x:.2} {bottom:.2}");
        let mut end = x;
        for height in heights {
            // Writing to a string cannot fail.
            write!(path, "V{:.2}H{:.2}", bottom - height, end + step).unwrap_or(());
            end += step;
        }
        self.push(format_args!("<path d=\"{path}V{bottom:.2}Z\" fill=\"{colour}\"/>\n"));
    }

    fn text(&mut self, x: f64, y: f64, anchor: Anchor, colour: Colour, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let text = escape(text);
        self.push(format_args!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" dy=\"0.35em\" text-anchor=\"{anchor}\" fill=\"{colour}\">{text}</text>\n"
        ));
    }
}

/// Text of an element, without the control characters that XML does not allow.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars().filter(|character| !character.is_control()) {
        match character {
            '<' => escaped.push_str("&lt;"),
            '&' => escaped.push_str("&amp;"),
            '\u{FFFE}' | '\u{FFFF}' => escaped.push('\u{FFFD}'),
            other => escaped.push(other),
        }
    }
    escaped
}
