//! Charts as SVG.

use std::fmt::Write;

use super::chart::Chart;
use super::shape::{BAND_OPACITY, CURVE_WIDTH, DOT_RADIUS, Shape, Stroke, Style};
use super::xml::escape;
use vitcuda_picture::Anchor;

impl Chart {
    /// The chart as an `svg` element whose upper left corner is at (0, `y`) of what it is put into.
    /// Axes and texts have the colour of the surrounding text.
    pub fn svg(&self, y: f64) -> String {
        let (width, height) = (Self::WIDTH, self.height());
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" y=\"{y}\" width=\"{width}\" \
             height=\"{height}\" viewBox=\"0 0 {width} {height}\" role=\"img\" \
             font-family=\"system-ui, sans-serif\" font-size=\"{size}\" fill=\"currentColor\">\n\
             <title>{title}</title>\n",
            size = Style::LABEL_SIZE,
            title = escape(&self.title)
        );
        for shape in self.shapes() {
            // What a line belongs to follows it.
            let end = if matches!(shape, Shape::Line { .. }) {
                ""
            } else {
                "\n"
            };
            let _ = write!(svg, "{}{end}", element(&shape));
        }
        svg.push_str("</svg>\n");
        svg
    }
}

fn element(shape: &Shape) -> String {
    match shape {
        Shape::Line { from, to, stroke } => {
            let stroke = match stroke {
                Stroke::Axis { opacity } => {
                    format!("stroke=\"currentColor\" stroke-opacity=\"{opacity}\"")
                }
                Stroke::Legend(colour) => {
                    format!(
                        "stroke=\"{colour}\" stroke-width=\"{}\"",
                        Stroke::LEGEND_WIDTH
                    )
                }
            };
            let ((x1, y1), (x2, y2)) = (from, to);
            format!("<line x1=\"{x1}\" x2=\"{x2}\" y1=\"{y1}\" y2=\"{y2}\" {stroke}/>")
        }
        Shape::Text {
            at: (x, y),
            text,
            anchor,
            style,
        } => {
            let (anchor, text) = (anchor_attribute(*anchor), escape(text));
            let style = style_attributes(*style);
            format!("<text x=\"{x}\" y=\"{y}\"{anchor}{style}>{text}</text>")
        }
        Shape::Band { outline, colour } => format!(
            "<polygon points=\"{}\" fill=\"{colour}\" fill-opacity=\"{BAND_OPACITY}\"/>",
            places(outline)
        ),
        Shape::Curve { points, colour } => format!(
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" \
             stroke-width=\"{CURVE_WIDTH}\" stroke-linejoin=\"round\"/>",
            places(points)
        ),
        Shape::Dot { at: (x, y), colour } => {
            format!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{DOT_RADIUS}\" fill=\"{colour}\"/>")
        }
    }
}

fn anchor_attribute(anchor: Anchor) -> &'static str {
    match anchor {
        Anchor::Start => "",
        Anchor::Middle => " text-anchor=\"middle\"",
        Anchor::End => " text-anchor=\"end\"",
    }
}

fn style_attributes(style: Style) -> String {
    match style {
        Style::Title => format!(" font-size=\"{}\" font-weight=\"600\"", Style::TITLE_SIZE),
        Style::Label => String::new(),
        Style::Faint => format!(" fill-opacity=\"{}\"", Style::FAINT_OPACITY),
    }
}

fn places(points: &[(f64, f64)]) -> String {
    let places: Vec<String> = points
        .iter()
        .map(|(x, y)| format!("{x:.1},{y:.1}"))
        .collect();
    places.join(" ")
}
