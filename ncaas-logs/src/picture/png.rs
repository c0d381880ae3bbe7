//! An SVG as a PNG, with an embedded font, so that none needs to be installed.
//!
//! The font is DejaVu Sans Mono, under the Bitstream Vera licence, which allows its distribution with any program.

use std::sync::Arc;

use ncaas_core::failure::{Failure, Kind, Result};
use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::{Options, Tree, fontdb};

/// Pixels of the PNG for each pixel of the SVG.
const SCALE: f32 = 2.0;

/// Renders an SVG that this program has drawn.
pub(super) fn render(svg: &str) -> Result<Vec<u8>> {
    let failed = |cause: String| Failure::new(Kind::Io, format!("cannot render the picture: {cause}"));
    let mut fonts = fontdb::Database::new();
    fonts.load_font_data(dejavu::sans_mono::regular().to_vec());
    fonts.set_monospace_family("DejaVu Sans Mono");
    let options = Options { fontdb: Arc::new(fonts), ..Options::default() };
    let tree = Tree::from_str(svg, &options).map_err(|error| failed(error.to_string()))?;
    let size = tree.size();
    let mut pixels = Pixmap::new((size.width() * SCALE) as u32, (size.height() * SCALE) as u32)
        .ok_or_else(|| failed("it is too large".to_owned()))?;
    resvg::render(&tree, Transform::from_scale(SCALE, SCALE), &mut pixels.as_mut());
    pixels.encode_png().map_err(|error| failed(error.to_string()))
}
